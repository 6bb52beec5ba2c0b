// Shares pairs out over threads, and lets the caller look up from time to time whether to stop.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "plan.hpp"

namespace torchtangents {

template <typename T>
auto runner(const Target& target) {
    if constexpr (sizeof(T) == 4) return target.run_float;
    else return target.run_double;
}

struct Memory {  // aligned, and freed whatever happens
    explicit Memory(std::int64_t bytes) : at(static_cast<char*>(::operator new(std::size_t(bytes), std::align_val_t(128)))) {}
    ~Memory() { ::operator delete(at, std::align_val_t(128)); }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    char* at;
};

template <typename T>
std::vector<Item> items(const Plan& plan, const Data<T>& data, const Target& target, int threads) {
    const std::int64_t lanes = target.bytes / std::int64_t(sizeof(T)), columns = plan.flat ? lanes * flat_groups : lanes;
    const std::int64_t groups = (data.end2 - data.begin2 + columns - 1) / columns;
    const std::int64_t pieces = std::max<std::int64_t>(1, (std::int64_t(8) * threads + groups - 1) / std::max<std::int64_t>(groups, 1));
    const std::int64_t rows = std::max<std::int64_t>(1, std::min<std::int64_t>(256, (data.end1 - data.begin1 + pieces - 1) / pieces));
    std::vector<Item> out;
    for (std::int64_t j = data.begin2; j < data.end2; j += columns)
        for (std::int64_t i = data.begin1; i < data.end1; i += rows)
            if (!data.shared || i < j + columns)  // what lies below the diagonal is mirrored
                out.push_back(Item{i, std::min(i + rows, data.end1), j, std::min(j + columns, data.end2)});
    return out;
}

// Runs the plan on every pair. `interrupted` is asked every 50 ms on the calling thread; true stops all threads. Little work is
// done sooner with 0 threads: by the calling one, which then asks nothing.
template <typename T>
void run(const Plan& plan, const Data<T>& data, const Target& target, int threads, const std::function<bool()>& interrupted) {
    const std::vector<Item> work = items(plan, data, target, threads);
    const std::int64_t bytes = layout(plan, target.bytes, sizeof(T)).total;
    std::atomic<std::size_t> next{0};
    bool stop = false;
    auto halt = [&] { __atomic_store_n(&stop, true, __ATOMIC_RELAXED); };
    std::mutex guard;
    std::condition_variable ended;
    std::size_t running = 0;
    std::exception_ptr failure;
    auto loop = [&] {
        try {
            Memory memory(bytes);
            for (std::size_t i = next++; i < work.size() && !stopped(&stop); i = next++)
                runner<T>(target)(plan, data, work[i], memory.at, &stop);
        } catch (...) {
            std::lock_guard<std::mutex> lock(guard);
            failure = std::current_exception();
            halt();
        }
        std::lock_guard<std::mutex> lock(guard);
        --running;
        ended.notify_all();
    };
    std::vector<std::thread> all;
    const std::size_t count = std::min<std::size_t>(std::size_t(std::max(threads, 0)), work.size());
    for (std::size_t t = 0; t < count; ++t) {
        std::lock_guard<std::mutex> lock(guard);
        try {
            all.emplace_back(loop);
            ++running;
        } catch (const std::system_error&) {
            break;  // the system gives no more threads
        }
    }
    if (all.empty() && !work.empty()) {
        running = 1;
        loop();
    }
    bool cancelled = false;
    {
        std::unique_lock<std::mutex> lock(guard);
        while (running)
            if (!ended.wait_for(lock, std::chrono::milliseconds(50), [&] { return running == 0; }) && !cancelled) {
                lock.unlock();
                if (interrupted()) {
                    cancelled = true;
                    halt();
                }
                lock.lock();
            }
    }
    for (auto& thread : all) thread.join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace torchtangents

// out[k] = sum_c (x1[i[k], c] - x2[j[k], c])^2, accumulated in double.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <system_error>
#include <thread>
#include <vector>

namespace torchtangents {

// Eight sums side by side, so that the compiler may use vectors without reordering what is written.
template <typename T>
double squared_distance(const T* a, const T* b, std::size_t channels) {
    constexpr std::size_t lanes = 8;
    double sums[lanes] = {};
    std::size_t c = 0;
    for (; c + lanes <= channels; c += lanes)
        for (std::size_t lane = 0; lane < lanes; ++lane) {
            const double gap = static_cast<double>(a[c + lane]) - static_cast<double>(b[c + lane]);
            sums[lane] += gap * gap;
        }
    for (; c < channels; ++c) {
        const double gap = static_cast<double>(a[c]) - static_cast<double>(b[c]);
        sums[c % lanes] += gap * gap;
    }
    double total = 0;
    for (double sum : sums) total += sum;
    return total;
}

template <typename T>
void squared_differences(const T* x1, const T* x2, const std::int64_t* i, const std::int64_t* j, T* out, std::size_t pairs,
                         std::size_t channels, int threads) {
    auto part = [=](std::size_t begin, std::size_t end) {
        for (std::size_t k = begin; k < end; ++k) {
            const T* a = x1 + static_cast<std::size_t>(i[k]) * channels;
            const T* b = x2 + static_cast<std::size_t>(j[k]) * channels;
            out[k] = static_cast<T>(squared_distance(a, b, channels));
        }
    };
    constexpr std::size_t worth_a_thread = 1u << 18;  // values; starting a thread costs about 20 us
    const std::size_t wanted = pairs * channels / worth_a_thread + 1;
    const std::size_t count = std::min<std::size_t>(std::max(threads, 1), wanted);
    std::vector<std::thread> others;
    others.reserve(count - 1);
    std::size_t begin = 0;
    try {
        for (std::size_t t = 1; t < count; ++t) {
            const std::size_t end = pairs * t / count;
            others.emplace_back(part, begin, end);
            begin = end;
        }
    } catch (const std::system_error&) {
        // the system gives no more threads: what is left is done below, by the caller
    }
    part(begin, pairs);
    for (auto& other : others) other.join();
}

}  // namespace torchtangents

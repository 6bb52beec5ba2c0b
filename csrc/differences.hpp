// out[k] = sum_c (x1[i[k], c] - x2[j[k], c])^2, accumulated in double.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace torchtangents {

template <typename T>
void squared_differences(const T* x1, const T* x2, const std::int64_t* i, const std::int64_t* j, T* out,
                         std::size_t pairs, std::size_t channels, int threads) {
    auto part = [=](std::size_t begin, std::size_t end) {
        for (std::size_t k = begin; k < end; ++k) {
            const T* a = x1 + static_cast<std::size_t>(i[k]) * channels;
            const T* b = x2 + static_cast<std::size_t>(j[k]) * channels;
            double sum = 0;
            for (std::size_t c = 0; c < channels; ++c) {
                const double gap = static_cast<double>(a[c]) - static_cast<double>(b[c]);
                sum += gap * gap;
            }
            out[k] = static_cast<T>(sum);
        }
    };
    constexpr std::size_t worth_a_thread = 1u << 18;  // starting one costs about 20 us
    const std::size_t wanted = pairs * channels / worth_a_thread + 1;
    const std::size_t count = std::min<std::size_t>(std::max(threads, 1), wanted);
    if (count <= 1) return part(0, pairs);
    std::vector<std::thread> pool;
    for (std::size_t t = 0; t < count; ++t) pool.emplace_back(part, pairs * t / count, pairs * (t + 1) / count);
    for (auto& worker : pool) worker.join();
}

}  // namespace torchtangents

// A symmetric kernel from its upper triangle: out[j, i, q, p] = out[i, j, p, q] for rows i in [begin, end).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <system_error>
#include <thread>
#include <vector>

namespace torchtangents {

// Runs `loop` on this thread and on `most - 1` others, if the system gives them.
template <typename Loop>
void on_threads(const Loop& loop, std::int64_t most) {
    std::vector<std::thread> others;
    try {
        for (std::int64_t t = 1; t < most; ++t) others.emplace_back(loop);
    } catch (const std::system_error&) {
    }
    loop();
    for (auto& thread : others) thread.join();
}

template <typename T>
void mirror(T* out, std::int64_t n, std::int64_t positions, std::int64_t begin, std::int64_t end, int threads) {
    constexpr std::int64_t block = 32;  // pairs on a side, so that both halves stay in cache
    const std::int64_t cell = positions * positions;
    std::atomic<std::int64_t> next{begin};
    auto loop = [&] {
        for (std::int64_t i0 = next.fetch_add(block); i0 < end; i0 = next.fetch_add(block))
            for (std::int64_t j0 = i0; j0 < n; j0 += block)
                for (std::int64_t i = i0; i < std::min(i0 + block, end); ++i)
                    for (std::int64_t j = std::max(j0, i); j < std::min(j0 + block, n); ++j)
                        for (std::int64_t p = 0; p < positions; ++p)
                            for (std::int64_t q = i == j ? p + 1 : 0; q < positions; ++q)
                                out[(j * n + i) * cell + q * positions + p] = out[(i * n + j) * cell + p * positions + q];
    };
    on_threads(loop, std::min<std::int64_t>(threads, (end - begin) * n * cell >> 16));  // not for little
}

}  // namespace torchtangents

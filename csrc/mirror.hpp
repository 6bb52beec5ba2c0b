// A symmetric kernel from its upper triangle: out[j, i, q, p] = out[i, j, p, q].
#pragma once

#include <algorithm>
#include <cstdint>

namespace torchtangents {

template <typename T>
void mirror(T* out, std::int64_t n, std::int64_t positions) {
    constexpr std::int64_t block = 32;  // pairs on a side, so that both halves stay in cache
    const std::int64_t cell = positions * positions;
    for (std::int64_t i0 = 0; i0 < n; i0 += block)
        for (std::int64_t j0 = i0; j0 < n; j0 += block)
            for (std::int64_t i = i0; i < std::min(i0 + block, n); ++i)
                for (std::int64_t j = std::max(j0, i); j < std::min(j0 + block, n); ++j)
                    for (std::int64_t p = 0; p < positions; ++p)
                        for (std::int64_t q = i == j ? p + 1 : 0; q < positions; ++q)
                            out[(j * n + i) * cell + q * positions + p] = out[(i * n + j) * cell + p * positions + q];
}

}  // namespace torchtangents

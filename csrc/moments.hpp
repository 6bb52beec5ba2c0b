// Second moments of rows: out[i] = sum_c x[i, c]^2 / C, accumulated in double precision.
#pragma once

#include "simd.hpp"

namespace {

template <typename T>
void second_moments(const T* x, std::int64_t rows, std::int64_t channels, T* out) {
    constexpr int n = lanes<double>;
    for (std::int64_t i = 0; i < rows; ++i, x += channels) {
        double sums[2][n] = {};
        std::int64_t c = 0;
        for (; c + 2 * n <= channels; c += 2 * n)
            for (int half = 0; half < 2; ++half)
                for (int lane = 0; lane < n; ++lane) sums[half][lane] += double(x[c + half * n + lane]) * double(x[c + half * n + lane]);
        double total = 0;
        for (; c < channels; ++c) total += double(x[c]) * double(x[c]);
        for (int lane = 0; lane < n; ++lane) total += sums[0][lane] + sums[1][lane];
        out[i] = T(total / double(channels));
    }
}

}  // namespace

// Functions without a closed form, from tables (torchtangents/engine/interpolation.py): K' = value(x, y, theta),
// Theta' = Theta slope(x, y, theta), each sum_rks C[r, k, s] T_r(a) T_k(t) T_s(b) with a = (x / (3 + x) - centre) scale, b so of y,
// and t = 2 theta / pi - 1.
#pragma once

#include "rows.hpp"

namespace {

constexpr int most_deviations = 32, most_angles = 64;  // orders of a table; the builder refuses more

inline Vec<double> stretched(const double* c, Vec<double> x) { return (x / (3.0 + x) - c[2]) * c[3]; }

inline void chebyshev(int n, Vec<double> x, Vec<double>* out) {  // T_0 .. T_{n-1}
    out[0] = fill(1.0);
    if (n > 1) out[1] = x;
    for (int i = 2; i < n; ++i) out[i] = 2.0 * x * out[i - 1] - out[i - 2];
}

// sum_ks H[k, s] T_k(t) T_s(b), from T_s(b): Clenshaw's recurrence in t.
inline Vec<double> contracted(const double* h, int deviations, int angles, const Vec<double>* b, Vec<double> t) {
    Vec<double> one{}, two{}, sum{};
    for (int k = angles - 1; k >= 0; --k) {
        sum = Vec<double>{};
        for (int s = 0; s < deviations; ++s) sum += h[k * deviations + s] * b[s];
        const Vec<double> next = k ? 2.0 * t * one - two + sum : t * one - two + sum;
        two = one;
        one = next;
    }
    return one;
}

// The same where the first deviation differs by lane.
inline Vec<double> contracted(const double* c, int deviations, int angles, const Vec<double>* a, const Vec<double>* b, Vec<double> t) {
    Vec<double> total{};
    for (int r = 0; r < deviations; ++r) total += a[r] * contracted(c + std::int64_t(r) * angles * deviations, deviations, angles, b, t);
    return total;
}

// c = {R, K, centre, scale, value[R][K][R], slope[R][K][R]}; the slot holds standard deviations.
template <bool ntk, bool exact>
void table(const Op& op, const Row<double>& row) {
    const double* c = op.c;
    const int deviations = int(c[0]), angles = int(c[1]), plane = angles * deviations;
    const double* tables[2] = {c + 4, c + 4 + std::int64_t(deviations) * plane};
    const double* x = row.left(op.slots[0]);
    const double* y = row.right(op.slots[0]);
    double h[2][most_angles * most_deviations];  // both tables at the first input's deviation
    each<ntk, exact>(row, [&](int i, Vec<double>& k, Vec<double>& t, Vec<double>& e) {
        Vec<double> a[most_deviations], b[most_deviations];
        const Vec<double> first = row.at(x, i), second = load(y + i * lanes<double>);
        if (!i || row.inputs->self || row.inputs->along) {
            chebyshev(deviations, stretched(c, first), a);
            for (int f = 0; f < 1 + ntk && !row.inputs->self; ++f) {
                for (int j = 0; j < plane; ++j) h[f][j] = 0;
                for (int r = 0; r < deviations; ++r) {
                    const double weight = a[r][0], *from = tables[f] + std::int64_t(r) * plane;
                    for (int j = 0; j < plane; ++j) h[f][j] += weight * from[j];
                }
            }
        }
        chebyshev(deviations, stretched(c, second), b);
        const Angle<double> p = angle<false, true, double>(first, second, k, e);
        const Vec<double> acute = root2 * root(p.u) * angle_ratio(p.u), turn = (k < 0 ? pi - acute : acute) * (2 / pi) - 1.0;
        if (row.inputs->self) {
            if constexpr (ntk) t = t * contracted(tables[1], deviations, angles, a, b, turn);
            k = contracted(tables[0], deviations, angles, a, b, turn);
        } else {
            if constexpr (ntk) t = t * contracted(h[1], deviations, angles, b, turn);
            k = contracted(h[0], deviations, angles, b, turn);
        }
    });
}

}  // namespace

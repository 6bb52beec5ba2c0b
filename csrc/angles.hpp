// Angles of pairs of Gaussians for the derivatives of the reference: theta, s = m sin(theta), bow = s - theta q, from the covariance q,
// the squared distance d and both variances (m is the product of their roots).
#pragma once

#include "duals.hpp"

namespace {

template <typename T>
inline void angles_of(Vec<T> q, Vec<T> d, Vec<T> v1, Vec<T> v2, Vec<T>& theta, Vec<T>& s, Vec<T>& bow) {
    const Angle<T> p = angle<true, true, T>(root(larger(v1, Vec<T>{})), root(larger(v2, Vec<T>{})), q, d * T(0.5));
    const Vec<T> h = T(root2) * root(p.u), curve = polynomial(HalfAngle<T>::bend, p.u);
    const Vec<T> acute = h * (T(2) - p.u * curve), chord = h * (p.near + p.a * p.u * curve);
    theta = q < 0 ? T(pi) - acute : acute;
    s = p.sum * h;
    bow = q < 0 ? chord + T(pi) * p.a : chord;
}

// in: q, d, v1, v2; out: theta, s, bow; n numbers each.
template <typename T>
void angles(const T* const* in, std::int64_t n, T* const* out) {
    for (std::int64_t i = 0; i < n; i += lanes<T>) {
        const std::int64_t count = n - i < lanes<T> ? n - i : lanes<T>;
        Vec<T> given[4] = {}, found[3];
        for (int k = 0; k < 4; ++k) {
            if (count == lanes<T>) given[k] = load_anywhere(in[k] + i);
            else for (std::int64_t lane = 0; lane < count; ++lane) given[k][lane] = in[k][i + lane];
        }
        angles_of<T>(given[0], given[1], given[2], given[3], found[0], found[1], found[2]);
        for (int k = 0; k < 3; ++k) {
            if (count == lanes<T>) store_anywhere(out[k] + i, found[k]);
            else for (std::int64_t lane = 0; lane < count; ++lane) out[k][i + lane] = found[k][lane];
        }
    }
}

}  // namespace

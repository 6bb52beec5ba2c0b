// Expectations of functions of two Gaussians, one vectorised function each: K <- E f f', Theta <- Theta E f' f'.
//
// x, y: standard deviations; k: covariance; t: tangent; e: half the squared distance, (x^2 + y^2) / 2 - k, where it is carried.
// Formulas: torchtangents/covariance/kinked.py and smooth.py, whose tests are the oracle.
#pragma once

#include "simd.hpp"

namespace {

template <typename T>
struct HalfAngle;  // with h = tan(theta / 2) in [0, 1] and u = h^2
template <>
struct HalfAngle<float> {
    // theta / h: minimax for theta / pi, 2.4e-8 (6.5e-8 as rounded in float)
    static constexpr float ratio[] = {1.99999869f,   -0.666597188f, 0.398931324f, -0.278172582f,
                                      0.192843914f,  -0.111824602f, 0.043725878f, -0.00810912438f};
    // (2 - theta / h) / u: minimax for u^(3/2) times it, 3.2e-8
    static constexpr float bend[] = {0.666633606f,  -0.399259895f, 0.27956149f,  -0.195959628f,
                                     0.115646154f,  -0.0461463481f, 0.00872839615f};
    static constexpr float tiny = 1.2e-38f;  // a normal number: arithmetic on smaller ones takes a hundred cycles on some processors
};
template <>
struct HalfAngle<double> {
    static constexpr double bend[] = {  // Chebyshev interpolation, 2.3e-15
        0.666666666666664368,  -0.399999999998508228, 0.285714285552506928,  -0.222222215227803158, 0.18181802130347735,
        -0.153843895935253628, 0.133312122785110261,  -0.117506322178817638, 0.104577334245169428,  -0.0927126756032151135,
        0.0797734924927378278, -0.0639244920403649052, 0.0452518294661633519, -0.0266810191194703959, 0.0122802759056994897,
        -0.00406933454156766147, 0.000854368194763506802, -0.0000847687621895902092};
    static constexpr double tiny = 1e-300;
};

inline Vec<float> angle_ratio(Vec<float> u) { return polynomial(HalfAngle<float>::ratio, u); }
inline Vec<double> angle_ratio(Vec<double> u) { return 2.0 - u * polynomial(HalfAngle<double>::bend, u); }

constexpr double pi = 3.14159265358979323846;

// The angle between the two: m = x y, a = |k|, near = m - a, u = tan^2(theta / 2) of the acute one. Inputs of length 0 have an
// angle too, which is 0, and stay 0: `tiny` meets the divisor only.
template <typename T>
struct Angle {
    Vec<T> m, a, sum, near, u;
};

template <bool exact, bool signs, typename T>
inline Angle<T> angle(Vec<T> x, Vec<T> y, Vec<T> k, Vec<T> e) {
    Angle<T> p;
    p.m = x * y;
    p.a = signs ? absolute(k) : k;
    p.sum = p.m + (p.a + HalfAngle<T>::tiny);
    p.near = larger(p.m - p.a, Vec<T>{});
    if constexpr (exact) {  // for close pairs from the distance; parallel inputs of different lengths are parallel
        const Vec<T> gap = absolute(x - y);
        Vec<T> close = e - gap * gap * T(0.5);
        const T noise = 8 * (sizeof(T) == 4 ? T(1.1920929e-7) : T(2.220446049250313e-16));
        close = close > gap * (x + y) * noise ? close : Vec<T>{};
        p.near = k > p.m * T(0.5) ? (close < p.m ? close : p.m) : p.near;
    } else if constexpr (sizeof(T) == 8) {  // equal but for rounding: flat ground, positions that circular padding repeats
        p.near = p.near > p.m * (16 * 2.220446049250313e-16) ? p.near : Vec<T>{};
    }
    p.u = quotient(p.near, p.sum);
    return p;
}

// a min(x, 0) + b max(x, 0), divided by `bend`: one factor less in the commonest layer, which the next affine puts back.
// c = {level = (a^2 + b^2) / 2, bend = (a - b)^2 / (2 pi), whether k may be negative, whether what follows multiplies by bend}
// Constants come by value: what is stored in a loop might alias them otherwise, and they would be read again every time.
template <typename T>
struct Bend {
    T level, bend;
    explicit Bend(const double* c) : level(T(c[0] / c[1])), bend(T(c[1])) {}
};

template <bool ntk, bool exact, bool signs, typename T>
inline void relu(const Bend<T> c, const Angle<T>& p, Vec<T>& k, Vec<T>& t, Vec<T>& e) {
    const Vec<T> h = root(p.u);
    if constexpr (exact) {  // with M = m (sin theta - theta cos theta): k' = level k + M, e' = level e - M
        const Vec<T> curve = polynomial(HalfAngle<T>::bend, p.u), acute = h * (T(2) - p.u * curve);
        Vec<T> theta = acute, chord = h * (p.near + p.a * p.u * curve);
        if constexpr (signs) theta = k < 0 ? T(pi) - acute : acute, chord = k < 0 ? chord + T(pi) * p.a : chord;
        if constexpr (ntk) t = t * (c.level - theta);
        k = c.level * k + chord;
        e = larger(c.level * e - chord, Vec<T>{});
    } else {
        const Vec<T> acute = h * angle_ratio(p.u);
        Vec<T> slope = c.level - acute;
        if constexpr (signs) slope = k < 0 ? (c.level - T(pi)) + acute : slope;
        k = k * slope + p.sum * h;
        if constexpr (ntk) t = t * slope;
    }
}

// sign(x): E f f' = 1 - 2 theta / pi; nothing below it trains.
template <bool ntk, bool exact, typename T>
inline void sign(Vec<T> x, Vec<T> y, Vec<T>& k, Vec<T>& t, Vec<T>& e) {
    const Angle<T> p = angle<exact, true, T>(x, y, k, e);
    const Vec<T> acute = root(p.u) * angle_ratio(p.u), theta = k < 0 ? T(pi) - acute : acute;
    const Vec<T> first = x > 0 ? fill<T>(1) : Vec<T>{}, second = y > 0 ? fill<T>(1) : Vec<T>{};
    const Vec<T> both = first * second, one = first + second;
    k = both * (T(1) - T(2 / pi) * theta);
    if constexpr (ntk) t = Vec<T>{};
    if constexpr (exact) e = both > 0 ? T(2 / pi) * theta : one * T(0.5);
}

inline Vec<double> arctangent(Vec<double> z) {  // 1e-15
    const Vec<double> a = absolute(z);
    const auto large = a > 1.0;
    const Vec<double> h = large ? 1.0 / a : a, w = h * angle_ratio(h * h) * 0.5;
    const Vec<double> value = large ? pi / 2 - w : w;
    return z < 0.0 ? -value : value;
}

inline Vec<double> sine(Vec<double> x, Vec<double> y, Vec<double> k) {  // x y sin(theta)
    const Vec<double> m = x * y;
    return root(larger(m - k, Vec<double>{}) * larger(m + k, Vec<double>{}));
}

// a erf(b x) + c.  c = {2 b^2, (2 / pi) a^2, c^2, (4 / pi) a^2 b^2}
template <bool ntk>
inline void erf(const double* c, Vec<double> x, Vec<double> y, Vec<double>& k, Vec<double>& t) {
    const Vec<double> s = c[0] * sine(x, y, k), r = root(1.0 + c[0] * (x * x + y * y) + s * s);
    if constexpr (ntk) t = t * (c[3] / r);
    k = c[1] * arctangent(c[0] * k / r) + c[2];
}

// x Phi(x)
template <bool ntk>
inline void gelu(Vec<double> x, Vec<double> y, Vec<double>& k, Vec<double>& t) {
    const Vec<double> v1 = x * x, left = 1.0 / (1.0 + v1);
    const Vec<double> v2 = y * y, right = 1.0 / (1.0 + v2), s = sine(x, y, k), r = root(1.0 + v1 + v2 + s * s);
    const Vec<double> ratio = k / r, turn = arctangent(ratio), both = (v1 * left) * (v2 * right);
    if constexpr (ntk) t = t * (0.25 + (turn + ratio * (1.0 + (2.0 + ratio * ratio) * left * right - both)) * (0.5 / pi));
    k = 0.25 * k + (k * turn + (k * left) * right * ratio + both * r) * (0.5 / pi);
}

// a sin(b x + c).  c = {a^2 / 2, b^2, cos(2 c)}
template <bool ntk>
inline void wave(const double* c, Vec<double> x, Vec<double> y, Vec<double>& k, Vec<double>& t) {
    const Vec<double> v = x * x + y * y;
    const Vec<double> half = c[1] * 0.5 * v, none{};  // exponents are positive by rounding only
    const Vec<double> near = exponential(lesser(c[1] * k - half, none)), far = c[2] * exponential(lesser(-c[1] * k - half, none));
    if constexpr (ntk) t = t * (c[0] * c[1] * (near + far));
    k = c[0] * (near - far);
}

// sqrt(2) sin(sqrt(2 gamma) x + pi / 4).  c = {gamma}
template <bool ntk>
inline void rbf(const double* c, Vec<double> x, Vec<double> y, Vec<double>& k, Vec<double>& t) {
    k = exponential(lesser(c[0] * (2.0 * k - x * x - y * y), Vec<double>{}));
    if constexpr (ntk) t = t * (2 * c[0] * k);
}

}  // namespace

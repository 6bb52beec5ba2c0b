// Expectations of functions of two Gaussians, one vectorised function each: K <- E f f', Theta <- Theta E f' f'.
//
// x, y: standard deviations; k: covariance; t: tangent; e: half the squared distance, (x^2 + y^2) / 2 - k, where it is carried.
// Formulas: torchtangents/covariance/kinked.py and smooth.py, whose tests are the oracle.
#pragma once

#include "simd.hpp"

namespace {

// With u = tan(theta / 2)^2 / 2 in [0, 1/2] and h its root, so that a polynomial of u may begin with x^7 or x^6 alone:
// theta = sqrt(2) h ratio(u) and ratio(u) = 2 - u bend(u).
template <typename T>
struct HalfAngle;
template <>
struct HalfAngle<float> {
    // minimax for u^(3/2) times it, 3.2e-8
    static constexpr float bend[] = {1.33326721f, -1.59703958f,  2.23649192f, -3.13535405f, 3.70067693f, -2.95336628f, 1.11723471f};
    static constexpr float tiny = 1.2e-38f;  // a normal number: arithmetic on smaller ones takes a hundred cycles on some processors
};
template <>
struct HalfAngle<double> {
    // Chebyshev interpolation, 2.3e-15
    static constexpr double bend[] = {
        1.3333333333333288,  -1.5999999999940329, 2.2857142844200555,  -3.5555554436448507, 5.818176681711275,   -9.846009339856233,
        17.063951716494113,  -30.081618477777315, 53.54359513352675,   -94.93777981769227,  163.37611262512706,  -261.83471939733465,
        370.7029869868102,   -437.14181725340296, 402.4000808779609,   -266.68790851617825, 111.98374802404237,  -22.221622395427936};
    static constexpr double tiny = 1e-300;
};

#if defined(RECIPROCAL)
// minimax for theta / pi, 2.4e-8 (6.8e-8 as rounded): fewest operations
inline Vec<float> angle_ratio(Vec<float> u) {
    constexpr float c[] = {1.99999869f, -1.33319438f, 1.5957253f, -2.22538066f, 3.08550262f, -3.57838726f, 2.79845619f, -1.03796792f};
    return polynomial(c, u);
}
#else
// The same with -u^7 first, 2.6e-8 (6.1e-8 as rounded): 4 multiplications and 4 additions (Knuth, The Art of Computer
// Programming, 4.6.4), which AMD's processors do side by side.
inline Vec<float> angle_ratio(Vec<float> u) {
    const Vec<float> z = (u - 1.62297873f) * u + 1.37503936f, w = (u - 0.243111509f) * z - 0.0599512634f;
    return 1.99999854f - u * (((z - 1.84971682f) + w) * w + 0.990621984f);
}
#endif
inline Vec<double> angle_ratio(Vec<double> u) { return 2.0 - u * polynomial(HalfAngle<double>::bend, u); }

constexpr double pi = 3.14159265358979323846, root2 = 1.41421356237309504880;

// The angle between the two: m = x y, a = |k|, sum = m + a, near = m - a, and u of the acute one. Inputs of length 0 have an angle
// too, which is 0, and stay 0: `tiny` meets the divisor only.
template <typename T>
struct Angle {
    Vec<T> m, a, sum, near, u;
};

template <bool exact, bool signs, typename T>
inline Angle<T> angle(Vec<T> x, Vec<T> y, Vec<T> k, Vec<T> e) {
    Angle<T> p;
    p.m = x * y;
    p.a = signs ? absolute(k) : k;
    p.sum = p.m + p.a;
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
    p.u = quotient(p.near, twice(p.sum, HalfAngle<T>::tiny));
    return p;
}

// a min(x, 0) + b max(x, 0), divided by `bend`: one factor less in the commonest layer, which the next affine puts back.
// c = {level = (a^2 + b^2) / 2, bend = (a - b)^2 / (sqrt(2) pi), whether k may be negative, whether what follows multiplies by bend}
// Constants come by value: what is stored in a loop might alias them otherwise, and they would be read again every time.
template <typename T>
struct Bend {
    T level, bend;
    explicit Bend(const double* c) : level(T(c[0] / c[1])), bend(T(c[1])) {}
};

template <bool ntk, bool exact, bool signs, typename T>
inline void relu(const Bend<T> c, const Angle<T>& p, Vec<T>& k, Vec<T>& t, Vec<T>& e) {
    const Vec<T> h = root(p.u);
    constexpr T half_turn = T(pi / root2);
    if constexpr (exact) {  // with M = m (sin theta - theta cos theta) / sqrt(2): k' = level k + M, e' = level e - M
        const Vec<T> curve = polynomial(HalfAngle<T>::bend, p.u), acute = h * (T(2) - p.u * curve);
        Vec<T> theta = acute, chord = h * (p.near + p.a * p.u * curve);
        if constexpr (signs) theta = k < 0 ? half_turn - acute : acute, chord = k < 0 ? chord + half_turn * p.a : chord;
        if constexpr (ntk) t = t * (c.level - theta);
        k = c.level * k + chord;
        e = larger(c.level * e - chord, Vec<T>{});
    } else {
        const Vec<T> acute = h * angle_ratio(p.u);
        Vec<T> slope = c.level - acute;
        if constexpr (signs) slope = k < 0 ? (c.level - half_turn) + acute : slope;
        k = p.sum * h + k * slope;  // in this order, so that k slope is rounded with and without t, which may be k
        if constexpr (ntk) t = t * slope;
    }
}

// sign(x): E f f' = 1 - 2 theta / pi; nothing below it trains.
template <bool ntk, bool exact, typename T>
inline void sign(Vec<T> x, Vec<T> y, Vec<T>& k, Vec<T>& t, Vec<T>& e) {
    const Angle<T> p = angle<exact, true, T>(x, y, k, e);
    const Vec<T> acute = T(root2) * root(p.u) * angle_ratio(p.u), theta = k < 0 ? T(pi) - acute : acute;
    const Vec<T> first = x > 0 ? fill<T>(1) : Vec<T>{}, second = y > 0 ? fill<T>(1) : Vec<T>{};
    const Vec<T> both = first * second, one = first + second;
    k = both * (T(1) - T(2 / pi) * theta);
    if constexpr (ntk) t = Vec<T>{};
    if constexpr (exact) e = both > 0 ? T(2 / pi) * theta : one * T(0.5);
}

inline Vec<double> arctangent(Vec<double> z) {  // 1e-15
    const Vec<double> a = absolute(z);
    const auto large = a > 1.0;
    const Vec<double> h = large ? 1.0 / a : a, w = h * angle_ratio(h * h * 0.5) * 0.5;
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

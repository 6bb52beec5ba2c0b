// The few vector operations the kernels need, on GCC and Clang vector extensions. Compiled once for each instruction set.
#pragma once

#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif

template <typename T>
struct Wide {
    typedef T V __attribute__((vector_size(vector_bytes)));
    static constexpr int lanes = vector_bytes / sizeof(T);
};
template <typename T>
using Vec = typename Wide<T>::V;
template <typename T>
constexpr int lanes = Wide<T>::lanes;

template <typename T>
inline Vec<T> load(const T* p) {
    return *reinterpret_cast<const Vec<T>*>(p);
}
template <typename T>
inline void store(T* p, Vec<T> v) {
    *reinterpret_cast<Vec<T>*>(p) = v;
}
template <typename T>
inline Vec<T> load_anywhere(const T* p) {  // of any alignment
    typedef T U __attribute__((vector_size(vector_bytes), aligned(1), may_alias));
    return *reinterpret_cast<const U*>(p);
}
template <typename T>
inline void store_anywhere(T* p, Vec<T> v) {
    typedef T U __attribute__((vector_size(vector_bytes), aligned(1), may_alias));
    *reinterpret_cast<U*>(p) = v;
}
template <typename T>
inline Vec<T> fill(T a) {
    return a - Vec<T>{};  // not +, which would turn -0 into 0 and so cost an instruction
}

#if defined(__AVX512F__)
inline Vec<float> root(Vec<float> x) { return _mm512_sqrt_ps(x); }
inline Vec<double> root(Vec<double> x) { return _mm512_sqrt_pd(x); }
inline Vec<float> larger(Vec<float> a, Vec<float> b) { return _mm512_max_ps(a, b); }
inline Vec<double> larger(Vec<double> a, Vec<double> b) { return _mm512_max_pd(a, b); }
#elif defined(__AVX__)
inline Vec<float> root(Vec<float> x) { return _mm256_sqrt_ps(x); }
inline Vec<double> root(Vec<double> x) { return _mm256_sqrt_pd(x); }
inline Vec<float> larger(Vec<float> a, Vec<float> b) { return _mm256_max_ps(a, b); }
inline Vec<double> larger(Vec<double> a, Vec<double> b) { return _mm256_max_pd(a, b); }
#elif defined(__x86_64__)
inline Vec<float> root(Vec<float> x) { return _mm_sqrt_ps(x); }
inline Vec<double> root(Vec<double> x) { return _mm_sqrt_pd(x); }
inline Vec<float> larger(Vec<float> a, Vec<float> b) { return _mm_max_ps(a, b); }
inline Vec<double> larger(Vec<double> a, Vec<double> b) { return _mm_max_pd(a, b); }
#else
template <typename V>
inline V root(V x) {
    for (unsigned i = 0; i < sizeof(V) / sizeof(x[0]); ++i) x[i] = sizeof(x[0]) == 4 ? __builtin_sqrtf(x[i]) : __builtin_sqrt(x[i]);
    return x;
}
template <typename V>
inline V larger(V a, V b) {
    return a > b ? a : b;
}
#endif

// a / b for 0 <= a <= b, both normal numbers: where the divider is slow, from an estimate of 14 bits and Newton's iteration.
#if defined(__AVX512F__) && defined(RECIPROCAL)
inline Vec<float> quotient(Vec<float> a, Vec<float> b) {
    const Vec<float> r = _mm512_rcp14_ps(b), q = a * r;
    return q + r * (a - b * q);
}
inline Vec<double> quotient(Vec<double> a, Vec<double> b) {
    Vec<double> r = _mm512_rcp14_pd(b);
    r = r + r * (1.0 - b * r);
    const Vec<double> q = a * r;
    return q + r * (a - b * q);
}
#else
template <typename V>
inline V quotient(V a, V b) {
    return a / b;
}
#endif

// 2 x + tiny, by the adders where they are apart from the multipliers.
template <typename V, typename T>
inline V twice(V x, T tiny) {
#if defined(RECIPROCAL)
    return T(2) * x + tiny;
#else
    return x + (x + tiny);
#endif
}

template <typename V>
inline V absolute(V x) {
    return larger(x, -x);
}
template <typename V>
inline V lesser(V a, V b) {
    return a < b ? a : b;
}
template <typename T>
inline bool any_below(Vec<T> v, T bound) {
    for (int lane = 0; lane < lanes<T>; ++lane)
        if (v[lane] < bound) return true;
    return false;
}

template <int n, typename T>
inline Vec<T> polynomial(const T (&c)[n], Vec<T> x) {  // sum_i c[i] x^i
    Vec<T> y = fill<T>(c[n - 1]);
#pragma GCC unroll 20
    for (int i = n - 2; i >= 0; --i) y = y * x + c[i];
    return y;
}

// exp(x) in double precision, 1 ulp: 2^n times the series to degree 13 on |r| <= log(2) / 2.
inline Vec<double> exponential(Vec<double> x) {
    typedef std::int64_t I __attribute__((vector_size(vector_bytes)));
    constexpr double c[] = {1., 1., 1. / 2, 1. / 6, 1. / 24, 1. / 120, 1. / 720, 1. / 5040, 1. / 40320, 1. / 362880, 1. / 3628800,
                            1. / 39916800, 1. / 479001600, 1. / 6227020800.};
    constexpr double magic = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to an integer, kept in the low bits
    x = larger(x, fill<double>(-700.0));
    x = -larger(-x, fill<double>(-700.0));
    const Vec<double> shifted = x * 1.4426950408889634 + magic, n = shifted - magic;
    const Vec<double> r = (x - n * 0.6931471803691238) - n * 1.9082149292705877e-10;
    const Vec<double> p = polynomial(c, r);
    return (Vec<double>)((I)p + ((I)shifted << 52));
}

}  // namespace

// Stored planes: values that a later segment reads, in single or double precision, for all lanes of a group.
#pragma once

#include "planes.hpp"

namespace {

typedef float Half __attribute__((vector_size(vector_bytes / 2)));

inline Vec<double> widened(const float* p) {
    Half h;
    std::memcpy(&h, p, sizeof h);
    return __builtin_convertvector(h, Vec<double>);
}
inline Half narrowed(Vec<double> v) { return __builtin_convertvector(v, Half); }

struct Place {  // one stored plane
    char* memory;
    bool wide;
    int height, width, p[2];
    std::int64_t half;  // bytes of half the lanes, where they are in double precision beside single
};

// `lanes`: of the data's precision, X; a double vector holds all of them, or half.
template <typename X>
inline Place place_of(const Stored& value, int a, int b, char* memory, int fields) {
    const int i = a * value.columns + b, at[2] = {a, b};
    Place place;
    int n[2];
    for (int axis = 0; axis < 2; ++axis) {
        const int d = value.displacement[axis][at[axis]];
        place.p[axis] = greater(0, -d);
        n[axis] = greater(0, smaller(value.size1[axis], value.size2[axis] - d) - place.p[axis]);
    }
    place.height = n[0];
    place.width = n[1];
    place.memory = memory + value.at[i] * lanes<X> * fields;
    place.wide = value.wide[i];
    place.half = std::int64_t(n[0]) * n[1] * fields * vector_bytes;
    return place;
}

// The vector of one field at cell `i` of a plane, for all lanes (float) or the lanes of one half (double).
template <typename X, typename T>
inline Vec<T> fetch(const Place& place, std::int64_t i, int half) {
    if constexpr (sizeof(T) == 4) {
        if (!place.wide) return load(reinterpret_cast<const float*>(place.memory) + i * lanes<float>);
        const double* p = reinterpret_cast<const double*>(place.memory) + i * lanes<double>;
        Half both[2] = {narrowed(load(p)), narrowed(load(p + place.half / 8))};
        Vec<float> v;
        std::memcpy(&v, both, sizeof v);
        return v;
    } else {
        if (place.wide) return load(reinterpret_cast<const double*>(place.memory + half * place.half) + i * lanes<double>);
        return widened(reinterpret_cast<const float*>(place.memory) + i * lanes<float> + half * lanes<double>);
    }
}

template <typename X, typename T>
inline void add(const Place& place, std::int64_t i, int half, Vec<T> v, double coefficient) {
    if constexpr (sizeof(T) == 4) {
        if (!place.wide) {
            float* p = reinterpret_cast<float*>(place.memory) + i * lanes<float>;
            store(p, load(p) + v * float(coefficient));
        } else {
            alignas(vector_bytes) float lane[lanes<float>];
            store(lane, v);
            double* p = reinterpret_cast<double*>(place.memory) + i * lanes<double>;
            for (int h = 0; h < 2; ++h, p += place.half / 8) store(p, load(p) + widened(lane + h * lanes<double>) * coefficient);
        }
    } else if (place.wide) {
        double* p = reinterpret_cast<double*>(place.memory + half * place.half) + i * lanes<double>;
        store(p, load(p) + v * coefficient);
    } else {
        float* p = reinterpret_cast<float*>(place.memory) + i * lanes<float> + half * lanes<double>;
        const Half sum = narrowed(widened(p) + v * coefficient);
        std::memcpy(p, &sum, sizeof sum);
    }
}

template <bool ntk, bool exact, typename X, typename T>
inline void gather_load(const Stored& value, char* memory, const Cells<T>& c, int y, int half) {
    constexpr int kept = 1 + ntk, cell = (1 + ntk + exact) * lanes<T>;
    const int a = value.index[0][c.d[0] - value.lowest[0]], b = value.index[1][c.d[1] - value.lowest[1]];
    const Place place = place_of<X>(value, a, b, memory, kept);
    for (int x = 0; x < c.width; ++x) {
        T* to = c.origin + y * c.row + x * cell;
        for (int f = 0; f < kept; ++f) store(to + f * lanes<T>, fetch<X, T>(place, (std::int64_t(y) * place.width + x) * kept + f, half));
        if constexpr (exact) store(to + kept * lanes<T>, Vec<T>{});  // only an input with itself is exact here
    }
}

struct Span {  // entries of a table for one position
    const Entry *begin, *end;
};
inline Span entries(const Table& table, int d, int p) {
    const std::int64_t i = std::int64_t(d - table.lowest) * table.positions + p;
    return {table.entries + table.start[i], table.entries + table.start[i + 1]};
}

// Whether every position of a plane goes to one place, as in a sum over the axis.
inline bool gathers(const Table& table, int d, int p, int count) {
    const Span first = entries(table, d, p);
    if (first.end - first.begin != 1) return false;
    for (int i = 1; i < count; ++i) {
        const Span s = entries(table, d, p + i);
        if (s.end - s.begin != 1 || s.begin->plane != first.begin->plane || s.begin->position != first.begin->position ||
            s.begin->coefficient != first.begin->coefficient)
            return false;
    }
    return true;
}

template <bool ntk, bool exact, typename X, typename T>
inline void reduce(const Reduction& reduction, const Stored& value, char* memory, const Cells<T>& c, int half) {
    constexpr int kept = 1 + ntk, cell = (1 + ntk + exact) * lanes<T>;
    if (!c.width) return;
    const Table &down = reduction.axis[0], &across = reduction.axis[1];
    const bool total = gathers(across, c.d[1], c.p[1], c.width);
    for (int y = 0; y < c.height; ++y) {
        const Span rows = entries(down, c.d[0], c.p[0] + y);
        if (rows.begin == rows.end) continue;
        const T* in = c.origin + y * c.row;
        Vec<T> sums[2] = {};
        if (total)
            for (int x = 0; x < c.width; ++x)
                for (int f = 0; f < kept; ++f) sums[f] += load(in + x * cell + f * lanes<T>);
        for (const Entry* r = rows.begin; r < rows.end; ++r)
            for (int x = 0; x < (total ? 1 : c.width); ++x) {
                const Span columns = entries(across, c.d[1], c.p[1] + x);
                for (const Entry* s = columns.begin; s < columns.end; ++s) {
                    const Place place = place_of<X>(value, r->plane, s->plane, memory, kept);
                    const std::int64_t i = std::int64_t(r->position - place.p[0]) * place.width + s->position - place.p[1];
                    for (int f = 0; f < kept; ++f)
                        add<X, T>(place, i * kept + f, half, total ? sums[f] : load(in + x * cell + f * lanes<T>),
                                  r->coefficient * s->coefficient);
                }
            }
    }
}

}  // namespace

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

// `at` numbers the cells and fields of a plane: cell * fields + field.
template <typename X>
inline char* memory_of(const Place& place, char* memory, int fields) {
    return memory + place.at * lanes<X> * fields;
}
inline std::int64_t half_of(const Place& place, int fields) {  // doubles to the other half of the lanes
    return std::int64_t(place.height) * place.width * fields * lanes<double>;
}

// The vector of one field at cell `i` of a plane, for all lanes (float) or the lanes of one half (double).
template <typename X, int fields, typename T>
inline Vec<T> fetch(const Place& place, char* stored, std::int64_t i, int half) {
    char* memory = memory_of<X>(place, stored, fields);
    if constexpr (sizeof(T) == 4) {
        if (!place.wide) return load(reinterpret_cast<const float*>(memory) + i * lanes<float>);
        const double* p = reinterpret_cast<const double*>(memory) + i * lanes<double>;
        Half both[2] = {narrowed(load(p)), narrowed(load(p + half_of(place, fields)))};
        Vec<float> v;
        std::memcpy(&v, both, sizeof v);
        return v;
    } else {
        if (place.wide) return load(reinterpret_cast<const double*>(memory) + half * half_of(place, fields) + i * lanes<double>);
        return widened(reinterpret_cast<const float*>(memory) + i * lanes<float> + half * lanes<double>);
    }
}

template <typename X, int fields, typename T>
inline void add(const Place& place, char* stored, std::int64_t i, int half, Vec<T> v, double coefficient) {
    char* memory = memory_of<X>(place, stored, fields);
    if constexpr (sizeof(T) == 4) {
        if (!place.wide) {
            float* p = reinterpret_cast<float*>(memory) + i * lanes<float>;
            store(p, load(p) + v * float(coefficient));
        } else {
            alignas(vector_bytes) float lane[lanes<float>];
            store(lane, v);
            double* p = reinterpret_cast<double*>(memory) + i * lanes<double>;
            for (int h = 0; h < 2; ++h, p += half_of(place, fields)) store(p, load(p) + widened(lane + h * lanes<double>) * coefficient);
        }
    } else if (place.wide) {
        double* p = reinterpret_cast<double*>(memory) + half * half_of(place, fields) + i * lanes<double>;
        store(p, load(p) + v * coefficient);
    } else {
        float* p = reinterpret_cast<float*>(memory) + i * lanes<float> + half * lanes<double>;
        const Half sum = narrowed(widened(p) + v * coefficient);
        std::memcpy(p, &sum, sizeof sum);
    }
}

template <bool ntk, bool exact, typename X, typename T>
inline void gather_load(const Stored& value, char* memory, const Cells<T>& c, int y, int half) {
    constexpr int kept = 1 + ntk, cell = (1 + ntk + exact) * lanes<T>;
    const int a = value.index[0][c.d[0] - value.lowest[0]], b = value.index[1][c.d[1] - value.lowest[1]];
    const Place& place = value.places[a * value.columns + b];
    for (int x = 0; x < c.width; ++x) {
        T* to = c.origin + y * c.row + x * cell;
        for (int f = 0; f < kept; ++f) store(to + f * lanes<T>, fetch<X, kept, T>(place, memory, (std::int64_t(y) * place.width + x) * kept + f, half));
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
    constexpr int near = 8;  // planes side by side whose rows are found once
    int lowest = 1 << 30, highest = -1;
    for (const Entry* s = entries(across, c.d[1], c.p[1]).begin; s < entries(across, c.d[1], c.p[1] + c.width - 1).end; ++s) {
        lowest = smaller(lowest, s->plane);
        highest = greater(highest, s->plane);
    }
    const int planes = highest - lowest < near ? highest - lowest + 1 : near + 1;
    for (int y = 0; y < c.height; ++y) {
        const Span rows = entries(down, c.d[0], c.p[0] + y);
        if (rows.begin == rows.end) continue;
        const T* in = c.origin + y * c.row;
        Vec<T> sums[2] = {};
        if (total)
            for (int x = 0; x < c.width; ++x)
                for (int f = 0; f < kept; ++f) sums[f] += load(in + x * cell + f * lanes<T>);
        for (const Entry* r = rows.begin; r < rows.end; ++r) {
            const Place* places = value.places + r->plane * value.columns;
            if (total) {
                const Entry& s = *entries(across, c.d[1], c.p[1]).begin;
                const Place& place = places[s.plane];
                const std::int64_t i = std::int64_t(r->position - place.p[0]) * place.width + s.position - place.p[1];
                for (int f = 0; f < kept; ++f) add<X, kept, T>(place, memory, i * kept + f, half, sums[f], r->coefficient * s.coefficient);
                continue;
            }
            T* base[near];  // cells of the row that is added to, in each of the planes that its positions go to
            for (int p = 0; p < planes && planes <= near; ++p) {
                const Place& place = places[lowest + p];
                const std::int64_t cells = std::int64_t(r->position - place.p[0]) * place.width - place.p[1];
                char* at = memory_of<X>(place, memory, kept);
                base[p] = place.wide == (sizeof(T) == 8) && r->position >= place.p[0] && r->position < place.p[0] + place.height
                              ? reinterpret_cast<T*>(at) + (sizeof(T) == 8 ? half * half_of(place, kept) : 0) + cells * kept * lanes<T>
                              : nullptr;
            }
            const T weight = T(r->coefficient);
            for (int x = 0; x < c.width; ++x) {
                const Span columns = entries(across, c.d[1], c.p[1] + x);
                for (const Entry* s = columns.begin; s < columns.end; ++s) {
                    const T* value_at = in + x * cell;
                    T* to = planes <= near ? base[s->plane - lowest] : nullptr;
                    if (to) {
                        to += std::int64_t(s->position) * kept * lanes<T>;
                        const T coefficient = weight * T(s->coefficient);
                        for (int f = 0; f < kept; ++f) store(to + f * lanes<T>, load(to + f * lanes<T>) + load(value_at + f * lanes<T>) * coefficient);
                        continue;
                    }
                    const Place& place = places[s->plane];
                    const std::int64_t i = std::int64_t(r->position - place.p[0]) * place.width + s->position - place.p[1];
                    for (int f = 0; f < kept; ++f)
                        add<X, kept, T>(place, memory, i * kept + f, half, load(value_at + f * lanes<T>), r->coefficient * s->coefficient);
                }
            }
        }
    }
}

}  // namespace

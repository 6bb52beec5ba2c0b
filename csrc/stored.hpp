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

inline bool same_place(Span a, Span b) {  // one place, with one coefficient
    return a.end - a.begin == 1 && b.end - b.begin == 1 && a.begin->plane == b.begin->plane && a.begin->position == b.begin->position &&
           a.begin->coefficient == b.begin->coefficient;
}

struct Part {  // neighbouring positions of a row that go to one place
    int x, count;
    const Entry* to;
};

constexpr int near_planes = 8;  // planes side by side whose rows are found once
constexpr int most_parts = 64;  // of a row, between two passes over the rows

// The sum of one field over `count` cells of one or two rows.
template <int rows, typename T>
inline Vec<T> neighbours(const T* from, std::int64_t row, std::int64_t cell, int count) {
    Vec<T> sum = load(from);
    if (rows == 2) sum += load(from + row);
    for (int x = 1; x < count; ++x) {
        from += cell;
        sum += rows == 2 ? load(from) + load(from + row) : load(from);
    }
    return sum;
}

// What `rows` rows of a plane add to one row of a stored value.
template <int rows, bool ntk, bool exact, typename X, typename T>
inline void add_parts(const Part* parts, int count, const Entry& row, const Place* places, int lowest, int highest, char* memory,
                      const Cells<T>& c, const T* in, int half) {
    constexpr int kept = 1 + ntk;
    constexpr std::int64_t cell = (1 + ntk + exact) * lanes<T>;
    T* base[near_planes] = {};  // the cells that are added to, in each of the planes
    for (int p = lowest; p <= highest && highest - lowest < near_planes; ++p) {
        const Place& place = places[p];
        if (place.wide != (sizeof(T) == 8) || row.position < place.p[0] || row.position >= place.p[0] + place.height) continue;
        T* at = reinterpret_cast<T*>(memory_of<X>(place, memory, kept)) + (sizeof(T) == 8 ? half * half_of(place, kept) : 0);
        base[p - lowest] = at + (std::int64_t(row.position - place.p[0]) * place.width - place.p[1]) * kept * lanes<T>;
    }
    const T weight = T(row.coefficient);
    for (const Part* part = parts; part < parts + count; ++part) {
        const T* from = in + part->x * cell;
        const Entry& to = *part->to;
        T* at = highest - lowest < near_planes ? base[to.plane - lowest] : nullptr;
        if (at) {
            at += std::int64_t(to.position) * kept * lanes<T>;
            const T coefficient = weight * T(to.coefficient);
            for (int f = 0; f < kept; ++f) {
                const Vec<T> sum = neighbours<rows>(from + f * lanes<T>, c.row, cell, part->count);
                store(at + f * lanes<T>, load(at + f * lanes<T>) + sum * coefficient);
            }
            continue;
        }
        const Place& place = places[to.plane];
        const std::int64_t i = std::int64_t(row.position - place.p[0]) * place.width + to.position - place.p[1];
        for (int f = 0; f < kept; ++f)
            add<X, kept, T>(place, memory, i * kept + f, half, neighbours<rows>(from + f * lanes<T>, c.row, cell, part->count),
                            row.coefficient * to.coefficient);
    }
}

template <bool ntk, bool exact, typename X, typename T>
inline void reduce(const Reduction& reduction, const Stored& value, char* memory, const Cells<T>& c, int half) {
    if (!c.width || !c.height) return;
    const Table &down = reduction.axis[0], &across = reduction.axis[1];
    auto column = [&](int x) { return entries(across, c.d[1], c.p[1] + x); };
    const Entry *entry = column(0).begin, *end = column(c.width - 1).end;
    for (int x = 0; entry < end;) {
        Part parts[most_parts];
        int count = 0, lowest = 1 << 30, highest = -1;
        for (; entry < end && count < most_parts; ++entry) {
            while (column(x).end <= entry) ++x;
            if (count && parts[count - 1].x + parts[count - 1].count == x && same_place(column(x - 1), column(x))) {
                ++parts[count - 1].count;
                continue;
            }
            parts[count++] = Part{x, 1, entry};
            lowest = smaller(lowest, entry->plane);
            highest = greater(highest, entry->plane);
        }
        for (int y = 0; y < c.height;) {
            const Span rows = entries(down, c.d[0], c.p[0] + y);
            const bool two = y + 1 < c.height && same_place(rows, entries(down, c.d[0], c.p[0] + y + 1));
            const T* in = c.origin + y * c.row;
            for (const Entry* r = rows.begin; r < rows.end; ++r) {
                const Place* places = value.places + r->plane * value.columns;
                if (two) add_parts<2, ntk, exact, X>(parts, count, *r, places, lowest, highest, memory, c, in, half);
                else add_parts<1, ntk, exact, X>(parts, count, *r, places, lowest, highest, memory, c, in, half);
            }
            y += two ? 2 : 1;
        }
    }
}

}  // namespace

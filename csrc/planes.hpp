// One displacement plane of a group of pairs, and where its values come from: data, stored planes, windows, sums.
#pragma once

#include <cstring>

#include "rows.hpp"

namespace {

inline int smaller(int a, int b) { return a < b ? a : b; }
inline int greater(int a, int b) { return a > b ? a : b; }

template <typename T>
struct Cells {  // the positions of one plane that exist in both inputs, with a ring of zeros around them
    T* origin;         // the cell of the first position
    std::int64_t row;  // numbers from a row to the next
    int height, width;
    int p[2], d[2];    // the first position in the first input; the displacement
    int width1, width2;
};

template <typename T>
inline Cells<T> cells_of(const Step& step, const Plane& plane, T* memory, int fields, int groups) {
    Cells<T> c;
    int n[2];
    for (int a = 0; a < 2; ++a) {
        c.d[a] = plane.d[a] * step.stride[a];
        c.p[a] = greater(0, -c.d[a]);
        n[a] = greater(0, smaller(step.size1[a], step.size2[a] - c.d[a]) - c.p[a]);
    }
    c.height = n[0];
    c.width = groups > 0 ? groups : n[1];
    const std::int64_t cell = std::int64_t(fields) * lanes<T>;
    c.row = (c.width + step.ring[2] + step.ring[3]) * cell;
    c.origin = memory + step.ring[0] * c.row + step.ring[2] * cell;
    c.width1 = step.size1[1];
    c.width2 = step.size2[1];
    return c;
}

template <typename T>
inline void clear_ring(const Step& step, const Cells<T>& c, int fields) {
    if (!(step.ring[0] | step.ring[1] | step.ring[2] | step.ring[3])) return;
    const std::int64_t cell = std::int64_t(fields) * lanes<T>;
    T* start = c.origin - step.ring[0] * c.row - step.ring[2] * cell;
    std::memset(start, 0, step.ring[0] * c.row * sizeof(T));
    std::memset(start + (step.ring[0] + c.height) * c.row, 0, step.ring[1] * c.row * sizeof(T));
    for (int y = 0; y < c.height; ++y) {
        T* row = start + (step.ring[0] + y) * c.row;
        std::memset(row, 0, step.ring[2] * cell * sizeof(T));
        std::memset(row + (step.ring[2] + c.width) * cell, 0, step.ring[3] * cell * sizeof(T));
    }
}

template <typename T>
inline Row<T> row_of(const Cells<T>& c, int y, const Inputs<T>& inputs) {
    const std::int64_t first = std::int64_t(c.p[0] + y) * c.width1 + c.p[1];
    const std::int64_t second = std::int64_t(c.p[0] + y + c.d[0]) * c.width2 + c.p[1] + c.d[1];
    return {c.origin + y * c.row, c.width, first, second, {c.d[0] == 0, c.d[1] == 0}, &inputs};
}

// K = sum_c x1 x2 / C,  e = sum_c (x1 - x2)^2 / 2 C; sums of 16 channels at a time, so that long ones do not drift
template <bool ntk, bool exact, typename T>
inline void gather_input(const Step& step, const Row<T>& row) {
    const Inputs<T>& in = *row.inputs;
    const std::int64_t positions1 = std::int64_t(step.size1[0]) * step.size1[1], positions2 = std::int64_t(step.size2[0]) * step.size2[1];
    const T mean = T(1) / T(step.channels);
    each<ntk, exact>(row, [&](int i, Vec<T>& k, Vec<T>& t, Vec<T>& e) {
        k = e = t = Vec<T>{};
        const T* b = in.x2 + (step.offset2 * in.across + row.second + i) * lanes<T>;
        const T* a = in.self ? in.x2 + (step.offset1 * in.across + row.first + i) * lanes<T> : in.x1 + step.offset1 + row.first + i * in.along;
        for (int block = 0; block < step.channels; block += 16) {
            Vec<T> product{}, square{};
            for (int c = block; c < smaller(block + 16, step.channels); ++c) {
                const Vec<T> x = in.self ? load(a + c * positions1 * in.across * lanes<T>) : fill(a[c * positions1]);
                const Vec<T> y = load(b + c * positions2 * in.across * lanes<T>), gap = x - y;
                product += x * y;
                if constexpr (exact) square += gap * gap;
            }
            k += product;
            if constexpr (exact) e += square;
        }
        k *= mean;
        if constexpr (exact) e *= mean * T(0.5);
    });
}

template <bool ntk, bool exact, typename T>
inline void gather_matrix(const Row<T>& row) {
    const Inputs<T>& in = *row.inputs;
    each<ntk, exact>(row, [&](int i, Vec<T>& k, Vec<T>& t, Vec<T>& e) {
        k = load(in.matrix + i * lanes<T>);
        t = Vec<T>{};
        if constexpr (exact) e = load(in.distance + i * lanes<T>);
    });
}

// The tied sum over a window: first over rows into `line`, then along them.
template <int fields, typename T>
inline void gather_map(const Step& step, const Cells<T>& from, const Cells<T>& to, int y, T* line) {
    constexpr int n = lanes<T>, cell = fields * n;
    const Taps &down = step.taps[0], &across = step.taps[1];
    const int low = across.offsets[0], high = across.offsets[across.count - 1];
    const int start = across.step * to.p[1] + low - from.p[1];
    const int span = across.step * (to.width - 1) + high - low + 1;
    const T* rows = from.origin + std::int64_t(start) * cell;
    const int first = down.step * (to.p[0] + y) - from.p[0];
    for (int x = 0; x < span * fields; ++x) {
        Vec<T> sum = load(rows + (first + down.offsets[0]) * from.row + x * n);
        for (int k = 1; k < down.count; ++k) sum += load(rows + (first + down.offsets[k]) * from.row + x * n);
        store(line + x * n, sum);
    }
    T* out = to.origin + y * to.row;
    for (int x = 0; x < to.width; ++x) {
        const T* at = line + std::int64_t(across.step) * x * cell;
        for (int f = 0; f < fields; ++f) {
            Vec<T> sum = load(at + f * n);
            for (int k = 1; k < across.count; ++k) sum += load(at + (across.offsets[k] - low) * cell + f * n);
            store(out + x * cell + f * n, sum);
        }
    }
}

template <int fields, typename T>
inline void gather_mix(const Step& step, const Cells<T>* planes, const Cells<T>& to, int y) {
    T* out = to.origin + y * to.row;
    for (int s = 0; s < step.source_count; ++s) {
        const Cells<T>& from = planes[step.sources[s]];
        const T* in = from.origin + y * from.row;
        const T weight = T(step.weights[s]);
        for (int x = 0; x < to.width * fields; ++x) {
            const Vec<T> v = load(in + x * lanes<T>) * weight;
            store(out + x * lanes<T>, s ? load(out + x * lanes<T>) + v : v);
        }
    }
}

// The commonest layer in one pass: a 3 x 3 window of step 1, affine, ReLU family.
inline bool is_three(const Taps& taps) {
    return taps.step == 1 && taps.count == 3 && taps.offsets[2] - taps.offsets[0] == 2;
}
inline bool is_fused(const Step& step) {
    return step.gather == Gather::map && step.op_count > 1 && is_three(step.taps[0]) && is_three(step.taps[1]) &&
           step.ops[0].kind == Kind::affine && step.ops[1].kind == Kind::relu;
}

template <bool ntk, bool exact, bool signs, typename T>
inline void fused_row(const Step& step, const Cells<T>& from, const Row<T>& row, int y, const int (&p)[2]) {
    constexpr int fields = 1 + ntk + exact, n = lanes<T>, cell = fields * n;
    const T* r0 = from.origin + (p[0] + y + step.taps[0].offsets[0] - from.p[0]) * from.row +
                  std::int64_t(p[1] + step.taps[1].offsets[0] - from.p[1]) * cell;
    const T *r1 = r0 + from.row, *r2 = r1 + from.row;
    const double *line = step.ops[0].c, *curve = step.ops[1].c;
    const T* x = row.left(step.ops[1].slots[0]);
    const T* right = row.right(step.ops[1].slots[0]);
    T* __restrict out = row.cells;
    Vec<T> pair[fields], last[fields];
    for (int f = 0; f < fields; ++f) {
        const Vec<T> a = load(r0 + f * n) + load(r1 + f * n) + load(r2 + f * n);
        last[f] = load(r0 + cell + f * n) + load(r1 + cell + f * n) + load(r2 + cell + f * n);
        pair[f] = a + last[f];
    }
    for (int i = 0; i < row.width; ++i) {
        Vec<T> sum[3];
        for (int f = 0; f < fields; ++f) {
            const std::int64_t at = std::int64_t(i + 2) * cell + f * n;
            const Vec<T> next = load(r0 + at) + load(r1 + at) + load(r2 + at);
            sum[f] = pair[f] + next;
            pair[f] = last[f] + next;
            last[f] = next;
        }
        Vec<T> k = sum[0], t = ntk ? sum[1] : Vec<T>{}, e = exact ? sum[fields - 1] : Vec<T>{};
        affine<ntk, exact, T>(line, k, t, e);
        relu<ntk, exact, signs, T>(curve, fill(x[i]), load(right + i * n), k, t, e);
        T* to = out + std::int64_t(i) * cell;
        store(to, k);
        if constexpr (ntk) store(to + n, t);
        if constexpr (exact) store(to + (fields - 1) * n, e);
    }
}

}  // namespace

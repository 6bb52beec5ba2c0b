// One displacement plane of a group of pairs, and where its values come from: data, stored planes, windows, sums.
#pragma once

#include <cstring>
#include <type_traits>

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
inline void clear(T* from, std::int64_t numbers) {
    for (std::int64_t i = 0; i < numbers; i += lanes<T>) store(from + i, Vec<T>{});
}

template <typename T>
inline void clear_ring(const Step& step, const Cells<T>& c, int fields) {
    const std::int64_t cell = std::int64_t(fields) * lanes<T>, left = step.ring[2] * cell, right = step.ring[3] * cell;
    T* row = c.origin - step.ring[0] * c.row - left;
    clear(row, step.ring[0] * c.row);
    row += step.ring[0] * c.row;
    for (int y = 0; y < c.height; ++y, row += c.row) {
        clear(row, left);
        clear(row + left + c.width * cell, right);
    }
    clear(row, step.ring[1] * c.row);
}

// Whether a buffer that held one value has the ring of another already: the next layer's is mostly the last one's.
template <typename T>
inline bool same_ring(const Step& a, const Cells<T>& x, const Step& b, const Cells<T>& y) {
    return x.origin == y.origin && x.row == y.row && x.height == y.height && x.width == y.width && a.ring[0] == b.ring[0] &&
           a.ring[1] == b.ring[1] && a.ring[2] == b.ring[2] && a.ring[3] == b.ring[3];
}

template <typename T>
inline Row<T> row_of(const Cells<T>& c, int y, const Inputs<T>& inputs, Vec<T>* least) {
    const std::int64_t first = std::int64_t(c.p[0] + y) * c.width1 + c.p[1];
    const std::int64_t second = std::int64_t(c.p[0] + y + c.d[0]) * c.width2 + c.p[1] + c.d[1];
    T* cells = c.origin + y * c.row;
    return {cells, cells, c.width, first, second, {c.d[0] == 0, c.d[1] == 0}, &inputs, least};
}

// Rows from y on, read from the same rows of another value.
template <typename T>
inline Rows<T> rows_of(const Cells<T>& c, const Cells<T>& from, int y, int count, const Inputs<T>& inputs, Vec<T>* least) {
    Row<T> top = row_of(c, y, inputs, least);
    top.from = from.origin + y * from.row;
    const std::int64_t packed = std::int64_t(inputs.across) * lanes<T>;
    return {top, count, c.row, from.row, c.width1, c.width2, c.width1 * (inputs.self ? packed : 1), c.width2 * packed};
}

// K = sum_c x1 x2 / C,  e = sum_c (x1 - x2)^2 / 2 C; sums of 16 channels at a time, so that long ones do not drift
template <bool ntk, bool exact, bool bare, int known, typename T>
inline void gather_channels(const Step& step, const Row<T>& row) {
    constexpr int n = lanes<T>;
    const Inputs<T>& in = *row.inputs;
    const bool self = in.self;
    const int channels = known ? known : step.channels, across = in.self ? n * in.across : 1, along = in.self ? n : in.along;
    const std::int64_t next1 = std::int64_t(step.size1[0]) * step.size1[1] * across;
    const std::int64_t next2 = std::int64_t(step.size2[0]) * step.size2[1] * in.across * n;
    const T mean = T(1) / T(channels);
    const T* left = in.self ? in.x2 + (step.offset1 * in.across + row.first) * n : in.x1 + step.offset1 + row.first;
    const T* right = in.x2 + (step.offset2 * in.across + row.second) * n;
    each<ntk, exact, ntk && !bare>(row, [=](int i, Vec<T>& k, Vec<T>& t, Vec<T>& e) {
        k = e = t = Vec<T>{};
        if constexpr (known > 0) {
            const T *a = left + i * along, *b = right + i * n;
#pragma GCC unroll 4
            for (int c = 0; c < known; ++c) {
                const Vec<T> x = self ? load(a + c * next1) : fill(a[c * next1]), y = load(b + c * next2), gap = x - y;
                k += x * y;
                if constexpr (exact) e += gap * gap;
            }
        }
        for (int block = 0; block < (known ? 0 : channels); block += 16) {
            const int end = smaller(block + 16, channels);
            Vec<T> product{}, square{};
            const T *a = left + i * along + block * next1, *b = right + i * n + block * next2;
            for (int c = block; c < end; ++c, a += next1, b += next2) {
                const Vec<T> x = self ? load(a) : fill(*a), y = load(b), gap = x - y;
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

template <bool ntk, bool exact, bool bare, typename T>
inline void gather_input(const Step& step, const Row<T>& row) {
    if (step.channels == 1) gather_channels<ntk, exact, bare, 1>(step, row);
    else if (step.channels == 3) gather_channels<ntk, exact, bare, 3>(step, row);
    else gather_channels<ntk, exact, bare, 0>(step, row);
}

template <bool ntk, bool exact, typename T>
inline void gather_input(const Step& step, const Row<T>& row) {
    if (ntk && step.bare && !row.inputs->self) gather_input<ntk, exact, true>(step, row);
    else gather_input<ntk, exact, false>(step, row);
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

enum class Curve { none, acute, any };  // no function; one of covariances that are never negative; or of any

// Vertical sums of three for `rows` rows of the result, from 2 more of the source.
template <int rows, typename T>
inline void columns(const T* at, std::int64_t next, Vec<T>* sums) {
    const Vec<T> middle = load(at + next);
    if constexpr (rows == 1) {
        sums[0] = load(at) + middle + load(at + 2 * next);
    } else {
        const Vec<T> both = middle + load(at + 2 * next);
        sums[0] = load(at) + both;
        sums[1] = both + load(at + 3 * next);
    }
}

template <typename T>
struct Branch {  // what a sum has beside the window's result: the sum so far, and the next step, if that is a function of the new one
    const Cells<T>* so_far = nullptr;
    T weight = 0;
    const Step* next = nullptr;
    const Cells<T>* result = nullptr;
};

// A step in one pass, of a source that may be `bare`; its affine operation may be `tied`. It may end in a sum, which is kept, and
// whose function goes to where the next step is.
template <bool ntk, bool exact, bool watched, Curve curve, bool bare, bool tied, bool sums, typename T>
struct Fused {
    static constexpr int fields = 1 + ntk + exact, n = lanes<T>, cell = fields * n;
    static constexpr bool reads(int field) { return !(bare && field == 1); }
    static constexpr bool bent = curve != Curve::none;
    const Line<T> line;
    Bending<ntk, exact, watched, curve == Curve::any, T> upper, lower;  // of two rows each has one on its way
    std::int64_t next, next_out, next1, next2;  // numbers to the next row: source, result, the slot on both sides
    int width;
    T weight;                                 // of the sum so far
    std::int64_t next_so_far, next_result;    // numbers to its next row, and to that of the function

    // `rows` rows from the source's row above them.
    template <int rows>
    inline void run(const T* in, T* out, const T* x, const T* right, const T* so_far, T* result) {
        Vec<T> pair[fields][rows], last[fields][rows];
        for (int f = 0; f < fields; ++f) {
            if (!reads(f)) continue;
            Vec<T> first[rows];
            columns<rows>(in + f * n, next, first);
            columns<rows>(in + cell + f * n, next, last[f]);
            for (int r = 0; r < rows; ++r) pair[f][r] = first[r] + last[f][r];
        }
        for (int i = 0; i < width; ++i) {
            Vec<T> sum[fields][rows];
            for (int f = 0; f < fields; ++f) {
                if (!reads(f)) continue;
                Vec<T> column[rows];
                columns<rows>(in + std::int64_t(i + 2) * cell + f * n, next, column);
                for (int r = 0; r < rows; ++r) {
                    sum[f][r] = pair[f][r] + column[r];
                    pair[f][r] = last[f][r] + column[r];
                    last[f][r] = column[r];
                }
            }
#pragma GCC unroll 2
            for (int r = 0; r < rows; ++r) {
                Vec<T> k = sum[0][r], t = ntk && !bare ? sum[fields - 1 - exact][r] : Vec<T>{}, e = exact ? sum[fields - 1][r] : Vec<T>{};
                if constexpr (ntk && bare && !tied) t = line.grow * k + line.shift;
                affine<ntk && !bare, exact, tied>(line, k, t, e);
                if constexpr (ntk && bare && tied) t = k;
                T* cells = out + r * next_out + std::int64_t(i) * cell;
                if constexpr (sums) {
                    const T* other = so_far + r * next_so_far + std::int64_t(i) * cell;
                    k += weight * load(other);
                    if constexpr (ntk) t += weight * load(other + n);
                    if constexpr (exact) e += weight * load(other + (fields - 1) * n);
                }
                if constexpr (sums || !bent) {
                    store(cells, k);
                    if constexpr (ntk) store(cells + n, t);
                    if constexpr (exact) store(cells + (fields - 1) * n, e);
                }
                if constexpr (bent) {
                    T* to = sums ? result + r * next_result + std::int64_t(i) * cell : cells;
                    (r ? lower : upper)(to, fill(x[r * next1 + i]), load(right + r * next2 + i * n), k, t, e);
                }
            }
        }
    }
};

template <bool ntk, bool exact, bool watched, Curve curve, bool bare, bool tied, bool sums = false, typename T>
void fused(const Step& step, const Cells<T>& from, const Cells<T>& to, const Inputs<T>& in, Vec<T>* least, const Branch<T>& branch = {}) {
    using F = Fused<ntk, exact, watched, curve, bare, tied, sums, T>;
    const Op& function = F::bent ? sums ? branch.next->ops[0] : step.ops[1] : step.ops[0];
    const Cells<T>& result = sums && F::bent ? *branch.result : to;
    const Row<T> top = row_of(to, 0, in, least);
    const T *x = nullptr, *right = nullptr, *so_far = nullptr;
    if constexpr (F::bent) x = top.left(function.slots[0]), right = top.right(function.slots[0]);
    if constexpr (sums) so_far = branch.so_far->origin;
    const T* source = from.origin + (to.p[0] + step.taps[0].offsets[0] - from.p[0]) * from.row +
                      std::int64_t(to.p[1] + step.taps[1].offsets[0] - from.p[1]) * F::cell;
    const bool two = to.height > 1;
    F work{Line<T>(step.ops[0].c), {function, result.origin}, {function, result.origin + two * result.row}, from.row, to.row,
           F::bent ? to.width1 : 0, F::bent ? std::int64_t(to.width2) * F::n : 0, to.width, branch.weight,
           sums ? branch.so_far->row : 0, result.row};
    auto rows = [&](auto count, int y) {
        work.template run<count()>(source + y * from.row, to.origin + y * to.row, x + y * work.next1, right + y * work.next2,
                                   so_far + y * work.next_so_far, result.origin + y * result.row);
    };
    int y = 0;
    for (; y + 2 <= to.height; y += 2) rows(std::integral_constant<int, 2>{}, y);
    for (; y < to.height; ++y) rows(std::integral_constant<int, 1>{}, y);
    if constexpr (F::bent) {
        work.upper.finish();
        if (two) work.lower.finish();
    }
    if constexpr (watched) *least = lesser(*least, lesser(work.upper.least, work.lower.least));
}

// A step that ends in a sum, and with it the function of that sum which the next step is.
template <bool ntk, bool exact, bool watched, typename T>
void fused_sum(const Step& step, const Cells<T>& from, const Cells<T>& to, const Inputs<T>& in, Vec<T>* least, const Branch<T>& branch) {
    if (branch.next) fused<ntk, exact, watched, Curve::any, false, ntk, true>(step, from, to, in, least, branch);
    else fused<ntk, exact, false, Curve::none, false, ntk, true>(step, from, to, in, least, branch);
}

template <bool ntk, bool exact, bool watched, bool bare, bool tied, typename T>
void fused(const Step& step, const Cells<T>& from, const Cells<T>& to, const Inputs<T>& in, Vec<T>* least) {
    if (!is_bent(step)) fused<ntk, exact, false, Curve::none, bare, tied>(step, from, to, in, least);
    else if (bare || step.ops[1].c[2] != 0) fused<ntk, exact, watched, Curve::any, bare, tied>(step, from, to, in, least);
    else fused<ntk, exact, watched, Curve::acute, false, tied>(step, from, to, in, least);
}

template <bool ntk, bool exact, bool watched, bool bare, typename T>
void fused(const Step& step, const Cells<T>& from, const Cells<T>& to, const Inputs<T>& in, Vec<T>* least) {
    if (ntk && Line<T>(step.ops[0].c).tied()) fused<ntk, exact, watched, bare, ntk>(step, from, to, in, least);
    else fused<ntk, exact, watched, bare, false>(step, from, to, in, least);
}

template <bool ntk, bool exact, bool watched, typename T>
void fused(const Step& step, bool bare, const Cells<T>& from, const Cells<T>& to, const Inputs<T>& in, Vec<T>* least) {
    if (ntk && bare) fused<ntk, exact, watched, ntk>(step, from, to, in, least);
    else fused<ntk, exact, watched, false>(step, from, to, in, least);
}

}  // namespace

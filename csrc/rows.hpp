// What is done to every position on its own, a row of a plane at a time.
//
// A row is `width` cells; a cell is one vector a field: the covariance k, the tangent t (where `ntk`), and half the squared
// distance e (where `exact`).
#pragma once

#include <limits>

#include "duals.hpp"
#include "plan.hpp"

namespace {

using namespace torchtangents;

template <typename T>
struct Inputs {  // the per-input numbers of one group: the first input's as they are, the second inputs' packed by lane
    const T *x1, *x2;
    const T *slots1, *slots2;
    const std::int64_t *begin1, *begin2;
    int across;        // groups side by side (flat), else 1
    int along;         // how far the first position moves with a cell: 1, or 0 where groups stand side by side
    bool self;         // every second input with itself: both sides are packed
    const T* same;     // a vector a group: 1 where both inputs are one sample
    const T *matrix, *distance;  // of a matrix product: a row of covariances, by column, and half the squared distances
    bool close;        // whether pairs may nearly agree, so that the distance is to be carried
};

template <typename T>
struct Row {
    T* cells;
    const T* from;  // where the first operation reads: the cells themselves, or those of another value
    int width;
    std::int64_t first, second;  // index of the row's first position in both inputs
    bool zero[2];                // whether the plane is displaced along each axis
    const Inputs<T>* inputs;
    Vec<T>* least;  // the least tan^2(theta / 2) / 2 of any pair so far

    const T* left(int slot) const {
        if (inputs->self) return inputs->slots1 + (inputs->begin1[slot] * inputs->across + first) * lanes<T>;
        return inputs->slots1 + inputs->begin1[slot] + first;
    }
    // What the first input has at cell i, for all lanes.
    Vec<T> at(const T* left, int i) const { return inputs->self ? load(left + i * lanes<T>) : fill(left[i * inputs->along]); }
    const T* right(int slot) const { return inputs->slots2 + (inputs->begin2[slot] * inputs->across + second) * lanes<T>; }
};

template <typename T>
struct Rows {  // `count` rows, one below the other
    Row<T> top;
    int count;
    std::int64_t next, next_from;  // numbers to the next row: of the cells, and of where they are from
    std::int64_t width1, width2;   // positions to the next row in both inputs
    std::int64_t next1, next2;     // and numbers of a slot

    Row<T> at(int r) const {
        Row<T> row = top;
        row.cells += r * next, row.from += r * next_from, row.first += r * width1, row.second += r * width2;
        return row;
    }
};

template <bool ntk, bool exact, bool tangents, typename T, typename Change>  // tangents: whether they are read and written, too
inline void each(const Row<T>& row, Change change) {
    constexpr int fields = 1 + ntk + exact, n = lanes<T>;
    for (int i = 0; i < row.width; ++i) {
        const T* from = row.from + std::int64_t(i) * fields * n;
        T* cell = row.cells + std::int64_t(i) * fields * n;
        Vec<T> k = load(from), t{}, e{};
        if constexpr (tangents) t = load(from + n);
        if constexpr (exact) e = load(from + (fields - 1) * n);
        change(i, k, t, e);
        store(cell, k);
        if constexpr (tangents) store(cell + n, t);
        if constexpr (exact) store(cell + (fields - 1) * n, e);
    }
}

template <bool ntk, bool exact, typename T, typename Change>
inline void each(const Row<T>& row, Change change) {
    each<ntk, exact, ntk>(row, change);
}

// The ReLU family in two stages: a vector's angle is found while the root and polynomial of the one before it are on their way,
// since a vector takes longer than the processor looks ahead. At first there is none, and what is written is overwritten.
// `least` keeps the least tan^2(theta / 2) / 2, where `watched`.
template <bool ntk, bool exact, bool watched, bool signs, typename T>
struct Bending {
    const Bend<T> bend;
    T* cell;
    Vec<T> k{}, t{}, e{}, least = fill<T>(1);
    Angle<T> at{};

    Bending(const Op& op, T* first) : bend(op.c), cell(first) {}

    inline void operator()(T* to, Vec<T> x, Vec<T> y, Vec<T> k1, Vec<T> t1, Vec<T> e1) {
        const Angle<T> next = angle<exact, signs, T>(x, y, k1, e1);
        if constexpr (watched) least = lesser(least, next.u);
        finish();
        cell = to, k = k1, t = t1, e = e1, at = next;
    }
    inline void finish() {
        relu<ntk, exact, signs, T>(bend, at, k, t, e);
        store(cell, k);
        if constexpr (ntk) store(cell + lanes<T>, t);
        if constexpr (exact) store(cell + (1 + ntk) * lanes<T>, e);
    }
};

// A function of both Gaussians; the first slot holds standard deviations.
template <bool ntk, bool exact, typename T, typename Dual>
inline void dual(const Op& op, const Row<T>& row, Dual apply) {
    const T* x = row.left(op.slots[0]);
    const T* y = row.right(op.slots[0]);
    each<ntk, exact>(row, [=](int i, Vec<T>& k, Vec<T>& t, Vec<T>& e) { apply(row.at(x, i), load(y + i * lanes<T>), k, t, e); });
}

// c = {scale, b2, grow, shift}:  K' = scale K + b2,  Theta' = grow K + shift + scale Theta,  e' = scale e
template <typename T>
struct Line {
    T scale, b2, grow, shift;
    explicit Line(const double* c) : scale(T(c[0])), b2(T(c[1])), grow(T(c[2])), shift(T(c[3])) {}
    bool tied() const { return grow == scale && shift == b2; }  // Theta' = K' + scale Theta: all weights are trained
};

template <bool ntk, bool exact, bool tied = false, typename T>
inline void affine(const Line<T> c, Vec<T>& k, Vec<T>& t, Vec<T>& e) {
    if constexpr (ntk && !tied) t = c.scale * t + (c.grow * k + c.shift);
    k = c.scale * k + c.b2;
    if constexpr (ntk && tied) t = c.scale * t + k;
    if constexpr (exact) e = c.scale * e;
}

// c = {axis 0 counts, axis 1 counts}: a trained gain adds K to the tangent at equal positions of some axes.
template <typename T>
inline bool equal_positions(const double* c, const Row<T>& row) {
    return (c[0] == 0 || row.zero[0]) && (c[1] == 0 || row.zero[1]);
}

// slots: scale r, second moment v, and where the mean is taken off shift c, mean m.  c = {axes, axes, whether a bias is trained}
template <bool ntk, bool exact, typename T>
inline void normalize(const Op& op, const Row<T>& row) {
    const bool centre = op.slot_count > 2, bias = op.c[2] != 0 && equal_positions(op.c, row);
    const T *r1 = row.left(op.slots[0]), *r2 = row.right(op.slots[0]), *v1 = row.left(op.slots[1]), *v2 = row.right(op.slots[1]);
    const T *c1 = centre ? row.left(op.slots[2]) : r1, *c2 = centre ? row.right(op.slots[2]) : r2;
    const T *m1 = centre ? row.left(op.slots[3]) : r1, *m2 = centre ? row.right(op.slots[3]) : r2;
    each<ntk, exact>(row, [=](int i, Vec<T>& k, Vec<T>& t, Vec<T>& e) {
        const Vec<T> x = row.at(r1, i), y = load(r2 + i * lanes<T>);
        if (centre) {
            const Vec<T> c = row.at(c1, i), m = row.at(m1, i), d = load(c2 + i * lanes<T>), o = load(m2 + i * lanes<T>);
            k = k - c * o - m * d + c * d;
            if constexpr (exact) e = larger(e - (c - d) * ((m - o) - (c - d) * T(0.5)), Vec<T>{});
        }
        k = x * y * k;
        if constexpr (ntk) t = bias ? x * y * t + T(1) : x * y * t;
        if constexpr (exact) e = larger(x * y * e + (x - y) * (row.at(v1, i) * x - load(v2 + i * lanes<T>) * y) * T(0.5), Vec<T>{});
    });
}

// Independent masks: where sample and position are the same, 1 / keep = 1 + c[0].  slots: second moment v, where e is carried
template <bool ntk, bool exact, typename T>
inline void dropout(const Op& op, const Row<T>& row) {
    const T more = T(op.c[0]);
    const bool distance = exact && op.slot_count > 0;  // not kept where no kinked function follows
    const T *v1 = distance ? row.left(op.slots[0]) : nullptr, *v2 = distance ? row.right(op.slots[0]) : nullptr;
    const bool here = row.zero[0] && row.zero[1];
    const Inputs<T>& in = *row.inputs;
    each<ntk, exact>(row, [&](int i, Vec<T>& k, Vec<T>& t, Vec<T>& e) {
        const Vec<T> same = here ? load(in.same + (in.along ? 0 : i) * lanes<T>) : Vec<T>{}, factor = T(1) + more * same;
        k = k * factor;
        if constexpr (ntk) t = t * factor;
        if (distance) {
            const Vec<T> apart = (row.at(v1, i) + load(v2 + i * lanes<T>)) * T(0.5);
            e = e + more * (same * e + (T(1) - same) * apart);
        }
    });
}

// Independent branches with means m_k (slots):  K += sum_{j != k} m_j m_k',  e += sum_{j < k} dm_j dm_k
template <bool ntk, bool exact, typename T>
inline void means(const Op& op, const Row<T>& row) {
    each<ntk, exact>(row, [&](int i, Vec<T>& k, Vec<T>&, Vec<T>& e) {
        Vec<T> total1{}, total2{}, products{}, squares{};
        for (int j = 0; j < op.slot_count; ++j) {
            const Vec<T> a = row.at(row.left(op.slots[j]), i), b = load(row.right(op.slots[j]) + i * lanes<T>);
            total1 += a;
            total2 += b;
            products += a * b;
            squares += (a - b) * (a - b);
        }
        k += total1 * total2 - products;
        if constexpr (exact) e += ((total1 - total2) * (total1 - total2) - squares) * T(0.5);
    });
}

// Keeps the second moment of every input for what follows, or (c[0]) its root: the slot is written instead of read. From c[1] on it
// is infinite, and so no pair of it finite: the divisor of an angle would overflow unseen.
template <bool ntk, bool exact, typename T>
inline void record(const Op& op, const Row<T>& row) {
    T* to = const_cast<T*>(row.right(op.slots[0]));
    const Vec<T> most = fill(T(op.c[1])), infinite = fill(std::numeric_limits<T>::infinity());
    each<ntk, exact>(row, [=](int i, Vec<T>& k, Vec<T>&, Vec<T>&) {
        const Vec<T> moment = larger(k, Vec<T>{}), v = moment < most ? moment : infinite;
        store(to + i * lanes<T>, op.c[0] != 0 ? root(v) : v);
    });
}

}  // namespace

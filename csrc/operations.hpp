// Every operation of a plan, applied to a row.
#pragma once

#include "table.hpp"

namespace {

// A function of the ReLU family after something linear, in one pass over all rows.
template <bool ntk, bool exact, bool signs, typename T, typename Before>
inline void bent(const Op& op, const Rows<T>& rows, Before before) {
    constexpr int fields = 1 + ntk + exact, n = lanes<T>;
    const Row<T>& top = rows.top;
    const T *x = top.left(op.slots[0]), *y = top.right(op.slots[0]), *from = top.from;
    T* cells = top.cells;
    Bending<ntk, exact, true, signs, T> bending(op, cells);
    for (int r = 0; r < rows.count; ++r) {
        for (int i = 0; i < top.width; ++i) {
            Vec<T> k = load(from + std::int64_t(i) * fields * n), t{}, e{};
            if constexpr (ntk) t = load(from + std::int64_t(i) * fields * n + n);
            if constexpr (exact) e = load(from + std::int64_t(i) * fields * n + (fields - 1) * n);
            before(k, t, e);
            bending(cells + std::int64_t(i) * fields * n, top.at(x, i), load(y + i * n), k, t, e);
        }
        cells += rows.next, from += rows.next_from, x += rows.next1, y += rows.next2;
    }
    bending.finish();
    *top.least = lesser(*top.least, bending.least);
    if (op.c[3] != 0) return;
    const T factor = T(op.c[1]);
    cells = top.cells;
    for (int r = 0; r < rows.count; ++r, cells += rows.next)
        for (int i = 0; i < top.width * fields; ++i) store(cells + std::int64_t(i) * n, load(cells + std::int64_t(i) * n) * factor);
}

template <bool ntk, bool exact, typename T, typename Before>
inline void bent(const Op& op, const Rows<T>& rows, Before before) {
    op.c[2] != 0 ? bent<ntk, exact, true>(op, rows, before) : bent<ntk, exact, false>(op, rows, before);
}

template <bool ntk, bool exact, typename T>
inline void apply(const Op& op, const Row<T>& row) {
    using V = Vec<T>;
    const double* c = op.c;
    switch (op.kind) {
        case Kind::affine:
            each<ntk, exact>(row, [line = Line<T>(c)](int, V& k, V& t, V& e) { affine<ntk, exact>(line, k, t, e); });
            break;
        case Kind::relu:  // in `apply_all`
            break;
        case Kind::sign:
            dual<ntk, exact>(op, row, [=](V x, V y, V& k, V& t, V& e) { sign<ntk, exact, T>(x, y, k, t, e); });
            break;
        case Kind::gain:
            if (ntk && equal_positions(c, row)) each<ntk, exact>(row, [=](int, V& k, V& t, V&) { t += k; });
            break;
        case Kind::normalize:
            normalize<ntk, exact>(op, row);
            break;
        case Kind::dropout:
            dropout<ntk, exact>(op, row);
            break;
        case Kind::means:
            means<ntk, exact>(op, row);
            break;
        case Kind::record:
            if (row.inputs->self && row.zero[0] && row.zero[1]) record<ntk, exact>(op, row);
            break;
        default:
            if constexpr (sizeof(T) == 8) {  // analytic functions run in double precision
                if (op.kind == Kind::table) return table<ntk, exact>(op, row);
                dual<ntk, exact>(op, row, [&](V x, V y, V& k, V& t, V&) {
                    if (op.kind == Kind::erf) erf<ntk>(c, x, y, k, t);
                    if (op.kind == Kind::gelu) gelu<ntk>(x, y, k, t);
                    if (op.kind == Kind::wave) wave<ntk>(c, x, y, k, t);
                    if (op.kind == Kind::rbf) rbf<ntk>(c, x, y, k, t);
                });
            }
    }
}

// The operations of a step from `done` on; a linear layer and the ReLU after it together.
template <bool ntk, bool exact, typename T>
inline void apply_all(const Step& step, int done, Rows<T> rows) {
    using V = Vec<T>;
    for (int o = done; o < step.op_count; ++o, rows.top.from = rows.top.cells, rows.next_from = rows.next) {
        const Op& op = step.ops[o];
        if (op.kind == Kind::relu) {
            bent<ntk, exact>(op, rows, [](V&, V&, V&) {});
        } else if (op.kind == Kind::affine && o + 1 < step.op_count && step.ops[o + 1].kind == Kind::relu) {
            const Line<T> line(op.c);
            const Op& relu = step.ops[++o];
            if (line.tied()) bent<ntk, exact>(relu, rows, [=](V& k, V& t, V& e) { affine<ntk, exact, true>(line, k, t, e); });
            else bent<ntk, exact>(relu, rows, [=](V& k, V& t, V& e) { affine<ntk, exact>(line, k, t, e); });
        } else {
            for (int r = 0; r < rows.count; ++r) apply<ntk, exact>(op, rows.at(r));
        }
    }
}

}  // namespace

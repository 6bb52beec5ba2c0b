// Every operation of a plan, applied to a row.
#pragma once

#include "table.hpp"

namespace {

// A function of the ReLU family after something linear, in one pass.
template <bool ntk, bool exact, bool signs, typename T, typename Before>
inline void bent(const Op& op, const Row<T>& row, Before before) {
    constexpr int fields = 1 + ntk + exact, n = lanes<T>;
    const T *x = row.left(op.slots[0]), *y = row.right(op.slots[0]);
    Bending<ntk, exact, true, signs, T> bending(op, row.cells);
    for (int i = 0; i < row.width; ++i) {
        const T* from = row.from + std::int64_t(i) * fields * n;
        Vec<T> k = load(from), t{}, e{};
        if constexpr (ntk) t = load(from + n);
        if constexpr (exact) e = load(from + (fields - 1) * n);
        before(k, t, e);
        bending(row.cells + std::int64_t(i) * fields * n, row.at(x, i), load(y + i * n), k, t, e);
    }
    bending.finish();
    *row.least = lesser(*row.least, bending.least);
    if (op.c[3] == 0) {
        const T factor = T(op.c[1]);
        for (int i = 0; i < row.width * fields; ++i) store(row.cells + std::int64_t(i) * n, load(row.cells + std::int64_t(i) * n) * factor);
    }
}

template <bool ntk, bool exact, typename T, typename Before>
inline void bent(const Op& op, const Row<T>& row, Before before) {
    op.c[2] != 0 ? bent<ntk, exact, true>(op, row, before) : bent<ntk, exact, false>(op, row, before);
}

template <bool ntk, bool exact, typename T>
inline void apply(const Op& op, const Row<T>& row) {
    using V = Vec<T>;
    const double* c = op.c;
    switch (op.kind) {
        case Kind::affine:
            each<ntk, exact>(row, [line = Line<T>(c)](int, V& k, V& t, V& e) { affine<ntk, exact, T>(line, k, t, e); });
            break;
        case Kind::relu:
            bent<ntk, exact>(op, row, [](V&, V&, V&) {});
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

// Whether a step is one other value with something done to it, which need not be copied first.
inline bool changes_another(const Step& step) {
    return step.gather == Gather::mix && step.source_count == 1 && step.weights[0] == 1 && step.op_count > 0 &&
           (step.ops[0].kind == Kind::relu || step.ops[0].kind == Kind::affine);
}

// The operations of a step from `done` on; a linear layer and the ReLU after it together.
template <bool ntk, bool exact, typename T>
inline void apply_all(const Step& step, int done, Row<T> row) {
    for (int o = done; o < step.op_count; ++o, row.from = row.cells) {
        if (step.ops[o].kind == Kind::affine && o + 1 < step.op_count && step.ops[o + 1].kind == Kind::relu) {
            const Line<T> line(step.ops[o].c);
            bent<ntk, exact>(step.ops[++o], row, [=](Vec<T>& k, Vec<T>& t, Vec<T>& e) { affine<ntk, exact, T>(line, k, t, e); });
        } else {
            apply<ntk, exact>(step.ops[o], row);
        }
    }
}

}  // namespace

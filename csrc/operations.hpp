// Every operation of a plan, applied to a row.
#pragma once

#include "table.hpp"

namespace {

// A function of the ReLU family after something linear, in one pass.
template <bool ntk, bool exact, typename T, typename Before>
inline void bent(const Op& op, const Row<T>& row, Before before) {
    const Bend<T> bend(op.c);
    const T factor = T(op.c[3] != 0 ? 1 : op.c[1]);
    auto after = [=](Vec<T>& k, Vec<T>& t, Vec<T>& e) {
        k *= factor;
        if constexpr (ntk) t *= factor;
        if constexpr (exact) e *= factor;
    };
    if (op.c[2] != 0)
        dual<ntk, exact>(op, row, [=](Vec<T> x, Vec<T> y, Vec<T>& k, Vec<T>& t, Vec<T>& e) {
            before(k, t, e);
            relu<ntk, exact, true, T>(bend, x, y, k, t, e);
            after(k, t, e);
        });
    else
        dual<ntk, exact>(op, row, [=](Vec<T> x, Vec<T> y, Vec<T>& k, Vec<T>& t, Vec<T>& e) {
            before(k, t, e);
            relu<ntk, exact, false, T>(bend, x, y, k, t, e);
            after(k, t, e);
        });
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

// The operations of a step from `from` on; a linear layer and the ReLU after it together.
template <bool ntk, bool exact, typename T>
inline void apply_all(const Step& step, int from, const Row<T>& row) {
    for (int o = from; o < step.op_count; ++o) {
        if (step.ops[o].kind == Kind::affine && o + 1 < step.op_count && step.ops[o + 1].kind == Kind::relu) {
            const Line<T> line(step.ops[o].c);
            bent<ntk, exact>(step.ops[++o], row, [=](Vec<T>& k, Vec<T>& t, Vec<T>& e) { affine<ntk, exact, T>(line, k, t, e); });
        } else {
            apply<ntk, exact>(step.ops[o], row);
        }
    }
}

}  // namespace

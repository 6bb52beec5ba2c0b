// Every operation of a plan, applied to a row.
#pragma once

#include "table.hpp"

namespace {

template <bool ntk, bool exact, typename T>
inline void apply(const Op& op, const Row<T>& row) {
    using V = Vec<T>;
    const double* c = op.c;
    switch (op.kind) {
        case Kind::affine:
            each<ntk, exact>(row, [line = Line<T>(c)](int, V& k, V& t, V& e) { affine<ntk, exact, T>(line, k, t, e); });
            break;
        case Kind::relu:
            dual<ntk, exact>(op, row, [bend = Bend<T>(c), factor = T(c[3] != 0 ? 1 : c[1])](V x, V y, V& k, V& t, V& e) {
                relu<ntk, exact, true, T>(bend, x, y, k, t, e);
                k *= factor;
                if constexpr (ntk) t *= factor;
                if constexpr (exact) e *= factor;
            });
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

}  // namespace

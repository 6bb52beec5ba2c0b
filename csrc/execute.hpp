// The executor: for each group of pairs, every segment of the plan on each of its planes.
#pragma once

#include "operations.hpp"
#include "stored.hpp"
#include "sums.hpp"

namespace {

constexpr int strip_bytes = 1 << 14;  // rows that are gathered before anything is done to them: they stay in the first cache

template <typename X>
struct Group {  // one first input with the second inputs from `second` on
    const Plan* plan;
    const Data<X>* data;
    Layout at;
    char* workspace;
    std::int64_t first, second, count;  // count: second inputs that exist; lanes beyond repeat the last
    int groups;                         // side by side (flat), or 0
};

template <typename X, typename T>
inline T* packed(const Group<X>& g, int half) {
    const Plan& plan = *g.plan;
    const std::int64_t across = plan.flat ? flat_groups : 1;
    const std::int64_t numbers = (plan.slot_begin[2 * plan.slot_count + 1] + plan.inputs2) * lanes<T> * across;
    return reinterpret_cast<T*>(g.workspace + (sizeof(T) == sizeof(X) ? g.at.narrow : g.at.wide)) + half * numbers;
}

// Second inputs and their per-input numbers, position by position, a lane each.
template <typename X, typename T>
inline void pack(const Group<X>& g, int half) {
    const Plan& plan = *g.plan;
    const Data<X>& data = *g.data;
    const int across = plan.flat ? flat_groups : 1, n = lanes<T>;
    const std::int64_t slots = plan.slot_begin[2 * plan.slot_count + 1];
    T* out = packed<X, T>(g, half);
    for (int group = 0; group < (plan.flat ? g.groups : 1); ++group)
        for (int lane = 0; lane < n; ++lane) {
            std::int64_t j = std::int64_t(group) * lanes<X> + half * n + lane;
            j = g.second + (j < g.count ? j : g.count - 1);
            const void* from = sizeof(T) == 4 ? static_cast<const void*>(data.narrow2) : static_cast<const void*>(data.wide2);
            const T* numbers = static_cast<const T*>(from) + j * slots;
            T* to = out + group * n + lane;
            if (!data.record)
                for (std::int64_t p = 0; p < slots; ++p) to[p * across * n] = numbers[p];
            if (plan.products) continue;
            const X* x = data.x2 + j * plan.inputs2;
            to += slots * across * n;
            for (std::int64_t p = 0; p < plan.inputs2; ++p) to[p * across * n] = T(x[p]);
        }
}

// The numbers of every second input, from lanes to rows.
template <typename X, typename T>
inline void unpack(const Group<X>& g, int half) {
    const Plan& plan = *g.plan;
    const std::int64_t across = plan.flat ? flat_groups : 1, slots = plan.slot_begin[2 * plan.slot_count + 1];
    const T* from = packed<X, T>(g, half);
    for (std::int64_t j = 0; j < g.count; ++j) {
        const std::int64_t group = j / lanes<X>, lane = j % lanes<X> - half * lanes<T>;
        if (lane < 0 || lane >= lanes<T>) continue;
        for (std::int64_t p = 0; p < slots; ++p)
            g.data->record[(g.second + j) * slots + p] = double(from[(p * across + group) * lanes<T> + lane]);
    }
}

// One covariance that nearly equal data would spoil: from differences, in double precision; (k, half the squared distance).
template <typename X>
inline void from_differences(const Data<X>& data, std::int64_t i, std::int64_t j, std::int64_t channels, double* out) {
    const X *a = data.x1 + i * channels, *b = data.x2 + j * channels;
    double sums[8] = {};
    std::int64_t c = 0;
    for (; c + 8 <= channels; c += 8)
        for (int s = 0; s < 8; ++s) {
            const double gap = double(a[c + s]) - double(b[c + s]);
            sums[s] += gap * gap;
        }
    for (; c < channels; ++c) sums[c % 8] += (double(a[c]) - double(b[c])) * (double(a[c]) - double(b[c]));
    double square = 0;
    for (double s : sums) square += s;
    out[1] = square * 0.5 / channels;
    out[0] = (double(data.norm1[i]) + double(data.norm2[j])) * 0.5 - out[1];
}

// Covariances of one input with those from `second` on, a vector a group; true if some are close.
template <typename X>
inline bool fill_whole(const Group<X>& g, X* matrix) {
    const Data<X>& data = *g.data;
    const X* tangents = data.ntk ? data.ntk + g.first * data.n2 + g.second : nullptr;
    const X *from = data.nngp + g.first * data.n2 + g.second, *norm2 = data.norm2 + g.second, norm1 = data.norm1[g.first];
    const X close = X(data.close * 0.25);
    Vec<X> least{};
    for (int i = 0; i < g.groups * lanes<X>; i += lanes<X>) {
        __builtin_prefetch(from + data.n2 + i);  // of the next row; processors' own streams end with a page
        if (tangents) __builtin_prefetch(tangents + data.n2 + i, 1);
        const Vec<X> k = load_anywhere(from + i), total = norm1 + load_anywhere(norm2 + i), e = total * X(0.5) - k;
        store(matrix + i, k);
        least = -larger(close * total - e, -least);
    }
    for (int lane = 0; lane < lanes<X>; ++lane)
        if (least[lane] < 0) return true;
    return false;
}

// A row of covariances; pairs that nearly agree again from differences, in double precision. True if there may be such pairs:
// elsewhere half the squared distances are neither filled in nor needed.
template <typename X, typename T>
inline bool fill_matrix(const Group<X>& g, int half, T* matrix, T* distance) {
    const Data<X>& data = *g.data;
    if constexpr (sizeof(T) == sizeof(X))
        if (!data.record && g.count == std::int64_t(g.groups) * lanes<X> && !fill_whole<X>(g, matrix)) return false;
    for (int group = 0; group < g.groups; ++group)
        for (int lane = 0; lane < lanes<T>; ++lane) {
            std::int64_t j = std::int64_t(group) * lanes<X> + half * lanes<T> + lane;
            j = g.second + (j < g.count ? j : g.count - 1);
            const int i = group * lanes<T> + lane;
            if (data.record) {
                matrix[i] = T(data.norm2[j]);
                distance[i] = 0;
                continue;
            }
            matrix[i] = T(data.nngp[g.first * data.n2 + j]);
            const T total = T(data.norm1[g.first]) + T(data.norm2[j]);
            distance[i] = total * T(0.5) - matrix[i];
            if (distance[i] >= T(data.close * 0.25) * total) continue;
            double exact[2];
            from_differences(data, g.first, j, g.plan->inputs2, exact);
            matrix[i] = T(exact[0]);
            distance[i] = T(exact[1]);
        }
    return true;
}

template <typename X, typename T>
inline Inputs<T> inputs_of(const Group<X>& g, int half) {
    const Plan& plan = *g.plan;
    const Data<X>& data = *g.data;
    const std::int64_t slots1 = plan.slot_begin[plan.slot_count], slots2 = plan.slot_begin[2 * plan.slot_count + 1];
    Inputs<T> in{};
    in.across = plan.flat ? flat_groups : 1;
    in.along = plan.flat ? 0 : 1;
    in.begin1 = plan.slot_begin;
    in.begin2 = plan.slot_begin + plan.slot_count + 1;
    in.self = data.record != nullptr;
    in.slots2 = packed<X, T>(g, half);
    in.x2 = in.slots2 + slots2 * lanes<T> * in.across;
    if (in.self) {
        in.x1 = in.x2;
        in.slots1 = in.slots2;
    } else if constexpr (sizeof(T) == sizeof(X)) {
        in.x1 = data.x1 + g.first * plan.inputs1;
        in.slots1 = static_cast<const T*>(sizeof(T) == 4 ? static_cast<const void*>(data.narrow1) : data.wide1) + g.first * slots1;
    } else {
        double* wide = reinterpret_cast<double*>(g.workspace + g.at.first);
        if (!plan.products)
            for (std::int64_t p = 0; p < plan.inputs1; ++p) wide[p] = double(data.x1[g.first * plan.inputs1 + p]);
        in.x1 = wide;
        in.slots1 = data.wide1 + g.first * slots1;
    }
    T* same = reinterpret_cast<T*>(g.workspace + g.at.same);
    const int groups = plan.flat ? g.groups : 1;
    for (int i = 0; i < groups * lanes<T>; ++i) {
        const std::int64_t j = std::int64_t(i / lanes<T>) * lanes<X> + half * lanes<T> + i % lanes<T>;
        same[i] = T(in.self || (data.shared && g.second + j == g.first));
    }
    in.same = same;
    in.close = true;
    if (plan.products) {
        T* matrix = reinterpret_cast<T*>(g.workspace + g.at.row);
        T* distance = matrix + flat_groups * lanes<T>;
        in.close = fill_matrix<X, T>(g, half, matrix, distance);
        in.matrix = matrix;
        in.distance = distance;
    }
    return in;
}

template <typename X, typename T>
inline void write(const Group<X>& g, const Cells<T>& c, int fields, int half) {
    const Plan& plan = *g.plan;
    const Data<X>& data = *g.data;
    if constexpr (sizeof(T) == sizeof(X))
        if (plan.flat && g.count == std::int64_t(g.groups) * lanes<X>) {  // whole vectors, one after the other
            const std::int64_t at = g.first * data.n2 + g.second;
            for (int i = 0; i < g.groups; ++i) {
                const T* cell = c.origin + std::int64_t(i) * fields * lanes<T>;
                store_anywhere(data.nngp + at + i * lanes<T>, load(cell));
                if (plan.ntk) store_anywhere(data.ntk + at + i * lanes<T>, load(cell + lanes<T>));
            }
            return;
        }
    for (int y = 0; y < c.height; ++y)
        for (int x = 0; x < c.width; ++x) {
            const T* cell = c.origin + y * c.row + std::int64_t(x) * fields * lanes<T>;
            std::int64_t j = half * lanes<T>, p = 0, q = 0;
            if (plan.flat) {
                j += std::int64_t(x) * lanes<X>;
            } else {
                p = std::int64_t(c.p[0] + y) * c.width1 + c.p[1] + x;
                q = std::int64_t(c.p[0] + y + c.d[0]) * c.width2 + c.p[1] + c.d[1] + x;
            }
            const std::int64_t step = std::int64_t(plan.out1) * plan.out2, at = (g.first * data.n2 + g.second + j) * step + p * plan.out2 + q;
            for (int lane = 0; lane < lanes<T> && j + lane < g.count; ++lane) {
                data.nngp[at + lane * step] = X(cell[lane]);
                if (plan.ntk) data.ntk[at + lane * step] = X(cell[lanes<T> + lane]);
            }
        }
}

// Angles below this are better found from the distance: tan^2(theta / 2) / 2. At the bound the slope of a ReLU has lost 10 roundings.
constexpr double near_angle = 1.0 / 2048;

// False, and nothing added to what is stored, where the distance is not carried, should be `watched`, and some angle is too near 0.
template <bool ntk, bool exact, typename X, typename T>
bool run_plane(const Group<X>& g, const Segment& segment, const Plane& plane, const Inputs<T>& in, int half, bool watched) {
    constexpr int fields = 1 + ntk + exact;
    const Plan& plan = *g.plan;
    Cells<T> cells[most_steps];
    int held[most_steps];  // the step that each buffer last held
    for (int b = 0; b < plan.buffer_count; ++b) held[b] = -1;
    char* stored = g.workspace + g.at.stored;
    T* line = reinterpret_cast<T*>(g.workspace + g.at.line);
    Vec<T> least = fill<T>(1);
    auto place = [&](int s) -> Cells<T>& {
        const Step& step = segment.steps[s];
        T* memory = reinterpret_cast<T*>(g.workspace + g.at.buffers + plan.buffer_at[step.buffer] * vector_bytes);
        return cells[s] = cells_of<T>(step, plane, memory, fields, g.groups);
    };
    for (int s = 0; s < segment.step_count; ++s) {
        const Step& step = segment.steps[s];
        Cells<T>& c = place(s);
        const int before = held[step.buffer];
        if (before < 0 || !same_ring(segment.steps[before], cells[before], step, c)) clear_ring(step, c, fields);
        held[step.buffer] = s;
        if (!c.width || !c.height) continue;
        int done = s > 0 && segment.steps[s - 1].paired && !in.self ? 1 : 0;  // operations
        const bool sums = step.sum && !in.self;
        if (sums) {
            Branch<T> branch{&cells[step.sources[1]], T(step.weights[1])};
            if (step.paired) branch.next = &segment.steps[s + 1], branch.result = &place(s + 1);
            const Cells<T>& from = cells[step.sources[0]];
            watched ? fused_sum<ntk, exact, !exact>(step, from, c, in, &least, branch) : fused_sum<ntk, exact, false>(step, from, c, in, &least, branch);
            done = 1;
        } else if (!in.self && is_fused(step)) {
            const Cells<T>& from = cells[step.sources[0]];
            const bool bare = segment.steps[step.sources[0]].bare;
            watched ? fused<ntk, exact, !exact>(step, bare, from, c, in, &least) : fused<ntk, exact, false>(step, bare, from, c, in, &least);
            done = is_bent(step) ? 2 : 1;
        }
        if (!done && changes_another(step)) {
            apply_all<ntk, exact>(step, 0, rows_of(c, cells[step.sources[0]], 0, c.height, in, &least));
            done = step.op_count;
        }
        const bool gathers = !done;
        const int strip = greater(1, strip_bytes / int(c.row * sizeof(T)));
        for (int top = 0; top < c.height && (gathers || done < step.op_count); top += strip) {
            const int rows = smaller(strip, c.height - top);
            for (int y = top; gathers && y < top + rows; ++y) switch (step.gather) {
                case Gather::input: gather_input<ntk, exact>(step, row_of(c, y, in, &least)); break;
                case Gather::matrix: gather_matrix<ntk, exact>(row_of(c, y, in, &least)); break;
                case Gather::load: gather_load<ntk, exact, X>(plan.stored[step.stored], stored, c, y, half); break;
                case Gather::mix: gather_mix<fields>(step, cells, c, y); break;
                case Gather::map: gather_map<fields>(step, cells[step.sources[0]], c, y, line); break;
            }
            if (done < step.op_count) apply_all<ntk, exact>(step, done, rows_of(c, c, top, rows, in, &least));
        }
        if (step.gather == Gather::map && step.source_count == 2 && !sums) add_second<fields>(step, cells[step.sources[1]], c);
        if (watched && any_below(least, T(near_angle))) return false;
    }
    const Cells<T>& last = cells[segment.step_count - 1];
    for (int r = 0; r < segment.reduction_count; ++r)
        reduce<ntk, exact, X>(segment.reductions[r], plan.stored[segment.reductions[r].stored], stored, last, half);
    if (segment.output) write(g, last, fields, half);
    return true;
}

template <bool ntk, typename X, typename T>
void run_plane(const Group<X>& g, const Segment& segment, const Plane& plane, const Inputs<T>& in, int half) {
    const bool exact = plane.exact && in.close, watched = exact && g.plan->watched && !in.self;
    if ((!exact || watched) && run_plane<ntk, false>(g, segment, plane, in, half, watched)) return;
    run_plane<ntk, true>(g, segment, plane, in, half, false);
}

template <typename X, typename T>
void run_precision(const Group<X>& g, const Segment& segment, bool wide, const bool* stop) {
    for (int half = 0; half < lanes<X> / lanes<T>; ++half) {
        if (half * lanes<T> >= g.count && !g.plan->flat) break;
        const Inputs<T> in = inputs_of<X, T>(g, half);
        for (int i = 0; i < segment.plane_count && !stopped(stop); ++i) {
            const Plane& plane = segment.planes[i];
            if (plane.wide != wide) continue;
            g.plan->ntk ? run_plane<true>(g, segment, plane, in, half) : run_plane<false>(g, segment, plane, in, half);
        }
    }
}

template <typename X>
void run_item(const Plan& plan, const Data<X>& data, const Item& item, char* workspace, const bool* stop) {
    const std::int64_t across = plan.flat ? flat_groups : 1, step = lanes<X> * across;
    Group<X> g{&plan, &data, layout(plan, vector_bytes, sizeof(X)), workspace, 0, 0, 0, 0};
    for (g.second = item.begin2; g.second < item.end2; g.second += step) {
        g.count = g.second + step <= item.end2 ? step : item.end2 - g.second;
        g.groups = plan.flat ? int((g.count + lanes<X> - 1) / lanes<X>) : 0;
        if (plan.narrow) pack<X, X>(g, 0);
        if (sizeof(X) == 4 && plan.wide)
            for (int half = 0; half < 2; ++half) pack<X, double>(g, half);
        const std::int64_t last = data.shared && g.second + step < item.end1 ? g.second + step : item.end1;
        for (g.first = item.begin1; g.first < last && !stopped(stop); ++g.first) {
            std::memset(workspace + g.at.stored, 0, g.at.total - g.at.stored);
            for (int s = 0; s < plan.segment_count && !stopped(stop); ++s) {
                const Segment& segment = plan.segments[s];
                if (plan.narrow) run_precision<X, X>(g, segment, false, stop);
                if constexpr (sizeof(X) == 4)
                    if (plan.wide) run_precision<X, double>(g, segment, true, stop);
            }
        }
        if (!data.record) continue;
        for (int half = 0; half < lanes<X> / lanes<double>; ++half) unpack<X, double>(g, half);
    }
}

}  // namespace

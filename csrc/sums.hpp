// Weighted sums of values, each source read once and nothing written between.
#pragma once

#include <type_traits>

#include "planes.hpp"

namespace {

constexpr int most_terms = 4;  // of a sum that are read in one pass

template <typename T>
struct Terms {  // rows of the sources of a sum from `done` on
    const T* in[most_terms];
    Vec<T> weights[most_terms];
    int count;

    Terms(const Step& step, const Cells<T>* planes, int y, int done) : count(smaller(most_terms, step.source_count - done)) {
        for (int s = 0; s < count; ++s) {
            const Cells<T>& from = planes[step.sources[done + s]];
            in[s] = from.origin + y * from.row;
            weights[s] = fill<T>(step.weights[done + s]);
        }
    }
    template <int terms>
    inline Vec<T> at(std::int64_t i) const {
        Vec<T> sum = load(in[0] + i) * weights[0];
        for (int s = 1; s < terms; ++s) sum += load(in[s] + i) * weights[s];
        return sum;
    }
    // work(number of terms), a number that the compiler knows
    template <typename Work>
    inline void unrolled(Work work) const {
        switch (count) {
            case 1: return work(std::integral_constant<int, 1>{});
            case 2: return work(std::integral_constant<int, 2>{});
            case 3: return work(std::integral_constant<int, 3>{});
            default: return work(std::integral_constant<int, most_terms>{});
        }
    }
};

// The second source of a map, added to rows that are done.
template <int fields, typename T>
inline void add_second(const Step& step, const Cells<T>& from, const Cells<T>& to) {
    const Vec<T> weight = fill<T>(step.weights[1]);
    const std::int64_t end = std::int64_t(to.width) * fields * lanes<T>;
    for (int y = 0; y < to.height; ++y) {
        const T* in = from.origin + y * from.row;
        T* out = to.origin + y * to.row;
        for (std::int64_t i = 0; i < end; i += lanes<T>) store(out + i, load(out + i) + weight * load(in + i));
    }
}

template <int fields, typename T>
inline void gather_mix(const Step& step, const Cells<T>* planes, const Cells<T>& to, int y) {
    T* out = to.origin + y * to.row;
    const std::int64_t end = std::int64_t(to.width) * fields * lanes<T>;
    for (int done = 0; done < step.source_count; done += most_terms) {
        const Terms<T> terms(step, planes, y, done);
        terms.unrolled([&](auto count) {
            for (std::int64_t i = 0; i < end; i += lanes<T>) {
                const Vec<T> sum = terms.template at<count>(i);
                store(out + i, done ? load(out + i) + sum : sum);
            }
        });
    }
}

}  // namespace

// Builds a Plan from what Python says, and owns its memory. Every index is checked here, so that a plan cannot read outside.
#pragma once

#include <algorithm>
#include <array>
#include <deque>
#include <numeric>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "plan.hpp"

namespace torchtangents {

using Pair = std::array<int, 2>;

inline void require(bool condition, const char* expected) {
    if (!condition) throw std::invalid_argument(std::string("plan: expected ") + expected);
}

class Builder {
public:
    Builder(bool ntk, bool flat, bool single, std::int64_t inputs1, std::int64_t inputs2, int out1, int out2) : single_(single) {
        require(inputs1 > 0 && inputs2 > 0 && out1 > 0 && out2 > 0, "inputs and outputs");
        plan_.ntk = ntk;
        plan_.flat = flat;
        plan_.inputs1 = inputs1;
        plan_.inputs2 = inputs2;
        plan_.out1 = out1;
        plan_.out2 = out2;
        begin1_ = begin2_ = {0};
    }

    int slot(std::int64_t positions1, std::int64_t positions2) {
        require(positions1 > 0 && positions2 > 0, "positions in a slot");
        begin1_.push_back(begin1_.back() + positions1);
        begin2_.push_back(begin2_.back() + positions2);
        return int(begin1_.size()) - 2;
    }

    int stored(Pair size1, Pair size2, std::vector<int> first, std::vector<int> second, std::vector<std::uint8_t> wide) {
        require(!first.empty() && !second.empty() && wide.size() == first.size() * second.size(), "a precision for each plane");
        Stored s{};
        const std::vector<int>* lists[2] = {&first, &second};
        for (int a = 0; a < 2; ++a) {
            const std::vector<int>& d = *lists[a];
            require(std::is_sorted(d.begin(), d.end()), "sorted displacements");
            s.size1[a] = size1[a];
            s.size2[a] = size2[a];
            s.lowest[a] = d.front();
            s.count[a] = d.back() - d.front() + 1;
            std::vector<int> index(std::size_t(s.count[a]), -1);
            for (std::size_t i = 0; i < d.size(); ++i) index[std::size_t(d[i] - d.front())] = int(i);
            s.index[a] = keep(ints_, index);
        }
        s.columns = int(second.size());
        std::vector<Place> places;
        for (std::size_t i = 0; i < wide.size(); ++i) {
            const int d[2] = {first[i / second.size()], second[i % second.size()]};
            Place place{};
            int n[2];
            for (int a = 0; a < 2; ++a) {
                place.p[a] = std::max(0, -d[a]);
                n[a] = std::max(0, std::min(s.size1[a], s.size2[a] - d[a]) - place.p[a]);
            }
            place.at = plan_.stored_bytes;
            place.height = n[0];
            place.width = n[1];
            place.wide = wide[i] != 0;
            plan_.stored_bytes += std::int64_t(n[0]) * n[1] * (place.wide ? 8 : 4);
            places.push_back(place);
        }
        s.places = keep(places_, places);
        stored_.push_back(s);
        return int(stored_.size()) - 1;
    }

    void segment(const std::vector<std::tuple<int, int, bool, bool>>& planes, bool output) {
        Part part;
        part.output = output;
        for (auto [first, second, wide, exact] : planes) {
            part.planes.push_back(Plane{{first, second}, wide, exact});
            (wide ? plan_.wide : plan_.narrow) = true;
        }
        parts_.push_back(part);
    }

    int step(int gather, int buffer, Pair size1, Pair size2, Pair stride, int stored, std::vector<int> sources,
             std::vector<double> weights, std::vector<std::pair<int, std::vector<int>>> taps,
             std::tuple<int, std::int64_t, std::int64_t> data) {
        require(!parts_.empty() && gather >= 0 && gather <= int(Gather::mix) && buffer >= 0, "a segment, a gather and a buffer");
        Part& part = parts_.back();
        Step s{};
        s.gather = Gather(gather);
        s.buffer = buffer;
        for (int a = 0; a < 2; ++a) {
            s.size1[a] = size1[std::size_t(a)];
            s.size2[a] = size2[std::size_t(a)];
            s.stride[a] = stride[std::size_t(a)];
            require(s.size1[a] > 0 && s.size2[a] > 0 && s.stride[a] > 0, "positions and strides");
        }
        s.stored = stored;
        std::tie(s.channels, s.offset1, s.offset2) = data;
        const std::int64_t positions1 = std::int64_t(s.size1[0]) * s.size1[1], positions2 = std::int64_t(s.size2[0]) * s.size2[1];
        require(s.gather != Gather::input || (s.channels > 0 && s.offset1 >= 0 && s.offset2 >= 0 &&
                                              s.offset1 + s.channels * positions1 <= plan_.inputs1 &&
                                              s.offset2 + s.channels * positions2 <= plan_.inputs2),
                "channels among the data");
        for (int source : sources) {
            require(source >= 0 && source < int(part.steps.size()), "sources that come before");
            require(part.steps[std::size_t(source)].buffer != buffer, "another buffer than the sources'");
        }
        require(s.gather != Gather::map || ((sources.size() == 1 || (sources.size() == 2 && weights.size() == 2)) && taps.size() == 2),
                "one source or two with weights, and two axes, in a map");
        require(s.gather != Gather::mix || (!sources.empty() && sources.size() == weights.size()), "a weight for each source");
        require(s.gather != Gather::load || (stored >= 0 && stored < int(stored_.size())), "a stored value");
        s.source_count = int(sources.size());
        for (std::size_t a = 0; a < taps.size() && s.gather == Gather::map; ++a) {
            require(taps[a].first > 0 && !taps[a].second.empty() && std::is_sorted(taps[a].second.begin(), taps[a].second.end()),
                    "sorted offsets");
            s.taps[a] = Taps{taps[a].first, int(taps[a].second.size()), keep(ints_, taps[a].second)};
        }
        if (s.gather == Gather::map) surround(part.steps[std::size_t(sources[0])], s);
        for (std::size_t i = s.gather == Gather::map ? 1 : 0; i < sources.size(); ++i) require_alike(part.steps[std::size_t(sources[i])], s);
        s.sources = keep(ints_, sources);
        s.weights = keep(doubles_, weights);
        part.steps.push_back(s);
        part.ops.emplace_back();
        return int(part.steps.size()) - 1;
    }

    void op(int kind, std::vector<int> slots, std::vector<double> constants) {
        require(!parts_.empty() && !parts_.back().steps.empty() && kind >= 0 && kind <= int(Kind::record), "a step and a kind");
        if (Kind(kind) == Kind::table) {
            require(constants.size() >= 4 && constants[0] >= 1 && constants[0] <= 32 && constants[1] >= 1 && constants[1] <= 64, "a table");
            require(double(constants.size()) == 4 + 2 * constants[0] * constants[0] * constants[1], "a table of its own size");
        }
        for (int slot : slots) require(slot >= 0 && slot < int(begin1_.size()) - 1, "slots that exist");
        constants.resize(std::max<std::size_t>(constants.size(), 8));
        parts_.back().ops.back().push_back(Op{Kind(kind), int(slots.size()), keep(ints_, slots), keep(doubles_, constants)});
    }

    using Axis = std::tuple<int, int, std::vector<std::int64_t>, std::vector<int>, std::vector<int>, std::vector<double>>;

    void reduce(int stored, const std::vector<Axis>& axes) {
        require(!parts_.empty() && stored >= 0 && stored < int(stored_.size()) && axes.size() == 2, "a stored value and two axes");
        Reduction r{};
        r.stored = stored;
        for (std::size_t a = 0; a < 2; ++a) {
            const auto& [lowest, positions, start, planes, places, coefficients] = axes[a];
            require(planes.size() == places.size() && planes.size() == coefficients.size() && !start.empty() &&
                        std::is_sorted(start.begin(), start.end()) && start.front() == 0 && start.back() == std::int64_t(planes.size()),
                    "a table of entries");
            std::vector<Entry> entries;
            for (std::size_t i = 0; i < planes.size(); ++i) entries.push_back(Entry{planes[i], places[i], coefficients[i]});
            r.axis[a] = Table{lowest, positions, keep(longs_, start), keep(entries_, entries)};
        }
        parts_.back().reductions.push_back(r);
    }

    const Plan& finish() {
        if (!segments_.empty()) return plan_;
        require(!plan_.products || (plan_.flat && parts_.size() == 1 && plan_.out1 == 1 && plan_.out2 == 1), "one flat segment with products");
        plan_.watched = true;
        for (Part& part : parts_) {
            require(!part.steps.empty() && part.steps.size() <= most_steps, "1 to 96 steps in a segment");
            for (std::size_t s = 0; s < part.steps.size(); ++s) {
                Step& step = part.steps[s];
                step.op_count = int(part.ops[s].size());
                for (const Op& op : part.ops[s]) plan_.watched &= op.kind <= Kind::relu || op.kind == Kind::gain || op.kind == Kind::record;
                step.ops = part.ops[s].data();
                const std::int64_t rows = std::min(step.size1[0], step.size2[0]) + step.ring[0] + step.ring[1];
                const std::int64_t columns = std::min(step.size1[1], step.size2[1]) + step.ring[2] + step.ring[3];
                if (std::size_t(step.buffer) >= cells_.size()) cells_.resize(std::size_t(step.buffer) + 1);
                std::int64_t& cells = cells_[std::size_t(step.buffer)];
                cells = std::max(cells, rows * columns);
                step.bare = step.gather == Gather::input && step.op_count == 0;
                for (int source = 0; source < step.source_count; ++source)
                    part.steps[std::size_t(step.sources[source])].bare &= is_fused(step) && step.source_count == 1;
            }
            part.steps.back().bare = false;
            for (std::size_t s = 0; s < part.steps.size(); ++s) {
                Step& step = part.steps[s];
                step.sum = is_sum(step, plan_.ntk);
                step.paired = step.sum && s + 1 < part.steps.size() && is_function_of(part, s, part.steps[s + 1]);
            }
            segments_.push_back(Segment{int(part.steps.size()), int(part.planes.size()), int(part.reductions.size()), part.steps.data(),
                                        part.planes.data(), part.reductions.data(), part.output});
        }
        require(!segments_.empty(), "a segment");
        slots_ = begin1_;
        slots_.insert(slots_.end(), begin2_.begin(), begin2_.end());
        plan_.segment_count = int(segments_.size());
        plan_.segments = segments_.data();
        plan_.stored_count = int(stored_.size());
        plan_.stored = stored_.data();
        plan_.slot_count = int(begin1_.size()) - 1;
        plan_.slot_begin = slots_.data();
        plan_.buffer_count = int(cells_.size());
        buffers_ = {0};
        for (std::int64_t cells : cells_) buffers_.push_back(buffers_.back() + cells * 3 * (plan_.flat ? flat_groups : 1) + 2);
        plan_.buffer_at = buffers_.data();
        return plan_;
    }

    bool single() const { return single_; }
    void products() { plan_.products = true; }

private:
    struct Part {
        std::vector<Step> steps;
        std::deque<std::vector<Op>> ops;
        std::vector<Plane> planes;
        std::vector<Reduction> reductions;
        bool output = false;
    };

    // Whether a step is a function of the ReLU family of step s, and leaves alone what that reads.
    static bool is_function_of(const Part& part, std::size_t s, const Step& next) {
        if (!changes_another(next) || next.sources[0] != int(s) || next.ops[0].kind != Kind::relu || next.ops[0].c[3] == 0) return false;
        for (int source = 0; source < 2; ++source)
            if (part.steps[std::size_t(part.steps[s].sources[source])].buffer == next.buffer) return false;
        return true;
    }

    // What is added position by position has the same positions.
    static void require_alike(const Step& source, const Step& sum) {
        for (int a = 0; a < 2; ++a)
            require(source.size1[a] == sum.size1[a] && source.size2[a] == sum.size2[a] && source.stride[a] == sum.stride[a],
                    "terms of a sum on the same positions");
    }

    // The zeros that a window reads around its source.
    void surround(Step& source, const Step& map) {
        for (int a = 0; a < 2; ++a) {
            const Taps& taps = map.taps[a];
            require(map.stride[a] * taps.step == source.stride[a], "the source's displacement as a multiple of the map's");
            int after = 0;
            for (auto [in, out] : {std::pair(source.size1[a], map.size1[a]), std::pair(source.size2[a], map.size2[a])})
                after = std::max(after, taps.step * (out - 1) + taps.offsets[taps.count - 1] - (in - 1));
            source.ring[2 * a] = std::max(source.ring[2 * a], -taps.offsets[0]);
            source.ring[2 * a + 1] = std::max(source.ring[2 * a + 1], after);
        }
        const std::int64_t span = std::int64_t(map.taps[1].step) * (std::min(map.size1[1], map.size2[1]) - 1) +
                                  map.taps[1].offsets[map.taps[1].count - 1] - map.taps[1].offsets[0] + 1;
        plan_.line_cells = std::max(plan_.line_cells, span);
    }

    template <typename V>
    static const V* keep(std::deque<std::vector<V>>& all, std::vector<V> values) {
        if (values.empty()) values.resize(1);
        all.push_back(std::move(values));
        return all.back().data();
    }

    Plan plan_{};
    bool single_;
    std::vector<std::int64_t> begin1_, begin2_, slots_, cells_, buffers_;
    std::deque<Part> parts_;
    std::vector<Segment> segments_;
    std::vector<Stored> stored_;
    std::deque<std::vector<int>> ints_;
    std::deque<std::vector<std::int64_t>> longs_;
    std::deque<std::vector<Place>> places_;
    std::deque<std::vector<double>> doubles_;
    std::deque<std::vector<Entry>> entries_;
};

}  // namespace torchtangents

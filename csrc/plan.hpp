// What a program asks of a group of pairs, as plain data: written by builder.hpp, read by the code compiled for each instruction set.
//
// A *group* is one first input with as many second inputs as a vector has lanes. Every number below is one vector of such a
// group, so no geometry ever meets a lane: displacement planes of any size, stride or padding cost what their positions cost.
#pragma once

#include <cstdint>

namespace torchtangents {

enum class Gather : int { input, matrix, load, map, mix };
enum class Kind : int { affine, relu, sign, erf, gelu, wave, rbf, table, gain, normalize, dropout, means, record };

struct Op {  // something done to every position on its own
    Kind kind;
    int slot_count;
    const int* slots;  // per-input numbers that it reads
    const double* c;   // its constants; their order is stated where the operation is defined (rows.hpp, duals.hpp)
};

struct Taps {  // out[p] = sum_k in[step p + offsets[k]] along one axis
    int step, count;
    const int* offsets;
};

struct Step {
    Gather gather;
    int buffer;
    int size1[2], size2[2];  // positions of both inputs
    int ring[4];             // zeros kept around the plane: above, below, left, right
    int stride[2];           // its displacement is this multiple of the displacement of the segment's target
    int stored;              // load: which stored value
    int channels;            // input: how many, and where they start among an input's numbers, on both sides
    std::int64_t offset1, offset2;
    int source_count;        // map: one source, or two: weights[1] times the second is added at the end; mix: the weighted sum of several
    const int* sources;
    const double* weights;
    Taps taps[2];
    int op_count;
    const Op* ops;
    bool sum;    // fused, with the second source
    bool paired; // a sum, and the next step a function of it that is computed in the same pass
    bool bare;  // data alone, which fused steps alone read: its tangent, 0, is neither written nor read
};

// The commonest layers in one pass: a 3 x 3 window of step 1 and affine, alone or with a function of the ReLU family.
static inline bool is_three(const Taps& taps) {
    return taps.step == 1 && taps.count == 3 && taps.offsets[1] == taps.offsets[0] + 1 && taps.offsets[2] == taps.offsets[0] + 2;
}
static inline bool is_fused(const Step& step) {
    return step.gather == Gather::map && step.op_count > 0 && is_three(step.taps[0]) && is_three(step.taps[1]) &&
           step.ops[0].kind == Kind::affine;
}

static inline bool is_bent(const Step& step) {  // the fused relu leaves its factor to what follows
    return step.op_count > 1 && step.ops[1].kind == Kind::relu && step.ops[1].c[3] != 0;
}
// Whether a fused step may end in a sum: all weights are trained, or there is no tangent.
static inline bool is_sum(const Step& step, bool ntk) {
    return is_fused(step) && step.source_count == 2 && step.op_count == 1 &&
           (!ntk || (step.ops[0].c[0] == step.ops[0].c[2] && step.ops[0].c[1] == step.ops[0].c[3]));
}
// Whether a step is one other value with something done to it, which need not be copied first.
static inline bool changes_another(const Step& step) {
    return step.gather == Gather::mix && step.source_count == 1 && step.weights[0] == 1 && step.op_count > 0 &&
           (step.ops[0].kind == Kind::relu || step.ops[0].kind == Kind::affine);
}

struct Plane {
    int d[2];
    bool wide;   // in double precision, whatever the data's
    bool exact;  // carry half the squared distance beside the covariance
};

struct Entry {
    int plane, position;
    double coefficient;
};

struct Table {  // along one axis: where the entry at displacement `lowest + i` and position p goes
    int lowest, positions;
    const std::int64_t* start;  // of entry i * positions + p
    const Entry* entries;
};

struct Reduction {  // what a plane adds to a stored value
    int stored;
    Table axis[2];
};

static constexpr int most_steps = 96;  // of a segment

struct Segment {  // steps that run on one plane at a time
    int step_count, plane_count, reduction_count;
    const Step* steps;
    const Plane* planes;
    const Reduction* reductions;
    bool output;  // its last step is the kernel
};

struct Place {  // one plane of a stored value
    std::int64_t at;  // bytes from the start of all stored values, for one lane and field
    int height, width, p[2];
    bool wide;
};

struct Stored {  // planes of one value, added to by reductions
    int size1[2], size2[2];
    int lowest[2], count[2];   // displacements along each axis: index[a][d - lowest[a]] is the plane's place, or -1
    const int* index[2];
    int columns;               // planes along the second axis
    const Place* places;
};

struct Plan {
    int segment_count, stored_count, slot_count, buffer_count;
    const Segment* segments;
    const Stored* stored;
    const std::int64_t* slot_begin;  // of each slot on side 1, then on side 2: positions before it (slot_count + 1 entries each)
    const std::int64_t* buffer_at;          // where each buffer starts, and where the last one ends, in vectors
    std::int64_t line_cells, stored_bytes;  // stored_bytes: for one lane and field
    std::int64_t inputs1, inputs2;          // numbers of an input on both sides
    int out1, out2;          // positions of the kernel
    bool ntk, narrow, wide;  // narrow, wide: whether any plane is in the data's precision, and in double
    bool watched;            // the distance only matters to functions of the ReLU family, which find the least angle beside their result
    bool products;           // flat: covariances of the data are given
    bool flat;               // no positions anywhere: groups stand side by side where positions would
};

template <typename T>
struct Data {  // T: the data's precision
    const T *x1, *x2;            // (n, numbers of an input)
    const T *norm1, *norm2;      // of a plan with products: second moments of the data (n,)
    double close;                // of a plan with products: recompute from differences where D < close * (norm1 + norm2) / 2
    const T *narrow1, *narrow2;  // (n, slot positions): per-input numbers
    const double *wide1, *wide2;
    T *nngp, *ntk;               // (n1, n2, out1, out2); where products are given nngp holds them on entry
    double* record;              // or, for every second input with itself: (n2, slot positions)
    std::int64_t n1, n2;
    std::int64_t begin1, end1, begin2, end2;  // the pairs that are asked for
    bool shared;  // one data set: equal indices are one sample, and only pairs with second >= first are needed
};

// Whether the caller asked to stop; read by every thread.
static inline bool stopped(const bool* stop) { return __atomic_load_n(stop, __ATOMIC_RELAXED); }

struct Item {  // inputs [begin1, end1) with [begin2, end2)
    std::int64_t begin1, end1, begin2, end2;
};

struct Target {  // the executor as compiled for one instruction set
    const char* name;
    int bytes;  // of a vector
    void (*run_float)(const Plan&, const Data<float>&, const Item&, char* workspace, const bool* stop);
    void (*run_double)(const Plan&, const Data<double>&, const Item&, char* workspace, const bool* stop);
    void (*moments_float)(const float* x, std::int64_t rows, std::int64_t channels, float* out);
    void (*moments_double)(const double* x, std::int64_t rows, std::int64_t channels, double* out);
    void (*angles_float)(const float* const* in, std::int64_t n, float* const* out);
    void (*angles_double)(const double* const* in, std::int64_t n, double* const* out);
};

static constexpr int flat_groups = 32;  // groups side by side where there are no positions: a few kB a field

struct Layout {  // of one thread's workspace: where each part starts, in bytes
    std::int64_t narrow, wide, first, row, same, line, buffers, stored, total;
};

static inline std::int64_t aligned(std::int64_t bytes) { return (bytes + 127) / 128 * 128; }

// `size`: bytes of a number of the data.
static inline Layout layout(const Plan& plan, int vector_bytes, int size) {
    const std::int64_t lanes = vector_bytes / size, across = plan.flat ? flat_groups : 1, numbers = lanes * across;
    const std::int64_t packed = (plan.slot_begin[2 * plan.slot_count + 1] + plan.inputs2) * numbers;
    Layout at{};
    at.wide = at.narrow + aligned(packed * size);
    at.first = at.wide + aligned(packed * 8);
    at.row = at.first + aligned(plan.inputs1 * 8);
    at.same = at.row + aligned(2 * numbers * 8);
    at.line = at.same + aligned(numbers * 8);
    at.buffers = at.line + aligned(plan.line_cells * 3 * vector_bytes * across);
    at.stored = at.buffers + aligned(plan.buffer_at[plan.buffer_count] * vector_bytes);
    at.total = at.stored + aligned(plan.stored_bytes * lanes * (plan.ntk ? 2 : 1));
    return at;
}

}  // namespace torchtangents

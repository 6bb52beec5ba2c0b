// The Python module torchtangents._native: tensors come by DLPack, shapes are checked here, the GIL is released.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <stdexcept>
#include <string>
#include <tuple>

#include "builder.hpp"
#include "differences.hpp"
#include "mirror.hpp"
#include "schedule.hpp"
#include "targets.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using namespace torchtangents;

template <typename T>
using Matrix = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Vector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Index = Vector<const std::int64_t>;

static void require_below(const Index& index, std::size_t rows, const char* name) {
    for (std::size_t k = 0; k < index.shape(0); ++k) {
        const std::int64_t row = index.data()[k];
        if (row < 0 || static_cast<std::size_t>(row) >= rows)
            throw std::out_of_range("squared_differences: expected rows below " + std::to_string(rows) + " in " + name + ", got " +
                                    std::to_string(row) + " at " + std::to_string(k));
    }
}

template <typename T>
static void differences(Matrix<const T> x1, Matrix<const T> x2, Index i, Index j, Vector<T> out, int threads) {
    if (x1.shape(1) != x2.shape(1)) throw std::invalid_argument("squared_differences: x1 and x2 differ in channels");
    if (i.shape(0) != j.shape(0) || i.shape(0) != out.shape(0))
        throw std::invalid_argument("squared_differences: i, j and out differ in length");
    nb::gil_scoped_release release;
    require_below(i, x1.shape(0), "i");
    require_below(j, x2.shape(0), "j");
    squared_differences<T>(x1.data(), x2.data(), i.data(), j.data(), out.data(), i.shape(0), x1.shape(1), threads);
}

template <typename A, typename B>
static bool overlap(const A& a, const B& b) {
    const auto *begin1 = reinterpret_cast<const char*>(a.data()), *begin2 = reinterpret_cast<const char*>(b.data());
    return begin1 < begin2 + b.nbytes() && begin2 < begin1 + a.nbytes();
}

template <typename A>
static void require_shape(const A& array, std::initializer_list<std::int64_t> shape, const char* name) {
    std::size_t axis = 0;
    for (std::int64_t length : shape)
        if (std::int64_t(array.shape(axis++)) != length)
            throw std::invalid_argument(std::string("run: expected another shape of ") + name + ": axis " + std::to_string(axis - 1) + " is " +
                                        std::to_string(array.shape(axis - 1)) + ", not " + std::to_string(length));
}

// Runs without the GIL; Ctrl-C stops it within 50 ms and the step it is in.
template <typename T>
static void interruptible(const Plan& plan, const Data<T>& data, int threads, const std::string& instructions) {
    const Target& target = chosen(instructions);
    bool raised = false;
    {
        nb::gil_scoped_release release;
        run<T>(plan, data, target, threads, [&] {
            nb::gil_scoped_acquire acquire;
            return raised = PyErr_CheckSignals() != 0;
        });
    }
    if (raised) throw nb::python_error();
}

// What a call hands over beside the data: per-input numbers of both sides, in both precisions.
template <typename T>
static void run_plan(Builder& builder, Matrix<const T> x1, Matrix<const T> x2, std::optional<Vector<const T>> norm1,
                     std::optional<Vector<const T>> norm2, double close,
                     std::optional<Matrix<const T>> narrow1, std::optional<Matrix<const T>> narrow2,
                     std::optional<Matrix<const double>> wide1, std::optional<Matrix<const double>> wide2, Matrix<T> nngp,
                     std::optional<Matrix<T>> ntk, bool shared, std::array<std::int64_t, 4> range, int threads,
                     const std::string& instructions) {
    const Plan& plan = builder.finish();
    if (builder.single() != (sizeof(T) == 4)) throw nb::type_error("run: expected the precision that the plan was made for");
    Data<T> data{};
    data.n1 = std::int64_t(x1.shape(0));
    data.n2 = std::int64_t(x2.shape(0));
    const std::int64_t outputs = std::int64_t(plan.out1) * plan.out2;
    require_shape(x1, {data.n1, plan.inputs1}, "x1");
    require_shape(x2, {data.n2, plan.inputs2}, "x2");
    require_shape(nngp, {data.n1, data.n2 * outputs}, "nngp");
    if (plan.ntk != ntk.has_value()) throw std::invalid_argument("run: expected ntk where the plan computes it, and only there");
    if (ntk) require_shape(*ntk, {data.n1, data.n2 * outputs}, "ntk");
    if (shared && (data.n1 != data.n2 || plan.out1 != plan.out2)) throw std::invalid_argument("run: expected one data set where shared");
    std::tie(data.begin1, data.end1, data.begin2, data.end2) = std::tuple_cat(range);
    if (data.begin1 < 0 || data.begin1 > data.end1 || data.end1 > data.n1 || data.begin2 < 0 || data.begin2 > data.end2 || data.end2 > data.n2)
        throw std::invalid_argument("run: expected a range of inputs that exist");
    const bool single = sizeof(T) == 4, narrow = single && plan.narrow, wide = !single || plan.wide;
    const std::int64_t slots1 = plan.slot_begin[plan.slot_count], slots2 = plan.slot_begin[2 * plan.slot_count + 1];
    if (narrow != narrow1.has_value() || narrow != narrow2.has_value() || wide != wide1.has_value() || wide != wide2.has_value())
        throw std::invalid_argument("run: expected per-input numbers in the precisions that the plan uses");
    if (narrow) {
        require_shape(*narrow1, {data.n1, slots1}, "narrow1");
        require_shape(*narrow2, {data.n2, slots2}, "narrow2");
        data.narrow1 = narrow1->data();
        data.narrow2 = narrow2->data();
    }
    if (wide) {
        require_shape(*wide1, {data.n1, slots1}, "wide1");
        require_shape(*wide2, {data.n2, slots2}, "wide2");
        data.wide1 = wide1->data();
        data.wide2 = wide2->data();
    }
    if (plan.products != norm1.has_value() || plan.products != norm2.has_value())
        throw std::invalid_argument("run: expected norms where the plan reads products, and only there");
    if (norm1) {
        require_shape(*norm1, {data.n1}, "norm1");
        require_shape(*norm2, {data.n2}, "norm2");
        data.norm1 = norm1->data();
        data.norm2 = norm2->data();
    }
    auto apart = [&](const auto& out) {
        auto meets = [&](const auto& in) { return in && overlap(out, *in); };
        if (overlap(out, x1) || overlap(out, x2) || meets(norm1) || meets(norm2) || meets(narrow1) || meets(narrow2) || meets(wide1) || meets(wide2))
            throw std::invalid_argument("run: expected outputs that do not overlap the inputs");
    };
    apart(nngp);
    if (ntk) apart(*ntk);
    if (ntk && overlap(nngp, *ntk)) throw std::invalid_argument("run: expected nngp and ntk apart");
    data.x1 = x1.data();
    data.x2 = x2.data();
    data.close = close;
    data.nngp = nngp.data();
    data.ntk = ntk ? ntk->data() : nullptr;
    data.shared = shared;
    interruptible<T>(plan, data, threads, instructions);
}

// Per-input numbers, from every input with itself; x by channels, or its second moments alone where products are given.
template <typename T>
static void keep_numbers(Builder& builder, Matrix<const T> x, std::optional<Vector<const T>> norms, Matrix<double> out, int threads,
                         const std::string& instructions) {
    const Plan& plan = builder.finish();
    if (builder.single() != (sizeof(T) == 4)) throw nb::type_error("keep: expected the precision that the plan was made for");
    Data<T> data{};
    data.n2 = data.end2 = std::int64_t(x.shape(0));
    data.n1 = data.end1 = 1;
    require_shape(x, {data.n2, plan.inputs2}, "x");
    require_shape(out, {data.n2, plan.slot_begin[2 * plan.slot_count + 1]}, "out");
    if (plan.products != norms.has_value()) throw std::invalid_argument("keep: expected norms where the plan reads products");
    if (norms) require_shape(*norms, {data.n2}, "norms");
    if (overlap(out, x) || (norms && overlap(out, *norms))) throw std::invalid_argument("keep: expected an output that does not overlap the inputs");
    data.x1 = data.x2 = x.data();
    data.norm2 = norms ? norms->data() : nullptr;
    data.record = out.data();
    interruptible<T>(plan, data, threads, instructions);
}

template <typename T>
static void moments(Matrix<const T> x, Vector<T> out, const std::string& instructions) {
    if (out.shape(0) != x.shape(0)) throw std::invalid_argument("second_moments: expected one number for each row");
    if (overlap(out, x)) throw std::invalid_argument("second_moments: expected an output that does not overlap the inputs");
    const Target& target = chosen(instructions);
    nb::gil_scoped_release release;
    const std::int64_t rows = std::int64_t(x.shape(0)), channels = std::int64_t(x.shape(1));
    if constexpr (sizeof(T) == 4) target.moments_float(x.data(), rows, channels, out.data());
    else target.moments_double(x.data(), rows, channels, out.data());
}

// in and out: rows q, d, v1, v2 and theta, s, bow.
template <typename T>
static void pair_angles(Vector<const T> q, Vector<const T> d, Vector<const T> v1, Vector<const T> v2, Matrix<T> out, int threads) {
    const std::int64_t n = std::int64_t(q.shape(0));
    for (const auto* given : {&d, &v1, &v2}) if (std::int64_t(given->shape(0)) != n) throw std::invalid_argument("angles: expected inputs of one length");
    require_shape(out, {3, n}, "out");
    for (const auto* given : {&q, &d, &v1, &v2}) if (overlap(out, *given)) throw std::invalid_argument("angles: expected an output that does not overlap the inputs");
    const Target& target = chosen("");
    nb::gil_scoped_release release;
    constexpr std::int64_t block = 1 << 14;
    std::atomic<std::int64_t> next{0};
    auto loop = [&] {
        for (std::int64_t i = next.fetch_add(block); i < n; i = next.fetch_add(block)) {
            const T* in[4] = {q.data() + i, d.data() + i, v1.data() + i, v2.data() + i};
            T* to[3] = {out.data() + i, out.data() + n + i, out.data() + 2 * n + i};
            if constexpr (sizeof(T) == 4) target.angles_float(in, std::min(block, n - i), to);
            else target.angles_double(in, std::min(block, n - i), to);
        }
    };
    on_threads(loop, std::min<std::int64_t>(threads, n >> 16));
}

template <typename T>
static void mirror_kernel(Matrix<T> out, std::int64_t positions, std::int64_t begin, std::int64_t end, int threads) {
    const std::int64_t n = std::int64_t(out.shape(0));
    if (positions < 1 || positions > 1 << 20 || std::int64_t(out.shape(1)) != n * positions * positions)
        throw std::invalid_argument("mirror: expected (n, n * positions^2)");
    if (begin < 0 || begin > end || end > n) throw std::invalid_argument("mirror: expected rows that exist");
    nb::gil_scoped_release release;
    mirror(out.data(), n, positions, begin, end, threads);
}

// Asks for large pages, which the system clears faster than many small ones. Where it has none, nothing happens.
template <typename T>
static void reserve(Matrix<T> out) {
#if defined(__linux__)
    constexpr std::uintptr_t page = 1 << 21;
    const std::uintptr_t begin = (reinterpret_cast<std::uintptr_t>(out.data()) + page - 1) / page * page;
    const std::uintptr_t end = (reinterpret_cast<std::uintptr_t>(out.data()) + out.nbytes()) / page * page;
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

template <typename T>
static void define(nb::module_& m, nb::class_<Builder>& plan) {
    m.def("squared_differences", &differences<T>, "x1"_a.noconvert(), "x2"_a.noconvert(), "i"_a.noconvert(), "j"_a.noconvert(),
          "out"_a.noconvert(), "threads"_a, "out[k] = sum_c (x1[i[k], c] - x2[j[k], c])^2");
    m.def("second_moments", &moments<T>, "x"_a.noconvert(), "out"_a.noconvert(), "instructions"_a = "", "out[i] = sum_c x[i, c]^2 / C");
    m.def("angles", &pair_angles<T>, "q"_a.noconvert(), "d"_a.noconvert(), "v1"_a.noconvert(), "v2"_a.noconvert(), "out"_a.noconvert(),
          "threads"_a, "out = (theta, m sin(theta), m (sin(theta) - theta cos(theta))) of pairs of Gaussians");
    m.def("reserve", &reserve<T>, "out"_a.noconvert(), "Large pages for a result that is about to be written");
    m.def("mirror", &mirror_kernel<T>, "out"_a.noconvert(), "positions"_a, "begin"_a, "end"_a, "threads"_a,
          "A symmetric kernel from its upper triangle: what mirrors some rows");
    plan.def("run", &run_plan<T>, "x1"_a.noconvert(), "x2"_a.noconvert(), "norm1"_a.noconvert().none(),
             "norm2"_a.noconvert().none(), "close"_a, "narrow1"_a.noconvert().none(), "narrow2"_a.noconvert().none(),
             "wide1"_a.noconvert().none(), "wide2"_a.noconvert().none(), "nngp"_a.noconvert(), "ntk"_a.noconvert().none(), "shared"_a,
             "range"_a, "threads"_a, "instructions"_a = "", "Both kernels of every pair, into nngp and ntk; where the plan reads products, nngp holds x1 x2^T / channels on entry");
    plan.def("keep", &keep_numbers<T>, "x"_a.noconvert(), "norms"_a.noconvert().none(), "out"_a.noconvert(), "threads"_a,
             "instructions"_a = "", "Per-input numbers of every input, into out");
}

NB_MODULE(_native, m) {
    m.doc() = "Compiled operations of torchtangents";
    nb::set_leak_warnings(false);  // plans that live as long as the interpreter are no leaks
    auto plan = nb::class_<Builder>(m, "Plan", "The steps of a program, as the executor takes them");
    plan.def(nb::init<bool, bool, bool, std::int64_t, std::int64_t, int, int>(), "ntk"_a, "flat"_a, "single"_a, "inputs1"_a, "inputs2"_a,
             "out1"_a, "out2"_a)
        .def("slot", &Builder::slot, "positions1"_a, "positions2"_a)
        .def("stored", &Builder::stored, "size1"_a, "size2"_a, "first"_a, "second"_a, "wide"_a)
        .def("segment", &Builder::segment, "planes"_a, "output"_a)
        .def("step", &Builder::step, "gather"_a, "buffer"_a, "size1"_a, "size2"_a, "stride"_a, "stored"_a = -1,
             "sources"_a = std::vector<int>(), "weights"_a = std::vector<double>(), "taps"_a = std::vector<std::pair<int, std::vector<int>>>(),
             "data"_a = std::tuple<int, std::int64_t, std::int64_t>(0, 0, 0))
        .def("op", &Builder::op, "kind"_a, "slots"_a, "constants"_a)
        .def("reduce", &Builder::reduce, "stored"_a, "axes"_a)
        .def("products", &Builder::products);
    define<float>(m, plan);
    define<double>(m, plan);
    m.def("instructions", [] { return names(); }, "Instruction sets that this processor can run, best first");
}

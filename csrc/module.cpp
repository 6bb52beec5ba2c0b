// The Python module torchtangents._native: tensors come by DLPack, shapes and indices are checked here, the GIL is released.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <stdexcept>
#include <string>

#include "differences.hpp"

namespace nb = nanobind;

template <typename T>
using Matrix = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
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
static void squared_differences(Matrix<T> x1, Matrix<T> x2, Index i, Index j, Vector<T> out, int threads) {
    if (x1.shape(1) != x2.shape(1)) throw std::invalid_argument("squared_differences: x1 and x2 differ in channels");
    if (i.shape(0) != j.shape(0) || i.shape(0) != out.shape(0))
        throw std::invalid_argument("squared_differences: i, j and out differ in length");
    nb::gil_scoped_release release;
    require_below(i, x1.shape(0), "i");
    require_below(j, x2.shape(0), "j");
    torchtangents::squared_differences<T>(x1.data(), x2.data(), i.data(), j.data(), out.data(), i.shape(0), x1.shape(1), threads);
}

template <typename T>
static void define(nb::module_& m) {
    m.def("squared_differences", &squared_differences<T>, nb::arg("x1").noconvert(), nb::arg("x2").noconvert(),
          nb::arg("i").noconvert(), nb::arg("j").noconvert(), nb::arg("out").noconvert(), nb::arg("threads"),
          "out[k] = sum_c (x1[i[k], c] - x2[j[k], c])^2");
}

NB_MODULE(_native, m) {
    m.doc() = "Compiled operations of torchtangents";
    define<float>(m);
    define<double>(m);
}

// The Python module torchtangents._native: tensors come by DLPack, checks are made here, the GIL is released.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <stdexcept>

#include "differences.hpp"

namespace nb = nanobind;

template <typename T>
using Matrix = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Index = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Vector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

static void require_below(const Index& index, std::size_t rows, const char* name) {
    for (std::size_t k = 0; k < index.shape(0); ++k)
        if (index.data()[k] < 0 || static_cast<std::size_t>(index.data()[k]) >= rows)
            throw std::out_of_range(std::string("squared_differences: an index in ") + name + " is out of range");
}

template <typename T>
static void squared_differences(Matrix<T> x1, Matrix<T> x2, Index i, Index j, Vector<T> out, int threads) {
    if (x1.shape(1) != x2.shape(1)) throw std::invalid_argument("squared_differences: x1 and x2 differ in channels");
    if (i.shape(0) != j.shape(0) || i.shape(0) != out.shape(0))
        throw std::invalid_argument("squared_differences: i, j and out differ in length");
    require_below(i, x1.shape(0), "i");
    require_below(j, x2.shape(0), "j");
    nb::gil_scoped_release release;
    torchtangents::squared_differences<T>(x1.data(), x2.data(), i.data(), j.data(), out.data(), i.shape(0), x1.shape(1), threads);
}

NB_MODULE(_native, m) {
    m.doc() = "Compiled operations of torchtangents";
    m.def("squared_differences", &squared_differences<float>, nb::arg("x1").noconvert(), nb::arg("x2").noconvert(),
          nb::arg("i").noconvert(), nb::arg("j").noconvert(), nb::arg("out").noconvert(), nb::arg("threads"));
    m.def("squared_differences", &squared_differences<double>, nb::arg("x1").noconvert(), nb::arg("x2").noconvert(),
          nb::arg("i").noconvert(), nb::arg("j").noconvert(), nb::arg("out").noconvert(), nb::arg("threads"));
}

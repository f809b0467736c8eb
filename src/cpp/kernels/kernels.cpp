// Compiled once per instruction set, with GRUFAST_ISA naming it. Exports one symbol.
#include "kernels.hpp"

#include "gemm.hpp"
#include "gru.hpp"
#include "losses.hpp"
#include "pointwise.hpp"
#include "transpose.hpp"

namespace grufast {
namespace {

template <class Cell, class T>
constexpr CellKernels<T> cell_kernels() {
    return {Cell::info, forward_steps<Cell, T>, backward_steps<Cell, T>};
}

template <class T>
constexpr KernelTable<T> table() {
    return {kLanes<T>,
            gemm_panels<T>,
            gemm_strips<T>,
            gemm_outer<T>,
            sum_rows<T>,
            transpose<T>,
            {cell_kernels<Gru, T>(), cell_kernels<GruResetBefore, T>()},
            activate<T>,
            activate_backward<T>,
            sgd<T>,
            adam<T>,
            cross_entropy<T>};
}

}  // namespace

namespace GRUFAST_ISA {
const Kernels kernels = {table<float>(), table<double>()};
}

}  // namespace grufast

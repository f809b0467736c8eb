// Compiled once per instruction set, with GRUFAST_ISA naming it. Exports one symbol.
#include "kernels.hpp"

#include "gru.hpp"
#include "gru_decay.hpp"
#include "input_decay.hpp"
#include "losses.hpp"
#include "lstm.hpp"
#include "mgu.hpp"
#include "normalized.hpp"
#include "optimizers.hpp"
#include "pointwise.hpp"
#include "recurrent.hpp"
#include "rnn.hpp"
#include "transpose.hpp"

namespace grufast {
namespace {

template <class Cell, class T>
constexpr CellKernels<T> cell_kernels() {
    return {Cell::info, Cell::back[0] >= 0, forward_steps<Cell, T>, backward_steps<Cell, T>};
}

template <class T>
constexpr KernelTable<T> table() {
    return {
        kLanes<T>,
        gemm_panels<T>,
        gemm_strips<T>,
        gemm_outer<T>,
        sum_rows<T>,
        transpose<T>,
        {cell_kernels<GruOf<Usual, false>, T>(),
         cell_kernels<GruResetBeforeOf<Usual, false>, T>(),
         cell_kernels<LstmOf<Usual, false, false>, T>(), cell_kernels<GruOf<Chosen, true>, T>(),
         cell_kernels<GruResetBeforeOf<Chosen, true>, T>(),
         cell_kernels<LstmOf<Chosen, false, true>, T>(),
         cell_kernels<LstmOf<Chosen, true, true>, T>(), cell_kernels<SimpleRnn, T>(),
         cell_kernels<Mgu, T>(), cell_kernels<Jordan, T>(), cell_kernels<GruDecay, T>(),
         cell_kernels<GruNormalized, T>(), cell_kernels<LstmNormalized, T>(),
         cell_kernels<LstmPeepholeNormalized, T>()},  // as CellId
        activate<T>,
        activate_backward<T>,
        sgd<T>,
        adam<T>,
        rmsprop<T>,
        adagrad<T>,
        sum_squares<T>,
        cross_entropy<T>,
        input_decay<T>,
        input_decay_backward<T>};
}

}  // namespace

namespace GRUFAST_ISA {
const Kernels kernels = {table<float>(), table<double>()};
}

}  // namespace grufast

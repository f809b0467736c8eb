#include "dense.hpp"

#include <algorithm>

#include "packing.hpp"

namespace grufast {
namespace {
constexpr Index kChunkRows = 256;  // rows whose weight gradients are one product
constexpr int kOneBlock[] = {0};
}  // namespace

template <class T>
Dense<T>::Dense(const KernelTable<T>& table, Index input_size, Index units,
                Activation activation)
    : table_(table),
      input_(input_size),
      units_(units),
      panels_((units + table.lanes - 1) / table.lanes),
      activation_(activation) {}

template <class T>
void Dense<T>::pack(const T* weight, const T* bias) {
    const Index lanes = table_.lanes, columns = (input_ + lanes - 1) / lanes;
    pack_strips(table_, weight, units_, input_, {kOneBlock, 0, 1}, {0, columns},
                reserve<T>(backward_strips_, elements(columns, lanes, units_)));
    T* strips = reserve<T>(forward_strips_, elements(panels_, lanes, input_));
    for (Index v = 0; v < panels_;) {  // strips of weight^T
        const Index width = strip_width(panels_ - v), row = width * lanes;
        for (Index end = v + width; v < end; ++v, strips += lanes) {
            const Index count = std::min(lanes, units_ - v * lanes);
            table_.transpose(
                {weight + v * lanes * input_, input_, count, input_, strips, row, true});
        }
        strips += row * (input_ - 1);
    }
    T* padded = reserve<T>(bias_, panels_ * lanes);
    std::fill(padded, padded + panels_ * lanes, T(0));
    std::copy(bias, bias + units_, padded);
}

template <class T>
int Dense<T>::threads(Index rows, double products) const {
    return threads_for(2.0 * products * static_cast<double>(rows) *
                       static_cast<double>(input_) * static_cast<double>(units_));
}

template <class T>
void Dense<T>::forward(Index rows, const T* x, Index x_row, T* y, T* inputs) const {
    parallel(threads(rows, 1), [&](Team& team) {
        const Range mine = team.share(rows, 8);
        if (mine.empty()) return;
        StripGemm<T> g{};
        g.a = {x + mine.begin * x_row, x_row, 1, input_, 0, 0, 0, 0};
        g.weight = data<T>(forward_strips_);
        g.bias = data<T>(bias_);
        g.out = (inputs ? inputs : y) + mine.begin * units_;
        g.out_row = units_;
        g.rows = mine.end - mine.begin;
        g.columns = units_;
        table_.gemm_strips(g);
        table_.activate(activation_, g.out, y + mine.begin * units_, g.rows * units_);
    });
}

template <class T>
void Dense<T>::backward(Index rows, const T* x, Index x_row, const T* kept, const T* dy, T* dx,
                        T* dweight, T* dbias) const {
    const Index lanes = table_.lanes, padded = panels_ * lanes;
    const Index gradient_size = elements(rows, padded), weight_size = elements(padded, input_);
    Buffer scratch;
    T* gradient = reserve<T>(scratch, gradient_size + weight_size + padded);
    T* weight_sum = gradient + gradient_size;
    T* bias_sum = weight_sum + weight_size;
    std::fill(weight_sum, weight_sum + weight_size + padded, T(0));
    parallel(threads(rows, dx ? 2 : 1), [&](Team& team) {
        const Range mine = team.share(rows, 8);
        for (Index r = mine.begin; r < mine.end; ++r) {
            T* row = gradient + r * padded;
            table_.activate_backward(activation_, kept + r * units_, dy + r * units_, row,
                                     units_);
            std::fill(row + units_, row + padded, T(0));
        }
        if (dx && !mine.empty()) {
            StripGemm<T> g{};
            g.a = {gradient + mine.begin * padded, padded, 1, units_, 0, 0, 0, 0};
            g.weight = data<T>(backward_strips_);
            g.out = dx + mine.begin * input_;
            g.out_row = input_;
            g.rows = mine.end - mine.begin;
            g.columns = input_;
            table_.gemm_strips(g);
        }
        team.barrier();
        const Range items = team.share(panels_ * ((input_ + kOuterTile - 1) / kOuterTile));
        const Range panels = team.share(panels_);
        for (Index begin = 0; begin < rows; begin += kChunkRows) {
            const Index count = std::min(kChunkRows, rows - begin);
            const T* g = gradient + begin * padded;
            OuterGemm<T> outer{};
            outer.a = x + begin * x_row;
            outer.a_inner = x_row;
            outer.outer = 1;
            outer.inner = count;
            outer.g = g;
            outer.g_row = padded;
            outer.g_panel = lanes;
            outer.out = weight_sum;
            outer.k = input_;
            outer.item_begin = items.begin;
            outer.item_end = items.end;
            outer.slots = 1;
            outer.accumulate = true;
            table_.gemm_outer(outer);
            RowSum<T> sum{};
            sum.g = g;
            sum.g_row = padded;
            sum.g_panel = lanes;
            sum.rows = count;
            sum.panel_begin = panels.begin;
            sum.panel_end = panels.end;
            sum.out = bias_sum;
            sum.out_panel = lanes;
            sum.slots = 1;
            sum.accumulate = true;
            table_.sum_rows(sum);
        }
        team.barrier();
        unpack_panels(table_, weight_sum, units_, input_, {kOneBlock, 0, 1}, panels, dweight);
        const Range units = {panels.begin * lanes, std::min(panels.end * lanes, units_)};
        if (!units.empty())
            std::copy(bias_sum + units.begin, bias_sum + units.end, dbias + units.begin);
    });
}

template class Dense<float>;
template class Dense<double>;

}  // namespace grufast

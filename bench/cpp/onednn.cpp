// oneDNN's LSTM and plain RNN behind C functions: bench/family.py times them through ctypes.
//
// All arrays are float. Sequences are [T][B][C]. Of each layer and direction the weights are
// weight_ih [C][G * H], weight_hh [H][G * H], and one bias [G * H]; the G gates have PyTorch's
// order, which is oneDNN's too. An error of oneDNN ends the process with its message.
#include <cstdint>
#include <cstring>
#include <dnnl.hpp>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

using dnnl::memory;
using Index = memory::dim;
using Tag = memory::format_tag;
using Arguments = std::unordered_map<int, memory>;
using Kind = dnnl::prop_kind;

struct Shape {
    Index batch, steps, inputs, hidden, layers, directions;
    dnnl::rnn_direction direction() const {
        return directions == 2 ? dnnl::rnn_direction::bidirectional_concat
                               : dnnl::rnn_direction::unidirectional_left2right;
    }
};

// What a primitive reads and writes. Nobody asks for the last states.
struct Operands {
    memory::desc x, state, weight_ih, weight_hh, bias, y;
};
// The backward one is empty where only inference is wanted.
struct Descriptors {
    dnnl::rnn_primitive_desc_base forward, backward;
};
const memory::desc kNone;

Descriptors lstm(const dnnl::engine& engine, Kind kind, const Shape& s, const Operands& o) {
    const auto direction = s.direction();
    const dnnl::lstm_forward::primitive_desc forward(engine, kind, direction, o.x, o.state,
                                                     o.state, o.weight_ih, o.weight_hh, o.bias,
                                                     o.y, kNone, kNone);
    if (kind == Kind::forward_inference) return {forward, {}};
    const dnnl::lstm_backward::primitive_desc backward(
        engine, Kind::backward, direction, o.x, o.state, o.state, o.weight_ih, o.weight_hh,
        o.bias, o.y, kNone, kNone, o.x, o.state, o.state, o.weight_ih, o.weight_hh, o.bias, o.y,
        kNone, kNone, forward);
    return {forward, backward};
}

Descriptors rnn(const dnnl::engine& engine, Kind kind, const Shape& s, const Operands& o) {
    const auto direction = s.direction();
    const auto tanh = dnnl::algorithm::eltwise_tanh;
    const dnnl::vanilla_rnn_forward::primitive_desc forward(engine, kind, tanh, direction, o.x,
                                                            o.state, o.weight_ih, o.weight_hh,
                                                            o.bias, o.y, kNone);
    if (kind == Kind::forward_inference) return {forward, {}};
    const dnnl::vanilla_rnn_backward::primitive_desc backward(
        engine, Kind::backward, tanh, direction, o.x, o.state, o.weight_ih, o.weight_hh, o.bias,
        o.y, kNone, o.x, o.state, o.weight_ih, o.weight_hh, o.bias, o.y, kNone, forward);
    return {forward, backward};
}

memory::desc floats(const memory::dims& dims, Tag tag) {
    return {dims, memory::data_type::f32, tag};
}

// Consecutive layers whose inputs have one size: what oneDNN runs as one primitive.
struct Group {
    memory x, y, dx, dy;
    dnnl::primitive forward, backward;
    Arguments forward_arguments, backward_arguments;
    std::vector<memory> gradients;  // of the weights, in oneDNN's own order
    memory dweight_ih, dweight_hh;  // the same, in the order of the weights
};

class Network {
  public:
    Network(const std::string& cell, bool train, const Shape& shape, const float* x,
            const float* const* weights)
        : cell_(cell), train_(train), shape_(shape) {
        const Shape& s = shape;
        memory layer_x(floats({s.steps, s.batch, s.inputs}, Tag::tnc), engine_);
        copy(x, layer_x);
        for (Index i = 0; i < s.layers;) {
            const Index above = s.directions * s.hidden;
            const bool all_alike = i > 0 || s.inputs == above;
            const Index count = all_alike ? s.layers - i : 1;
            groups_.push_back(group(layer_x, i ? above : s.inputs, count, weights));
            weights += 3 * count * s.directions;
            layer_x = groups_.back().y;
            i += count;
        }
        if (train) connect_gradients();
    }

    // Forward, and with the loss sum(y * y) backward. The weights stay in the order that
    // oneDNN prefers, as grufast's stay packed while nobody changes them.
    void run() {
        for (Group& g : groups_) g.forward.execute(stream_, g.forward_arguments);
        if (train_) {
            Group& last = groups_.back();
            twice_.execute(stream_, {{DNNL_ARG_SRC, last.y}, {DNNL_ARG_DST, last.dy}});
            for (auto g = groups_.rbegin(); g != groups_.rend(); ++g) run_backward(*g);
        }
        stream_.wait();
    }

    void read(const std::string& name, float* out) {
        Group& first = groups_.front();
        const Index rows = shape_.inputs, H = shape_.hidden, G = gates();
        const auto take = [out](const memory& from, Index size) {
            std::memcpy(out, from.get_data_handle(),
                        static_cast<std::size_t>(size) * sizeof(float));
        };
        const Index cells = shape_.steps * shape_.batch;
        if (name == "y") take(groups_.back().y, cells * shape_.directions * H);
        if (name == "dx") take(first.dx, cells * rows);
        if (name == "dwih") take(first.dweight_ih, rows * G * H);
        if (name == "dwhh") take(first.dweight_hh, H * G * H);
    }

  private:
    Index gates() const { return cell_ == "LSTM" ? 4 : 1; }

    static void copy(const float* from, const memory& to) {
        std::memcpy(to.get_data_handle(), from, to.get_desc().get_size());
    }
    static void clear(memory& m) {
        std::memset(m.get_data_handle(), 0, m.get_desc().get_size());
    }
    void reorder(memory& from, memory& to) {
        dnnl::reorder(from, to).execute(stream_, from, to);
    }

    // The weights number `which` of each layer and direction, one after the other.
    memory joined(const float* const* weights, int which, const memory::desc& desc) {
        memory to(desc, engine_);
        const Index parts = desc.get_dims()[0] * desc.get_dims()[1];
        const std::size_t size = desc.get_size() / static_cast<std::size_t>(parts);
        for (Index i = 0; i < parts; ++i)
            std::memcpy(static_cast<char*>(to.get_data_handle()) + i * size,
                        weights[3 * i + which], size);
        return to;
    }
    memory cleared(const memory::desc& desc) {
        memory to(desc, engine_);
        clear(to);
        return to;
    }
    memory reordered(memory from, const memory::desc& desc) {
        memory to(desc, engine_);
        reorder(from, to);
        return to;
    }

    Group group(const memory& x, Index inputs, Index count, const float* const* weights) {
        const Shape& s = shape_;
        const Index H = s.hidden, D = s.directions, G = gates();
        const memory::dims ih = {count, D, inputs, G, H}, hh = {count, D, H, G, H};
        // None where that is allowed. In training without one, oneDNN 3.2 computes a wrong
        // gradient of weight_hh where a primitive has a single layer.
        const memory::desc state =
            train_ ? floats({count, D, s.batch, H}, Tag::ldnc) : memory::desc();
        const Operands o = {x.get_desc(),
                            state,
                            floats(ih, Tag::any),
                            floats(hh, Tag::any),
                            floats({count, D, G, H}, Tag::ldgo),
                            floats({s.steps, s.batch, D * H}, Tag::tnc)};
        const auto kind = train_ ? Kind::forward_training : Kind::forward_inference;
        const Descriptors d = (cell_ == "LSTM" ? lstm : rnn)(engine_, kind, s, o);

        Group g;
        g.x = x;
        g.y = memory(o.y, engine_);
        const memory weight_ih = joined(weights, 0, floats(ih, Tag::ldigo));
        const memory weight_hh = joined(weights, 1, floats(hh, Tag::ldigo));
        const memory bias = joined(weights, 2, o.bias);
        g.forward = dnnl::primitive(d.forward);
        g.forward_arguments = {
            {DNNL_ARG_SRC_LAYER, g.x},
            {DNNL_ARG_WEIGHTS_LAYER, reordered(weight_ih, d.forward.weights_layer_desc())},
            {DNNL_ARG_WEIGHTS_ITER, reordered(weight_hh, d.forward.weights_iter_desc())},
            {DNNL_ARG_BIAS, bias},
            {DNNL_ARG_DST_LAYER, g.y}};
        if (!train_) return g;

        const memory workspace(d.forward.workspace_desc(), engine_);
        g.forward_arguments[DNNL_ARG_WORKSPACE] = workspace;
        const memory zeros = cleared(state);
        for (const int state_of : {DNNL_ARG_SRC_ITER, DNNL_ARG_SRC_ITER_C})
            g.forward_arguments[state_of] = zeros;
        g.gradients = {memory(d.backward.diff_weights_layer_desc(), engine_),
                       memory(d.backward.diff_weights_iter_desc(), engine_),
                       memory(d.backward.diff_bias_desc(), engine_)};
        g.dweight_ih = memory(weight_ih.get_desc(), engine_);
        g.dweight_hh = memory(weight_hh.get_desc(), engine_);
        g.dx = memory(o.x, engine_);
        g.backward = dnnl::primitive(d.backward);
        g.backward_arguments = {
            {DNNL_ARG_SRC_LAYER, g.x},
            {DNNL_ARG_WEIGHTS_LAYER, reordered(weight_ih, d.backward.weights_layer_desc())},
            {DNNL_ARG_WEIGHTS_ITER, reordered(weight_hh, d.backward.weights_iter_desc())},
            {DNNL_ARG_BIAS, bias},
            {DNNL_ARG_DST_LAYER, g.y},
            {DNNL_ARG_SRC_ITER, zeros},
            {DNNL_ARG_SRC_ITER_C, zeros},
            {DNNL_ARG_WORKSPACE, workspace},
            {DNNL_ARG_DIFF_SRC_LAYER, g.dx},
            {DNNL_ARG_DIFF_SRC_ITER, memory(state, engine_)},
            {DNNL_ARG_DIFF_SRC_ITER_C, memory(state, engine_)},
            {DNNL_ARG_DIFF_WEIGHTS_LAYER, g.gradients[0]},
            {DNNL_ARG_DIFF_WEIGHTS_ITER, g.gradients[1]},
            {DNNL_ARG_DIFF_BIAS, g.gradients[2]}};
        return g;
    }

    // A group's dy is the dx of the one above; that of the last is 2 y.
    void connect_gradients() {
        const memory::desc desc = groups_.back().y.get_desc();
        twice_ = dnnl::eltwise_forward({engine_, Kind::forward_inference,
                                        dnnl::algorithm::eltwise_linear, desc, desc, 2.0F});
        for (std::size_t i = 0; i < groups_.size(); ++i) {
            const bool last = i + 1 == groups_.size();
            groups_[i].dy = last ? memory(desc, engine_) : groups_[i + 1].dx;
            groups_[i].backward_arguments[DNNL_ARG_DIFF_DST_LAYER] = groups_[i].dy;
        }
    }

    void run_backward(Group& g) {
        for (memory& m : g.gradients) clear(m);  // oneDNN adds to them
        g.backward.execute(stream_, g.backward_arguments);
        reorder(g.gradients[0], g.dweight_ih);
        reorder(g.gradients[1], g.dweight_hh);
    }

    const std::string cell_;
    const bool train_;
    const Shape shape_;
    dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
    dnnl::stream stream_{engine_};
    dnnl::eltwise_forward twice_;
    std::vector<Group> groups_;
};

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

// `cell`: "LSTM" or "SimpleRNN". `weights`: three arrays for each layer and direction.
EXPORT void* onednn_new(const char* cell, int train, const std::int64_t* shape, const float* x,
                        const float* const* weights) {
    const std::int64_t* s = shape;
    return new Network(cell, train != 0, {s[0], s[1], s[2], s[3], s[4], s[5]}, x, weights);
}
EXPORT void onednn_delete(void* network) { delete static_cast<Network*>(network); }
EXPORT void onednn_run(void* network) { static_cast<Network*>(network)->run(); }
// "y"; once trained "dx", and of the first layer, forward in time, "dwih" and "dwhh".
EXPORT void onednn_read(void* network, const char* name, float* out) {
    static_cast<Network*>(network)->read(name, out);
}
EXPORT const char* onednn_version() {
    static const dnnl_version_t& v = *dnnl_version();
    static const std::string text =
        std::to_string(v.major) + "." + std::to_string(v.minor) + "." + std::to_string(v.patch);
    return text.c_str();
}

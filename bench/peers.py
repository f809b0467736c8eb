"""The libraries that compare.py times, each used as its users would use it well.

A peer's `setup_...` keeps the contract of `setup` in peer.py: `(call, result)`.
Run as a program, this is the process that one peer lives in: `peers.py NAME THREADS`
answers requests on stdin, a line of JSON each. It needs NumPy and that peer only.
"""

import functools
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

import measure
import numpy as np
from measure import STREAM_STEPS, Array, Shape, Weights

Results = dict[str, Array]
Ready = tuple[Callable[[], object], Callable[[], Results]]


def setup_grufast(
    shape: Shape, mode: str, threads: int, weights: Weights, inputs: Array
) -> Ready:
    import peer

    return peer.setup(shape, mode, threads, weights, inputs)


def _trained(y: Any, dx: Any, dweight_ih: Any, dweight_hh: Any) -> Results:
    values = {"y": y, "dx": dx, "dwih": dweight_ih, "dwhh": dweight_hh}
    return {name: np.asarray(value) for name, value in values.items()}


# --- PyTorch --------------------------------------------------------------------------


def setup_torch(
    shape: Shape, mode: str, threads: int, weights: Weights, inputs: Array
) -> Ready:
    import torch

    torch.set_num_threads(threads)
    both = shape.directions == 2
    gru = torch.nn.GRU(shape.inputs, shape.hidden, shape.layers, bidirectional=both)
    arrays = [torch.from_numpy(a) for w in weights for a in w]
    with torch.no_grad():
        for parameter, array in zip(gru.parameters(), arrays, strict=True):
            parameter.copy_(array)
    optimizer = torch.optim.Adam(gru.parameters(), lr=1e-3, fused=True)
    x = torch.from_numpy(inputs)
    cell = torch.nn.GRUCell(shape.inputs, shape.hidden)  # a third faster than GRU
    cell.load_state_dict(
        {name: getattr(gru, f"{name}_l0") for name in cell.state_dict()}
    )
    first = x[0]
    zero = state = torch.zeros(shape.batch, shape.hidden)

    def infer() -> Any:
        with torch.inference_mode():
            return gru(x)[0]

    def step() -> None:
        nonlocal state
        with torch.inference_mode():
            state = cell(first, state)

    def streamed() -> Results:
        with torch.inference_mode():
            return {"h": functools.reduce(lambda h, x_t: cell(x_t, h), x, zero).numpy()}

    def train() -> Any:
        x.grad = None
        optimizer.zero_grad()
        y, _ = gru(x)
        (y * y).sum().backward()
        return y.detach()

    def adam() -> None:
        train()
        optimizer.step()

    def trained() -> Results:
        y = train()
        return _trained(y, x.grad, gru.weight_ih_l0.grad, gru.weight_hh_l0.grad)

    if mode == "infer":
        return infer, lambda: {"y": infer().numpy()}
    if mode == "stream":
        return step, streamed
    x.requires_grad_()
    return adam if mode == "adam" else train, trained


# --- ONNX Runtime and OpenVINO --------------------------------------------------------


def onnx_model(shape: Shape, mode: str, weights: Weights) -> bytes:
    """From x (T, B, C) to out (T, B, D H); in a stream T is 1, and h comes in too."""
    from onnx import TensorProto, helper, numpy_helper

    constants, nodes = [], []
    stream, ways, hidden = mode == "stream", shape.directions, shape.hidden

    def constant(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(kind: str, inputs: list[str], *outputs: str, **options: Any) -> None:
        nodes.append(helper.make_node(kind, inputs, outputs, **options))

    def gates(a: Array) -> Array:
        r, z, n = np.split(a, 3)
        return np.concatenate([z, r, n])

    last = "x"
    for i in range(shape.layers):
        mine = [tuple(map(gates, w)) for w in weights[i * ways : (i + 1) * ways]]
        inputs = [
            last,
            constant(f"w{i}", np.stack([w[0] for w in mine])),
            constant(f"r{i}", np.stack([w[1] for w in mine])),
            constant(f"b{i}", np.stack([np.concatenate(w[2:]) for w in mine])),
            *(("", "h") if stream else ()),
        ]
        last = "out" if i == shape.layers - 1 else f"y{i}"
        options: dict[str, Any] = {"hidden_size": hidden, "linear_before_reset": 1}
        options["direction"] = "forward" if ways == 1 else "bidirectional"
        if stream:
            node("GRU", inputs, "", last, **options)
            break
        node("GRU", inputs, f"all{i}", **options)  # (T, D, B, H)
        if ways == 1:
            node("Squeeze", [f"all{i}", constant(f"axes{i}", [1])], last)
        else:
            node("Transpose", [f"all{i}"], f"turned{i}", perm=(0, 2, 1, 3))
            node("Reshape", [f"turned{i}", constant(f"dims{i}", [0, 0, -1])], last)

    def tensor(name: str, *dims: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)

    steps = 1 if stream else shape.steps
    takes = [tensor("x", steps, shape.batch, shape.inputs)]
    if stream:
        takes.append(tensor("h", 1, shape.batch, hidden))
    gives = [tensor("out", steps, shape.batch, ways * hidden)]
    graph = helper.make_graph(nodes, "gru", takes, gives, constants)
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    return bytes(model.SerializeToString())


def setup_onnxruntime(
    shape: Shape, mode: str, threads: int, weights: Weights, inputs: Array
) -> Ready:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    model = onnx_model(shape, mode, weights)
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    run, value = session.run_with_iobinding, ort.OrtValue.ortvalue_from_numpy
    dims = session.get_outputs()[0].shape

    def binding(out: Any, **values: Any) -> Any:
        bound = session.io_binding()
        bound.bind_ortvalue_output("out", out)
        for name, v in values.items():
            bound.bind_ortvalue_input(name, v)
        return bound

    if mode == "infer":
        y = value(np.zeros(dims, np.float32))
        infer = functools.partial(run, binding(y, x=value(inputs)))
        return infer, lambda: {"y": infer() or y.numpy()}

    a, b = (value(np.zeros(dims, np.float32)) for _ in range(2))
    first = value(inputs[:1])
    there, back = binding(b, x=first, h=a), binding(a, x=first, h=b)

    def step() -> None:
        nonlocal there, back
        run(there)
        there, back = back, there

    def streamed() -> Results:
        h = np.zeros(dims, np.float32)
        for t in range(STREAM_STEPS):
            (h,) = session.run(None, {"x": inputs[t : t + 1], "h": h})
        return {"h": h[0]}

    return step, streamed


def setup_openvino(
    shape: Shape, mode: str, threads: int, weights: Weights, inputs: Array
) -> Ready:
    import openvino as ov

    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # or it takes bfloat16 where the CPU can
        "INFERENCE_NUM_THREADS": threads,
    }
    core = ov.Core()
    model = core.read_model(onnx_model(shape, mode, weights))
    compiled = core.compile_model(model, "CPU", options)
    request = compiled.create_infer_request()
    request.set_tensor("x", ov.Tensor(inputs[:1] if mode == "stream" else inputs))
    if mode == "infer":

        def result() -> Results:
            request.infer()
            return {"y": np.array(request.get_output_tensor().data)}

        return request.infer, result

    dims = (1, shape.batch, shape.hidden)
    there, back = (ov.Tensor(np.zeros(dims, np.float32)) for _ in range(2))

    def step() -> None:
        nonlocal there, back
        request.set_tensor("h", there)
        request.set_tensor("out", back)
        request.infer()
        there, back = back, there

    def streamed() -> Results:
        h = np.zeros(dims, np.float32)
        for t in range(STREAM_STEPS):
            h = compiled({"x": inputs[t : t + 1], "h": h})["out"]
        return {"h": h[0]}

    return step, streamed


# --- JAX ------------------------------------------------------------------------------


def setup_jax(
    shape: Shape, mode: str, threads: int, weights: Weights, inputs: Array
) -> Ready:
    import jax
    from jax import numpy as jnp

    tree, ways = jax.tree.map, shape.directions
    params = [tuple(jnp.asarray(a.T) for a in w) for w in weights]
    x = jnp.asarray(inputs)

    def cell(h: Any, a: Any, w: Any) -> tuple[Any, Any]:
        a_r, a_z, a_n = jnp.split(a, 3, axis=-1)
        s_r, s_z, s_n = jnp.split(h @ w[1] + w[3], 3, axis=-1)
        z = jax.nn.sigmoid(a_z + s_z)
        n = jnp.tanh(a_n + jax.nn.sigmoid(a_r + s_r) * s_n)
        h = n + z * (h - n)
        return h, h

    def forward(params: Any, x: Any) -> Any:
        h0 = jnp.zeros((shape.batch, shape.hidden))
        for i in range(0, len(params), ways):
            ys = []
            for d, w in enumerate(params[i : i + ways]):
                step = functools.partial(cell, w=w)
                gates = x @ w[0] + w[2]  # of all steps at once
                ys.append(jax.lax.scan(step, h0, gates, reverse=d == 1)[1])
            x = jnp.concatenate(ys, axis=-1)
        return x

    def loss(params: Any, x: Any) -> tuple[Any, Any]:
        y = forward(params, x)
        return (y * y).sum(), y

    gradients = jax.value_and_grad(loss, (0, 1), has_aux=True)

    def update(params: Any, m: Any, v: Any, count: Any) -> Any:
        (_, y), (grads, dx) = gradients(params, x)
        m = tree(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = tree(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
        a, b = 1 - 0.9**count, 1 - 0.999**count

        def moved(p: Any, m: Any, v: Any) -> Any:
            return p - 1e-3 * (m / a) / (jnp.sqrt(v / b) + 1e-8)

        return (tree(moved, params, m, v), m, v, count + 1), y, dx

    infer, train, adam = map(jax.jit, (forward, gradients, update))
    one_step = jax.jit(lambda x, h, w: cell(h, x @ w[0] + w[2], w)[0])
    first, state = x[0], jnp.zeros((shape.batch, shape.hidden))
    zeros = tree(jnp.zeros_like, params)
    carried = (params, zeros, zeros, jnp.float32(1))

    def step() -> None:
        nonlocal state
        state = one_step(first, state, params[0]).block_until_ready()

    def adam_step() -> None:
        nonlocal carried
        carried, *rest = adam(*carried)
        jax.block_until_ready((carried, rest))

    def trained() -> Results:
        (_, y), (grads, dx) = train(params, x)
        return _trained(y, dx, grads[0][0].T, grads[0][1].T)

    calls: dict[str, Ready] = {
        "infer": (
            lambda: infer(params, x).block_until_ready(),
            lambda: {"y": np.asarray(infer(params, x))},
        ),
        "stream": (step, lambda: {"h": np.asarray(infer(params, x)[-1])}),
        "train": (lambda: jax.block_until_ready(train(params, x)), trained),
        "adam": (adam_step, trained),
    }
    return calls[mode]


# --- Keras ----------------------------------------------------------------------------


def setup_keras(
    shape: Shape,
    mode: str,
    threads: int,
    weights: Weights,
    inputs: Array,
    xla: bool = False,
) -> Ready:
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    function = functools.partial(tf.function, jit_compile=xla)

    def swapped(a: Array) -> Array:
        """Turn the last axis from r, z, n into z, r, n, or back."""
        r, z, n = np.split(a, 3, axis=-1)
        return np.concatenate([z, r, n], axis=-1)

    model = keras.Sequential([keras.Input((None, shape.inputs))])
    for i in range(0, len(weights), shape.directions):
        layer = keras.layers.GRU(shape.hidden, return_sequences=True)
        model.add(keras.layers.Bidirectional(layer) if shape.directions == 2 else layer)
        arrays: list[Array] = []
        for a, b, c, d in weights[i : i + shape.directions]:
            arrays += swapped(a.T), swapped(b.T), swapped(np.stack([c, d]))
        model.layers[-1].set_weights(arrays)
    x = tf.constant(inputs.transpose(1, 0, 2))
    variables = model.trainable_variables
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(variables)

    def gradients(x: Any) -> tuple[Any, Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = model(x, training=True)
            loss = tf.reduce_sum(y * y)
        dx, *grads = tape.gradient(loss, [x, *variables])
        return y, dx, grads

    def update(x: Any) -> tuple[Any, Any]:
        y, dx, grads = gradients(x)
        optimizer.apply_gradients(zip(grads, variables, strict=True))
        return y, dx

    infer = functools.partial(function(model), x)
    train = functools.partial(function(gradients), x)
    one_step = function(lambda x, h: layer.cell(x, [h])[0])
    first, state = x[:, 0], tf.zeros((shape.batch, shape.hidden))

    def step() -> None:
        nonlocal state
        state = one_step(first, state)

    def trained() -> Results:
        y, dx, (dweight_ih, dweight_hh, *_) = train()
        y, dx = (tf.transpose(a, (1, 0, 2)) for a in (y, dx))
        return _trained(
            y, dx, *(swapped(np.array(a)).T for a in (dweight_ih, dweight_hh))
        )

    calls: dict[str, Ready] = {
        "infer": (infer, lambda: {"y": infer().numpy().transpose(1, 0, 2)}),
        "stream": (step, lambda: {"h": infer().numpy()[:, -1]}),
        "train": (train, trained),
        "adam": (functools.partial(function(update), x), trained),
    }
    return calls[mode]


# --- The process of a peer ------------------------------------------------------------


class Peer(NamedTuple):
    setup: Callable[[Shape, str, int, Weights, Array], Ready]
    modules: tuple[str, ...]
    modes: tuple[str, ...] = ("infer", "train", "adam", "stream")


ONLY_FORWARD = ("infer", "stream")  # neither trains a GRU
PEERS = {
    "grufast": Peer(setup_grufast, ("grufast",)),
    "torch": Peer(setup_torch, ("torch",)),
    "ort": Peer(setup_onnxruntime, ("onnxruntime", "onnx"), ONLY_FORWARD),
    "openvino": Peer(setup_openvino, ("openvino", "onnx"), ONLY_FORWARD),
    "jax": Peer(setup_jax, ("jax", "jaxlib")),
    "keras": Peer(setup_keras, ("keras", "tensorflow")),
    "keras_xla": Peer(
        functools.partial(setup_keras, xla=True), ("keras", "tensorflow")
    ),
}


def environment(name: str, threads: int) -> dict[str, str]:
    """Settings that must be there before the peer is imported."""
    counts = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NPROC")
    settings = {count: str(threads) for count in counts}  # NPROC is JAX's
    if name == "jax":
        settings["JAX_PLATFORMS"] = "cpu"
        if threads == 1:
            settings["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    if name.startswith("keras"):
        settings |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
        settings["CUDA_VISIBLE_DEVICES"] = ""
    return settings


class Worker:
    """What a peer's process does on request."""

    def __init__(self, name: str, threads: int) -> None:
        self.peer, self.threads = PEERS[name], threads
        self.call: Callable[[], object] | None = None

    def versions(self) -> dict[str, Any]:
        """Import the peer and say what it is."""
        modules = {name: importlib.import_module(name) for name in self.peer.modules}
        answer: dict[str, Any] = {
            "versions": {k: m.__version__.split("-")[0] for k, m in modules.items()}
        }
        if "grufast" in modules:
            answer["isa"] = modules["grufast"].build_info()["isa"]
        return answer

    def setup(self, shape: str, mode: str, exact: str) -> dict[str, Any]:
        """Prepare a problem and compare its results with those in the file `exact`."""
        self.call = None  # the last problem's memory, before there is more
        size = Shape.parse(shape)
        problem = measure.problem(size, mode)
        call, result = self.peer.setup(size, mode, self.threads, *problem)
        with np.load(exact) as right:
            measure.check(result(), dict(right))
        self.call = call
        return {}

    def time(self, budget: float) -> dict[str, Any]:
        if self.call is None:
            raise RuntimeError("its process died and has lost the problem")
        return {"t": [float(f"{t:.5g}") for t in measure.sample(self.call, budget)]}


def main() -> None:
    worker = Worker(sys.argv[1], int(sys.argv[2]))
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # libraries print too
        for line in sys.stdin:
            question = json.loads(line)
            try:
                answer = getattr(worker, question.pop("do"))(**question)
            except Exception as error:
                traceback.print_exc()
                answer = {"fail": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()

"""PyTorch as a second oracle, where it is installed."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from grufast import layers
from reference import Array
from tolerances import DTYPES, Dtype, assert_close, gru_case

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Keep PyTorch's threads from competing with the core's."""
    previous = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(previous)


def tensor(a: Array, **options: Any) -> Any:
    return torch.tensor(a.astype(np.float64), **options)


@each_dtype
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(
    ("rows", "steps", "inputs", "units"),
    [(1, 1, 1, 1), (5, 7, 3, 17), (33, 40, 16, 31), (2, 100, 20, 48)],
)
def test_stacked_grus_agree_with_pytorch(
    rng: np.random.Generator,
    rows: int,
    steps: int,
    inputs: int,
    units: int,
    depth: int,
    dtype: Dtype,
) -> None:
    case = gru_case(rng, rows, steps, inputs, units, dtype)
    sizes = [inputs, units][:depth]
    cases = [gru_case(rng, rows, steps, size, units, dtype) for size in sizes]
    states = [c.h0 for c in cases]

    theirs = torch.nn.GRU(inputs, units, depth, batch_first=True, dtype=torch.float64)
    for index, c in enumerate(cases):
        for name in WEIGHTS:
            getattr(theirs, f"{name}_l{index}").data = tensor(getattr(c, name))
    x = tensor(case.x, requires_grad=True)
    h0 = tensor(np.stack([h for h in states if h is not None]), requires_grad=True)
    y, h_n = theirs(x, h0)
    dh_n = np.stack([c.dh_n for c in cases if c.dh_n is not None])
    assert case.dy is not None
    torch.autograd.backward([y, h_n], [tensor(case.dy), tensor(dh_n)])

    exact = {"y": y, "dx": x.grad}
    actual: dict[str, Array] = {}
    stack, contexts, value = [], [], case.x
    for index, c in enumerate(cases):
        layer = layers.GRU(units, return_sequences=True, return_state=True, dtype=dtype)
        layer.build(sizes[index])
        layer.set_weights({name: getattr(c, name) for name in WEIGHTS})
        (value, last), context = layer.forward(value, initial_state=c.h0)
        stack.append(layer)
        contexts.append(context)
        actual[f"h_n[{index}]"] = last
        exact[f"h_n[{index}]"] = h_n[index]
    actual["y"] = value
    gradient = case.dy
    for index in reversed(range(depth)):
        gradient, grads = stack[index].backward(
            (gradient, cases[index].dh_n), contexts[index]
        )
        exact[f"dh0[{index}]"] = h0.grad[index]
        actual[f"dh0[{index}]"] = grads["initial_state"]
        for name in WEIGHTS:
            exact[f"d{name}[{index}]"] = getattr(theirs, f"{name}_l{index}").grad
            actual[f"d{name}[{index}]"] = grads[name]
    actual["dx"] = gradient

    assert exact.keys() == actual.keys()
    longest = max(3 * units, inputs + units, rows * steps)
    for name, expected in exact.items():
        kind = "backward" if name.startswith("d") else "forward"
        floor = 4 / units * (float(rows * steps) ** 0.5 if kind == "backward" else 1)
        assert_close(
            name, actual[name], expected.detach().numpy(), kind, longest * depth, floor
        )


@each_dtype
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(
    ("rows", "steps", "inputs", "units"),
    [(1, 1, 1, 1), (5, 7, 3, 17), (33, 40, 16, 31), (2, 100, 20, 48)],
)
def test_stacked_bidirectional_grus_agree_with_pytorch(
    rng: np.random.Generator,
    rows: int,
    steps: int,
    inputs: int,
    units: int,
    depth: int,
    dtype: Dtype,
) -> None:
    theirs = torch.nn.GRU(
        *(inputs, units, depth),
        batch_first=True,
        bidirectional=True,
        dtype=torch.float64,
    )
    stack = []
    for index, size in enumerate([inputs, 2 * units][:depth]):
        weights = {}
        for suffix in ("", "_reverse"):
            case = gru_case(rng, rows, steps, size, units, dtype)
            for name in WEIGHTS:
                weights[f"{name}{suffix}"] = getattr(case, name)
                own = getattr(theirs, f"{name}_l{index}{suffix}")
                own.data = tensor(getattr(case, name))
        gru = layers.GRU(units, return_sequences=True, return_state=True, dtype=dtype)
        stack.append(layers.Bidirectional(gru))
        stack[-1].build(size)
        stack[-1].set_weights(weights)
    shapes = {
        "x": (rows, steps, inputs),
        "h0": (depth, 2, rows, units),
        "dy": (rows, steps, 2 * units),
        "dh_n": (depth, 2, rows, units),
    }
    given = {name: rng.normal(size=s).astype(dtype) for name, s in shapes.items()}
    flat = 2 * depth, rows, units  # PyTorch's states: layer by layer, both directions
    x = tensor(given["x"], requires_grad=True)
    h0 = tensor(given["h0"].reshape(flat), requires_grad=True)
    y, h_n = theirs(x, h0)
    torch.autograd.backward(
        [y, h_n], [tensor(given["dy"]), tensor(given["dh_n"].reshape(flat))]
    )

    value, contexts = given["x"], []
    last: list[Array] = []
    for layer, state in zip(stack, given["h0"], strict=True):
        (value, h), context = layer.forward(value, initial_state=state)
        last.append(h)
        contexts.append(context)
    actual = {"y": value, "h_n": np.concatenate(last)}
    exact = {"y": y, "h_n": h_n, "dx": x.grad, "dh0": h0.grad}
    gradient = given["dy"]
    first: list[Array] = []
    for index in reversed(range(depth)):
        flows_in = gradient, given["dh_n"][index]
        gradient, grads = stack[index].backward(flows_in, contexts[index])
        first.insert(0, grads.pop("initial_state"))
        for name, grad in grads.items():
            plain, reverse = name.removesuffix("_reverse"), name.endswith("_reverse")
            own = getattr(theirs, f"{plain}_l{index}{'_reverse' * reverse}")
            exact[f"d{name}[{index}]"] = own.grad
            actual[f"d{name}[{index}]"] = grad
    actual |= {"dx": gradient, "dh0": np.concatenate(first)}

    assert exact.keys() == actual.keys()
    longest = max(3 * units, inputs + units, rows * steps)
    for name, expected in exact.items():
        kind = "backward" if name.startswith("d") else "forward"
        floor = 4 / units * (float(rows * steps) ** 0.5 if kind == "backward" else 1)
        assert_close(
            name, actual[name], expected.detach().numpy(), kind, longest * depth, floor
        )

"""PyTorch as a second oracle of the recurrent layers, where it is installed."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from cell_layers import LAYERS, PYTORCH, layer_of, new_case
from grufast import layers
from reference import Array
from tolerances import DTYPES, Dtype, assert_close

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Keep PyTorch's threads from competing with the core's."""
    previous = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(previous)


def tensor(a: Array, **options: Any) -> Any:
    return torch.tensor(a.astype(np.float64), **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("size", [(5, 7, 3, 17), (9, 12, 1, 5)])
@pytest.mark.parametrize(
    ("name", "way"), sorted(PYTORCH), ids=[" - ".join(pair) for pair in sorted(PYTORCH)]
)
def test_layers_agree_with_pytorch(
    rng: np.random.Generator,
    name: str,
    way: str,
    size: tuple[int, int, int, int],
    dtype: Dtype,
) -> None:
    rows, steps, inputs, units = size
    kind = LAYERS[name]
    both = way == "both directions"
    suffixes = ("", "_reverse") if both else ("",)
    cases = [new_case(rng, kind, size, dtype) for _ in suffixes]
    weights = {
        f"{key}{suffix}": a
        for suffix, case in zip(suffixes, cases, strict=True)
        for key, a in case.arguments["weights"].items()
    }
    # With lengths in both directions, too: each row turns where it ends.
    lengths = None if way == "initial state" else rng.integers(1, steps + 1, size=rows)
    x = cases[0].arguments["x"]
    first = [
        np.stack([case.arguments["states"][f"{key}0"] for case in cases])
        for key in cases[0].dlast
    ]
    dlast = [np.stack([case.dlast[key] for case in cases]) for key in cases[0].dlast]
    dy = np.concatenate([case.dy for case in cases], axis=-1)

    options: dict[str, Any] = {"batch_first": True, "bidirectional": both}
    options["dtype"] = torch.float64
    if kind.layer is layers.SimpleRNN:
        options["nonlinearity"] = kind.options.get("activation", "tanh")
    classes = {layers.SimpleRNN: "RNN", layers.LSTM: "LSTM", layers.GRU: "GRU"}
    theirs = getattr(torch.nn, classes[kind.layer])(inputs, units, **options)
    for suffix in suffixes:
        for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            own = getattr(theirs, f"{key}_l0{suffix}")
            own.data = tensor(weights[f"{key}{suffix}"])
    their_x = tensor(x, requires_grad=True)
    their_first = [tensor(a, requires_grad=True) for a in first]
    given = tuple(their_first) if len(first) > 1 else their_first[0]
    if lengths is None:
        their_y, their_last = theirs(their_x, given)
    else:
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            their_x, torch.tensor(lengths), batch_first=True, enforce_sorted=False
        )
        packed, their_last = theirs(packed, given)
        their_y, _ = torch.nn.utils.rnn.pad_packed_sequence(
            packed, batch_first=True, total_length=steps
        )
    ends = their_last if isinstance(their_last, tuple) else (their_last,)
    torch.autograd.backward([their_y, *ends], [tensor(dy), *(tensor(a) for a in dlast)])
    exact = {"y": their_y, "dx": their_x.grad}
    for key, end, start in zip(cases[0].dlast, ends, their_first, strict=True):
        exact |= {f"{key}_n": end, f"d{key}0": start.grad}
    for key in weights:
        plain, turned = key.removesuffix("_reverse"), key.endswith("_reverse")
        own = getattr(theirs, f"{plain}_l0{'_reverse' * turned}")
        exact[f"d{key}"] = own.grad

    if both:
        layer: Any = layers.Bidirectional(
            kind.make(units, return_sequences=True, return_state=True, dtype=dtype)
        )
        layer.build(inputs)
        layer.set_weights(weights)
        states, into = first, dlast
    else:
        layer = layer_of(kind, cases[0])
        states, into = [a[0] for a in first], [a[0] for a in dlast]
    state = tuple(states) if len(states) > 1 else states[0]
    (y, *last), context = layer.forward(x, state, lengths=lengths)
    dx, grads = layer.backward((dy, *into), context)
    starts = grads.pop("initial_state")
    starts = starts if isinstance(starts, tuple) else (starts,)
    actual = {"y": y, "dx": dx, **{f"d{key}": a for key, a in grads.items()}}
    for key, end, start in zip(cases[0].dlast, last, starts, strict=True):
        actual |= {f"{key}_n": end, f"d{key}0": start}

    assert actual.keys() == exact.keys()
    longest = max(4 * units, inputs + units, rows * steps)
    for key, expected in exact.items():
        kind_of = "backward" if key.startswith("d") else "forward"
        floor = 4 / units * (float(rows * steps) ** 0.5 if kind_of == "backward" else 1)
        value = expected.detach().numpy().reshape(actual[key].shape)
        assert_close(key, actual[key], value, kind_of, longest, floor)

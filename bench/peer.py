"""grufast as one of the peers that an outside harness times side by side.

`setup` returns `(call, result)`: `call()` does one unit of timed work through the
public API, `result()` what it computed, for the harness to check before it times.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

import grufast as gf

Array = np.ndarray[Any, np.dtype[np.float32]]
NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def setup(
    shape: tuple[int, int, int, int, int, int],
    mode: str,
    threads: int,
    weights: list[tuple[Array, Array, Array, Array]],
    inputs: Array,
) -> tuple[Callable[[], object], Callable[[], dict[str, Array]]]:
    """Prepare one shape (batch, steps, input, hidden, layers, directions) and mode.

    `weights`: of each layer, in PyTorch's layout. `inputs`: (T, B, C).
    """
    _, _, input_size, hidden, depth, directions = shape
    gf.set_num_threads(threads)
    layers: list[gf.layers.Layer] = []
    for i in range(depth):
        gru = gf.layers.GRU(hidden, return_sequences=True)
        layer = gf.layers.Bidirectional(gru) if directions == 2 else gru
        layer.build(directions * hidden if i else input_size)
        own = weights[i * directions : (i + 1) * directions]
        layer.set_weights(
            {
                f"{name}{suffix}": array
                for suffix, arrays in zip(("", "_reverse"), own, strict=False)
                for name, array in zip(NAMES, arrays, strict=True)
            }
        )
        layers.append(layer)
    model = gf.Sequential(layers)
    x = inputs.transpose(1, 0, 2)  # batch-first, without a copy
    dy = np.empty((*x.shape[:2], directions * hidden), np.float32)

    def infer() -> Array:
        return model(x)

    def train() -> tuple[Array, Array, dict[str, Array]]:
        y, context = model.forward(x)
        dx, grads = model.backward(np.multiply(y, 2, out=dy), context)
        return y, dx, grads

    optimizer = gf.optimizers.Adam(1e-3)

    def adam() -> None:
        optimizer.update(model, train()[2])

    if mode == "stream":
        stream_of = gru.stream  # of the last layer: streams have one
        step, state = stream_of().step, np.empty(hidden, np.float32)
        first = np.ascontiguousarray(x[0, 0])

    def stream() -> None:
        step(first, state)

    def streamed() -> dict[str, Array]:
        fresh, h = stream_of(), np.empty(hidden, np.float32)
        for t in range(5):
            fresh.step(np.ascontiguousarray(x[0, t]), h)
        return {"h": h[None]}

    def trained() -> dict[str, Array]:
        y, dx, grads = train()
        return {
            "y": y.transpose(1, 0, 2),
            "dx": dx.transpose(1, 0, 2),
            "dwih": grads["layers.0.weight_ih"],
            "dwhh": grads["layers.0.weight_hh"],
        }

    if mode == "adam":  # what is checked belongs to the weights before any update
        checked = trained()
        return adam, lambda: checked

    calls: dict[str, Any] = {
        "infer": (infer, lambda: {"y": infer().transpose(1, 0, 2)}),
        "train": (train, trained),
        "stream": (stream, streamed),
    }
    return calls[mode]  # type: ignore[no-any-return]

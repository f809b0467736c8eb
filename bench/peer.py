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
    if directions != 1:
        message = "bidirectional layers do not exist yet"
        raise NotImplementedError(message)
    gf.set_num_threads(threads)
    layers = []
    for i in range(depth):
        layer = gf.layers.GRU(hidden, return_sequences=True, return_state=True)
        layer.build(hidden if i else input_size)
        layer.set_weights(dict(zip(NAMES, weights[i], strict=True)))
        layers.append(layer)
    x = inputs.transpose(1, 0, 2)  # batch-first, without a copy

    def infer() -> Array:
        y = x
        for layer in layers:
            y, _ = layer(y)
        return y

    def train() -> tuple[Array, Array, list[dict[str, Array]]]:
        y, contexts = x, []
        for layer in layers:
            (y, _), context = layer.forward(y)
            contexts.append(context)
        d, grads = 2 * y, []
        for layer, context in zip(reversed(layers), reversed(contexts), strict=True):
            d, g = layer.backward((d, None), context)
            grads.append(g)
        return y, d, grads[::-1]

    optimizer = gf.optimizers.Adam(1e-3)

    def adam() -> None:
        _, _, grads = train()
        for layer, g in zip(layers, grads, strict=True):
            optimizer.update(layer, g)

    step, state = layers[0].stream().step, np.empty(hidden, np.float32)
    first = np.ascontiguousarray(x[0, 0])

    def stream() -> None:
        step(first, state)

    def streamed() -> dict[str, Array]:
        fresh, h = layers[0].stream(), np.empty(hidden, np.float32)
        for t in range(5):
            fresh.step(np.ascontiguousarray(x[0, t]), h)
        return {"h": h[None]}

    def trained() -> dict[str, Array]:
        y, dx, grads = train()
        return {
            "y": y.transpose(1, 0, 2),
            "dx": dx.transpose(1, 0, 2),
            "dwih": grads[0]["weight_ih"],
            "dwhh": grads[0]["weight_hh"],
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

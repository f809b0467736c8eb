"""Every recurrent layer, run in every way, against the oracle."""

from typing import Any

import numpy as np
import pytest

from cell_layers import (
    LAYERS,
    RANDOM,
    SEMANTICS,
    Kind,
    allowed,
    assert_right,
    generator_of,
    how_to_run,
    inferred,
    layer_of,
    new_case,
    trained,
)
from tolerances import DTYPES, Dtype, assert_same_bits

PAIRS = [
    (name, semantics)
    for name, kind in LAYERS.items()
    for semantics in SEMANTICS
    if allowed(kind, semantics)
]
#: What is known to be wrong, and why; a test says when it no longer is.
WRONG = {
    ("GRUD", semantics): "the last observation is that of all steps before, in time"
    for semantics in (
        "mask",
        "repeat",
        "resets",
        "go_backwards",
        "go_backwards, lengths",
        "go_backwards, mask",
        "everything",
    )
}


def marked(name: str, semantics: str) -> Any:
    reason = WRONG.get((name, semantics))
    marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
    return pytest.param(name, semantics, marks=marks, id=f"{name} - {semantics}")


each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_layer = pytest.mark.parametrize("name", LAYERS)
each_pair = pytest.mark.parametrize(
    ("name", "semantics"), [marked(*pair) for pair in PAIRS]
)

#: Rows, steps, inputs, units: around the numbers of lanes and of a tile's rows.
SIZES = [
    (1, 1, 1, 1),
    (9, 7, 3, 17),
    (3, 30, 1, 5),
    (20, 1, 3, 33),
    (33, 7, 1, 40),
    (1, 30, 3, 40),
    (9, 30, 3, 1),
    (3, 7, 1, 33),
]


def sizes_of(pair: int, dtype: Dtype) -> list[tuple[int, int, int, int]]:
    """Two of the sizes, others for each pair."""
    first = pair + 2 * DTYPES.index(dtype)
    return [SIZES[(first + more) % len(SIZES)] for more in (0, 4)]


@each_pair
@each_dtype
@pytest.mark.usefixtures("isa")
def test_outputs_and_gradients_are_right(
    rng: np.random.Generator, name: str, semantics: str, dtype: Dtype
) -> None:
    kind = LAYERS[name]
    for size in sizes_of(PAIRS.index((name, semantics)), dtype):
        case = new_case(rng, kind, size, dtype, one_bias=semantics == "one bias")
        how = how_to_run(rng, kind, semantics, *size[:2])
        layer = layer_of(kind, case, **how.options)
        twin = generator_of(layer)
        results = trained(layer, case, how)
        assert_right(results, case, how, layer, twin)

        low = layer_of(kind, case, **how.options, memory="low")
        assert_same_bits(trained(low, case, how), results)

        called = inferred(layer, case, how)
        if semantics in RANDOM:
            assert_right(called, case, how, layer, None)
        else:
            assert_same_bits(called, {key: results[key] for key in called})

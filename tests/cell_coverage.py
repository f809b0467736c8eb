"""Writes docs/coverage.md: which layers are tested how, and against what.

Run it after a change of cell_layers.py: ``python tests/cell_coverage.py``.
"""

from pathlib import Path

from cell_layers import (
    BIDIRECTIONAL,
    KERAS,
    LAYERS,
    ONNX,
    PAIRS,
    PYTORCH,
    SEMANTICS,
    STATEFUL,
)

CALLS = "stateful"
CARRIED = "stateful, resets"
BOTH = "both directions"

HEAD = """\
# What the recurrent layers are tested against

Every layer in every way of running it, outputs and gradients, in both dtypes and under
every instruction set:

- **O**: the oracle, `tests/cells.py`: the formulas in NumPy, in float64.
- **P**: PyTorch. **K**: Keras (recorded outputs). **X**: ONNX Runtime (outputs in
  float32).
- **-**: not tested, or there is no such layer.

"Everything" is a mask, repeated outputs, resets, backwards, dropout of inputs and
states and zoneout at once. "Stateful" is compared with one long call.

This page is made by `python tests/cell_coverage.py`.

"""


def entry(name: str, way: str) -> str:
    pair = (name, way)
    named = {CALLS: STATEFUL, CARRIED: STATEFUL, BOTH: BIDIRECTIONAL}
    own = pair in PAIRS or name in named.get(way, ())
    others = {"P": PYTORCH, "K": KERAS, "X": ONNX}
    letters = "O" * own + "".join(k for k, pairs in others.items() if pair in pairs)
    return letters or "-"


def page() -> str:
    ways = (*SEMANTICS, CALLS, CARRIED, BOTH)
    lines = ["| layer | " + " | ".join(ways) + " |", "|---" * (len(ways) + 1) + "|"]
    for name in LAYERS:
        entries = " | ".join(entry(name, way) for way in ways)
        lines.append(f"| {name} | {entries} |")
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    path = Path(__file__).parents[1] / "docs" / "coverage.md"
    path.write_text(page(), encoding="utf-8")

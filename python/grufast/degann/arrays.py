"""Arrays as DEGANN takes and gives them."""

from typing import Any

import numpy as np

from grufast._checks import Array


class Answer(np.ndarray[Any, Any]):
    """An array that has `numpy()`, as the tensors of `feedforward` in DEGANN do."""

    def numpy(self) -> Array:
        """Return the plain array."""
        return np.asarray(self)


def real(name: str, value: object) -> Array:
    """Return value as float32: any real numbers, as DEGANN takes them."""
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        message = f"{name}: got {array.dtype}, expected real numbers"
        raise TypeError(message)
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    if array.dtype != single.dtype and np.any(np.isinf(single) & np.isfinite(array)):
        message = f"{name}: has numbers that float32 cannot hold"
        raise ValueError(message)
    return single

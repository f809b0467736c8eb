"""Checks of arguments: every error names the argument, what it got and what fits."""

import math
import operator
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""An array of float32 or float64, as the dtype of its layer says."""

DType = Literal["float32", "float64"]

Shape = tuple[int | None, ...]
"""Sizes of an array; None stands for any size."""

_Dims = tuple[int | str | None, ...]

_DTYPES = {
    "float32": (np.dtype("float32"),),
    "float64": (np.dtype("float64"),),
    None: (np.dtype("float32"), np.dtype("float64")),
}


def integer(name: str, value: object, low: int) -> int:
    """Return value as an int that is at least `low`."""
    message = f"{name}: got {value!r}, expected an integer of at least {low}"
    if isinstance(value, bool):
        raise TypeError(message)
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(message) from None
    if number < low:
        raise ValueError(message)
    return number


def real(name: str, value: object, low: float = 0.0, high: float = math.inf) -> float:
    """Return value as a float in [low, high)."""
    message = f"{name}: got {value!r}, expected a number in [{low:g}, {high:g})"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(message)
    number = float(value)
    if not low <= number < high:
        raise ValueError(message)
    return number


def finite(name: str, value: object) -> float:
    """Return value as a float that is neither infinite nor NaN."""
    message = f"{name}: got {value!r}, expected a finite number"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(message)
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(message)
    return number


def flag(name: str, value: object) -> bool:
    """Return value as a bool; 1 and "no" are not flags."""
    if not isinstance(value, bool | np.bool):
        message = f"{name}: got {value!r}, expected True or False"
        raise TypeError(message)
    return bool(value)


def text(name: str, value: object) -> str:
    """Return value as a str that is not empty."""
    if not isinstance(value, str) or not value:
        message = f"{name}: got {value!r}, expected a name"
        raise TypeError(message)
    return value


def choice(name: str, value: object, allowed: Sequence[object]) -> Any:
    """Return value if it is one of `allowed`."""
    if not any(type(value) is type(option) and value == option for option in allowed):
        options = ", ".join(map(repr, allowed))
        message = f"{name}: got {value!r}, expected one of {options}"
        raise ValueError(message)
    return value


def verbosity(value: object) -> Any:
    """Return how much to print: "auto", 0, 1 or 2; False and True are 0 and 1."""
    value = int(value) if isinstance(value, bool) else value
    return choice("verbose", value, ("auto", 0, 1, 2))


def seed(value: object) -> int | None:
    """Return value as a seed: None or a non-negative int."""
    return None if value is None else integer("seed", value, 0)


def dtype(value: object) -> DType:
    """Return the name of a dtype that layers have."""
    if isinstance(value, str | type | np.dtype):
        with suppress(TypeError):
            got = np.dtype(value)
            for name in get_args(DType):
                if got == np.dtype(name):
                    return name  # type: ignore[no-any-return]
    message = f'dtype: got {value!r}, expected "float32" or "float64"'
    raise ValueError(message)


def shape(name: str, got: Shape, dims: str, **sizes: int) -> None:
    """Hold a shape to `dims`, such as "N T C", "N ... C" or "3 4".

    A name is any size, unless `sizes` has it; "..." is any number of sizes.
    """
    if _fits(got, dims, sizes):
        return
    known = ", ".join(f"{dim} = {size}" for dim, size in sizes.items())
    message = (
        f"{name}: got shape {got}, expected ({', '.join(dims.split())})"
        f"{' with ' if known else ''}{known}"
    )
    raise ValueError(message)


def _fits(got: Shape, dims: str, sizes: Mapping[str, int]) -> bool:
    before, behind = _parsed(dims)
    if behind is None:
        expected = before
    else:
        between = len(got) - len(before) - len(behind)
        expected = (*before, *(None,) * between, *behind)
    if len(got) != len(expected):
        return False
    for actual, dim in zip(got, expected, strict=True):
        size = sizes.get(dim) if isinstance(dim, str) else dim
        if size is not None and size != actual:
            return False
    return True


@lru_cache(256)
def _parsed(dims: str) -> tuple[_Dims, _Dims | None]:
    """Return what is before "..." and behind it (None without one)."""
    expected = [int(dim) if dim.isdigit() else dim for dim in dims.split()]
    if "..." not in expected:
        return tuple(expected), None
    at = expected.index("...")
    return tuple(expected[:at]), tuple(expected[at + 1 :])


def array(
    name: str, value: object, dtype: DType | None, dims: str, **sizes: int
) -> Array:
    """Return value as a plain array of `dtype` (None: float32 or float64) and shape.

    A copy is made only where the kernels could not read the rows: when neighbours in
    the last dimension are not neighbours in memory, or are not aligned.
    """
    expected = dtype or "float32 or float64"
    fix = dtype or "float32"
    if not isinstance(value, np.ndarray):
        got = "None" if value is None else type(value).__name__
        message = (
            f"{name}: got {got}, expected a NumPy array of {expected}"
            + f'; use np.asarray({name}, dtype="{fix}")' * (value is not None)
        )
        raise TypeError(message)
    if isinstance(value, np.ma.MaskedArray):
        message = f"{name}: got a masked array; fill its gaps with {name}.filled(...)"
        raise TypeError(message)
    if value.dtype not in _DTYPES[dtype]:
        message = (
            f"{name}: got an array of {value.dtype}, expected {expected}; "
            f'use {name}.astype("{fix}")'
        )
        raise TypeError(message)
    shape(name, value.shape, dims, **sizes)
    plain = np.asarray(value)
    apart = plain.ndim > 0 and plain.strides[-1] != plain.itemsize
    if apart or not plain.flags.aligned:
        return np.array(plain, order="C")
    return plain


def integers(name: str, value: object, dims: str, high: int) -> Array:
    """Return value as an array of int32 or int64, of this shape, in [0, high)."""
    expected = "int32 or int64"
    if not isinstance(value, np.ndarray):
        got = "None" if value is None else type(value).__name__
        message = f"{name}: got {got}, expected a NumPy array of {expected}"
        raise TypeError(message)
    if isinstance(value, np.ma.MaskedArray):
        message = f"{name}: got a masked array; fill its gaps with {name}.filled(...)"
        raise TypeError(message)
    if value.dtype not in (np.int32, np.int64):
        message = f"{name}: got an array of {value.dtype}, expected {expected}"
        raise TypeError(message)
    shape(name, value.shape, dims)
    plain = np.asarray(value)
    if plain.size and not 0 <= plain.min() <= plain.max() < high:
        wrong = plain.min() if plain.min() < 0 else plain.max()
        message = f"{name}: got the index {wrong}, expected 0 to {high - 1}"
        raise ValueError(message)
    return plain


def mask(value: object, shape: tuple[int, ...], name: str = "mask") -> Array | None:
    """Return a mask of the steps (N, T) of an input of this shape, or None."""
    if value is None:
        return None
    expected = f"expected a NumPy array of bool of shape {shape[:2]}"
    if not isinstance(value, np.ndarray):
        message = f"{name}: got {type(value).__name__}, {expected}"
        raise TypeError(message)
    if value.dtype != np.bool:
        message = f"{name}: got an array of {value.dtype}, {expected}"
        raise TypeError(message)
    if len(shape) < 2 or value.shape != shape[:2]:
        message = f"{name}: got shape {value.shape}, {expected}"
        raise ValueError(message)
    return np.asarray(value)


def contiguous(
    name: str, value: object, dtype: DType | None, dims: str, **sizes: int
) -> Array:
    """Return what `array` does, C-contiguous: as kernels want all but inputs."""
    return np.asarray(array(name, value, dtype, dims, **sizes), order="C")


def like(
    name: str, value: object, dtype: DType | None, shape: tuple[int, ...]
) -> Array:
    """Return value as a C-contiguous array of `dtype` and exactly this shape."""
    if getattr(value, "shape", None) == shape:
        return contiguous(name, value, dtype, "...")
    return contiguous(name, value, dtype, " ".join(map(str, shape)))


def weights(value: object, own: Mapping[str, Array]) -> dict[str, Array]:
    """Return arrays of the names, shapes and dtypes of a layer's or model's own."""
    if not isinstance(value, Mapping):
        message = f"weights: got {type(value).__name__}, expected a dict of arrays"
        raise TypeError(message)
    names("weights", value, own)
    return {
        name: like(name, value[name], dtype(weight.dtype), weight.shape)
        for name, weight in own.items()
    }


def names(name: str, got: Mapping[str, object], expected: Mapping[str, object]) -> None:
    """Hold the keys of a dict to those of another."""
    missing = sorted(expected.keys() - got.keys())
    unknown = sorted(map(str, got.keys() - expected.keys()))
    if missing or unknown:
        parts = [f"no {missing}"] * bool(missing) + [f"unknown {unknown}"] * bool(
            unknown
        )
        message = f"{name}: {' and '.join(parts)}; expected the keys {list(expected)}"
        raise ValueError(message)


def parameter_count(owner: str, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return how many numbers arrays of these shapes hold, if that is possible."""
    count = sum(math.prod(dims) for dims in shapes.values())
    if count > _MOST_PARAMETERS:
        message = (
            f"{owner} would have {count:.3g} parameters; "
            f"a layer can have {_MOST_PARAMETERS:.3g}"
        )
        raise ValueError(message)
    return count


_MOST_PARAMETERS = 2**31 - 1

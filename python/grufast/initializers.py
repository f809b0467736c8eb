"""First weights: how to draw them, by the names that Keras has for it.

Weights lie as in PyTorch, (outputs, inputs): the transpose of Keras's kernels. So
``fan_in``, the number of inputs behind an output, is the last size of a weight's shape,
and ``fan_out`` the first; a vector's size is both.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal

import numpy as np

from grufast import _checks
from grufast._checks import Array
from grufast._config import Configured

Dims = tuple[int, ...]
Generator = np.random.Generator

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TorchUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "get",
]


class Initializer(Configured, ABC):
    """What draws a layer's first weights; subclass it for one of your own.

    Examples
    --------
    >>> import grufast as gf
    >>> class Halves(gf.initializers.Initializer):
    ...     def __call__(self, shape, rng, fan=None):
    ...         return rng.choice([-0.5, 0.5], shape)
    >>> layer = gf.layers.Dense(1, kernel_initializer=Halves(), seed=0)
    >>> layer.build(3)
    >>> bool((abs(layer.weights["weight"]) == 0.5).all())
    True
    """

    @abstractmethod
    def __call__(self, shape: Dims, rng: Generator, fan: int | None = None) -> Array:
        """Return float64 numbers of a shape.

        Parameters
        ----------
        shape : tuple of int
            Of the weight: (outputs, inputs), or (outputs,) for a bias.
        rng : numpy.random.Generator
            Where random numbers come from.
        fan : int, optional
            What PyTorch's rule divides by, which a bias's shape does not say: layers
            give it. Only `TorchUniform` looks at it.
        """


class Zeros(Initializer):
    """All 0.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.initializers.Zeros()((2,), np.random.default_rng(0))
    array([0., 0.])
    """

    def __call__(self, shape: Dims, rng: Generator, fan: int | None = None) -> Array:
        """Return float64 numbers of a shape; see `Initializer`."""
        return np.zeros(shape)


class Ones(Initializer):
    """All 1.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.initializers.Ones()((2,), np.random.default_rng(0))
    array([1., 1.])
    """

    def __call__(self, shape: Dims, rng: Generator, fan: int | None = None) -> Array:
        """Return float64 numbers of a shape; see `Initializer`."""
        return np.ones(shape)


class Constant(Initializer):
    """All the same number.

    Parameters
    ----------
    value : float
        The number.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.initializers.Constant(0.5)((2,), np.random.default_rng(0))
    array([0.5, 0.5])
    """

    def __init__(self, value: float = 0.0) -> None:
        self.value = _checks.finite("value", value)

    def __call__(self, shape: Dims, rng: Generator, fan: int | None = None) -> Array:
        """Return float64 numbers of a shape; see `Initializer`."""
        return np.full(shape, self.value)


class RandomUniform(Initializer):
    """Uniform over [minval, maxval).

    Parameters
    ----------
    minval, maxval : float
        The limits; minval < maxval.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> layer = gf.layers.Dense(
    ...     3, kernel_initializer=gf.initializers.RandomUniform(-0.1, 0.1), seed=0
    ... )
    >>> layer.build(2)
    >>> bool((np.abs(layer.weights["weight"]) <= 0.1).all())
    True
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05) -> None:
        self.minval = _checks.finite("minval", minval)
        self.maxval = _checks.finite("maxval", maxval)
        if not self.minval < self.maxval:
            message = f"maxval: got {maxval!r}, expected more than minval, {minval!r}"
            raise ValueError(message)

    def __call__(self, shape: Dims, rng: Generator, fan: int | None = None) -> Array:
        """Return float64 numbers of a shape; see `Initializer`."""
        return rng.uniform(self.minval, self.maxval, shape)


class RandomNormal(Initializer):
    """Normal with a mean and a standard deviation.

    Parameters
    ----------
    mean, stddev : float
        Of the distribution; stddev at least 0.

    Examples
    --------
    >>> import grufast as gf
    >>> gf.initializers.RandomNormal(stddev=0.01)
    RandomNormal(stddev=0.01)
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05) -> None:
        self.mean = _checks.finite("mean", mean)
        self.stddev = _checks.real("stddev", stddev)

    def __call__(self, shape: Dims, rng: Generator, fan: int | None = None) -> Array:
        """Return float64 numbers of a shape; see `Initializer`."""
        return rng.normal(self.mean, self.stddev, shape)


class TruncatedNormal(RandomNormal):
    """Normal, with numbers beyond two standard deviations from the mean drawn again.

    Parameters
    ----------
    mean, stddev : float
        Of the distribution before it is cut; stddev at least 0.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> draw = gf.initializers.TruncatedNormal(stddev=0.5)
    >>> bool(np.abs(draw((100, 100), np.random.default_rng(0))).max() <= 1)
    True
    """

    def __call__(self, shape: Dims, rng: Generator, fan: int | None = None) -> Array:
        """Return float64 numbers of a shape; see `Initializer`."""
        return self.mean + self.stddev * _truncated_normal(rng, shape)


class VarianceScaling(Initializer):
    """Numbers whose variance is ``scale / fan``, so that signals keep their size.

    Parameters
    ----------
    scale : float
        Above 0.
    mode : {"fan_in", "fan_out", "fan_avg"}
        Which number of connections the variance is shared by.
    distribution : {"truncated_normal", "untruncated_normal", "uniform"}
        A normal one cut at two standard deviations (its variance after the cut is the
        one that was asked for), one that is not cut, or a uniform one.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> draw = gf.initializers.VarianceScaling(2.0, "fan_in", "uniform")
    >>> bool(np.abs(draw((50, 24), np.random.default_rng(0))).max() <= 0.5)
    True
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: Literal["fan_in", "fan_out", "fan_avg"] = "fan_in",
        distribution: Literal[
            "truncated_normal", "untruncated_normal", "uniform"
        ] = "truncated_normal",
    ) -> None:
        self.scale = _checks.real("scale", scale)
        if not self.scale:
            message = f"scale: got {scale!r}, expected a number above 0"
            raise ValueError(message)
        self.mode = _checks.choice("mode", mode, ("fan_in", "fan_out", "fan_avg"))
        self.distribution = _checks.choice(
            "distribution",
            distribution,
            ("truncated_normal", "untruncated_normal", "uniform"),
        )

    def __call__(self, shape: Dims, rng: Generator, fan: int | None = None) -> Array:
        """Return float64 numbers of a shape; see `Initializer`."""
        fan_in, fan_out = _fans(shape)
        shared = {
            "fan_in": fan_in,
            "fan_out": fan_out,
            "fan_avg": (fan_in + fan_out) / 2,
        }
        variance = self.scale / shared[self.mode]
        if self.distribution == "uniform":
            limit = math.sqrt(3 * self.scale / shared[self.mode])
            return rng.uniform(-limit, limit, shape)
        stddev = math.sqrt(variance)
        if self.distribution == "untruncated_normal":
            return stddev * rng.standard_normal(shape)
        return stddev / _CUT_STDDEV * _truncated_normal(rng, shape)


class GlorotUniform(VarianceScaling):
    """Uniform within ±sqrt(6 / (fan_in + fan_out)): Glorot and Bengio 2010.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> weight = gf.initializers.GlorotUniform()((50, 46), np.random.default_rng(0))
    >>> bool(np.abs(weight).max() <= 0.25)
    True
    """

    def __init__(self) -> None:
        super().__init__(1.0, "fan_avg", "uniform")


class GlorotNormal(VarianceScaling):
    """Truncated normal of variance 2 / (fan_in + fan_out): Glorot and Bengio 2010.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> weight = gf.initializers.GlorotNormal()((500, 300), np.random.default_rng(0))
    >>> round(float(weight.std()), 2)
    0.05
    """

    def __init__(self) -> None:
        super().__init__(1.0, "fan_avg", "truncated_normal")


class HeUniform(VarianceScaling):
    """Uniform within ±sqrt(6 / fan_in): He et al. 2015, for relu.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> weight = gf.initializers.HeUniform()((50, 24), np.random.default_rng(0))
    >>> bool(np.abs(weight).max() <= 0.5)
    True
    """

    def __init__(self) -> None:
        super().__init__(2.0, "fan_in", "uniform")


class HeNormal(VarianceScaling):
    """Truncated normal of variance 2 / fan_in: He et al. 2015, for relu.

    Examples
    --------
    >>> import grufast as gf
    >>> gf.layers.Dense(8, "relu", kernel_initializer="he_normal")
    Dense(8, activation='relu', kernel_initializer='he_normal')
    """

    def __init__(self) -> None:
        super().__init__(2.0, "fan_in", "truncated_normal")


class LecunUniform(VarianceScaling):
    """Uniform within ±sqrt(3 / fan_in): LeCun et al. 1998.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> weight = gf.initializers.LecunUniform()((50, 12), np.random.default_rng(0))
    >>> bool(np.abs(weight).max() <= 0.5)
    True
    """

    def __init__(self) -> None:
        super().__init__(1.0, "fan_in", "uniform")


class LecunNormal(VarianceScaling):
    """Truncated normal of variance 1 / fan_in: LeCun et al. 1998.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> weight = gf.initializers.LecunNormal()((500, 400), np.random.default_rng(0))
    >>> round(float(weight.std()), 2)
    0.05
    """

    def __init__(self) -> None:
        super().__init__(1.0, "fan_in", "truncated_normal")


class Orthogonal(Initializer):
    """Orthonormal rows or columns, uniform over all such: Saxe et al. 2014.

    The rows are orthonormal if there are no more of them than columns, else the columns
    are.

    Parameters
    ----------
    gain : float
        Factor of the whole matrix.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> q = gf.initializers.Orthogonal()((3, 5), np.random.default_rng(0))
    >>> bool(np.allclose(q @ q.T, np.eye(3)))
    True
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = _checks.finite("gain", gain)

    def __call__(self, shape: Dims, rng: Generator, fan: int | None = None) -> Array:
        """Return float64 numbers of a shape; see `Initializer`."""
        rows, columns = _two(self, shape)
        q, r = np.linalg.qr(
            rng.standard_normal((max(rows, columns), min(rows, columns)))
        )
        q *= np.sign(np.diag(r))  # what qr leaves open is then uniform, too
        return self.gain * (q if rows >= columns else q.T)


class Identity(Initializer):
    """The identity matrix, with rows or columns of 0 where it is not square.

    Parameters
    ----------
    gain : float
        Factor of the whole matrix.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.initializers.Identity()((2, 3), np.random.default_rng(0))
    array([[1., 0., 0.],
           [0., 1., 0.]])
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = _checks.finite("gain", gain)

    def __call__(self, shape: Dims, rng: Generator, fan: int | None = None) -> Array:
        """Return float64 numbers of a shape; see `Initializer`."""
        return self.gain * np.eye(*_two(self, shape))


class TorchUniform(Initializer):
    """Uniform within ±1 / sqrt(fan), as PyTorch's linear and recurrent layers do.

    There, ``fan`` is the number of inputs of a linear layer and the size of the state
    of a recurrent one, for biases too: layers know it. Called without it, `fan_in`.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> bias = gf.initializers.TorchUniform()((100,), np.random.default_rng(0), fan=4)
    >>> bool(0.4 < np.abs(bias).max() <= 0.5)
    True
    """

    def __call__(self, shape: Dims, rng: Generator, fan: int | None = None) -> Array:
        """Return float64 numbers of a shape; see `Initializer`."""
        limit = 1 / math.sqrt(fan or _fans(shape)[0])
        return rng.uniform(-limit, limit, shape)


INITIALIZERS: dict[str, type[Initializer]] = {
    initializer.__name__: initializer
    for initializer in (
        Constant,
        GlorotNormal,
        GlorotUniform,
        HeNormal,
        HeUniform,
        Identity,
        LecunNormal,
        LecunUniform,
        Ones,
        Orthogonal,
        RandomNormal,
        RandomUniform,
        TorchUniform,
        TruncatedNormal,
        VarianceScaling,
        Zeros,
    )
}
"""The initializers that files can name."""

_NAMES: dict[str, type[Initializer]] = {
    "constant": Constant,
    "glorot_normal": GlorotNormal,
    "glorot_uniform": GlorotUniform,
    "he_normal": HeNormal,
    "he_uniform": HeUniform,
    "identity": Identity,
    "lecun_normal": LecunNormal,
    "lecun_uniform": LecunUniform,
    "normal": RandomNormal,
    "ones": Ones,
    "orthogonal": Orthogonal,
    "random_normal": RandomNormal,
    "random_uniform": RandomUniform,
    "torch_uniform": TorchUniform,
    "truncated_normal": TruncatedNormal,
    "uniform": RandomUniform,
    "variance_scaling": VarianceScaling,
    "zeros": Zeros,
}


def get(initializer: str | Initializer, argument: str = "initializer") -> Initializer:
    """Return an initializer by its name, such as "he_normal"; an object as it is.

    Parameters
    ----------
    initializer : str or Initializer
        Names are the classes' in lower case with underscores, as in Keras.
    argument : str
        What messages of errors call it.

    Raises
    ------
    ValueError
        If there is none of this name; the message lists them.

    Examples
    --------
    >>> import grufast as gf
    >>> gf.initializers.get("he_normal")
    HeNormal()
    """
    if isinstance(initializer, Initializer):
        return initializer
    name: str = _checks.choice(argument, initializer, tuple(_NAMES))
    return _NAMES[name]()


def _fans(shape: Dims) -> tuple[int, int]:
    """Return fan_in and fan_out."""
    sizes = shape or (1,)
    return max(1, sizes[-1]), max(1, sizes[0])


# Standard deviation of the standard normal distribution cut at +-2: its variance is
# 1 - 4 phi(2) / (2 Phi(2) - 1), phi and Phi being density and distribution function.
_CUT_STDDEV = math.sqrt(
    1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2))
)


def _truncated_normal(rng: Generator, shape: Dims) -> Array:
    draws = rng.standard_normal(shape)
    while (outside := np.abs(draws) > 2).any():
        draws[outside] = rng.standard_normal(np.count_nonzero(outside))
    return draws


def _two(initializer: Initializer, shape: Dims) -> tuple[int, int]:
    if len(shape) != 2:
        message = f"shape: got {shape}, expected two sizes for {initializer!r}"
        raise ValueError(message)
    return shape[0], shape[1]

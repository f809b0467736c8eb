"""Optimizers: one fused pass over each weight and its gradient, in place."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from grufast import _checks, _core
from grufast._checks import Array
from grufast._config import Configured

__all__ = ["SGD", "Adam", "Optimizer", "get"]


@runtime_checkable
class Weighted(Protocol):
    """A layer or a model."""

    def writable_weights(self) -> dict[str, Array]: ...


class Optimizer(Configured):
    """What all optimizers have in common.

    An optimizer keeps its state (momenta) for every weight it has updated.
    ``learning_rate`` may be changed between updates.
    """

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        # By the address of a weight, which the entry itself keeps alive.
        self._states: dict[int, tuple[Array, Any]] = {}

    @property
    def learning_rate(self) -> float:
        """Size of a step."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = _checks.real("learning_rate", value)

    def update(
        self, target: Weighted | Mapping[str, Array], grads: Mapping[str, Array]
    ) -> None:
        """Move weights against their gradients.

        Parameters
        ----------
        target : Layer, Sequential or dict of str to ndarray
            A layer, a model, or writable C-contiguous arrays of your own.
        grads : dict of str to ndarray
            Gradients under the names of the weights, as from `Layer.backward`; an
            ``"initial_state"`` beside a layer's is passed over.

        Raises
        ------
        TypeError, ValueError
            If names, shapes or dtypes do not agree, or a weight cannot be changed in
            place; nothing has been changed then.

        Examples
        --------
        >>> import grufast as gf
        >>> import numpy as np
        >>> layer = gf.layers.Dense(1, seed=0)
        >>> optimizer = gf.optimizers.SGD(0.1)
        >>> x, target = np.ones((8, 2), np.float32), np.full((8, 1), 3, np.float32)
        >>> for _ in range(100):
        ...     y, context = layer.forward(x)
        ...     _, grads = layer.backward(gf.losses.mse.gradient(target, y), context)
        ...     optimizer.update(layer, grads)
        >>> float(layer(x)[0, 0].round(3))
        3.0
        """
        weights: Mapping[str, Array]
        if isinstance(target, Weighted):
            weights = target.writable_weights()
            if len(grads) != len(weights):
                grads = {k: grads[k] for k in grads if k != "initial_state"}
        else:
            weights = target
        if grads.keys() != weights.keys():
            _checks.names("grads", grads, weights)
        steps = []
        for name, weight in weights.items():
            state = self._states.get(id(weight)) or self._first_state(name, weight)
            gradient = grads[name]
            if (
                type(gradient) is not np.ndarray
                or gradient.shape != weight.shape
                or gradient.dtype != weight.dtype
            ):
                expected = _checks.dtype(weight.dtype), weight.shape
                gradient = _checks.like(f"grads[{name!r}]", gradient, *expected)
            steps.append((weight, np.asarray(gradient, order="C"), state[1]))
        for step in steps:
            self._step(*step)

    def _first_state(self, name: str, weight: object) -> tuple[Array, Any]:
        if not isinstance(weight, np.ndarray) or not weight.flags.carray:
            message = f"{name}: expected a writable C-contiguous array"
            raise ValueError(message)
        _checks.dtype(weight.dtype)
        state = self._states[id(weight)] = weight, self._new_state(weight)
        return state

    @abstractmethod
    def _new_state(self, weight: Array) -> Any: ...

    @abstractmethod
    def _step(self, weight: Array, gradient: Array, state: Any) -> None: ...

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle without the state: it belongs to other weights."""
        return _restored, (type(self), self.config)


def _restored(cls: type[Optimizer], config: Mapping[str, Any]) -> Optimizer:
    return cls(**config)


class SGD(Optimizer):
    """Gradient descent, with momentum if asked for.

    ``v = momentum * v - learning_rate * g; w += v``, or with ``nesterov=True``
    ``w += momentum * v - learning_rate * g``.

    Parameters
    ----------
    learning_rate : float
        Size of a step.
    momentum : float
        In [0, 1).
    nesterov : bool
        Whether to look ahead along the momentum.

    Examples
    --------
    >>> import grufast as gf
    >>> gf.optimizers.SGD(0.1, momentum=0.9)
    SGD(learning_rate=0.1, momentum=0.9)
    """

    def __init__(
        self,
        learning_rate: float = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(learning_rate)
        self.momentum = _checks.real("momentum", momentum, 0, 1)
        self.nesterov = _checks.flag("nesterov", nesterov)

    def _new_state(self, weight: Array) -> Array | None:
        return np.zeros_like(weight) if self.momentum else None

    def _step(self, weight: Array, gradient: Array, state: Array | None) -> None:
        _core.sgd_step(
            weight,
            gradient,
            state,
            self._learning_rate,
            self.momentum,
            self.nesterov,
        )


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, algorithm 1).

    Parameters
    ----------
    learning_rate : float
        Size of a step.
    beta_1, beta_2 : float
        Decay of the mean and of the mean square of gradients, in [0, 1).
    epsilon : float
        Added to the root of the mean square.

    Examples
    --------
    >>> import grufast as gf
    >>> gf.optimizers.Adam(1e-2)
    Adam(learning_rate=0.01)
    """

    def __init__(
        self,
        learning_rate: float = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
    ) -> None:
        super().__init__(learning_rate)
        self.beta_1 = _checks.real("beta_1", beta_1, 0, 1)
        self.beta_2 = _checks.real("beta_2", beta_2, 0, 1)
        self.epsilon = _checks.real("epsilon", epsilon, 0, math.inf)

    def _new_state(self, weight: Array) -> _Moments:
        return _Moments(weight)

    def _step(self, weight: Array, gradient: Array, state: _Moments) -> None:
        state.step += 1
        _core.adam_step(
            weight,
            gradient,
            state.m,
            state.v,
            self._learning_rate,
            self.beta_1,
            self.beta_2,
            self.epsilon,
            state.step,
        )


class _Moments:
    __slots__ = ("m", "step", "v")

    def __init__(self, weight: Array) -> None:
        self.m = np.zeros_like(weight)
        self.v = np.zeros_like(weight)
        self.step = 0


OPTIMIZERS: dict[str, type[Optimizer]] = {"SGD": SGD, "Adam": Adam}
"""The optimizers that files can name."""


def get(optimizer: str | Optimizer) -> Optimizer:
    """Return a new optimizer by its name, "adam" or "sgd"; an optimizer as it is."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    name: str = _checks.choice("optimizer", optimizer, ("adam", "sgd"))
    return Adam() if name == "adam" else SGD()

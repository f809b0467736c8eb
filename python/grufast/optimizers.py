"""Optimizers: one native pass over all weights and their gradients, in place.

Names, defaults and formulas are Keras's, where no other source is given. All take these
arguments:

learning_rate : float or Schedule
    Size of a step, or a function of the number of updates so far.
weight_decay : float, optional
    Every update first multiplies each weight by ``1 - learning_rate * weight_decay``
    (Loshchilov & Hutter 2019).
clipnorm, clipvalue, global_clipnorm : float, optional
    At most one of them: the largest Euclidean norm of each weight's gradient, the
    largest magnitude of its elements, or the largest norm of all gradients of an
    update together. Longer gradients are shortened, larger elements cut.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from inspect import signature
from typing import Any, Protocol

import numpy as np

from grufast import _checks, _core
from grufast import schedules as schedules  # noqa: PLC0414 (Keras has it here)
from grufast._checks import Array
from grufast._config import Configured
from grufast._sparse import SparseRows
from grufast.schedules import SCHEDULES, Schedule

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSprop",
    "SparseRows",
    "get",
]


class Weighted(Protocol):
    """A layer or a model."""

    def writable_weights(self) -> dict[str, Array]: ...


Target = Weighted | Mapping[str, Array]
Gradients = Mapping[str, Array] | Mapping[str, Array | SparseRows]
_Maybe = float | None
State = tuple[Any, ...]
"""A weight, and what is kept for it in the order of `_slots`; None: not kept."""


class Optimizer(Configured):
    """What all optimizers have in common.

    An optimizer keeps its state (momenta) for every weight it has updated.
    ``learning_rate`` may be changed between updates; a number takes the place of a
    schedule.
    """

    _slots: tuple[str, ...]

    def __init__(
        self,
        learning_rate: float | Schedule,
        weight_decay: float | None,
        clipnorm: float | None,
        clipvalue: float | None,
        global_clipnorm: float | None,
    ) -> None:
        self.learning_rate = learning_rate
        self.weight_decay = (
            None if weight_decay is None else _checks.real("weight_decay", weight_decay)
        )
        self.clipnorm = _threshold("clipnorm", clipnorm)
        self.clipvalue = _threshold("clipvalue", clipvalue)
        self.global_clipnorm = _threshold("global_clipnorm", global_clipnorm)
        if [clipnorm, clipvalue, global_clipnorm].count(None) < 2:
            message = (
                f"clipnorm, clipvalue, global_clipnorm: got {clipnorm}, {clipvalue}, "
                f"{global_clipnorm}, expected at most one of them"
            )
            raise ValueError(message)
        self._iterations = 0
        # By the address of a weight, which the entry itself keeps alive.
        self._states: dict[int, State] = {}

    @property
    def learning_rate(self) -> float:
        """Size of the next step; a schedule's value for `iterations`."""
        if isinstance(self._learning_rate, Schedule):
            rate = self._learning_rate(self._iterations)
            return _checks.real("learning_rate", rate)
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float | Schedule) -> None:
        if not isinstance(value, Schedule):
            value = _checks.real("learning_rate", value)
        self._learning_rate = value

    @property
    def iterations(self) -> int:
        """Updates so far: calls of `update` or `update_all`."""
        return self._iterations

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that make an optimizer like this one, without its state."""
        return {
            name: self._learning_rate
            if name == "learning_rate"
            else getattr(self, name)
            for name in signature(type(self)).parameters
        }

    def update(self, target: Target, grads: Gradients) -> None:
        """Move weights against their gradients.

        Parameters
        ----------
        target : Layer, Sequential or dict of str to ndarray
            A layer, a model, or writable C-contiguous arrays of your own.
        grads : dict of str to ndarray or SparseRows
            Gradients under the names of the weights, as from `Layer.backward`; an
            ``"initial_state"`` beside a layer's is passed over. Where few rows of a
            matrix have a gradient, `SparseRows` say which: `SGD` without momentum,
            `Adagrad` and `Adam` then go over these rows alone, unless there is
            `weight_decay`. That is the same for the first two; for `Adam` see there.

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
        >>> optimizer.iterations
        100
        """
        self.update_all(((target, grads),))

    def update_all(self, pairs: Iterable[tuple[Target, Gradients]]) -> None:
        """Do what `update` does for several targets, as one update.

        Parameters
        ----------
        pairs : iterable of (target, grads)
            As `update` takes them. A global norm is that of all their gradients.

        Raises
        ------
        TypeError, ValueError
            As `update` does; nothing has been changed then.
        """
        names: list[str] = []
        states: list[State] = []
        gradients: list[Any] = []
        for target, grads in pairs:
            weights = self._matched(target, grads)
            names += map(str, weights)
            for name, weight in weights.items():
                gradient = grads[name]
                states.append(
                    self._states.get(id(weight)) or self._first_state(name, weight)
                )
                if type(gradient) is not np.ndarray:
                    gradient = self._fitting(name, weight, gradient)
                gradients.append(gradient)
        self._step(names, states, gradients)
        self._iterations += 1

    def get_state(self, target: Target) -> dict[str, Array]:
        """Return copies of all that `set_state` needs to go on to the same bits.

        Parameters
        ----------
        target : Layer, Sequential or dict of str to ndarray
            Whose weights' state; not between a `forward` and its `backward`.

        Returns
        -------
        dict of str to ndarray
            ``"iterations"``, ``"learning_rate"`` unless that is a schedule, and for
            every weight what is kept, such as ``"layers.0.weight_ih/m"``.

        Examples
        --------
        >>> import grufast as gf
        >>> import numpy as np
        >>> optimizer = gf.optimizers.SGD(0.5, momentum=0.9)
        >>> optimizer.update({"w": np.zeros(2)}, {"w": np.ones(2)})
        >>> sorted(optimizer.get_state({"w": np.zeros(2)}))
        ['iterations', 'learning_rate', 'w/velocity']
        """
        state: dict[str, Array] = {"iterations": np.array(self._iterations, np.int64)}
        if not isinstance(self._learning_rate, Schedule):
            state["learning_rate"] = np.array(self._learning_rate)
        kept = self._kept(target)
        return state | {name: array.copy() for name, array in kept.items()}

    def set_state(self, target: Target, state: Mapping[str, Array]) -> None:
        """Take up what `get_state` returned for the same weights.

        Parameters
        ----------
        target : Layer, Sequential or dict of str to ndarray
            Whose weights' state; not between a `forward` and its `backward`.
        state : dict of str to ndarray
            From an optimizer of the same settings.

        Raises
        ------
        TypeError, ValueError
            If names, shapes or dtypes do not agree; nothing has been changed then.
        """
        _require_dict("state", state)
        kept = self._kept(target)
        expected: dict[str, object] = {"iterations": None, **kept}
        by_hand = not isinstance(self._learning_rate, Schedule)
        if by_hand or "learning_rate" in state:
            expected["learning_rate"] = None
        _checks.names("state", state, expected)
        iterations = _count("iterations", state["iterations"])
        rate = self._learning_rate
        if "learning_rate" in state:
            name = "state['learning_rate']"
            rate = float(_checks.like(name, state["learning_rate"], "float64", ()))
            rate = _checks.real(name, rate)
        values = {
            name: _count(name, state[name])
            if array.dtype == np.int64
            else _checks.like(
                f"state[{name!r}]", state[name], _checks.dtype(array.dtype), array.shape
            )
            for name, array in kept.items()
        }
        for name, array in kept.items():
            array[...] = values[name]
        self._iterations = iterations
        self._learning_rate = rate

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle without the state: it belongs to other weights."""
        return _restored, (type(self), self.config)

    # Inside

    @abstractmethod
    def _new_state(self, weight: Array) -> tuple[Array | None, ...]:
        """Return what is kept for a weight, in the order of `_slots`."""

    @abstractmethod
    def _step(
        self, names: list[str], states: list[State], gradients: list[Any]
    ) -> None: ...

    @property
    def _takes_rows(self) -> bool:
        """Whether the rows without a gradient may be left alone."""
        return not self.weight_decay

    @property
    def _shared(self) -> tuple[_Maybe, _Maybe, _Maybe, _Maybe]:
        return self.weight_decay, self.clipnorm, self.clipvalue, self.global_clipnorm

    def _matched(self, target: Target, grads: Gradients) -> Mapping[str, Array]:
        """Return the target's weights; grads have their names."""
        weights = _weights(target)
        _require_dict("grads", grads)
        if grads.keys() != weights.keys():
            named: Mapping[str, object] = grads
            if weights is not target:
                named = {k: grads[k] for k in grads if k != "initial_state"}
            _checks.names("grads", named, weights)
        return weights

    def _first_state(self, name: str, weight: object) -> State:
        if not isinstance(weight, np.ndarray) or not weight.flags.carray:
            message = f"{name}: expected a writable C-contiguous array"
            raise ValueError(message)
        _checks.dtype(weight.dtype)
        state = self._states[id(weight)] = weight, *self._new_state(weight)
        return state

    def _fitting(self, name: str, weight: Array, gradient: object) -> Any:
        """Return a gradient as the native call takes it."""
        name = f"grads[{name!r}]"
        if not isinstance(gradient, SparseRows):
            dtype = _checks.dtype(weight.dtype)
            return _checks.like(name, gradient, dtype, weight.shape)
        if (gradient.shape, gradient.dtype) != (weight.shape, weight.dtype):
            message = (
                f"{name}: got {gradient!r}, expected rows of {weight.shape}, "
                f"{weight.dtype}"
            )
            raise ValueError(message)
        if self._takes_rows:
            return gradient.indices, gradient.values
        return gradient.to_dense()

    def _kept(self, target: Target) -> dict[str, Array]:
        """Return the arrays that are kept for all weights of a target, by name."""
        kept = {}
        for name, weight in _weights(target).items():
            state = self._states.get(id(weight)) or self._first_state(name, weight)
            for slot, array in zip(self._slots, state[1:], strict=True):
                if array is not None:
                    kept[f"{name}/{slot}"] = array
        return kept


def _restored(cls: type[Optimizer], config: Mapping[str, Any]) -> Optimizer:
    return cls(**config)


def _threshold(name: str, value: float | None) -> float | None:
    if value is None:
        return None
    number = _checks.real(name, value)
    if number == 0:
        message = f"{name}: got {value!r}, expected a number above 0, or None"
        raise ValueError(message)
    return number


def _require_dict(name: str, value: object) -> None:
    if not isinstance(value, Mapping):
        message = f"{name}: got {type(value).__name__}, expected a dict of arrays"
        raise TypeError(message)


def _weights(target: Target) -> Mapping[str, Array]:
    writable = getattr(target, "writable_weights", None)
    if writable is not None:
        weights: Mapping[str, Array] = writable()
        return weights
    if not isinstance(target, Mapping):
        message = (
            f"target: got {type(target).__name__}, expected a layer, a model or a dict "
            "of arrays"
        )
        raise TypeError(message)
    return target


def _count(name: str, value: object) -> int:
    if not (
        isinstance(value, np.ndarray)
        and value.dtype == np.int64
        and value.shape == ()
        and value >= 0
    ):
        message = (
            f"state[{name!r}]: got {value!r:.80}, expected an int64 array of shape (), "
            "at least 0"
        )
        raise ValueError(message)
    return int(value)


class SGD(Optimizer):
    """Gradient descent, with momentum if asked for.

    ``v = momentum * v - learning_rate * g; w += v``, or with ``nesterov=True``
    ``w += momentum * v - learning_rate * g``.

    Parameters
    ----------
    learning_rate : float or Schedule
        Size of a step.
    momentum : float
        In [0, 1).
    nesterov : bool
        Whether to look ahead along the momentum.
    weight_decay, clipnorm, clipvalue, global_clipnorm : float, optional
        See `grufast.optimizers`.

    Examples
    --------
    >>> import grufast as gf
    >>> gf.optimizers.SGD(0.1, momentum=0.9)
    SGD(learning_rate=0.1, momentum=0.9)
    """

    _slots = ("velocity",)

    def __init__(
        self,
        learning_rate: float | Schedule = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
    ) -> None:
        super().__init__(
            learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm
        )
        self.momentum = _checks.real("momentum", momentum, 0, 1)
        self.nesterov = _checks.flag("nesterov", nesterov)

    @property
    def _takes_rows(self) -> bool:
        return not self.momentum and super()._takes_rows

    def _new_state(self, weight: Array) -> tuple[Array | None, ...]:
        return (np.zeros_like(weight) if self.momentum else None,)

    def _step(
        self, names: list[str], states: list[State], gradients: list[Any]
    ) -> None:
        _core.sgd_step(
            names,
            states,
            gradients,
            self.learning_rate,
            *self._shared,
            self.momentum,
            self.nesterov,
        )


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, algorithm 1), with AMSGrad (Reddi et al. 2018) if asked.

    The same as in PyTorch. Keras adds its epsilon before the mean square is corrected
    for its start from zero: this epsilon is the larger in effect in Keras, by
    ``1 / sqrt(1 - beta_2 ** step)``. Every weight counts the updates it has had.

    From `SparseRows` only these rows and their momenta are updated, as by PyTorch's
    SparseAdam (whose epsilon is Keras's): a row without a gradient stays where it is,
    and its momenta do not fade.

    Parameters
    ----------
    learning_rate : float or Schedule
        Size of a step.
    beta_1, beta_2 : float
        Decay of the mean and of the mean square of gradients, in [0, 1).
    epsilon : float
        Added to the root of the mean square.
    amsgrad : bool
        Whether to divide by the root of the largest mean square so far.
    weight_decay, clipnorm, clipvalue, global_clipnorm : float, optional
        See `grufast.optimizers`.

    Examples
    --------
    >>> import grufast as gf
    >>> gf.optimizers.Adam(1e-2, global_clipnorm=1.0)
    Adam(learning_rate=0.01, global_clipnorm=1.0)
    """

    _slots = ("m", "v", "v_hat", "step")

    def __init__(
        self,
        learning_rate: float | Schedule = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
    ) -> None:
        super().__init__(
            learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm
        )
        self.beta_1 = _checks.real("beta_1", beta_1, 0, 1)
        self.beta_2 = _checks.real("beta_2", beta_2, 0, 1)
        self.epsilon = _checks.real("epsilon", epsilon, 0, math.inf)
        self.amsgrad = _checks.flag("amsgrad", amsgrad)

    def _new_state(self, weight: Array) -> tuple[Array | None, ...]:
        m, v = np.zeros_like(weight), np.zeros_like(weight)
        v_hat = np.zeros_like(weight) if self.amsgrad else None
        return m, v, v_hat, np.zeros((), np.int64)

    def _step(
        self, names: list[str], states: list[State], gradients: list[Any]
    ) -> None:
        _core.adam_step(
            names,
            states,
            gradients,
            self.learning_rate,
            *self._shared,
            self.beta_1,
            self.beta_2,
            self.epsilon,
        )


class AdamW(Adam):
    """Adam with weight decay by default (Loshchilov & Hutter 2019).

    Parameters
    ----------
    learning_rate : float or Schedule
        Size of a step.
    weight_decay : float, optional
        See `grufast.optimizers`.
    beta_1, beta_2, epsilon, amsgrad, clipnorm, clipvalue, global_clipnorm
        As of `Adam`.

    Examples
    --------
    >>> import grufast as gf
    >>> gf.optimizers.AdamW(weight_decay=0.01)
    AdamW(weight_decay=0.01)
    """

    def __init__(
        self,
        learning_rate: float | Schedule = 1e-3,
        weight_decay: float | None = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
    ) -> None:
        super().__init__(
            learning_rate,
            beta_1,
            beta_2,
            epsilon,
            amsgrad,
            weight_decay,
            clipnorm,
            clipvalue,
            global_clipnorm,
        )


class RMSprop(Optimizer):
    """Steps divided by the root of a moving mean square (Hinton 2012).

    ``v = rho * v + (1 - rho) * g**2; step = learning_rate * g / sqrt(v + epsilon)``,
    with ``centered=True`` less the square of the moving mean of g below the root, and
    with momentum ``s = momentum * s + step; w -= s``. PyTorch adds its epsilon to the
    root instead.

    Parameters
    ----------
    learning_rate : float or Schedule
        Size of a step.
    rho : float
        Decay of the mean square, in [0, 1).
    momentum : float
        In [0, 1).
    epsilon : float
        Added to the mean square.
    centered : bool
        Whether to divide by the root of the variance instead (Graves 2013).
    weight_decay, clipnorm, clipvalue, global_clipnorm : float, optional
        See `grufast.optimizers`.

    Examples
    --------
    >>> import grufast as gf
    >>> gf.optimizers.RMSprop(1e-2, centered=True)
    RMSprop(learning_rate=0.01, centered=True)
    """

    _slots = ("velocity", "momentum", "average_gradient")
    _takes_rows = False

    def __init__(
        self,
        learning_rate: float | Schedule = 1e-3,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
    ) -> None:
        super().__init__(
            learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm
        )
        self.rho = _checks.real("rho", rho, 0, 1)
        self.momentum = _checks.real("momentum", momentum, 0, 1)
        self.epsilon = _checks.real("epsilon", epsilon)
        self.centered = _checks.flag("centered", centered)

    def _new_state(self, weight: Array) -> tuple[Array | None, ...]:
        kept = (True, self.momentum, self.centered)
        return tuple(np.zeros_like(weight) if each else None for each in kept)

    def _step(
        self, names: list[str], states: list[State], gradients: list[Any]
    ) -> None:
        _core.rmsprop_step(
            names,
            states,
            gradients,
            self.learning_rate,
            *self._shared,
            self.rho,
            self.momentum,
            self.epsilon,
        )


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of squares (Duchi et al. 2011).

    ``a += g**2; w -= learning_rate * g / sqrt(a + epsilon)``. PyTorch adds its epsilon
    to the root instead.

    Parameters
    ----------
    learning_rate : float or Schedule
        Size of a step.
    initial_accumulator_value : float
        What the sums start from.
    epsilon : float
        Added to the sum of squares.
    weight_decay, clipnorm, clipvalue, global_clipnorm : float, optional
        See `grufast.optimizers`.

    Examples
    --------
    >>> import grufast as gf
    >>> gf.optimizers.Adagrad(0.1)
    Adagrad(learning_rate=0.1)
    """

    _slots = ("accumulator",)

    def __init__(
        self,
        learning_rate: float | Schedule = 1e-3,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
    ) -> None:
        super().__init__(
            learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm
        )
        self.initial_accumulator_value = _checks.real(
            "initial_accumulator_value", initial_accumulator_value
        )
        self.epsilon = _checks.real("epsilon", epsilon)

    def _new_state(self, weight: Array) -> tuple[Array | None, ...]:
        return (np.full_like(weight, self.initial_accumulator_value),)

    def _step(
        self, names: list[str], states: list[State], gradients: list[Any]
    ) -> None:
        _core.adagrad_step(
            names, states, gradients, self.learning_rate, *self._shared, self.epsilon
        )


_BY_NAME: dict[str, type[Optimizer]] = {
    optimizer.__name__: optimizer for optimizer in (SGD, Adagrad, Adam, AdamW, RMSprop)
}

OPTIMIZERS: dict[str, type[Configured]] = {**_BY_NAME, **SCHEDULES}
"""The optimizers that files can name, and the schedules within them."""


def storable(optimizer: Optimizer | None) -> bool:
    """Return whether files can name an optimizer and its schedule."""
    if optimizer is None or type(optimizer) not in _BY_NAME.values():
        return False
    rate = optimizer.config["learning_rate"]
    return not isinstance(rate, Schedule) or type(rate) in SCHEDULES.values()


def get(optimizer: str | Optimizer) -> Optimizer:
    """Return a new optimizer by its name, in any case; an optimizer as it is.

    Names are "adagrad", "adam", "adamw", "rmsprop" and "sgd".
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    given: object = optimizer
    names: dict[str, Any] = {name.lower(): cls for name, cls in _BY_NAME.items()}
    name = given.lower() if isinstance(given, str) else given
    made: Optimizer = names[_checks.choice("optimizer", name, sorted(names))]()
    return made

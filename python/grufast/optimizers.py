"""Optimizers: they change weights in place, given their gradients.

SGD, Adagrad, Adam, AdamW and RMSprop are one native pass over all weights, the others
NumPy's operations. Names, defaults and formulas are Keras's, where no other source is
given. All take these arguments:

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
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "Lion",
    "Nadam",
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

    Parameters
    ----------
    learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm
        See `grufast.optimizers`.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> weights = {"w": np.array([1.0, 2.0])}
    >>> optimizer = gf.optimizers.SGD(gf.schedules.ExponentialDecay(0.5, 1, 0.1))
    >>> for _ in range(2):
    ...     optimizer.update(weights, {"w": np.ones(2)})
    >>> weights["w"], optimizer.iterations, round(optimizer.learning_rate, 6)
    (array([0.45, 1.45]), 2, 0.005)
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


# Computed by NumPy


class _ByFormula(Optimizer):
    """An optimizer whose formula NumPy computes, weight by weight."""

    _takes_rows = False

    @np.errstate(all="ignore")
    def _step(
        self, names: list[str], states: list[State], gradients: list[Any]
    ) -> None:
        # A native step of no rows checks weights as those of any do, and changes none.
        rows = np.zeros(0, np.int64)
        flat = [weight.reshape(1, -1) for weight, *_ in states]
        _core.sgd_step(
            names,
            [(array, None) for array in flat],
            [(rows, array[:0]) for array in flat],
            0.0,
            *(None,) * 4,
            0.0,
            False,
        )
        rate = self.learning_rate
        # A native step of -1 from 0 is the gradient, checked and clipped.
        clipped = [np.zeros_like(weight) for weight, *_ in states]
        native = [(array, None) for array in clipped]
        _core.sgd_step(
            names, native, gradients, -1.0, None, *self._shared[1:], 0.0, False
        )
        for (weight, *kept), gradient in zip(states, clipped, strict=True):
            if self.weight_decay:
                np.multiply(weight, 1 - rate * self.weight_decay, out=weight)
            if weight.size:
                self._move(weight, gradient, rate, *kept)

    @abstractmethod
    def _move(self, weight: Array, gradient: Array, rate: float, *kept: Any) -> None:
        """Update a weight and what is kept for it."""


class Adadelta(_ByFormula):
    """Steps as large as earlier ones, in the unit of the weight (Zeiler 2012).

    ``a = rho * a + (1 - rho) * g**2``, ``d = sqrt((b + epsilon) / (a + epsilon)) * g``,
    ``b = rho * b + (1 - rho) * d**2``, ``w -= learning_rate * d``.

    Parameters
    ----------
    learning_rate : float or Schedule
        Factor of a step; 1 in the paper.
    rho : float
        Decay of the mean squares, in [0, 1).
    epsilon : float
        Added to them.
    weight_decay, clipnorm, clipvalue, global_clipnorm : float, optional
        See `grufast.optimizers`.

    Examples
    --------
    >>> import grufast as gf
    >>> gf.optimizers.Adadelta(1.0)
    Adadelta(learning_rate=1.0)
    """

    _slots = ("accumulated_grad", "accumulated_delta_var")

    def __init__(
        self,
        learning_rate: float | Schedule = 1e-3,
        rho: float = 0.95,
        epsilon: float = 1e-7,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
    ) -> None:
        super().__init__(
            learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm
        )
        self.rho = _checks.real("rho", rho, 0, 1)
        self.epsilon = _checks.real("epsilon", epsilon)

    def _new_state(self, weight: Array) -> tuple[Array | None, ...]:
        return np.zeros_like(weight), np.zeros_like(weight)

    def _move(self, weight: Array, gradient: Array, rate: float, *kept: Any) -> None:
        squares, moves = kept
        squares += (1 - self.rho) * (gradient * gradient - squares)
        move = np.sqrt(moves + self.epsilon) * gradient
        move /= np.sqrt(squares + self.epsilon)
        moves += (1 - self.rho) * (move * move - moves)
        weight -= rate * move


class Adafactor(_ByFormula):
    """Steps by mean squares that rows and columns share (Shazeer & Stern 2018).

    For a matrix of n x m weights it keeps n + m numbers. The mean squares of g have the
    decay ``1 - step**beta_2_decay``; g divided by their root is shortened to a root
    mean square of `clip_threshold`, and the step is that times the weight's own root
    mean square (at least `epsilon_2`) and ``min(learning_rate, 1 / sqrt(step))``.
    Weights of one dimension have a mean square for every element.

    Parameters
    ----------
    learning_rate : float or Schedule
        Size of a step, in units of the weight.
    beta_2_decay : float
        At most 0: how fast the decay comes near 1.
    epsilon_1 : float
        Added to squares.
    epsilon_2 : float
        Least unit of a step.
    clip_threshold : float
        Above 0.
    weight_decay, clipnorm, clipvalue, global_clipnorm : float, optional
        See `grufast.optimizers`.

    Examples
    --------
    >>> import grufast as gf
    >>> gf.optimizers.Adafactor(0.01)
    Adafactor(learning_rate=0.01)
    """

    _slots = ("r", "c", "velocity", "step")

    def __init__(
        self,
        learning_rate: float | Schedule = 1e-3,
        beta_2_decay: float = -0.8,
        epsilon_1: float = 1e-30,
        epsilon_2: float = 1e-3,
        clip_threshold: float = 1.0,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
    ) -> None:
        super().__init__(
            learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm
        )
        self.beta_2_decay = _not_positive("beta_2_decay", beta_2_decay)
        self.epsilon_1 = _checks.real("epsilon_1", epsilon_1)
        self.epsilon_2 = _checks.real("epsilon_2", epsilon_2)
        threshold = _threshold("clip_threshold", clip_threshold)
        self.clip_threshold = _checks.real("clip_threshold", threshold)

    def _new_state(self, weight: Array) -> tuple[Array | None, ...]:
        step = np.zeros((), np.int64)
        if weight.ndim < 2:
            return None, None, np.zeros_like(weight), step
        *rows, _, columns = weight.shape
        r = np.zeros(weight.shape[:-1], weight.dtype)
        return r, np.zeros((*rows, columns), weight.dtype), None, step

    def _move(self, weight: Array, gradient: Array, rate: float, *kept: Any) -> None:
        r, c, own, step = kept
        step += 1
        new = int(step) ** self.beta_2_decay
        squares = gradient * gradient + self.epsilon_1
        if own is None:
            r += new * (squares.mean(axis=-1) - r)
            c += new * (squares.mean(axis=-2) - c)
            shares = r / r.mean(axis=-1, keepdims=True)
            mean = shares[..., None] * c[..., None, :]
        else:
            own += new * (squares - own)
            mean = own
        move = gradient / np.sqrt(mean)
        move /= max(1.0, _rms(move) / self.clip_threshold)
        unit = max(self.epsilon_2, _rms(weight))
        weight -= unit * min(rate, int(step) ** -0.5) * move


class Adamax(_ByFormula):
    """Adam with the largest gradient in the place of the root (Kingma & Ba 2015, 7.1).

    ``m = beta_1 * m + (1 - beta_1) * g``, ``u = max(beta_2 * u, abs(g))``,
    ``w -= learning_rate * m / ((1 - beta_1**step) * (u + epsilon))``. Every weight
    counts the updates it has had.

    Parameters
    ----------
    learning_rate : float or Schedule
        Size of a step.
    beta_1, beta_2 : float
        Decay of the mean and of the largest gradient, in [0, 1).
    epsilon : float
        Added to the largest gradient.
    weight_decay, clipnorm, clipvalue, global_clipnorm : float, optional
        See `grufast.optimizers`.

    Examples
    --------
    >>> import grufast as gf
    >>> gf.optimizers.Adamax(1e-2)
    Adamax(learning_rate=0.01)
    """

    _slots = ("m", "u", "step")

    def __init__(
        self,
        learning_rate: float | Schedule = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
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
        self.epsilon = _checks.real("epsilon", epsilon)

    def _new_state(self, weight: Array) -> tuple[Array | None, ...]:
        return np.zeros_like(weight), np.zeros_like(weight), np.zeros((), np.int64)

    def _move(self, weight: Array, gradient: Array, rate: float, *kept: Any) -> None:
        m, u, step = kept
        step += 1
        m += (1 - self.beta_1) * (gradient - m)
        np.maximum(self.beta_2 * u, np.abs(gradient), out=u)
        weight -= rate / (1 - self.beta_1 ** int(step)) * m / (u + self.epsilon)


class Nadam(_ByFormula):
    """Adam that looks ahead along its momentum (Dozat 2016).

    The momentum's decay at a step t is ``b(t) = beta_1 * (1 - 0.96**t / 2)``; with B(t)
    for the product of all so far, m and v the means of Adam,

    ``w -= learning_rate * (b(t + 1) * m / (1 - B(t + 1)) + (1 - b(t)) * g / (1 - B(t)))
    / (sqrt(v / (1 - beta_2**t)) + epsilon)``. Every weight counts the updates it has
    had.

    Parameters
    ----------
    learning_rate : float or Schedule
        Size of a step.
    beta_1, beta_2 : float
        Decay of the mean and of the mean square of gradients, in [0, 1).
    epsilon : float
        Added to the root of the mean square.
    weight_decay, clipnorm, clipvalue, global_clipnorm : float, optional
        See `grufast.optimizers`.

    Examples
    --------
    >>> import grufast as gf
    >>> gf.optimizers.Nadam(1e-2)
    Nadam(learning_rate=0.01)
    """

    _slots = ("m", "v", "step", "u_product")

    def __init__(
        self,
        learning_rate: float | Schedule = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
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
        self.epsilon = _checks.real("epsilon", epsilon)

    def _new_state(self, weight: Array) -> tuple[Array | None, ...]:
        m, v = np.zeros_like(weight), np.zeros_like(weight)
        return m, v, np.zeros((), np.int64), np.ones(())

    def _move(self, weight: Array, gradient: Array, rate: float, *kept: Any) -> None:
        m, v, step, product = kept
        step += 1
        now, ahead = (
            self.beta_1 * (1 - 0.5 * 0.96 ** (int(step) + more)) for more in (0, 1)
        )
        product *= now
        so_far = float(product)
        m += (1 - self.beta_1) * (gradient - m)
        v += (1 - self.beta_2) * (gradient * gradient - v)
        move = ahead / (1 - so_far * ahead) * m
        move += (1 - now) / (1 - so_far) * gradient
        root = np.sqrt(v / (1 - self.beta_2 ** int(step)))
        weight -= rate * move / (root + self.epsilon)


class Lion(_ByFormula):
    """Steps of one size, along the sign of the momentum (Chen et al. 2023).

    ``w -= learning_rate * sign(beta_1 * m + (1 - beta_1) * g)``,
    ``m = beta_2 * m + (1 - beta_2) * g``. The paper advises a learning rate of a tenth
    to a third of Adam's.

    Parameters
    ----------
    learning_rate : float or Schedule
        Size of a step.
    beta_1, beta_2 : float
        Part of the momentum in a step, and its decay, in [0, 1).
    weight_decay, clipnorm, clipvalue, global_clipnorm : float, optional
        See `grufast.optimizers`.

    Examples
    --------
    >>> import grufast as gf
    >>> gf.optimizers.Lion(1e-4, weight_decay=0.1)
    Lion(learning_rate=0.0001, weight_decay=0.1)
    """

    _slots = ("momentum",)

    def __init__(
        self,
        learning_rate: float | Schedule = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
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

    def _new_state(self, weight: Array) -> tuple[Array | None, ...]:
        return (np.zeros_like(weight),)

    def _move(self, weight: Array, gradient: Array, rate: float, *kept: Any) -> None:
        (m,) = kept
        weight -= rate * np.sign(self.beta_1 * m + (1 - self.beta_1) * gradient)
        m += (1 - self.beta_2) * (gradient - m)


class Ftrl(_ByFormula):
    """Follow the regularised leader, for sparse weights (McMahan et al. 2013).

    With ``p = -learning_rate_power`` and ``g' = g + 2 * l2_shrinkage * w``:
    ``z += g' - ((a + g**2)**p - a**p) / learning_rate * w``, ``a += g**2``,
    ``w = (clip(z, -l1, l1) - z) / ((a**p + beta) / learning_rate + 2 * l2)``. A
    learning rate of 0 changes nothing.

    Parameters
    ----------
    learning_rate : float or Schedule
        Size of a step.
    learning_rate_power : float
        At most 0; 0 for steps that do not become smaller.
    initial_accumulator_value : float
        What a starts from.
    l1_regularization_strength, l2_regularization_strength : float
        Of the penalties on weights; with the first many become exactly 0.
    l2_shrinkage_regularization_strength : float
        Of a penalty that is part of the gradient.
    beta : float
        See the formula.
    weight_decay, clipnorm, clipvalue, global_clipnorm : float, optional
        See `grufast.optimizers`.

    Examples
    --------
    >>> import grufast as gf
    >>> gf.optimizers.Ftrl(0.1, l1_regularization_strength=0.01)
    Ftrl(learning_rate=0.1, l1_regularization_strength=0.01)
    """

    _slots = ("accumulator", "linear")

    def __init__(
        self,
        learning_rate: float | Schedule = 1e-3,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float = 0.0,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
    ) -> None:
        super().__init__(
            learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm
        )
        self.learning_rate_power = _not_positive(
            "learning_rate_power", learning_rate_power
        )
        self.initial_accumulator_value = _checks.real(
            "initial_accumulator_value", initial_accumulator_value
        )
        self.l1_regularization_strength = _checks.real(
            "l1_regularization_strength", l1_regularization_strength
        )
        self.l2_regularization_strength = _checks.real(
            "l2_regularization_strength", l2_regularization_strength
        )
        self.l2_shrinkage_regularization_strength = _checks.real(
            "l2_shrinkage_regularization_strength", l2_shrinkage_regularization_strength
        )
        self.beta = _checks.real("beta", beta)

    def _new_state(self, weight: Array) -> tuple[Array | None, ...]:
        start = np.full_like(weight, self.initial_accumulator_value)
        return start, np.zeros_like(weight)

    def _move(self, weight: Array, gradient: Array, rate: float, *kept: Any) -> None:
        accumulator, linear = kept
        if not rate:
            return
        before = self._power(accumulator)
        accumulator += gradient * gradient
        after = self._power(accumulator)
        linear += gradient + 2 * self.l2_shrinkage_regularization_strength * weight
        linear -= (after - before) / rate * weight
        most = self.l1_regularization_strength
        below = (after + self.beta) / rate + 2 * self.l2_regularization_strength
        weight[...] = (np.clip(linear, -most, most) - linear) / below

    def _power(self, a: Array) -> Any:
        power = -self.learning_rate_power
        return np.sqrt(a) if power == 0.5 else a**power


def _not_positive(name: str, value: object) -> float:
    number = _checks.finite(name, value)
    if number > 0:
        message = f"{name}: got {value!r}, expected a number of at most 0"
        raise ValueError(message)
    return number


def _rms(a: Array) -> float:
    return math.sqrt(float(np.mean(a * a)))


_BY_NAME: dict[str, type[Optimizer]] = {
    optimizer.__name__: optimizer
    for optimizer in (
        SGD,
        Adadelta,
        Adafactor,
        Adagrad,
        Adam,
        AdamW,
        Adamax,
        Ftrl,
        Lion,
        Nadam,
        RMSprop,
    )
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

    Parameters
    ----------
    optimizer : str or Optimizer
        Names are those of the classes: "adam", "sgd" and so on.

    Raises
    ------
    ValueError
        If it is neither; the message lists the names.

    Examples
    --------
    >>> import grufast as gf
    >>> gf.optimizers.get("adamw")
    AdamW()
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    given: object = optimizer
    names = {name.lower(): cls for name, cls in _BY_NAME.items()}
    if not isinstance(given, str) or given.lower() not in names:
        message = (
            f"optimizer: got {given!r}, expected an Optimizer, such as Adam(1e-3), or "
            f"one of {sorted(names)}"
        )
        raise ValueError(message)
    make: Any = names[given.lower()]
    made: Optimizer = make()
    return made

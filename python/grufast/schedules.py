"""Learning rates that change from update to update, with Keras's names and formulas.

A schedule stands in for an optimizer's ``learning_rate``; the optimizer calls it with
the number of updates so far.

>>> import grufast as gf
>>> warm = gf.schedules.CosineDecay(
...     0.0, decay_steps=900, warmup_target=1e-2, warmup_steps=100
... )
>>> optimizer = gf.optimizers.Adam(warm)
>>> [warm(step) for step in (0, 50, 100, 550, 1000)]
[0.0, 0.005, 0.01, 0.005, 0.0]
"""

from __future__ import annotations

import math
from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Sequence

from grufast import _checks
from grufast._config import Configured

__all__ = [
    "CosineDecay",
    "ExponentialDecay",
    "InverseTimeDecay",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "Schedule",
]


class Schedule(Configured):
    """A function of the number of updates so far.

    One of your own keeps every argument of its constructor as an attribute of the same
    name and has a method `__call__`.

    Examples
    --------
    >>> import grufast as gf
    >>> class Halving(gf.schedules.Schedule):
    ...     def __init__(self, rate, every):
    ...         self.rate, self.every = rate, every
    ...
    ...     def __call__(self, step):
    ...         return self.rate * 0.5 ** (step // self.every)
    >>> Halving(0.1, 10)(25)
    0.025
    """

    @abstractmethod
    def __call__(self, step: int) -> float:
        """Return the learning rate of the update that `step` updates came before."""


class _Decay(Schedule):
    """A fall by a rate in so many steps."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
    ) -> None:
        self.initial_learning_rate = _initial(initial_learning_rate)
        self.decay_steps = _checks.integer("decay_steps", decay_steps, 1)
        self.decay_rate = _checks.real("decay_rate", decay_rate)
        self.staircase = _checks.flag("staircase", staircase)

    def _elapsed(self, step: int) -> float:
        """Return the steps in units of `decay_steps`."""
        step = _checks.integer("step", step, 0)
        steps = self.decay_steps
        return step // steps if self.staircase else step / steps


class ExponentialDecay(_Decay):
    """``initial_learning_rate * decay_rate ** (step / decay_steps)``.

    Parameters
    ----------
    initial_learning_rate : float
        At step 0.
    decay_steps : int
        Steps in which the rate is multiplied by `decay_rate`.
    decay_rate : float
        At least 0.
    staircase : bool
        Whether ``step / decay_steps`` is rounded down.

    Examples
    --------
    >>> import grufast as gf
    >>> gf.schedules.ExponentialDecay(0.5, 100, 0.25)(50)
    0.25
    """

    def __call__(self, step: int) -> float:
        """Return the learning rate after `step` updates."""
        elapsed = self._elapsed(step)
        try:
            return self.initial_learning_rate * float(self.decay_rate**elapsed)
        except OverflowError:
            return math.inf


class InverseTimeDecay(_Decay):
    """``initial_learning_rate / (1 + decay_rate * step / decay_steps)``.

    Parameters
    ----------
    initial_learning_rate : float
        At step 0.
    decay_steps : int
        Steps in which the divisor grows by `decay_rate`.
    decay_rate : float
        At least 0.
    staircase : bool
        Whether ``step / decay_steps`` is rounded down.

    Examples
    --------
    >>> import grufast as gf
    >>> gf.schedules.InverseTimeDecay(0.5, 100, 2.0)(50)
    0.25
    """

    def __call__(self, step: int) -> float:
        """Return the learning rate after `step` updates."""
        return self.initial_learning_rate / (1 + self.decay_rate * self._elapsed(step))


class PolynomialDecay(Schedule):
    """From one rate to another along a power of the steps that are left.

    ``(initial_learning_rate - end_learning_rate) * (1 - step / decay_steps) ** power
    + end_learning_rate``; `end_learning_rate` from `decay_steps` on.

    Parameters
    ----------
    initial_learning_rate : float
        At step 0.
    decay_steps : int
        Steps from one rate to the other.
    end_learning_rate : float
        At step `decay_steps`.
    power : float
        1 is a straight line.
    cycle : bool
        Whether to start anew instead of staying at `end_learning_rate`, every time
        from half, a third, ... of the way up: `decay_steps` is then its first multiple
        that is not less than the step.

    Examples
    --------
    >>> import grufast as gf
    >>> gf.schedules.PolynomialDecay(0.5, 100, 0.0, power=2.0)(50)
    0.125
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
    ) -> None:
        self.initial_learning_rate = _initial(initial_learning_rate)
        self.decay_steps = _checks.integer("decay_steps", decay_steps, 1)
        self.end_learning_rate = _checks.real("end_learning_rate", end_learning_rate)
        self.power = _checks.real("power", power)
        self.cycle = _checks.flag("cycle", cycle)

    def __call__(self, step: int) -> float:
        """Return the learning rate after `step` updates."""
        step = _checks.integer("step", step, 0)
        steps = self.decay_steps
        if self.cycle:
            steps *= max(1, -(-step // steps))
        left = 1 - min(step, steps) / steps
        span = self.initial_learning_rate - self.end_learning_rate
        return span * float(left**self.power) + self.end_learning_rate


class CosineDecay(Schedule):
    """Along half a cosine, after a straight rise if asked for.

    ``rate * ((1 - alpha) * (1 + cos(pi * step / decay_steps)) / 2 + alpha)``, and
    ``rate * alpha`` from `decay_steps` on (Loshchilov & Hutter 2017), where rate is
    `initial_learning_rate`. With a `warmup_target` the learning rate first goes from
    `initial_learning_rate` to it in `warmup_steps` steps (Goyal et al. 2017), and then
    falls from it as above.

    Parameters
    ----------
    initial_learning_rate : float
        At step 0.
    decay_steps : int
        Steps of the fall, those of the rise not counted.
    alpha : float
        What is left at the end, as a part of the rate at the top.
    warmup_target : float, optional
        The rate at the top; None: no rise.
    warmup_steps : int
        Steps of the rise.

    Examples
    --------
    >>> import grufast as gf
    >>> gf.schedules.CosineDecay(0.1, 100, alpha=0.5)(1000)
    0.05
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        *,
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        self.initial_learning_rate = _initial(initial_learning_rate)
        self.decay_steps = _checks.integer("decay_steps", decay_steps, 1)
        self.alpha = _checks.real("alpha", alpha)
        self.warmup_target = (
            None
            if warmup_target is None
            else _checks.real("warmup_target", warmup_target)
        )
        self.warmup_steps = _checks.integer("warmup_steps", warmup_steps, 0)
        if warmup_target is None and self.warmup_steps:
            message = f"warmup_steps: got {warmup_steps}, but no warmup_target"
            raise ValueError(message)

    def __call__(self, step: int) -> float:
        """Return the learning rate after `step` updates."""
        step = _checks.integer("step", step, 0)
        top = self.initial_learning_rate
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                part = step / self.warmup_steps
                return (self.warmup_target - top) * part + top
            step -= self.warmup_steps
            top = self.warmup_target
        fallen = min(step, self.decay_steps) / self.decay_steps
        cosine = 0.5 * (1 + math.cos(math.pi * fallen))
        return top * ((1 - self.alpha) * cosine + self.alpha)


class PiecewiseConstantDecay(Schedule):
    """``values[0]`` up to and at ``boundaries[0]``, then ``values[1]``, and so on.

    Parameters
    ----------
    boundaries : list of float
        Ascending steps, each the last one with the value of its place.
    values : list of float
        Learning rates, one more than boundaries.

    Examples
    --------
    >>> import grufast as gf
    >>> rate = gf.schedules.PiecewiseConstantDecay([100, 200], [0.1, 0.01, 0.001])
    >>> rate(100), rate(101), rate(201)
    (0.1, 0.01, 0.001)
    """

    def __init__(self, boundaries: Sequence[float], values: Sequence[float]) -> None:
        self.boundaries = [
            _checks.real(f"boundaries[{i}]", boundary)
            for i, boundary in enumerate(_listed("boundaries", boundaries))
        ]
        self.values = [
            _checks.real(f"values[{i}]", value)
            for i, value in enumerate(_listed("values", values))
        ]
        if len(self.values) != len(self.boundaries) + 1:
            message = (
                f"values: got {len(self.values)}, expected one more than the "
                f"{len(self.boundaries)} boundaries"
            )
            raise ValueError(message)
        if sorted(set(self.boundaries)) != self.boundaries:
            message = f"boundaries: got {boundaries!r}, expected ascending steps"
            raise ValueError(message)

    def __call__(self, step: int) -> float:
        """Return the learning rate after `step` updates."""
        step = _checks.integer("step", step, 0)
        return self.values[bisect_left(self.boundaries, step)]


SCHEDULES: dict[str, type[Schedule]] = {
    schedule.__name__: schedule
    for schedule in (
        CosineDecay,
        ExponentialDecay,
        InverseTimeDecay,
        PiecewiseConstantDecay,
        PolynomialDecay,
    )
}
"""The schedules that files can name."""


def _initial(value: float) -> float:
    return _checks.real("initial_learning_rate", value)


def _listed(name: str, value: object) -> Sequence[float]:
    if not isinstance(value, list | tuple):
        message = f"{name}: got {value!r}, expected a list of numbers"
        raise TypeError(message)
    return value

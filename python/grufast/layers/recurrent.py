"""Recurrent layers: alone, in both directions, and on top of each other."""

from __future__ import annotations

import weakref
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, ClassVar, Literal, NamedTuple, Unpack

import numpy as np

from grufast import _checks, _core, initializers
from grufast._checks import Array, Shape
from grufast.layers.base import (
    ActivationName,
    Common,
    Context,
    FirstWeights,
    Initializer,
    Layer,
    Penalty,
    WeightedLayer,
    checked_activation,
    checked_initializer,
    checked_regularizer,
    context_of,
)
from grufast.regularizers import Regularizer

Memory = Literal["fast", "low"]
MergeMode = Literal["concat", "sum", "mul", "ave"] | None
Padding = Literal["zero", "repeat"]
Bias = Literal["double", "single"]
States = list[Array | None]


class Steps(NamedTuple):
    """Which steps a call runs, and where states are the first ones again."""

    lengths: Array | None = None
    mask: Array | None = None
    resets: Array | None = None


class Kept(NamedTuple):
    """What a run keeps between forward and backward."""

    x: Array
    prepared: Any
    workspace: _core.Workspace
    y: Array | None
    last: list[Array]
    dropped: Array | None
    learned: list[bool]
    carried: list[Array] | None


class Run:
    """Recurrent layers that follow each other, as one native call.

    Its methods trust their arguments. Lists of first states have an item for every
    state of every direction of every layer, lists of last states for those of the last
    layer.
    """

    def __init__(self, layers: Sequence[RecurrentLayer]) -> None:
        self.layers = layers
        first, last = layers[0], layers[-1]
        self._sequences = last.return_sequences
        self._repeat = last.padded_output == "repeat"
        self._keep: _core.Keep = "states" if last.memory == "low" else "gates"
        self._first = first
        self._outputs = last.state_count
        self._none: States = [None for a in layers for _ in range(a.state_count)]
        self._random = any(layer.draws for layer in layers)
        self._special = self._random or any(a.stateful or a.learns for a in layers)
        self._natives: list[list[_core.Recurrent]] = []
        # Of calls that are over, to be used again.
        self._workspaces: list[_core.Workspace] = []

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle as the layers."""
        return Run, (self.layers,)

    @staticmethod
    def joins(below: Layer, above: Layer) -> bool:
        """Return whether a run can hold both."""
        return (
            isinstance(below, RecurrentLayer)
            and isinstance(above, RecurrentLayer)
            and below.return_sequences
            and below.passes_on
            and above.takes_on
            and (below.dtype, below.memory) == (above.dtype, above.memory)
        )

    def _packed(self) -> _core.Stack:
        natives = [layer._packed() for layer in self.layers]
        if natives != self._natives:
            backwards = [layer.go_backwards for layer in self.layers]
            self._stack = _core.Stack(natives, backwards)
            self._natives = natives
        return self._stack

    def _workspace(self) -> _core.Workspace:
        try:
            return self._workspaces.pop()
        except IndexError:
            return _core.Workspace()

    def _run(
        self,
        x: Array,
        states: States | None,
        steps: Steps | None,
        keep: _core.Keep,
        rng: np.random.Generator | None,
        ahead: int | None = None,
        dropped: Array | None = None,
    ) -> tuple[Any, list[Array], _core.Workspace, list[Array] | None]:
        workspace = self._workspace()
        options: dict[str, Any] = {}
        if steps is not None:
            options = {**steps._asdict(), "repeat": self._repeat}
        if dropped is not None:
            options["input_mask"] = dropped
        if self._special:
            if self._returns(states, steps):
                options["reset_states"] = self._first._fresh_states(len(x))
            states = self._first_states(states, len(x))
            if self._random:
                options |= self._regularization(len(x), keep != "nothing", rng)
        y, last = self._packed().forward(
            x, states or self._none, self._sequences, workspace, keep, **options
        )
        carried: list[Array] | None = last
        if ahead is not None and ahead < x.shape[1]:
            carried = self._after(ahead, x, states, steps, options)
        if self._special and carried is not None:
            self._remember(carried)
        return y, last[-self._outputs :], workspace, carried

    def _returns(self, states: States | None, steps: Steps | None) -> bool:
        """Return whether resets go back to other states than those carried on."""
        resets = steps is not None and steps.resets is not None
        return resets and states is None and self._first._state is not None

    def _after(
        self,
        count: int,
        x: Array,
        states: States | None,
        steps: Steps | None,
        options: dict[str, Any],
    ) -> list[Array] | None:
        """Return the states after the first steps of a call; None after none."""
        # They run once more: native calls return last states only. What is random is
        # the same, as it goes by row and step.
        if not count:
            return None
        if steps is not None and steps.mask is not None:
            options = {**options, "mask": _plain(steps.mask[:, :count])}
        workspace = self._workspace()
        _, last = self._packed().forward(
            x[:, :count], states or self._none, False, workspace, "nothing", **options
        )
        self._workspaces.append(workspace)
        return last

    def _first_states(self, states: States | None, rows: int) -> States:
        """Return the states given, else those remembered or learned."""
        found = list(states or self._none)
        index = 0
        for layer in self.layers:
            for own in layer._own_states(rows):
                if found[index] is None:
                    found[index] = own
                index += 1
        return found

    def _remember(self, last: list[Array]) -> None:
        index = 0
        for layer in self.layers:
            if layer.stateful:
                layer._state = [a.copy() for a in last[index:][: layer.state_count]]
            index += layer.state_count

    def _regularization(
        self, rows: int, training: bool, rng: np.random.Generator | None
    ) -> dict[str, Any]:
        """Return dropout of states and zoneout, of every direction."""
        masks: list[Array | None] = []
        zones: list[tuple[list[float], bool, int] | None] = []
        for layer in self.layers:
            source = rng or layer._rng
            for _ in layer.suffixes:
                drop = training and layer.recurrent_dropout > 0
                rate = layer.recurrent_dropout
                masks.append(
                    layer._drop(source, rate, rows, layer.size) if drop else None
                )
                zone = None
                if any(layer.zones):
                    seed = int(source.integers(2**32)) if training else 0
                    zone = ([*layer.zones], training, seed)
                zones.append(zone)
        return {
            "recurrent_masks": masks if any(m is not None for m in masks) else None,
            "zones": zones if any(z is not None for z in zones) else None,
        }

    def infer(
        self, x: Array, states: States | None = None, steps: Steps | None = None
    ) -> tuple[Any, list[Array]]:
        """Return the last layer's states (or None) and last ones."""
        x, _ = self._first._prepare(x, steps, False)
        y, last, workspace, _ = self._run(x, states, steps, "nothing", None)
        self._workspaces.append(workspace)
        return y, last

    def train(
        self,
        x: Array,
        states: States | None = None,
        steps: Steps | None = None,
        rng: np.random.Generator | None = None,
        ahead: int | None = None,
    ) -> Kept:
        """Return the same, and what `gradients` needs.

        `ahead` is after how many steps (all without it) states are `carried`.
        """
        x, prepared = self._first._prepare(x, steps, True)
        dropped = None
        if self._first.dropout > 0:
            source = rng or self._first._rng
            rate = self._first.dropout
            dropped = self._first._drop(source, rate, len(x), x.shape[2])
        # Whether the first states' gradients are those of the learned ones.
        returns = self._returns(states, steps)
        learned = [
            returns or (states is None and layer._state is None)
            for layer in self.layers
        ]
        y, last, workspace, carried = self._run(
            x, states, steps, self._keep, rng, ahead, dropped
        )
        return Kept(x, prepared, workspace, y, last, dropped, learned, carried)

    def gradients(
        self, kept: Kept, dy: Array | None, dlast: States, need_dx: bool
    ) -> tuple[Any, list[dict[str, Array]], list[Array]]:
        """Return the gradients for x, each layer's weights and the first states."""
        dlast = [*self._none[self._outputs :], *dlast]
        need_dx = need_dx or self._first.prepares
        dx, arrays = self._packed().backward(
            kept.workspace, kept.x, dy, dlast, need_dx, kept.dropped
        )
        self._workspaces.append(kept.workspace)
        grads: list[dict[str, Array]] = []
        first: list[Array] = []
        rest = iter(arrays)
        for layer, learned in zip(self.layers, kept.learned, strict=True):
            mine: dict[str, Array] = {}
            count = len(first)
            for suffix in layer.suffixes:
                first += islice(rest, len(layer.states))
                # The names end first, so no array is lost.
                native = dict(zip(layer.cell._native_names, rest, strict=False))
                found = layer.cell._own_gradients(native)
                mine |= {n + suffix: a for n, a in found.items()}
            for name, a in layer._learned_gradients(first[count:]).items():
                mine[name] = a if learned else np.zeros_like(a)
            grads.append(mine)
        dx, more = self._first._prepared_gradients(dx, kept.prepared)
        grads[0] |= more
        pairs = zip(self.layers, grads, strict=True)
        return dx, [{n: g[n] for n in layer._weights} for layer, g in pairs], first

    def _infer(self, x: Array, mask: Array | None = None) -> Array:
        steps = None if mask is None else Steps(mask=_plain(mask))
        return self.layers[-1]._value(*self.infer(x, None, steps))

    def _train(
        self,
        x: Array,
        rng: np.random.Generator | None,
        mask: Array | None = None,
        states: States | None = None,
        ahead: int | None = None,
    ) -> tuple[Array, Kept]:
        steps = None if mask is None else Steps(mask=_plain(mask))
        kept = self.train(x, states, steps, rng, ahead)
        return self.layers[-1]._value(kept.y, kept.last), kept

    def _gradients(
        self, dy: Array, saved: Any, need_dx: bool
    ) -> tuple[Array | None, list[dict[str, Array]]]:
        dy_all, dlast = self.layers[-1]._value_gradients(dy, saved.y, saved.last)
        dx, grads, _ = self.gradients(saved, dy_all, dlast, need_dx)
        return dx, grads


class RecurrentLayer(WeightedLayer):
    """What recurrent layers have in common, in one direction or two."""

    dims = "N T C"

    cell: CellLayer
    """What runs in each direction: the layer itself, or that of a `Bidirectional`."""

    units: int
    return_sequences: bool
    return_state: bool
    go_backwards = False
    stateful: bool
    memory: Memory
    padded_output: Padding
    dropout: float
    recurrent_dropout: float

    states: tuple[str, ...] = ("h",)
    """The states of a direction; the first one is the output."""

    suffixes: tuple[str, ...] = ("",)
    """What follows the names of the weights of each direction."""

    passes_on = True
    """Whether the native output is the layer's, so that a layer above can join."""

    prepares = False
    """Whether the native input is another one than the layer's."""

    def __init__(
        self,
        dtype: object,
        initializer: object,
        seed: object,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(dtype, initializer, seed, **common)
        # No circle of references: the workspaces go when the layer goes.
        own: Any = weakref.proxy(self)
        self._run = Run([own])
        self._state: list[Array] | None = None
        seeds = np.random.SeedSequence(self.seed, spawn_key=(_DROPOUT,))
        self._rng = np.random.Generator(np.random.Philox(seeds))

    @property
    @abstractmethod
    def output_size(self) -> int:
        """Last dimension of the output."""

    @property
    def size(self) -> int:
        """Units of the native layer of a direction."""
        return self.units

    @property
    def state_count(self) -> int:
        """Number of states of all directions."""
        return len(self.states) * len(self.suffixes)

    @property
    def zones(self) -> tuple[float, ...]:
        """Zoneout's rate of each state."""
        return self.cell.zones

    @property
    def learns(self) -> bool:
        """Whether the first states are weights."""
        return self.cell.learn_initial_state

    @property
    def draws(self) -> bool:
        """Whether training draws random numbers in every step."""
        return self.recurrent_dropout > 0 or any(self.zones)

    @property
    def more_outputs(self) -> str | None:
        """What a call gives that a model cannot pass on, if anything."""
        return "a return_state" if self.return_state else None

    @property
    def takes_on(self) -> bool:
        """Whether the layer takes a native output as it is."""
        return not (self.prepares or self.dropout > 0)

    @property
    def supports_masking(self) -> bool:  # type: ignore[override]
        """Whether the output has the steps of the input."""
        return self.return_sequences

    @property
    def stepwise(self) -> bool:  # type: ignore[override]
        """Whether a sequence can come in pieces, if states are carried on."""
        forward = not self.go_backwards and len(self.suffixes) == 1
        return self.return_sequences and forward and not self.prepares

    def compute_mask(self, x: Array, mask: Array | None = None) -> Array | None:
        """Return the mask of the output, given an input and its mask."""
        if mask is None or not self.return_sequences:
            return None
        return mask[:, ::-1] if self.go_backwards else mask

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return (N, T, output size) or (N, output size) for an input (N, T, C)."""
        self._check_shape(input_shape)
        rows, steps, _ = input_shape
        size = self.output_size
        return (rows, steps, size) if self.return_sequences else (rows, size)

    def reset_states(self, states: Any = None) -> None:
        """Forget the states that ``stateful=True`` carries from call to call.

        Parameters
        ----------
        states : ndarray or tuple of ndarray, optional
            What the next call goes on from in their place; shaped like its
            `initial_state`, and copied. Resets of that call go back to the first
            state, not to these.
        """
        if states is None:
            self._state = None
            return
        if not self.stateful:
            message = "states: expected None, as the layer is not stateful"
            raise ValueError(message)
        some = states[0] if isinstance(states, tuple | list) and states else states
        rows = some.shape[-2] if isinstance(some, np.ndarray) and some.ndim > 1 else 0
        checked = self._checked_state(states, rows, "states")
        assert checked is not None
        self._state = [a.copy() for a in checked if a is not None]

    def __call__(
        self,
        x: Array,
        initial_state: Any = None,
        *,
        lengths: Array | Sequence[int] | None = None,
        mask: Array | None = None,
        resets: Array | None = None,
    ) -> Any:
        """Return the output for sequences; keeps nothing, safe from many threads.

        Parameters
        ----------
        x : ndarray (N, T, C)
            N sequences of T steps.
        initial_state : ndarray (N, H), optional
            State before the first step; zero without it. (2, N, H) where there are two
            directions; of an `LSTM` the tuple (h, c) of such arrays.
        lengths : sequence of N int, optional
            Steps of each sequence, from 0 to T: those behind are padding. They cost
            nothing, their outputs are as `padded_output` says, and the last state is
            that of the last step that is not padding.
        mask : ndarray of bool (N, T), optional
            The same for any pattern: False where a step is padding.
        resets : ndarray of bool (N, T), optional
            Where the state is the initial one again before the step: `initial_state`,
            else zero or the learned one, also where ``stateful=True`` carries another
            one on. Not for layers in both directions.

        Returns
        -------
        y : ndarray (N, T, H) or (N, H)
            All states or the last one, merged where there are two directions; with
            ``return_state=True`` the tuple (y, h_n), h_n shaped like `initial_state`,
            of an `LSTM` (y, h_n, c_n).
        """
        x = self._checked_input(x)
        steps = self._checked_steps(x, lengths, mask, resets)
        y, last = self._run.infer(x, self._checked_state(initial_state, len(x)), steps)
        return self._output(y, last)

    def forward(
        self,
        x: Array,
        initial_state: Any = None,
        *,
        lengths: Array | Sequence[int] | None = None,
        mask: Array | None = None,
        resets: Array | None = None,
    ) -> tuple[Any, Context]:
        """Return what a call returns, as in training, and the context for `backward`.

        The context refers to `x`: do not change that array before `backward`.
        """
        x = self._checked_input(x)
        steps = self._checked_steps(x, lengths, mask, resets)
        states = self._checked_state(initial_state, len(x))
        kept = self._run.train(x, states, steps)
        return self._output(kept.y, kept.last), Context(
            self, (kept, x.shape, states is not None)
        )

    def backward(self, dy: Any, context: Context) -> tuple[Array, dict[str, Any]]:
        """Return the gradients for x and for the weights, given the output's.

        Parameters
        ----------
        dy : ndarray, shaped like the output
            Gradient of the loss for the output of `forward`. With
            ``return_state=True`` a tuple like the output, of which any may be None.
        context : Context
            From `forward`; good for one call.

        Returns
        -------
        dx : ndarray (N, T, C)
            Gradient of the loss for x.
        grads : dict of str to ndarray
            Gradients for `weights`, under the same names, and ``"initial_state"`` if
            `forward` was given one.
        """
        kept, shape, has_state = context_of(self, context)
        dy, dstates = self._checked_gradients(dy, shape)
        context._saved = None
        dlast: States = [None] * len(kept.last)
        dy_all = None
        if dy is not None:
            dy_all, dlast = self._value_gradients(dy, kept.y, kept.last)
        for index, given in enumerate(dstates):
            if given is None:
                continue
            for d, own in enumerate(self._directions_of(given)):
                at = d * len(self.states) + index
                before = dlast[at]
                dlast[at] = own if before is None else before + own
        dx, grads, first = self._run.gradients(kept, dy_all, dlast, True)
        result: dict[str, Any] = grads[0]
        if has_state:
            states = tuple(self._states_of(first))
            result["initial_state"] = states if len(states) > 1 else states[0]
        return dx, result

    def _pack(self) -> None:
        for native, suffix in zip(self._native, self.suffixes, strict=True):
            own = {n: self._weights[f"{n}{suffix}"] for n in self.cell._names}
            native.pack(*self.cell._native_weights(own))

    def _make_native(self, input_size: int) -> list[_core.Recurrent]:
        return [self.cell._make_cell(input_size) for _ in self.suffixes]

    def _infer(self, x: Array, mask: Array | None = None) -> Array:
        return self._run._infer(x, mask)

    def _train(
        self, x: Array, rng: np.random.Generator | None, mask: Array | None = None
    ) -> tuple[Array, Any]:
        return self._run._train(x, rng, mask)

    def _gradients(
        self, dy: Array, saved: Any, need_dx: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        dx, grads = self._run._gradients(dy, saved, need_dx)
        return dx, grads[0]

    def _prepare(self, x: Array, steps: Steps | None, keep: bool) -> tuple[Array, Any]:
        """Return the native input and, to `keep`, what `_prepared_gradients` needs."""
        return x, None

    def _prepared_gradients(
        self, dx: Array | None, prepared: Any
    ) -> tuple[Array | None, dict[str, Array]]:
        """Return the gradients for x, in the place of `dx`, and for weights."""
        return dx, {}

    def _drop(
        self, rng: np.random.Generator, rate: float, rows: int, size: int
    ) -> Array:
        """Return 0 or 1 / (1 - rate) for each unit of each row."""
        scale = np.dtype(self.dtype).type(1 / (1 - rate))
        kept = rng.random((rows, size), np.float32) >= rate
        return np.multiply(kept, scale, dtype=self.dtype)

    def _own_states(self, rows: int) -> States:
        """Return the first states of a call that is given none."""
        if self._state is not None:
            if len(self._state[0]) != rows:
                message = (
                    f"x: got {rows} sequences, but the states carried on belong to "
                    f"{len(self._state[0])}; call reset_states() first"
                )
                raise ValueError(message)
            return [*self._state]
        return self._fresh_states(rows)

    def _fresh_states(self, rows: int) -> States:
        """Return the first states of sequences that no state is carried to."""
        if self.learns:
            return [
                np.tile(self._weights[f"initial_{name}{suffix}"], (rows, 1))
                for suffix in self.suffixes
                for name in self.states
            ]
        return [None] * self.state_count

    def _learned_gradients(self, first: list[Array]) -> dict[str, Array]:
        if not self.learns:
            return {}
        names = [f"initial_{n}{s}" for s in self.suffixes for n in self.states]
        return {n: a.sum(axis=0) for n, a in zip(names, first, strict=True)}

    def _value(self, y: Array | None, last: list[Array]) -> Array:
        """Return the layer's output, given the native one."""
        return last[0] if y is None else y

    def _value_gradients(
        self, dy: Array, y: Array | None, last: list[Array]
    ) -> tuple[Array | None, States]:
        """Return the gradients for what `_value` was given."""
        rest: States = [None] * (len(last) - 1)
        return (None, [dy, *rest]) if y is None else (dy, [None, *rest])

    def _states_of(self, states: list[Array]) -> list[Array]:
        """Return states as callers see them; `_directions_of` is the inverse of one."""
        return states

    def _directions_of(self, states: Array) -> list[Array]:
        return [states]

    def _output(self, y: Array | None, last: list[Array]) -> Any:
        value = self._value(y, last)
        if not self.return_state:
            return value
        states = self._states_of(last)
        return (value.copy() if value is states[0] else value), *states

    def _checked_steps(
        self, x: Array, lengths: Any, mask: object, resets: object
    ) -> Steps | None:
        if lengths is None and mask is None and resets is None:
            return None
        rows, steps, _ = x.shape
        if lengths is not None:
            if mask is not None:
                message = "lengths: expected None beside a mask"
                raise ValueError(message)
            lengths = _checked_lengths(lengths, rows, steps)
        flags = _checks.mask(resets, x.shape, "resets")
        if flags is not None and len(self.suffixes) > 1:
            message = "resets: a layer in both directions takes none"
            raise ValueError(message)
        found = _checks.mask(mask, x.shape)
        return Steps(
            lengths,
            None if found is None else _plain(found),
            None if flags is None else _plain(flags),
        )

    def _checked_states(self, name: str, value: object, rows: int) -> Array:
        dims = "N H" if len(self.suffixes) == 1 else "2 N H"
        sizes = {"N": rows, "H": self.cell.state_size}
        return _checks.contiguous(name, value, self.dtype, dims, **sizes)

    def _checked_state(
        self, state: Any, rows: int, name: str = "initial_state"
    ) -> States | None:
        if state is None:
            return None
        parts = [state]
        if len(self.states) > 1:
            if not (isinstance(state, tuple | list) and len(state) == len(self.states)):
                got = type(state).__name__
                if isinstance(state, tuple | list):
                    got += f" of {len(state)}"
                message = (
                    f"{name}: got {got}, expected the tuple ({', '.join(self.states)})"
                )
                raise TypeError(message)
            parts = [*state]
        by_state = [
            self._directions_of(self._checked_states(name, part, rows))
            for part in parts
        ]
        return [own for direction in zip(*by_state, strict=True) for own in direction]

    def _checked_gradients(
        self, dy: Any, shape: tuple[int, ...]
    ) -> tuple[Array | None, States]:
        """Return the gradients for the output and for the last states."""
        dstates: States = []
        if self.return_state:
            names = [f"d{name}_n" for name in self.states]
            if not (isinstance(dy, tuple) and len(dy) == len(names) + 1):
                message = (
                    f"dy: expected the tuple (dy, {', '.join(names)}), as return_state "
                    "is True"
                )
                raise TypeError(message)
            dy, *given = dy
            dstates = [
                None if d is None else self._checked_states(name, d, shape[0])
                for name, d in zip(names, given, strict=True)
            ]
            if dy is None:
                return None, dstates
        return self._checked_gradient("dy", dy, shape), dstates

    def _checked_gradient(self, name: str, dy: Any, shape: tuple[int, ...]) -> Any:
        sizes = {"N": shape[0], "T": shape[1], "H": self.output_size}
        dims = "N T H" if self.return_sequences else "N H"
        return _checks.contiguous(name, dy, self.dtype, dims, **sizes)


class Options(Common, total=False):
    """What all layers of one direction can be given; see `CellLayer`."""

    return_sequences: bool
    return_state: bool
    go_backwards: bool
    stateful: bool
    padded_output: Padding
    dropout: float
    recurrent_dropout: float
    zoneout: float | Sequence[float]
    learn_initial_state: bool
    use_bias: bool
    bias: Bias
    memory: Memory
    dtype: str
    initializer: Initializer
    kernel_initializer: FirstWeights | None
    recurrent_initializer: FirstWeights | None
    bias_initializer: FirstWeights | None
    kernel_regularizer: Penalty
    recurrent_regularizer: Penalty
    bias_regularizer: Penalty
    seed: int | None


DEFAULTS: Options = {
    "return_sequences": False,
    "return_state": False,
    "go_backwards": False,
    "stateful": False,
    "padded_output": "zero",
    "dropout": 0.0,
    "recurrent_dropout": 0.0,
    "zoneout": 0.0,
    "learn_initial_state": False,
    "use_bias": True,
    "bias": "double",
    "memory": "fast",
    "dtype": "float32",
    "initializer": "keras",
    "kernel_initializer": None,
    "recurrent_initializer": None,
    "bias_initializer": None,
    "kernel_regularizer": None,
    "recurrent_regularizer": None,
    "bias_regularizer": None,
    "seed": None,
    "name": None,
}


class CellLayer(RecurrentLayer):
    """A recurrent layer of one direction, of any cell.

    Parameters
    ----------
    units : int
        Size H of the state.
    activation, recurrent_activation : str
        Of the candidate (or state) and of the gates: names of
        `grufast.layers.Activation`.
    return_sequences : bool
        Whether the output has the state after every step, (N, T, H), or only the last
        one, (N, H).
    return_state : bool
        Whether the last states come beside the output: ``(y, h_n)``.
    go_backwards : bool
        Whether the steps are taken from the last to the first. As in Keras the outputs
        come in the order of computation.
    stateful : bool
        Whether a call begins with the last states of the call before, until
        `reset_states`; calls then have the same number of rows, and one thread.
    padded_output : {"zero", "repeat"}
        Outputs at steps that `mask` or `lengths` leave out: zeros, or the last output
        again.
    dropout, recurrent_dropout : float
        Parts of the input and of the state that training drops on their way into
        products, the same ones in all steps of a sequence (Gal and Ghahramani 2016,
        arXiv 1512.05287).
    zoneout : float or one for each state
        Part of the units that keep their state in a step of training; at inference all
        keep that part of it (Krueger et al. 2017, arXiv 1606.01305).
    learn_initial_state : bool
        Whether the state before the first step is a weight, ``initial_h`` (H,).
    use_bias : bool
        Whether the gates have biases.
    bias : {"double", "single"}
        Whether there is a bias for each product, as in PyTorch, or one for both.
    memory : {"fast", "low"}
        What `forward` keeps for `backward`: all gates, or only the states, from which
        `backward` computes the gates again. That takes about a quarter of the memory
        and 1.4 times the time; the results have the same bits.
    dtype : {"float32", "float64"}
        Of input, output and weights.
    initializer : {"keras", "torch"}
        First weights nearly as Keras makes them (Glorot-uniform ``weight_ih``,
        orthogonal ``weight_hh`` for each gate, zero biases) or as PyTorch does (all
        uniform within 1 / sqrt(H)).
    kernel_initializer, recurrent_initializer, bias_initializer : str, optional
        Other first weights, by name or as objects of `grufast.initializers`.
    kernel_regularizer, recurrent_regularizer, bias_regularizer : str, optional
        Penalties on weights; see `grufast.regularizers`.
    seed : int, optional
        Of the first weights, and of dropout outside a model: same seed, same bits.
    name, input_shape : optional
        See `Layer`.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit or is unknown.

    Examples
    --------
    Every recurrent layer but `Bidirectional` is one:

    >>> import grufast as gf
    >>> import numpy as np
    >>> layer = gf.layers.MGU(8, return_sequences=True, seed=0)
    >>> isinstance(layer, gf.layers.CellLayer)
    True
    >>> layer(np.ones((4, 10, 3), np.float32), lengths=[10, 7, 1, 3]).shape
    (4, 10, 8)
    """

    roles: ClassVar[Mapping[str, str]] = {
        "weight_ih": "kernel",
        "weight_hh": "recurrent",
        "bias_ih": "bias",
        "bias_hh": "bias",
    }

    def __init__(
        self,
        units: int,
        activation: ActivationName,
        recurrent_activation: ActivationName,
        options: Mapping[str, Any],
    ) -> None:
        if unknown := sorted(options.keys() - DEFAULTS.keys() - {"input_shape"}):
            message = f"{type(self).__name__}: unknown arguments {unknown}"
            raise TypeError(message)
        o: dict[str, Any] = {**DEFAULTS, **options}
        self.units = _checks.integer("units", units, 1)
        self.activation = checked_activation("activation", activation)
        self.recurrent_activation = checked_activation(
            "recurrent_activation", recurrent_activation
        )
        flags = ("return_sequences", "return_state", "go_backwards", "stateful")
        for name in (*flags, "learn_initial_state", "use_bias"):
            setattr(self, name, _checks.flag(name, o[name]))
        self.padded_output = _checks.choice(
            "padded_output", o["padded_output"], ("zero", "repeat")
        )
        self.dropout = _checks.real("dropout", o["dropout"], 0, 1)
        self.recurrent_dropout = _checks.real(
            "recurrent_dropout", o["recurrent_dropout"], 0, 1
        )
        self.zoneout = o["zoneout"]
        self._zones = self._checked_zones(o["zoneout"])
        self.bias = _checks.choice("bias", o["bias"], ("double", "single"))
        self.memory = _checks.choice("memory", o["memory"], ("fast", "low"))
        for role in ("kernel", "recurrent", "bias"):
            name = f"{role}_initializer"
            setattr(self, name, checked_initializer(name, o[name]))
            name = f"{role}_regularizer"
            setattr(self, name, checked_regularizer(name, o[name]))
        common: Common = {"name": o["name"], "input_shape": o.get("input_shape")}
        super().__init__(o["dtype"], o["initializer"], o["seed"], **common)

    learn_initial_state: bool
    use_bias: bool
    layer_norm = False
    kernel_initializer: FirstWeights | None
    recurrent_initializer: FirstWeights | None
    bias_initializer: FirstWeights | None

    @classmethod
    def _parameters(cls) -> dict[str, Any]:
        own = super()._parameters()
        own.pop("options", None)
        return own | dict(DEFAULTS)

    @property
    def cell(self) -> CellLayer:  # type: ignore[override]
        """What runs in each direction: the layer itself."""
        return self

    @property
    def zones(self) -> tuple[float, ...]:
        """Zoneout's rate of each state."""
        return self._zones

    @property
    def output_size(self) -> int:
        """Last dimension of the output."""
        return self.units

    @property
    def state_size(self) -> int:
        """Last dimension of a state."""
        return self.units

    @property
    def passes_on(self) -> bool:  # type: ignore[override]
        """Whether the native output is the layer's."""
        return not self.go_backwards

    def stream(self) -> Stream:
        """Return a stream that runs the layer one step a call.

        It begins with the zero state, or the learned one. A layer with zoneout, which
        at inference keeps a part of each state, has none.
        """
        if self.prepares or self.units != self.output_size or self.go_backwards:
            message = f"{type(self).__name__}: cannot run as a stream"
            raise ValueError(message)
        if any(self.zones):
            message = (
                f"{type(self).__name__}: cannot run as a stream with "
                f"zoneout={self.zoneout!r}, expected 0"
            )
            raise ValueError(message)
        native = self._make_cell(self._built_size())
        native.pack(*self._native_weights(self._weights))
        first = None
        if self.learns:
            states = [self._weights[f"initial_{name}"] for name in self.states]
            first = np.stack(states) if len(states) > 1 else states[0].copy()
        return Stream(native.stream(), self.units, len(self.states), self.dtype, first)

    @property
    def gates(self) -> int:
        """Row blocks of the weights."""
        return 1

    @property
    @abstractmethod
    def _cell_name(self) -> str: ...

    @property
    def _chosen(self) -> bool:
        """Whether the cell needs its general form."""
        usual = (self.activation, self.recurrent_activation) == ("tanh", "sigmoid")
        return not usual or self.draws

    @cached_property
    def _names(self) -> list[str]:
        """The weights' names, without first states."""
        return [n for n in self.weight_shapes(1) if not n.startswith("initial_")]

    @cached_property
    def _native_names(self) -> tuple[str, ...]:
        more = ("parameters",) if self.layer_norm else ()
        return ("weight_ih", "weight_hh", "bias_ih", "bias_hh", *more)

    def weight_shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights by name."""
        shapes = self._shapes(input_size)
        if self.bias == "single" or not self.use_bias:
            shapes.pop("bias_hh", None)
        if not self.use_bias:
            del shapes["bias_ih"]
        if self.learn_initial_state:
            shapes |= {f"initial_{name}": (self.state_size,) for name in self.states}
        return shapes

    def _shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        rows = self.gates * self.units
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, input_size),
            "weight_hh": (rows, self.units),
            "bias_ih": (rows,),
            "bias_hh": (rows,),
        }
        if self.layer_norm:
            shapes |= {"gain_ih": (rows,), "gain_hh": (rows,)}
        return shapes

    def _initial_weights(
        self, input_size: int, rng: np.random.Generator
    ) -> dict[str, Array]:
        weights = {}
        for name, shape in self.weight_shapes(input_size).items():
            if name not in self.roles:
                value = 1.0 if name.startswith("gain_") else 0.0
                weights[name] = np.full(shape, value)
            else:
                weights[name] = self._first_weight(name, shape, rng)
        return weights

    def _first_weight(
        self, name: str, shape: tuple[int, ...], rng: np.random.Generator
    ) -> Array:
        if self.roles.get(name) != "recurrent":
            return self._initial(name, shape, rng, self.units)
        # Gate by gate: Keras makes the columns of all gates orthonormal together; on
        # the five layers of `grufast demo` that ended with a 3 % larger error.
        gate = (shape[0] // self.gates, shape[1])
        parts = [self._initial(name, gate, rng, self.units) for _ in range(self.gates)]
        return np.concatenate(parts)

    def _make_cell(self, input_size: int) -> _core.Recurrent:
        name: Any = self._cell_name
        return _core.Recurrent(
            name,
            input_size,
            self.size,
            self.dtype,
            self.activation,
            self.recurrent_activation,
        )

    def _native_weights(self, w: Mapping[str, Array]) -> list[Array]:
        """Return the weights as the native cell takes them."""
        none = np.zeros(self.gates * self.units, self.dtype)
        biases = [w.get("bias_ih", none), w.get("bias_hh", none)]
        if self.layer_norm:
            behind = np.concatenate([w["gain_ih"], w["gain_hh"], *biases])
            return [w["weight_ih"], w["weight_hh"], none, none, behind]
        return [w["weight_ih"], w["weight_hh"], *biases]

    def _own_gradients(self, native: dict[str, Array]) -> dict[str, Array]:
        """Return the gradients of the weights, given the native ones."""
        if not self.layer_norm:
            return native
        names = ("gain_ih", "gain_hh", "bias_ih", "bias_hh")
        parts = np.split(native["parameters"], 4)
        return native | dict(zip(names, parts, strict=True))

    def _check_normalized(self) -> None:
        usual = (self.activation, self.recurrent_activation) == ("tanh", "sigmoid")
        if self.layer_norm and not usual:
            message = "layer_norm: expected False with other activations than the usual"
            raise ValueError(message)

    def _checked_zones(self, given: Any) -> tuple[float, ...]:
        if isinstance(given, Sequence):
            if len(given) != len(self.states):
                message = (
                    f"zoneout: got {given!r}, expected a number or one for each of "
                    f"{self.states}"
                )
                raise ValueError(message)
            return tuple(_checks.real("zoneout", rate, 0, 1) for rate in given)
        return (_checks.real("zoneout", given, 0, 1),) * len(self.states)

    def _value(self, y: Array | None, last: list[Array]) -> Array:
        value = super()._value(y, last)
        return value[:, ::-1] if self.go_backwards and y is not None else value

    def _value_gradients(
        self, dy: Array, y: Array | None, last: list[Array]
    ) -> tuple[Array | None, States]:
        if self.go_backwards and y is not None:
            dy = dy[:, ::-1]
        return super()._value_gradients(dy, y, last)


class SimpleRNN(CellLayer):
    """The simple recurrent network of Elman 1990.

    ::

        h = activation(W x + b_ih + U h + b_hh)

    Parameters
    ----------
    units : int
        Size H of the state.
    activation : str
        "tanh", "relu" or any other; see `grufast.layers.Activation`.
    **options
        See `grufast.layers.GRU`, which has the same ones.

    Attributes
    ----------
    weights : dict of str to ndarray
        ``weight_ih`` (H, C), ``weight_hh`` (H, H), ``bias_ih`` (H,), ``bias_hh``
        (H,): those of `torch.nn.RNN`. Read-only.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> layer = gf.layers.SimpleRNN(8, activation="relu", seed=0)
    >>> layer(np.ones((4, 10, 3), np.float32)).shape
    (4, 8)
    """

    def __init__(
        self,
        units: int,
        activation: ActivationName = "tanh",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(units, activation, "sigmoid", options)

    @property
    def _cell_name(self) -> str:
        return "simple_rnn"


class GRU(CellLayer):
    """A gated recurrent unit over sequences.

    With gates r, z, n and the state h::

        r = sigmoid(W_r x + b_ir + U_r h + b_hr)
        z = sigmoid(W_z x + b_iz + U_z h + b_hz)
        n = tanh(W_n x + b_in + r * (U_n h + b_hn))      # reset_after=True
        n = tanh(W_n x + b_in + U_n (r * h) + b_hn)      # reset_after=False
        h = (1 - z) * n + z * h

    Parameters
    ----------
    units : int
        Size H of the state.
    activation, recurrent_activation : str
        In place of tanh and sigmoid; see `grufast.layers.Activation`.
    reset_after : bool
        Whether the reset gate acts after the recurrent product (as in PyTorch, cuDNN
        and Keras) or before it (Cho et al. 2014, arXiv 1406.1078).
    layer_norm : bool
        Whether W x and U h are each normalised over all gates' units of a row, with
        weights ``gain_ih`` and ``gain_hh`` (3H,) and the biases behind them (Ba et al.
        2016, arXiv 1607.06450). Of the usual form with reset_after only.
    **options
        What all recurrent layers take; see `grufast.layers.CellLayer`.

    Attributes
    ----------
    weights : dict of str to ndarray
        ``weight_ih`` (3H, C), ``weight_hh`` (3H, H), ``bias_ih`` (3H,), ``bias_hh``
        (3H,), rows in the order r, z, n: those of `torch.nn.GRU`. Read-only.

    Raises
    ------
    TypeError
        If an array is not an ndarray of `dtype`.
    ValueError
        If a shape does not fit; the message says which one would.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> layer = gf.layers.GRU(8, return_sequences=True, seed=0)
    >>> x = np.ones((4, 10, 3), np.float32)
    >>> y, context = layer.forward(x, lengths=[10, 3, 7, 0])
    >>> y.shape, float(abs(y[1, 3:]).max())
    ((4, 10, 8), 0.0)
    >>> dx, grads = layer.backward(np.ones_like(y), context)
    >>> dx.shape, grads["weight_hh"].shape
    ((4, 10, 3), (24, 8))
    """

    def __init__(
        self,
        units: int,
        activation: ActivationName = "tanh",
        recurrent_activation: ActivationName = "sigmoid",
        *,
        reset_after: bool = True,
        layer_norm: bool = False,
        **options: Unpack[Options],
    ) -> None:
        self.reset_after = _checks.flag("reset_after", reset_after)
        self.layer_norm = _checks.flag("layer_norm", layer_norm)
        super().__init__(units, activation, recurrent_activation, options)
        if self.bias == "single" and self.reset_after:
            message = "bias: reset_after=True needs both, got 'single'"
            raise ValueError(message)
        if self.layer_norm and not self.reset_after:
            message = "layer_norm: expected False with reset_after=False"
            raise ValueError(message)
        self._check_normalized()

    @property
    def gates(self) -> int:
        """Row blocks of the weights: r, z, n."""
        return 3

    @property
    def _cell_name(self) -> str:
        if self.layer_norm:
            return "gru_normalized"
        name = "gru" if self.reset_after else "gru_reset_before"
        return name + "_chosen" * self._chosen


class LSTM(CellLayer):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

    With gates i, f, o, the candidate g, and the states h and c::

        i = sigmoid(W_i x + b_ii + U_i h + b_hi)       # f, o likewise
        g = tanh(W_g x + b_ig + U_g h + b_hg)
        c = f * c + i * g
        h = o * tanh(c)

    Parameters
    ----------
    units : int
        Size H of each state.
    activation, recurrent_activation : str
        In place of tanh and sigmoid; see `grufast.layers.Activation`.
    peephole : bool
        Whether the gates also see c: i and f the one before the step, o the one behind
        it, through ``weight_peephole`` (3H,), order i, f, o (Gers and Schmidhuber
        2000).
    layer_norm : bool
        As in `grufast.layers.GRU`, over all four gates' units; what peepholes see is
        added behind it.
    unit_forget_bias : bool
        Whether the first bias of the forget gate is one higher (Jozefowicz et al.
        2015); with ``initializer="keras"`` and no `bias_initializer` only.
    **options
        What all recurrent layers take; see `grufast.layers.CellLayer`. The states are
        (h, c), so ``return_state=True`` returns ``(y, h_n, c_n)``.

    Attributes
    ----------
    weights : dict of str to ndarray
        ``weight_ih`` (4H, C), ``weight_hh`` (4H, H), ``bias_ih`` (4H,), ``bias_hh``
        (4H,), rows in the order i, f, g, o: those of `torch.nn.LSTM`. Read-only.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> layer = gf.layers.LSTM(8, return_sequences=True, return_state=True, seed=0)
    >>> y, h, c = layer(np.ones((4, 10, 3), np.float32))
    >>> y.shape, bool((y[:, -1] == h).all()), c.shape
    ((4, 10, 8), True, (4, 8))
    """

    states = ("h", "c")

    def __init__(
        self,
        units: int,
        activation: ActivationName = "tanh",
        recurrent_activation: ActivationName = "sigmoid",
        *,
        peephole: bool = False,
        layer_norm: bool = False,
        unit_forget_bias: bool = True,
        **options: Unpack[Options],
    ) -> None:
        self.peephole = _checks.flag("peephole", peephole)
        self.layer_norm = _checks.flag("layer_norm", layer_norm)
        self.unit_forget_bias = _checks.flag("unit_forget_bias", unit_forget_bias)
        super().__init__(units, activation, recurrent_activation, options)
        self._check_normalized()

    @property
    def gates(self) -> int:
        """Row blocks of the weights: i, f, g, o."""
        return 4

    @property
    def _cell_name(self) -> str:
        if self.layer_norm:
            return "lstm_peephole_normalized" if self.peephole else "lstm_normalized"
        if self.peephole:
            return "lstm_peephole"
        return "lstm_chosen" if self._chosen else "lstm"

    def _shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        shapes = super()._shapes(input_size)
        return shapes | (
            {"weight_peephole": (3 * self.units,)} if self.peephole else {}
        )

    def _first_weight(
        self, name: str, shape: tuple[int, ...], rng: np.random.Generator
    ) -> Array:
        weight = super()._first_weight(name, shape, rng)
        usual = self.initializer == "keras" and not self.bias_initializer
        if name == "bias_ih" and self.unit_forget_bias and usual:
            weight[self.units : 2 * self.units] += 1
        return weight

    @cached_property
    def _native_names(self) -> tuple[str, ...]:
        more = ("weight_peephole",) if self.peephole and not self.layer_norm else ()
        return (*super()._native_names, *more)

    def _native_weights(self, w: Mapping[str, Array]) -> list[Array]:
        native = super()._native_weights(w)
        if not self.peephole:
            return native
        own = w["weight_peephole"]
        if not self.layer_norm:
            return [*native, own]
        return [*native[:-1], np.concatenate([native[-1], own])]

    def _own_gradients(self, native: dict[str, Array]) -> dict[str, Array]:
        if not (self.peephole and self.layer_norm):
            return super()._own_gradients(native)
        behind, own = np.split(native["parameters"], [-3 * self.units])
        found = super()._own_gradients(native | {"parameters": behind})
        return found | {"weight_peephole": own}


class MGU(CellLayer):
    """The minimal gated unit (Zhou et al. 2016, arXiv 1603.09420).

    With one gate f, the candidate n and the state h::

        f = sigmoid(W_f x + b_if + U_f h + b_hf)
        n = tanh(W_n x + b_in + U_n (f * h) + b_hn)
        h = (1 - f) * h + f * n

    Parameters
    ----------
    units : int
        Size H of the state.
    activation, recurrent_activation : str
        In place of tanh and sigmoid; see `grufast.layers.Activation`.
    **options
        What all recurrent layers take; see `grufast.layers.CellLayer`.

    Attributes
    ----------
    weights : dict of str to ndarray
        ``weight_ih`` (2H, C), ``weight_hh`` (2H, H), ``bias_ih`` (2H,), ``bias_hh``
        (2H,), rows in the order f, n. Read-only.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.layers.MGU(8, seed=0)(np.ones((4, 10, 3), np.float32)).shape
    (4, 8)
    """

    def __init__(
        self,
        units: int,
        activation: ActivationName = "tanh",
        recurrent_activation: ActivationName = "sigmoid",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(units, activation, recurrent_activation, options)

    @property
    def gates(self) -> int:
        """Row blocks of the weights: f, n."""
        return 2

    @property
    def _cell_name(self) -> str:
        return "mgu"


class JordanRNN(CellLayer):
    """The recurrent network of Jordan 1986, which feeds its output back.

    With the hidden units h and the output y, which is the state::

        h = activation(W x + b_ih + U y)
        y = output_activation(V h + b_ho)

    Parameters
    ----------
    units : int
        Number H of the hidden units.
    outputs : int, optional
        Size O of the output; `units` without it.
    activation, output_activation : str
        See `grufast.layers.Activation`.
    **options
        What all recurrent layers take; see `grufast.layers.CellLayer`. There is but one
        bias for the hidden units.

    Attributes
    ----------
    weights : dict of str to ndarray
        ``weight_ih`` (H, C), ``weight_hh`` (H, O), ``bias_ih`` (H,), ``weight_ho``
        (O, H), ``bias_ho`` (O,). Read-only.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gf.layers.JordanRNN(8, 2, seed=0)(np.ones((4, 10, 3), np.float32)).shape
    (4, 2)
    """

    roles: ClassVar[Mapping[str, str]] = {
        "weight_ih": "kernel",
        "weight_hh": "recurrent",
        "bias_ih": "bias",
        "weight_ho": "kernel",
        "bias_ho": "bias",
    }

    def __init__(
        self,
        units: int,
        outputs: int | None = None,
        *,
        activation: ActivationName = "tanh",
        output_activation: ActivationName = "linear",
        **options: Unpack[Options],
    ) -> None:
        self.outputs = (
            None if outputs is None else _checks.integer("outputs", outputs, 1)
        )
        self.output_activation = checked_activation(
            "output_activation", output_activation
        )
        super().__init__(units, activation, output_activation, options)
        if self.bias == "single" or not self.use_bias:
            got = "'single'" if self.use_bias else "use_bias=False"
            message = f"bias: a JordanRNN has one for each product, got {got}"
            raise ValueError(message)

    @property
    def output_size(self) -> int:
        """Last dimension of the output."""
        return self.outputs or self.units

    @property
    def state_size(self) -> int:
        """Last dimension of a state."""
        return self.output_size

    @property
    def size(self) -> int:
        """Units of the native layer, whose two layers are equally large."""
        return max(self.units, self.output_size)

    @property
    def passes_on(self) -> bool:  # type: ignore[override]
        """Whether the native output is the layer's."""
        return not self.go_backwards and self.size == self.output_size

    @property
    def _cell_name(self) -> str:
        return "jordan"

    def _shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        return {
            "weight_ih": (self.units, input_size),
            "weight_hh": (self.units, self.output_size),
            "bias_ih": (self.units,),
            "weight_ho": (self.output_size, self.units),
            "bias_ho": (self.output_size,),
        }

    def _native_weights(self, w: Mapping[str, Array]) -> list[Array]:
        size = self.size

        def larger(a: Array, *shape: int) -> Array:
            whole = np.zeros(shape, self.dtype)
            whole[tuple(slice(n) for n in a.shape)] = a
            return whole

        return [
            larger(w["weight_ih"], size, w["weight_ih"].shape[1]),
            np.concatenate(
                [larger(w[n], size, size) for n in ("weight_hh", "weight_ho")]
            ),
            larger(w["bias_ih"], size),
            np.concatenate([np.zeros(size, self.dtype), larger(w["bias_ho"], size)]),
        ]

    def _own_gradients(self, native: dict[str, Array]) -> dict[str, Array]:
        units, outputs, size = self.units, self.output_size, self.size
        u, v = np.split(native["weight_hh"], 2)
        return {
            "weight_ih": native["weight_ih"][:units],
            "weight_hh": np.ascontiguousarray(u[:units, :outputs]),
            "bias_ih": native["bias_ih"][:units],
            "weight_ho": np.ascontiguousarray(v[:outputs, :units]),
            "bias_ho": native["bias_hh"][size:][:outputs],
        }

    def _value(self, y: Array | None, last: list[Array]) -> Array:
        return super()._value(y, last)[..., : self.output_size]

    def _value_gradients(
        self, dy: Array, y: Array | None, last: list[Array]
    ) -> tuple[Array | None, States]:
        return super()._value_gradients(self._padded(dy), y, last)

    def _states_of(self, states: list[Array]) -> list[Array]:
        return [np.ascontiguousarray(a[..., : self.output_size]) for a in states]

    def _directions_of(self, states: Array) -> list[Array]:
        return [self._padded(states)]

    def _fresh_states(self, rows: int) -> States:
        own = super()._fresh_states(rows)
        return [None if a is None else self._padded(a) for a in own]

    def _learned_gradients(self, first: list[Array]) -> dict[str, Array]:
        grads = super()._learned_gradients(first)
        return {name: a[: self.output_size] for name, a in grads.items()}

    def _padded(self, a: Array) -> Array:
        if a.shape[-1] == self.size:
            return a
        padded = np.zeros((*a.shape[:-1], self.size), a.dtype)
        padded[..., : a.shape[-1]] = a
        return padded


class GRUD(CellLayer):
    """A GRU for values that are missing or come irregularly (Che et al. 2018).

    Inputs are the values x, whether each was observed (m, 1 or 0), and the time delta
    since its variable's last observation, side by side: (N, T, 3C); `inputs` makes
    them. With the last observed value x' of each variable::

        gamma_x = exp(-max(0, w_x * delta + b_x))
        gamma_h = exp(-max(0, W_h delta + b_h))
        x^ = m * x + (1 - m) * (gamma_x * x' + (1 - gamma_x) * x_mean)
        h^ = gamma_h * h

    and a GRU with the reset before the product on x^ and h^, whose gates also take
    ``weight_mask`` times m. z and 1 - z are as in `grufast.layers.GRU`; in the paper
    (arXiv 1606.01865) they change places.

    Parameters
    ----------
    units : int
        Size H of the state.
    x_mean : float or sequence of C float
        What values decay to: the means of the training data.
    **options
        What all recurrent layers take; see `grufast.layers.CellLayer`.

    Attributes
    ----------
    weights : dict of str to ndarray
        ``weight_ih`` (3H, C), ``weight_hh`` (3H, H), ``bias_ih`` and ``bias_hh`` (3H,),
        ``weight_mask`` (3H, C), ``decay_input_weight`` and ``decay_input_bias`` (C,),
        ``decay_state_weight`` (H, C), ``decay_state_bias`` (H,). Read-only.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> values = np.array([[[1.0], [np.nan], [3.0]]], np.float32)
    >>> x = gf.layers.GRUD.inputs(values)
    >>> x[0].tolist()
    [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [3.0, 1.0, 2.0]]
    >>> gf.layers.GRUD(8, seed=0)(x).shape
    (1, 8)
    """

    prepares = True
    roles: ClassVar[Mapping[str, str]] = {
        **CellLayer.roles,
        "weight_mask": "kernel",
        "decay_input_weight": "decay",
        "decay_input_bias": "bias",
        "decay_state_weight": "kernel",
        "decay_state_bias": "bias",
    }
    decay_initializer = initializers.RandomUniform(0, 1)
    decay_regularizer = None

    def __init__(
        self,
        units: int,
        *,
        x_mean: float | Sequence[float] = 0.0,
        **options: Unpack[Options],
    ) -> None:
        self.x_mean = x_mean
        message = f"x_mean: got {x_mean!r}, expected a finite number or C of them"
        self._means = np.atleast_1d(_numbers(x_mean, message))
        if self._means.ndim != 1 or not np.isfinite(self._means).all():
            raise ValueError(message)
        super().__init__(units, "tanh", "sigmoid", options)
        if self.stateful:
            message = "stateful: a GRUD would lose the last observed values, got True"
            raise ValueError(message)

    @staticmethod
    def inputs(values: Array, times: Array | None = None) -> Array:
        """Return the input of this layer for values with gaps.

        Parameters
        ----------
        values : ndarray (N, T, C)
            NaN where a value was not observed.
        times : ndarray (N, T) or (T,), optional
            When each step was; one unit apart without it.

        Returns
        -------
        ndarray (N, T, 3C)
            Values (0 for gaps), 1 or 0, and the time since the variable's last
            observation before the step (since the first step if there was none), in
            the dtype of `values`.
        """
        x = _checks.array("values", values, None, "N T C")
        rows, steps, _ = x.shape
        if times is None:
            times = np.arange(steps)
        expected = f"expected numbers of shape ({steps},) or {rows, steps}"
        given = _numbers(times, f"times: got {times!r:.60}, {expected}")
        if given.shape not in ((steps,), (rows, steps)):
            message = f"times: got shape {given.shape}, {expected}"
            raise ValueError(message)
        when = np.broadcast_to(given, (rows, steps))[..., None]
        observed = ~np.isnan(x)
        # The time of the last observation before each step.
        seen = np.where(observed, when, when[:, :1] if steps else 0)
        last = np.maximum.accumulate(seen, axis=1)
        last = np.concatenate([when[:, :1] + 0 * last[:, :1], last[:, :-1]], axis=1)
        parts = [np.where(observed, x, 0), observed, when - last]
        return np.concatenate(parts, axis=-1).astype(x.dtype)

    def size_of(self, input_shape: Shape) -> int | None:
        """Return the `input_size` for `build`: C of an input (N, T, 3C)."""
        size = input_shape[-1]
        return None if size is None else size // 3

    def _check_shape(self, input_shape: Shape) -> None:
        size = input_shape[-1] if input_shape else None
        _checks.shape("x", input_shape, "N T 3C")
        expected = None if self.input_size is None else 3 * self.input_size
        if size is not None and (size % 3 or expected not in (None, size)):
            message = f"x: got shape {input_shape}, expected (N, T, {expected or '3C'})"
            raise ValueError(message)

    def _checked_input(self, x: object) -> Array:
        array = _checks.array("x", x, self.dtype, "N T 3C")
        self._check_shape(array.shape)
        if self.input_size is None:
            self.build(array.shape[-1] // 3)
        return array

    @property
    def gates(self) -> int:
        """Row blocks of the weights: r, z, n."""
        return 3

    @property
    def _cell_name(self) -> str:
        return "gru_decay"

    def _shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        if len(self._means) not in (1, input_size):
            message = f"x_mean: got {len(self._means)} numbers for {input_size} inputs"
            if input_size > 1:
                raise ValueError(message)
        return super()._shapes(input_size) | {
            "weight_mask": (3 * self.units, input_size),
            "decay_input_weight": (input_size,),
            "decay_input_bias": (input_size,),
            "decay_state_weight": (self.units, input_size),
            "decay_state_bias": (self.units,),
        }

    def _first_weight(
        self, name: str, shape: tuple[int, ...], rng: np.random.Generator
    ) -> Array:
        weight = super()._first_weight(name, shape, rng)
        # A decay of nothing would have no gradient.
        return abs(weight) if name == "decay_state_weight" else weight

    def _make_cell(self, input_size: int) -> _core.Recurrent:
        return super()._make_cell(3 * input_size)

    def _native_weights(self, w: Mapping[str, Array]) -> list[Array]:
        size = w["decay_input_weight"].shape[0]
        gates = [w["weight_ih"], w["weight_mask"], np.zeros_like(w["weight_ih"])]
        decay = np.zeros((self.units, 3 * size), self.dtype)
        decay[:, 2 * size :] = w["decay_state_weight"]
        _, hh, ih, bias_hh = super()._native_weights(w)
        return [
            np.concatenate([np.concatenate(gates, axis=1), decay]),
            hh,
            np.concatenate([ih, w["decay_state_bias"]]),
            bias_hh,
        ]

    def _own_gradients(self, native: dict[str, Array]) -> dict[str, Array]:
        rows, size = 3 * self.units, native["weight_ih"].shape[1] // 3
        own = np.ascontiguousarray
        return {
            "weight_ih": own(native["weight_ih"][:rows, :size]),
            "weight_mask": own(native["weight_ih"][:rows, size : 2 * size]),
            "decay_state_weight": own(native["weight_ih"][rows:, 2 * size :]),
            "bias_ih": native["bias_ih"][:rows],
            "decay_state_bias": native["bias_ih"][rows:],
            "weight_hh": native["weight_hh"],
            "bias_hh": native["bias_hh"],
        }

    def _prepare(self, x: Array, steps: Steps | None, keep: bool) -> tuple[Array, Any]:
        """Fill gaps with what values have decayed to."""
        mean = np.tile(self._means, x.shape[-1] // 3 // len(self._means))
        options: dict[str, Any] = {
            **(Steps() if steps is None else steps)._asdict(),
            "weight": self._weights["decay_input_weight"],
            "bias": self._weights["decay_input_bias"],
            "mean": mean.astype(self.dtype),
            "backwards": self.go_backwards,
        }
        filled, kept = _core.input_decay(x, keep=keep, **options)
        return filled, {"x": x, "kept": kept, **options}

    def _prepared_gradients(
        self, dx: Array | None, prepared: Any
    ) -> tuple[Array | None, dict[str, Array]]:
        assert dx is not None
        dweight, dbias = _core.input_decay_backward(dx=dx, **prepared)
        return dx, {"decay_input_weight": dweight, "decay_input_bias": dbias}


class Bidirectional(RecurrentLayer):
    """A recurrent layer in both directions: over the sequence, and from its end.

    Parameters
    ----------
    layer : GRU, LSTM or any recurrent layer of one direction
        What runs in each direction, with weights of its own; not built yet.
    merge_mode : {"concat", "sum", "mul", "ave"} or None
        How the states of the two at the same step become one output: side by side
        (then the output's size is 2H), their sum, product or mean. Without
        ``return_sequences`` it is the last states that meet: the one after the last
        step, and the one after the first step. With None they do not: the output is
        the list [forward, backward] of both, and so is the gradient that `backward`
        takes. A model's layers have one output each, so that it takes no such layer.
    **common
        `name` and `input_shape`: see `Layer`.

    Attributes
    ----------
    weights : dict of str to ndarray
        Those of `layer`, and the same with the suffix ``_reverse``, as in PyTorch.
        Read-only.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> gru = gf.layers.GRU(8, return_sequences=True, seed=0)
    >>> layer = gf.layers.Bidirectional(gru)
    >>> layer(np.ones((4, 10, 3), np.float32)).shape
    (4, 10, 16)
    >>> sorted(layer.weights)[-2:]
    ['weight_ih', 'weight_ih_reverse']
    """

    suffixes = ("", "_reverse")

    def __init__(
        self,
        layer: CellLayer,
        merge_mode: MergeMode = "concat",
        **common: Unpack[Common],
    ) -> None:
        given: object = layer
        if not isinstance(given, CellLayer):
            message = (
                f"layer: got {layer!r}, expected a recurrent layer of one direction, "
                "such as GRU(8)"
            )
            raise TypeError(message)
        if layer.built:
            message = f"layer: {layer!r} is built already, expected a new one"
            raise ValueError(message)
        if layer.go_backwards or layer.prepares or layer.size != layer.output_size:
            message = f"layer: {layer!r} cannot run in both directions"
            raise ValueError(message)
        # Of its own: the caller may use the other.
        self.layer = type(layer)(**layer.config)
        self.merge_mode: MergeMode = _checks.choice(
            "merge_mode", merge_mode, ("concat", "sum", "mul", "ave", None)
        )
        self.units = layer.units
        self.states = layer.states
        self.return_sequences = layer.return_sequences
        self.return_state = layer.return_state
        self.stateful = layer.stateful
        self.padded_output = layer.padded_output
        self.dropout = layer.dropout
        self.recurrent_dropout = layer.recurrent_dropout
        self.memory = layer.memory
        self.passes_on = merge_mode == "concat"
        super().__init__(layer.dtype, layer.initializer, layer.seed, **common)

    @property
    def cell(self) -> CellLayer:  # type: ignore[override]
        """What runs in each direction."""
        return self.layer

    @property
    def size(self) -> int:
        """Units of the native layer of a direction."""
        return self.layer.size

    @property
    def more_outputs(self) -> str | None:
        """What a call gives that a model cannot pass on, if anything."""
        two = "two outputs (merge_mode=None)" if self.merge_mode is None else None
        return two or super().more_outputs

    @property
    def output_size(self) -> int:
        """Last dimension of the output; with ``merge_mode=None`` of both."""
        own = self.layer.output_size
        return 2 * own if self.merge_mode == "concat" else own

    def weight_shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights by name."""
        shapes = self.layer.weight_shapes(input_size)
        return {f"{name}{s}": shapes[name] for s in self.suffixes for name in shapes}

    def penalties(self) -> dict[str, Regularizer]:
        """Return the regularizers by the names of the weights that they are for."""
        own = self.layer.penalties()
        return {f"{name}{s}": r for s in self.suffixes for name, r in own.items()}

    def _initial_weights(
        self, input_size: int, rng: np.random.Generator
    ) -> dict[str, Array]:
        weights: dict[str, Array] = {}
        for suffix in self.suffixes:
            own = self.layer._initial_weights(input_size, rng)
            weights |= {f"{name}{suffix}": array for name, array in own.items()}
        return weights

    def _value(self, y: Array | None, last: list[Array]) -> Any:
        if self.merge_mode == "concat":
            return np.concatenate(self._both(y, last), axis=-1) if y is None else y
        a, b = self._both(y, last)
        if self.merge_mode is None:
            return [a, b]
        if self.merge_mode == "mul":
            return a * b
        return a + b if self.merge_mode == "sum" else (a + b) / 2

    def _value_gradients(
        self, dy: Any, y: Array | None, last: list[Array]
    ) -> tuple[Array | None, States]:
        match self.merge_mode:
            case None:
                both = dy
            case "concat":
                both = dy[..., : self.size], dy[..., self.size :]
            case "sum":
                both = dy, dy
            case "ave":
                both = dy / 2, dy / 2
            case "mul":
                a, b = self._both(y, last)
                both = dy * b, dy * a
        none: States = [None] * self.state_count
        if y is None:
            none[0], none[len(self.states)] = map(np.ascontiguousarray, both)
            return None, none
        if self.merge_mode == "concat":
            return dy, none
        return np.concatenate(both, axis=-1), none

    def _checked_gradient(self, name: str, dy: Any, shape: tuple[int, ...]) -> Any:
        if self.merge_mode is not None:
            return super()._checked_gradient(name, dy, shape)
        if not (isinstance(dy, list | tuple) and len(dy) == 2):
            message = f"{name}: expected the list [forward, backward] of two gradients"
            raise TypeError(message)
        check = super()._checked_gradient
        return [check(f"{name}[{i}]", part, shape) for i, part in enumerate(dy)]

    def _both(self, y: Array | None, last: list[Array]) -> tuple[Array, Array]:
        if y is None:
            return last[0], last[len(self.states)]
        return y[..., : self.size], y[..., self.size :]

    def _states_of(self, states: list[Array]) -> list[Array]:
        count = len(self.states)
        return [np.stack([states[i], states[count + i]]) for i in range(count)]

    def _directions_of(self, states: Array) -> list[Array]:
        return [*states]


class Stream:
    """A recurrent layer fed one step at a time, its state carried from call to call.

    For audio, control and the like; made by ``layer.stream()``. A step allocates
    nothing. The stream keeps the weights that the layer had when it was made.

    Attributes
    ----------
    step : callable
        ``step(x, out)`` advances by one input x (C,), writes the new state to out (H,)
        and returns out; both are contiguous arrays of the layer's dtype.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> layer = gf.layers.GRU(8, return_sequences=True, seed=0)
    >>> x = np.ones((1, 5, 3), np.float32)
    >>> y = layer(x)
    >>> stream, out = layer.stream(), np.empty(8, np.float32)
    >>> for t in range(5):
    ...     assert np.array_equal(stream.step(x[0, t], out), y[0, t])
    """

    __slots__ = ("_dtype", "_first", "_native", "_states", "_units", "step")

    def __init__(
        self,
        native: _core.Stream,
        units: int,
        states: int,
        dtype: _checks.DType,
        first: Array | None,
    ) -> None:
        self._native, self._units, self._dtype = native, units, dtype
        self._states, self._first = states, first
        self.step = native.step
        self.reset()

    @property
    def state(self) -> Array:
        """A copy of the state (H,); of an `LSTM`, of h and c, (2, H)."""
        return self._native.state

    def reset(self, state: Array | None = None) -> None:
        """Go back to a state, shaped like `state`, or to the layer's first one.

        That is zero, or what the layer had learned when the stream was made.
        """
        if state is not None:
            dims, sizes = "H", {"H": self._units}
            if self._states > 1:
                dims = f"{self._states} H"
            state = _checks.contiguous("state", state, self._dtype, dims, **sizes)
        self._native.reset(self._first if state is None else state)


def _numbers(value: Any, message: str) -> Array:
    """Return an array of real numbers as float64."""
    try:
        numbers = np.asarray(value)
    except ValueError:
        raise ValueError(message) from None
    if numbers.dtype.kind not in "iuf":
        raise TypeError(message)
    return numbers.astype(np.float64)


def _checked_lengths(value: Any, rows: int, steps: int) -> Array:
    if isinstance(value, Sequence) and not len(value):
        value = np.zeros(0, np.int64)
    try:
        given = np.asarray(value)
    except ValueError:
        message = f"lengths: got {value!r:.60}, expected {rows} integers"
        raise ValueError(message) from None
    lengths = _checks.integers("lengths", given, "N", steps + 1)
    _checks.shape("lengths", lengths.shape, "N", N=rows)
    return lengths


def _plain(flags: Array) -> Array:
    return np.ascontiguousarray(flags)


# Keeps a layer's own random numbers from those of its first weights.
_DROPOUT = 1

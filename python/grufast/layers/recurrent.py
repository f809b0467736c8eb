"""Recurrent layers: alone, in both directions, and on top of each other."""

from __future__ import annotations

import math
import weakref
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from grufast import _checks, _core
from grufast._checks import Array, Shape
from grufast.layers.base import (
    Context,
    Initializer,
    Layer,
    WeightedLayer,
    context_of,
    glorot,
    uniform,
)

Memory = Literal["fast", "low"]
MergeMode = Literal["concat", "sum", "mul", "ave"]
States = list[Array | None]


class Run:
    """Recurrent layers that follow each other, as one native call.

    Its methods trust their arguments. Lists of first states have an item for every
    direction of every layer, lists of last states for those of the last layer.
    """

    def __init__(self, layers: Sequence[RecurrentLayer]) -> None:
        self.layers = layers
        last = layers[-1]
        self._sequences = last.return_sequences
        self._keep: _core.Keep = "states" if last.memory == "low" else "gates"
        self._outputs = len(last.suffixes)
        self._none: States = [None for layer in layers for _ in layer.suffixes]
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
            and (below.dtype, below.memory) == (above.dtype, above.memory)
        )

    def _packed(self) -> _core.Stack:
        natives = [layer._packed() for layer in self.layers]
        if natives != self._natives:
            self._stack = _core.Stack(natives)
            self._natives = natives
        return self._stack

    def _workspace(self) -> _core.Workspace:
        try:
            return self._workspaces.pop()
        except IndexError:
            return _core.Workspace()

    def infer(self, x: Array, states: States | None = None) -> tuple[Any, list[Array]]:
        """Return the last layer's states (or None) and last ones."""
        workspace = self._workspace()
        y, last = self._packed().forward(
            x, states or self._none, self._sequences, workspace, "nothing"
        )
        self._workspaces.append(workspace)
        return y, last[-self._outputs :]

    def train(
        self, x: Array, states: States | None = None
    ) -> tuple[Any, list[Array], _core.Workspace]:
        """Return the same, and a workspace for `gradients`."""
        workspace = self._workspace()
        y, last = self._packed().forward(
            x, states or self._none, self._sequences, workspace, self._keep
        )
        return y, last[-self._outputs :], workspace

    def gradients(
        self,
        x: Array,
        workspace: _core.Workspace,
        dy: Array | None,
        dlast: States,
        need_dx: bool,
    ) -> tuple[Any, list[dict[str, Array]], list[Array]]:
        """Return the gradients for x, each layer's weights and the first states."""
        dlast = [*self._none[self._outputs :], *dlast]
        dx, arrays = self._packed().backward(workspace, x, dy, dlast, need_dx)
        self._workspaces.append(workspace)
        grads, first, own = [], [], iter(arrays)
        for layer in self.layers:
            names = iter(layer._weights)
            mine: dict[str, Array] = {}
            for _ in layer.suffixes:
                first.append(next(own))
                mine |= {next(names): next(own) for _ in range(4)}
            grads.append(mine)
        return dx, grads, first

    def _infer(self, x: Array, mask: Array | None = None) -> Array:
        _no_mask(mask)
        return self.layers[-1]._value(*self.infer(x))

    def _train(
        self, x: Array, rng: np.random.Generator | None, mask: Array | None = None
    ) -> tuple[Array, Any]:
        _no_mask(mask)
        y, last, workspace = self.train(x)
        return self.layers[-1]._value(y, last), (x, workspace, y, last)

    def _gradients(
        self, dy: Array, saved: Any, need_dx: bool
    ) -> tuple[Array | None, list[dict[str, Array]]]:
        x, workspace, *output = saved
        dy_all, dlast = self.layers[-1]._value_gradients(dy, *output)
        dx, grads, _ = self.gradients(x, workspace, dy_all, dlast, need_dx)
        return dx, grads


class RecurrentLayer(WeightedLayer):
    """What recurrent layers have in common, in one direction or two."""

    units: int
    return_sequences: bool
    return_state: bool
    memory: Memory

    suffixes: tuple[str, ...] = ("",)
    """What follows the names of the weights of each direction."""

    passes_on = True
    """Whether the output is the directions' states, side by side."""

    def __init__(self, dtype: object, initializer: object, seed: object) -> None:
        super().__init__(dtype, initializer, seed)
        # No circle of references: the workspaces go when the layer goes.
        own: Any = weakref.proxy(self)
        self._run = Run([own])

    @property
    @abstractmethod
    def output_size(self) -> int:
        """Last dimension of the output."""

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return (N, T, output size) or (N, output size) for an input (N, T, C)."""
        sizes = {} if self.input_size is None else {"C": self.input_size}
        _checks.shape("x", input_shape, "N T C", **sizes)
        rows, steps, _ = input_shape
        size = self.output_size
        return (rows, steps, size) if self.return_sequences else (rows, size)

    def __call__(
        self,
        x: Array,
        initial_state: Array | None = None,
        *,
        mask: Array | None = None,
    ) -> Any:
        """Return the output for sequences; keeps nothing, safe from many threads.

        Parameters
        ----------
        x : ndarray (N, T, C)
            N sequences of T steps.
        initial_state : ndarray (N, H), optional
            State before the first step; zero without it. (2, N, H) where there are two
            directions.

        Returns
        -------
        y : ndarray (N, T, H) or (N, H)
            All states or the last one, merged where there are two directions; with
            ``return_state=True`` the tuple (y, h_n), h_n shaped like `initial_state`.
        """
        _no_mask(mask)
        x = self._checked_input(x)
        y, last = self._run.infer(x, self._checked_state(initial_state, x))
        return self._output(y, last)

    def forward(
        self,
        x: Array,
        initial_state: Array | None = None,
        *,
        mask: Array | None = None,
    ) -> tuple[Any, Context]:
        """Return what a call returns, and the context that `backward` needs.

        The context refers to `x`: do not change that array before `backward`.
        """
        _no_mask(mask)
        x = self._checked_input(x)
        states = self._checked_state(initial_state, x)
        y, last, workspace = self._run.train(x, states)
        saved = (x, workspace, y, last, states is not None)
        return self._output(y, last), Context(self, saved)

    def backward(self, dy: Any, context: Context) -> tuple[Array, dict[str, Array]]:
        """Return the gradients for x and for the weights, given the output's.

        Parameters
        ----------
        dy : ndarray, shaped like the output
            Gradient of the loss for the output of `forward`. With
            ``return_state=True`` a tuple (dy, dh_n), of which either may be None.
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
        saved = context_of(self, context)
        x, workspace, y, last, has_state = saved
        dy, dh_n = self._checked_gradients(dy, saved)
        context._saved = None
        dlast: States = [None] * len(last)
        dy_all = None
        if dy is not None:
            dy_all, dlast = self._value_gradients(dy, y, last)
        if dh_n is not None:
            pairs = zip(self._directions_of(dh_n), dlast, strict=True)
            dlast = [d if more is None else d + more for d, more in pairs]
        dx, grads, first = self._run.gradients(x, workspace, dy_all, dlast, True)
        if has_state:
            grads[0]["initial_state"] = self._states_of(first)
        return dx, grads[0]

    @abstractmethod
    def _make_native(self, input_size: int) -> list[_core.Recurrent]: ...

    def _pack(self) -> None:
        for native, suffix in zip(self._native, self.suffixes, strict=True):
            native.pack(
                *(
                    self._weights[f"{name}{suffix}"]
                    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                )
            )

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

    def _value(self, y: Array | None, last: list[Array]) -> Array:
        """Return the layer's output, given the native one."""
        return last[0] if y is None else y

    def _value_gradients(
        self, dy: Array, y: Array | None, last: list[Array]
    ) -> tuple[Array | None, States]:
        """Return the gradients for what `_value` was given."""
        return (None, [dy]) if y is None else (dy, [None])

    def _states_of(self, states: list[Array]) -> Array:
        """Return states as callers see them; `_directions_of` is the inverse."""
        return states[0]

    def _directions_of(self, states: Array) -> list[Array]:
        return [states]

    def _output(self, y: Array | None, last: list[Array]) -> Any:
        value = self._value(y, last)
        if not self.return_state:
            return value
        state = self._states_of(last)
        return (value.copy() if value is state else value), state

    def _checked_input(self, x: object) -> Array:
        return self._checked_array("x", x, "N T C")

    def _checked_states(self, name: str, value: object, x: Array) -> Array:
        dims = "N H" if len(self.suffixes) == 1 else "2 N H"
        sizes = {"N": x.shape[0], "H": self.units}
        return _checks.contiguous(name, value, self.dtype, dims, **sizes)

    def _checked_state(self, state: object, x: Array) -> States | None:
        if state is None:
            return None
        return [*self._directions_of(self._checked_states("initial_state", state, x))]

    def _checked_gradient(self, dy: object, saved: Any) -> Array:
        rows, steps, _ = saved[0].shape
        sizes = {"N": rows, "T": steps, "H": self.output_size}
        dims = "N T H" if self.return_sequences else "N H"
        return _checks.contiguous("dy", dy, self.dtype, dims, **sizes)

    def _checked_gradients(
        self, dy: object, saved: Any
    ) -> tuple[Array | None, Array | None]:
        """Return the gradients for the output and for the last state."""
        dh_n = None
        if self.return_state:
            if not (isinstance(dy, tuple) and len(dy) == 2):
                message = "dy: expected the tuple (dy, dh_n), as return_state is True"
                raise TypeError(message)
            dy, dh_n = dy
            if dh_n is not None:
                dh_n = self._checked_states("dh_n", dh_n, saved[0])
            if dy is None:
                return None, dh_n
        return self._checked_gradient(dy, saved), dh_n


class GRU(RecurrentLayer):
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
    return_sequences : bool
        Whether the output has the state after every step, (N, T, H), or only the last
        one, (N, H).
    return_state : bool
        Whether the last state comes beside the output: ``(y, h_n)``.
    reset_after : bool
        Whether the reset gate acts after the recurrent product (as in PyTorch, cuDNN
        and Keras) or before it (Cho et al. 2014).
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
    seed : int, optional
        Of the first weights: same seed, same bits.

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
    >>> y, context = layer.forward(x)
    >>> y.shape
    (4, 10, 8)
    >>> dx, grads = layer.backward(np.ones_like(y), context)
    >>> dx.shape, grads["weight_hh"].shape
    ((4, 10, 3), (24, 8))
    """

    def __init__(
        self,
        units: int,
        *,
        return_sequences: bool = False,
        return_state: bool = False,
        reset_after: bool = True,
        memory: Memory = "fast",
        dtype: str = "float32",
        initializer: Initializer = "keras",
        seed: int | None = None,
    ) -> None:
        self.units = _checks.integer("units", units, 1)
        self.return_sequences = _checks.flag("return_sequences", return_sequences)
        self.return_state = _checks.flag("return_state", return_state)
        self.reset_after = _checks.flag("reset_after", reset_after)
        self.memory = _checks.choice("memory", memory, ("fast", "low"))
        super().__init__(dtype, initializer, seed)

    @property
    def output_size(self) -> int:
        """Last dimension of the output: `units`."""
        return self.units

    def stream(self) -> Stream:
        """Return a stream that runs the layer one step a call, from the zero state."""
        (native,) = self._make_native(self._built_size())
        native.pack(**self._weights)
        return Stream(native.stream(), self.units, self.dtype)

    def weight_shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights by name."""
        rows = 3 * self.units
        return {
            "weight_ih": (rows, input_size),
            "weight_hh": (rows, self.units),
            "bias_ih": (rows,),
            "bias_hh": (rows,),
        }

    def _initial_weights(
        self, input_size: int, rng: np.random.Generator
    ) -> dict[str, Array]:
        shapes = self.weight_shapes(input_size)
        if self.initializer == "torch":
            return uniform(rng, 1 / math.sqrt(self.units), shapes)
        weights = {name: np.zeros(dims) for name, dims in shapes.items()}
        weights["weight_ih"] = glorot(rng, shapes["weight_ih"])
        # Gate by gate: Keras makes the columns of all three orthonormal together; on
        # the five layers of `grufast demo` that ended with a 3 % larger error.
        square = (self.units, self.units)
        gates = [_orthogonal(rng, square) for _ in range(3)]
        weights["weight_hh"] = np.concatenate(gates)
        return weights

    def _make_native(self, input_size: int) -> list[_core.Recurrent]:
        cell: Literal["gru", "gru_reset_before"]
        cell = "gru" if self.reset_after else "gru_reset_before"
        return [_core.Recurrent(cell, input_size, self.units, self.dtype)]


class Bidirectional(RecurrentLayer):
    """A recurrent layer in both directions: over the sequence, and from its end.

    Parameters
    ----------
    layer : GRU
        What runs in each direction, with weights of its own; not built yet.
    merge_mode : {"concat", "sum", "mul", "ave"}
        How the states of the two at the same step become one output: side by side
        (then the output's size is 2H), their sum, product or mean. Without
        ``return_sequences`` it is the last states that meet: the one after the last
        step, and the one after the first step.

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

    def __init__(self, layer: GRU, merge_mode: MergeMode = "concat") -> None:
        given: object = layer
        if not isinstance(given, GRU):
            message = f"layer: got {type(layer).__name__}, expected a GRU"
            raise TypeError(message)
        if layer.built:
            message = f"layer: {layer!r} is built already, expected a new one"
            raise ValueError(message)
        self.layer = GRU(**layer.config)  # of its own: the caller may use the other
        self.merge_mode: MergeMode = _checks.choice(
            "merge_mode", merge_mode, ("concat", "sum", "mul", "ave")
        )
        self.units = layer.units
        self.return_sequences = layer.return_sequences
        self.return_state = layer.return_state
        self.memory = layer.memory
        self.passes_on = merge_mode == "concat"
        super().__init__(layer.dtype, layer.initializer, layer.seed)

    @property
    def output_size(self) -> int:
        """Last dimension of the output."""
        return 2 * self.units if self.merge_mode == "concat" else self.units

    def weight_shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights by name."""
        shapes = self.layer.weight_shapes(input_size)
        return {f"{name}{s}": shapes[name] for s in self.suffixes for name in shapes}

    def _initial_weights(
        self, input_size: int, rng: np.random.Generator
    ) -> dict[str, Array]:
        weights: dict[str, Array] = {}
        for suffix in self.suffixes:
            own = self.layer._initial_weights(input_size, rng)
            weights |= {f"{name}{suffix}": array for name, array in own.items()}
        return weights

    def _make_native(self, input_size: int) -> list[_core.Recurrent]:
        return [self.layer._make_native(input_size)[0] for _ in self.suffixes]

    def _value(self, y: Array | None, last: list[Array]) -> Array:
        if self.merge_mode == "concat":
            return np.concatenate(last, axis=-1) if y is None else y
        a, b = self._both(y, last)
        if self.merge_mode == "mul":
            return a * b
        return a + b if self.merge_mode == "sum" else (a + b) / 2

    def _value_gradients(
        self, dy: Array, y: Array | None, last: list[Array]
    ) -> tuple[Array | None, States]:
        match self.merge_mode:
            case "concat":
                both = dy[..., : self.units], dy[..., self.units :]
            case "sum":
                both = dy, dy
            case "ave":
                both = dy / 2, dy / 2
            case "mul":
                a, b = self._both(y, last)
                both = dy * b, dy * a
        if y is None:
            return None, [np.ascontiguousarray(d) for d in both]
        if self.merge_mode == "concat":
            return dy, [None, None]
        return np.concatenate(both, axis=-1), [None, None]

    def _both(self, y: Array | None, last: list[Array]) -> tuple[Array, Array]:
        if y is None:
            return last[0], last[1]
        return y[..., : self.units], y[..., self.units :]

    def _states_of(self, states: list[Array]) -> Array:
        return np.stack(states)

    def _directions_of(self, states: Array) -> list[Array]:
        return [*states]


class Stream:
    """A GRU fed one step at a time, its state carried from call to call.

    For audio, control and the like; made by `GRU.stream`. A step allocates nothing. The
    stream keeps the weights that the layer had when it was made.

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

    __slots__ = ("_dtype", "_native", "_units", "step")

    def __init__(self, native: _core.Stream, units: int, dtype: _checks.DType) -> None:
        self._native, self._units, self._dtype = native, units, dtype
        self.step = native.step

    @property
    def state(self) -> Array:
        """A copy of the state (H,)."""
        return self._native.state

    def reset(self, state: Array | None = None) -> None:
        """Go back to a state (H,), or to zero."""
        if state is not None:
            state = _checks.contiguous("state", state, self._dtype, "H", H=self._units)
        self._native.reset(state)


def _no_mask(mask: Array | None) -> None:
    if mask is not None:
        message = "mask: recurrent layers cannot leave out steps"
        raise ValueError(message)


def _orthogonal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Orthonormal columns, uniform over all such matrices."""
    q, r = np.linalg.qr(rng.standard_normal(shape))
    return q * np.sign(np.diag(r))

"""Every recurrent cell, and every way to run it over sequences, as the formulas.

Written to be read, and to be differentiated by complex step (see reference.py). A cell
is one step and that step's backward; `forward` and `backward` run any cell, and know
alone about padding, resets, direction, dropout and zoneout.

Shapes: N rows, T steps, C inputs, H units, O outputs. `x (N, T, C)`, states `(N, H)`,
`weight_ih (gates H, C)`, `weight_hh (gates H, H)`, `bias_ih`, `bias_hh (gates H,)`.
A bias that `weights` lacks is not added. In the formulas W, U, b, q are `weight_ih`,
`weight_hh`, `bias_ih`, `bias_hh`; s is the gates' activation, act the candidate's; h
and c are the previous states, and v is h as the products see it: after recurrent
dropout, if any.
"""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from reference import ACTIVATIONS, Array, relu

Arrays = dict[str, Array]
Shapes = dict[str, tuple[int, ...]]

EPSILON = 1e-5  # of layer normalisation


# What cells share


def layer_norm(p: Array) -> Array:
    """(p - mean) / sqrt(variance + eps) over the last axis (Ba et al. 2016)."""
    e = p - p.mean(axis=-1, keepdims=True)
    normed: Array = e / np.sqrt((e * e).mean(axis=-1, keepdims=True) + EPSILON)
    return normed


def layer_norm_backward(p: Array, dn: Array) -> Array:
    e = p - p.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((e * e).mean(axis=-1, keepdims=True) + EPSILON)
    n = e / deviation
    mean, slope = dn.mean(axis=-1, keepdims=True), (dn * n).mean(axis=-1, keepdims=True)
    dp: Array = (dn - mean - n * slope) / deviation
    return dp


ALL = slice(None)


def affine(w: Arrays, side: str, u: Array, rows: slice = ALL) -> Array:
    """W u + b, or with a gain: LN(W u) gain + b; of some of the rows."""
    a: Array = u @ w[f"weight_{side}"][rows].T
    if f"gain_{side}" in w:
        a = layer_norm(a) * w[f"gain_{side}"]
    if f"bias_{side}" in w:
        a = a + w[f"bias_{side}"][rows]
    return a


def affine_backward(
    w: Arrays, dw: Arrays, side: str, u: Array, da: Array, rows: slice = ALL
) -> Array:
    """Gradient for u; those for the weights are added to `dw`."""
    weight = w[f"weight_{side}"][rows]
    if f"bias_{side}" in w:
        dw[f"bias_{side}"][rows] += da.sum(axis=0)
    if f"gain_{side}" in w:
        p = u @ weight.T
        dw[f"gain_{side}"] += (da * layer_norm(p)).sum(axis=0)
        da = layer_norm_backward(p, da * w[f"gain_{side}"])
    dw[f"weight_{side}"][rows] += da.T @ u
    du: Array = da @ weight
    return du


def split(a: Array, parts: int) -> list[Array]:
    """The gates' columns."""
    return np.split(a, parts, axis=1)


def join(*gates: Array) -> Array:
    return np.concatenate(gates, axis=1)


# The cells


@dataclasses.dataclass(frozen=True)
class Cell(abc.ABC):
    """One step of a recurrent network, and its backward.

    `step(w, x, s, v)` takes weights, the step's inputs, states and v; it returns the
    new states, of which "h" is the output, and what `step_backward` needs.
    `step_backward(w, dw, saved, d)` takes the new states' gradients `d`, adds to `dw`
    and returns the gradients for the inputs, the states (but for v) and v.
    """

    states: ClassVar[tuple[str, ...]] = ("h",)
    inputs: ClassVar[tuple[str, ...]] = ("x",)  # (N, T, C) each
    constants: ClassVar[tuple[str, ...]] = ()  # inputs without N and T

    @abc.abstractmethod
    def weight_shapes(self, c: int, h: int, o: int) -> Shapes: ...

    @abc.abstractmethod
    def step(
        self, w: Arrays, x: Arrays, s: Arrays, v: Array
    ) -> tuple[Arrays, tuple[Array, ...]]: ...

    @abc.abstractmethod
    def step_backward(
        self, w: Arrays, dw: Arrays, saved: tuple[Array, ...], d: Arrays
    ) -> tuple[Arrays, Arrays, Array]: ...


def gate_shapes(gates: int, c: int, h: int, layer_norm: bool = False) -> Shapes:
    rows = gates * h
    shapes: Shapes = {
        "weight_ih": (rows, c),
        "weight_hh": (rows, h),
        "bias_ih": (rows,),
        "bias_hh": (rows,),
    }
    if layer_norm:
        shapes |= {"gain_ih": (rows,), "gain_hh": (rows,)}
    return shapes


@dataclasses.dataclass(frozen=True)
class SimpleRNN(Cell):
    """Elman 1990: h' = act(W x + b + U v + q)."""

    activation: str = "tanh"

    def weight_shapes(self, c: int, h: int, o: int) -> Shapes:
        return gate_shapes(1, c, h)

    def step(
        self, w: Arrays, x: Arrays, s: Arrays, v: Array
    ) -> tuple[Arrays, tuple[Array, ...]]:
        a = affine(w, "ih", x["x"]) + affine(w, "hh", v)
        return {"h": ACTIVATIONS[self.activation].f(a)}, (x["x"], v, a)

    def step_backward(
        self, w: Arrays, dw: Arrays, saved: tuple[Array, ...], d: Arrays
    ) -> tuple[Arrays, Arrays, Array]:
        x, v, a = saved
        da = d["h"] * ACTIVATIONS[self.activation].derivative(a)
        dx = affine_backward(w, dw, "ih", x, da)
        return {"x": dx}, {}, affine_backward(w, dw, "hh", v, da)


@dataclasses.dataclass(frozen=True)
class JordanRNN(Cell):
    """Jordan 1986: h = act(W x + b + U v), y = act_y(V h + e); y is the state.

    `weight_hh (H, O)` is U, `weight_ho (O, H)` is V and `bias_ho (O,)` is e. The state
    y has the name "h" here, as every cell's output has.
    """

    activation: str = "tanh"
    output_activation: str = "linear"

    def weight_shapes(self, c: int, h: int, o: int) -> Shapes:
        return {
            "weight_ih": (h, c),
            "weight_hh": (h, o),
            "bias_ih": (h,),
            "weight_ho": (o, h),
            "bias_ho": (o,),
        }

    def step(
        self, w: Arrays, x: Arrays, s: Arrays, v: Array
    ) -> tuple[Arrays, tuple[Array, ...]]:
        a = affine(w, "ih", x["x"]) + affine(w, "hh", v)
        h = ACTIVATIONS[self.activation].f(a)
        e = affine(w, "ho", h)
        return {"h": ACTIVATIONS[self.output_activation].f(e)}, (x["x"], v, a, h, e)

    def step_backward(
        self, w: Arrays, dw: Arrays, saved: tuple[Array, ...], d: Arrays
    ) -> tuple[Arrays, Arrays, Array]:
        x, v, a, h, e = saved
        de = d["h"] * ACTIVATIONS[self.output_activation].derivative(e)
        dh = affine_backward(w, dw, "ho", h, de)
        da = dh * ACTIVATIONS[self.activation].derivative(a)
        dx = affine_backward(w, dw, "ih", x, da)
        return {"x": dx}, {}, affine_backward(w, dw, "hh", v, da)


@dataclasses.dataclass(frozen=True)
class LSTM(Cell):
    """Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000.

    Gates in the order i, f, g, o; a is W x + b + U v + q, the parts in brackets only
    with peepholes (Gers & Schmidhuber 2000), `weight_peephole (3H,)` for i, f, o:

        i = s(a_i [+ p_i * c]), f = s(a_f [+ p_f * c]), g = act(a_g)
        c' = f * c + i * g
        o = s(a_o [+ p_o * c']), h' = o * act(c')

    With layer normalisation W x and U v are normalised apart: LN(W x) gain_ih + b and
    LN(U v) gain_hh + q, each over all 4H rows.
    """

    peephole: bool = False
    layer_norm: bool = False
    activation: str = "tanh"
    recurrent_activation: str = "sigmoid"

    states: ClassVar[tuple[str, ...]] = ("h", "c")

    def weight_shapes(self, c: int, h: int, o: int) -> Shapes:
        shapes = gate_shapes(4, c, h, self.layer_norm)
        return shapes | ({"weight_peephole": (3 * h,)} if self.peephole else {})

    def step(
        self, w: Arrays, x: Arrays, s: Arrays, v: Array
    ) -> tuple[Arrays, tuple[Array, ...]]:
        act, gate = ACTIVATIONS[self.activation], ACTIVATIONS[self.recurrent_activation]
        a_i, a_f, a_g, a_o = split(affine(w, "ih", x["x"]) + affine(w, "hh", v), 4)
        c = s["c"]
        if self.peephole:
            p_i, p_f, p_o = np.split(w["weight_peephole"], 3)
            a_i, a_f = a_i + p_i * c, a_f + p_f * c
        c_new = gate.f(a_f) * c + gate.f(a_i) * act.f(a_g)
        if self.peephole:
            a_o = a_o + p_o * c_new
        h_new = gate.f(a_o) * act.f(c_new)
        saved = (x["x"], v, c, a_i, a_f, a_g, a_o, c_new)
        return {"h": h_new, "c": c_new}, saved

    def step_backward(
        self, w: Arrays, dw: Arrays, saved: tuple[Array, ...], d: Arrays
    ) -> tuple[Arrays, Arrays, Array]:
        act, gate = ACTIVATIONS[self.activation], ACTIVATIONS[self.recurrent_activation]
        x, v, c, a_i, a_f, a_g, a_o, c_new = saved
        da_o = d["h"] * act.f(c_new) * gate.derivative(a_o)
        dc_new = d["c"] + d["h"] * gate.f(a_o) * act.derivative(c_new)
        if self.peephole:
            p_i, p_f, p_o = np.split(w["weight_peephole"], 3)
            dc_new = dc_new + da_o * p_o
        da_i = dc_new * act.f(a_g) * gate.derivative(a_i)
        da_f = dc_new * c * gate.derivative(a_f)
        da_g = dc_new * gate.f(a_i) * act.derivative(a_g)
        dc = dc_new * gate.f(a_f)
        if self.peephole:
            dc = dc + da_i * p_i + da_f * p_f
            dp = join(da_i * c, da_f * c, da_o * c_new)
            dw["weight_peephole"] += dp.sum(axis=0)
        da = join(da_i, da_f, da_g, da_o)
        dx = affine_backward(w, dw, "ih", x, da)
        return {"x": dx}, {"c": dc}, affine_backward(w, dw, "hh", v, da)


@dataclasses.dataclass(frozen=True)
class MGU(Cell):
    """Zhou et al. 2016: one gate. Rows in the order f, n.

    f = s(W_f x + b_f + U_f v + q_f)
    n = act(W_n x + b_n + U_n (f * v) + q_n)
    h' = (1 - f) * h + f * n
    """

    activation: str = "tanh"
    recurrent_activation: str = "sigmoid"

    def weight_shapes(self, c: int, h: int, o: int) -> Shapes:
        return gate_shapes(2, c, h)

    def step(
        self, w: Arrays, x: Arrays, s: Arrays, v: Array
    ) -> tuple[Arrays, tuple[Array, ...]]:
        h = s["h"]
        units = h.shape[1]
        a_f, a_n = split(affine(w, "ih", x["x"]), 2)
        a_f = a_f + affine(w, "hh", v, slice(0, units))
        f = ACTIVATIONS[self.recurrent_activation].f(a_f)
        a_n = a_n + affine(w, "hh", f * v, slice(units, None))
        n = ACTIVATIONS[self.activation].f(a_n)
        return {"h": (1 - f) * h + f * n}, (x["x"], h, v, a_f, f, a_n, n)

    def step_backward(
        self, w: Arrays, dw: Arrays, saved: tuple[Array, ...], d: Arrays
    ) -> tuple[Arrays, Arrays, Array]:
        x, h, v, a_f, f, a_n, n = saved
        units = h.shape[1]
        dh_new = d["h"]
        da_n = dh_new * f * ACTIVATIONS[self.activation].derivative(a_n)
        dfv = affine_backward(w, dw, "hh", f * v, da_n, slice(units, None))
        df = dh_new * (n - h) + dfv * v
        da_f = df * ACTIVATIONS[self.recurrent_activation].derivative(a_f)
        dv = dfv * f + affine_backward(w, dw, "hh", v, da_f, slice(0, units))
        dx = affine_backward(w, dw, "ih", x, join(da_f, da_n))
        return {"x": dx}, {"h": dh_new * (1 - f)}, dv


@dataclasses.dataclass(frozen=True)
class GRU(Cell):
    """Cho et al. 2014. Gates in the order r, z, n; a is W x + b.

    r = s(a_r + U_r v + q_r), z = s(a_z + U_z v + q_z)
    n = act(a_n + r * (U_n v + q_n))        reset_after
    n = act(a_n + U_n (r * v) + q_n)        otherwise
    h' = (1 - z) * n + z * h

    With layer normalisation (of the first form) a is LN(W x) gain_ih + b, and
    LN(U v) gain_hh is in place of U v, each over all 3H rows.
    """

    reset_after: bool = True
    layer_norm: bool = False
    activation: str = "tanh"
    recurrent_activation: str = "sigmoid"

    def __post_init__(self) -> None:
        if self.layer_norm and not self.reset_after:
            raise ValueError("layer_norm needs reset_after")

    def weight_shapes(self, c: int, h: int, o: int) -> Shapes:
        return gate_shapes(3, c, h, self.layer_norm)

    def step(
        self, w: Arrays, x: Arrays, s: Arrays, v: Array
    ) -> tuple[Arrays, tuple[Array, ...]]:
        a = affine(w, "ih", x["x"])
        form = self._after if self.reset_after else self._before
        h, saved = form(w, a, s["h"], v)
        return {"h": h}, (x["x"], *saved)

    def step_backward(
        self, w: Arrays, dw: Arrays, saved: tuple[Array, ...], d: Arrays
    ) -> tuple[Arrays, Arrays, Array]:
        x, *rest = saved
        form = self._after_backward if self.reset_after else self._before_backward
        da, dh, dv = form(w, dw, tuple(rest), d["h"])
        return {"x": affine_backward(w, dw, "ih", x, da)}, {"h": dh}, dv

    def _after(
        self, w: Arrays, a: Array, h: Array, v: Array
    ) -> tuple[Array, tuple[Array, ...]]:
        gate = ACTIVATIONS[self.recurrent_activation]
        (a_r, a_z, a_n), (q_r, q_z, q_n) = split(a, 3), split(affine(w, "hh", v), 3)
        a_r, a_z = a_r + q_r, a_z + q_z
        r, z = gate.f(a_r), gate.f(a_z)
        a_n = a_n + r * q_n
        n = ACTIVATIONS[self.activation].f(a_n)
        return (1 - z) * n + z * h, (h, v, a_r, a_z, a_n, r, z, n, q_n)

    def _after_backward(
        self, w: Arrays, dw: Arrays, saved: tuple[Array, ...], dh_new: Array
    ) -> tuple[Array, Array, Array]:
        gate = ACTIVATIONS[self.recurrent_activation]
        h, v, a_r, a_z, a_n, r, z, n, q_n = saved
        da_z = dh_new * (h - n) * gate.derivative(a_z)
        da_n = dh_new * (1 - z) * ACTIVATIONS[self.activation].derivative(a_n)
        da_r = da_n * q_n * gate.derivative(a_r)
        dv = affine_backward(w, dw, "hh", v, join(da_r, da_z, da_n * r))
        return join(da_r, da_z, da_n), dh_new * z, dv

    def _before(
        self, w: Arrays, a: Array, h: Array, v: Array
    ) -> tuple[Array, tuple[Array, ...]]:
        gate = ACTIVATIONS[self.recurrent_activation]
        gates = slice(0, 2 * h.shape[1])
        candidate = slice(2 * h.shape[1], None)
        a_r, a_z, a_n = split(a, 3)
        q_r, q_z = split(affine(w, "hh", v, gates), 2)
        a_r, a_z = a_r + q_r, a_z + q_z
        r, z = gate.f(a_r), gate.f(a_z)
        a_n = a_n + affine(w, "hh", r * v, candidate)
        n = ACTIVATIONS[self.activation].f(a_n)
        return (1 - z) * n + z * h, (h, v, a_r, a_z, a_n, r, z, n)

    def _before_backward(
        self, w: Arrays, dw: Arrays, saved: tuple[Array, ...], dh_new: Array
    ) -> tuple[Array, Array, Array]:
        gate = ACTIVATIONS[self.recurrent_activation]
        h, v, a_r, a_z, a_n, r, z, n = saved
        gates = slice(0, 2 * h.shape[1])
        candidate = slice(2 * h.shape[1], None)
        da_z = dh_new * (h - n) * gate.derivative(a_z)
        da_n = dh_new * (1 - z) * ACTIVATIONS[self.activation].derivative(a_n)
        drv = affine_backward(w, dw, "hh", r * v, da_n, candidate)
        da_r = drv * v * gate.derivative(a_r)
        dv = drv * r + affine_backward(w, dw, "hh", v, join(da_r, da_z), gates)
        return join(da_r, da_z, da_n), dh_new * z, dv


@dataclasses.dataclass(frozen=True)
class GRUD(GRU):
    """Che et al. 2018: a GRU for values that are missing or come irregularly.

    Inputs `x`, `observed` (bool: m) and `delta` (time since the variable was last
    observed), each (N, T, C), and `x_mean (C,)`. Decays with `decay_input_weight (C,)`
    and `_bias` (diagonal), `decay_state_weight (H, C)` and `_bias`:

        gamma_x = exp(-max(0, w_x * delta + b_x))
        gamma_h = exp(-max(0, W_h delta + b_h))
        x^ = m * x + (1 - m) * (gamma_x * x_last + (1 - gamma_x) * x_mean)
        h^ = gamma_h * h

    then the step of the GRU with the reset before the product, from x^ and h^, with
    `weight_mask (3H, C)` times m in all gates. z is as everywhere here: h' is
    (1 - z) * n + z * h^, where the paper has 1 - z for z.

    x_last, the last observed value, is a second state; it starts with x_mean. Values of
    x that are not observed are never looked at.
    """

    reset_after: bool = dataclasses.field(default=False, init=False)
    layer_norm: bool = dataclasses.field(default=False, init=False)

    states: ClassVar[tuple[str, ...]] = ("h", "x_last")
    inputs: ClassVar[tuple[str, ...]] = ("x", "observed", "delta")
    constants: ClassVar[tuple[str, ...]] = ("x_mean",)

    def weight_shapes(self, c: int, h: int, o: int) -> Shapes:
        return gate_shapes(3, c, h) | {
            "weight_mask": (3 * h, c),
            "decay_input_weight": (c,),
            "decay_input_bias": (c,),
            "decay_state_weight": (h, c),
            "decay_state_bias": (h,),
        }

    def step(
        self, w: Arrays, x: Arrays, s: Arrays, v: Array
    ) -> tuple[Arrays, tuple[Array, ...]]:
        m, delta, h, x_last = x["observed"], x["delta"], s["h"], s["x_last"]
        e_x = w["decay_input_weight"] * delta + w["decay_input_bias"]
        e_h = delta @ w["decay_state_weight"].T + w["decay_state_bias"]
        gamma_x, gamma_h = np.exp(-relu(e_x)), np.exp(-relu(e_h))
        missing = gamma_x * x_last + (1 - gamma_x) * w["x_mean"]
        x_hat = np.where(m, x["x"], missing)
        a = affine(w, "ih", x_hat) + m @ w["weight_mask"].T
        h_new, saved = self._before(w, a, gamma_h * h, gamma_h * v)
        new = {"h": h_new, "x_last": np.where(m, x["x"], x_last)}
        return new, (m, delta, h, v, x_last, e_x, e_h, gamma_x, gamma_h, x_hat, *saved)

    def step_backward(
        self, w: Arrays, dw: Arrays, saved: tuple[Array, ...], d: Arrays
    ) -> tuple[Arrays, Arrays, Array]:
        m, delta, h, v, x_last, e_x, e_h, gamma_x, gamma_h, x_hat, *rest = saved
        da, dh_hat, dv_hat = self._before_backward(w, dw, tuple(rest), d["h"])
        dw["weight_mask"] += da.T @ m
        dx_hat = affine_backward(w, dw, "ih", x_hat, da)

        dgamma_h = dh_hat * h + dv_hat * v
        de_h = np.where(e_h.real > 0, -dgamma_h * gamma_h, 0)
        dw["decay_state_weight"] += de_h.T @ delta
        dw["decay_state_bias"] += de_h.sum(axis=0)

        dmissing = np.where(m, 0, dx_hat)
        dgamma_x = dmissing * (x_last - w["x_mean"])
        de_x = np.where(e_x.real > 0, -dgamma_x * gamma_x, 0)
        dw["decay_input_weight"] += (de_x * delta).sum(axis=0)
        dw["decay_input_bias"] += de_x.sum(axis=0)
        dw["x_mean"] += (dmissing * (1 - gamma_x)).sum(axis=0)

        dinputs = {
            "x": np.where(m, dx_hat + d["x_last"], 0),
            "delta": de_h @ w["decay_state_weight"] + de_x * w["decay_input_weight"],
        }
        dstates = {
            "h": dh_hat * gamma_h,
            "x_last": dmissing * gamma_x + np.where(m, 0, d["x_last"]),
        }
        return dinputs, dstates, dv_hat * gamma_h


CELLS: dict[str, Cell] = {
    "SimpleRNN": SimpleRNN(),
    "JordanRNN": JordanRNN(),
    "LSTM": LSTM(),
    "LSTM peephole": LSTM(peephole=True),
    "LSTM layer_norm": LSTM(layer_norm=True),
    "LSTM peephole layer_norm": LSTM(peephole=True, layer_norm=True),
    "GRU": GRU(),
    "GRU reset_before": GRU(reset_after=False),
    "GRU layer_norm": GRU(layer_norm=True),
    "MGU": MGU(),
    "GRUD": GRUD(),
}


# Over sequences


@dataclasses.dataclass(frozen=True, kw_only=True)
class Semantics:
    """How a cell is run. Arrays over time have the time's own index, `dy` and y the
    order of computation.

    lengths : (N,) integers in [0, T]: the valid steps of each row are its first ones.
    mask : (N, T) bool, any pattern; a step is valid where both say so. At an invalid
        one the states stay; its inputs, reset and zone do not matter.
    padded_output : what the output is there: "zero", or "repeat": the last valid
        output before, in the order of computation, and zeros before any.
    resets : (N, T) bool: before this step, in the order of computation, the states are
        the initial ones again.
    carried : by state, (N, H): the states before the first step, where those that
        resets go back to are others. They come from an earlier call, and no gradient
        goes there.
    reverse : steps T - 1 down to 0. As with Keras's go_backwards, y[:, 0] is then the
        output of step T - 1; see `at_own_time`.
    recurrent_mask : (N, H), factors of the previous output in every product with
        weight_hh (variational dropout: Gal & Ghahramani 2016); what is carried past
        the products does not see them.
    zone : by state, (N, T, H) bool: units that keep their previous value after the
        step (zoneout: Krueger et al. 2017), or a float: their expected share.
    """

    lengths: Array | None = None
    mask: Array | None = None
    padded_output: str = "zero"
    resets: Array | None = None
    carried: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    reverse: bool = False
    recurrent_mask: Array | float = 1.0
    zone: Mapping[str, Array | float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.padded_output not in {"zero", "repeat"}:
            raise ValueError(self.padded_output)

    def valid(self, n: int, t: int) -> Array:
        valid = np.ones((n, t), bool)
        if self.lengths is not None:
            valid &= np.arange(t) < self.lengths[:, None]
        if self.mask is not None:
            valid &= self.mask
        return valid

    def kept(self, state: str, t: int, dtype: np.dtype[Any]) -> Array:
        zone = np.asarray(self.zone.get(state, 0), dtype)
        return zone[:, t] if zone.ndim else zone


class Result(NamedTuple):
    y: Array  # (N, T, H) in the order of computation
    last: Arrays  # by state, (N, H)


class _Step(NamedTuple):
    t: int
    live: Array  # (N, 1)
    reset: Array  # (N, 1)
    saved: tuple[Array, ...]


def _arguments(
    cell: Cell, weights: Arrays, x: Array, inputs: Arrays | None
) -> tuple[Arrays, Arrays]:
    """The weights with the inputs that have no time, and the sequences."""
    inputs = {} if inputs is None else inputs
    constants = {name: inputs[name] for name in cell.constants}
    sequences = {name: {**inputs, "x": x}[name] for name in cell.inputs}
    return {**weights, **constants}, sequences


def _initial(cell: Cell, w: Arrays, x: Array, states: Arrays) -> Arrays:
    units = w["weight_hh"].shape[1]
    dtype = np.result_type(x, *w.values(), *states.values())
    initial = {name: np.zeros((len(x), units), dtype) for name in cell.states}
    if "x_last" in cell.states:
        initial["x_last"] = np.tile(w["x_mean"], (len(x), 1))
    return initial | {name.removesuffix("0"): a for name, a in states.items()}


def _run(
    cell: Cell, w: Arrays, sequences: Arrays, initial: Arrays, how: Semantics
) -> tuple[Result, list[_Step]]:
    n, steps = sequences["x"].shape[:2]
    dtype = np.result_type(*w.values(), *sequences.values(), *initial.values())
    valid = how.valid(n, steps)
    resets = np.zeros((n, steps), bool) if how.resets is None else how.resets
    state = initial | dict(how.carried)
    y = np.zeros((n, steps, initial["h"].shape[1]), dtype)
    output = np.zeros_like(initial["h"])
    trace = []
    for k in range(steps):
        t = steps - 1 - k if how.reverse else k
        live, reset = valid[:, t, None], resets[:, t, None]
        # Padding may hold anything; the formulas must not meet it.
        x = {k: np.where(live, a[:, t], a.dtype.type(0)) for k, a in sequences.items()}
        before = {name: np.where(reset, initial[name], s) for name, s in state.items()}
        new, saved = cell.step(w, x, before, before["h"] * how.recurrent_mask)
        for name in cell.states:
            kept = how.kept(name, t, dtype)
            new[name] = kept * before[name] + (1 - kept) * new[name]
        state = {name: np.where(live, new[name], s) for name, s in state.items()}
        padding = output if how.padded_output == "repeat" else np.zeros_like(output)
        output = np.where(live, new["h"], padding)
        y[:, k] = output
        trace.append(_Step(t, live, reset, saved))
    return Result(y, state), trace


def forward(
    cell: str | Cell,
    weights: Arrays,
    x: Array,
    inputs: Arrays | None = None,
    states: Arrays | None = None,
    **options: Any,
) -> Result:
    """All outputs, and the last states by name.

    `cell` is a name of `CELLS` or a cell; `inputs` are a GRU-D's, but for x; `states`
    the initial ones, "h0" and "c0", zero where not given; `options` are `Semantics`.
    """
    cell = CELLS[cell] if isinstance(cell, str) else cell
    w, sequences = _arguments(cell, weights, x, inputs)
    initial = _initial(cell, w, x, {} if states is None else states)
    return _run(cell, w, sequences, initial, Semantics(**options))[0]


def backward(
    cell: str | Cell,
    weights: Arrays,
    x: Array,
    inputs: Arrays | None = None,
    states: Arrays | None = None,
    dy: Array | None = None,
    dlast: Arrays | None = None,
    **options: Any,
) -> Arrays:
    """Gradients of a loss whose gradient is `dy` for y and `dlast` for the last states.

    By name: the inputs ("x"; a GRU-D's "delta" and "x_mean"), the initial states ("h0",
    "c0") and every weight.
    """
    cell = CELLS[cell] if isinstance(cell, str) else cell
    states = {} if states is None else states
    how = Semantics(**options)
    w, sequences = _arguments(cell, weights, x, inputs)
    initial = _initial(cell, w, x, states)
    (y, last), trace = _run(cell, w, sequences, initial, how)

    dw = {name: np.zeros(a.shape, y.dtype) for name, a in w.items()}
    dinputs = {name: np.zeros(a.shape, y.dtype) for name, a in sequences.items()}
    dinputs.pop("observed", None)
    dinitial = {name: np.zeros_like(a) for name, a in last.items()}
    d = dinitial | ({} if dlast is None else dlast)
    doutput = np.zeros_like(last["h"])  # what later steps repeat
    for k in reversed(range(len(trace))):
        t, live, reset, saved = trace[k]
        if dy is not None:
            doutput = doutput + dy[:, k]
        dnew = {name: np.where(live, a, 0) for name, a in d.items()}
        dnew["h"] = dnew["h"] + np.where(live, doutput, 0)
        if how.padded_output == "repeat":
            doutput = np.where(live, 0, doutput)
        else:
            doutput = np.zeros_like(doutput)

        kept = {name: how.kept(name, t, y.dtype) for name in cell.states}
        dcomputed = {name: (1 - kept[name]) * a for name, a in dnew.items()}
        dx, dbefore, dv = cell.step_backward(w, dw, saved, dcomputed)
        for name, a in dx.items():
            dinputs[name][:, t] = a
        dbefore["h"] = dbefore.get("h", 0) + dv * how.recurrent_mask
        for name in cell.states:
            a = dbefore[name] + kept[name] * dnew[name]  # 0 at padded steps
            dinitial[name] = dinitial[name] + np.where(reset, a, 0)
            d[name] = np.where(live, np.where(reset, 0, a), d[name])
    dinitial = {
        name: a + (0 if name in how.carried else d[name])
        for name, a in dinitial.items()
    }
    if "x_last" in dinitial and "x_last0" not in states:
        dw["x_mean"] += dinitial.pop("x_last").sum(axis=0)
    return {**dw, **dinputs, **{f"{name}0": a for name, a in dinitial.items()}}


def at_own_time(y: Array) -> Array:
    """y of a reverse run with every output at its step's own index, or dy back."""
    return y[:, ::-1]


# Numbers of parameters, and random arguments


def weight_shapes(
    cell: str | Cell, inputs: int, units: int, outputs: int | None = None
) -> Shapes:
    """Shapes by name; `outputs` are a JordanRNN's, `units` where not given."""
    cell = CELLS[cell] if isinstance(cell, str) else cell
    return cell.weight_shapes(inputs, units, units if outputs is None else outputs)


def parameter_count(
    cell: str | Cell, m: int, n: int, o: int | None = None, biases: int = 1
) -> int:
    """Number of parameters of `n` units with `m` inputs, by the textbooks' formulas.

    `biases` is the number of bias vectors; the GRU that resets after the product has
    two in any case, and a JordanRNN (with `o` outputs) one.
    """
    cell = CELLS[cell] if isinstance(cell, str) else cell
    o = n if o is None else o
    match cell:
        case SimpleRNN():
            return n**2 + m * n + biases * n
        case JordanRNN():
            return n * o + m * n + n + o * (n + 1)
        case LSTM():
            extra = 3 * n * cell.peephole + 8 * n * cell.layer_norm
            return 4 * (n**2 + m * n + biases * n) + extra
        case MGU():
            return 2 * (n**2 + m * n + biases * n)
        case GRUD():
            decays = 2 * m + m * n + n
            return 3 * (n**2 + 2 * m * n + biases * n) + decays
        case GRU():
            biases = 2 if cell.reset_after else biases
            return 3 * (n**2 + m * n + biases * n) + 6 * n * cell.layer_norm
    raise TypeError(cell)


class Case(NamedTuple):
    """Arguments of a call: `forward(case.cell, **case.arguments)`."""

    cell: Cell
    arguments: dict[str, Any]  # weights, x, inputs, states
    dy: Array
    dlast: Arrays


def random_case(
    rng: np.random.Generator,
    cell: str | Cell,
    rows: int = 2,
    steps: int = 4,
    inputs: int = 3,
    units: int = 5,
    outputs: int | None = None,
    dtype: Any = np.float64,
) -> Case:
    """Random weights (of variance 1 / fan-in), inputs, states and gradients."""
    cell = CELLS[cell] if isinstance(cell, str) else cell

    def normal(*shape: int) -> Array:
        return rng.normal(size=shape).astype(dtype)

    weights = {}
    for name, shape in weight_shapes(cell, inputs, units, outputs).items():
        scale = shape[1] ** -0.5 if len(shape) == 2 else 0.5
        weights[name] = (scale * rng.normal(size=shape)).astype(dtype)
        if name.startswith("gain"):
            weights[name] += 1
    sequence = (rows, steps, inputs)
    others = {
        "observed": rng.random(sequence) < 0.6,
        "delta": rng.exponential(size=sequence).astype(dtype),
        "x_mean": normal(inputs),
    }
    width = units
    if isinstance(cell, JordanRNN) and outputs is not None:
        width = outputs
    names = [name for name in cell.states if name != "x_last"]
    arguments = {
        "weights": weights,
        "x": normal(*sequence),
        "inputs": {k: others[k] for k in (*cell.inputs[1:], *cell.constants)},
        "states": {f"{name}0": normal(rows, width) for name in names},
    }
    dlast = {name: normal(rows, width) for name in names}
    return Case(cell, arguments, normal(rows, steps, width), dlast)


SEMANTICS = (
    "plain",
    "lengths",
    "mask",
    "repeat",
    "resets",
    "carried",
    "reverse",
    "reverse lengths",
    "recurrent_mask",
    "zoneout",
    "expected zoneout",
    "everything",
)


def random_semantics(rng: np.random.Generator, name: str, case: Case) -> dict[str, Any]:
    """Options of the kind `name` of `SEMANTICS` for a case."""
    n, steps, width = case.dy.shape
    dtype = case.dy.dtype
    lengths = rng.integers(0, steps + 1, size=n)
    mask = rng.random((n, steps)) < 0.6
    resets = rng.random((n, steps)) < 0.3
    dropped = ((rng.random((n, width)) < 0.7) / 0.7).astype(dtype)
    zone = {state: rng.random((n, steps, width)) < 0.4 for state in case.dlast}
    match name:
        case "plain":
            return {}
        case "lengths":
            return {"lengths": lengths}
        case "mask":
            return {"mask": mask}
        case "repeat":
            return {"mask": mask, "padded_output": "repeat"}
        case "resets":
            return {"resets": resets}
        case "carried":
            shapes = {state: a.shape for state, a in case.dlast.items()}
            carried = {k: rng.normal(size=s).astype(dtype) for k, s in shapes.items()}
            return {"mask": mask, "resets": resets, "carried": carried}
        case "reverse":
            return {"reverse": True}
        case "reverse lengths":
            return {"reverse": True, "lengths": lengths}
        case "recurrent_mask":
            return {"recurrent_mask": dropped}
        case "zoneout":
            return {"zone": zone}
        case "expected zoneout":
            return {"zone": dict(zip(zone, (0.2, 0.4), strict=False))}
        case "everything":
            return {
                "mask": mask,
                "padded_output": "repeat",
                "resets": resets,
                "reverse": True,
                "recurrent_mask": dropped,
                "zone": zone,
            }
    raise ValueError(name)

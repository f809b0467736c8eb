"""The formulas in NumPy: what every fast kernel is compared with.

Written to be read, not to be fast. Every function works in any floating dtype and,
for differentiation by complex step, in complex ones: no gradient conjugates, and
functions with a kink look at the real part only.

Shapes: N rows (batch), T steps, C inputs, H units. `x (N, T, C)`, `h0 (N, H)`,
`weight_ih (3H, C)`, `weight_hh (3H, H)`, `bias_ih (3H,)`, `bias_hh (3H,)`; gates in
the order r, z, n.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def sigmoid(a: Array) -> Array:
    """1 / (1 + exp(-a)) without overflow."""
    e = np.exp(np.where(a.real < 0, a, -a))
    y: Array = np.where(a.real < 0, e, 1) / (1 + e)
    return y


def relu(a: Array) -> Array:
    return np.where(a.real <= 0, 0, a)  # a NaN stays a NaN


# Activations


class Activation(NamedTuple):
    f: Callable[[Array], Array]
    derivative: Callable[[Array], Array]  # by the argument of f; 0 or 1 at a kink


def _absolute(a: Array) -> Array:
    return np.where(a.real < 0, -a, a)


def _tanh_derivative(a: Array) -> Array:
    y = np.tanh(a)
    return 1 - y * y


def _sigmoid_derivative(a: Array) -> Array:
    return sigmoid(a) * sigmoid(-a)


def _hard_sigmoid(a: Array) -> Array:
    """relu6(a + 3) / 6, as in Keras 3 and PyTorch."""
    return np.where(a.real <= -3, 0, np.where(a.real >= 3, 1, (a + 3) / 6))


def _hard_sigmoid_derivative(a: Array) -> Array:
    d: Array = (np.abs(a.real) < 3).astype(a.dtype) / 6
    return d


def _relu_derivative(a: Array) -> Array:
    return (a.real > 0).astype(a.dtype)


def _softsign(a: Array) -> Array:
    """a / (1 + |a|)."""
    y: Array = a / (1 + _absolute(a))
    return y


def _softsign_derivative(a: Array) -> Array:
    d: Array = 1 / (1 + _absolute(a)) ** 2
    return d


def _elu(a: Array) -> Array:
    """a, and exp(a) - 1 below 0 (alpha = 1)."""
    return np.where(a.real > 0, a, np.expm1(np.where(a.real > 0, 0, a)))


def _elu_derivative(a: Array) -> Array:
    d: Array = np.exp(np.where(a.real > 0, 0, a))
    return d


_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def _density(a: Array) -> Array:
    """Of the normal distribution."""
    d: Array = np.exp(-a * a / 2) / math.sqrt(2 * math.pi)
    return d


def _normal(a: Array) -> Array:
    """The normal distribution, to first order in an imaginary part."""
    y: Array = (_erfc(-a.real / math.sqrt(2)) / 2).astype(a.real.dtype)
    if np.iscomplexobj(a):
        y = y + 1j * a.imag * _density(a.real)
    return y


def _gelu(a: Array) -> Array:
    return a * _normal(a)


def _gelu_derivative(a: Array) -> Array:
    d: Array = _normal(a) + a * _density(a)
    return d


def _swish(a: Array) -> Array:
    """a sigmoid(a), also called SiLU."""
    return a * sigmoid(a)


def _swish_derivative(a: Array) -> Array:
    d: Array = sigmoid(a) * (1 + a * sigmoid(-a))
    return d


def _softplus(a: Array) -> Array:
    """log(1 + exp(a)) without overflow."""
    return relu(a) + np.log1p(np.exp(-_absolute(a)))


ACTIVATIONS = {
    "linear": Activation(lambda a: a, np.ones_like),
    "tanh": Activation(np.tanh, _tanh_derivative),
    "sigmoid": Activation(sigmoid, _sigmoid_derivative),
    "hard_sigmoid": Activation(_hard_sigmoid, _hard_sigmoid_derivative),
    "relu": Activation(relu, _relu_derivative),
    "softsign": Activation(_softsign, _softsign_derivative),
    "elu": Activation(_elu, _elu_derivative),
    "gelu": Activation(_gelu, _gelu_derivative),
    "swish": Activation(_swish, _swish_derivative),
    "softplus": Activation(_softplus, sigmoid),
}


# GRU


class GRUGradients(NamedTuple):
    dx: Array
    dh0: Array
    dweight_ih: Array
    dweight_hh: Array
    dbias_ih: Array
    dbias_hh: Array


class _Step(NamedTuple):
    r: Array
    z: Array
    n: Array
    s: Array  # U_n h + b_hn; only the reset_after form has it
    h: Array  # the state after the step


def _gru_step(
    x: Array,
    h: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array,
    bias_hh: Array,
    reset_after: bool,
) -> _Step:
    w_r, w_z, w_n = np.split(weight_ih, 3)
    u_r, u_z, u_n = np.split(weight_hh, 3)
    b_ir, b_iz, b_in = np.split(bias_ih, 3)
    b_hr, b_hz, b_hn = np.split(bias_hh, 3)
    r = sigmoid(x @ w_r.T + b_ir + h @ u_r.T + b_hr)
    z = sigmoid(x @ w_z.T + b_iz + h @ u_z.T + b_hz)
    if reset_after:
        s = h @ u_n.T + b_hn
        n = np.tanh(x @ w_n.T + b_in + r * s)
    else:
        s = np.zeros_like(h)
        n = np.tanh(x @ w_n.T + b_in + (r * h) @ u_n.T + b_hn)
    return _Step(r, z, n, s, (1 - z) * n + z * h)


def _gru_steps(
    x: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array,
    bias_hh: Array,
    h0: Array | None,
    reset_after: bool,
) -> tuple[Array, list[_Step]]:
    """The initial state and every step's gates."""
    dtype = np.result_type(x, weight_ih, weight_hh, bias_ih, bias_hh)
    if h0 is None:
        h0 = np.zeros((x.shape[0], weight_hh.shape[1]), dtype)
    steps: list[_Step] = []
    h = h0
    for t in range(x.shape[1]):
        steps.append(
            _gru_step(x[:, t], h, weight_ih, weight_hh, bias_ih, bias_hh, reset_after)
        )
        h = steps[-1].h
    return h0, steps


def gru_forward(
    x: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array,
    bias_hh: Array,
    h0: Array | None = None,
    reset_after: bool = True,
) -> tuple[Array, Array]:
    """All states `y (N, T, H)` and the last one `h_n (N, H)`."""
    h0, steps = _gru_steps(x, weight_ih, weight_hh, bias_ih, bias_hh, h0, reset_after)
    if not steps:
        return np.zeros((x.shape[0], 0, h0.shape[1]), h0.dtype), h0.copy()
    return np.stack([step.h for step in steps], axis=1), steps[-1].h


def gru_backward(
    x: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array,
    bias_hh: Array,
    h0: Array | None = None,
    dy: Array | None = None,
    dh_n: Array | None = None,
    reset_after: bool = True,
) -> GRUGradients:
    """Gradients of a loss whose gradient is `dy` for y and `dh_n` for h_n."""
    h0, steps = _gru_steps(x, weight_ih, weight_hh, bias_ih, bias_hh, h0, reset_after)
    dtype = np.result_type(x, weight_ih, weight_hh, bias_ih, bias_hh, h0)
    u_rz, u_n = np.split(weight_hh, [2 * h0.shape[1]])
    dx = np.zeros(x.shape, dtype)
    dweight_ih, dweight_hh = np.zeros_like(weight_ih), np.zeros_like(weight_hh)
    dbias_ih, dbias_hh = np.zeros_like(bias_ih), np.zeros_like(bias_hh)
    dh = np.zeros(h0.shape, dtype) if dh_n is None else dh_n
    for t in reversed(range(x.shape[1])):
        r, z, n, s, _ = steps[t]
        h = steps[t - 1].h if t > 0 else h0
        if dy is not None:
            dh = dh + dy[:, t]
        da_z = dh * (h - n) * z * (1 - z)
        da_n = dh * (1 - z) * (1 - n * n)
        dh = dh * z
        if reset_after:
            da_r = da_n * s * r * (1 - r)
            dgates_h = np.concatenate([da_r, da_z, da_n * r], axis=1)
            dh = dh + dgates_h @ weight_hh
            dweight_hh += dgates_h.T @ h
            dbias_hh += dgates_h.sum(axis=0)
            dgates_x = np.concatenate([da_r, da_z, da_n], axis=1)
        else:
            drh = da_n @ u_n
            da_r = drh * h * r * (1 - r)
            da_rz = np.concatenate([da_r, da_z], axis=1)
            dh = dh + drh * r + da_rz @ u_rz
            dweight_hh += np.concatenate([da_rz.T @ h, da_n.T @ (r * h)])
            dgates_x = np.concatenate([da_rz, da_n], axis=1)
            dbias_hh += dgates_x.sum(axis=0)
        dx[:, t] = dgates_x @ weight_ih
        dweight_ih += dgates_x.T @ x[:, t]
        dbias_ih += dgates_x.sum(axis=0)
    return GRUGradients(dx, dh, dweight_ih, dweight_hh, dbias_ih, dbias_hh)


# Dense


def dense_forward(
    x: Array, weight: Array, bias: Array, activation: str = "linear"
) -> Array:
    """activation(x weight^T + bias) for `x (..., C)`, `weight (units, C)`."""
    return ACTIVATIONS[activation].f(x @ weight.T + bias)


def dense_backward(
    x: Array, weight: Array, bias: Array, dy: Array, activation: str = "linear"
) -> tuple[Array, Array, Array]:
    """Gradients for x, weight and bias."""
    da = dy * ACTIVATIONS[activation].derivative(x @ weight.T + bias)
    rows, da_rows = x.reshape(-1, x.shape[-1]), da.reshape(-1, da.shape[-1])
    return da @ weight, da_rows.T @ rows, da_rows.sum(axis=0)


# Losses: the mean over all elements, and its gradient for the prediction


def mse(prediction: Array, target: Array) -> tuple[Any, Array]:
    e = prediction - target
    return np.mean(e * e), 2 * e / e.size


def mae(prediction: Array, target: Array) -> tuple[Any, Array]:
    e = prediction - target
    sign = np.sign(e.real)
    return np.mean(e * sign), sign / e.size


# Optimizers: the state goes in, the new state comes out


def sgd(
    weight: Array,
    gradient: Array,
    velocity: Array,
    learning_rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
) -> tuple[Array, Array]:
    """v = momentum v - lr g; w += v (Nesterov: w += momentum v - lr g): w, v."""
    velocity = momentum * velocity - learning_rate * gradient
    if nesterov:
        return weight + momentum * velocity - learning_rate * gradient, velocity
    return weight + velocity, velocity


def adam(
    weight: Array,
    gradient: Array,
    m: Array,
    v: Array,
    step: int,
    learning_rate: float = 1e-3,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
) -> tuple[Array, Array, Array]:
    """Kingma & Ba 2015, algorithm 1, for step = 1, 2, …: w, m, v."""
    m = beta_1 * m + (1 - beta_1) * gradient
    v = beta_2 * v + (1 - beta_2) * gradient * gradient
    m_hat = m / (1 - beta_1**step)
    v_hat = v / (1 - beta_2**step)
    return weight - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon), m, v


def amsgrad(
    weight: Array,
    gradient: Array,
    m: Array,
    v: Array,
    v_hat: Array,
    step: int,
    learning_rate: float,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> tuple[Array, Array, Array, Array]:
    """Adam with the largest v so far in the place of v: w, m, v, v_hat."""
    m = beta_1 * m + (1 - beta_1) * gradient
    v = beta_2 * v + (1 - beta_2) * gradient * gradient
    v_hat = np.maximum(v, v_hat)
    root = np.sqrt(v_hat / (1 - beta_2**step)) + epsilon
    return weight - learning_rate * m / (1 - beta_1**step) / root, m, v, v_hat


def rmsprop(
    weight: Array,
    gradient: Array,
    v: Array,
    total: Array,
    mean: Array,
    learning_rate: float,
    rho: float,
    momentum: float,
    epsilon: float,
    centered: bool,
) -> tuple[Array, Array, Array, Array]:
    """Divide by the root of the mean square or of the variance: w, v, total, mean."""
    v = rho * v + (1 - rho) * gradient**2
    mean = rho * mean + (1 - rho) * gradient
    below = v - mean**2 if centered else v
    total = momentum * total + learning_rate * gradient / np.sqrt(below + epsilon)
    return weight - total, v, total, mean


def adagrad(
    weight: Array,
    gradient: Array,
    accumulator: Array,
    learning_rate: float,
    epsilon: float,
) -> tuple[Array, Array]:
    """Divide by the root of the sum of squares: w, accumulator."""
    accumulator = accumulator + gradient**2
    return weight - learning_rate * gradient / np.sqrt(accumulator + epsilon), (
        accumulator
    )


def adadelta(
    weight: Array,
    gradient: Array,
    squares: Array,
    moves: Array,
    learning_rate: float,
    rho: float,
    epsilon: float,
) -> tuple[Array, Array, Array]:
    """Zeiler 2012, algorithm 1, with a learning rate: w, squares, moves."""
    squares = rho * squares + (1 - rho) * gradient**2
    move = np.sqrt(moves + epsilon) / np.sqrt(squares + epsilon) * gradient
    moves = rho * moves + (1 - rho) * move**2
    return weight - learning_rate * move, squares, moves


def adafactor(
    weight: Array,
    gradient: Array,
    squares: tuple[Array, Array] | Array,
    step: int,
    learning_rate: float,
    beta_2_decay: float,
    epsilon_1: float,
    epsilon_2: float,
    clip_threshold: float,
) -> tuple[Array, tuple[Array, Array] | Array]:
    """Shazeer & Stern 2018, algorithms 4 and 5: w, squares (of rows and columns)."""
    if not weight.size:
        return weight, squares
    decay = 1 - step**beta_2_decay
    new = gradient**2 + epsilon_1
    if isinstance(squares, tuple):
        r, c = squares
        r = decay * r + (1 - decay) * new.mean(axis=1)
        c = decay * c + (1 - decay) * new.mean(axis=0)
        squares, mean = (r, c), np.outer(r, c) / r.mean()
    else:
        squares = mean = decay * squares + (1 - decay) * new
    move = gradient / np.sqrt(mean)
    move = move / max(1.0, np.sqrt(np.mean(move**2)) / clip_threshold)
    rate = min(learning_rate, 1 / np.sqrt(step))
    rate = rate * max(epsilon_2, np.sqrt(np.mean(weight**2)))
    return weight - rate * move, squares


def adamax(
    weight: Array,
    gradient: Array,
    m: Array,
    u: Array,
    step: int,
    learning_rate: float,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> tuple[Array, Array, Array]:
    """Kingma & Ba 2015, algorithm 2, with an epsilon: w, m, u."""
    m = beta_1 * m + (1 - beta_1) * gradient
    u = np.maximum(beta_2 * u, np.abs(gradient))
    return weight - learning_rate / (1 - beta_1**step) * m / (u + epsilon), m, u


def nadam(
    weight: Array,
    gradient: Array,
    m: Array,
    v: Array,
    step: int,
    learning_rate: float,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> tuple[Array, Array, Array]:
    """Dozat 2016, with his decays of the momentum: w, m, v."""
    decays = beta_1 * (1 - 0.5 * 0.96 ** np.arange(1, step + 2))
    m = beta_1 * m + (1 - beta_1) * gradient
    v = beta_2 * v + (1 - beta_2) * gradient**2
    ahead = decays[-1] * m / (1 - np.prod(decays))
    now = (1 - decays[-2]) * gradient / (1 - np.prod(decays[:-1]))
    root = np.sqrt(v / (1 - beta_2**step)) + epsilon
    return weight - learning_rate * (ahead + now) / root, m, v


def lion(
    weight: Array,
    gradient: Array,
    m: Array,
    learning_rate: float,
    beta_1: float,
    beta_2: float,
) -> tuple[Array, Array]:
    """Chen et al. 2023, algorithm 2: w, m."""
    move = np.sign(beta_1 * m + (1 - beta_1) * gradient)
    return weight - learning_rate * move, beta_2 * m + (1 - beta_2) * gradient


def ftrl(
    weight: Array,
    gradient: Array,
    accumulator: Array,
    linear: Array,
    learning_rate: float,
    power: float,
    l1: float,
    l2: float,
    shrinkage: float,
    beta: float,
) -> tuple[Array, Array, Array]:
    """McMahan et al. 2013, algorithm 1, as Keras extends it: w, accumulator, linear."""
    total = accumulator + gradient**2
    sigma = (total**-power - accumulator**-power) / learning_rate
    linear = linear + gradient + 2 * shrinkage * weight - sigma * weight
    below = total**-power / learning_rate + 2 * (l2 + beta / (2 * learning_rate))
    moved = (np.clip(linear, -l1, l1) - linear) / below
    return moved, total, linear


def clip_values(gradients: list[Array], limit: float) -> list[Array]:
    """Hold every element to [-limit, limit]."""
    return [np.clip(g, -limit, limit) for g in gradients]


def clip_norms(gradients: list[Array], limit: float) -> list[Array]:
    """Shorten every gradient whose Euclidean norm is larger."""
    return [
        g * min(1, limit / max(float(np.linalg.norm(g)), 1e-300)) for g in gradients
    ]


def clip_global_norm(gradients: list[Array], limit: float) -> list[Array]:
    """Shorten all gradients alike if the norm of all of them is larger."""
    norm = sum(float(np.sum(g**2)) for g in gradients) ** 0.5
    return [g * min(1, limit / max(norm, 1e-300)) for g in gradients]

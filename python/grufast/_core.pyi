"""Types of the native module. Shapes: N rows (batch), T steps, C inputs, H units."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, TypedDict, overload

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float32] | NDArray[np.float64]
Keep: TypeAlias = Literal["nothing", "states", "gates"]
Activation: TypeAlias = Literal[
    "linear",
    "tanh",
    "sigmoid",
    "relu",
    "hard_sigmoid",
    "softsign",
    "elu",
    "gelu",
    "swish",
    "softplus",
]

Cell: TypeAlias = Literal[
    "gru",
    "gru_reset_before",
    "lstm",
    "gru_chosen",
    "gru_reset_before_chosen",
    "lstm_chosen",
    "lstm_peephole",
    "simple_rnn",
    "mgu",
    "jordan",
    "gru_decay",
    "gru_normalized",
    "lstm_normalized",
    "lstm_peephole_normalized",
]

class BuildInfo(TypedDict):
    """What `grufast.build_info` returns."""

    version: str
    compiler: str
    openmp: bool
    isas_built: list[str]
    isas_available: list[str]
    isa: str

__version__: str

def build_info() -> BuildInfo: ...
def set_isa(name: str) -> None: ...
def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def set_adaptive(on: bool) -> None:
    """Say whether calls do without threads that have been late (true at first)."""

class Workspace:
    """What a training forward keeps for its backward; reusable, grows as needed."""

    def __init__(self) -> None: ...
    @property
    def nbytes(self) -> int: ...

class Stream:
    """One sequence of a layer, a step a call; made by `Recurrent.stream`."""

    @property
    def step(self) -> Callable[[Array, Array], Array]:
        """A function step(x (C,), out (H,)) -> out; fetch it once, call it often."""

    def reset(self, state: Array | None) -> None: ...
    @property
    def state(self) -> Array: ...

class Recurrent:
    """One recurrent layer in one direction: its sizes and its packed weights."""

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        dtype: Literal["float32", "float64"],
        activation: Activation = ...,
        recurrent_activation: Activation = ...,
    ) -> None:
        """Cells "..._chosen", and those with one form only, heed the activations."""

    def pack(
        self,
        weight_ih: Array,
        weight_hh: Array,
        bias_ih: Array,
        bias_hh: Array,
        parameters: Array | None = ...,
    ) -> None:
        """Copy weights (G*H, C), (G*H, H), (G*H,), (G*H,) into the kernels' layout.

        parameters (P*H,): what some cells have besides; see the headers of the cells.
        """

    def forward(
        self,
        x: Array,
        h0: Array | None,
        sequences: bool,
        workspace: Workspace | None,
        keep: Keep = "gates",
    ) -> tuple[Array | None, Array]:
        """x (N, T, C), h0 (N, H) -> (y (N, T, H) or None, h_n (N, H)).

        x may have any strides whose last one is an element. `keep` says what stays in
        the workspace for `backward`: the gates, or the states, from which it computes
        the gates again. Calls from several threads at once are safe, each with a
        workspace of its own or with None.
        """

    @overload
    def backward(
        self,
        workspace: Workspace,
        x: Array,
        dy: Array | None,
        dh_n: Array | None,
        need_dx: Literal[True] = ...,
    ) -> tuple[Array, Array, Array, Array, Array, Array]: ...
    @overload
    def backward(
        self,
        workspace: Workspace,
        x: Array,
        dy: Array | None,
        dh_n: Array | None,
        need_dx: bool,
    ) -> tuple[Array | None, Array, Array, Array, Array, Array]:
        """Return dx, dh0, dweight_ih, dweight_hh, dbias_ih, dbias_hh.

        x is the array of the forward call; dy (N, T, H) and dh_n (N, H) may be None
        (zero). Uses the workspace up: a second call without a forward is a ValueError.
        """

    def stream(self) -> Stream:
        """Start a stream from the zero state; `pack` must not be called again."""

class Stack:
    """Recurrent layers on top of each other, each in one direction or in two.

    The second direction of a level runs over the reversed sequence, and its states
    stand beside the first one's in the level's output. Lists of states have an item
    for every state of every direction, first level first.
    """

    def __init__(
        self,
        levels: Sequence[Sequence[Recurrent]],
        backwards: Sequence[bool] = ...,
    ) -> None:
        """backwards: which levels of one direction run from the sequence's end."""

    def forward(
        self,
        x: Array,
        h0: Sequence[Array | None],
        sequences: bool,
        workspace: Workspace,
        keep: Keep,
        lengths: Sequence[int] | NDArray[np.integer] | None = ...,
        mask: NDArray[np.bool] | None = ...,
        resets: NDArray[np.bool] | None = ...,
        repeat: bool = ...,
        input_mask: Array | None = ...,
        recurrent_masks: Sequence[Array | None] | None = ...,
        zones: Sequence[tuple[Sequence[float], bool, int] | None] | None = ...,
        reset_states: Sequence[Array | None] | None = ...,
    ) -> tuple[Array | None, list[Array]]:
        """Return y of the last level or None, and the last states.

        lengths (N,) or mask (N, T): the steps to run; outputs at others are zero or,
        with `repeat`, the last one again. resets (N, T): where states are the first
        ones again before the step, or `reset_states`, given as h0 is; then backward
        returns the gradients of these in place of h0's. input_mask (N, C): what x is
        multiplied by on its way into products, in all steps. Of every direction:
        recurrent_masks (N, H), which the state is multiplied by on its way into
        products; zones, which are the rates of the states, whether units are drawn, and
        the seed of that. These two are for cells whose formula is separate, that is,
        all but "gru", "gru_reset_before" and "lstm".
        """

    def backward(
        self,
        workspace: Workspace,
        x: Array,
        dy: Array | None,
        dh_n: Sequence[Array | None],
        need_dx: bool,
        input_mask: Array | None = ...,
    ) -> tuple[Array | None, list[Array]]:
        """Return dx or None, and the other gradients; input_mask as in `forward`.

        Of every direction those are dh0 (of every state), dweight_ih, dweight_hh,
        dbias_ih, dbias_hh and, where the cell has any, dparameters.
        """

class Dense:
    """A dense layer's packed weights; activation fused."""

    def __init__(
        self,
        input_size: int,
        units: int,
        dtype: Literal["float32", "float64"],
        activation: Activation,
    ) -> None: ...
    def pack(self, weight: Array, bias: Array) -> None:
        """Copy weight (units, C) and bias (units,) into the kernels' layout."""

    def forward(self, x: Array) -> Array:
        """x (rows, C) -> activation(x weight^T + bias) (rows, units)."""

    def train(self, x: Array) -> tuple[Array, Array]:
        """Return what `forward` does, and what `backward` needs besides x."""

    def backward(
        self, x: Array, kept: Array, dy: Array, need_dx: bool = ...
    ) -> tuple[Array | None, Array, Array]:
        """x, kept as in train, dy (rows, units) -> dx or None, dweight, dbias."""

def activate(activation: Activation, x: Array) -> tuple[Array, Array]:
    """x (n,) -> the activation's values, and what `activate_backward` needs."""

def activate_backward(activation: Activation, kept: Array, dy: Array) -> Array:
    """kept as from activate, dy (n,) -> dx."""

def input_decay(
    x: Array,
    weight: Array,
    bias: Array,
    mean: Array,
    backwards: bool,
    keep: bool,
    lengths: Sequence[int] | NDArray[np.integer] | None = ...,
    mask: NDArray[np.bool] | None = ...,
    resets: NDArray[np.bool] | None = ...,
) -> tuple[Array, Array | None]:
    """Return x (N, T, 3C) of a GRU-D without gaps, and what backward needs (N, T, C).

    x has values, whether they were observed, and times since their last observation;
    weight, bias and mean are (C,), lengths, mask and resets as in `Stack.forward`. A
    missing value is mean + exp(-max(0, weight time + bias)) (last - mean), where last
    is the last observation before the step, the mean itself where there is none.
    """

def input_decay_backward(
    x: Array,
    weight: Array,
    bias: Array,
    mean: Array,
    backwards: bool,
    kept: Array,
    dx: Array,
    lengths: Sequence[int] | NDArray[np.integer] | None = ...,
    mask: NDArray[np.bool] | None = ...,
    resets: NDArray[np.bool] | None = ...,
) -> tuple[Array, Array]:
    """Make dx (N, T, 3C) that of x, in place; return dweight and dbias (C,)."""

State: TypeAlias = tuple[Any, ...]
Rows: TypeAlias = tuple[NDArray[np.int64], Array]

def sgd_step(
    names: list[str],
    states: list[State],
    gradients: list[Array | Rows],
    learning_rate: float,
    weight_decay: float | None,
    clipnorm: float | None,
    clipvalue: float | None,
    global_clipnorm: float | None,
    momentum: float,
    nesterov: bool,
) -> None:
    """Update weights in place; so do the other optimizers' steps.

    The names are those of the weights, for errors. A state is (weight, velocity or
    None), a gradient an array like the weight or the tuple (row numbers (n,), rows
    (n, D)) for a weight (V, D). The weights are first multiplied by
    1 - learning_rate weight_decay, the gradients clipped; None: not.
    v = momentum v - lr g; w += v (Nesterov: w += momentum v - lr g).
    """

def adam_step(
    names: list[str],
    states: list[State],
    gradients: list[Array | Rows],
    learning_rate: float,
    weight_decay: float | None,
    clipnorm: float | None,
    clipvalue: float | None,
    global_clipnorm: float | None,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> None:
    """Kingma & Ba 2015, algorithm 1; states (weight, m, v, v_hat or None, step).

    step is an int64 array of shape (), the number of updates so far. With v_hat the
    largest v so far takes the place of v.
    """

def rmsprop_step(
    names: list[str],
    states: list[State],
    gradients: list[Array | Rows],
    learning_rate: float,
    weight_decay: float | None,
    clipnorm: float | None,
    clipvalue: float | None,
    global_clipnorm: float | None,
    rho: float,
    momentum: float,
    epsilon: float,
) -> None:
    """States are (weight, velocity, momentum or None, average_gradient or None).

    v = rho v + (1 - rho) g^2; a = rho a + (1 - rho) g;
    s = momentum s + lr g / sqrt(v - a^2 + epsilon); w -= s.
    """

def adagrad_step(
    names: list[str],
    states: list[State],
    gradients: list[Array | Rows],
    learning_rate: float,
    weight_decay: float | None,
    clipnorm: float | None,
    clipvalue: float | None,
    global_clipnorm: float | None,
    epsilon: float,
) -> None:
    """States are (weight, accumulator): a += g^2; w -= lr g / sqrt(a + epsilon)."""

def softmax_cross_entropy(
    y_true: Array | NDArray[np.int64],
    y_pred: Array,
    sample_weight: Array | None,
    label_smoothing: float,
    need_gradient: bool,
) -> tuple[Array, Array | None]:
    """Return the loss of each row and (softmax - target) sample_weight / rows.

    y_pred (rows, K) are logits, y_true classes (rows,) or probabilities (rows, K).
    """

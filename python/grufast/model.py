"""A stack of layers that can be trained, used and kept in a file."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from grufast import _checks, losses, saving
from grufast._batches import (
    Batch,
    Column,
    Feed,
    Numbered,
    RowFeed,
    Rows,
    StreamFeed,
    is_sequences,
    is_stream,
    windows,
)
from grufast._checks import Array, Shape
from grufast._config import describe, rebuild
from grufast._training import (
    INIT,
    Scores,
    Seeds,
    Training,
    checked_callbacks,
    with_progress,
)
from grufast.callbacks import Callback, CallbackList, History, Logs
from grufast.layers import PARTS, Context, Input, Layer
from grufast.layers.base import context_of
from grufast.layers.recurrent import Kept, RecurrentLayer, Run
from grufast.losses import LOSSES, Loss
from grufast.losses import get as get_loss
from grufast.metrics import METRICS, Metric, MetricLike
from grufast.metrics import description as describe_metric
from grufast.metrics import get as get_metrics
from grufast.optimizers import OPTIMIZERS, Optimizer, storable
from grufast.optimizers import get as get_optimizer

__all__ = ["Sequential", "load"]

Verbose = Literal["auto", 0, 1, 2] | bool
Data = Array | list[Array] | Iterable[Any] | Numbered
"""An array (N, ...), a list of N sequences (T_i, ...), or batches."""


class Sequential:
    """Layers one after the other, with training as in Keras.

    Parameters
    ----------
    layers : iterable of Layer, optional
        All of one dtype; each may stand in one model only. An `Input` may come first.
    seed : int, optional
        Of the first weights of layers without a seed of their own: same seed, same
        bits.

    Attributes
    ----------
    layers : list of Layer
        As given; `add` and `pop` change it.
    metadata : dict
        What `save` put beside the model; of the caller's making.
    history : History or None
        What the last `fit` returned, or would have, had it not been broken off.
    stop_training : bool
        Set by a callback to end training after the batch or the epoch.

    Examples
    --------
    >>> import grufast as gf
    >>> import numpy as np
    >>> model = gf.Sequential([gf.layers.GRU(8), gf.layers.Dense(1)], seed=0)
    >>> model.compile(optimizer="adam", loss="mse", metrics=["mae"])
    >>> x = np.ones((20, 5, 2), np.float32)
    >>> history = model.fit(x, np.ones((20, 1), np.float32), epochs=3, seed=0)
    >>> sorted(history.history)
    ['loss', 'mae']
    >>> model.predict(x).shape
    (20, 1)
    """

    def __init__(
        self, layers: Iterable[Layer | Input] = (), *, seed: int | None = None
    ) -> None:
        self.layers: list[Layer] = []
        self.dtype: _checks.DType = "float32"
        self.seed = _checks.seed(seed)
        self.metadata: dict[str, Any] = {}
        self.stop_training = False
        self.history: History | None = None
        self.optimizer: Optimizer | None = None
        self.loss: Loss | None = None
        self.metrics: dict[str, Metric] = {}
        self._input_shape: Shape | None = None
        self._declared: Shape | None = None
        self._changes = 0
        self._pieces: list[Layer | Run] = []
        for layer in layers:
            self.add(layer)

    def __repr__(self) -> str:
        """Return the layers."""
        return f"Sequential({self.layers!r})"

    # Layers

    def add(self, layer: Layer | Input) -> None:
        """Put a layer behind the others.

        Where the shape of the input is known, from an `Input`, from the first layer's
        ``input_shape`` or because the model is built, the layer gets its weights here.

        Examples
        --------
        >>> import grufast as gf
        >>> model = gf.Sequential(seed=0)
        >>> model.add(gf.layers.GRU(8, input_shape=(10, 3)))
        >>> model.add(gf.layers.Dense(2, "softmax"))
        >>> model.pop()
        Dense(2, activation='softmax')
        >>> model.layers
        [GRU(8)]
        """
        if isinstance(layer, Input):
            if self.layers or self._declared:
                message = f"layers[{len(self.layers)}]: an Input stands before layers"
                raise ValueError(message)
            self._declared = (None, *layer.shape)
            return
        dtype = self._dtype_with(layer)
        if not self.layers and layer.input_shape is not None:
            self._declared = (None, *layer.input_shape)
        shape = self._input_shape or self._declared
        self._change([*self.layers, layer], dtype)
        if shape:
            try:
                self.build(shape)
            except ValueError:
                self.pop()
                raise

    def pop(self) -> Layer:
        """Take the last layer away, and return it."""
        *others, layer = self._some_layers()
        dtypes = {other.dtype for other in others if other.dtype}
        self._change(others, dtypes.pop() if dtypes else "float32")
        if not others:
            self._input_shape = None
        return layer

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """Return the first layer of a name, or the one of an index.

        Parameters
        ----------
        name : str, optional
            As the layer was given it.
        index : int, optional
            From 0; one of the two.

        Raises
        ------
        ValueError
            If there is no such layer; the message has the names.

        Examples
        --------
        >>> import grufast as gf
        >>> model = gf.Sequential([gf.layers.GRU(8, name="memory")])
        >>> model.get_layer("memory") is model.get_layer(index=0)
        True
        """
        if index is not None:
            index = _checks.integer("index", index, 0)
            if name is None and index < len(self.layers):
                return self.layers[index]
        for layer in self.layers if index is None and name is not None else ():
            if layer.name == name:
                return layer
        message = (
            f"got name {name!r} and index {index}, expected one of "
            f"{[layer.name for layer in self.layers]} or an index below "
            f"{len(self.layers)}"
        )
        raise ValueError(message)

    def _dtype_with(self, layer: object) -> _checks.DType:
        """Return the dtype of the model with one more layer, if that fits."""
        index = len(self.layers)
        if not isinstance(layer, Layer):
            message = f"layers[{index}]: got {layer!r}, expected a Layer"
            raise TypeError(message)
        if isinstance(layer, RecurrentLayer) and layer.more_outputs:
            message = f"layers[{index}]: a model cannot pass on {layer.more_outputs}"
            raise ValueError(message)
        if index and layer.vocabulary is not None:
            message = f"layers[{index}]: {layer!r} takes integers: it must be first"
            raise ValueError(message)
        if any(layer is other for other in self.layers):
            message = "layers: each layer may stand in the list once"
            raise ValueError(message)
        dtypes = {own.dtype for own in (*self.layers, layer) if own.dtype}
        if len(dtypes) > 1:
            message = f"layers: expected one dtype, got {sorted(dtypes)}"
            raise ValueError(message)
        return dtypes.pop() if dtypes else "float32"

    def _change(self, layers: list[Layer], dtype: _checks.DType) -> None:
        # Contexts of other layers are never of this version again.
        version = self._version
        self.layers, self.dtype = layers, dtype
        self._changes = 1 + version - sum(layer._version for layer in layers)
        self._pieces = _pieces(layers) if layers else []
        self._fitting: Shape | None = None  # that of the last x, which costs no check

    def _some_layers(self) -> list[Layer]:
        if not self.layers:
            message = "layers: expected at least one layer"
            raise ValueError(message)
        return self.layers

    # Weights

    @property
    def trainable(self) -> bool:
        """True, and cannot be set: no layer's weights are left out of training."""
        return True

    @property
    def built(self) -> bool:
        """Whether the weights are there."""
        return self._input_shape is not None

    def build(self, input_shape: Shape) -> None:
        """Make the weights for inputs of a shape such as (None, None, 5).

        The first call, `fit` or `predict` does it too.

        Parameters
        ----------
        input_shape : tuple of int or None
            With the batch's size in front. None stands for any size; layers that look
            at a whole sequence, such as `Flatten`, need its length.

        Raises
        ------
        ValueError
            If the shape leaves a layer's input size open, or does not fit the layers.

        Examples
        --------
        >>> import grufast as gf
        >>> model = gf.Sequential([gf.layers.GRU(8), gf.layers.Dense(1)], seed=0)
        >>> model.build((None, None, 5))
        >>> model.weights["layers.0.weight_ih"].shape
        (24, 5)
        """
        shape = _checked_shape(input_shape)
        for index, layer, size in list(self._sized_layers(shape)):
            layer.build_seeded(size, self._seeds(layer, index))
        if self._input_shape is None:
            self._input_shape = (None, *shape[1:])

    @property
    def weights(self) -> dict[str, Array]:
        """Read-only views of all weights, as ``"layers.0.weight_ih"`` and so on."""
        return {
            f"layers.{index}.{name}": weight
            for index, layer in enumerate(self.layers)
            for name, weight in layer.weights.items()
        }

    def get_weights(self) -> dict[str, Array]:
        """Return copies of all weights, under the names of `weights`."""
        return {name: weight.copy() for name, weight in self.weights.items()}

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        """Copy arrays into the model.

        Parameters
        ----------
        weights : dict of str to ndarray
            All of them, of the names, shapes and dtypes of `weights`.

        Raises
        ------
        TypeError, ValueError
            If one does not fit; nothing has been changed then.
        """
        checked = _checks.weights(weights, self.weights)
        for name, own in self.writable_weights().items():
            own[...] = checked[name]

    def reset_states(self) -> None:
        """Forget the states that layers with ``stateful=True`` carry on.

        Examples
        --------
        >>> import grufast as gf
        >>> import numpy as np
        >>> model = gf.Sequential([gf.layers.GRU(3, stateful=True)], seed=0)
        >>> x = np.ones((2, 4, 1), np.float32)
        >>> first, second = model.predict(x), model.predict(x)
        >>> model.reset_states()
        >>> (first == second).all(), (first == model.predict(x)).all()
        (np.False_, np.True_)
        """
        for layer in self.layers:
            if isinstance(layer, RecurrentLayer):
                layer.reset_states()

    def writable_weights(self) -> dict[str, Array]:
        """Return the weights themselves, to be changed in place at once.

        For optimizers and the like: the caller must be done with them before the
        model's next call, which reads them again.
        """
        weights: dict[str, Array] = {}
        for index, layer in enumerate(self.layers):
            prefix = f"layers.{index}."
            for name, weight in layer.writable_weights().items():
                weights[prefix + name] = weight
        return weights

    def count_params(self) -> int:
        """Return the number of parameters."""
        return sum(layer.count_params() for layer in self.layers)

    def summary(self, *, print_fn: Callable[[str], object] = print) -> None:
        """Print layers, the shapes of their outputs and their parameter counts.

        Parameters
        ----------
        print_fn : callable
            Takes each line.

        Raises
        ------
        ValueError
            If the model is not built.

        Examples
        --------
        >>> import grufast as gf
        >>> model = gf.Sequential([gf.layers.GRU(30), gf.layers.Dense(1)])
        >>> model.build((None, 10, 1))
        >>> model.summary()
        layer                output shape            parameters
        -------------------------------------------------------
        0  GRU               (None, 30)                   2,970
        1  Dense             (None, 1)                       31
        -------------------------------------------------------
        total                                             3,001
        """
        if self._input_shape is None:
            raise ValueError(_NOT_BUILT)
        _, *shapes = self._shapes(self._input_shape)
        rows = [("layer", "output shape", "parameters")]
        for index, (layer, shape) in enumerate(zip(self.layers, shapes, strict=True)):
            kind = type(layer).__name__
            name = kind if layer.name is None else f"{layer.name} ({kind})"
            count = f"{layer.count_params():,}"
            rows.append((f"{index:<2} {name}", str(shape), count))
        rows.append(("total", "", f"{self.count_params():,}"))
        columns = zip(*rows, strict=True)
        first, second, last = (max(map(len, column)) for column in columns)
        first, second, last = max(first, 20), max(second, 20), max(last, 13)
        lines = [f"{a:<{first}} {b:<{second}} {c:>{last}}" for a, b, c in rows]
        rule = "-" * (first + second + last + 2)
        for line in (lines[0], rule, *lines[1:-1], rule, lines[-1]):
            print_fn(line)

    # Use

    def __call__(self, x: Array, *, mask: Array | None = None) -> Array:
        """Return the output for `x` in one piece; safe from many threads.

        Parameters
        ----------
        x : ndarray (N, ...)
            Inputs, as in `fit`; integers if the model begins with an `Embedding`.
        mask : ndarray of bool (N, T), optional
            False where a step of x is padding.
        """
        x = self._checked_x(x)
        return self._infer(x, _checks.mask(mask, x.shape))

    def forward(self, x: Array, *, mask: Array | None = None) -> tuple[Array, Context]:
        """Return the output for `x`, as in training, and the context for `backward`.

        For training loops of your own; `fit` is one of ours. The context refers to `x`:
        do not change that array before `backward`.

        Parameters
        ----------
        x : ndarray (N, ...)
            Inputs, as in `fit`.
        mask : ndarray of bool (N, T), optional
            False where a step of x is padding.

        Returns
        -------
        y : ndarray (N, ...)
            The output.
        context : Context
            Good for one call of `backward`.

        Examples
        --------
        >>> import grufast as gf
        >>> import numpy as np
        >>> model = gf.Sequential([gf.layers.GRU(8), gf.layers.Dense(1)], seed=0)
        >>> optimizer = gf.optimizers.Adam(0.01)
        >>> x = np.random.default_rng(0).standard_normal((64, 10, 1), np.float32)
        >>> target = x.mean(axis=1)
        >>> for _ in range(200):
        ...     y, context = model.forward(x)
        ...     _, grads = model.backward(gf.losses.mse.gradient(target, y), context)
        ...     optimizer.update(model, grads)
        >>> float(gf.losses.mse(target, model(x))) < 0.01
        True
        """
        x = self._checked_x(x)
        y, saved = self._train(x, None, _checks.mask(mask, x.shape))
        return y, Context(self, (saved, y.shape))

    def backward(self, dy: Array, context: Context) -> tuple[Any, dict[str, Any]]:
        """Return the gradients for x and for the weights, given the output's.

        Parameters
        ----------
        dy : ndarray
            Gradient of the loss for the output of `forward`, of its shape and dtype.
        context : Context
            From `forward`; good for one call.

        Returns
        -------
        dx : ndarray
            Gradient of the loss for x; None where x holds integers.
        grads : dict of str to ndarray
            Gradients for `weights`, under the same names. Penalties on weights
            have no part in them: see `Layer.penalize`.
        """
        saved, shape = context_of(self, context)
        dy = _checks.like("dy", dy, self.dtype, shape)
        context._saved = None
        dx, all_grads = self._gradients(dy, saved, whole=True)
        named: dict[str, Any] = {}
        for index, (_, grads) in enumerate(reversed(all_grads)):
            prefix = f"layers.{index}."
            for name, gradient in grads.items():
                named[prefix + name] = gradient
        return dx, named

    def predict(
        self,
        x: Data,
        batch_size: int | None = None,
        verbose: Verbose = "auto",
        steps: int | None = None,
        callbacks: Sequence[Callback] | None = None,
    ) -> Any:
        """Return the output for `x`.

        Parameters
        ----------
        x : ndarray (N, ...), list of N ndarrays (T_i, ...), or iterable of batches
            Inputs of the model's dtype. A batch may also be (x, y) or more, of which
            the rest is passed over.
        batch_size : int, optional
            Rows at a time, which bounds memory; the result is the same for any.
        verbose : {"auto", 0, 1, 2} or bool
            As in Keras, and of no effect: nothing is printed.
        steps : int, optional
            How many batches to take from an iterable.
        callbacks : list of Callback, optional
            See `grufast.callbacks`; their hooks of predictions are called.

        Returns
        -------
        y : ndarray (N, ...)
            Outputs. For a list, where they have a step for each step of the input, a
            list of ndarrays (T_i, ...).

        Examples
        --------
        >>> import grufast as gf
        >>> import numpy as np
        >>> model = gf.Sequential([gf.layers.GRU(8), gf.layers.Dense(1)], seed=0)
        >>> x = np.ones((20, 5, 2), np.float32)
        >>> y = model.predict(x)
        >>> bool((model.predict(iter([x[:10], x[10:]])) == y).all())
        True
        """
        _checks.verbosity(verbose)
        steps = _at_least_one("steps", steps)
        hooks = self._hooks(callbacks)
        hooks("on_predict_begin", {})
        if is_sequences(x):
            y = self._predict_feed(RowFeed(self._rows(x), _size(batch_size)), hooks)
        elif not isinstance(x, np.ndarray | list) and is_stream(x):
            _refuse("batch_size", batch_size)
            y = self._predict_feed(StreamFeed("x", x, self._inputs_of, steps), hooks)
        else:
            self._refuse_nested(x)
            y, _ = self._predict(self._checked_x(x), batch_size, hooks)
        hooks("on_predict_end", {})
        return y

    def predict_on_batch(self, x: Array | list[Array]) -> Any:
        """Return the output for one batch, in one piece.

        Parameters
        ----------
        x : ndarray (N, ...) or list of N ndarrays (T_i, ...)
            Inputs, as `predict` takes them.

        Returns
        -------
        ndarray (N, ...) or list of N ndarrays (T_i, ...)
            As from `predict`.

        Examples
        --------
        >>> import grufast as gf
        >>> import numpy as np
        >>> model = gf.Sequential([gf.layers.GRU(8), gf.layers.Dense(1)], seed=0)
        >>> model.predict_on_batch(np.ones((20, 5, 2), np.float32)).shape
        (20, 1)
        """
        return self._outputs(self._rows(x).batch(slice(None)))

    def evaluate(
        self,
        x: Data,
        y: Array | list[Array] | None = None,
        batch_size: int | None = None,
        verbose: Verbose = "auto",
        sample_weight: Array | list[Array] | None = None,
        steps: int | None = None,
        callbacks: Sequence[Callback] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Return the loss and the metrics on data.

        Parameters
        ----------
        x, y, sample_weight, batch_size
            As in `fit`. Rows of arrays are scored all at once: the result is the same
            for any `batch_size`. The loss of others is the mean over the batches.
        verbose : {"auto", 0, 1, 2} or bool
            As in Keras, and of no effect: nothing is printed.
        steps : int, optional
            How many batches to take from an iterable.
        callbacks : list of Callback, optional
            See `grufast.callbacks`; their hooks of tests are called.
        return_dict : bool
            Whether to return a dict.

        Returns
        -------
        float, list of float or dict
            The loss; with metrics a list of the loss and them; with
            ``return_dict=True`` a dict by name.

        Examples
        --------
        >>> import grufast as gf
        >>> import numpy as np
        >>> model = gf.Sequential([gf.layers.GRU(8), gf.layers.Dense(1)], seed=0)
        >>> model.compile(metrics=["mae"])
        >>> x, y = np.ones((20, 5, 2), np.float32), np.ones((20, 1), np.float32)
        >>> sorted(model.evaluate(x, y, return_dict=True))
        ['loss', 'mae']
        """
        self._compiled()
        _checks.verbosity(verbose)
        steps = _at_least_one("steps", steps)
        data: Rows | Feed
        if y is None and is_stream(x):
            _refuse("batch_size", batch_size)
            _refuse("sample_weight", sample_weight)
            data = StreamFeed("x", x, self._batch_of, steps)
        else:
            data = self._rows(x, y, sample_weight, truth=True)
            if data.lengths is not None:
                data = RowFeed(data, _size(batch_size), steps)
        logs = self._evaluate(data, 0, batch_size, self._hooks(callbacks))
        return self._results(logs, return_dict)

    def test_on_batch(
        self,
        x: Array | list[Array],
        y: Array | list[Array],
        sample_weight: Array | list[Array] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Return the loss and the metrics on one batch.

        Arguments are as in `fit`, the return value is that of `evaluate`.

        Examples
        --------
        >>> import grufast as gf
        >>> import numpy as np
        >>> model = gf.Sequential([gf.layers.GRU(8), gf.layers.Dense(1)], seed=0)
        >>> model.compile(metrics=["mae"])
        >>> x, y = np.ones((20, 5, 2), np.float32), np.ones((20, 1), np.float32)
        >>> model.test_on_batch(x, y) == model.evaluate(x, y)
        True
        """
        self._compiled()
        scores = Scores(self.metrics)
        rows = self._rows(x, y, sample_weight, truth=True)
        self._score_batch(rows.batch(slice(None)), scores)
        return self._results(scores.logs(), return_dict)

    # Training

    def compile(
        self,
        optimizer: str | Optimizer = "adam",
        loss: str | Loss = "mse",
        metrics: Iterable[MetricLike] | None = None,
    ) -> None:
        """Choose how to train.

        Parameters
        ----------
        optimizer : Optimizer or str
            See `grufast.optimizers`.
        loss : Loss or str
            See `grufast.losses.get`.
        metrics : iterable of str, Metric or callable
            See `grufast.metrics.get`. Masked steps are left out of them; sample weights
            have no part in them.

        Raises
        ------
        TypeError, ValueError
            If there is nothing of a name; the message lists what there is.

        Examples
        --------
        >>> import grufast as gf
        >>> model = gf.Sequential([gf.layers.GRU(8), gf.layers.Dense(1)])
        >>> model.compile("rmsprop", gf.losses.Huber(0.5), ["mae", "r2"])
        >>> model.optimizer, model.loss, list(model.metrics)
        (RMSprop(), Huber(delta=0.5), ['mae', 'r2'])
        """
        self.optimizer = get_optimizer(optimizer)
        self.loss = get_loss(loss)
        self.metrics = get_metrics(metrics or ())

    def fit(
        self,
        x: Data,
        y: Array | list[Array] | None = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Verbose = "auto",
        callbacks: Sequence[Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Array | list[Array] | None = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Iterable[int] = 1,
        *,
        tbptt: int | tuple[int, int] | None = None,
        seed: int | None = None,
    ) -> History:
        """Train on rows of x and y.

        Parameters
        ----------
        x : ndarray (N, ...), list of N ndarrays (T_i, ...), or iterable of batches
            Inputs of the model's dtype. Sequences of a list may differ in length: those
            of a batch are padded, and the padding is masked. An iterable brings tuples
            (x, y) or (x, y, sample_weight), each a batch of arrays or lists. So does an
            object with ``len()`` and ``[index]``, such as a PyDataset of Keras; its
            ``on_epoch_end()``, if it has one, is called after each reading.
        y : ndarray (N, ...) or list of N ndarrays (T_i, ...)
            The truth, in the shape that the loss asks for: mostly that of the output.
            Where that is (N, 1), a y of shape (N,) is taken as such. A list goes with a
            list of x, where the output has a step for each step of the input. Nothing
            beside an iterable of batches.
        batch_size : int, optional
            Rows in an update; 32 by default.
        epochs : int
            Number of the epoch to end with: passes over the rows, less `initial_epoch`.
        verbose : {"auto", 0, 1, 2} or bool
            Silent, a progress bar on stderr, or a line an epoch on stdout; "auto" is
            the bar if stderr is a terminal, else silent.
        callbacks : list of Callback, optional
            See `grufast.callbacks`.
        validation_split : float
            Part of the rows, the last ones, to validate on instead of training.
        validation_data : tuple (x, y) or (x, y, sample_weight), or iterable, optional
            What to validate on, as x and y above; `validation_split` is then without
            effect.
        shuffle : bool
            Whether every epoch takes the rows in another order. Batches of an iterable
            come as they come.
        class_weight : dict of int to float, optional
            What classes count for in training; 1 for those that are not in it.
        sample_weight : ndarray (N,) or (N, T), or list of ndarrays (T_i,), optional
            What rows, or steps of the output, count for in the loss: see
            `grufast.losses`.
        initial_epoch : int
            Number of the first epoch, from 0: for going on where a training stopped.
        steps_per_epoch : int, optional
            Batches in an epoch. The next epoch goes on from there; what can be read
            again starts anew at its end. Without it an epoch is all rows, or all that
            one reading of an iterable brings. A generator can be read once only.
        validation_steps : int, optional
            Batches in a validation with an iterable; by default all.
        validation_batch_size : int, optional
            Rows at a time in validations; the size of a training batch for lists.
        validation_freq : int or iterable of int
            Validate after every so many epochs, or after those, counted from 1.
        tbptt : tuple (k1, k2) of int, or int, optional
            Truncated back-propagation through time, for long sequences: every k1 steps
            of a batch the weights are updated, by the mean loss of these steps, with
            gradients that go back over the last k2 steps, k2 >= k1. States are carried
            on; one number k is (k, k). See the notes.
        seed : int, optional
            Of shuffling and dropout, by epoch. Same seed and same first weights, same
            bits.

        Returns
        -------
        History
            ``history["loss"]``, ``history["val_loss"]`` and the metrics, by epoch.
            Those of training are means over the batches as they were trained on, those
            of validation are with the weights at the epoch's end.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit; nothing has been trained then. If a later batch
            of an iterable does not.

        Warns
        -----
        RuntimeWarning
            Once, when the loss is not finite any more. When an iterable has no more
            batches, which ends the training.

        Notes
        -----
        An exception, such as Ctrl-C, ends the training, but callbacks get their
        `on_train_end` first: `EarlyStopping` restores the best weights then, too.
        `grufast.callbacks.BackupAndRestore` lets a killed training go on.

        `tbptt` is BPTT(k2; k1) of Williams and Peng (1990, Neural Computation 2(4)).
        The steps 0 to T - 1 of a batch are cut into pieces of k1 steps, the last one
        maybe shorter. For each an update runs the piece and the k2 - k1 steps before it
        (as many as there are), from the states that the update before had there. The
        loss is that of the piece alone, so that each step counts once; its gradient
        goes back to the first step run and no further. Dropout draws anew for every
        update. Callbacks see a batch as one, with all its updates, and the reported
        loss is its mean over all steps. Recurrent layers must run in one direction with
        ``return_sequences=True``, and no layer may join steps, such as `Flatten` (or
        `GRUD`, with its last observations). ``tbptt=T`` is training without it, to the
        bit.

        Examples
        --------
        One series of 2,000 steps, predicted a step ahead; 40 updates an epoch:

        >>> import grufast as gf
        >>> import numpy as np
        >>> series = np.sin(np.arange(2001, dtype=np.float32) / 5)[None, :, None]
        >>> gru = gf.layers.GRU(8, return_sequences=True)
        >>> model = gf.Sequential([gru, gf.layers.Dense(1)], seed=0)
        >>> model.compile(gf.optimizers.Adam(1e-2))
        >>> x, y = series[:, :-1], series[:, 1:]
        >>> history = model.fit(x, y, epochs=5, tbptt=50, seed=0)
        >>> model.optimizer.iterations
        200
        >>> history.history["loss"][-1] < 0.1 * history.history["loss"][0]
        True

        Batches from a generator:

        >>> import grufast as gf
        >>> import numpy as np
        >>> def batches(rng):
        ...     while True:
        ...         x = rng.standard_normal((32, 10, 1), np.float32)
        ...         yield x, x.mean(axis=1)
        >>> model = gf.Sequential([gf.layers.GRU(8), gf.layers.Dense(1)], seed=0)
        >>> model.compile(gf.optimizers.Adam(1e-2))
        >>> generator = batches(np.random.default_rng(0))
        >>> history = model.fit(generator, steps_per_epoch=20, epochs=5)
        >>> history.history["loss"][-1] < 0.1 * history.history["loss"][0]
        True
        """
        self._compiled()
        epochs = _checks.integer("epochs", epochs, 0)
        first = _checks.integer("initial_epoch", initial_epoch, 0)
        batch_size = _at_least_one("batch_size", batch_size)
        steps = _at_least_one("steps_per_epoch", steps_per_epoch)
        split = _checks.real("validation_split", validation_split, 0, 1)
        shuffle = _checks.flag("shuffle", shuffle)
        callbacks = with_progress(callbacks, verbose)
        pieces = self._checked_tbptt(tbptt)
        validates_in = _validation_epochs(validation_freq)
        seeds = Seeds(_checks.seed(seed))
        validation: Rows | None = None
        feed: Feed
        if y is None and is_stream(x):
            _refuse("batch_size", batch_size)
            _refuse("sample_weight", sample_weight)
            _refuse("validation_split", split or None)
            feed = StreamFeed(
                "x", x, lambda b: self._batch_of(b, class_weight), steps, first
            )
        else:
            rows = self._rows(x, y, sample_weight, truth=True)
            if split and validation_data is None:
                rows, validation = _split(rows, split)
            rows = self._class_weighted(rows, class_weight)
            order = seeds.order_of(len(rows)) if shuffle else None
            feed = RowFeed(rows, _size(batch_size), steps, order)
        validator = self._validator(
            validation if validation_data is None else validation_data,
            _at_least_one("validation_steps", validation_steps),
            _at_least_one("validation_batch_size", validation_batch_size),
            _size(batch_size),
            sum(map(validates_in, range(first, epochs))),
        )
        training = Training(
            self,
            feed,
            validator,
            validates_in,
            callbacks,
            first=first,
            epochs=epochs,
            seeds=seeds,
            tbptt=pieces,
            facts={
                **self._facts(),
                "data": str(feed),
                "shuffle": str(shuffle),
                "class_weight": str(class_weight),
                "validation": str(validator),
            },
        )
        return training.run()

    def train_on_batch(
        self,
        x: Array | list[Array],
        y: Array | list[Array],
        sample_weight: Array | list[Array] | None = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Update the weights once; return the loss and the metrics of this batch.

        Arguments are as in `fit`. Dropout draws from its layer's own seed.

        Returns
        -------
        float, list of float or dict
            As from `evaluate`, before the update and with dropout.

        Examples
        --------
        >>> import grufast as gf
        >>> import numpy as np
        >>> model = gf.Sequential([gf.layers.GRU(8), gf.layers.Dense(1)], seed=0)
        >>> model.compile(gf.optimizers.Adam(1e-2))
        >>> x, y = np.ones((20, 5, 2), np.float32), np.ones((20, 1), np.float32)
        >>> losses = [model.train_on_batch(x, y) for _ in range(50)]
        >>> losses[-1] < 0.01 * losses[0]
        True
        """
        self._compiled()
        rows = self._rows(x, y, sample_weight, truth=True)
        rows = self._class_weighted(rows, class_weight)
        scores = Scores(self.metrics)
        self._train_batch(rows.batch(slice(None)), None, scores)
        return self._results(scores.logs(), return_dict)

    def _train_batch(
        self,
        batch: Batch,
        rng: np.random.Generator | None,
        scores: Scores,
        tbptt: tuple[int, int] | None = None,
    ) -> None:
        assert batch.y is not None
        if tbptt is None:
            value, y_pred, mask, _ = self._update(batch, rng)
        else:
            value, y_pred, mask = self._update_by_windows(batch, rng, *tbptt)
        own = losses.masked_weights(mask, scaled=False)
        scores.add(value, batch.y, y_pred, own)

    def _update_by_windows(
        self, batch: Batch, rng: np.random.Generator | None, k1: int, k2: int
    ) -> tuple[float, Array, Array | None]:
        """Update the weights for every k1 steps; return loss, output and its mask."""
        values: list[float] = []
        counts: list[int] = []
        outputs: list[Array] = []
        masks: list[Array] = []
        states = None
        for part, old, ahead in windows(batch, k1, k2):
            value, y_pred, mask, states = self._update(part, rng, old, states, ahead)
            values.append(value)
            outputs.append(y_pred)
            count = math.prod(y_pred.shape[:2])
            if mask is not None:
                masks.append(mask)
                count = int(mask.sum())
            counts.append(count)
        # Each value is a mean over so many steps.
        weights = counts if any(counts) else [1] * len(counts)
        shares = np.divide(weights, sum(weights))
        mask = np.concatenate(masks, axis=1) if masks else None
        return float(shares @ values), np.concatenate(outputs, axis=1), mask

    def _update(
        self,
        batch: Batch,
        rng: np.random.Generator | None,
        old: int = 0,
        states: list[Any] | None = None,
        ahead: int | None = None,
    ) -> tuple[float, Array, Array | None, list[Any]]:
        """Update the weights once; return loss, output, its mask and states.

        The first `old` steps have no part in the loss, and none in what is returned;
        `states` and `ahead` are those of `_train`.
        """
        optimizer, loss = self._compiled()
        y_pred, saved = self._train(batch.x, rng, batch.mask, states, ahead)
        mask = saved.mask
        if old:
            y_pred = y_pred[:, old:].copy()
            mask = None if mask is None else mask[:, old:]
        assert batch.y is not None
        weight = losses.masked_weights(mask, batch.weight)
        value, dy = loss.value_and_gradient(*_given(batch.y, y_pred, weight))
        dy = _checks.like("loss.gradient", dy, self.dtype, y_pred.shape)
        if old:
            none = np.zeros((len(dy), old, *dy.shape[2:]), dy.dtype)
            dy = np.concatenate([none, dy], axis=1)
        all_grads = self._gradients(dy, saved, whole=False)[1]
        for layer, grads in all_grads:
            value += layer.penalize(grads)
        optimizer.update_all(pair for pair in reversed(all_grads) if pair[1])
        return value, y_pred, mask, saved.carried

    def _train(
        self,
        x: Array,
        rng: np.random.Generator | None,
        mask: Array | None = None,
        states: list[Any] | None = None,
        ahead: int | None = None,
    ) -> tuple[Array, _Saved]:
        """Return the output, and what `_gradients` needs.

        `states` are those to start with, `ahead` is after how many steps (all without
        it) states are `carried`.
        """
        kept: list[Any] = []
        for index, piece in enumerate(self._pieces):
            if isinstance(piece, Run):
                first = states and states[index]
                y, own = piece._train(x, rng, mask, first, ahead)
            else:
                y, own = piece._train(x, rng, mask)
            kept.append(own)
            x, mask = y, _mask_behind(piece, x, mask)
        return x, _Saved(kept, mask)

    def _gradients(
        self, dy: Array, saved: _Saved, *, whole: bool
    ) -> tuple[Array | None, list[tuple[Layer, dict[str, Array]]]]:
        """Return the gradients for x, if `whole`, and for layers."""
        first = 0 if whole else self._first_weighted
        dx: Array | None = dy
        all_grads: list[tuple[Layer, dict[str, Array]]] = []
        for index in range(len(self._pieces) - 1, first - 1, -1):
            piece = self._pieces[index]
            need_dx = index > first or whole
            if isinstance(piece, Run):
                dx, run_grads = piece._gradients(dy, saved.kept[index], need_dx)
                all_grads += reversed([*zip(piece.layers, run_grads, strict=True)])
            else:
                dx, grads = piece._gradients(dy, saved.kept[index], need_dx)
                all_grads.append((piece, grads))
            if dx is not None:
                dy = dx
        return dx, all_grads

    @property
    def _first_weighted(self) -> int:
        """Index of the first piece with weights: gradients go no deeper."""
        weighted = (
            i
            for i, piece in enumerate(self._pieces)
            if isinstance(piece, Run) or piece.dtype
        )
        return next(weighted, len(self._pieces))

    # Files

    def save(
        self,
        filepath: str | os.PathLike[str],
        *,
        metadata: Mapping[str, Any] | None = None,
        include_optimizer: bool = False,
    ) -> None:
        """Write layers, weights and training settings to a safetensors file.

        The file is replaced atomically: at every moment there is the old one or the new
        one. Settings with a loss, an optimizer or a metric of your own are not kept:
        `load` then returns a model that is not compiled.

        Parameters
        ----------
        filepath : str or path
            Of the file; its directory must exist.
        metadata : dict, optional
            Anything that JSON can hold, to be ``metadata`` of the loaded model; by
            default this model's.
        include_optimizer : bool
            Whether to keep the optimizer's state, too, if `load` will know the
            optimizer: training the loaded model goes on with the same bits.

        Raises
        ------
        ValueError
            If the model is not built, or a layer or part of one is of your own class.
        TypeError, ValueError
            If JSON cannot hold `metadata`.

        Examples
        --------
        >>> import grufast as gf
        >>> import tempfile
        >>> model = gf.Sequential([gf.layers.GRU(4)])
        >>> model.build((None, None, 3))
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     model.save(f"{directory}/m.safetensors", metadata={"column": "sales"})
        ...     gf.load(f"{directory}/m.safetensors").metadata
        {'column': 'sales'}
        """
        if not self.built:
            raise ValueError(_NOT_BUILT)
        descriptions = [describe(layer) for layer in self.layers]
        for entry in descriptions:
            rebuild(entry, PARTS)  # what cannot be read again is not written
        training = self._training_description()
        state: dict[str, Array] = {}
        if _checks.flag("include_optimizer", include_optimizer) and training:
            assert self.optimizer is not None
            state = self.optimizer.get_state(self)
        description = {
            "layers": descriptions,
            "input_shape": self._input_shape,
            "compile": training,
            "metadata": dict(self.metadata if metadata is None else metadata),
        }
        saving.write(filepath, description, self.weights, state)

    def save_weights(self, filepath: str | os.PathLike[str]) -> None:
        """Do what `save` does; `load_weights` reads the weights alone."""
        self.save(filepath)

    def load_weights(self, filepath: str | os.PathLike[str]) -> None:
        """Take the weights from the file of a model with the same layers.

        Parameters
        ----------
        filepath : str or path
            Of what `save` or `grufast.callbacks.ModelCheckpoint` wrote.

        Raises
        ------
        FileNotFoundError, ValueError
            As from `load`, and if the weights differ in names, shapes or dtypes.

        Examples
        --------
        >>> import grufast as gf
        >>> import tempfile
        >>> models = [gf.Sequential([gf.layers.GRU(4)], seed=n) for n in (0, 1)]
        >>> models[0].build((None, None, 3))
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     models[0].save_weights(f"{directory}/m.safetensors")
        ...     models[1].load_weights(f"{directory}/m.safetensors")
        >>> name = "layers.0.weight_ih"
        >>> bool((models[0].weights[name] == models[1].weights[name]).all())
        True
        """
        other = load(filepath)
        if not self.built and other._input_shape:
            self.build(other._input_shape)
        self.set_weights(other.weights)

    def _training_description(self) -> dict[str, Any] | None:
        metrics = [describe_metric(metric) for metric in self.metrics.values()]
        if (
            not storable(self.optimizer)
            or type(self.loss) not in LOSSES.values()
            or None in metrics
        ):
            return None
        assert self.optimizer is not None
        assert self.loss is not None
        return {
            "optimizer": describe(self.optimizer),
            "loss": describe(self.loss),
            "metrics": metrics,
        }

    def _restore(self, file: saving.ModelFile) -> None:
        """Take up what `save` wrote; the layers are there, without weights."""
        description = file.description
        shape = _checked_shape(description["input_shape"])
        layers = list(self._sized_layers(shape))
        tensors = file.tensors(
            {
                f"layers.{index}.{name}": (str(layer.dtype), dims)
                for index, layer, size in layers
                for name, dims in layer.weight_shapes(size).items()
            }
        )
        for index, layer, size in layers:
            names = layer.weight_shapes(size)
            layer.adopt(size, {n: tensors[f"layers.{index}.{n}"] for n in names})
        self._input_shape = shape
        self.metadata = dict(description["metadata"])
        training = description["compile"]
        if training is not None:
            self.compile(
                rebuild(training["optimizer"], OPTIMIZERS),
                rebuild(training["loss"], LOSSES),
                [
                    metric if isinstance(metric, str) else rebuild(metric, METRICS)
                    for metric in training["metrics"]
                ],
            )
        state = file.optimizer_state()
        if state and self.optimizer is None:
            message = "it has an optimizer's state, but does not say whose"
            raise ValueError(message)
        if state and self.optimizer is not None:
            self.optimizer.set_state(self, state)

    # Inside

    @property
    def _version(self) -> int:
        return self._changes + sum(layer._version for layer in self.layers)

    def _compiled(self) -> tuple[Optimizer, Loss]:
        if self.optimizer is None or self.loss is None:
            message = "the model is not compiled: call compile(optimizer, loss) first"
            raise ValueError(message)
        return self.optimizer, self.loss

    def _facts(self) -> dict[str, str]:
        """Return what a backup must agree on to be one of this model."""
        optimizer, loss = self._compiled()
        config = dict(optimizer.config)
        if isinstance(config["learning_rate"], float):
            del config["learning_rate"]  # callbacks change it
        return {
            "layers": str(self.layers),
            "model's seed": str(self.seed),
            "input": str(self._input_shape),
            "optimizer": f"{type(optimizer).__name__} {config}",
            "loss": str(loss),
            "metrics": str(list(self.metrics)),
        }

    def _seeds(self, layer: Layer, index: int) -> np.random.SeedSequence:
        if layer.seed is not None:
            return np.random.SeedSequence(layer.seed)
        return np.random.SeedSequence(self.seed, spawn_key=(INIT, index))

    def _shapes(self, shape: Shape) -> list[Shape]:
        """Return the shapes of the input and of every layer's output."""
        shapes = [shape]
        for index, layer in enumerate(self._some_layers()):
            try:
                shapes.append(layer.output_shape(shapes[-1]))
            except ValueError as error:
                if index == 0:
                    raise
                message = f"layers[{index}] ({type(layer).__name__}): {error}"
                if "(N, T, " in message:
                    message += self._why_no_steps(index)
                raise ValueError(message) from None
        return shapes

    def _why_no_steps(self, index: int) -> str:
        """Return a hint if a recurrent layer below gives its last step alone."""
        for below in range(index - 1, -1, -1):
            layer = self.layers[below]
            if isinstance(layer, RecurrentLayer):
                name = type(layer).__name__
                hint = f"; layers[{below}] ({name}) needs return_sequences=True for it"
                return "" if layer.return_sequences else hint
        return ""

    def _sized_layers(self, shape: Shape) -> Iterator[tuple[int, Layer, int]]:
        """Yield index, layer and input size of the layers with weights."""
        for index, (layer, inputs) in enumerate(
            zip(self.layers, self._shapes(shape)[:-1], strict=True)
        ):
            if layer.dtype:
                size = layer.size_of(inputs)
                if size is None:
                    message = (
                        f"input_shape: {shape} leaves the input size of "
                        f"layers[{index}] ({type(layer).__name__}) open"
                    )
                    raise ValueError(message)
                yield index, layer, size

    def _checked_values(self, x: object) -> Array:
        """Check all of x but its shape."""
        vocabulary = self._some_layers()[0].vocabulary
        if vocabulary is None:
            return _checks.array("x", x, self.dtype, "N ...")
        return _checks.integers("x", x, "N ...", vocabulary)

    def _checked_x(self, x: object) -> Array:
        x = self._checked_values(x)
        if not self.built:
            self.build(x.shape)
        elif x.shape != self._fitting:
            self._shapes(x.shape)
            self._fitting = x.shape
        return x

    def _rows(
        self,
        x: object,
        y: object = None,
        sample_weight: object = None,
        *,
        truth: bool = False,
    ) -> Rows:
        """Check arrays and lists: those of x alone, or also the `truth` and weights."""
        checked: Column
        if is_sequences(x):
            checked = self._checked_sequences("x", x, self._checked_sequence)
        else:
            self._refuse_nested(x)
            checked = self._checked_x(x)
        if not truth:
            return Rows(checked)
        if not len(checked):
            message = "x: expected at least one row"
            raise ValueError(message)
        targets = self._checked_y(y, checked)
        return Rows(checked, targets, self._checked_weight(sample_weight, checked))

    def _checked_sequences(
        self, name: str, values: Any, check: Callable[[object, int], Array]
    ) -> list[Array]:
        """Check each sequence of a list, naming the one that does not fit."""
        checked = []
        for index, value in enumerate(values):
            try:
                checked.append(check(value, index))
            except (TypeError, ValueError) as error:
                place = f"{name}[{index}]:"
                message = f"{place} {str(error).removeprefix(f'{name}: ')}"
                raise type(error)(message) from None
        return checked

    def _checked_sequence(self, x: object, index: int) -> Array:
        """Return a sequence (T, ...); the first one builds the model."""
        if not isinstance(x, np.ndarray):
            return self._checked_values(x)
        if not x.shape:
            _checks.shape("x", x.shape, "T ...")
        if not len(x):
            message = "x: expected at least one step"
            raise ValueError(message)
        whole, known = x[None], (None, None, *x.shape[1:])
        try:
            if not self.built:
                self._checked_values(whole)
                self.build(known)
            sequence: Array = self._checked_x(whole)[0]
        except ValueError as error:
            message = str(error)
            for shape in (whole.shape, known):  # it knows of one sequence alone
                own = f"got shape {x.shape}, expected ("
                message = message.replace(f"got shape {shape}, expected (N, ", own)
            raise ValueError(message) from None
        return sequence

    def _refuse_nested(self, x: object) -> None:
        """Say how sequences are given, if they are in something else."""
        ragged = isinstance(x, np.ndarray) and x.dtype == object
        if not ragged and not isinstance(x, list | tuple):
            return
        got = "an array of objects" if ragged else f"a {type(x).__name__}"
        floats = self._some_layers()[0].vocabulary is None
        expected = self.dtype if floats else "int32 or int64"
        dtype = self.dtype if floats else "int64"
        message = (
            f"x: got {got}, expected a NumPy array of {expected} or, for sequences of "
            f"unequal length, a list of them; use "
            f'[np.asarray(s, dtype="{dtype}") for s in x]'
        )
        raise TypeError(message)

    def _output_shape(self, x: Column) -> Shape:
        """Return the shape of the output; a step of a list's sequences is None."""
        if isinstance(x, list):
            return self._shapes((len(x), None, *x[0].shape[1:]))[-1]
        return self._shapes(x.shape)[-1]

    def _has_steps(self, features: Shape) -> bool:
        """Return whether the output has a step for each step of a sequence."""
        return self._shapes((None, None, *features))[-1][1:2] == (None,)

    def _checked_tbptt(self, value: object) -> tuple[int, int] | None:
        """Return (k1, k2), if the layers can run pieces of sequences."""
        if value is None:
            return None
        pair = value if isinstance(value, tuple | list) else (value, value)
        if len(pair) != 2:
            message = f"tbptt: got {value!r}, expected (k1, k2)"
            raise ValueError(message)
        k1, k2 = (_checks.integer("tbptt", k, 1) for k in pair)
        if k2 < k1:
            message = f"tbptt: got {value!r}, expected (k1, k2) with k2 >= k1"
            raise ValueError(message)
        for index, layer in enumerate(self.layers):
            if not layer.stepwise:
                message = (
                    f"tbptt: layers[{index}] ({type(layer).__name__}) cannot run a "
                    "sequence in pieces; expected recurrent layers in one direction "
                    "with return_sequences=True, and no others that join steps"
                )
                raise ValueError(message)
        if not any(isinstance(layer, RecurrentLayer) for layer in self.layers):
            message = "tbptt: expected a recurrent layer in the model, got none"
            raise ValueError(message)
        return k1, k2

    def _target(self, y: object, shape: Shape) -> Array:
        # Only the time steps of lists are open, and their sequences come one by one.
        known: Any = shape
        return self._compiled()[1].target(y, known, self.dtype)

    def _checked_y(self, y: object, x: Column) -> Column:
        shape = self._output_shape(x)
        if not isinstance(x, list) or not self._has_steps(x[0].shape[1:]):
            return self._target(y, shape)
        if not is_sequences(y) or len(y) != len(x):  # type: ignore[arg-type]
            got = f"{len(y)} of them" if isinstance(y, list) else type(y).__name__
            message = f"y: got {got}, expected a list of {len(x)} arrays (T_i, ...)"
            raise TypeError(message)
        return self._checked_sequences(
            "y", y, lambda own, i: self._target(own, (len(x[i]), *shape[2:]))
        )

    def _checked_weight(self, weight: object, x: Column) -> Column | None:
        if weight is None:
            return None
        shape = self._output_shape(x)
        samples = shape[:-1] or shape
        if is_sequences(weight) and isinstance(x, list) and samples[1:2] == (None,):
            if len(weight) != len(x):  # type: ignore[arg-type]
                message = f"sample_weight: got {len(weight)} arrays for {len(x)} rows"  # type: ignore[arg-type]
                raise ValueError(message)
            return self._checked_sequences(
                "sample_weight", weight, lambda own, i: _weights(own, (len(x[i]),))
            )
        return _weights(weight, samples)

    def _class_weighted(
        self, rows: Rows, class_weight: Mapping[int, float] | None
    ) -> Rows:
        """Return the rows with weights of their classes."""
        if class_weight is None:
            return rows
        y, weight = rows.y, rows.weight
        count = self._output_shape(rows.x)[-1]
        if count == 1:  # of numbers that are no probability any integer is a class
            count = 2 if isinstance(self.loss, losses.BinaryCrossentropy) else None
        if isinstance(y, list):
            own = [losses.class_weights(each, class_weight, count) for each in y]
            if weight is not None:
                pairs = zip(own, weight, strict=True)
                own = [one * other for one, other in pairs]
            return Rows(rows.x, y, own)
        assert y is not None
        classes = losses.class_weights(y, class_weight, count)
        if weight is not None:
            assert not isinstance(weight, list)
            ones = (1,) * (classes.ndim - weight.ndim)
            more = (1,) * (weight.ndim - classes.ndim)
            classes = classes.reshape(*classes.shape, *more)
            classes = classes * weight.reshape(*weight.shape, *ones)
        return Rows(rows.x, y, classes)

    def _batch_of(
        self, item: Any, class_weight: Mapping[int, float] | None = None
    ) -> Batch:
        """Check what an iterable brought."""
        if not (isinstance(item, tuple | list) and len(item) in (2, 3)):
            message = (
                f"got {type(item).__name__}, expected (x, y) or (x, y, sample_weight)"
            )
            raise TypeError(message)
        rows = self._rows(*item, truth=True)
        return self._class_weighted(rows, class_weight).batch(slice(None))

    def _inputs_of(self, item: Any) -> Batch:
        """Check what an iterable brought to predict."""
        x = item[0] if isinstance(item, tuple) and item else item
        return self._rows(x).batch(slice(None))

    def _validator(
        self,
        data: Any,
        steps: int | None,
        size: int | None,
        batch_size: int,
        count: int,
    ) -> Validator | None:
        """Return what validates so many times, if there are data."""
        if data is None:
            return None
        if isinstance(data, Rows):
            rows = data
        elif isinstance(data, tuple | list) and _is_pair(data):
            try:
                rows = self._rows(*data, truth=True)
            except (TypeError, ValueError) as error:
                message = f"validation_data: {error}"
                raise type(error)(message) from None
        elif is_stream(data) and not isinstance(data, tuple):
            _refuse("validation_batch_size", size)
            stream = StreamFeed("validation_data", data, self._batch_of, steps)
            if stream.once and steps is None and count > 1:
                message = (
                    f"validation_data: a generator can be read once, for {count} "
                    "validations; pass validation_steps, or a list of batches"
                )
                raise ValueError(message)
            return Validator(self, stream, None)
        else:
            message = (
                "validation_data: expected the tuple (x, y) or (x, y, sample_weight), "
                f"or an iterable of them, got {type(data).__name__}"
            )
            raise TypeError(message)
        if rows.lengths is not None:
            return Validator(self, RowFeed(rows, size or batch_size), None)
        return Validator(self, rows, size)

    def _hooks(self, callbacks: Sequence[Callback] | None) -> CallbackList:
        if callbacks is None:
            return _NO_HOOKS
        return CallbackList(checked_callbacks(callbacks), self, {})

    def _results(self, logs: Logs, return_dict: bool) -> Any:
        if _checks.flag("return_dict", return_dict):
            return logs
        values = list(logs.values())
        return values if self.metrics else values[0]

    def _infer(self, x: Array, mask: Array | None = None) -> Array:
        return self._infer_masked(x, mask)[0]

    def _infer_masked(
        self, x: Array, mask: Array | None = None
    ) -> tuple[Array, Array | None]:
        """Return the output and its mask."""
        for piece in self._pieces:
            x, mask = piece._infer(x, mask), _mask_behind(piece, x, mask)
        return x, mask

    def _predict(
        self,
        x: Array,
        batch_size: int | None,
        hooks: CallbackList,
        kind: str = "predict",
    ) -> tuple[Array, Array | None]:
        """Return the output for an array, part by part, and its mask."""
        if batch_size is not None:
            size = _checks.integer("batch_size", batch_size, 1)
        else:
            sizes = (math.prod(dims[1:]) for dims in self._shapes((0, *x.shape[1:])))  # type: ignore[arg-type]
            size = max(_LEAST_ROWS, _MOST_ELEMENTS // max(1, *sizes))
        outputs: list[Array] = []
        masks: list[Array] = []
        for number, first in enumerate(range(0, max(len(x), 1), size)):
            hooks(f"on_{kind}_batch_begin", number, {})
            y, mask = self._infer_masked(x[first : first + size])
            outputs.append(y)
            if mask is not None:
                masks.append(mask)
            hooks(f"on_{kind}_batch_end", number, {})
        if len(outputs) == 1:
            return outputs[0], mask
        return np.concatenate(outputs), np.concatenate(masks) if masks else None

    def _predict_feed(self, feed: RowFeed | StreamFeed, hooks: CallbackList) -> Any:
        """Return the outputs for all batches, as an array or as a list."""
        parts: list[Any] = []
        for number, batch in enumerate(feed.of_epoch(0)):
            hooks("on_predict_batch_begin", number, {})
            parts.append(self._outputs(batch))
            hooks("on_predict_batch_end", number, {})
        if isinstance(parts[0], list):
            return [y for part in parts for y in part]
        return np.concatenate(parts)

    def _outputs(self, batch: Batch) -> Any:
        """Return the output for a batch: of each sequence the steps that it has."""
        y = self._infer(batch.x, batch.mask)
        if batch.lengths is None or not self._has_steps(batch.x.shape[2:]):
            return y
        return [own[:length] for own, length in zip(y, batch.lengths, strict=True)]

    def _evaluate(
        self,
        data: Rows | Feed,
        number: int,
        batch_size: int | None,
        hooks: CallbackList,
    ) -> Logs:
        """Return the scores on rows, all at once, or on the batches of an epoch."""
        hooks("on_test_begin", {})
        scores = Scores(self.metrics)
        if isinstance(data, Rows):
            self._score_rows(data, batch_size, scores, hooks)
        else:
            self._score_feed(data, number, scores, hooks)
        logs = scores.logs()
        hooks("on_test_end", logs)
        return logs

    def _score_rows(
        self, rows: Rows, batch_size: int | None, scores: Scores, hooks: CallbackList
    ) -> None:
        batch = rows.batch(slice(None))
        y_pred, mask = self._predict(batch.x, batch_size, hooks, "test")
        self._score(batch, y_pred, mask, scores)

    def _score_feed(
        self, feed: Feed, number: int, scores: Scores, hooks: CallbackList
    ) -> None:
        for count, batch in enumerate(feed.of_epoch(number)):
            hooks("on_test_batch_begin", count, {})
            self._score_batch(batch, scores)
            hooks("on_test_batch_end", count, scores.logs())
        if not scores.rows:
            message = "validation_data: no batches are left for another validation"
            raise ValueError(message)

    def _score_batch(self, batch: Batch, scores: Scores) -> None:
        y_pred, mask = self._infer_masked(batch.x, batch.mask)
        self._score(batch, y_pred, mask, scores)

    def _score(
        self, batch: Batch, y_pred: Array, mask: Array | None, scores: Scores
    ) -> None:
        _, loss = self._compiled()
        assert batch.y is not None
        weight = losses.masked_weights(mask, batch.weight)
        value = float(loss(*_given(batch.y, y_pred, weight)))
        value += sum(layer.penalty() for layer in self.layers)
        own = losses.masked_weights(mask, scaled=False)
        scores.add(value, batch.y, y_pred, own)


class Validator:
    """Scores a model on the same data, again and again."""

    def __init__(
        self, model: Sequential, data: Rows | Feed, batch_size: int | None
    ) -> None:
        self._model = model
        self._data = data
        self._batch_size = batch_size

    def __str__(self) -> str:
        """Return the shapes of the data."""
        return str(self._data)

    def __call__(self, number: int, hooks: CallbackList) -> Logs:
        """Return the scores of the validation of this number, from 0."""
        return self._model._evaluate(self._data, number, self._batch_size, hooks)


class _Saved(NamedTuple):
    """What `_train` keeps: for every piece, and the mask of the output."""

    kept: list[Any]
    mask: Array | None

    @property
    def carried(self) -> list[Any]:
        """The states to go on from, for every piece."""
        return [own.carried if isinstance(own, Kept) else None for own in self.kept]


def _mask_behind(piece: Layer | Run, x: Array, mask: Array | None) -> Array | None:
    """Return the mask of a piece's output."""
    for layer in piece.layers if isinstance(piece, Run) else (piece,):
        mask = layer.compute_mask(x, mask)
    return mask


def _pieces(layers: Sequence[Layer]) -> list[Layer | Run]:
    """Return the layers, those that can run as one native call together."""
    pieces: list[Layer | Run] = []
    together: list[RecurrentLayer] = []
    for layer, above in zip(layers, [*layers[1:], None], strict=True):
        if not isinstance(layer, RecurrentLayer):
            pieces.append(layer)
            continue
        together.append(layer)
        if above is None or not Run.joins(layer, above):
            pieces.append(Run(together))
            together = []
    return pieces


def load(path: str | os.PathLike[str]) -> Sequential:
    """Return the model that `Sequential.save` wrote, compiled as it was.

    Parameters
    ----------
    path : str or path
        Of the file. It may come from anywhere: nothing in it is executed.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged or not a model's; the message says what is wrong.

    Examples
    --------
    >>> import grufast as gf
    >>> import tempfile
    >>> model = gf.Sequential([gf.layers.GRU(4)], seed=0)
    >>> model.build((None, None, 3))
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     model.save(f"{directory}/m.safetensors")
    ...     same = gf.load(f"{directory}/m.safetensors")
    >>> bool((same.weights["layers.0.bias_hh"] == 0).all())
    True
    """
    path = os.fspath(path)
    try:
        file = saving.ModelFile(path)
        layers = [rebuild(entry, PARTS) for entry in file.description["layers"]]
        for layer in layers:
            layer.input_shape = None  # no weights before the file's sizes are checked
        model = Sequential(layers)
        model._restore(file)
    except KeyError as error:
        message = f"{path!r} cannot be loaded: it says nothing about {error}"
        raise ValueError(message) from error
    except (TypeError, ValueError) as error:
        message = f"{path!r} cannot be loaded: {error}"
        raise ValueError(message) from error
    return model


def _given(y: Array, y_pred: Array, weight: Array | None) -> tuple[Array, ...]:
    """Return the arguments of a loss: weights only where there are some."""
    return (y, y_pred) if weight is None else (y, y_pred, weight)


def _weights(value: object, samples: Shape) -> Array:
    """Return sample weights, one for every row or for every sample."""
    expected = "expected a NumPy array of numbers"
    if not isinstance(value, np.ndarray):
        message = f"sample_weight: got {type(value).__name__}, {expected}"
        raise TypeError(message)
    if value.dtype.kind not in "biuf":
        message = f"sample_weight: got an array of {value.dtype}, {expected}"
        raise TypeError(message)
    shapes = [samples[: i + 1] for i in range(len(samples)) if samples[i] is not None]
    if value.shape not in shapes:
        options = " or ".join(map(str, shapes))
        message = f"sample_weight: got shape {value.shape}, expected {options}"
        raise ValueError(message)
    weights = value.astype(np.float64)
    if not np.isfinite(weights).all():
        message = "sample_weight: expected finite numbers"
        raise ValueError(message)
    return weights


def _split(rows: Rows, part: float) -> tuple[Rows, Rows]:
    """Return the rows to train on, and the last ones, to validate on."""
    first = math.floor(len(rows) * (1 - part))
    if not 0 < first < len(rows):
        message = f"validation_split: {part:g} of {len(rows)} rows leaves a part empty"
        raise ValueError(message)
    return rows.split(first)


def _is_pair(data: Sequence[Any]) -> bool:
    """Return whether data are (x, y) or (x, y, weights), and not a list of batches."""
    return len(data) in (2, 3) and not isinstance(data[0], tuple)


def _validation_epochs(freq: object) -> Callable[[int], bool]:
    """Return what says after which epochs, from 0, to validate."""
    if isinstance(freq, Iterable) and not isinstance(freq, str):
        epochs = {_checks.integer("validation_freq", epoch, 1) for epoch in freq}
        return lambda epoch: epoch + 1 in epochs
    every = _checks.integer("validation_freq", freq, 1)
    return lambda epoch: (epoch + 1) % every == 0


def _at_least_one(name: str, value: object) -> int | None:
    return None if value is None else _checks.integer(name, value, 1)


def _size(batch_size: object) -> int:
    return 32 if batch_size is None else _checks.integer("batch_size", batch_size, 1)


def _refuse(name: str, value: object) -> None:
    if value is not None:
        message = (
            f"{name}: got {value!r:.80}, but an iterable brings batches as they are"
        )
        raise ValueError(message)


def _checked_shape(shape: Iterable[object]) -> Shape:
    return tuple(
        None if size is None else _checks.integer("input_shape", size, 0)
        for size in shape
    )


# Predictions go through the layers in parts whose widest output is about 64 MB.
_MOST_ELEMENTS = 2**24
_LEAST_ROWS = 8

_NO_HOOKS = CallbackList((), None, {})

_NOT_BUILT = "the model is not built: call it, fit it or build(input_shape) first"

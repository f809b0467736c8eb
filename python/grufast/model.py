"""A stack of layers that can be trained, used and kept in a file."""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from grufast import _checks, saving
from grufast._checks import Array, Shape
from grufast._config import describe, rebuild
from grufast.callbacks import Callback, CallbackList, EpochLog, History, ProgressBar
from grufast.layers import PARTS, Context, Layer
from grufast.layers.base import context_of
from grufast.layers.recurrent import RecurrentLayer, Run
from grufast.losses import LOSSES, Loss
from grufast.losses import get as get_loss
from grufast.metrics import METRICS, Metric, MetricLike
from grufast.metrics import description as describe_metric
from grufast.metrics import get as get_metrics
from grufast.optimizers import OPTIMIZERS, Optimizer
from grufast.optimizers import get as get_optimizer

__all__ = ["Sequential", "load"]

Verbose = Literal["auto", 0, 1, 2]


class Sequential:
    """Layers one after the other, with training as in Keras.

    Parameters
    ----------
    layers : list of Layer
        All of one dtype; each may stand in one model only.
    seed : int, optional
        Of the first weights of layers without a seed of their own: same seed, same
        bits.

    Attributes
    ----------
    layers : list of Layer
        As given.
    metadata : dict
        What `save` put beside the model; of the caller's making.
    stop_training : bool
        Set by a callback to end training after the epoch.

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

    def __init__(self, layers: Iterable[Layer], *, seed: int | None = None) -> None:
        self.layers = list(layers)
        self.seed = _checks.seed(seed)
        self.metadata: dict[str, Any] = {}
        self.stop_training = False
        self.optimizer: Optimizer | None = None
        self.loss: Loss | None = None
        self.metrics: dict[str, Metric] = {}
        self._input_shape: Shape | None = None
        if not self.layers:
            message = "layers: expected at least one layer"
            raise ValueError(message)
        given: list[object] = [*self.layers]
        for index, layer in enumerate(given):
            if not isinstance(layer, Layer):
                message = f"layers[{index}]: got {layer!r}, expected a Layer"
                raise TypeError(message)
            if isinstance(layer, RecurrentLayer) and layer.return_state:
                message = f"layers[{index}]: a model cannot pass on a return_state"
                raise ValueError(message)
            if index and layer.vocabulary is not None:
                message = f"layers[{index}]: {layer!r} takes integers: it must be first"
                raise ValueError(message)
        if len({id(layer) for layer in self.layers}) < len(self.layers):
            message = "layers: each layer may stand in the list once"
            raise ValueError(message)
        dtypes = {layer.dtype for layer in self.layers if layer.dtype}
        if len(dtypes) > 1:
            message = f"layers: expected one dtype, got {sorted(dtypes)}"
            raise ValueError(message)
        self.dtype: _checks.DType = dtypes.pop() if dtypes else "float32"
        self._pieces = _pieces(self.layers)

    def __repr__(self) -> str:
        """Return the layers."""
        return f"Sequential({self.layers!r})"

    # Weights

    @property
    def built(self) -> bool:
        """Whether the weights are there."""
        return self._input_shape is not None

    def build(self, input_shape: Shape) -> None:
        """Make the weights for inputs of a shape such as (None, None, 5).

        The first call, `fit` or `predict` does it too. None stands for any size; layers
        that look at a whole sequence, such as `Flatten`, need its length.
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
        """Copy arrays of the names, shapes and dtypes of `weights` into the model."""
        checked = _checks.weights(weights, self.weights)
        for name, own in self.writable_weights().items():
            own[...] = checked[name]

    def writable_weights(self) -> dict[str, Array]:
        """Return the weights themselves, to be changed in place at once.

        For optimizers and the like: the caller must be done with them before the
        model's next call, which reads them again.
        """
        return {
            f"layers.{index}.{name}": weight
            for index, layer in enumerate(self.layers)
            for name, weight in layer.writable_weights().items()
        }

    def count_params(self) -> int:
        """Return the number of parameters."""
        return sum(layer.count_params() for layer in self.layers)

    def summary(self, print_fn: Callable[[str], object] = print) -> None:
        """Print layers, the shapes of their outputs and their parameter counts.

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
        rule = "-" * 55
        print_fn(f"{'layer':<20} {'output shape':<20} {'parameters':>13}")
        print_fn(rule)
        _, *shapes = self._shapes(self._input_shape)
        for index, (layer, shape) in enumerate(zip(self.layers, shapes, strict=True)):
            name, count = type(layer).__name__, layer.count_params()
            print_fn(f"{index:<2} {name:<17} {shape!s:<20} {count:>13,}")
        print_fn(rule)
        print_fn(f"{'total':<20} {'':<20} {self.count_params():>13,}")

    # Use

    def __call__(self, x: Array, *, mask: Array | None = None) -> Array:
        """Return the output for `x` in one piece; safe from many threads.

        Parameters
        ----------
        x : ndarray (N, ...)
            Inputs of the model's dtype; integers if it begins with an `Embedding`.
        mask : ndarray of bool (N, T), optional
            False where a step of x is padding.
        """
        x = self._checked_x(x)
        return self._infer(x, _checks.mask(mask, x.shape))

    def forward(self, x: Array, *, mask: Array | None = None) -> tuple[Array, Context]:
        """Return the output for `x`, as in training, and the context for `backward`.

        For training loops of your own; `fit` is one of ours. The context refers to `x`:
        do not change that array before `backward`.

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
        index = {id(layer): i for i, layer in enumerate(self.layers)}
        return dx, {
            f"layers.{index[id(layer)]}.{name}": gradient
            for layer, grads in reversed(all_grads)
            for name, gradient in grads.items()
        }

    def predict(self, x: Array, *, batch_size: int | None = None) -> Array:
        """Return the output for `x`.

        Parameters
        ----------
        x : ndarray (N, ...)
            Inputs of the model's dtype.
        batch_size : int, optional
            Rows at a time, which bounds memory; the result is the same for any.

        Returns
        -------
        y : ndarray (N, ...)
            Outputs.
        """
        return self._predict(self._checked_x(x), batch_size)

    def evaluate(
        self,
        x: Array,
        y: Array,
        *,
        batch_size: int | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Return the loss and the metrics on data, computed over all rows at once.

        Returns
        -------
        float, list of float or dict
            The loss; with metrics a list of the loss and them; with
            ``return_dict=True`` a dict by name.
        """
        self._compiled()
        x, y = self._checked_data(x, y)
        logs = self._evaluate(x, y, batch_size)
        if return_dict:
            return logs
        values = list(logs.values())
        return values if self.metrics else values[0]

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
        optimizer : Optimizer or {"adam", "sgd"}
            See `grufast.optimizers`.
        loss : Loss or str
            See `grufast.losses.get`.
        metrics : iterable of str, Metric or callable
            See `grufast.metrics.get`.
        """
        self.optimizer = get_optimizer(optimizer)
        self.loss = get_loss(loss)
        self.metrics = get_metrics(metrics or ())

    def fit(
        self,
        x: Array,
        y: Array,
        *,
        epochs: int = 1,
        batch_size: int = 32,
        validation_split: float = 0.0,
        validation_data: tuple[Array, Array] | None = None,
        callbacks: Sequence[Callback] | None = None,
        verbose: Verbose = "auto",
        shuffle: bool = True,
        initial_epoch: int = 0,
        seed: int | None = None,
    ) -> History:
        """Train on rows of x and y.

        Parameters
        ----------
        x, y : ndarray (N, ...)
            Inputs and truth of the model's dtype; y has the shape of the output. Where
            that is (N, 1), a y of shape (N,) is taken as such.
        epochs : int
            Number of the epoch to end with: passes over the rows, less `initial_epoch`.
        batch_size : int
            Rows in an update.
        validation_split : float
            Part of the rows, the last ones, to validate on instead of training.
        validation_data : tuple (x, y), optional
            Rows to validate on; `validation_split` is then without effect.
        callbacks : list of Callback, optional
            See `grufast.callbacks`.
        verbose : {"auto", 0, 1, 2}
            Silent, a progress bar on stderr, or a line an epoch on stdout; "auto" is
            the bar if stderr is a terminal, else silent.
        shuffle : bool
            Whether every epoch takes the rows in another order.
        initial_epoch : int
            Number of the first epoch, from 0: for going on where a training stopped.
        seed : int, optional
            Of shuffling and dropout, by epoch. Same seed and same first weights, same
            bits.

        Returns
        -------
        History
            ``history["loss"]``, ``history["val_loss"]`` and the metrics, by epoch.
            Those of training are means over the batches as they were trained on, those
            of validation are over all rows with the weights at the epoch's end.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit; nothing has been trained then.

        Warns
        -----
        RuntimeWarning
            Once, when the loss is not finite any more.

        Notes
        -----
        An exception, such as Ctrl-C, ends the training, but callbacks get their
        `on_train_end` first: `EarlyStopping` restores the best weights then, too.
        """
        self._compiled()
        epochs = _checks.integer("epochs", epochs, 0)
        initial_epoch = _checks.integer("initial_epoch", initial_epoch, 0)
        batch_size = _checks.integer("batch_size", batch_size, 1)
        split = _checks.real("validation_split", validation_split, 0, 1)
        shuffle = _checks.flag("shuffle", shuffle)
        callbacks = _with_progress(callbacks or (), verbose)
        entropy = np.random.SeedSequence(_checks.seed(seed)).entropy
        x, y = self._checked_data(x, y)
        if validation_data is not None:
            validation = self._checked_validation(validation_data)
        elif split:
            first = math.floor(len(x) * (1 - split))
            if not 0 < first < len(x):
                message = (
                    f"validation_split: {split:g} of {len(x)} rows leaves a part empty"
                )
                raise ValueError(message)
            validation = x[first:], y[first:]
            x, y = x[:first], y[:first]
        else:
            validation = None

        history = History()
        steps = math.ceil(len(x) / batch_size)
        hooks = CallbackList(
            [history, *callbacks], self, {"epochs": epochs, "steps": steps}
        )
        batches = _Batches(x, y, batch_size)
        logs: dict[str, float] = {}
        finite = True
        self.stop_training = False
        hooks("on_train_begin", logs)
        try:
            for epoch in range(initial_epoch, epochs):
                hooks("on_epoch_begin", epoch, {})
                rng = _generator(entropy, epoch)
                order = rng.permutation(len(x)) if shuffle else None
                logs = self._train_epoch(batches, order, rng, hooks)
                if validation:
                    for name, value in self._evaluate(*validation, None).items():
                        logs[f"val_{name}"] = value
                if finite and not math.isfinite(logs["loss"]):
                    finite = False
                    message = (
                        f"the loss is {logs['loss']} in epoch {epoch + 1}: are x and y "
                        "finite, and the learning rate small enough?"
                    )
                    warnings.warn(message, RuntimeWarning, stacklevel=2)
                hooks("on_epoch_end", epoch, logs)
                if self.stop_training:
                    break
        finally:
            hooks("on_train_end", logs)
        return history

    def _train_epoch(
        self,
        batches: _Batches,
        order: Array | None,
        rng: np.random.Generator,
        hooks: CallbackList,
    ) -> dict[str, float]:
        """Train on every batch; return the means of the loss and the metrics."""
        sums = dict.fromkeys(("loss", *self.metrics), 0.0)
        logs: dict[str, float] = {}
        rows = 0
        for batch, (x, y) in enumerate(batches.of_epoch(order)):
            for hook in hooks.batch_begin:
                hook(batch, logs)
            loss, y_pred = self._train_batch(x, y, rng)
            sums["loss"] += loss * len(x)
            for name, metric in self.metrics.items():
                sums[name] += float(metric(y, y_pred)) * len(x)
            rows += len(x)
            if hooks.batch_end:
                logs = {name: total / rows for name, total in sums.items()}
                for hook in hooks.batch_end:
                    hook(batch, logs)
        return {name: total / rows for name, total in sums.items()}

    def _train_batch(
        self, x: Array, y: Array, rng: np.random.Generator
    ) -> tuple[float, Array]:
        optimizer, loss = self._compiled()
        y_pred, saved = self._train(x, rng)
        value, dy = loss.value_and_gradient(y, y_pred)
        dy = _checks.like("loss.gradient", dy, self.dtype, y_pred.shape)
        for layer, grads in self._gradients(dy, saved, whole=False)[1]:
            value += layer.penalize(grads)
            if grads:
                optimizer.update(layer, grads)
        return value, y_pred

    def _train(
        self, x: Array, rng: np.random.Generator | None, mask: Array | None = None
    ) -> tuple[Array, _Saved]:
        kept = []
        for piece in self._pieces:
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
        self, path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Write layers, weights and training settings to a safetensors file.

        The file is replaced atomically: at every moment there is the old one or the new
        one. The state of the optimizer is not kept, nor are settings with a loss, an
        optimizer or a metric of your own: `load` then returns a model that is not
        compiled.

        Parameters
        ----------
        path : str or path
            Of the file; its directory must exist.
        metadata : dict, optional
            Anything that JSON can hold, to be ``metadata`` of the loaded model; by
            default this model's.

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
        description = {
            "layers": descriptions,
            "input_shape": self._input_shape,
            "compile": self._training_description(),
            "metadata": dict(self.metadata if metadata is None else metadata),
        }
        saving.write(path, description, self.weights)

    def _training_description(self) -> dict[str, Any] | None:
        metrics = [describe_metric(metric) for metric in self.metrics.values()]
        if (
            type(self.optimizer) not in OPTIMIZERS.values()
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

    # Inside

    @property
    def _version(self) -> int:
        return sum(layer._version for layer in self.layers)

    def _compiled(self) -> tuple[Optimizer, Loss]:
        if self.optimizer is None or self.loss is None:
            message = "the model is not compiled: call compile(optimizer, loss) first"
            raise ValueError(message)
        return self.optimizer, self.loss

    def _seeds(self, layer: Layer, index: int) -> np.random.SeedSequence:
        if layer.seed is not None:
            return np.random.SeedSequence(layer.seed)
        return np.random.SeedSequence(self.seed, spawn_key=(_INIT, index))

    def _shapes(self, shape: Shape) -> list[Shape]:
        """Return the shapes of the input and of every layer's output."""
        shapes = [shape]
        for index, layer in enumerate(self.layers):
            try:
                shapes.append(layer.output_shape(shapes[-1]))
            except ValueError as error:
                if index == 0:
                    raise
                message = f"layers[{index}] ({type(layer).__name__}): {error}"
                raise ValueError(message) from None
        return shapes

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

    def _checked_x(self, x: object) -> Array:
        vocabulary = self.layers[0].vocabulary
        if vocabulary is None:
            x = _checks.array("x", x, self.dtype, "N ...")
        else:
            x = _checks.integers("x", x, "N ...", vocabulary)
        if self.built:
            self._shapes(x.shape)
        else:
            self.build(x.shape)
        return x

    def _checked_data(self, x: object, y: object) -> tuple[Array, Array]:
        x = self._checked_x(x)
        y = _checks.array("y", y, self.dtype, "...")
        expected = self._shapes(x.shape)[-1]
        if y.shape != expected and (*y.shape, 1) == expected == (len(x), 1):
            y = y[:, None]
        if y.shape != expected:
            message = f"y: got shape {y.shape}, expected the output's, {expected}"
            raise ValueError(message)
        if not len(x):
            message = "x: expected at least one row"
            raise ValueError(message)
        return x, y

    def _checked_validation(self, data: object) -> tuple[Array, Array]:
        if not (isinstance(data, tuple | list) and len(data) == 2):
            message = "validation_data: expected the tuple (x, y)"
            raise TypeError(message)
        try:
            return self._checked_data(*data)
        except (TypeError, ValueError) as error:
            message = f"validation_data: {error}"
            raise type(error)(message) from None

    def _infer(self, x: Array, mask: Array | None = None) -> Array:
        return self._infer_masked(x, mask)[0]

    def _infer_masked(
        self, x: Array, mask: Array | None = None
    ) -> tuple[Array, Array | None]:
        """Return the output and its mask."""
        for piece in self._pieces:
            x, mask = piece._infer(x, mask), _mask_behind(piece, x, mask)
        return x, mask

    def _predict(self, x: Array, batch_size: int | None) -> Array:
        if batch_size is not None:
            rows = _checks.integer("batch_size", batch_size, 1)
        else:
            sizes = (math.prod(dims[1:]) for dims in self._shapes((0, *x.shape[1:])))  # type: ignore[arg-type]
            rows = max(_LEAST_ROWS, _MOST_ELEMENTS // max(1, *sizes))
        if len(x) <= rows:
            return self._infer(x)
        parts = [self._infer(x[i : i + rows]) for i in range(0, len(x), rows)]
        return np.concatenate(parts)

    def _evaluate(
        self, x: Array, y: Array, batch_size: int | None = None
    ) -> dict[str, float]:
        _, loss = self._compiled()
        y_pred = self._predict(x, batch_size)
        penalty = sum(layer.penalty() for layer in self.layers)
        logs = {"loss": float(loss(y, y_pred)) + penalty}
        for name, metric in self.metrics.items():
            logs[name] = float(metric(y, y_pred))
        return logs


class _Saved(NamedTuple):
    """What `_train` keeps: for every piece, and the mask of the output."""

    kept: list[Any]
    mask: Array | None


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
        model = Sequential(layers)
        model._restore(file)
    except KeyError as error:
        message = f"{path!r} cannot be loaded: it says nothing about {error}"
        raise ValueError(message) from error
    except (TypeError, ValueError) as error:
        message = f"{path!r} cannot be loaded: {error}"
        raise ValueError(message) from error
    return model


class _Batches:
    """Rows of x and y, gathered into the same memory for every batch."""

    def __init__(self, x: Array, y: Array, size: int) -> None:
        self._arrays = x, y
        self._size = min(size, len(x))
        self._buffers = tuple(
            np.empty((self._size, *array.shape[1:]), array.dtype)
            for array in self._arrays
        )

    def of_epoch(self, order: Array | None) -> Iterator[tuple[Array, ...]]:
        """Yield batches, in this order of the rows."""
        x, y = self._arrays
        for first in range(0, len(x), self._size):
            part = slice(first, first + self._size)
            if order is None:
                yield x[part], y[part]
            else:
                rows = order[part]
                yield tuple(
                    _gathered(array, rows, buffer)
                    for array, buffer in zip(self._arrays, self._buffers, strict=True)
                )


def _gathered(array: Array, rows: Array, buffer: Array) -> Array:
    # np.take would copy all of an array that is not contiguous, such as a view of
    # sliding windows, for every batch; its mode "raise" would buffer the output.
    if array.flags.c_contiguous:
        return array.take(rows, axis=0, out=buffer[: len(rows)], mode="clip")
    return np.ascontiguousarray(array[rows])


def _with_progress(callbacks: object, verbose: object) -> list[Callback]:
    """Return the callbacks, and the one that `verbose` asks for."""
    if not isinstance(callbacks, Iterable):
        message = f"callbacks: got {callbacks!r}, expected a list of callbacks"
        raise TypeError(message)
    checked = []
    for callback in callbacks:
        if not isinstance(callback, Callback):
            message = f"callbacks: got {callback!r}, expected a Callback"
            raise TypeError(message)
        checked.append(callback)
    verbose = _checks.choice("verbose", verbose, ("auto", 0, 1, 2))
    if verbose == "auto":
        verbose = int(sys.stderr is not None and sys.stderr.isatty())
    if verbose == 1 and not any(isinstance(c, ProgressBar) for c in checked):
        checked.append(ProgressBar())
    if verbose == 2:
        checked.append(EpochLog())
    return checked


def _checked_shape(shape: Iterable[object]) -> Shape:
    return tuple(
        None if size is None else _checks.integer("input_shape", size, 0)
        for size in shape
    )


def _generator(entropy: Any, epoch: int) -> np.random.Generator:
    seeds = np.random.SeedSequence(entropy, spawn_key=(_TRAINING, epoch))
    return np.random.Generator(np.random.Philox(seeds))


# Streams of random numbers that must not meet although their seeds may be equal.
_INIT, _TRAINING = range(2)

# Predictions go through the layers in parts whose widest output is about 64 MB.
_MOST_ELEMENTS = 2**24
_LEAST_ROWS = 8

_NOT_BUILT = "the model is not built: call it, fit it or build(input_shape) first"

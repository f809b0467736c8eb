"""`IModel`, DEGANN's face of a network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from grufast import _checks
from grufast._checks import Array
from grufast._files import write_atomic
from grufast.callbacks import Callback, CSVLogger, History
from grufast.degann.apg import Description, decode, describe, encode, read
from grufast.degann.arrays import Answer, real
from grufast.degann.callbacks import LightHistory
from grufast.degann.losses import (
    get_all_loss_functions,
    get_all_optimizers,
    known,
    metric,
)
from grufast.degann.plan import Network, Plan, check_decorators, word
from grufast.initializers import Orthogonal
from grufast.model import Verbose

__all__ = ["IModel"]

Initializer = Callable[[tuple[int, ...]], Any]


class IModel:
    """A network as DEGANN has it: hidden layers of given sizes and an output layer.

    All arrays are taken as float32, as there: x_data and y_data may be of any real
    dtype. DEGANN has two orders of the first arguments, this one and (input_size,
    output_size, block_size); both are understood.

    Parameters
    ----------
    input_size : int
        Numbers in an input, or in a step of it.
    block_size : list of int
        Units of the hidden layers.
    output_size : int
        Numbers in an output.
    activation_func : str or list of str
        Of all layers; or of each hidden layer, with the last in the list for the output
        layer too. In a "GRUNet" one name, for the candidate; its output is linear.
    weight_init, bias_init : callable, optional
        From a shape to first weights and biases, such as Keras's initializers; uniform
        in [-1, 1) if not given. Recurrent weights are orthogonal in any case, over all
        gates together as Keras has them.
    name : str
        Of the network.
    net_type : {"DenseNet", "GRUNet"}
        Fully connected layers, for inputs (n, input_size); or GRU layers, for inputs
        (n, steps, input_size).
    is_debug : bool
        Whether `str` shows the activations too, and `train` writes every epoch to the
        file ``log_<name>.csv``.
    recurrent_activation : str
        Of the gates of a "GRUNet".
    return_sequences : bool
        Whether a "GRUNet" has an output for every step.
    dropout_rate : float
        Part of each hidden layer's outputs to drop in training.
    decorator_params : None or list of None
        Parameters of activations; none here has any.
    seed : int, optional
        Of the first weights: same seed, same bits.

    Attributes
    ----------
    network : Network
        A `grufast.Sequential`.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message says what would.

    Examples
    --------
    >>> net = IModel(1, [30, 30], 1, net_type="GRUNet", activation_func="tanh", seed=0)
    >>> net.feedforward(np.ones((4, 10, 1))).shape
    (4, 1)
    """

    network: Network

    def __init__(
        self,
        input_size: int,
        block_size: Sequence[int],
        output_size: int,
        activation_func: str | Sequence[str] = "sigmoid",
        weight_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        name: str = "net",
        net_type: str = "DenseNet",
        is_debug: bool = False,
        *,
        recurrent_activation: str = "sigmoid",
        return_sequences: bool = False,
        dropout_rate: float = 0.0,
        decorator_params: object = None,
        seed: int | None = None,
    ) -> None:
        blocks: object = block_size
        outputs: object = output_size
        if isinstance(outputs, list | tuple):
            blocks, outputs = outputs, blocks
        check_decorators(decorator_params)
        self._plan = Plan.checked(
            net_type,
            input_size,
            blocks,
            outputs,
            activation_func,
            recurrent_activation=recurrent_activation,
            return_sequences=return_sequences,
            dropout_rate=dropout_rate,
        )
        self._is_debug = _checks.flag("is_debug", is_debug)
        self._compile: dict[str, Any] | None = None
        self._evaluate_history: Any = None
        self._seed = _checks.seed(seed)
        self.set_name(name)
        self.network = self._plan.network(self._seed)
        self._first_weights(weight_init, bias_init)

    def _first_weights(
        self, weight_init: Initializer | None, bias_init: Initializer | None
    ) -> None:
        rng = np.random.Generator(np.random.Philox(self._seed))

        def uniform(shape: tuple[int, ...]) -> Array:
            return rng.uniform(-1, 1, shape)

        def first(
            argument: str, init: Initializer | None, shape: tuple[int, ...]
        ) -> Array:
            values = np.asarray((init or uniform)(shape), np.float32)
            if values.shape != shape:
                message = f"{argument}: made shape {values.shape}, asked for {shape}"
                raise ValueError(message)
            return values

        for layer in self.network.weighted:
            weights = dict(layer.weights)
            for key, weight in layer.weights.items():
                if key.startswith("bias"):
                    weights[key] = first("bias_init", bias_init, weight.shape)
                elif key in ("weight", "weight_ih"):
                    shape = weight.shape[::-1]  # DEGANN's weights are (inputs, units)
                    weights[key] = first("weight_init", weight_init, shape).T
                elif key == "weight_hh":  # as Keras: over all gates, not for each
                    weights[key] = Orthogonal()(weight.shape, rng).astype("f4")
            layer.set_weights(weights)

    @classmethod
    def create_neuralnet(
        cls,
        input_size: int,
        output_size: int,
        block_size: Sequence[int],
        *,
        activation: str | Sequence[str] = "sigmoid",
        weight: Initializer | None = None,
        biases: Initializer | None = None,
        **kwargs: Any,
    ) -> IModel:
        """Return a network whose weights and biases are normal, of deviation 0.05.

        Parameters
        ----------
        input_size, output_size : int
            As in `IModel`.
        block_size : list of int
            Units of the hidden layers.
        activation, weight, biases : optional
            `activation_func`, `weight_init` and `bias_init` of `IModel`.
        **kwargs
            Further arguments of `IModel`.
        """
        rng = np.random.Generator(np.random.Philox(_checks.seed(kwargs.get("seed"))))

        def normal(shape: tuple[int, ...]) -> Array:
            return rng.normal(0, 0.05, shape)

        return cls(
            input_size,
            block_size,
            output_size,
            activation_func=activation,
            weight_init=weight or normal,
            bias_init=biases or normal,
            **kwargs,
        )

    @classmethod
    def create_neuron(
        cls, input_size: int, output_size: int, shape: Sequence[int], **kwargs: Any
    ) -> IModel:
        """Do what `create_neuralnet` does: its older name."""
        return cls.create_neuralnet(input_size, output_size, shape, **kwargs)

    # Training and use

    def compile(
        self,
        rate: float = 1e-2,
        optimizer: str = "SGD",
        loss_func: str = "MeanSquaredError",
        metrics: Iterable[str] | None = None,
        run_eagerly: bool = False,
    ) -> None:
        """Choose how to train.

        Parameters
        ----------
        rate : float
            Learning rate.
        optimizer : str
            One of `get_all_optimizers`.
        loss_func : str
            One of `get_all_loss_functions`.
        metrics : list of str, optional
            Of `get_all_metric_functions`; the mean squared, mean absolute and mean
            squared logarithmic errors if not given.
        run_eagerly : bool
            Without effect: nothing is compiled here.
        """
        if metrics is None:
            metrics = (
                "MeanSquaredError",
                "MeanAbsoluteError",
                "MeanSquaredLogarithmicError",
            )
        if isinstance(metrics, str):
            message = f"metrics: got {metrics!r}, expected a list of names"
            raise TypeError(message)
        make = known("optimizer", optimizer, get_all_optimizers())
        loss = known("loss_func", loss_func, get_all_loss_functions())
        names = list(metrics)
        measured = [metric(name) for name in names]
        rate = _checks.real("rate", rate)
        self.network.compile(make(learning_rate=rate), loss, measured)
        self._compile = {
            "rate": rate,
            "optimizer": optimizer,
            "loss_func": loss_func,
            "metrics": names,
        }

    def train(
        self,
        x_data: Any,
        y_data: Any,
        validation_split: float = 0.0,
        validation_data: tuple[Any, Any] | None = None,
        epochs: int = 10,
        mini_batch_size: int | None = None,
        callbacks: Sequence[Callback] | None = None,
        verbose: Verbose = "auto",
        *,
        seed: int | None = None,
    ) -> History | LightHistory:
        """Train, and return the course of it.

        Parameters
        ----------
        x_data, y_data : array-like
            Inputs (n, input_size) or (n, steps, input_size) and truth (n, output_size).
        validation_split : float
            Part of the rows, the last ones, to validate on.
        validation_data : tuple of two arrays, optional
            Rows to validate on.
        epochs : int
            Passes over the rows.
        mini_batch_size : int, optional
            Rows in an update; 32 if not given.
        callbacks : list of Callback, optional
            Those here or in `grufast.callbacks`.
        verbose : {"auto", 0, 1, 2}
            As in `grufast.Sequential.fit`.
        seed : int, optional
            Of shuffling and dropout: same seed, same bits.

        Returns
        -------
        History or LightHistory
            ``history["loss"]`` and so on.
        """
        if mini_batch_size is None:
            mini_batch_size = 32
        batch_size = _checks.integer("mini_batch_size", mini_batch_size, 1)
        x, y = real("x_data", x_data), real("y_data", y_data)
        validation = None
        if validation_data is not None:
            given: object = validation_data
            if not (isinstance(given, tuple | list) and len(given) == 2):
                message = "validation_data: expected the tuple (x, y)"
                raise TypeError(message)
            name = "validation_data"
            validation = tuple(real(name, array) for array in validation_data)
        if self._is_debug:
            callbacks = [*(callbacks or ()), CSVLogger(f"log_{self._name}.csv")]
        self.network.fit(
            x,
            y,
            epochs=epochs,
            batch_size=batch_size,
            validation_split=validation_split,
            validation_data=validation,
            callbacks=callbacks,
            verbose=verbose,
            seed=seed,
        )
        history: History | LightHistory = self.network.history
        return history

    def feedforward(self, inputs: Any) -> Answer:
        """Return the output for `inputs`, float32 (n, output_size), in one piece."""
        return self.network(real("inputs", inputs)).view(Answer)

    def predict(
        self, inputs: Any, callbacks: Sequence[Callback] | None = None
    ) -> Array:
        """Return the output for `inputs`, float32 (n, output_size), in batches."""
        x = real("inputs", inputs)
        with _hooks(self.network, callbacks, "predict"):
            y: Array = self.network.predict(x)
        return y

    def evaluate(
        self,
        x_data: Any,
        y_data: Any,
        batch_size: int | None = None,
        callbacks: Sequence[Callback] | None = None,
        verbose: Verbose = "auto",
        **kwargs: Any,
    ) -> Any:
        """Return the loss, or a list of the loss and the metrics.

        Parameters
        ----------
        x_data, y_data : array-like
            As in `train`.
        batch_size : int, optional
            Rows at a time.
        callbacks : list of Callback, optional
            Those with `on_test_begin` and `on_test_end`.
        verbose : {"auto", 0, 1, 2}
            Without effect.
        **kwargs
            Further arguments of `grufast.Sequential.evaluate`: `sample_weight`, or
            ``return_dict=True`` for a dict by name.
        """
        _checks.choice("verbose", verbose, ("auto", 0, 1, 2))
        x, y = real("x_data", x_data), real("y_data", y_data)
        with _hooks(self.network, callbacks, "test"):
            self._evaluate_history = self.network.evaluate(
                x, y, batch_size=batch_size, **kwargs
            )
        return self._evaluate_history

    def clear_history(self) -> None:
        """Forget what `train` and `evaluate` returned last."""
        self.network.history = None
        self._evaluate_history = None

    # Files

    def to_dict(self) -> dict[str, Any]:
        """Return sizes, activations and weights, in JSON's types.

        A "DenseNet" is described as DEGANN does it, a "GRUNet" too, but with its
        weights, which DEGANN leaves out; see `grufast.degann.apg`.
        """
        return describe(self._plan, self._name, self.network)

    def from_dict(self, config: Mapping[str, Any]) -> None:
        """Become the network that `to_dict` described, whatever this one was.

        Raises
        ------
        ValueError
            If the description does not fit together, or has no weights; nothing has
            been changed then.
        """
        self._become(read(config))

    def _become(self, description: Description) -> None:
        network = description.plan.network(self._seed)
        for layer, weights in zip(network.weighted, description.weights, strict=True):
            layer.set_weights(weights)
        self._plan, self.network = description.plan, network
        self._name = description.name
        if self._compile is not None:
            self.compile(**self._compile)

    def export_to_file(self, path: str | os.PathLike[str]) -> None:
        """Write `to_dict` to the file ``<path>.apg``, replaced atomically."""
        write_atomic(_apg(path), encode(self.to_dict()))

    def from_file(self, path: str | os.PathLike[str]) -> None:
        """Become the network in the file ``<path>.apg``, of DEGANN or of ours.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it is damaged or has no weights; nothing has been changed then.
        """
        file = _apg(path)
        try:
            self._become(decode(file.read_bytes()))
        except ValueError as error:
            message = f"{str(file)!r} cannot be loaded: {error}"
            raise ValueError(message) from error

    # What it is

    def set_name(self, name: str) -> None:
        """Name the network."""
        self._name = word("name", name)

    @property
    def get_name(self) -> str:
        """The network's name."""
        return self._name

    @property
    def get_shape(self) -> list[int]:
        """Units of the hidden layers."""
        return list(self._plan.block_size)

    @property
    def get_input_size(self) -> int:
        """Numbers in an input, or in a step of it."""
        return self._plan.input_size

    @property
    def get_output_size(self) -> int:
        """Numbers in an output."""
        return self._plan.output_size

    @property
    def get_activations(self) -> list[str]:
        """Activations of the hidden layers."""
        return list(self._plan.activations[: len(self._plan.block_size)])

    def __str__(self) -> str:
        """Return the layers and the shapes of their weights."""
        plan = self._plan
        lines = [f"{plan.net_type} {self._name}"]
        for layer, activation in zip(
            self.network.weighted, plan.activations, strict=True
        ):
            shapes = (f"{key} {w.shape}" for key, w in layer.weights.items())
            shown = f", {activation}" if self._is_debug else ""
            lines.append(f"{type(layer).__name__}: {', '.join(shapes)}{shown}")
        return "\n".join(lines)


@contextmanager
def _hooks(
    network: Network, called: Sequence[Callback] | None, what: str
) -> Iterator[None]:
    """Call the hooks of callbacks around prediction or evaluation."""

    def call(moment: str) -> None:
        for callback in called or ():
            hook = getattr(callback, f"on_{what}_{moment}", None)
            if hook is not None:
                callback.set_model(network)
                hook({})

    call("begin")
    yield
    call("end")


def _apg(path: str | os.PathLike[str]) -> Path:
    return Path(f"{os.fspath(path)}.apg")

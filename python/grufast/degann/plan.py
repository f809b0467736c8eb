"""What decides the layers of a network, and the network that comes of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from grufast import _checks
from grufast.layers import GRU, Dense, Dropout, Layer, WeightedLayer
from grufast.model import Sequential


class Network(Sequential):
    """What `IModel.network` is: a model that knows how long its training took.

    Attributes
    ----------
    trained_time : dict
        ``"train_time"``, ``"epoch_time"`` (a list) and ``"predict_time"`` in seconds,
        filled in by `MeasureTrainTime`.
    history : History or LightHistory or None
        Of the last training.
    """

    history: Any

    def __init__(self, layers: Iterable[Layer], *, seed: int | None = None) -> None:
        super().__init__(layers, seed=seed)
        self.trained_time: dict[str, Any] = {
            "train_time": 0.0,
            "epoch_time": [],
            "predict_time": 0.0,
        }

    @property
    def weighted(self) -> list[WeightedLayer]:
        """The layers that have weights: hidden ones, then the output's."""
        return [layer for layer in self.layers if isinstance(layer, WeightedLayer)]


@dataclass(frozen=True)
class Plan:
    """What decides the layers of a network; names as in `IModel`.

    `activations` has one for every hidden layer and one for the output.
    """

    net_type: str
    input_size: int
    block_size: tuple[int, ...]
    output_size: int
    activations: tuple[str, ...]
    recurrent_activation: str = "sigmoid"
    return_sequences: bool = False
    dropout_rate: float = 0.0

    @classmethod
    def checked(
        cls,
        net_type: object,
        input_size: object,
        block_size: object,
        output_size: object,
        activation_func: object,
        **more: Any,
    ) -> Plan:
        """Return a plan of arguments from outside, or raise an error that says more."""
        kind = _checks.choice("net_type", net_type, ("DenseNet", "GRUNet"))
        if not isinstance(block_size, list | tuple):
            message = f"block_size: got {block_size!r}, expected a list of sizes"
            raise TypeError(message)
        if kind == "GRUNet" and not block_size:
            message = "block_size: a GRUNet needs at least one layer"
            raise ValueError(message)
        return cls(
            kind,
            _checks.integer("input_size", input_size, 1),
            tuple(_checks.integer("block_size", size, 1) for size in block_size),
            _checks.integer("output_size", output_size, 1),
            _activations(kind, activation_func, len(block_size)),
            word("recurrent_activation", more.pop("recurrent_activation", "sigmoid")),
            _checks.flag("return_sequences", more.pop("return_sequences", False)),
            _checks.real("dropout_rate", more.pop("dropout_rate", 0.0), 0, 1),
        )

    def network(self, seed: int | None) -> Network:
        """Return a network, with first weights of Keras's kind."""
        layers: list[Layer] = []
        last = len(self.block_size) - 1
        with _named_as_here():
            for index, size in enumerate(self.block_size):
                layers.append(self._hidden(index, size, index == last))
                if self.dropout_rate:
                    layers.append(Dropout(self.dropout_rate))
            layers.append(_dense(self.output_size, self.activations[-1]))
        network = Network(layers, seed=seed)
        steps = () if self.net_type == "DenseNet" else (None,)
        network.build((None, *steps, self.input_size))
        return network

    def _hidden(self, index: int, size: int, last: bool) -> Layer:
        if self.net_type == "DenseNet":
            return _dense(size, self.activations[index])
        names: dict[str, Any] = {
            "activation": self.activations[index],
            "recurrent_activation": self.recurrent_activation,
        }
        return GRU(size, return_sequences=self.return_sequences or not last, **names)


def word(name: str, value: object) -> str:
    """Return value if it is a string."""
    if not isinstance(value, str):
        message = f"{name}: got {value!r}, expected a string"
        raise TypeError(message)
    return value


def check_decorators(given: object) -> None:
    """Hold DEGANN's parameters of activations to None."""
    values = given if isinstance(given, list | tuple) else [given]
    if any(value is not None for value in values):
        message = f"decorator_params: got {given!r}, no activation here takes any"
        raise ValueError(message)


def _activations(kind: str, given: object, hidden: int) -> tuple[str, ...]:
    if isinstance(given, str):
        return (given,) * hidden + (given if kind == "DenseNet" else "linear",)
    if kind == "GRUNet":
        message = f"activation_func: got {given!r}, a GRUNet takes one name"
        raise TypeError(message)
    if not isinstance(given, list | tuple):
        message = f"activation_func: got {given!r}, expected a name or a list of names"
        raise TypeError(message)
    names = [word("activation_func", name) for name in given]
    if len(names) not in (max(hidden, 1), hidden + 1):
        message = (
            f"activation_func: got {len(names)} names, expected {hidden + 1}: for "
            "every hidden layer and the output"
        )
        raise ValueError(message)
    return (*names[:hidden], names[-1])


def _dense(units: int, activation: str) -> Dense:
    return Dense(units, activation)  # type: ignore[arg-type]


@contextmanager
def _named_as_here() -> Iterator[None]:
    """Call the layers' argument in their errors what it is called here."""
    try:
        yield
    except ValueError as error:
        message = str(error)
        if message.startswith("activation:"):
            message = message.replace("activation:", "activation_func:", 1)
        raise ValueError(message) from None

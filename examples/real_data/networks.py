"""A network and its training, the same in grufast and in PyTorch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import grufast as gf

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Loss = Literal["crossentropy", "mse"]


@dataclass(frozen=True)
class Plan:
    """A network and its training: recurrent layers, dropout, a dense layer.

    Inputs are an array (N, T, C), a list of sequences (T_i, C), or with a `vocabulary`
    a list of integers (T_i,), whose vectors are learned.
    """

    outputs: int
    units: int = 64
    layers: int = 1
    bidirectional: bool = False
    all_steps: bool = False
    vocabulary: int = 0
    dropout: float = 0.0
    epochs: int = 40
    batch_size: int = 16
    learning_rate: float = 3e-3
    weight_decay: float = 0.0
    largest_norm: float | None = None
    # A training sequence of a list gets new ones every time:
    noise: float = 0.0  # of each value; the part of the integers that becomes 0
    shift: float = 0.0  # of each channel


def make_model(plan: Plan, channels: int, seed: int) -> gf.Sequential:
    """Return the network with its first weights."""
    layers: list[gf.layers.Layer] = []
    if plan.vocabulary:
        layers.append(gf.layers.Embedding(plan.vocabulary, channels))
    for index in range(plan.layers):
        sequences = plan.all_steps or index < plan.layers - 1
        gru = gf.layers.GRU(plan.units, return_sequences=sequences)
        layers.append(gf.layers.Bidirectional(gru) if plan.bidirectional else gru)
    layers += [gf.layers.Dropout(plan.dropout), gf.layers.Dense(plan.outputs)]
    model = gf.Sequential(layers, seed=seed)
    model.build((None, None) if plan.vocabulary else (None, None, channels))
    return model


def import_torch() -> Any:
    """Return PyTorch, to run on one thread."""
    try:
        import torch
    except ImportError:
        msg = "the comparison needs PyTorch: pip install torch"
        raise SystemExit(msg) from None
    torch.set_num_threads(1)
    return torch


def same_in_torch(plan: Plan, model: gf.Sequential, channels: int) -> Any:
    """Return a PyTorch module with the model's weights."""
    torch = import_torch()
    ways = 2 if plan.bidirectional else 1

    class Network(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            if plan.vocabulary:
                self.embedding = torch.nn.Embedding(plan.vocabulary, channels)
            self.gru = torch.nn.GRU(
                channels,
                plan.units,
                plan.layers,
                batch_first=True,
                bidirectional=plan.bidirectional,
            )
            self.dropout = torch.nn.Dropout(plan.dropout)
            self.dense = torch.nn.Linear(ways * plan.units, plan.outputs)

        def forward(self, x: Any) -> Any:
            if plan.vocabulary:
                x = x._replace(data=self.embedding(x.data))
            y, last = self.gru(x)
            if not plan.all_steps:
                y = torch.cat(tuple(last[-ways:]), dim=-1)
            return self.dense(self.dropout(y))

    network = Network()
    own = dict(network.named_parameters())
    first = 1 if plan.vocabulary else 0
    with torch.no_grad():
        for name, weight in model.get_weights().items():
            _, place, part = name.split(".")
            index = int(place) - first
            base = part.removesuffix("_reverse")
            if index < 0:
                key = "embedding.weight"
            elif index < plan.layers:
                key = f"gru.{base}_l{index}{part.removeprefix(base)}"
            else:
                key = f"dense.{part}"
            found = own.pop(key)
            found.copy_(torch.from_numpy(weight).reshape(found.shape))
    if own:
        msg = f"no weights for {sorted(own)}"
        raise RuntimeError(msg)
    return network


def torch_input(x: Any) -> Any:
    """Return an array as a tensor, and a list of sequences packed."""
    torch = import_torch()
    if not isinstance(x, list):
        return torch.from_numpy(x)
    parts = [torch.from_numpy(one) for one in x]
    return torch.nn.utils.rnn.pack_sequence(parts, enforce_sorted=False)


@dataclass
class Batches:
    """Epochs of batches in random order, with noise on lists if asked for."""

    x: Any
    y: NDArray[Any]
    plan: Plan
    seed: int

    def __post_init__(self) -> None:
        """Begin the random numbers; they go on from epoch to epoch."""
        self.rng = np.random.Generator(np.random.Philox(self.seed))

    def __len__(self) -> int:
        """Return the batches of an epoch."""
        return math.ceil(len(self.y) / self.plan.batch_size)

    def __iter__(self) -> Iterator[tuple[Any, NDArray[Any]]]:
        """Begin an epoch."""
        order = self.rng.permutation(len(self.y))
        for start in range(0, len(order), self.plan.batch_size):
            rows = order[start : start + self.plan.batch_size]
            if isinstance(self.x, list):
                yield [self.noisy(self.x[row]) for row in rows], self.y[rows]
            else:
                yield self.x[rows], self.y[rows]

    def noisy(self, x: NDArray[Any]) -> NDArray[Any]:
        if self.plan.vocabulary:
            return np.where(self.rng.random(len(x)) < self.plan.noise, 0, x)
        noise = self.plan.noise * self.rng.standard_normal(x.shape, np.float32)
        shift = self.plan.shift * self.rng.standard_normal(x.shape[1], np.float32)
        return np.asarray(x + noise + shift, np.float32)


@dataclass(frozen=True)
class Fitted:
    """A trained network: what predicts, and the CPU seconds of its training."""

    predict: Callable[[Any], NDArray[Any]]
    seconds: float


def channels_of(plan: Plan, x: Any) -> int:
    """Return the values of a step as the recurrent layer gets them."""
    return plan.units if plan.vocabulary else int(x[0].shape[-1])


def fit_grufast(plan: Plan, x: Any, y: NDArray[Any], loss: Loss, seed: int) -> Fitted:
    """Train with grufast."""
    model = make_model(plan, channels_of(plan, x), seed)
    batches = Batches(x, y, plan, seed)
    rate = gf.schedules.CosineDecay(plan.learning_rate, plan.epochs * len(batches))
    optimizer = gf.optimizers.AdamW(
        rate, weight_decay=plan.weight_decay, global_clipnorm=plan.largest_norm
    )
    losses: dict[Loss, gf.losses.Loss] = {
        "crossentropy": gf.losses.SparseCategoricalCrossentropy(from_logits=True),
        "mse": gf.losses.MeanSquaredError(),
    }
    model.compile(optimizer, losses[loss])
    start = time.process_time()
    model.fit(batches, epochs=plan.epochs, verbose=0, seed=seed)
    return Fitted(model.predict, time.process_time() - start)


def fit_torch(plan: Plan, x: Any, y: NDArray[Any], loss: Loss, seed: int) -> Fitted:
    """Train with PyTorch, from grufast's first weights and on the same batches."""
    torch = import_torch()
    torch.manual_seed(seed)
    channels = channels_of(plan, x)
    network = same_in_torch(plan, make_model(plan, channels, seed), channels)
    batches = Batches(x, y, plan, seed)
    rate = gf.schedules.CosineDecay(plan.learning_rate, plan.epochs * len(batches))
    optimizer = torch.optim.AdamW(
        network.parameters(), eps=1e-7, weight_decay=plan.weight_decay
    )
    losses = {
        "crossentropy": torch.nn.functional.cross_entropy,
        "mse": torch.nn.functional.mse_loss,
    }
    update = 0
    start = time.process_time()
    network.train()
    for _ in range(plan.epochs):
        for x_batch, y_batch in batches:
            optimizer.param_groups[0]["lr"] = rate(update)
            update += 1
            optimizer.zero_grad()
            y_pred = network(torch_input(x_batch))
            losses[loss](y_pred, torch.from_numpy(y_batch)).backward()
            if plan.largest_norm is not None:
                torch.nn.utils.clip_grad_norm_(network.parameters(), plan.largest_norm)
            optimizer.step()
    seconds = time.process_time() - start

    def predict(x: Any) -> NDArray[Any]:
        network.eval()
        with torch.no_grad():
            found: NDArray[Any] = network(torch_input(x)).numpy()
        return found

    return Fitted(predict, seconds)


LIBRARIES: dict[str, Callable[[Plan, Any, NDArray[Any], Loss, int], Fitted]] = {
    "grufast": fit_grufast,
    "PyTorch": fit_torch,
}

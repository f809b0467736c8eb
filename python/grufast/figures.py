"""Pictures of forecasts, with matplotlib's figure API: no window, no global state.

Functions take plain arrays and return a `matplotlib.figure.Figure`; `write` saves one.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grufast._files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

INK, GREY, RULE = "#1f2430", "#6b7280", "#d5d8de"
MAIN, SECOND, THIRD, FOURTH = "#d1382f", "#1f6fb4", "#e0962f", "#8a8f99"
TRUTH = "#2b303b"


def require_matplotlib() -> None:
    """Raise an ImportError that says what to install, if matplotlib is not there."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        msg = 'pictures need matplotlib: pip install "grufast[plot]"'
        raise ImportError(msg) from error
    del mpl


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, inches."""
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, facecolor="white")
    figure.set_layout_engine("constrained", h_pad=0.08, w_pad=0.08, hspace=0.06)
    return figure


def check_writable(path: str | Path) -> None:
    """Raise an error if no picture can be drawn into a file of this name."""
    figure = new_figure(1, 1)
    known = figure.canvas.get_supported_filetypes()
    if _ending(path) not in known:
        msg = f"cannot draw '{path}': choose an ending among {', '.join(sorted(known))}"
        raise ValueError(msg)


def _ending(path: str | Path) -> str:
    return Path(path).suffix.lstrip(".").lower() or "png"


def write(figure: Figure, path: str | Path) -> None:
    """Save a figure atomically, in the format of the path's ending, or as PNG."""
    write_atomic(path, _drawn(figure, _ending(path)))


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file."""
    return _drawn(figure, "png")


def _drawn(figure: Figure, kind: str) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format=kind)
    return picture.getvalue()


def plain_axes(axes: Axes, title: str, ylabel: str = "", xlabel: str = "") -> None:
    """Give axes the look of all pictures here."""
    axes.set_title(title, loc="left", fontsize=10.5, color=INK, fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(RULE)
    axes.tick_params(colors=GREY, labelsize=8.5, length=3)
    axes.grid(axis="y", color=RULE, linewidth=0.6, alpha=0.7)
    axes.set_axisbelow(True)
    axes.set_ylabel(ylabel, fontsize=9, color=GREY)
    axes.set_xlabel(xlabel, fontsize=9, color=GREY)


def legend(axes: Axes, **options: Any) -> None:
    """Add a legend without a frame."""
    axes.legend(
        **{"frameon": False, "fontsize": 8.5, "labelcolor": INK, "ncols": 1, **options}
    )


def time_axis(axes: Axes, dates: NDArray[Any]) -> None:
    """Write dates on the x axis, as few characters as say it."""
    if np.issubdtype(dates.dtype, np.datetime64):
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = _untyped(AutoDateLocator)(minticks=4, maxticks=9)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(_untyped(ConciseDateFormatter)(locator))
        axes.xaxis.get_offset_text().set(color=GREY, fontsize=8.5)
    else:
        axes.set_xlabel("row", fontsize=9, color=GREY)


def _untyped(thing: Any) -> Any:
    return thing


def loss_panel(
    axes: Axes,
    losses: Sequence[float],
    validation: Sequence[float],
    best_epoch: int,
    *,
    title: str = "Training",
    ylabel: str = "loss",
) -> None:
    """Draw the losses by epoch, and mark the epoch whose weights were kept."""
    plain_axes(axes, title, ylabel, "epoch")
    epochs = np.arange(1, len(losses) + 1)
    marker = "o" if len(epochs) < 3 else None
    axes.plot(epochs, losses, color=FOURTH, lw=1.6, marker=marker, label="training")
    axes.plot(
        epochs, validation, color=SECOND, lw=1.6, marker=marker, label="validation"
    )
    if best_epoch:
        axes.plot(
            best_epoch,
            validation[best_epoch - 1],
            "o",
            color=MAIN,
            ms=6,
            label=f"kept: epoch {best_epoch}",
            zorder=3,
        )
    shown = [v for v in (*losses, *validation) if np.isfinite(v)]
    if shown and min(shown) > 0 and max(shown) > 4 * min(shown):
        axes.set_yscale("log")
        _plain_log_ticks(axes)
    _headroom(axes, 0.3)
    axes.locator_params(axis="x", integer=True, nbins=6)
    legend(axes, loc="upper right")


def _plain_log_ticks(axes: Axes) -> None:
    """Label a logarithmic axis with plain numbers, also inside a single decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axes.get_ylim()
    decades = float(np.log10(high / low))
    subs: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    if decades > 1:
        subs = (1.0, 3.0) if decades <= 3 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=subs, numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.yaxis.set_minor_locator(NullLocator())


# --- A training -----------------------------------------------------------------------


def training_figure(
    curves: Mapping[str, tuple[Sequence[int], Sequence[float]]],
    truth: NDArray[Any] | None = None,
    predicted: NDArray[Any] | None = None,
) -> Figure:
    """Draw losses by epoch, and what a model predicts against the truth.

    Parameters
    ----------
    curves : dict of str to tuple of list of int and list of float
        Epochs, from 1, and losses of ``"loss"`` and ``"val_loss"``.
    truth, predicted : ndarray (N, ...), optional
        The first number of every row is drawn.
    """
    both = truth is not None and predicted is not None
    figure = new_figure(8, 6.4 if both else 3.6)
    panels = figure.subplots(2 if both else 1, squeeze=False)[:, 0]
    _loss_curves(panels[0], curves)
    if truth is not None and predicted is not None:
        _against_truth(panels[1], truth, predicted)
    return figure


def _loss_curves(
    axes: Axes, curves: Mapping[str, tuple[Sequence[int], Sequence[float]]]
) -> None:
    title = ""
    for name, label, color in (
        ("loss", "training", FOURTH),
        ("val_loss", "validation", SECOND),
    ):
        if name not in curves:
            continue
        epochs, values = curves[name]
        axes.plot(epochs, values, color=color, label=label, lw=1.6)
        finite = [value if math.isfinite(value) else math.inf for value in values]
        best = min(range(len(values)), key=finite.__getitem__)
        axes.plot(epochs[best], values[best], "o", color=color, ms=5)
        title = f"Loss (best {label} {values[best]:.3g} in epoch {epochs[best]})"
    values = [value for _, own in curves.values() for value in own]
    if min(values) > 0 and max(values) > 10 * min(values):
        axes.set_yscale("log")
    axes.locator_params(axis="x", integer=True)
    _finish(axes, title, "epoch")


def _against_truth(axes: Axes, truth: NDArray[Any], predicted: NDArray[Any]) -> None:
    for values, label, color, width, alpha in (
        (truth, "truth", TRUTH, 2.6, 0.4),
        (predicted, "prediction", MAIN, 1.3, 1.0),
    ):
        series = values.reshape(len(values), -1)[:, 0]
        axes.plot(series, color=color, label=label, lw=width, alpha=alpha)
    _finish(axes, "Predictions against the truth", "row")


def _finish(axes: Axes, title: str, xlabel: str) -> None:
    plain_axes(axes, title, xlabel=xlabel)
    axes.margins(x=0.01)
    # Above the axes, where no curve can run through it.
    legend(axes, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderpad=0)


# --- A forecast -----------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """A series over time: times (n,) are dates or row numbers, values (n,)."""

    times: NDArray[Any]
    values: Floats


@dataclass(frozen=True)
class Band(Line):
    """A forecast beyond the end, with a lower and an upper edge (n,), NaN for none."""

    low: Floats
    high: Floats


@dataclass(frozen=True)
class HeldOut:
    """How methods did on the held-out tail; the first one is drawn boldest.

    Attributes
    ----------
    start : int
        First row of the tail.
    origins : int64 (N,)
        Rows from which was forecast.
    forecasts : dict of str to float64 (N, H)
        By method.
    rmse, by_lead : dict of str to float, of str to float64 (H,)
        By method.
    """

    start: int
    origins: NDArray[np.int64]
    forecasts: Mapping[str, Floats]
    rmse: Mapping[str, float]
    by_lead: Mapping[str, Floats]


@dataclass(frozen=True)
class Losses:
    """Losses by epoch, and whose weights were kept (from 1; 0 for none)."""

    training: Sequence[float]
    validation: Sequence[float]
    best_epoch: int


def forecast_figure(
    title: str,
    target: str,
    step: str,
    past: Line,
    ahead: Band,
    held: HeldOut,
    fit: Losses,
) -> Figure:
    """Draw a forecast with what it was measured by.

    Above: the end of the series, forecasts from origins a horizon apart through the
    held-out tail, and the forecast beyond the end. Below: error by lead, error by
    method, losses.

    Parameters
    ----------
    title, target, step : str
        Of the picture, of the value axis, and what a row is ("hour").
    past, ahead : Line, Band
        The series (n,) and its continuation (H,).
    held : HeldOut
        Scores and forecasts.
    fit : Losses
        Of the training.
    """
    figure = new_figure(11.5, 7.2)
    figure.suptitle(title, x=0.012, ha="left", fontsize=13, color=INK, weight="bold")
    grid = figure.add_gridspec(2, 3, height_ratios=(1.35, 1))
    main, *rivals = held.forecasts
    colours = dict(zip((main, *rivals), (MAIN, SECOND, THIRD, FOURTH), strict=False))

    axes = figure.add_subplot(grid[0, :])
    horizon = held.forecasts[main].shape[1]
    n = len(past.values)
    shown = min(n - held.start, max(8 * horizon, 100))
    first = max(
        0, n - shown - (max(shown // 3, 2 * horizon) if n - shown == held.start else 0)
    )
    _past_and_ahead(axes, past, ahead, first, MAIN)
    edge = max(held.start, first)
    axes.axvspan(past.times[edge], past.times[-1], color=GREY, alpha=0.07, lw=0)
    best_rival = min(rivals, key=lambda name: held.rmse[name]) if rivals else None
    starts = _apart(held.origins, horizon, max(held.start - 1, first))
    for name in (best_rival, main):
        if name is None:
            continue
        bold = name == main
        style: dict[str, Any] = {
            "color": colours[name],
            "lw": 1.9 if bold else 1.2,
            "ls": "-" if bold else (0, (3, 1.5)),
            "zorder": 4 if bold else 3,
        }
        label: str | None = f"{name}, from held-out origins"
        for times, values in _segments(past, held, starts, name):
            axes.plot(times, values, label=label, **style)
            label = None
    if horizon > 1:
        rows = held.origins[starts]
        axes.plot(past.times[rows], past.values[rows], "o", color=INK, ms=3.2, zorder=5)
    plain_axes(axes, "", target)
    time_axis(axes, past.times)
    axes.margins(x=0.01)
    _headroom(axes, 0.1)
    axes.annotate(
        "held out",
        (past.times[edge], 1),
        xycoords=("data", "axes fraction"),
        xytext=(4, -4),
        textcoords="offset points",
        va="top",
        fontsize=8.5,
        color=GREY,
    )
    legend(axes, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=5, borderpad=0)

    axes = figure.add_subplot(grid[1, 0])
    leads = np.arange(1, horizon + 1)
    for name, errors in held.by_lead.items():
        bold = name == main
        axes.plot(
            leads,
            errors,
            color=colours[name],
            lw=2.2 if bold else 1.4,
            zorder=3 if bold else 2,
            marker="o" if horizon < 16 else None,
            ms=3.5,
        )
    plain_axes(axes, "Error by lead time", "RMSE", f"{step}s ahead")
    axes.set_ylim(bottom=0)
    axes.locator_params(axis="x", integer=True, nbins=7)

    axes = figure.add_subplot(grid[1, 1])
    names = list(held.rmse)[::-1]
    bars = axes.barh(
        names,
        [held.rmse[k] for k in names],
        color=[colours[k] for k in names],
        height=0.6,
    )
    axes.bar_label(bars, fmt="{:.4g}", padding=4, fontsize=9, color=INK)
    plain_axes(axes, "Error on the held-out tail", "", "RMSE")
    axes.set_xlim(0, 1.22 * max(held.rmse.values()))
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.spines["left"].set_visible(False)

    loss_panel(
        figure.add_subplot(grid[1, 2]), fit.training, fit.validation, fit.best_epoch
    )
    return figure


def continuation_figure(title: str, target: str, past: Line, ahead: Band) -> Figure:
    """Draw the end of a series (n,) and its forecast (H,)."""
    figure = new_figure(11.5, 4.2)
    figure.suptitle(title, x=0.012, ha="left", fontsize=13, color=INK, weight="bold")
    axes = figure.add_subplot()
    first = max(0, len(past.values) - max(5 * len(ahead.values), 100))
    _past_and_ahead(axes, past, ahead, first, MAIN)
    plain_axes(axes, "", target)
    time_axis(axes, past.times)
    axes.margins(x=0.01)
    legend(axes, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, borderpad=0)
    return figure


def _past_and_ahead(
    axes: Axes, past: Line, ahead: Band, first: int, colour: str
) -> None:
    axes.plot(
        past.times[first:], past.values[first:], color=TRUTH, lw=1.2, label="truth"
    )
    times = np.concatenate((past.times[-1:], ahead.times))
    values = np.concatenate((past.values[-1:], ahead.values))
    if np.isfinite(ahead.low).all():
        low = np.concatenate((past.values[-1:], ahead.low))
        high = np.concatenate((past.values[-1:], ahead.high))
        axes.fill_between(
            times, low, high, color=colour, alpha=0.16, lw=0, label="80 % of errors"
        )
    axes.plot(
        times, values, color=colour, lw=2.2, label="forecast", zorder=4, ls=(0, (4, 1))
    )
    axes.axvline(past.times[-1], color=GREY, lw=0.8, ls=":")


def _headroom(axes: Axes, part: float) -> None:
    low, high = axes.transScale.transform([(1, y) for y in axes.get_ylim()])[:, 1]
    top = axes.transScale.inverted().transform((1, high + part * (high - low)))[1]
    axes.set_ylim(top=top)


def _apart(origins: NDArray[np.int64], horizon: int, first: int) -> NDArray[np.int64]:
    """Return the places of origins a horizon or more apart, from the last back."""
    picked: list[int] = []
    for place in range(len(origins) - 1, -1, -1):
        if origins[place] < first:
            break
        if not picked or origins[picked[-1]] - origins[place] >= horizon:
            picked.append(place)
    return np.array(picked[::-1], np.int64)


def _segments(
    past: Line, held: HeldOut, places: NDArray[np.int64], name: str
) -> list[tuple[NDArray[Any], Floats]]:
    """Return the lines to draw: from every origin to its end, or one for one step."""
    forecasts = held.forecasts[name]
    horizon = forecasts.shape[1]
    if horizon == 1:
        rows = held.origins[places] + 1
        return [(past.times[rows], forecasts[places, 0])]
    lines = []
    for place in places:
        origin = int(held.origins[place])
        values = np.concatenate((past.values[origin : origin + 1], forecasts[place]))
        lines.append((past.times[origin : origin + horizon + 1], values))
    return lines


# --- An approximation -----------------------------------------------------------------


def approximation_figure(
    title: str,
    curve: Line,
    noisy: Line,
    predicted: Line,
    errors: Floats,
    fit: Losses,
    published: float,
) -> Figure:
    """Draw a function, what was seen of it, what was predicted, and how far off.

    Parameters
    ----------
    title : str
        Of the picture.
    curve, noisy, predicted : Line
        The function, the noisy values trained on, and the validation predictions.
    errors : float64 (n,)
        Absolute errors of `predicted`.
    fit : Losses
        RMSE by epoch.
    published : float
        Validation RMSE to compare with.
    """
    figure = new_figure(11.5, 7.2)
    figure.suptitle(title, x=0.012, ha="left", fontsize=13, color=INK, weight="bold")
    grid = figure.add_gridspec(2, 2, height_ratios=(1.25, 1))

    axes = figure.add_subplot(grid[0, :])
    axes.plot(
        noisy.times,
        noisy.values,
        "o",
        color=THIRD,
        ms=2.6,
        alpha=0.55,
        mew=0,
        label="inputs of the first stage, with noise",
    )
    axes.plot(curve.times, curve.values, color=TRUTH, lw=3.4, alpha=0.28, label="truth")
    axes.plot(
        predicted.times,
        predicted.values,
        ".",
        color=MAIN,
        ms=3.6,
        label="GRU, next value at validation points",
    )
    plain_axes(axes, "", "f(x)", "x")
    axes.margins(x=0.01)
    legend(
        axes,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=3,
        borderpad=0,
        markerscale=1.8,
    )

    axes = figure.add_subplot(grid[1, 0])
    axes.plot(predicted.times, errors, ".", color=MAIN, ms=3.2, alpha=0.7)
    axes.set_yscale("log")
    _rule(axes, published)
    axes.set_ylim(max(float(np.percentile(errors, 1)), 1e-7))
    plain_axes(axes, "Absolute error at validation points", "", "x")
    _plain_log_ticks(axes)

    axes = figure.add_subplot(grid[1, 1])
    loss_panel(
        axes,
        fit.training,
        fit.validation,
        fit.best_epoch,
        title="RMSE by epoch",
        ylabel="",
    )
    _rule(axes, published)
    return figure


def _rule(axes: Axes, published: float) -> None:
    """Draw a line at the published RMSE."""
    axes.axhline(published, color=SECOND, lw=1.2, ls=(0, (3, 1.5)), zorder=1)
    axes.annotate(
        f"published RMSE {published:.4f}",
        (1, published),
        xycoords=("axes fraction", "data"),
        xytext=(0, 4),
        textcoords="offset points",
        ha="right",
        fontsize=8.5,
        color=SECOND,
    )

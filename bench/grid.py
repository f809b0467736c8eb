"""The shapes that compare.py measures, and tables and a picture of what came of it."""

from statistics import geometric_mean
from typing import Any, NamedTuple

import measure
from measure import TIMES, Record, Shape, Times
from roofline import Limits

SHAPES = (
    "1,100,1,30,5,1;32,20,1,30,5,1;32,50,1,20,2,1;1,100,128,128,1,1;1,100,256,256,1,1;"
    "32,100,64,128,1,1;32,100,64,128,2,1;64,100,256,256,1,1;1,100,512,512,1,1;"
    "1,100,1024,1024,1,1;128,50,512,512,1,1;64,50,1024,1024,1,1;64,200,64,256,1,2"
)
GRID = {
    "infer": SHAPES,
    "train": SHAPES,
    "adam": "32,20,1,30,5,1;32,100,64,128,1,1;64,100,256,256,1,1",
    "stream": "1,1,1,16,1,1;1,1,8,32,1,1;1,1,64,128,1,1",
}
TITLES = {
    "infer": "Inference",
    "train": "Training",
    "adam": "Training with Adam",
    "stream": "Streaming",
}
MEANING = {
    "infer": "All outputs of whole sequences.",
    "train": "Forward and backward: the gradients of x and of all weights.",
    "adam": "Forward, backward, and an update of all weights.",
    "stream": "One step of one sequence a call; the state stays.",
}
ONEDNN = "oneDNN"
# By names in records: the library whose figure is the better of such variants. Others
# are left out: low precision is another contest.
LIBRARIES = {
    "grufast": "grufast",
    "torch": "PyTorch",
    "torch_jit": "PyTorch",
    "torch_compile": "PyTorch",
    "ort": "ONNX Runtime",
    "ort_iob": "ONNX Runtime",
    "openvino": "OpenVINO",
    "jax": "JAX",
    "jax_u8": "JAX",
    "keras": "Keras",
    "keras_xla": "Keras",
    "numpy": "NumPy",
    "onednn32": ONEDNN,
}


class Row(NamedTuple):
    """Figures of the libraries for one mode and shape, and what the machine allows."""

    shape: Shape
    times: dict[str, Times]
    limit: float | None

    def over(self, library: str) -> float:
        """How many times its time grufast's goes into."""
        return self.times[library].seconds / self.times["grufast"].seconds

    @property
    def rivals(self) -> list[str]:
        return [name for name in self.times if name not in ("grufast", ONEDNN)]

    @property
    def lead(self) -> float | None:
        """Over the best library called from Python."""
        if "grufast" not in self.times or not self.rivals:
            return None
        return min(map(self.over, self.rivals))

    @property
    def of_limit(self) -> float | None:
        if "grufast" not in self.times or self.limit is None:
            return None
        return self.limit / self.times["grufast"].seconds


def table(records: list[Record], limits: Limits | None) -> dict[str, list[Row]]:
    """Return rows by mode, both in the order of the grid."""
    threads = max((r["threads"] for r in records), default=1)
    times: dict[str, dict[Shape, dict[str, Times]]] = {}
    for (mode, shape, peer), t in measure.best_times(records).items():
        if name := LIBRARIES.get(peer):
            mine = times.setdefault(mode, {}).setdefault(shape, {})
            mine[name] = min(t, mine.get(name, t))
    order = [Shape.parse(text) for text in (SHAPES + ";" + GRID["stream"]).split(";")]

    def place(shape: Shape) -> tuple[int, Shape]:
        return order.index(shape) if shape in order else len(order), shape

    return {
        mode: [
            Row(s, times[mode][s], limits and limits.seconds(s, mode, threads))
            for s in sorted(times[mode], key=place)
        ]
        for mode in TITLES
        if mode in times
    }


def unit(seconds: float) -> str:
    """Return a time in three digits."""
    for scale, name in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {name}"
    return f"{seconds * 1e9:.3g} ns"


def libraries(rows: list[Row]) -> list[str]:
    """Return those that have a time here, oneDNN last."""
    known = dict.fromkeys(LIBRARIES.values())
    return [name for name in known if any(name in row.times for row in rows)]


def markdown(
    machine: Record, tables: dict[str, list[Row]], records: list[Record]
) -> str:
    """Write the tables, and what they come to."""
    lines = ["# grufast beside other libraries", ""]
    if machine:
        versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items())
        lines += [
            f"{machine['cpu']}, {machine['cores']} cores, {machine.get('isa', '')}; "
            f"{machine['date']}. {versions}.",
            "",
        ]
    lines += [
        "A shape is B,T,C,H,L,D: batch, steps, input size, hidden size, layers, "
        "directions. Beside a time: how many times grufast's it is. Medians, each on "
        "the better number of threads.",
        "",
    ]
    for mode, rows in tables.items():
        lines += [f"## {TITLES[mode]}", "", MEANING[mode], ""]
        lines += [*_table_lines(rows), "", _summary(rows), ""]
    done = {(r["mode"], r["shape"], r["peer"]) for r in records if "t" in r}
    missing: dict[str, list[str]] = {}
    for r in records:
        if "fail" in r and (r["mode"], r["shape"], r["peer"]) not in done:
            where = missing.setdefault(f"{r['peer']}: {str(r['fail'])[:200]}", [])
            where.append(f"{r['mode']} {r['shape']}")
    if missing:
        lines += ["## Not measured", ""]
        lines += [
            f"- {why} ({', '.join(dict.fromkeys(where))})"
            for why, where in missing.items()
        ]
    return "\n".join(lines).rstrip() + "\n"


def _table_lines(rows: list[Row]) -> list[str]:
    names = [name for name in libraries(rows) if name != "grufast"]
    limited = any(row.limit for row in rows)
    heads = ["shape", "grufast", *["of the limit"] * limited, "over the best"]
    heads += [f"{n}, called from C++" if n == ONEDNN else n for n in names]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for row in rows:
        ours = row.times.get("grufast")
        cells = [str(row.shape), unit(ours.seconds) if ours else "-"]
        if limited:
            cells.append(f"{row.of_limit:.0%}" if row.of_limit else "-")
        behind = row.lead is not None and row.lead < 1
        lead = f"{row.lead:.2f}{TIMES}" if row.lead else "-"
        cells.append(f"**{lead}**" if behind else lead)
        for name in names:
            cell = unit(row.times[name].seconds) if name in row.times else "-"
            if ours and name in row.times:
                cell += f" ({row.over(name):.2f}{TIMES})"
            cells.append(cell)
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _summary(rows: list[Row]) -> str:
    """Geometric means, and the shapes where another library is faster."""
    leads = {row.shape: row.lead for row in rows if row.lead}
    native = {
        r.shape: r.over(ONEDNN) for r in rows if {"grufast", ONEDNN} <= {*r.times}
    }
    parts = []
    for rival, ratios in (("the best library", leads), ("oneDNN", native)):
        if ratios:
            mean = f"{geometric_mean(ratios.values()):.2f}{TIMES}"
            behind = [f"{s} ({x:.2f}{TIMES})" for s, x in ratios.items() if x < 1]
            parts.append(
                f"Over {rival}: {mean} (geometric mean, {len(ratios)} in all); "
                f"behind: {', '.join(behind) or 'never'}."
            )
    return " ".join(parts)


def picture(machine: Record, tables: dict[str, list[Row]]) -> Any:
    """Draw the ratios of all libraries, and the fraction of a known limit."""
    from matplotlib.lines import Line2D

    from grufast import figures as look

    colours = (look.SECOND, look.THIRD, "#4b9a5f", "#8a63b5", "#35a5b0", look.FOURTH)
    ours_and_native = ("grufast", ONEDNN)
    rivals = dict.fromkeys(n for n in LIBRARIES.values() if n not in ours_and_native)
    dot: Record = {"marker": "o", "mec": "white", "mew": 0.6, "ms": 6.5, "lw": 0}
    style = {n: {**dot, "color": c} for n, c in zip(rivals, colours, strict=True)}
    style[ONEDNN] = {**dot, "marker": "D", "mfc": "none", "mec": look.INK, "ms": 5}
    style["grufast"] = {"color": look.MAIN, "lw": 1.6}

    shown = {mode: [row for row in rows if row.lead] for mode, rows in tables.items()}
    modes = [mode for mode, rows in shown.items() if rows]
    bands = [modes[i : i + 2] for i in range(0, len(modes), 2)]
    heights = [max(len(shown[mode]) for mode in band) + 2.2 for band in bands]
    figure: Any = look.new_figure(11.5, 0.9 + 0.25 * sum(heights))
    title = "Time of other libraries / time of grufast"
    figure.suptitle(
        title, x=0.012, ha="left", fontsize=13, color=look.INK, weight="bold"
    )
    where = f"{machine['cpu']}, {machine['cores']} cores" if machine else ""
    named = libraries([row for rows in shown.values() for row in rows])
    names = [f"{n}, from C++" if n == ONEDNN else n for n in named]
    head, body = figure.subfigures(2, 1, height_ratios=(1, sum(heights)))
    head.legend(
        [Line2D([], [], **style[name]) for name in named],
        names,
        loc="center left",
        ncols=len(names),
        frameon=False,
        fontsize=9,
        labelcolor=look.INK,
    )
    figure.text(0.988, 0.98, where, ha="right", va="top", fontsize=9, color=look.GREY)
    parts = body.subfigures(len(bands), 2, height_ratios=heights, squeeze=False)
    for band, places in zip(bands, parts, strict=True):
        for mode, place in zip(band, places, strict=False):
            _panel(place, mode, shown[mode], style)
    return figure


def _panel(place: Any, mode: str, rows: list[Row], style: dict[str, Record]) -> None:
    from grufast import figures as look

    limited = any(row.limit for row in rows)
    widths = (4, 1) if limited else (1,)
    axes, *more = place.subplots(1, len(widths), width_ratios=widths, squeeze=False)[0]

    def head(axes: Any, text: str, x: float, shift: int, align: str) -> None:
        at: Record = {"xycoords": "axes fraction", "textcoords": "offset points"}
        font: Record = {"fontsize": 8, "color": look.GREY, "ha": align}
        axes.annotate(text, (x, 1), xytext=(shift, 4), **at, **font)

    look.plain_axes(axes, TITLES[mode])
    measure.plain_log(axes.xaxis)
    axes.axvline(1, **style["grufast"])
    ratios = []
    for y, row in enumerate(rows):
        lead = row.lead or 1.0
        axes.barh(y, lead - 1, left=1, height=0.3, color=look.MAIN, alpha=0.22)
        for name in sorted(row.times, key=lambda name: name == ONEDNN):
            if name != "grufast":
                ratios.append(row.over(name))
                axes.plot(ratios[-1], y, **style[name])
        axes.text(
            1.02,
            y,
            f"{lead:.2f}{TIMES}" if lead < 10 else f"{lead:.1f}{TIMES}",
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=8.5,
            color=look.MAIN if lead < 1 else look.INK,
            weight="bold",
        )
    axes.set_xlim(0.85 * min(0.95, *ratios), 1.2 * max(ratios))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [label(row.shape) for row in rows])
    axes.tick_params(axis="y", length=0, labelcolor=look.INK)
    head(axes, f"batch{TIMES}steps, input→hidden", 0, -6, "right")
    head(axes, "over the best", 1, 4, "left")
    for side in more:
        look.plain_axes(side, "")
        fractions = [row.of_limit or 0.0 for row in rows]
        bars = side.barh(range(len(rows)), fractions, height=0.55, color=look.FOURTH)
        side.bar_label(bars, fmt="{:.0%}", padding=3, fontsize=8.5, color=look.INK)
        side.set(
            xlim=(0, 1.35 * max(1, *fractions)),
            ylim=axes.get_ylim(),
            xticks=[],
            yticks=[],
        )
        side.spines["bottom"].set_visible(False)
        head(side, "of the limit", 0, 0, "left")


def label(shape: Shape) -> str:
    text = f"{shape.batch}{TIMES}{shape.steps}, {shape.inputs}→{shape.hidden}"
    text += f", {shape.layers} layers" * (shape.layers > 1)
    return text + ", both ways" * (shape.directions > 1)

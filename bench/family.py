"""Time the cells of the recurrent family, beside other libraries and each other.

    python bench/family.py --quick
    python bench/family.py --libraries torch --shapes "32,100,64,128,1,1"

LSTM and SimpleRNN beside PyTorch's and oneDNN's, on the shapes of compare.py; the GRU
with the reset before the product, with layer normalisation, with sequences of unequal
length and with resets, beside the plain one. Libraries run in processes of their own
that take turns; results are compared with the tests' oracle (tests/cells.py) in float64
before anything is timed. Writes OUT/family.json and OUT/family.md.

oneDNN is called from C++, on threads of OpenMP, where it was found by

    pip install onednn-cpu-gomp onednn-devel-cpu-gomp
    cmake -S . -B build/bench -DGRUFAST_BENCH=ON -DCMAKE_PREFIX_PATH=ENVIRONMENT
    cmake --build build/bench --target grufast_bench_onednn
"""

import argparse
import ctypes
import functools
import importlib
import json
import os
import re
import statistics
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import grid
import measure
import numpy as np
import peers
from measure import TIMES, Array, Shape

import grufast as gf

Call = Callable[[], Any]
GATES = {"LSTM": 4, "SimpleRNN": 1}
OWN_SHAPES = "32,100,64,128,1,1;64,100,256,256,1,1;32,50,128,512,1,1"
LIBRARIES = {"grufast": "grufast", "torch": "PyTorch", "onednn": "oneDNN"}
ONEDNN = Path("build/bench/bench/cpp/libgrufast_bench_onednn.so")
CELLS = (("LSTM", "infer"), ("LSTM", "train"), ("SimpleRNN", "train"))
VARIANTS = ("plain", "reset_before", "layer_norm", "lengths", "resets")
NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
FIRST = {"dwih": "weight_ih", "dwhh": "weight_hh"}


def problem(cell: str, shape: Shape) -> tuple[list[dict[str, Array]], Array]:
    """Weights of every layer and direction by name, and x (B, T, C)."""
    rng = np.random.default_rng(0)
    hidden, limit = shape.hidden, shape.hidden**-0.5
    rows = GATES[cell] * hidden
    weights = []
    for size in shape.input_sizes:
        for _ in range(shape.directions):
            dims: tuple[Any, ...] = ((rows, size), (rows, hidden), rows, rows)
            drawn = [rng.uniform(-limit, limit, n).astype("f4") for n in dims]
            weights.append(dict(zip(NAMES, drawn, strict=True)))
    x = rng.normal(size=(shape.batch, shape.steps, shape.inputs)).astype("f4")
    return weights, x


def exact(cell: str, shape: Shape, mode: str) -> dict[str, Array]:
    """What all must compute for the loss sum(y * y), by the oracle in float64."""
    measure.oracle()
    cells = importlib.import_module("cells")
    weights, x = problem(cell, shape)
    ways = shape.directions
    wide = [{k: a.astype(np.float64) for k, a in w.items()} for w in weights]
    layers = [wide[i : i + ways] for i in range(0, len(wide), ways)]

    def turned(a: Array, way: int) -> Array:
        return a[:, ::-1] if way else a

    xs = [x.astype(np.float64)]
    for layer in layers:
        ys = [
            turned(cells.forward(cell, w, turned(xs[-1], i)).y, i)
            for i, w in enumerate(layer)
        ]
        xs.append(np.concatenate(ys, axis=-1))
    y = xs.pop()
    if mode == "infer":
        return {"y": y}
    d, grads = 2 * y, []
    for below, layer in zip(reversed(xs), reversed(layers), strict=True):
        parts = np.split(d, ways, axis=-1)
        grads = [
            cells.backward(cell, w, turned(below, i), dy=turned(part, i))
            for i, (w, part) in enumerate(zip(layer, parts, strict=True))
        ]
        d = np.sum([turned(g["x"], i) for i, g in enumerate(grads)], axis=0)
    first = {"dwih": grads[0]["weight_ih"], "dwhh": grads[0]["weight_hh"]}
    return {"y": y, "dx": d, **first}


def grufast_calls(cell: str, shape: Shape, mode: str) -> tuple[Call, Call]:
    """Return what to time, and what returns all results."""
    weights, x = problem(cell, shape)
    ways = shape.directions
    kind = getattr(gf.layers, cell)
    layers = []
    for i, size in enumerate(shape.input_sizes):
        layer = kind(shape.hidden, return_sequences=True)
        layer = gf.layers.Bidirectional(layer) if ways == 2 else layer
        layer.build(size)
        own = zip(("", "_reverse"), weights[i * ways : (i + 1) * ways], strict=False)
        layer.set_weights({f"{n}{s}": a for s, w in own for n, a in w.items()})
        layers.append(layer)
    model = gf.Sequential(layers)
    dy = np.empty((*x.shape[:2], ways * shape.hidden), np.float32)

    def train() -> dict[str, Array]:
        y, context = model.forward(x)
        dx, grads = model.backward(np.multiply(y, 2, out=dy), context)
        first = {k: grads[f"layers.0.{n}"] for k, n in FIRST.items()}
        return {"y": y, "dx": dx, **first}

    if mode == "infer":
        return lambda: model(x), lambda: {"y": model(x)}
    return train, train


def torch_calls(cell: str, shape: Shape, mode: str) -> tuple[Call, Call]:
    """Return the same for PyTorch, time-major, which is its faster layout."""
    import torch

    weights, data = problem(cell, shape)
    kind = {"LSTM": torch.nn.LSTM, "SimpleRNN": torch.nn.RNN}[cell]
    both = shape.directions == 2
    net = kind(shape.inputs, shape.hidden, shape.layers, bidirectional=both)
    arrays = [torch.from_numpy(a) for w in weights for a in w.values()]
    with torch.no_grad():
        for parameter, array in zip(net.parameters(), arrays, strict=True):
            parameter.copy_(array)
    x = torch.from_numpy(np.ascontiguousarray(data.transpose(1, 0, 2)))

    def infer() -> Any:
        with torch.inference_mode():
            return net(x)[0]

    def train() -> dict[str, Array]:
        x.grad = None
        net.zero_grad()
        y, _ = net(x)
        (y * y).sum().backward()
        gradient: Any = x.grad
        return {
            "y": y.detach().numpy().transpose(1, 0, 2),
            "dx": gradient.numpy().transpose(1, 0, 2),
            "dwih": net.weight_ih_l0.grad.numpy(),
            "dwhh": net.weight_hh_l0.grad.numpy(),
        }

    if mode == "infer":
        return infer, lambda: {"y": infer().numpy().transpose(1, 0, 2)}
    x.requires_grad_()
    return train, train


def onednn() -> ctypes.CDLL:
    """Load what bench/cpp/onednn.cpp is built to."""
    library = ctypes.CDLL(str(ONEDNN.absolute()))
    library.onednn_new.restype = ctypes.c_void_p
    library.onednn_version.restype = ctypes.c_char_p
    return library


def onednn_calls(cell: str, shape: Shape, mode: str) -> tuple[Call, Call]:
    """Return the same for oneDNN, which is time-major, too."""
    library = onednn()
    weights, data = problem(cell, shape)
    x = np.ascontiguousarray(data.transpose(1, 0, 2))
    arrays = [
        np.ascontiguousarray(a)
        for w in weights
        for a in (w["weight_ih"].T, w["weight_hh"].T, w["bias_ih"] + w["bias_hh"])
    ]
    network = ctypes.c_void_p(
        library.onednn_new(
            cell.encode(),
            mode == "train",
            (ctypes.c_int64 * len(shape))(*shape),
            ctypes.c_void_p(x.ctypes.data),
            (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays)),
        )
    )
    run = functools.partial(library.onednn_run, network)
    weakref.finalize(run, library.onednn_delete, network)

    def read(name: str, *dims: int) -> Array:
        array = np.empty(dims, np.float32)
        library.onednn_read(network, name.encode(), ctypes.c_void_p(array.ctypes.data))
        return array

    def results() -> dict[str, Array]:
        run()
        y = read("y", *x.shape[:2], shape.directions * shape.hidden)
        found = {"y": y.transpose(1, 0, 2)}
        if mode == "train":
            found["dx"] = read("dx", *x.shape).transpose(1, 0, 2)
            found["dwih"] = read("dwih", *arrays[0].shape).T
            found["dwhh"] = read("dwhh", *arrays[1].shape).T
        return found

    return run, results


def variant_calls(variant: str, shape: Shape, mode: str) -> tuple[Call, Call]:
    """Return the calls of a GRU layer in one of the `VARIANTS`."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(shape.batch, shape.steps, shape.inputs)).astype("f4")
    options: dict[str, Any] = {}
    if variant == "lengths":  # uniform over [1, T]
        options["lengths"] = 1 + np.arange(shape.batch) * shape.steps // shape.batch
    if variant == "resets":
        options["resets"] = rng.random(x.shape[:2]) < 0.01
    layer = gf.layers.GRU(
        shape.hidden,
        return_sequences=True,
        reset_after=variant != "reset_before",
        layer_norm=variant == "layer_norm",
        seed=0,
    )
    dy = np.ones((shape.batch, shape.steps, shape.hidden), np.float32)

    def train() -> Any:
        _, context = layer.forward(x, **options)
        return layer.backward(dy, context)

    call = train if mode == "train" else lambda: layer(x, **options)
    return call, call


CALLS = {"grufast": grufast_calls, "torch": torch_calls, "onednn": onednn_calls}


def version(library: str) -> str:
    if library == "onednn":
        return str(onednn().onednn_version().decode())
    if library == "grufast":
        return f"{gf.__version__} ({gf.build_info()['isa']})"
    import torch

    inside = re.search(r"MKL-DNN v([\d.]+)", torch.__config__.show())
    return f"{torch.__version__} (oneDNN {inside[1] if inside else 'none'} in it)"


def serve(library: str, threads: int) -> None:
    """Answer lines of JSON on stdin: prepare, or time what is prepared."""
    if library == "torch":
        import torch

        torch.set_num_threads(threads)
    elif library == "grufast":
        gf.set_num_threads(threads)
    call: Call = int
    for line in sys.stdin:
        do, *arguments = json.loads(line)
        answer: Any = None
        if do == "version":
            answer = version(library)
        elif do == "time":
            answer = measure.sample(call, *arguments)
        elif do == "variant":
            name, shape, mode = arguments
            call, _ = variant_calls(name, Shape.parse(shape), mode)
        else:
            cell, shape, mode, right = arguments
            call, results = CALLS[library](cell, Shape.parse(shape), mode)
            with np.load(right) as arrays:
                measure.check(results(), dict(arrays))
        print(json.dumps(answer), flush=True)


class Worker:
    """A library with a number of threads, in a process of its own."""

    def __init__(self, library: str, threads: int) -> None:
        self.library, self.threads = library, threads
        command = [sys.executable, __file__, "--serve", library, str(threads)]
        env = {**os.environ, **peers.environment(library, threads)}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env=env
        )

    def ask(self, *request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.library}, {self.threads} threads, failed")
        return json.loads(line)


def timed(workers: list[Worker], rounds: int, budget: float) -> dict[str, float]:
    """Return the better of the thread counts' medians, by library."""
    samples: dict[tuple[str, int], list[float]] = {}
    for i in range(rounds):
        for worker in workers[:: 1 if i % 2 else -1]:
            key = worker.library, worker.threads
            samples.setdefault(key, []).extend(worker.ask("time", budget))
    best: dict[str, float] = {}
    for (library, _), times in samples.items():
        seconds = statistics.median(times)
        best[library] = min(seconds, best.get(library, seconds))
    return best


def beside_others(args: argparse.Namespace, workers: list[Worker]) -> list[Any]:
    right, rows = args.out / "exact.npz", []
    for cell, mode in CELLS:
        for text in args.shapes:
            shape = Shape.parse(text)
            np.savez(right, **exact(cell, shape, mode))  # type: ignore[arg-type]
            for worker in workers:
                worker.ask("cell", cell, text, mode, str(right))
            times = timed(workers, args.rounds, args.budget)
            rows.append({"cell": cell, "mode": mode, "shape": text, **times})
            print(rows[-1], flush=True)
    right.unlink()
    return rows


def beside_each_other(args: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    workers = {v: [Worker("grufast", n) for n in (1, 2)] for v in VARIANTS}
    for mode in ("infer", "train"):
        for text in OWN_SHAPES.split(";")[:: 3 if args.quick else 1]:
            for variant, pair in workers.items():
                for worker in pair:
                    worker.ask("variant", variant, text, mode)
            samples: dict[str, list[float]] = {}
            for _ in range(args.rounds):  # variants take turns
                for variant, pair in workers.items():
                    samples.setdefault(variant, []).append(
                        timed(pair, 1, args.budget)["grufast"]
                    )
            times = {v: statistics.median(t) for v, t in samples.items()}
            rows.append({"mode": mode, "shape": text, **times})
            print(rows[-1], flush=True)
    return rows


def tables(rows: list[Any], libraries: list[str]) -> list[str]:
    """Return lines about every cell and mode beside the libraries."""
    names = [LIBRARIES[library] for library in libraries]
    heads = ["grufast", *names, *(f"{name} / grufast" for name in names)]
    lines = []
    for cell, mode in dict.fromkeys((r["cell"], r["mode"]) for r in rows):
        mine = [r for r in rows if (r["cell"], r["mode"]) == (cell, mode)]
        lines += [f"## {cell}, {mode}", ""]
        for library, name in zip(libraries, names, strict=True):
            ratios = [r[library] / r["grufast"] for r in mine]
            mean = f"{geometric_mean(ratios):.2f}{TIMES} the speed of {name}"
            lines.append(f"- {mean} (geometric mean), least {min(ratios):.2f}{TIMES}.")
        lines += ["", "| B,T,C,H,L,D | " + " | ".join(heads) + " |"]
        lines.append("|---|" + "---:|" * len(heads))
        for r in mine:
            entries = [grid.unit(r[library]) for library in ("grufast", *libraries)]
            entries += [
                f"{r[library] / r['grufast']:.2f}{TIMES}" for library in libraries
            ]
            lines.append(f"| {r['shape']} | " + " | ".join(entries) + " |")
        lines.append("")
    return lines


def markdown(machine: dict[str, Any], others: list[Any], own: list[Any]) -> str:
    versions = machine["versions"]
    used = ", ".join(f"{LIBRARIES[k]} {v}" for k, v in versions.items())
    lines = [
        "# The recurrent family",
        "",
        f"{machine['cpu']}, {machine['cores']} cores; {machine['date']}; {used}. Each "
        "on the better of 1 and 2 threads, medians of interleaved rounds.",
        "",
        *tables(others, [library for library in versions if library != "grufast"]),
        "## Variants of the GRU, by the time of the plain one",
        "",
        "`lengths`: uniform over 1 to T; `resets`: before one step in a hundred.",
        "",
        "| mode | B,T,C,H,L,D | " + " | ".join(VARIANTS) + " |",
        "|---|---|" + "---:|" * len(VARIANTS),
    ]
    for r in own:
        times = [f"{r[v] / r['plain']:.2f}{TIMES}" for v in VARIANTS]
        times[0] = grid.unit(r["plain"])
        lines.append(f"| {r['mode']} | {r['shape']} | " + " | ".join(times) + " |")
    return "\n".join(lines) + "\n"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("--libraries", default="torch,onednn", help="beside which, of these")
    option("--shapes", default=grid.SHAPES, help='"B,T,C,H,L,D;..."')
    option("--quick", action="store_true", help="a third of the shapes")
    option("--rounds", type=int, default=3)
    option("--budget", type=float, default=0.3, help="seconds that each has a round")
    option("--out", type=Path, default=Path("bench/results"))
    option("--serve", nargs=2, metavar=("LIBRARY", "THREADS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.libraries = ["grufast", *args.libraries.split(",")]
    args.shapes = args.shapes.split(";")[:: 3 if args.quick else 1]
    if not args.serve and "onednn" in args.libraries and not ONEDNN.exists():
        parser.error(f"{ONEDNN} is not there: build it, or name other --libraries")
    return args


def main() -> None:
    args = arguments()
    if args.serve:
        return serve(args.serve[0], int(args.serve[1]))
    args.out.mkdir(parents=True, exist_ok=True)
    workers = [Worker(library, n) for library in args.libraries for n in (1, 2)]
    machine = measure.machine()
    machine["versions"] = {w.library: w.ask("version") for w in workers}
    own, others = beside_each_other(args), beside_others(args, workers)
    record = {"machine": machine, "beside_others": others, "beside_each_other": own}
    (args.out / "family.json").write_text(json.dumps(record, indent=1) + "\n")
    text = markdown(machine, others, own)
    (args.out / "family.md").write_text(text)
    print(f"\n{text}")
    return None


if __name__ == "__main__":
    main()

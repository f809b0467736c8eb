"""Measure what training costs besides the arithmetic: updates, memory, fit.

    python bench/training.py --python keras=/other/bin/python

- The part of a step with Adam that the update takes, packing the new weights included.
- The most memory that a training step needs above its inputs and outputs, beside
  PyTorch's; and with ``memory="low"``, which keeps less for more time.
- An epoch of `fit` on 1000 windows of 10 steps, five layers of 30 units, batches of 32,
  beside Keras and a plain loop in PyTorch.

Every measurement lives in a process of its own. Writes OUT/training.json and
OUT/training.md.
"""

import argparse
import functools
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grid
import measure
import numpy as np
import peers
from measure import TIMES, Shape

MEMORY = Shape(64, 200, 64, 256)
ROUNDS = 5
WINDOWS, STEPS, UNITS, DEPTH, BATCH = 1000, 10, 30, 5, 32


def interleaved(
    calls: Mapping[str, Callable[[], object]], budget: float = 0.3
) -> dict[str, float]:
    """Return the median seconds of calls that take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            times[name] += measure.sample(call, budget)
    return {name: statistics.median(t) for name, t in times.items()}


def update(text: str, threads: int) -> dict[str, float]:
    """Seconds of a step without the update and with it."""
    shape = Shape.parse(text)
    problem = measure.problem(shape, "train")
    calls = {
        mode: peers.setup_grufast(shape, mode, threads, *problem)[0]
        for mode in ("train", "adam")
    }
    return interleaved(calls)


def resident(field: str) -> int:
    """Return bytes of this process: VmRSS now, VmHWM at most."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    assert found
    return 1024 * int(found[1])


def peak(library: str) -> int:
    """Bytes that a training step needs at most, above inputs, weights and outputs."""
    setup = peers.PEERS[library].setup
    small = MEMORY._replace(steps=2)
    setup(small, "train", 2, *measure.problem(small, "train"))[0]()  # what loads once
    call, result = setup(MEMORY, "train", 2, *measure.problem(MEMORY, "train"))
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    call()
    highest = resident("VmHWM")
    outputs = sum(a.nbytes for a in result().values())
    return highest - before - outputs


def low() -> dict[str, float]:
    """Sizes of the workspaces, and seconds of a step on two threads."""
    import grufast as gf

    x = np.random.default_rng(0).normal(size=(MEMORY[:3])).astype("f4")
    dy = np.ones((*x.shape[:2], MEMORY.hidden), np.float32)

    def step(layer: Any) -> object:
        _, context = layer.forward(x)
        return layer.backward(dy, context)

    layers = {
        memory: gf.layers.GRU(MEMORY.hidden, return_sequences=True, memory=memory)
        for memory in ("fast", "low")
    }
    found: dict[str, float] = {}
    for threads in (1, 2):
        gf.set_num_threads(threads)
        calls = {k: functools.partial(step, layer) for k, layer in layers.items()}
        times = interleaved(calls)
        found[f"time on {threads}"] = times["low"] / times["fast"]
    sizes = {k: layer._run._workspaces[0].nbytes for k, layer in layers.items()}
    return {"memory": sizes["low"] / sizes["fast"], **found}


def windows() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(WINDOWS, STEPS, 1)).astype("f4")
    return x, x.sum(axis=1)


def epoch(library: str) -> float:
    """Median seconds of an epoch, from the second one on."""
    x, y = windows()
    if library == "torch":
        return interleaved({"epoch": torch_epoch(x, y)})["epoch"]
    if library == "keras":
        import keras as kit
    else:
        import grufast as kit
    layers = kit.layers
    model = kit.Sequential(
        [layers.GRU(UNITS, return_sequences=i + 1 < DEPTH) for i in range(DEPTH)]
        + [layers.Dense(1)]
    )
    model.compile(optimizer="adam", loss="mse")
    fit = functools.partial(model.fit, x, y, epochs=1, batch_size=BATCH, verbose=0)
    return interleaved({"epoch": fit})["epoch"]


def torch_epoch(x: Any, y: Any) -> Callable[[], None]:
    import torch

    torch.manual_seed(0)
    gru = torch.nn.GRU(1, UNITS, DEPTH, batch_first=True)
    head = torch.nn.Linear(UNITS, 1)
    optimizer = torch.optim.Adam([*gru.parameters(), *head.parameters()])
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)

    def run() -> None:
        order = torch.randperm(WINDOWS)
        for rows in order.split(BATCH):
            optimizer.zero_grad()
            predicted = head(gru(inputs[rows])[0][:, -1])
            torch.nn.functional.mse_loss(predicted, targets[rows]).backward()
            optimizer.step()

    return run


TASKS: dict[str, Callable[..., Any]] = {
    "update": lambda text, threads: update(text, int(threads)),
    "peak": peak,
    "low": low,
    "epoch": epoch,
}


def ask(python: str, *task: str) -> Any:
    """Return what a task finds in a process of its own, or None."""
    done = subprocess.run(
        [python, __file__, "--task", *task], capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(f"{' '.join(task)}: {done.stderr.strip().rpartition(chr(10))[2]}")
        return None
    return json.loads(done.stdout.strip().rpartition("\n")[2])


def markdown(machine: dict[str, Any], found: dict[str, Any]) -> str:
    lines = ["# What training costs besides", ""]
    lines += [f"{machine['cpu']}, {machine['cores']} cores; {machine['date']}.", ""]
    lines += [
        "| a step with Adam | threads | all | the update |",
        "|---|---|---:|---:|",
    ]
    for row in found["update"]:
        part = 1 - row["train"] / row["adam"]
        lines.append(
            f"| {row['shape']} | {row['threads']} | {grid.unit(row['adam'])} "
            f"| {part:.1%} |"
        )
    lines += ["", f"| a training step of {MEMORY} | most memory |", "|---|---:|"]
    for library, size in found["peak"].items():
        lines.append(f"| {library} | {size / 1e6:.0f} MB |")
    low = found["low"]
    lines += [
        "",
        f'`memory="low"`, the same step: {low["memory"]:.1%} of the workspace, '
        f"{low['time on 1']:.2f}{TIMES} the time on one thread, "
        f"{low['time on 2']:.2f}{TIMES} on two.",
        "",
        "| an epoch of fit | time | of grufast's |",
        "|---|---:|---:|",
    ]
    for library, seconds in found["epoch"].items():
        ratio = seconds / found["epoch"]["grufast"]
        lines.append(f"| {library} | {grid.unit(seconds)} | {ratio:.1f}{TIMES} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="LIBRARY=PATH",
        help="the interpreter that has keras or torch, if not the one running this",
    )
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    parser.add_argument("--task", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.task:
        print(json.dumps(TASKS[args.task[0]](*args.task[1:])))
        return
    pythons = dict(item.split("=", 1) for item in args.python)

    def each(task: str, *libraries: str) -> dict[str, Any]:
        answers = {
            library: ask(pythons.get(library, sys.executable), task, library)
            for library in libraries
        }
        return {library: a for library, a in answers.items() if a is not None}

    found: dict[str, Any] = {"update": []}
    for shape in grid.GRID["adam"].split(";"):
        for threads in (1, 2):
            times = ask(sys.executable, "update", shape, str(threads))
            found["update"].append({"shape": shape, "threads": threads, **times})
    found["peak"] = each("peak", "grufast", "torch")
    found["low"] = ask(sys.executable, "low")
    found["epoch"] = each("epoch", "grufast", "torch", "keras")
    machine = measure.machine()
    args.out.mkdir(parents=True, exist_ok=True)
    record = json.dumps({"machine": machine, **found}, indent=1)
    (args.out / "training.json").write_text(f"{record}\n")
    text = markdown(machine, found)
    (args.out / "training.md").write_text(text)
    print(f"\n{text}")


if __name__ == "__main__":
    main()

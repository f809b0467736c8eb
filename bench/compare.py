"""Time grufast beside the libraries that are installed, and show what came of it.

    python bench/compare.py --quick
    python bench/compare.py --python keras=/other/bin/python --limits limits.json
    python bench/compare.py --from grid.jsonl --out DIR  # measures nothing

Each library lives in a process of its own for each number of threads, must compute what
the tests' oracle does, and only then is timed, in rounds that take turns. Its figure is
the median of all its samples, on the number of threads that it is faster with.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grid
import measure
import numpy as np
import peers
import roofline
from measure import Record, Shape

TIMEOUT = 300.0  # seconds for one answer: some compile for minutes


class Worker:
    """The process of one peer with one number of threads."""

    def __init__(self, name: str, threads: int, python: str, log: Path) -> None:
        self.name, self.threads, self._log = name, threads, log
        self._command = [python, peers.__file__, name, str(threads)]
        self._process: subprocess.Popen[str] | None = None

    def __str__(self) -> str:
        return f"{self.name} on {self.threads} thread{'s' * (self.threads > 1)}"

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            settings = peers.environment(self.name, self.threads)
            with self._log.open("a") as log:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env={**os.environ, **settings},
                )
        return self._process

    def ask(self, do: str, **arguments: Any) -> Record:
        """Return its answer, or under "fail" why there is none."""
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(TIMEOUT, process.kill)
        timer.start()
        try:
            print(json.dumps({"do": do, **arguments}), file=process.stdin, flush=True)
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        timer.cancel()
        if line:
            return json.loads(line)  # type: ignore[no-any-return]
        self.stop()
        last = self._log.read_text().strip().rpartition("\n")[2] or "it said nothing"
        return {"fail": f"its process ended, or {TIMEOUT:.0f} s were too few: {last}"}

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def present(workers: list[Worker]) -> tuple[list[Worker], Record]:
    """Return the workers whose peer can be imported, and the machine's record."""
    machine, here = measure.machine(), []
    machine["versions"] = {"python": sys.version.split()[0], "numpy": np.__version__}
    for worker in workers:
        answer = worker.ask("versions")
        if "fail" in answer:
            print(f"not here: {worker}: {answer['fail']}")
            worker.stop()
            continue
        here.append(worker)
        machine["versions"] |= answer.pop("versions")
        machine |= answer
    return here, machine


def run(
    cells: Sequence[tuple[str, Shape]],
    workers: list[Worker],
    rounds: int,
    budget: float,
    emit: Callable[[Record], None],
    directory: Path,
) -> None:
    """Check and time the workers on every mode and shape; `emit` what they say."""
    exact = directory / "exact.npz"
    for mode, shape in cells:
        np.savez(exact, **measure.exact(shape, mode))  # type: ignore[arg-type]
        problem = {"shape": str(shape), "mode": mode}
        records: list[Record] = []
        ready = [w for w in workers if mode in peers.PEERS[w.name].modes]
        for i in range(-1, rounds):  # the first one prepares
            for worker in ready[:: 1 if i % 2 else -1]:
                key = {**problem, "peer": worker.name, "threads": worker.threads}
                if i < 0:
                    answer = worker.ask("setup", **problem, exact=str(exact))
                else:
                    answer = worker.ask("time", budget=budget)
                    key["round"] = i
                if answer:
                    records.append({**key, **answer})
                    emit(records[-1])
                if "fail" in answer:
                    print(f"{mode} {shape}: {worker}: {answer['fail']}")
                    ready.remove(worker)
        best = sorted(measure.best_times(records).items(), key=lambda item: item[1])
        times = (f"{peer} {grid.unit(t.seconds)}" for (_, _, peer), t in best)
        print(f"{mode} {shape}:", ", ".join(times), flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def some(known: Sequence[str]) -> Callable[[str], list[str]]:
        def names(text: str) -> list[str]:
            if unknown := sorted({*text.split(",")} - {*known}):
                expected = ", ".join(known)
                message = f"got {', '.join(unknown)}, expected some of {expected}"
                raise argparse.ArgumentTypeError(message)
            return text.split(",")

        return names

    def shapes(text: str) -> list[Shape]:
        return [Shape.parse(item) for item in text.split(";") if item]

    def counts(text: str) -> list[int]:
        return [int(item) for item in text.split(",")]

    def interpreter(text: str) -> tuple[str, str]:
        name, _, path = text.partition("=")
        if not shutil.which(path):
            raise argparse.ArgumentTypeError(f"got '{text}', expected PEER=PATH")
        return name, path

    option = parser.add_argument
    option("--shapes", type=shapes, help='"B,T,C,H,L,D;..." instead of the grid')
    option("--modes", type=some([*grid.GRID]), default=[*grid.GRID])
    option("--peers", type=some([*peers.PEERS]), default=[*peers.PEERS])
    option("--threads", type=counts, default=[1, 2])
    option("--rounds", type=int, default=3)
    option("--budget", type=float, default=0.3, help="seconds that a peer has a round")
    option("--quick", action="store_true", help="a third of the grid")
    option("--limits", type=Path, help="JSON of bench/cpp/limits.cpp")
    option(
        "--python",
        type=interpreter,
        action="append",
        default=[],
        metavar="PEER=PATH",
        help="the interpreter that has this peer, if it is not the one running this",
    )
    option("--from", dest="source", type=Path, help="records to show again")
    option("--out", type=Path, default=Path("bench/results"))
    return parser.parse_args()


def measured(args: argparse.Namespace, path: Path) -> None:
    """Write the records of a run."""
    pythons: dict[str, str] = dict(args.python)
    cells = []
    for mode in args.modes:
        listed = [Shape.parse(text) for text in grid.GRID[mode].split(";")]
        shapes = args.shapes or listed[:: 3 if args.quick else 1]
        cells += [(mode, shape) for shape in shapes]
    with tempfile.TemporaryDirectory() as directory, path.open("w") as file:

        def emit(record: Record) -> None:
            print(json.dumps(record), file=file, flush=True)

        workers = []
        for name in args.peers:
            python = pythons.get(name.removesuffix("_xla"), sys.executable)
            log = Path(directory) / f"{name}.log"
            workers += [Worker(name, n, python, log) for n in args.threads]
        try:
            here, machine = present(workers)
            emit({"machine": machine})
            run(cells, here, args.rounds, args.budget, emit, Path(directory))
        finally:
            for worker in workers:
                worker.stop()


def main() -> None:
    from grufast import figures

    args = arguments()
    figures.require_matplotlib()  # now, not when all is measured
    limits = roofline.read_limits(args.limits) if args.limits else None
    args.out.mkdir(parents=True, exist_ok=True)
    source = args.source or args.out / "grid.jsonl"
    if args.source is None:
        measured(args, source)
    machine, records = measure.load(source)
    tables = grid.table(records, limits)
    text = grid.markdown(machine, tables, records)
    (args.out / "grid.md").write_text(text)
    print(f"\n{text}")
    if any(row.lead for rows in tables.values() for row in rows):
        figures.write(grid.picture(machine, tables), args.out / "grid.png")


if __name__ == "__main__":
    main()

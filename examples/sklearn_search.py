"""Spread a grid search of scikit-learn over a Dask cluster.

Handwritten digits of 8 x 8 pixels (scikit-learn's own, 1797 of them) are read row by
row as sequences of 8 steps of 8 channels. A grid search tries sizes and step sizes by
cross-validation; each fit is a task that Dask gives to a worker process. The cluster
here is a local one; with the address of a scheduler, `--address tcp://host:8786`, the
same tasks go to its machines, which need grufast and scikit-learn too.

    pip install ".[sklearn]" "dask[distributed]"
    python examples/sklearn_search.py --workers 2
"""

import argparse
import contextlib
import time
from typing import Any

import joblib
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split

import grufast as gf
from grufast.sklearn import GRUClassifier

try:
    from dask.distributed import Client, LocalCluster
except ImportError:
    Client = LocalCluster = None


def cluster(stack: contextlib.ExitStack, options: argparse.Namespace) -> Any:
    """Return a Dask client, or None where the package is missing."""
    if Client is None:
        print(
            'Dask is not installed (pip install "dask[distributed]"): '
            f"the search runs in {options.workers} processes of joblib instead.\n"
        )
        return None
    if options.address:
        return stack.enter_context(Client(options.address))
    # One thread a worker: Dask then has OpenMP use one thread as well, and as many
    # workers as cores fill the machine.
    local = LocalCluster(
        n_workers=options.workers, threads_per_worker=1, dashboard_address=None
    )
    return stack.enter_context(Client(stack.enter_context(local)))


def main() -> None:
    """Search, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--workers", type=int, default=2, help="processes (2)")
    parser.add_argument("--address", help="of a Dask scheduler that runs already")
    parser.add_argument("--max-iter", type=int, default=40, help="passes a fit (40)")
    options = parser.parse_args()

    digits = load_digits()
    x_train, x_test, y_train, y_test = train_test_split(
        digits.images / 16, digits.target, test_size=0.3, random_state=0
    )
    search = GridSearchCV(
        GRUClassifier(
            batch_size=32, max_iter=options.max_iter, dtype="float32", random_state=0
        ),
        {"units": [(16,), (64,)], "learning_rate_init": [1e-3, 1e-2]},
        cv=3,
    )
    with contextlib.ExitStack() as stack:
        client = cluster(stack, options)
        if client is None:
            backend = joblib.parallel_config(backend="loky", n_jobs=options.workers)
        else:
            threads = client.run(gf.get_num_threads)
            print(f"{len(threads)} workers; threads of grufast in each:", end=" ")
            print(*threads.values())
            backend = joblib.parallel_config(backend="dask", n_jobs=-1)
        start = time.perf_counter()
        with backend:
            search.fit(x_train, y_train)
        seconds = time.perf_counter() - start

    print(f"{'units':>6} {'learning rate':>14} {'accuracy':>9} {'of folds':>9}")
    found = search.cv_results_
    for params, mean, std in zip(
        found["params"], found["mean_test_score"], found["std_test_score"], strict=True
    ):
        (units,) = params["units"]
        rate = params["learning_rate_init"]
        print(f"{units:>6} {rate:>14g} {mean:>9.4f} {'± ' + format(std, '.4f'):>9}")
    print(f"\nbest: {search.best_params_}")
    print(f"accuracy on the digits held out: {search.score(x_test, y_test):.4f}")
    print(f"{len(found['params']) * 3 + 1} fits in {seconds:.1f} s")


if __name__ == "__main__":
    main()

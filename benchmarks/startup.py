"""Measures how long a command waits for TensorFlow.

    python -m benchmarks.startup [--rounds 5]

Loads TensorFlow as the commands of this project do and as `import tensorflow`
does, in processes of their own and in turns. Prints a JSON line per process,
and one with the median of the ratios. The difference is what Keras imports with
it where pandas, scikit-learn and matplotlib are installed.
"""

import json
import os
import statistics
import subprocess
import sys

from absl import app, flags

_ROUNDS = flags.DEFINE_integer("rounds", 5, "Pairs of processes.")

_LOAD = """
import json, os, time
{before}
start = time.perf_counter(), time.process_time()
import tensorflow
print(json.dumps({{
    "wall_seconds": round(time.perf_counter() - start[0], 2),
    "cpu_seconds": round(time.process_time() - start[1], 2),
}}))
"""
_WAYS = {
    "command": "import tensorflow_startup; tensorflow_startup.install()",
    "plain": "",
}


def main(_: list[str]) -> None:
    """Loads TensorFlow in turns and prints what it took."""
    ratios = []
    for _ in range(_ROUNDS.value):
        costs = {way: _measure(way) for way in _WAYS}
        ratios.append(
            costs["command"]["cpu_seconds"] / costs["plain"]["cpu_seconds"]
        )
    _report(measured="startup", cpu_ratio=round(statistics.median(ratios), 2))


def _measure(way: str) -> dict[str, float]:
    """Returns what loading takes, in seconds, in a new process."""
    loaded = subprocess.run(
        [sys.executable, "-c", _LOAD.format(before=_WAYS[way])],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        check=True,
    )
    cost: dict[str, float] = json.loads(loaded.stdout)
    _report(measured=way, **cost)
    return cost


def _report(**values: object) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    app.run(main)

"""Compares scoring all users with asking a server for one after another.

    python -m benchmarks.scoring [--num_items 17768] [--num_users 20000] [...]

A model of the paper's size with random weights is exported, and users with
random ratings are prepared. In turns, some of them are asked for by the client
of this project over REST of `serving.local_server`, one at a time, and all are
scored by `python -m export.score`. Prints JSON lines: users per second of both
in each round, and the median of the ratios, with and without the start of the
command; the CPU time per user of both, which other programs change less, and
how many programs wanted a core.
"""

import collections
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pyarrow as pa
from absl import app, flags

from benchmarks.recommend_signature import name_items
from benchmarks.server_process import Server, run_server
from data_prep.dataset.items import Items
from data_prep.prepare import prepare
from data_prep.sources.tables import make_table_source
from data_prep.splits.undivided import Undivided
from export.saved_model import write_saved_model
from export.signatures.signatures import Signatures
from serving.client import Client
from trainer.model.autoencoder import AutoEncoder

_NUM_ITEMS = flags.DEFINE_integer("num_items", 17_768, "Catalog size.")
_NUM_USERS = flags.DEFINE_integer("num_users", 20_000, "Users to score.")
_NUM_ASKED = flags.DEFINE_integer("num_asked", 300, "Users to ask for.")
_NUM_RATED = flags.DEFINE_integer("num_rated", 100, "Ratings of each user.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Rounds.")

_HIDDEN_UNITS = flags.DEFINE_list(
    "hidden_units", ["512", "512", "1024"], "The encoder's layers."
)


def main(_: list[str]) -> None:
    """Exports the model, prepares the users and asks for them in turns."""
    with tempfile.TemporaryDirectory() as directory:
        export_dir = os.path.join(directory, "export")
        data_dir = os.path.join(directory, "data")
        _write_model(os.path.join(export_dir, "1"))
        ratings = _make_ratings()
        prepare(make_table_source(ratings), Undivided(), data_dir)
        ratios: dict[str, list[float]] = collections.defaultdict(list)
        with run_server(["serving.local_server"], export_dir) as server:
            for number in range(_ROUNDS.value):
                asked = _measure_server(server, ratings)
                output = os.path.join(directory, f"scores-{number}")
                scored = _measure_score(export_dir, data_dir, output)
                asked_per_second = asked["users_per_second"]
                for name in ("users_per_second", "users_per_second_with_start"):
                    ratios[name].append(scored[name] / asked_per_second)
                ratios["cpu_time"].append(
                    asked["cpu_us_per_user"] / scored["cpu_us_per_user"]
                )
    for name, values in ratios.items():
        _report(
            f"times the asked, {name}",
            median=round(statistics.median(values), 1),
            lowest=round(min(values), 1),
            highest=round(max(values), 1),
        )


def _write_model(path: str) -> None:
    keras.utils.set_random_seed(2017)
    num_items = _NUM_ITEMS.value
    model = AutoEncoder(
        num_items=num_items,
        hidden_units=tuple(map(int, _HIDDEN_UNITS.value)),
        last_layer_activation=False,
    )
    items = Items(
        item_ids=name_items(num_items),
        counts=np.ones(num_items, np.int64),
        means=np.full(num_items, 3.5),
        titles=[None] * num_items,
    )
    signatures = Signatures(
        *(model, items, (1.0, 5.0)),
        top_k=100,
        history_length=_NUM_RATED.value,
    )
    write_saved_model(signatures, path)


def _make_ratings() -> pa.Table:
    """Makes users whose histories are as unequal as people's."""
    rng = np.random.default_rng(2017)
    num_items = _NUM_ITEMS.value
    lengths = rng.exponential(_NUM_RATED.value, _NUM_USERS.value)
    lengths = np.clip(lengths, 1, num_items / 2).astype(int)
    items = np.concatenate(
        [rng.choice(num_items, length, replace=False) for length in lengths]
    )
    return pa.table(
        {
            "user": np.repeat(np.arange(len(lengths)), lengths),
            "item": pa.array(name_items(num_items)).take(pa.array(items)),
            "rating": rng.integers(1, 6, len(items)).astype(float),
        }
    )


def _measure_server(server: Server, ratings: pa.Table) -> dict[str, float]:
    """Asks for some users, one after another."""
    client = Client(server.url)
    users = ratings["user"].to_numpy()
    ends = np.searchsorted(users, np.arange(_NUM_ASKED.value + 1))
    histories = [
        list(
            zip(
                ratings["item"][start:end].to_pylist(),
                ratings["rating"][start:end].to_pylist(),
                strict=True,
            )
        )
        for start, end in itertools.pairwise(ends)
    ]
    for history in histories[:20]:
        client.recommend(history)
    processes = os.getpid(), server.process_id
    cpu_start = sum(map(_cpu_seconds, processes))
    start = time.monotonic()
    for history in histories:
        client.recommend(history)
    seconds = time.monotonic() - start
    cpu_seconds = sum(map(_cpu_seconds, processes)) - cpu_start
    figures = {
        "users_per_second": round(len(histories) / seconds, 1),
        "cpu_us_per_user": round(cpu_seconds / len(histories) * 1e6),
    }
    _report("server, one user at a time", **figures)
    return figures


def _measure_score(
    export_dir: str, data_dir: str, output: str
) -> dict[str, float]:
    """Scores all users in a process of its own."""
    start = time.monotonic()
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "export.score", "--model", export_dir),
            *("--data_dir", data_dir, "--output", output),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        unfinished = os.path.join(output, "_unfinished.json")
        while process.poll() is None and not os.path.exists(unfinished):
            time.sleep(0.005)
        begun = time.monotonic()
        cpu_begun = _cpu_seconds(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"export.score ended with {process.returncode}")
    end = time.monotonic()
    cpu_seconds = usage.ru_utime + usage.ru_stime - cpu_begun
    figures = {
        "users_per_second": round(_NUM_USERS.value / (end - begun), 1),
        "users_per_second_with_start": round(
            _NUM_USERS.value / (end - start), 1
        ),
        "cpu_us_per_user": round(cpu_seconds / _NUM_USERS.value * 1e6),
    }
    _report("export.score", **figures)
    return figures


def _cpu_seconds(process_id: int) -> float:
    """Returns the CPU time that a process took so far, of all its threads."""
    with open(f"/proc/{process_id}/stat", encoding="ascii") as file:
        # The name, in parentheses, may hold blanks.
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _report(measurement: str, **values: float) -> None:
    line = {
        "benchmark": "scoring",
        "measurement": measurement,
        "num_items": _NUM_ITEMS.value,
        "load": round(os.getloadavg()[0], 1),
        **values,
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    app.run(main)

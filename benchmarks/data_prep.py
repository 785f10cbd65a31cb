"""Measures data preparation on generated, Netflix-shaped ratings.

    python -m benchmarks.data_prep --rows 1000000,10000000,100000000

Prints one JSON object a line: preparing `mv_*.txt` text and Parquet of each
size, the plain Python converter of the paper's reference code beside it on
the smallest size, and reading the records back as training does, beside the
training step of the paper's model on the same batches. Commands are measured
from start to exit, with the largest resident memory of the process, as
`/usr/bin/time -v` does. The data are kept in `--work-dir`.
"""

import collections
import contextlib
import datetime
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks.netflix_shaped import Shape, write_netflix, write_parquet

_ROWS = flags.DEFINE_list("rows", ["1000000"], "Numbers of ratings, about.")
_WORK_DIR = flags.DEFINE_string(
    "work_dir", "/tmp/benchmark-data_prep", "Directory of data and results."
)
_FORMATS = flags.DEFINE_list("formats", ["netflix", "parquet"], "What to read.")
_MEMORY_LIMITS = flags.DEFINE_list(
    "memory_limits", ["2GB"], "Each as `--memory-limit` of data_prep."
)
_REPEATS = flags.DEFINE_integer(
    "repeats", 3, "Turns of the comparison with the plain converter."
)

_TRAINING_STEPS = 10
_WRITERS = {"netflix": write_netflix, "parquet": write_parquet}


def main(argv: list[str]) -> None:
    """Runs all measurements, the smallest data first."""
    del argv
    os.makedirs(_WORK_DIR.value, exist_ok=True)
    sizes = sorted(int(rows) for rows in _ROWS.value)
    for size in sizes:
        for kind in _FORMATS.value:
            source = generate(kind, size)
            for memory_limit in _MEMORY_LIMITS.value:
                measure_command(kind, size, source, memory_limit)
    measure_reading(sizes[-1])
    if "netflix" in _FORMATS.value:
        compare_with_plain_python(sizes[0])


def report(**values: object) -> None:
    """Prints one result."""
    print(json.dumps(values), flush=True)


def generate(kind: str, size: int) -> str:
    """Returns the path of generated ratings, which are kept."""
    path = os.path.join(_WORK_DIR.value, f"{kind}-{size}")
    if not os.path.exists(path):
        start = time.monotonic()
        num_rows = _WRITERS[kind](Shape(size), f"{path}.part")
        os.rename(f"{path}.part", path)
        seconds = time.monotonic() - start
        report(measured="generate", format=kind, rows=num_rows, seconds=seconds)
    return path


def measure_command(
    kind: str, size: int, source: str, memory_limit: str
) -> None:
    """Prepares the ratings in a process of its own."""
    output_dir = os.path.join(_WORK_DIR.value, f"prepared-{kind}-{size}")
    shutil.rmtree(output_dir, ignore_errors=True)
    command = [sys.executable, "-m", "data_prep.task", "--source", "files"]
    command += ["--ratings", source, "--split", "netflix-full"]
    command += ["--output-dir", output_dir]
    command += ["--memory-limit", memory_limit]
    start = time.monotonic()
    with open(os.devnull, "w") as null:
        process = subprocess.Popen(command, stdout=null, stderr=null)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    if status:
        raise RuntimeError(f"{' '.join(command)} failed")
    with open(os.path.join(output_dir, "manifest.json")) as file:
        num_rows = json.load(file)["rows_read"]
    report(
        measured="prepare",
        format=kind,
        rows=num_rows,
        seconds=round(seconds, 2),
        microseconds_per_row=round(seconds / num_rows * 1e6, 3),
        cpu_seconds=round(usage.ru_utime + usage.ru_stime, 1),
        peak_rss_mb=usage.ru_maxrss >> 10,
        memory_limit=memory_limit,
    )


def measure_reading(size: int) -> None:
    """Reads prepared data as training does, and trains on some of it."""
    from data_prep.dataset.items import read_items
    from data_prep.dataset.manifest import read_manifest
    from data_prep.dataset.records import list_shards
    from trainer.input.input_pipeline import training_batches
    from trainer.recipes import PAPER

    data_dir = os.path.join(
        _WORK_DIR.value, f"prepared-{_FORMATS.value[0]}-{size}"
    )
    manifest = read_manifest(data_dir)
    shards, num_items = list_shards(data_dir), manifest.num_items

    def read(first_batch: int) -> Any:
        return training_batches(
            shards, num_items, PAPER.batch_size, 0, 0, first_batch
        )

    num_batches = manifest.num_users // PAPER.batch_size
    read_seconds = _measure(lambda: collections.deque(read(0), maxlen=0))
    resume_seconds = _measure(lambda: next(iter(read(num_batches - 1))))
    step_seconds = _measure_training(
        read(0).take(_TRAINING_STEPS + 1), read_items(data_dir)
    )
    users_per_second = num_batches * PAPER.batch_size / read_seconds
    trained_per_second = PAPER.batch_size / step_seconds
    report(
        measured="read",
        users=num_batches * PAPER.batch_size,
        ratings=manifest.num_ratings["train"],
        seconds=round(read_seconds, 2),
        users_per_second=round(users_per_second),
        seconds_to_the_last_batch_alone=round(resume_seconds, 2),
        trained_users_per_second=round(trained_per_second),
        times_the_models_consumption=round(
            users_per_second / trained_per_second
        ),
    )


def _measure_training(batches: Iterable[Any], items: Any) -> float:
    """Returns the seconds of a training step of the paper's model."""
    import tensorflow as tf

    from trainer.recipes import PAPER
    from trainer.training.train import create_model

    first, *others = batches
    model = create_model(PAPER, items)
    train_step = tf.function(model.train_step, reduce_retracing=True)
    train_step(first)  # Traces and warms up.
    train_step(others[0])
    seconds = [
        _measure(lambda batch=batch: float(train_step(batch)["loss"]))
        for batch in others
    ]
    return float(np.median(seconds))


def compare_with_plain_python(size: int) -> None:
    """Measures both converters in turn, so that both see the same machine.

    Neither time includes the start of Python or of libraries.
    """
    source = generate("netflix", size)
    ratios = []
    for _ in range(_REPEATS.value):
        plain = _measure(lambda: convert_plainly(source, _scratch()))
        ours = _measure(lambda: _prepare(source, _scratch()))
        ratios.append(plain / ours)
        report(
            measured="compare",
            rows=size,
            plain_seconds=round(plain, 2),
            seconds=round(ours, 2),
            ratio=round(plain / ours, 1),
        )
    report(measured="ratio", median=round(float(np.median(ratios)), 1))


def _scratch() -> str:
    path = os.path.join(_WORK_DIR.value, "scratch")
    shutil.rmtree(path, ignore_errors=True)
    return path


def _measure(function: Callable[[], object]) -> float:
    start = time.monotonic()
    function()
    return time.monotonic() - start


def _prepare(source: str, output_dir: str) -> None:
    from data_prep.prepare import prepare
    from data_prep.sources.registry import make_source
    from data_prep.splits.registry import make_split

    prepare(
        make_source("files", ratings=source),
        make_split("netflix-full"),
        output_dir,
    )


def convert_plainly(source: str, output_dir: str) -> None:
    """Does what the reference converter does, the way it does it.

    Line by line into dictionaries of lists, then three text files: training,
    validation and test.
    """
    users: dict[int, int] = {}
    ratings: dict[int, list[tuple[int, float, float]]] = (
        collections.defaultdict(list)
    )
    for item, user, rating, moment in _read_plainly(source):
        ratings[users.setdefault(user, len(users))].append(
            (item, rating, moment)
        )
    first, cut = (
        datetime.datetime.fromisoformat(day).timestamp()
        for day in ("1999-12-01", "2005-12-01")
    )
    os.makedirs(output_dir)
    known = {
        item
        for history in ratings.values()
        for item, _, moment in history
        if first <= moment < cut
    }
    names = ("train", "validation", "test")
    with contextlib.ExitStack() as stack:
        training, *held_out = (
            stack.enter_context(
                open(os.path.join(output_dir, f"{name}.txt"), "w")
            )
            for name in names
        )
        for user, history in ratings.items():
            if not any(first <= moment < cut for _, _, moment in history):
                continue
            for item, rating, moment in history:
                line = f"{user}\t{item}\t{rating}\n"
                if first <= moment < cut:
                    training.write(line)
                elif moment >= cut and item in known:
                    random.choice(held_out).write(line)


def _read_plainly(source: str) -> Iterator[tuple[int, int, float, float]]:
    for name in os.listdir(source):
        with open(os.path.join(source, name)) as file:
            item = int(file.readline().strip()[:-1])
            for line in file:
                user, rating, date = line.strip().split(",")
                moment = datetime.datetime.strptime(date, "%Y-%m-%d")
                yield item, int(user), float(rating), moment.timestamp()


if __name__ == "__main__":
    app.run(main)

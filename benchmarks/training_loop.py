"""Measures a whole training job on generated, Netflix-shaped ratings.

    python -m benchmarks.training_loop --rows 100000000

First `trainer.task` with the recipe of the paper trains one epoch in a process
of its own, in turns with the bare training step on batches in memory. Then
batched evaluation runs in turns with plain evaluation: one user at a time,
predicting every item. Prints JSON lines, the ratios last. The data stays in
`--work_dir`, which `benchmarks.data_prep` shares.
"""

import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# As `trainer.task` does.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")

import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks.netflix_shaped import Shape, write_parquet
from data_prep.dataset.items import read_items
from data_prep.dataset.manifest import is_prepared, read_manifest
from data_prep.dataset.records import list_shards
from trainer.evaluation.evaluator import Evaluator
from trainer.input.input_pipeline import evaluation_batches, training_batches
from trainer.model.autoencoder import AutoEncoder
from trainer.recipes import PAPER
from trainer.training.train import create_model

_ROWS = flags.DEFINE_integer(
    "rows", 1_000_000, "Approximate number of ratings."
)
_WORK_DIR = flags.DEFINE_string(
    "work_dir", "/tmp/benchmark-data_prep", "Directory of data and results."
)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Rounds of each comparison.")

_BARE_BATCHES = 8
_BARE_STEPS = 128
_EVALUATED_BATCHES = 8


def main(_: list[str]) -> None:
    """Runs both comparisons."""
    data_dir = _prepare()
    shards = list_shards(data_dir)
    model = create_model(PAPER, read_items(data_dir))

    train_bare = _bare_step(model, shards)
    train_bare()  # Traces and warms up.
    loop_ratios = []
    for _ in range(_ROUNDS.value):
        before = train_bare()
        loop = _run_job(data_dir)
        bare = statistics.mean((before, train_bare()))
        loop_ratios.append(loop["users_per_second"] / bare)
        _report(
            measured="loop",
            users=read_manifest(data_dir).num_users,
            items=model.num_items,
            bare_users_per_second=round(bare),
            **loop,
        )

    evaluations = _evaluations(model, shards)
    for evaluate in evaluations.values():
        evaluate()  # Traces and warms up.
    seconds = {name: [] for name in evaluations}
    for _ in range(_ROUNDS.value):
        for name, evaluate in evaluations.items():
            seconds[name].append(_seconds_per_user(evaluate))
    for name, values in seconds.items():
        _report(
            measured="evaluation",
            how=name,
            users_per_second=round(1 / statistics.median(values)),
        )
    _report(
        measured="training_loop",
        loop_to_bare_step=round(statistics.median(loop_ratios), 3),
        batched_to_one_user_at_a_time=round(
            statistics.median(
                one / batched
                for one, batched in zip(
                    seconds["one user at a time"],
                    seconds["batched"],
                    strict=True,
                )
            ),
            1,
        ),
    )


def _report(**values: object) -> None:
    print(json.dumps(values), flush=True)


def _prepare() -> str:
    """Prepares the data if it is not there; returns its directory."""
    rows = _ROWS.value
    os.makedirs(_WORK_DIR.value, exist_ok=True)
    ratings = os.path.join(_WORK_DIR.value, f"parquet-{rows}")
    if not os.path.exists(ratings):
        write_parquet(Shape(rows), f"{ratings}.part")
        os.rename(f"{ratings}.part", ratings)
    data_dir = os.path.join(_WORK_DIR.value, f"prepared-parquet-{rows}")
    if not is_prepared(data_dir):
        command = [sys.executable, "-m", "data_prep.task", "--source", "files"]
        command += ["--ratings", ratings, "--split", "netflix-full"]
        subprocess.run(
            [*command, "--output-dir", data_dir],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return data_dir


def _bare_step(model: AutoEncoder, shards: Any) -> Callable[[], float]:
    """Makes a function that returns users per second of the step alone."""
    batches = training_batches(
        shards, model.num_items, PAPER.batch_size, seed=0, epoch=1
    )
    kept = list(batches.take(_BARE_BATCHES))
    train_step = tf.function(model.train_step, reduce_retracing=True)

    def run() -> float:
        start = time.perf_counter()
        for batch in itertools.islice(itertools.cycle(kept), _BARE_STEPS):
            loss = train_step(batch)["loss"]
        float(loss)
        seconds = time.perf_counter() - start
        return _BARE_STEPS * PAPER.batch_size / seconds

    return run


def _run_job(data_dir: str) -> dict[str, Any]:
    """Runs a job of one epoch; returns its logged speed, times and memory."""
    job_dir = os.path.join(_WORK_DIR.value, "job")
    shutil.rmtree(job_dir, ignore_errors=True)
    command = [sys.executable, "-m", "trainer.task", "--recipe", "paper"]
    command += ["--job-dir", job_dir, "--data-dir", data_dir]
    start = time.monotonic()
    process = subprocess.Popen(
        [*command, "--num-epochs", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    first_step = epoch = users_per_second = 0.0
    line = ""
    for line in process.stdout or ():
        if "first step done" in line:
            first_step = time.monotonic()
        elif "epoch 1/1: " in line:
            epoch = time.monotonic()
            speed = line.rpartition(" users/s")[0].split()[-1]
            users_per_second = float(speed.replace(",", ""))
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {line}")
    return {
        "users_per_second": users_per_second,
        "seconds_to_the_first_step": round(first_step - start, 1),
        "seconds_of_the_epoch_with_validation_and_checkpoint": round(
            epoch - first_step, 1
        ),
        "peak_rss_mb": usage.ru_maxrss >> 10,
    }


def _evaluations(
    model: AutoEncoder, shards: Any
) -> dict[str, Callable[[], int]]:
    """Makes functions that evaluate some users and return their number."""
    evaluator = Evaluator(model, tf.distribute.get_strategy())

    def read(batch_size: int, num_batches: int) -> tf.data.Dataset:
        batches = evaluation_batches(
            shards, model.num_items, batch_size, "validation"
        )
        return batches.take(num_batches).cache()

    batches = read(PAPER.batch_size, _EVALUATED_BATCHES)
    users = read(1, PAPER.batch_size)

    def batched() -> int:
        evaluator(batches)
        return PAPER.batch_size * _EVALUATED_BATCHES

    @tf.function(reduce_retracing=True)
    def predict(ratings: tf.SparseTensor) -> tf.Tensor:
        return model(ratings, training=False)

    def one_user_at_a_time() -> int:
        errors = []
        for ratings, held_out in users:
            predictions = predict(ratings).numpy()
            predicted = predictions[tuple(held_out.indices.numpy().T)]
            errors.append(predicted - held_out.values.numpy())
        float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))
        return PAPER.batch_size

    return {"batched": batched, "one user at a time": one_user_at_a_time}


def _seconds_per_user(evaluate: Callable[[], int]) -> float:
    start = time.perf_counter()
    num_users = evaluate()
    return (time.perf_counter() - start) / num_users


if __name__ == "__main__":
    app.run(main)

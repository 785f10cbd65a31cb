"""Measures what each part of the taught autoencoder is worth.

    python -m benchmarks.ablation --data_dir DIR --work_dir DIR [--seeds 0,1,2]

Divides the users of prepared data: nine tenths are seen by training, teachers
included, one tenth never is. Trains models in steps, from the paper's on
ratings alone to the recipe `recommended`, each as the job does: the epoch with
the lowest validation RMSE of seen users is kept, weights are chosen on their
validation ratings. Prints a JSON line per model and seed, with the errors and
ranking metrics of both groups of users, then one per model with means and
standard deviations over the seeds. A stopped command goes on after the last
line in `WORK_DIR/rows.jsonl`.
"""

import dataclasses
import hashlib
import json
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from absl import app, flags, logging

from data_prep.dataset import items as items_file
from data_prep.dataset.items import Items, read_items, write_items
from data_prep.dataset.manifest import (
    Manifest,
    read_manifest,
    write_manifest,
)
from data_prep.dataset.records import list_shards, parse_users
from data_prep.dataset.schema import SUBSETS
from trainer.config import Config
from trainer.evaluation.evaluator import Evaluator
from trainer.evaluation.outcomes import Candidates
from trainer.input.input_pipeline import training_batches
from trainer.input.job_data import JobData
from trainer.job.fitted_teachers import fit_teachers
from trainer.job.metrics import (
    answer_with_baselines,
    choose_blend_weights,
    measure_test,
)
from trainer.job.paths import JobPaths
from trainer.recipes import RECOMMENDED, UNTAUGHT
from trainer.training.train import create_model

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Prepared data.")
_WORK_DIR = flags.DEFINE_string("work_dir", None, "Results, teachers, users.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds.")
_UNSEEN = flags.DEFINE_float("unseen", 0.1, "Share of users not trained on.")
_NUM_EPOCHS = flags.DEFINE_integer(
    "num_epochs", None, "Epochs of every model, in place of its recipe's."
)

_BOTH = ("rating_teacher", "interest_teacher")
_WHOLE_HISTORIES = dataclasses.replace(
    RECOMMENDED, whole_history_rate=1.0, num_refeeds=0
)

#: Model -> its settings and teachers. Each has what the one before has, except
#: that the masked one drops dense re-feeding, which comes back further down.
_MODELS: dict[str, tuple[Config, tuple[str, ...]]] = {
    "paper": (dataclasses.replace(UNTAUGHT, centering="none"), ()),
    "+ centering": (UNTAUGHT, ()),
    "+ mask": (_WHOLE_HISTORIES, ()),
    "+ rating teacher": (_WHOLE_HISTORIES, _BOTH[:1]),
    "+ parts of histories": (
        dataclasses.replace(RECOMMENDED, num_refeeds=0),
        _BOTH[:1],
    ),
    "+ re-feeding": (RECOMMENDED, _BOTH[:1]),
    "+ interest teacher": (RECOMMENDED, _BOTH),
}

#: The last model, when its answers are mixed as validation ratings choose.
_BLENDED = "+ blend: recommended"

#: Metrics of a line, of each group of users.
_RANKING = ("liked/ndcg@10", "all/ndcg@10", "top_share")


class Data(NamedTuple):
    """Prepared data of users who are seen, and of users who are not."""

    seen: JobData
    unseen: JobData


def divide_users(data_dir: str, work_dir: str, share: float) -> Data:
    """Writes prepared data of seen and of unseen users.

    Both have the items of `data_dir`, with the statistics of the training
    ratings of seen users.
    """
    items = read_items(data_dir)
    num_items = len(items.item_ids)
    users = np.array(
        list(
            tf.data.TFRecordDataset(list_shards(data_dir)).as_numpy_iterator()
        ),
        object,
    )
    is_unseen = np.random.default_rng(1).random(len(users)) < share
    rated = parse_users(users[~is_unseen], num_items, ["train"])["train"]
    indices, ratings = rated.indices[:, 1].numpy(), rated.values.numpy()
    counts = np.bincount(indices, minlength=num_items)
    sums = np.bincount(indices, ratings, num_items)
    items = dataclasses.replace(
        items,
        counts=counts,
        means=np.where(
            counts > 0, sums / np.maximum(counts, 1), ratings.mean()
        ),
    )
    parts = {"seen": users[~is_unseen], "unseen": users[is_unseen]}
    for name, chosen in parts.items():
        _write(
            read_manifest(data_dir), os.path.join(work_dir, name), items, chosen
        )
    return Data(
        *(
            JobData.read(os.path.join(work_dir, name), RECOMMENDED.batch_size)
            for name in parts
        )
    )


def _write(
    manifest: Manifest,
    directory: str,
    items: Items,
    users: npt.NDArray[np.object_],
) -> None:
    """Writes prepared data of some users."""
    os.makedirs(os.path.join(directory, "users"), exist_ok=True)
    records = os.path.join("users", "part-00000-of-00001.tfrecord")
    with tf.io.TFRecordWriter(os.path.join(directory, records)) as writer:
        for user in users:
            writer.write(user)
    write_items(items, os.path.join(directory, items_file.FILE_NAME))
    digests = {}
    for name in (records, items_file.FILE_NAME):
        with open(os.path.join(directory, name), "rb") as file:
            digests[name] = hashlib.sha256(file.read()).hexdigest()
    ratings = parse_users(users, len(items.item_ids), list(SUBSETS))
    write_manifest(
        dataclasses.replace(
            manifest,
            num_shards=1,
            num_users=len(users),
            num_ratings={
                subset: len(ratings[subset].values) for subset in SUBSETS
            },
            num_cold_ratings={},
            digests=digests,
        ),
        directory,
    )


def train(config: Config, model: keras.Model, data: Data) -> None:
    """Trains a model and leaves it with the weights of its best epoch."""
    strategy = tf.distribute.get_strategy()
    evaluate = Evaluator(model, strategy)
    step = tf.function(model.train_step, reduce_retracing=True)
    validation = data.seen.held_out("validation")
    best_rmse, best_weights = float("inf"), []
    for epoch in range(1, config.num_epochs + 1):
        model.optimizer.learning_rate = config.learning_rate_at(epoch - 1)
        for batch in training_batches(
            data.seen.shards,
            model.num_items,
            config.batch_size,
            config.seed,
            epoch,
        ):
            step(batch)
        rmse = evaluate(validation)["rmse"]
        logging.info("epoch %d: validation RMSE %.4f", epoch, rmse)
        if rmse < best_rmse:
            best_rmse = rmse
            # Teachers are not trained, and large.
            best_weights = [v.numpy() for v in model.trainable_variables]
    for variable, value in zip(
        model.trainable_variables, best_weights, strict=True
    ):
        variable.assign(value)


def measure(
    answer: Callable[[tf.SparseTensor], Candidates], data: Data
) -> dict[str, dict[str, float]]:
    """Measures a model and its teachers on seen and on unseen users.

    Args:
        answer: what `answer_with_baselines` returns for the model.
        data: the users.

    Returns:
        Metrics of the model, and of each teacher under its name in
        `metrics.json`, as `GROUP/SUBSET/METRIC`.
    """
    figures: dict[str, dict[str, float]] = defaultdict(dict)
    for group, users in data._asdict().items():
        for subset in ("validation", "test"):
            metrics = measure_test(
                answer,
                data.seen.items,
                data.seen.distribution,
                users.held_out(subset),
            )
            errors = {**metrics["baselines"], "network": metrics["test"]}
            for name, values in errors.items():
                figures[name][f"{group}/{subset}/rmse"] = values["rmse"]
            for name, ranking in metrics["ranking"].items():
                for metric in _RANKING:
                    figures[name][f"{group}/{subset}/{metric}"] = ranking[
                        metric
                    ]
    return figures


class Rows:
    """The lines that are finished, kept in a file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.rows: dict[tuple[str, int], dict[str, Any]] = {}
        if os.path.exists(path):
            with open(path) as file:
                for row in map(json.loads, file):
                    self.rows[row["model"], row["seed"]] = row

    def add(
        self, model: str, seed: int, figures: Mapping[str, float | None]
    ) -> None:
        """Adds and prints a line, unless it is there."""
        if (model, seed) in self.rows:
            return
        row = {"benchmark": "ablation", "model": model, "seed": seed}
        for name, value in figures.items():
            row[name] = None if value is None else round(value, 5)
        self.rows[model, seed] = row
        line = json.dumps(row)
        print(line, flush=True)
        with open(self._path, "a") as file:
            file.write(line + "\n")

    def summarize(self) -> None:
        """Prints means and deviations over the seeds of each model."""
        for model in dict.fromkeys(model for model, _ in self.rows):
            rows = [
                row for (name, _), row in self.rows.items() if name == model
            ]
            summary = {}
            for name, value in rows[0].items():
                if isinstance(value, float):
                    values = [row[name] for row in rows]
                    summary[name] = [
                        round(statistics.fmean(values), 5),
                        round(statistics.stdev(values), 5)
                        if len(values) > 1
                        else None,
                    ]
            print(
                json.dumps(
                    {
                        "benchmark": "ablation_summary",
                        "model": model,
                        "num_seeds": len(rows),
                        **summary,
                    }
                )
            )


def run_seed(data: Data, rows: Rows, seed: int) -> None:
    """Makes the lines of a seed that are not there yet."""
    paths = JobPaths.resolve(
        os.path.join(_WORK_DIR.value, f"teachers-{seed}"), environ={}
    )
    start = time.process_time()
    teachers = fit_teachers(
        dataclasses.replace(RECOMMENDED, seed=seed), paths, data.seen
    )
    rows.add("teachers", seed, {"cpu_seconds": time.process_time() - start})
    for name, (settings, names) in _MODELS.items():
        is_last = name == list(_MODELS)[-1]
        if (_BLENDED if is_last else name, seed) in rows.rows:
            continue
        config = dataclasses.replace(
            settings,
            seed=seed,
            num_epochs=_NUM_EPOCHS.value or settings.num_epochs,
        )
        keras.utils.set_random_seed(seed)
        start = time.process_time()
        model = create_model(
            config,
            data.seen.items,
            data.seen.distribution.deviation,
            {teacher: teachers[teacher] for teacher in names},
        )
        train(config, model, data)
        seconds = time.process_time() - start
        answer = answer_with_baselines(model, data.seen.items, None)
        figures = measure(answer, data)
        rows.add(name, seed, {"cpu_seconds": seconds, **figures["network"]})
        if is_last:
            weights = choose_blend_weights(
                model,
                data.seen.items,
                data.seen.distribution.liked_from,
                data.seen.held_out("validation"),
            )
            figures = measure(answer, data)
            for other in figures.keys() - {"network"}:
                rows.add(other, seed, figures[other])
            rows.add(
                _BLENDED,
                seed,
                {"cpu_seconds": seconds, **weights, **figures["network"]},
            )


def main(_: list[str]) -> None:
    """Runs all seeds."""
    logging.set_verbosity(logging.INFO)
    os.makedirs(_WORK_DIR.value, exist_ok=True)
    data = divide_users(_DATA_DIR.value, _WORK_DIR.value, _UNSEEN.value)
    rows = Rows(os.path.join(_WORK_DIR.value, "rows.jsonl"))
    for seed in map(int, _SEEDS.value):
        run_seed(data, rows, seed)
    rows.summarize()


if __name__ == "__main__":
    flags.mark_flags_as_required(["data_dir", "work_dir"])
    app.run(main)

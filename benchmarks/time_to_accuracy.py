"""Measures how long models take to an accuracy, from prepared data.

    python -m benchmarks.time_to_accuracy --data_dir DIR \
        --test_rmse 0.87 --test_ndcg 0.17 [--models quickstart,mf,svdpp,ease]

Fits each model as `trainer.compare` does, one after another in one process,
with the settings below instead of a search for them, and measures it on the
test ratings after each number of epochs; the clock stands still meanwhile. It
runs from the prepared data on, so reading them counts. The first number of
epochs that gets to the target ends the count, an oracle that favors models
that are watched. The model `pytorch` is the paper's autoencoder as people write
it, dense and in PyTorch; it is skipped where PyTorch is not installed.

Prints JSON lines: per model and number of epochs the seconds, the test RMSE and
the NDCG@10 of liked items; then per model the seconds to either target, `null`
where it was not reached.
"""

import importlib
import importlib.util
import json
import os
import tempfile
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# As `trainer.compare` does.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")

import tensorflow as tf
from absl import app, flags

from benchmarks.torch_autoencoder import fit_torch_autoencoder
from trainer.compare.fit_data import FitData
from trainer.compare.fitting import measure_test
from trainer.compare.models import MODELS, NDCG, RMSE, FitFunction, Settings

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Prepared data.")
_TEST_RMSE = flags.DEFINE_float("test_rmse", None, "The RMSE to get to.")
_TEST_NDCG = flags.DEFINE_float("test_ndcg", None, "The NDCG@10 to get to.")


class _Contender(NamedTuple):
    """A model and how it is fitted.

    Attributes:
        fit: yields the model after each number of epochs.
        library: the module that it needs.
        epochs: the numbers of epochs after which it is measured.
        settings: for each fit, its settings: one that cannot go on is fitted
            anew for each number of epochs.
    """

    fit: FitFunction
    library: str | None = None
    epochs: tuple[int, ...] = (0,)
    settings: tuple[Settings, ...] = ({},)


#: Settings from the middle of what `trainer.compare` tries.
_CONTENDERS = {
    "quickstart": _Contender(MODELS["quickstart"].fit),
    "mf": _Contender(
        MODELS["mf"].fit,
        "cornac",
        MODELS["mf"].epochs,
        ({"k": 64, "lambda_reg": 0.06},),
    ),
    "svdpp": _Contender(
        MODELS["svdpp"].fit,
        "surprise",
        settings=tuple(
            {"n_factors": 20, "reg_all": 0.05, "n_epochs": num_epochs}
            for num_epochs in (5, 10, 20, 40)
        ),
    ),
    "ease": _Contender(
        MODELS["ease"].fit,
        settings=({"penalty": 300.0, "diagonal_penalty": 0.0},),
    ),
    "pytorch": _Contender(
        fit_torch_autoencoder, "torch", (1, 2, 5, 10, 20, 30, 40, 60)
    ),
}

_MODELS = flags.DEFINE_list("models", list(_CONTENDERS), "The models.")


def run(name: str) -> None:
    """Fits a model until it gets to both targets, and reports the times."""
    contender = _CONTENDERS[name]
    library = contender.library
    if library and importlib.util.find_spec(library) is None:
        report(model=name, skipped=f"{library} is not installed")
        return
    if library:
        # Loading it is no part of a fit.
        importlib.import_module(library)
    seconds_to: dict[str, float | None] = {RMSE: None, NDCG: None}
    for num_epochs, seconds, test in _fit(contender):
        rmse, ndcg = test.get(RMSE), test[NDCG]
        report(
            model=name,
            num_epochs=num_epochs,
            seconds=seconds,
            test_rmse=_round(rmse),
            test_ndcg=_round(ndcg),
        )
        # EASE predicts no ratings.
        is_there = {
            RMSE: rmse is not None and rmse <= _TEST_RMSE.value,
            NDCG: ndcg >= _TEST_NDCG.value,
        }
        for metric, known in seconds_to.items():
            if known is None and is_there[metric]:
                seconds_to[metric] = seconds
        if None not in seconds_to.values():
            break
    report(
        model=name,
        seconds_to_rmse=seconds_to[RMSE],
        seconds_to_ndcg=seconds_to[NDCG],
    )


def _fit(
    contender: _Contender,
) -> Iterator[tuple[int, float, dict[str, float]]]:
    """Yields numbers of epochs, the seconds they took, and test metrics."""
    for settings in contender.settings:
        with tempfile.TemporaryDirectory() as work_dir:
            start = time.perf_counter()
            data = FitData(_DATA_DIR.value, work_dir)
            fit = contender.fit(data, 0, contender.epochs, **settings)
            seconds = time.perf_counter() - start
            for num_epochs in contender.epochs:
                start = time.perf_counter()
                answer = next(fit)
                seconds += time.perf_counter() - start
                yield (
                    settings.get("n_epochs", num_epochs),
                    round(seconds, 2),
                    measure_test(answer, data.job_data)["test"],
                )


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def report(**line: Any) -> None:
    """Prints a line of the benchmark."""
    print(json.dumps({"benchmark": "time_to_accuracy", **line}), flush=True)


def main(_: list[str]) -> None:
    """Measures all models."""
    # Each measurement is a graph of its own, which TensorFlow warns of.
    tf.get_logger().setLevel("ERROR")
    # What loading TensorFlow puts off until its first operation.
    tf.linalg.matmul(tf.ones([2, 2]), tf.ones([2, 2]))
    report(test_rmse=_TEST_RMSE.value, test_ndcg=_TEST_NDCG.value)
    for name in _MODELS.value:
        run(name)


if __name__ == "__main__":
    flags.mark_flags_as_required(["data_dir", "test_rmse", "test_ndcg"])
    flags.register_validator(
        "models",
        lambda names: set(names) <= set(_CONTENDERS),
        f"must be some of {', '.join(_CONTENDERS)}",
    )
    app.run(main)

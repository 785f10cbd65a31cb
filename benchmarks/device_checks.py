"""Checks of a device against the CPU, and measurements of it.

Each check yields figures; `passed` among them says whether it holds.
"""

import contextlib
import dataclasses
import glob
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from benchmarks.batches import Batch, make_batches
from trainer.config import PRECISIONS
from trainer.input.input_pipeline import training_batches
from trainer.input.job_data import JobData
from trainer.job.paths import JobPaths
from trainer.job.record import load_job
from trainer.model.autoencoder import AutoEncoder
from trainer.model.optimizers import OPTIMIZERS, Momentum
from trainer.model.sparse_products import differentiable_entries, sparse_matmul


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is run.

    Attributes:
        job_flags: the settings of the jobs.
        num_items: items of the paper's network.
        hidden_units: its layers.
        batch_sizes: users per batch.
        ratings_per_user: mean number of ratings per user.
        num_steps: steps that are timed.
        catalogs: numbers of items of which some are sampled.
        num_sampled_items: how many.
    """

    job_flags: tuple[str, ...]
    num_items: int
    hidden_units: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    ratings_per_user: int
    num_steps: int
    catalogs: tuple[int, ...]
    num_sampled_items: int


SIZES = {
    "gpu": Size(
        job_flags=("--recipe=quickstart", "--require_gpu"),
        num_items=17_768,
        hidden_units=(512, 512, 1024),
        batch_sizes=(128, 1024),
        ratings_per_user=200,
        num_steps=300,
        catalogs=(20_000, 1_000_000),
        num_sampled_items=4_000,
    ),
    "cpu": Size(
        job_flags=(
            *("--recipe=untaught", "--hidden_units=16,8", "--batch_size=40"),
            "--num_epochs=3",
        ),
        num_items=300,
        hidden_units=(16, 8),
        batch_sizes=(8,),
        ratings_per_user=20,
        num_steps=3,
        catalogs=(300, 900),
        num_sampled_items=50,
    ),
}

#: Largest difference from the CPU's values in float32, relative to the largest
#: of them: another order of sums.
_TOLERANCE = 1e-4

#: Largest difference of the test RMSE from that of a job on the CPU.
_RMSE_TOLERANCE = 0.002

#: Name of a figure, or of a check that passed or not -> its value.
Figures = dict[str, Any]


def check_device(device: str) -> Iterator[Figures]:
    """Names the devices, and times the first product: kernels compile then."""
    start = time.monotonic()
    with tf.device(device):
        float(tf.reduce_sum(tf.matmul(tf.ones([64, 64]), tf.ones([64, 64]))))
    build = tf.sysconfig.get_build_info()
    yield {
        "devices": [
            tf.config.experimental.get_device_details(gpu)
            for gpu in tf.config.list_physical_devices("GPU")
        ],
        "tensorflow": tf.__version__,
        "cuda": build.get("cuda_version"),
        "first_product_seconds": round(time.monotonic() - start, 2),
    }


def check_agreement(device: str) -> Iterator[Figures]:
    """Compares products, gradients and a training step with the CPU's."""
    shapes = {"batch": (32, 500), "one user": (1, 500), "nobody": (0, 500)}
    with _tf32(False):
        for name, shape in shapes.items():
            for what, compute in (
                ("sparse_matmul", _product_and_gradient),
                ("differentiable_entries", _entries_and_gradients),
            ):
                yield {
                    "of": what,
                    "input": name,
                    **_compare(lambda c=compute, s=shape: c(s), device),
                }
        yield {"of": "train_step", **_compare(_train_two_steps, device)}


def _compare(
    compute: Callable[[], Sequence[np.ndarray]], device: str
) -> Figures:
    """Computes on the device and on the CPU, and compares."""
    with tf.device(device):
        actual = compute()
    with tf.device("CPU:0"):
        expected = compute()
    return measure_difference(actual, expected)


def measure_difference(
    actual: Sequence[np.ndarray], expected: Sequence[np.ndarray]
) -> Figures:
    """Returns the largest difference, relative to the largest value of each.

    Args:
        actual: arrays of the device.
        expected: those of the CPU.
    """
    differences = [0.0]
    for one, other in zip(actual, expected, strict=True):
        if one.shape != other.shape:
            differences.append(np.inf)
        elif other.size:
            scale = max(float(np.abs(other).max()), 1e-6)
            differences.append(float(np.abs(one - other).max()) / scale)
    # A difference that is not a number is the largest.
    largest = float(np.max(differences))
    return {
        "largest_difference": float(f"{largest:.2e}"),
        "passed": bool(largest <= _TOLERANCE),
    }


def _make_ratings(shape: tuple[int, int]) -> tf.SparseTensor:
    num_users, num_items = shape
    indices, values = np.empty((0, 2), np.int64), np.empty(0, np.float32)
    if num_users:
        indices, values = next(make_batches(1, num_items, num_users, 40))
    return tf.SparseTensor(indices, values, shape)


def _random(rows: int, columns: int, seed: int) -> tf.Tensor:
    rng = np.random.default_rng(seed)
    return tf.constant(rng.standard_normal((rows, columns), np.float32))


def _product_and_gradient(shape: tuple[int, int]) -> list[np.ndarray]:
    ratings, kernel = _make_ratings(shape), _random(shape[1], 64, 0)
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        product = sparse_matmul(ratings, kernel)
        loss = tf.reduce_sum(product * _random(shape[0], 64, 1))
    return [product.numpy(), tape.gradient(loss, kernel).numpy()]


def _entries_and_gradients(shape: tuple[int, int]) -> list[np.ndarray]:
    ratings = _make_ratings(shape)
    inputs, kernel = _random(shape[0], 64, 0), _random(shape[1], 64, 1)
    with tf.GradientTape() as tape:
        tape.watch([inputs, kernel])
        outputs = tf.matmul(inputs, kernel, transpose_b=True)
        entries = differentiable_entries(
            tf.gather_nd(outputs, ratings.indices),
            ratings.indices,
            inputs,
            kernel,
        )
        loss = tf.reduce_sum((entries - ratings.values) ** 2)
    gradients = tape.gradient(loss, [inputs, kernel])
    return [entries.numpy(), *(gradient.numpy() for gradient in gradients)]


def _train_two_steps() -> list[np.ndarray]:
    """Trains a network without dropout, and returns its weights."""
    keras.utils.set_random_seed(0)
    model = AutoEncoder(500, hidden_units=(64, 32), dropout_rate=0.0)
    step = _make_step(_compile(model))
    for batch in make_batches(2, 500, 32, 40):
        step(tf.SparseTensor(*batch, (32, 500)))
    return [weight.numpy() for weight in model.trainable_variables]


def check_jobs(size: Size, data_dir: str, work_dir: str) -> Iterator[Figures]:
    """Trains the same job four times: on the device, and once on the CPU."""
    rmse = {}
    for name, environment, is_killed in (
        ("first", {}, False),
        ("again", {}, False),
        ("killed", {}, True),
        ("cpu", {"CUDA_VISIBLE_DEVICES": ""}, False),
    ):
        job_dir = os.path.join(work_dir, name)
        command = [
            *(sys.executable, "-m", "trainer.task", f"--job_dir={job_dir}"),
            f"--data_dir={data_dir}",
            *(
                flag
                for flag in size.job_flags
                if name != "cpu" or flag != "--require_gpu"
            ),
        ]
        start = time.monotonic()
        if is_killed:
            _kill_after_an_epoch(command, job_dir)
        run = subprocess.run(
            command,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        figures: Figures = {"job": name, "status": run.returncode}
        if run.returncode == 0:
            with open(os.path.join(job_dir, "metrics.json")) as file:
                rmse[name] = json.load(file)["test"]["rmse"]
            figures["test_rmse"] = rmse[name]
            speeds = re.findall(r"([\d,]+) users/s", run.stderr)
            figures["users_per_second"] = int(speeds[-1].replace(",", ""))
            if name in ("again", "killed"):
                figures["largest_difference_of_a_weight"] = _compare_jobs(
                    os.path.join(work_dir, "first"), job_dir
                )
        else:
            figures["error"] = run.stderr.strip().splitlines()[-1:]
        yield {
            **figures,
            "seconds": round(time.monotonic() - start, 1),
            "passed": run.returncode == 0,
        }
    difference = max(rmse.values()) - min(rmse.values())
    yield {
        "of": "test RMSE of all jobs",
        "largest_difference": difference,
        "passed": bool(len(rmse) == 4 and difference <= _RMSE_TOLERANCE),
    }


def _kill_after_an_epoch(command: Sequence[str], job_dir: str) -> None:
    """Starts a job, and kills it once its first epoch is done."""
    history = os.path.join(job_dir, "checkpoints", "history.json")
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not os.path.exists(history):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()


def _compare_jobs(one_dir: str, other_dir: str) -> float:
    """Returns the largest difference of the best weights of two jobs."""
    weights = [
        load_job(JobPaths.resolve(job_dir, environ={})).model.weights
        for job_dir in (one_dir, other_dir)
    ]
    return max(
        float(np.abs(one.numpy() - other.numpy()).max())
        for one, other in zip(*weights, strict=True)
        if one.dtype == "float32"
    )


def measure_precisions(size: Size, device: str) -> Iterator[Figures]:
    """Measures the paper's network in each precision and batch size."""
    for batch_size in size.batch_sizes:
        batches = list(
            make_batches(4, size.num_items, batch_size, size.ratings_per_user)
        )
        for precision, uses_tf32 in (
            ("float32", False),
            ("tensor_float_32", True),
            ("bfloat16", False),
            ("float16", False),
        ):
            with _tf32(uses_tf32), tf.device(device):
                keras.utils.set_random_seed(0)
                model = AutoEncoder(
                    size.num_items,
                    hidden_units=size.hidden_units,
                    dropout_rate=0.8,
                    dtype=PRECISIONS.get(precision, "float32"),
                )
                figures = _time_steps(model, batches, batch_size, size, device)
            yield {
                "precision": precision,
                "batch_size": batch_size,
                **figures,
                "passed": bool(np.isfinite(figures["loss"])),
            }


def measure_catalogs(size: Size, device: str) -> Iterator[Figures]:
    """Measures a step that samples items of small and large catalogs."""
    milliseconds = []
    for num_items in size.catalogs:
        batch_size = size.batch_sizes[0]
        batches = list(
            make_batches(4, num_items, batch_size, size.ratings_per_user)
        )
        with tf.device(device):
            model = AutoEncoder(
                num_items,
                hidden_units=size.hidden_units,
                num_sampled_items=size.num_sampled_items,
            )
            figures = _time_steps(model, batches, batch_size, size, device)
        milliseconds.append(figures["milliseconds"])
        yield {"num_items": num_items, **figures}
    yield {"ratio": round(milliseconds[-1] / milliseconds[0], 2)}


def _time_steps(
    model: AutoEncoder,
    batches: Sequence[Batch],
    batch_size: int,
    size: Size,
    device: str,
) -> Figures:
    """Times training steps on batches that are on the device."""
    step = _make_step(_compile(model))
    ratings = [
        tf.SparseTensor(*batch, (batch_size, model.num_items))
        for batch in batches
    ]
    loss = float(step(ratings[0]))
    if device.startswith("GPU"):
        tf.config.experimental.reset_memory_stats(device)
    start = time.monotonic()
    for number in range(size.num_steps):
        result = step(ratings[number % len(ratings)])
    # The host waits for the device here alone.
    loss = float(result)
    seconds = time.monotonic() - start
    return {
        "milliseconds": round(1e3 * seconds / size.num_steps, 3),
        "users_per_second": round(batch_size * size.num_steps / seconds),
        "loss": loss,
        **_peak_memory(device),
    }


def _compile(model: AutoEncoder) -> AutoEncoder:
    model.compile(Momentum(0.001, lazy=model.num_sampled_items > 0))
    model.optimizer.build(model.trainable_variables)
    return model


def _make_step(model: AutoEncoder) -> Callable[[tf.SparseTensor], tf.Tensor]:
    """Returns the training step of a compiled model; it returns the loss."""
    train_step = tf.function(
        model.train_step, reduce_retracing=True, autograph=False
    )
    return lambda ratings: train_step(ratings)["loss"]


def _peak_memory(device: str) -> Figures:
    if not device.startswith("GPU"):
        return {}
    peak = tf.config.experimental.get_memory_info(device)["peak"]
    return {"peak_megabytes": peak >> 20}


def measure_products(size: Size, device: str) -> Iterator[Figures]:
    """Times the sparse product and its gradient against the dense one."""
    for num_items in (size.num_items, size.catalogs[-1]):
        batch_size = size.batch_sizes[0]
        (batch,) = make_batches(1, num_items, batch_size, size.ratings_per_user)
        with tf.device(device):
            ratings = tf.SparseTensor(*batch, (batch_size, num_items))
            dense = tf.sparse.to_dense(ratings)
            kernel = _random(num_items, size.hidden_units[0], 0)
            yield {
                "num_items": num_items,
                "sparse_milliseconds": _time_product(
                    lambda k, r=ratings: sparse_matmul(r, k), kernel, size
                ),
                "dense_milliseconds": _time_product(
                    lambda k, d=dense: tf.matmul(d, k), kernel, size
                ),
            }


def _time_product(
    product: Callable[[tf.Tensor], tf.Tensor], kernel: tf.Tensor, size: Size
) -> float:
    @tf.function(autograph=False)
    def run(kernel: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            loss = tf.reduce_sum(product(kernel) ** 2)
        return tf.reduce_sum(tape.gradient(loss, kernel)[0])

    float(run(kernel))
    milliseconds = []
    for _ in range(min(size.num_steps, 20)):
        start = time.monotonic()
        float(run(kernel))
        milliseconds.append(1e3 * (time.monotonic() - start))
    return round(statistics.median(milliseconds), 3)


def count_copies(size: Size, device: str, work_dir: str) -> Iterator[Figures]:
    """Counts the copies to the host in a step: each makes the device wait."""
    batch_size = size.batch_sizes[0]
    num_steps = min(size.num_steps, 50)
    (batch,) = make_batches(1, size.num_items, batch_size, 20)
    log_dir = os.path.join(work_dir, "trace")
    with tf.device(device):
        model = AutoEncoder(size.num_items, hidden_units=size.hidden_units)
        step = _make_step(_compile(model))
        ratings = tf.SparseTensor(*batch, (batch_size, size.num_items))
        float(step(ratings))
        with tf.profiler.experimental.Profile(log_dir):
            for _ in range(num_steps):
                result = step(ratings)
            float(result)
    names = list(_read_events(log_dir))
    copies = sum("MemcpyD2H" in name for name in names)
    yield {
        "events_per_step": round(len(names) / num_steps),
        "copies_to_host_per_step": round(copies / num_steps, 1),
    }


def _read_events(log_dir: str) -> Iterator[str]:
    """Reads the names of the events of a trace."""
    pattern = os.path.join(log_dir, "**", "*.xplane.pb")
    for path in glob.glob(pattern, recursive=True):
        space = xplane_pb2.XSpace()
        with open(path, "rb") as file:
            space.ParseFromString(file.read())
        for plane in space.planes:
            for line in plane.lines:
                for event in line.events:
                    yield plane.event_metadata[event.metadata_id].name


def compare_with_bare_step(
    size: Size, device: str, data_dir: str, work_dir: str
) -> Iterator[Figures]:
    """Measures the step of the job on one batch, without reading any other.

    A job that is much slower, `users_per_second` of `check_jobs`, starves the
    device.
    """
    job = load_job(
        JobPaths.resolve(os.path.join(work_dir, "first"), environ={})
    )
    config = job.config
    data = JobData.read(data_dir, config.batch_size)
    batches = training_batches(
        data.shards, data.num_items, config.batch_size, config.seed, epoch=1
    )
    with tf.device(device):
        job.model.compile(OPTIMIZERS[config.optimizer](config.learning_rate))
        job.model.optimizer.build(job.model.trainable_variables)
        step = _make_step(job.model)
        batch = next(iter(batches))
        float(step(batch))
        start = time.monotonic()
        for _ in range(size.num_steps):
            result = step(batch)
        float(result)
    seconds = time.monotonic() - start
    yield {
        "bare_users_per_second": round(
            config.batch_size * size.num_steps / seconds
        )
    }


def check_determinism(device: str) -> Iterator[Figures]:
    """Says whether a step can be deterministic, and if not, for what."""
    tf.config.experimental.enable_op_determinism()
    try:
        with tf.device(device):
            first, second = _train_two_steps(), _train_two_steps()
    except tf.errors.UnimplementedError as error:
        yield {"is_possible": False, "reason": str(error).splitlines()[0]}
        return
    yield {
        "is_possible": True,
        "is_equal": all(map(np.array_equal, first, second)),
    }


@contextlib.contextmanager
def _tf32(is_enabled: bool) -> Iterator[None]:
    """Lets products be TF32 in the block, or not."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(is_enabled)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)

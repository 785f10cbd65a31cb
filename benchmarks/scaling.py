"""Estimates how training scales over GPUs, and checks the estimate on CPUs.

    python -m benchmarks.scaling [--batch_size 128,8192] [--flops ...] [...]
    python -m benchmarks.scaling --measure [--processes 1,2,3]

By default it runs nothing: it prints, as JSON lines, what `step_cost` counts
for 1 to 64 GPUs, the time that follows from the rates of the flags, and where
more GPUs no longer help. The batch is that of all GPUs together, since
replicas train like one. Nothing overlaps, so times are upper bounds for these
rates; latencies are left out, so they are lower bounds for small messages.

`--measure` trains a small network with processes on this machine and prints
the bytes and the seconds per step beside the model's. Bytes are read off the
loopback interface, which other programs use too; in a network of its own:

    unshare --net sh -c 'ip link set lo up; python -m benchmarks.scaling ...'
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from absl import app, flags, logging

from benchmarks.batches import Batch, make_batches
from benchmarks.free_addresses import find_free_addresses
from benchmarks.step_cost import (
    Cost,
    Network,
    Share,
    count_output_bytes,
    count_pulled_and_pushed,
    count_state_bytes,
    count_step,
    share_batch,
)

_BATCH_SIZE = flags.DEFINE_list(
    "batch_size", ["128", "8192"], "Users per batch of all GPUs together."
)
_MAX_GPUS = flags.DEFINE_integer("max_gpus", 64, "Largest number of GPUs.")
# An H100 SXM: TF32 without sparsity, HBM3, NVLink in one direction
# (https://www.nvidia.com/en-us/data-center/h100/).
_FLOPS = flags.DEFINE_float(
    "flops", 494.7e12, "Operations per second of a GPU: of an H100 in TF32."
)
_MEMORY_RATE = flags.DEFINE_float(
    "memory_rate", 3.35e12, "Bytes per second of its memory."
)
_MEMORY = flags.DEFINE_float("memory", 80e9, "Bytes of its memory.")
_LINK_RATE = flags.DEFINE_float(
    "link_rate", 450e9, "Bytes per second that it sends within a machine."
)
# A3 High, eight H100 and 1,000 Gbit/s
# (https://cloud.google.com/compute/docs/gpus/gpu-network-bandwidth).
_NETWORK_RATE = flags.DEFINE_float(
    "network_rate", 125e9, "Bytes per second that a machine sends to others."
)
_GPUS_PER_MACHINE = flags.DEFINE_integer(
    "gpus_per_machine", 8, "GPUs per machine."
)
_EFFICIENCY = flags.DEFINE_float(
    "efficiency", 0.5, "Share of these rates that is reached: an assumption."
)
_MEASURE = flags.DEFINE_boolean(
    "measure", False, "Measures processes on this machine instead."
)
_PROCESSES = flags.DEFINE_list(
    "processes", ["1", "2", "3"], "Numbers of processes to measure."
)
_STEPS = flags.DEFINE_integer("steps", 20, "Steps to measure.")

#: Ratings per user of the Netflix Prize: 100,480,507 of 480,189 users.
_RATINGS_PER_USER = 209

#: The paper's network, and the taught one of the recipe `recommended`.
_PAPER = (512, 512, 1024)
_TAUGHT: dict[str, Any] = {
    "hidden_units": (384, 192),
    "num_states": 2,
    "is_taught": True,
    "teacher_rank": 32,
    "teacher_samples": 4,
}

#: Items of the recipes for catalogs that are too large for EASE.
_SAMPLED = 4096

#: What is estimated, by the names of data and model.
_CASES = {
    ("netflix", "paper"): Network(num_items=17_770, hidden_units=_PAPER),
    ("netflix", "paper, no re-feeding"): Network(
        num_items=17_770, hidden_units=_PAPER, num_refeeds=0
    ),
    ("netflix", "paper, sampled"): Network(
        num_items=17_770, hidden_units=_PAPER, num_sampled_items=_SAMPLED
    ),
    ("netflix", "recommended"): Network(
        num_items=17_770, has_interest_teacher=True, **_TAUGHT
    ),
    ("million items", "paper"): Network(
        num_items=1_000_000, hidden_units=_PAPER
    ),
    ("million items", "paper, sampled"): Network(
        num_items=1_000_000, hidden_units=_PAPER, num_sampled_items=_SAMPLED
    ),
    ("million items", "recommended, sampled"): Network(
        num_items=1_000_000, num_sampled_items=_SAMPLED, **_TAUGHT
    ),
}

_NUM_USERS = {"netflix": 480_189, "million items": 10_000_000}

#: What is measured: small, with layers wide enough that gradients dominate.
_MEASURED = {
    "dense": Network(num_items=4_000, hidden_units=(128, 64)),
    "sampled": Network(
        num_items=100_000, hidden_units=(128, 64), num_sampled_items=500
    ),
}
_MEASURED_BATCH = 96
_MEASURED_RATINGS = 50
_WARM_UP_STEPS = 3

#: Name and number of a measured network, for the processes that train it.
_TASK = "SCALING_TASK"


class Seconds(NamedTuple):
    """The time of a step by what takes it."""

    compute: float
    memory: float
    exchange: float


def main(_: list[str]) -> None:
    """Estimates, or measures."""
    if os.environ.get(_TASK):
        _train(os.environ[_TASK])
    elif _MEASURE.value:
        _measure_all(list(map(int, _PROCESSES.value)))
    else:
        _estimate_all()


def _report(**values: object) -> None:
    print(json.dumps({"benchmark": "scaling", **values}), flush=True)


def _estimate_all() -> None:
    _report(
        assumed={
            flag.name: flag.value
            for flag in (
                *(_FLOPS, _MEMORY_RATE, _MEMORY, _LINK_RATE, _NETWORK_RATE),
                *(_GPUS_PER_MACHINE, _EFFICIENCY),
            )
        }
    )
    for (data, model), network in _CASES.items():
        names = {"data": data, "model": model}
        for batch_size in map(int, _BATCH_SIZE.value):
            _estimate(names, network, batch_size)
        _estimate_break_even(names, network)
        _estimate_parameter_servers(names, network)


def _estimate(names: dict[str, str], network: Network, batch_size: int) -> None:
    """Reports a step for each number of GPUs."""
    times = {}
    for num_gpus in _powers_of_two(_MAX_GPUS.value):
        share = share_batch(
            network.num_items, batch_size, _RATINGS_PER_USER, num_gpus
        )
        cost = count_step(network, share, num_gpus)
        seconds = _estimate_seconds(cost, num_gpus)
        held = count_state_bytes(network) + count_output_bytes(network, share)
        times[num_gpus] = sum(seconds)
        _report(
            **names,
            batch_size=batch_size,
            gpus=num_gpus,
            gigaflops=_round(cost.flops / 1e9),
            memory_megabytes=_round(cost.traffic / 1e6),
            sent_megabytes=_round(cost.sent / 1e6),
            held_gigabytes=_round(held / 1e9),
            fits=held <= _MEMORY.value,
            **{
                f"{name}_milliseconds": _round(value * 1e3)
                for name, value in seconds._asdict().items()
            },
            milliseconds=_round(times[num_gpus] * 1e3),
            speedup=_round(times[1] / times[num_gpus]),
            epoch_seconds=_round(
                _NUM_USERS[names["data"]] / batch_size * times[num_gpus]
            ),
        )


def _estimate_break_even(names: dict[str, str], network: Network) -> None:
    """Reports the smallest batch with which more GPUs are faster than one."""

    def estimate(batch_size: int, num_gpus: int) -> float:
        share = share_batch(
            network.num_items, batch_size, _RATINGS_PER_USER, num_gpus
        )
        cost = count_step(network, share, num_gpus)
        return sum(_estimate_seconds(cost, num_gpus))

    largest = _NUM_USERS[names["data"]]
    _report(
        **names,
        pays_from_batch_size={
            num_gpus: next(
                (
                    batch_size
                    for batch_size in _powers_of_two(largest)
                    if estimate(batch_size, num_gpus) < estimate(batch_size, 1)
                ),
                None,
            )
            for num_gpus in _powers_of_two(_MAX_GPUS.value)
            if num_gpus > 1
        },
    )


def _estimate_seconds(cost: Cost, num_gpus: int) -> Seconds:
    """Returns how long a step of one of the GPUs takes."""
    # The slowest link of the ring carries what every replica sends; between
    # machines the network cards carry a ring each, and share it.
    within = num_gpus <= _GPUS_PER_MACHINE.value
    link_rate = _LINK_RATE.value
    if not within:
        link_rate = min(link_rate, _NETWORK_RATE.value)
    efficiency = _EFFICIENCY.value
    return Seconds(
        cost.flops / (efficiency * _FLOPS.value),
        cost.traffic / (efficiency * _MEMORY_RATE.value),
        cost.sent / (efficiency * link_rate),
    )


def _estimate_parameter_servers(
    names: dict[str, str], network: Network
) -> None:
    """Reports when a GPU can no longer hold a replica, and what it would cost.

    With parameter servers each worker updates the weights on its own: the
    gradient of one of N workers is late by up to N - 1 updates, so that N
    workers no longer train like one.
    """
    state = count_state_bytes(network)
    per_item = state / network.num_items
    batch_size = int(_BATCH_SIZE.value[0])
    share = share_batch(network.num_items, batch_size, _RATINGS_PER_USER, 1)
    moved = count_pulled_and_pushed(network, share)
    _report(
        **names,
        batch_size=batch_size,
        state_gigabytes=_round(state / 1e9),
        servers_due_at_items=int(_MEMORY.value / per_item),
        server_megabytes_per_step=_round(moved / 1e6),
        server_milliseconds=_round(
            1e3 * moved / (_EFFICIENCY.value * _NETWORK_RATE.value)
        ),
        updates_late=_MAX_GPUS.value - 1,
    )


def _powers_of_two(largest: int) -> Iterator[int]:
    number = 1
    while number <= largest:
        yield number
        number *= 2


def _round(value: float) -> float:
    """Rounds to three significant digits."""
    return float(f"{value:.3g}")


def _measure_all(numbers: list[int]) -> None:
    """Reports the bytes and seconds of a step beside those of the model."""
    rates = _measure_rates()
    _report(
        measured_here={
            "flops": _round(rates[0]),
            "memory_rate": _round(rates[1]),
        }
    )
    for name, network in _MEASURED.items():
        for num_processes in numbers:
            measured = _measure(name, num_processes)
            indices, _ = _make_batch(network, num_processes)
            share = Share(
                _MEASURED_BATCH // num_processes,
                len(indices),
                *[len(set(indices[:, 1].tolist()))] * 2,
            )
            cost = count_step(network, share, num_processes)
            # The processes share the cores and the memory of this machine.
            computing = num_processes * (
                cost.flops / rates[0] + cost.traffic / rates[1]
            )
            _report(
                network=name,
                processes=num_processes,
                megabytes=_round(measured["bytes"] / 1e6),
                model_megabytes=_round(num_processes * cost.sent / 1e6),
                milliseconds=_round(measured["seconds"] * 1e3),
                model_milliseconds_without_exchange=_round(computing * 1e3),
            )


def _measure_rates() -> tuple[float, float]:
    """Measures the operations and the bytes per second of this machine."""
    import numpy as np
    import tensorflow as tf

    left, right = tf.ones([1024, 1024]), tf.ones([1024, 4096])
    product = tf.function(lambda: tf.linalg.matmul(left, right)[0, 0])
    array = np.ones(1 << 25, np.float32)
    target = np.empty_like(array)
    flops = 2 * 1024 * 1024 * 4096 / _time(lambda: float(product()))
    return flops, 2 * array.nbytes / _time(lambda: np.copyto(target, array))


def _time(function: Any) -> float:
    """Returns the median seconds of a call."""
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _measure(name: str, num_processes: int) -> dict[str, float]:
    """Trains with several processes; returns what the first measured."""
    addresses = find_free_addresses(num_processes)
    processes = []
    for index in range(num_processes):
        tf_config = {
            "cluster": {"worker": addresses},
            "task": {"type": "worker", "index": index},
        }
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.scaling", *sys.argv[1:]],
                env={
                    **os.environ,
                    _TASK: name,
                    "TF_CONFIG": json.dumps(tf_config),
                },
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit(f"error: a process that trains {name} failed.")
    measured: dict[str, float] = json.loads(outputs[0].splitlines()[-1])
    return measured


def _make_batch(network: Network, num_replicas: int) -> Batch:
    """Makes what each replica trains on in every step."""
    (batch,) = make_batches(
        1,
        network.num_items,
        _MEASURED_BATCH // num_replicas,
        _MEASURED_RATINGS,
    )
    return batch


def _train(name: str) -> None:
    """Trains one replica; prints the bytes and seconds of a step."""
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
    import tensorflow as tf

    from trainer.model.autoencoder import AutoEncoder
    from trainer.model.optimizers import Momentum
    from trainer.training.distribution import create_strategy
    from trainer.training.workers import Workers

    # TensorFlow tells of each all-reduce.
    logging.set_verbosity(logging.WARNING)
    network = _MEASURED[name]
    strategy = create_strategy()
    num_replicas = strategy.num_replicas_in_sync
    workers = Workers(strategy)
    with strategy.scope():
        model = AutoEncoder(
            network.num_items,
            network.hidden_units,
            num_refeeds=network.num_refeeds,
            num_sampled_items=network.num_sampled_items,
            seed=0,
        )
        model.compile(Momentum(0.001, lazy=network.num_sampled_items > 0))
        model.optimizer.build(model.trainable_variables)
    ratings = tf.SparseTensor(
        *_make_batch(network, num_replicas),
        (_MEASURED_BATCH // num_replicas, network.num_items),
    )
    step = tf.function(
        lambda: strategy.reduce(
            "MEAN",
            strategy.run(model.train_step, args=(ratings,))["loss"],
            axis=None,
        ),
        autograph=False,
    )
    for _ in range(_WARM_UP_STEPS):
        float(step())
    workers.gather([0])
    start, sent = time.perf_counter(), _read_loopback()
    for _ in range(_STEPS.value):
        float(step())
    workers.gather([0])
    print(
        json.dumps(
            {
                "seconds": (time.perf_counter() - start) / _STEPS.value,
                "bytes": (_read_loopback() - sent) / _STEPS.value,
            }
        )
    )


def _read_loopback() -> int:
    """Returns the bytes that the loopback interface has sent."""
    with open("/proc/net/dev") as file:
        (line,) = [line for line in file if line.lstrip().startswith("lo:")]
    # Eight columns of what was received come first.
    return int(line.split(":")[1].split()[8])


if __name__ == "__main__":
    app.run(main)

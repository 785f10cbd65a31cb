"""Kills the workers of jobs at random, and compares with a job left in peace.

    python -m benchmarks.chaos [--minutes 30] [--seed 0]

Trains a job with a chief and another worker on loopback to its end, then the
same job again and again while SIGKILL or SIGTERM ends one of the two at random
moments, from the start of the processes to the export. As a platform does that
restarts a job when one of its workers ends, it then starts both again with the
same commands. The survivor has a minute to end by itself, and must if the two
were training; while they start, it may as well wait for the other, until
SIGTERM ends it. A job that is under way when the time is over ends in peace.
There is one kill at least.

Prints a JSON line per kill, with the statuses of all processes, the seconds
that the survivor took to end and the steps that were lost, one per job, with
the largest difference of any number of its last state to the job left in peace,
and a verdict. It passes if every job ends with the same weights but for
rounding, and every process ends in bounded time with a status that makes a
platform start it again. Its status is then 0, else 1.
"""

import dataclasses
import itertools
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tensorflow as tf
from absl import app, flags

from benchmarks.free_addresses import find_free_addresses
from data_prep.prepare import prepare
from data_prep.sources.tables import make_table_source
from data_prep.splits.registry import make_split

_MINUTES = flags.DEFINE_float("minutes", 30.0, "Minutes of kills.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of victims, signals and moments.")
_NUM_USERS = flags.DEFINE_integer("num_users", 500, "Users of the data.")
_NUM_EPOCHS = flags.DEFINE_integer("num_epochs", 10, "Epochs of a job.")
_CHECKPOINT_STEPS = flags.DEFINE_integer(
    "checkpoint_steps", 3, "Steps between two states: what a kill may lose."
)

_NUM_ITEMS = 500
_RATINGS_PER_USER = 30

#: The tasks of a job, each a process.
_TASKS = (("chief", 0), ("worker", 0))

_SIGNALS = (signal.SIGKILL, signal.SIGTERM)

#: After a kill, the time in which the others are to end by themselves.
_SECONDS_TO_END = 60.0

#: Time between the SIGTERM and the SIGKILL of a platform.
_SECONDS_TO_OBEY = 12.0

#: A job without kills may take so long.
_SECONDS_IN_PEACE = 900.0

#: In the place of a status, of a process that SIGTERM did not end.
_STOPPED = "stopped"

#: Statuses after which a platform starts a process again: a lost worker, and
#: the two signals, also before Python handles them.
_RESTARTED: tuple[int | str, ...] = (75, 143, -signal.SIGTERM, -signal.SIGKILL)

#: Two processes add up gradients in another order than one.
_TOLERANCE = 1e-5

State = dict[str, npt.NDArray[Any]]


@dataclasses.dataclass
class Tally:
    """What happened to all jobs.

    Attributes:
        kills: the number of kills, by victim and signal.
        lost_steps: the steps that were repeated, at most.
        failures: what should not have happened.
        largest_difference: of any number of a state.
        num_jobs: the jobs that came to their end.
    """

    kills: dict[str, int] = dataclasses.field(default_factory=dict)
    lost_steps: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)
    largest_difference: float = 0.0
    num_jobs: int = 0


def main(_: list[str]) -> None:
    """Trains the jobs, kills their workers and reports the verdict."""
    choose = random.Random(_SEED.value)
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="chaos-") as work_dir:
        data_dir = os.path.join(work_dir, "data")
        prepare(
            make_table_source(_make_ratings()),
            make_split("user-time"),
            data_dir,
        )
        peaceful = Job(os.path.join(work_dir, "peaceful"), data_dir)
        start = time.monotonic()
        statuses = peaceful.run().wait(_SECONDS_IN_PEACE)
        if any(statuses):
            sys.exit(f"The job left in peace failed: {peaceful.log()[-2000:]}")
        seconds = time.monotonic() - start
        _report(job="peaceful", seconds=round(seconds, 1))
        expected = peaceful.read_state()
        end = time.monotonic() + 60 * _MINUTES.value
        for number in itertools.count(1):
            if tally.kills and time.monotonic() >= end:
                break
            job = Job(os.path.join(work_dir, f"job-{number}"), data_dir)
            _harass(job, number, choose, seconds, end, tally)
            if tally.failures:
                break
            _compare(job, number, expected, tally)
    passed = not tally.failures and tally.num_jobs > 0
    _report(
        verdict="pass" if passed else "fail",
        minutes=_MINUTES.value,
        seed=_SEED.value,
        jobs=tally.num_jobs,
        kills=sum(tally.kills.values()),
        by_victim=tally.kills,
        lost_steps_at_most=tally.lost_steps,
        largest_difference=tally.largest_difference,
        failures=tally.failures,
    )
    sys.exit(0 if passed else 1)


def _harass(
    job: "Job",
    number: int,
    choose: random.Random,
    seconds: float,
    end: float,
    tally: Tally,
) -> None:
    """Runs a job to its end, and kills its workers until `end`."""
    while not tally.failures:
        run = job.run()
        # Now and then a run gets to its end.
        delay = choose.uniform(0, 1.5 * seconds)
        victim = choose.randrange(len(_TASKS))
        signal_number = choose.choice(_SIGNALS)
        patience = _SECONDS_IN_PEACE
        killed = False
        is_over = tally.kills and time.monotonic() >= end
        if not is_over and run.outlives(delay):
            killed = run.kill(victim, signal_number)
            patience = _SECONDS_TO_END
        start = time.monotonic()
        statuses = run.wait(patience)
        if killed:
            name = f"{_TASKS[victim][0]} {signal_number.name}"
            tally.kills[name] = tally.kills.get(name, 0) + 1
            lost = run.count_lost_steps(signal_number)
            tally.lost_steps += lost
            _report(
                job=number,
                killed=name,
                after_seconds=round(delay, 1),
                statuses=statuses,
                seconds_to_end=round(time.monotonic() - start, 1),
                lost_steps_at_most=lost,
            )
        if not any(statuses):
            return
        if (
            not killed
            or not set(statuses) <= {0, *_RESTARTED}
            or (run.was_asked_to_end and run.has_trained())
        ):
            tally.failures.append(
                f"job {number}: statuses {statuses}: {job.log()[-1000:]}"
            )


def _compare(job: "Job", number: int, expected: State, tally: Tally) -> None:
    """Compares the last state of a job with that of the one left in peace."""
    state = job.read_state()
    difference = math.inf
    if state.keys() == expected.keys():
        differences = [
            np.abs(state[name] - value).max(initial=0)
            for name, value in expected.items()
            if np.issubdtype(value.dtype, np.number)
        ]
        # A difference that is not a number is the largest.
        difference = float(np.max(differences))
    tally.num_jobs += 1
    tally.largest_difference = max(tally.largest_difference, difference)
    _report(job=number, runs=job.num_runs, largest_difference=difference)
    if not difference <= _TOLERANCE:
        tally.failures.append(f"job {number}: other weights")


class Job:
    """A job of several processes.

    Args:
        directory: its directory.
        data_dir: its data.

    Attributes:
        num_runs: how often it was started.
    """

    def __init__(self, directory: str, data_dir: str) -> None:
        self.num_runs = 0
        self._directory = directory
        self._data_dir = data_dir
        self._log_file = f"{directory}.log"

    def run(self) -> "Run":
        """Starts all processes."""
        self.num_runs += 1
        self._log_file = f"{self._directory}.{self.num_runs}.log"
        command = [
            *(sys.executable, "-m", "trainer.task"),
            *("--job-dir", self._directory, "--data-dir", self._data_dir),
            *("--recipe=untaught", "--hidden-units=32,16", "--batch-size=50"),
            *("--dropout-rate=0.5", "--optimizer=adam"),
            f"--num-epochs={_NUM_EPOCHS.value}",
            f"--checkpoint-steps={_CHECKPOINT_STEPS.value}",
        ]
        return Run(command, self._log_file)

    def log(self) -> str:
        """Returns what the chief logged in its last run."""
        with open(self._log_file, encoding="utf-8") as file:
            return file.read()

    def read_state(self) -> State:
        """Reads the last state that the job saved."""
        directory = os.path.join(self._directory, "checkpoints/latest")
        reader = tf.train.load_checkpoint(directory)
        return {
            name: reader.get_tensor(name)
            for name in reader.get_variable_to_shape_map()
            if name != "_CHECKPOINTABLE_OBJECT_GRAPH"
            and not name.startswith("save_counter")
        }


class Run:
    """The processes of a job from their start to their end.

    Args:
        command: what each of them runs.
        log_file: what the chief says.

    Attributes:
        was_asked_to_end: whether a process outlived what it was given to end.
    """

    def __init__(self, command: Sequence[str], log_file: str) -> None:
        self.was_asked_to_end = False
        self._log_file = log_file
        addresses = find_free_addresses(len(_TASKS))
        cluster = {"chief": addresses[:1], "worker": addresses[1:]}
        self._processes = []
        for kind, index in _TASKS:
            task = {"type": kind, "index": index}
            config = {"cluster": cluster, "task": task}
            path = log_file if kind == "chief" else os.devnull
            with open(path, "w", encoding="utf-8") as log:
                self._processes.append(
                    subprocess.Popen(
                        command,
                        env={**os.environ, "TF_CONFIG": json.dumps(config)},
                        stdout=subprocess.DEVNULL,
                        stderr=log,
                    )
                )

    def outlives(self, seconds: float) -> bool:
        """Waits so long; says whether all processes still run then."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if any(process.poll() is not None for process in self._processes):
                return False
            time.sleep(0.05)
        return True

    def kill(self, victim: int, signal_number: signal.Signals) -> bool:
        """Sends a signal; says whether the process was there to get it."""
        self._processes[victim].send_signal(signal_number)
        return self._processes[victim].returncode is None

    def wait(self, seconds: float) -> list[int | str]:
        """Waits for all processes; returns their statuses.

        One that does not end in time gets SIGTERM, and then SIGKILL.
        """
        end = time.monotonic() + seconds
        statuses: list[int | str] = []
        for process in self._processes:
            try:
                process.wait(max(end - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                self.was_asked_to_end = True
                process.terminate()
            try:
                statuses.append(process.wait(_SECONDS_TO_OBEY))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                statuses.append(_STOPPED)
        return statuses

    def count_lost_steps(self, signal_number: signal.Signals) -> int:
        """Returns how many steps the next run repeats, at most.

        SIGTERM saves the state. SIGKILL loses what followed the last one, which
        is less than what lies between two.
        """
        # After the last epoch there is nothing to lose.
        is_over = "Evaluating epoch" in self._read_log()
        if signal_number == signal.SIGTERM or is_over or not self.has_trained():
            return 0
        return _CHECKPOINT_STEPS.value - 1

    def has_trained(self) -> bool:
        """Says whether the processes have met and taken a step."""
        return "first step done" in self._read_log()

    def _read_log(self) -> str:
        with open(self._log_file, encoding="utf-8") as file:
            return file.read()


def _make_ratings() -> pa.Table:
    """Makes ratings that two factors and a rounding explain."""
    rng = np.random.default_rng(2017)
    num_users = _NUM_USERS.value
    users = np.repeat(np.arange(num_users), _RATINGS_PER_USER)
    items = np.concatenate(
        [
            rng.choice(_NUM_ITEMS, _RATINGS_PER_USER, replace=False)
            for _ in range(num_users)
        ]
    )
    user_factors = rng.normal(size=(num_users, 2))
    item_factors = rng.normal(size=(_NUM_ITEMS, 2))
    ratings = 3 + (user_factors[users] * item_factors[items]).sum(axis=1)
    return pa.table(
        {
            "user": [f"user-{user}" for user in users],
            "item": [f"item-{item}" for item in items],
            "rating": np.clip(np.rint(ratings), 1, 5),
            "timestamp": 1_000_000_000 + np.arange(len(users)),
        }
    )


def _report(**figures: object) -> None:
    print(json.dumps({"benchmark": "chaos", **figures}), flush=True)


if __name__ == "__main__":
    app.run(main)

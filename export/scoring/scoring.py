"""Answers to all users of prepared data, in files."""

import concurrent.futures
import datetime
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from absl import logging

from data_prep.dataset.items import read_items
from data_prep.dataset.manifest import read_manifest
from data_prep.dataset.records import list_shards
from export.scoring.answerers import Answerer, check_users
from export.scoring.histories import Histories, read_histories
from export.scoring.output import Output

_SECONDS_BETWEEN_LINES = 10.0

# Record files that are scored together: while one waits for its reader or
# makes its tables, the model runs for the other. The model itself uses all
# cores.
_NUM_TOGETHER = 2


class Shard(NamedTuple):
    """A record file, and the file of the answers to its users.

    Attributes:
        number: the place of the record file among all.
        records: its path.
        name: the name of the output file.
    """

    number: int
    records: str
    name: str


def score(
    answerer: Answerer, data_dir: str, output_dir: str, format_: str
) -> Output:
    """Writes an exported model's answers to all users of prepared data.

    There is an output file for each record file. A run that was killed goes
    on after the last complete file when it is started again, and ends with
    the same files.

    Args:
        answerer: makes the answers.
        data_dir: the prepared data.
        output_dir: a new or empty directory, local or remote, or that of a
            killed run.
        format_: a key of `formats.FORMATS`.

    Returns:
        The output, complete.

    Raises:
        UserError: the model cannot answer to these users, or the directory
            holds something else.
    """
    output = begin(answerer, data_dir, output_dir, format_)
    if output.is_complete:
        return output
    item_ids = read_items(data_dir).item_ids
    progress = _Progress(read_manifest(data_dir).num_users)
    progress.skip(output.count("num_users"))

    def write(shard: Shard) -> dict[str, Any]:
        histories = progress.count(read_histories(shard.records, item_ids))
        return score_shard(answerer, shard, histories, output)

    shards = list_missing_shards(data_dir, output, format_)
    with (
        concurrent.futures.ThreadPoolExecutor(_NUM_TOGETHER) as pool,
        progress,
    ):
        for shard, written in zip(shards, pool.map(write, shards), strict=True):
            output.record({shard.name: written})
    output.complete()
    progress.log()
    return output


def begin(
    answerer: Answerer, data_dir: str, output_dir: str, format_: str
) -> Output:
    """Begins or goes on with a scoring.

    Args:
        answerer: makes the answers.
        data_dir: the prepared data.
        output_dir: the directory of the output.
        format_: a key of `formats.FORMATS`.

    Returns:
        The output, with the shards that an earlier run completed.

    Raises:
        UserError: as `score`.
    """
    data = read_manifest(data_dir)
    item_ids = read_items(data_dir).item_ids
    check_users(answerer.model, item_ids, (data.rating_min, data.rating_max))
    output = Output(
        output_dir,
        {**answerer.describe(), "users": data.fingerprint, "format": format_},
    )
    if output.is_complete:
        logging.info("%s is complete already.", output_dir)
    return output


def list_missing_shards(
    data_dir: str, output: Output, format_: str
) -> list[Shard]:
    """Lists the shards that an output does not have yet.

    Args:
        data_dir: the prepared data.
        output: the output.
        format_: a key of `formats.FORMATS`.
    """
    records = list_shards(data_dir)
    shards = [
        Shard(
            number, path, f"part-{number:05d}-of-{len(records):05d}.{format_}"
        )
        for number, path in enumerate(records)
    ]
    return [shard for shard in shards if shard.name not in output.shards]


def score_shard(
    answerer: Answerer,
    shard: Shard,
    histories: Iterable[Histories],
    output: Output,
) -> dict[str, Any]:
    """Writes the answers to the users of a record file.

    Args:
        answerer: makes the answers.
        shard: the shard.
        histories: its users.
        output: the output.

    Returns:
        What to record of the file.
    """
    num_users = 0

    def count() -> Iterator[Histories]:
        nonlocal num_users
        for chunk in histories:
            num_users += len(chunk.user_ids)
            yield chunk

    written = output.write_shard(
        shard.name, answerer.answer(shard.number, count()), answerer.schema
    )
    return {**written, "num_users": num_users}


class _Progress:
    """Counts the users who were answered, and logs the speed.

    Threads may share it. Those that count when its block ends, be it by an
    interrupt, end with `CancelledError`.

    Args:
        num_users: all users.

    Attributes:
        num_answered: those whom this run answered.
    """

    def __init__(self, num_users: int) -> None:
        self.num_answered = 0
        self._num_users = num_users
        self._num_skipped = 0
        self._start = self._last_line = time.monotonic()
        self._lock = threading.Lock()
        self._has_ended = False

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._has_ended = True

    def skip(self, num_users: int) -> None:
        """Notes users whom an earlier run answered."""
        self._num_skipped = num_users

    def count(self, chunks: Iterator[Histories]) -> Iterator[Histories]:
        """Passes users on, and counts them when the next ones are wanted."""
        for histories in chunks:
            if self._has_ended:
                raise concurrent.futures.CancelledError
            yield histories
            with self._lock:
                self.num_answered += len(histories.user_ids)
                now = time.monotonic()
                if now - self._last_line >= _SECONDS_BETWEEN_LINES:
                    self._last_line = now
                    self.log()

    def log(self) -> None:
        """Logs a line."""
        seconds = max(time.monotonic() - self._start, 1e-3)
        num_done = self._num_skipped + self.num_answered
        seconds_left = seconds * (self._num_users - num_done)
        logging.info(
            "%s of %s users, %s users/s, %s left",
            f"{num_done:,}",
            f"{self._num_users:,}",
            f"{self.num_answered / seconds:,.0f}",
            datetime.timedelta(
                seconds=round(seconds_left / max(self.num_answered, 1))
            ),
        )

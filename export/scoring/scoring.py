"""Answers to all users of prepared data, in files."""

import datetime
import time
from collections.abc import Iterator

from absl import logging

from data_prep.dataset.items import read_items
from data_prep.dataset.manifest import read_manifest
from data_prep.dataset.records import list_shards
from export.scoring.answerers import Answerer, check_users
from export.scoring.histories import Histories, read_histories
from export.scoring.output import Output

_SECONDS_BETWEEN_LINES = 10.0


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
    shards = list_shards(data_dir)
    progress = _Progress(data.num_users)
    for number, shard in enumerate(shards):
        name = f"part-{number:05d}-of-{len(shards):05d}.{format_}"
        if name in output.shards:
            progress.skip(output.shards[name]["num_users"])
            continue
        num_before = progress.num_answered
        histories = progress.count(read_histories(shard, item_ids))
        written = output.write_shard(
            name, answerer.answer(number, histories), answerer.schema
        )
        num_users = progress.num_answered - num_before
        output.record(name, {**written, "num_users": num_users})
    output.complete()
    progress.log()
    return output


class _Progress:
    """Counts the users who were answered, and logs the speed.

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

    def skip(self, num_users: int) -> None:
        """Notes users whom an earlier run answered."""
        self._num_skipped += num_users

    def count(self, chunks: Iterator[Histories]) -> Iterator[Histories]:
        """Passes users on, and counts them when the next ones are wanted."""
        for histories in chunks:
            yield histories
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

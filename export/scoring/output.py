"""The output directory of a scoring: complete shards, a manifest last."""

import hashlib
import io
import os
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import tensorflow as tf

from data_prep.dataset.errors import UserError
from data_prep.dataset.files import (
    describe_differences,
    read_json,
    write_json,
    writing,
)
from export.scoring.formats import FORMATS

# Readers of directories ignore names that begin with a point or `_`.
MANIFEST_FILE = "_manifest.json"
#: What a killed run left to go on with. It becomes the manifest.
_UNFINISHED_FILE = "_unfinished.json"
_DRAFT = ".draft-"


class Output:
    """A directory of shards, each of which is complete or invisible.

    Args:
        directory: local or remote; new, empty, or begun by the same request.
        request: what identifies the content, as JSON has it.

    Attributes:
        directory: as given.
        request: as given.
        is_complete: whether the manifest is there.

    Raises:
        UserError: the directory holds something else.
    """

    def __init__(self, directory: str, request: dict[str, Any]) -> None:
        self.directory = directory
        self.request = request
        self._record: dict[str, Any] = {"request": request, "shards": {}}
        check_directory(directory)
        names = _list(directory)
        self.is_complete = MANIFEST_FILE in names
        for name in (MANIFEST_FILE, _UNFINISHED_FILE):
            if name in names:
                self._go_on(read_json(os.path.join(directory, name)))
                return
        with writing(
            f"to {directory}", "Name another directory with --output."
        ):
            tf.io.gfile.makedirs(directory)
        self._write_record(_UNFINISHED_FILE)

    def _go_on(self, record: Any) -> None:
        differences = describe_differences(
            record.get("request", {}), self._record["request"]
        )
        if differences:
            raise UserError(
                f"{self.directory} holds what another command scored:"
                f" {'; '.join(differences)}. Name a new directory with"
                " --output, or remove this one."
            )
        self._record = record

    @property
    def shards(self) -> dict[str, dict[str, Any]]:
        """What is known of each complete shard, by the name of its file."""
        shards: dict[str, dict[str, Any]] = self._record["shards"]
        return shards

    def count(self, name: str) -> int:
        """Adds up a number over all complete shards.

        Args:
            name: `num_users` or `num_rows`.
        """
        return sum(shard[name] for shard in self.shards.values())

    def write_shard(
        self, name: str, tables: Iterable[pa.Table], schema: pa.Schema
    ) -> dict[str, Any]:
        """Writes a shard, which is visible once it is complete.

        Args:
            name: the name of its file, which ends with that of its format.
            tables: the rows, some at a time.
            schema: their columns.

        Returns:
            `num_rows` and `sha256`, to be recorded.
        """
        num_rows = 0

        def counted() -> Iterable[pa.Table]:
            nonlocal num_rows
            for table in tables:
                num_rows += len(table)
                yield table

        draft = os.path.join(self.directory, f"{_DRAFT}{name}")
        write = FORMATS[name.rpartition(".")[2]]
        with tf.io.gfile.GFile(draft, "wb") as file:
            # Without it, a file that gets no rows would not exist.
            file.write(b"")
            sink = _Sink(file)
            write(counted(), schema, sink)
        tf.io.gfile.rename(
            draft, os.path.join(self.directory, name), overwrite=True
        )
        return {"num_rows": num_rows, "sha256": sink.digest.hexdigest()}

    def record(self, shards: dict[str, dict[str, Any]]) -> None:
        """Records complete shards, which are then not written again.

        Args:
            shards: what to record of each, by the name of its file.
        """
        self.shards.update(shards)
        self._write_record(_UNFINISHED_FILE)

    def complete(self) -> None:
        """Writes the manifest."""
        self._write_record(MANIFEST_FILE)
        tf.io.gfile.remove(os.path.join(self.directory, _UNFINISHED_FILE))
        self.is_complete = True

    def _write_record(self, name: str) -> None:
        write_json(os.path.join(self.directory, name), self._record)


class _Sink(io.RawIOBase):
    """Lets Arrow write to a local or remote file, and hashes what it writes.

    Args:
        file: the open file.

    Attributes:
        digest: the SHA-256 of what was written so far.
    """

    def __init__(self, file: tf.io.gfile.GFile) -> None:
        self.digest = hashlib.sha256()
        self._file = file
        self._num_bytes = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._num_bytes

    def write(self, content: Any) -> int:
        data = bytes(content)
        self._file.write(data)
        self.digest.update(data)
        self._num_bytes += len(data)
        return len(data)


def check_directory(directory: str) -> None:
    """Checks that nothing but a scoring is in a directory.

    Raises:
        UserError: something else is.
    """
    names = _list(directory)
    if names and not {MANIFEST_FILE, _UNFINISHED_FILE} & set(names):
        raise UserError(
            f"{directory} is not empty, and no scoring began in it. Name a new"
            " directory with --output."
        )


def _list(directory: str) -> list[str]:
    """Lists the visible files of a directory that are complete."""
    if not tf.io.gfile.exists(directory):
        return []
    names = tf.io.gfile.listdir(directory)
    return [name for name in names if not _is_draft(name)]


def _is_draft(name: str) -> bool:
    # `write_json` leaves the second kind if it is cut short.
    return name.startswith(".") or name.endswith(".json.tmp")

"""The user's files: found, fetched to this machine, opened."""

import atexit
import dataclasses
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import tensorflow as tf

from data_prep.dataset.errors import UserError

STANDARD_INPUT = "standard input"

_BYTES_AT_A_TIME = 1 << 24

# What compressed files start with, and the names that DuckDB and Arrow use.
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclasses.dataclass(frozen=True)
class InputFile:
    """A file on this machine.

    Args:
        number: its place among the files of the source.
        path: where it is.
        name: what the user calls it.
        compression: `gzip`, `zstd`, or `None`.
    """

    number: int
    path: str
    name: str
    compression: str | None

    def open(self) -> io.BufferedReader:
        """Opens it for reading, without its compression."""
        if self.compression is None:
            return open(self.path, "rb")
        stream: Any = pa.input_stream(self.path, compression=self.compression)
        return io.BufferedReader(stream, 1 << 20)

    def read_start(self, size: int) -> bytes:
        """Returns the first bytes, without compression.

        Raises:
            UserError: when it cannot be decompressed.
        """
        try:
            with self.open() as file:
                return file.read(size)
        except OSError as error:
            if self.compression is None:
                raise
            raise UserError(f"{self.name}: {error}") from error


def find_files(pattern: str) -> tuple[str, ...]:
    """Returns the files that a flag names, local or remote, in order.

    Args:
        pattern: a path, a glob, several of these with commas between them, a
            directory of `mv_*.txt` files, or `-` for standard input, which is
            copied to a temporary file.

    Raises:
        UserError: when there are none.
    """
    if pattern == "-":
        return (_spool_standard_input(),)
    paths: list[str] = []
    is_one = bool(tf.io.gfile.glob(pattern))
    for part in [pattern] if is_one else pattern.split(","):
        found = sorted(tf.io.gfile.glob(part))
        if len(found) == 1 and tf.io.gfile.isdir(found[0]):
            members = tf.io.gfile.join(found[0], "mv_*.txt")
            found = sorted(tf.io.gfile.glob(members))
            if not found:
                raise _is_a_directory(part)
        if not found:
            raise UserError(f"no file matches --ratings {part}.")
        paths += found
    return tuple(paths)


def name_file(path: str) -> str:
    """Returns what to call the file in front of the user."""
    is_spooled = os.path.basename(path) == STANDARD_INPUT
    return STANDARD_INPUT if is_spooled else path


def fetch_files(paths: Sequence[str], temp_dir: str) -> list[InputFile]:
    """Copies what is remote, and looks how each file is compressed.

    Args:
        paths: local and remote files.
        temp_dir: a local directory for the copies.

    Raises:
        UserError: for a directory.
    """
    return [_fetch(number, path, temp_dir) for number, path in enumerate(paths)]


def decompress(file: InputFile, temp_dir: str) -> InputFile:
    """Returns an uncompressed copy of a compressed file, or the file itself.

    Raises:
        UserError: when it cannot be decompressed.
    """
    if file.compression is None:
        return file
    path = os.path.join(temp_dir, f"decompressed-{file.number}")
    try:
        with file.open() as source, open(path, "wb") as copy:
            shutil.copyfileobj(source, copy, _BYTES_AT_A_TIME)
    except OSError as error:
        if error.errno is not None:
            raise
        raise UserError(f"{file.name}: {error}") from error
    return dataclasses.replace(file, path=path, compression=None)


def _fetch(number: int, path: str, temp_dir: str) -> InputFile:
    name = name_file(path)
    if "://" in path:
        if tf.io.gfile.isdir(path):
            raise _is_a_directory(path)
        local = os.path.join(temp_dir, f"{number}-{os.path.basename(path)}")
        tf.io.gfile.copy(path, local, overwrite=True)
        path = local
    elif os.path.isdir(path):
        raise _is_a_directory(path)
    with open(path, "rb") as file:
        start = file.read(4)
    compression = next(
        (
            kind
            for magic, kind in _COMPRESSIONS.items()
            if start[: len(magic)] == magic
        ),
        None,
    )
    return InputFile(number, path, name, compression)


def _is_a_directory(path: str) -> UserError:
    return UserError(
        f"{path} is a directory without mv_*.txt files. Name its files, such"
        f" as {path}/*.csv."
    )


def _spool_standard_input() -> str:
    directory = tempfile.mkdtemp(prefix="data_prep-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    path = os.path.join(directory, STANDARD_INPUT)
    with open(path, "wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file, _BYTES_AT_A_TIME)
    return path

"""Finds input files, fetches remote ones, and opens compressed ones."""

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

_STANDARD_INPUT = "standard input"
_CHUNK_BYTES = 1 << 24

# Magic bytes -> the name that DuckDB and Arrow use.
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclasses.dataclass(frozen=True)
class InputFile:
    """A local file, or the local copy of a remote one.

    Args:
        number: its position among the files of the source.
        path: its local path.
        name: its name in messages: the path that the user gave.
        compression: `gzip`, `zstd`, or `None`.
    """

    number: int
    path: str
    name: str
    compression: str | None

    def open(self) -> io.BufferedReader:
        """Opens the file for reading; decompresses on the fly."""
        if self.compression is None:
            return open(self.path, "rb")
        stream: Any = pa.input_stream(self.path, compression=self.compression)
        return io.BufferedReader(stream, 1 << 20)

    def read_start(self, size: int) -> bytes:
        """Reads the first `size` bytes of the decompressed content.

        Raises:
            UserError: if the file cannot be decompressed.
        """
        try:
            with self.open() as file:
                return file.read(size)
        except OSError as error:
            if self.compression is None:
                raise
            raise UserError(f"{self.name}: {error}") from error


def find_files(pattern: str) -> tuple[str, ...]:
    """Returns the paths that a flag names, in order.

    Args:
        pattern: a local or remote path, a glob, several of these separated by
            commas, a directory of `mv_*.txt` files, or `-` for standard input,
            which is copied to a temporary file.

    Raises:
        UserError: if no file matches.
    """
    if pattern == "-":
        return (_spool_standard_input(),)
    paths: list[str] = []
    # A path may contain a comma.
    is_one = bool(tf.io.gfile.glob(pattern))
    for part in [pattern] if is_one else pattern.split(","):
        found = sorted(tf.io.gfile.glob(part))
        if len(found) == 1 and tf.io.gfile.isdir(found[0]):
            members = tf.io.gfile.join(found[0], "mv_*.txt")
            found = sorted(tf.io.gfile.glob(members))
            if not found:
                raise _directory_error(part)
        if not found:
            raise UserError(f"no file matches --ratings {part}.")
        paths += found
    return tuple(paths)


def display_name(path: str) -> str:
    """Returns the name of a file for messages and the manifest."""
    is_spooled = os.path.basename(path) == _STANDARD_INPUT
    return _STANDARD_INPUT if is_spooled else path


def fetch_files(paths: Sequence[str], temp_dir: str) -> list[InputFile]:
    """Copies remote files, and detects the compression of each file.

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
        UserError: if the file cannot be decompressed.
    """
    if file.compression is None:
        return file
    path = os.path.join(temp_dir, f"decompressed-{file.number}")
    try:
        with file.open() as source, open(path, "wb") as copy:
            shutil.copyfileobj(source, copy, _CHUNK_BYTES)
    except OSError as error:
        # Arrow's errors about the content have no errno; a full disk has.
        if error.errno is not None:
            raise
        raise UserError(f"{file.name}: {error}") from error
    return dataclasses.replace(file, path=path, compression=None)


def _fetch(number: int, path: str, temp_dir: str) -> InputFile:
    name = display_name(path)
    if "://" in path:
        if tf.io.gfile.isdir(path):
            raise _directory_error(path)
        local = os.path.join(temp_dir, f"{number}-{os.path.basename(path)}")
        tf.io.gfile.copy(path, local, overwrite=True)
        path = local
    elif os.path.isdir(path):
        raise _directory_error(path)
    with open(path, "rb") as file:
        start = file.read(4)
    compression = next(
        (
            kind
            for magic, kind in _COMPRESSIONS.items()
            if start.startswith(magic)
        ),
        None,
    )
    return InputFile(number, path, name, compression)


def _directory_error(path: str) -> UserError:
    return UserError(
        f"{path} is a directory without mv_*.txt files. Name its files, such"
        f" as {path}/*.csv."
    )


def _spool_standard_input() -> str:
    directory = tempfile.mkdtemp(prefix="data_prep-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    path = os.path.join(directory, _STANDARD_INPUT)
    with open(path, "wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file, _CHUNK_BYTES)
    return path

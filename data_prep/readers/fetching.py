"""Finds input files, fetches remote ones, and opens compressed ones."""

import atexit
import codecs
import contextlib
import dataclasses
import glob
import io
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import tensorflow as tf

from data_prep.dataset.errors import TransientError, UserError
from data_prep.dataset.files import OUTAGES
from data_prep.readers.archives import (
    ZIP_MAGICS,
    extract_member,
    is_packed,
    split_member,
    unpack,
)
from data_prep.rules.excerpts import excerpt

_STANDARD_INPUT = "standard input"
_CHUNK_BYTES = 1 << 24

# Scheme of a file system that TensorFlow lacks -> what copies from it.
_COPY_COMMANDS = {
    **dict.fromkeys(("http", "https", "ftp"), "curl -O"),
    **dict.fromkeys(("s3", "s3a", "s3n"), "aws s3 cp"),
    "hdfs": "hdfs dfs -get",
}

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


def find_files(pattern: str, flag: str = "--ratings") -> tuple[str, ...]:
    """Returns the paths that a flag names, in order.

    Args:
        pattern: a local or remote path, a member of a zip archive
            (`ARCHIVE.zip/MEMBER`), a glob, several of these separated by
            commas, a directory of `mv_*.txt` files, or `-` for standard input,
            which is copied to a temporary file. `~` is the home directory.
        flag: the flag, for messages.

    Raises:
        UserError: if no file matches, or a file system cannot be reached.
    """
    if pattern == "-":
        return (_spool_standard_input(),)
    # A path may contain a comma.
    paths = _find(pattern)
    for part in [] if paths else pattern.split(","):
        # A path may start with a blank, but a list rather has them.
        found = _find(part) or _find(part.strip())
        if not found and part.strip():
            raise UserError(f"no file matches {flag} {part.strip()}.")
        paths += found
    if not paths:
        raise UserError(f"no file matches {flag} {pattern!r}.")
    return tuple(paths)


def find_file(pattern: str, flag: str) -> str:
    """Returns the path that a flag names, as `find_files` does.

    Raises:
        UserError: if it names several files.
    """
    path, *others = find_files(pattern, flag)
    if others:
        raise UserError(
            f"{flag} must name one file. {pattern} names {1 + len(others)}."
        )
    return path


def _find(pattern: str) -> list[str]:
    """Returns the paths that a path or a glob names."""
    path = os.path.expanduser(pattern)
    with _explained(pattern):
        archive, member = split_member(path)
        # A name may look like a glob.
        if tf.io.gfile.exists(archive):
            found = [path]
        else:
            found = sorted(tf.io.gfile.glob(path))
        if any(map(_is_pipe, found)):
            raise UserError(
                f"{pattern} is a pipe, which can be read only once. Send it to"
                " the standard input, and name that by -."
            )
        if member is None and len(found) == 1 and tf.io.gfile.isdir(found[0]):
            members = tf.io.gfile.join(glob.escape(found[0]), "mv_*.txt")
            found = sorted(tf.io.gfile.glob(members))
            if not found:
                raise _directory_error(pattern)
    return found


def _is_pipe(path: str) -> bool:
    return os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode)


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    """Turns errors of file systems into one line with what works instead."""
    try:
        yield
    except tf.errors.NotFoundError:
        raise
    except tf.errors.UnimplementedError as error:
        scheme = path.partition("://")[0]
        command = _COPY_COMMANDS.get(scheme, "its own tool")
        raise UserError(
            f"{path}: the file system {scheme}:// is not read. Copy the file to"
            f" this machine with {command}, or to gs://."
        ) from error
    except tf.errors.OpError as error:
        reason = str(error).partition("\n")[0]
        kind = TransientError if isinstance(error, OUTAGES) else UserError
        raise kind(
            f"{path} cannot be reached ({excerpt(reason)}). Check the name, the"
            " network and the credentials, or copy the file to this machine."
        ) from error


def display_name(path: str) -> str:
    """Returns the name of a file for messages and the manifest."""
    is_spooled = os.path.basename(path) == _STANDARD_INPUT
    return _STANDARD_INPUT if is_spooled else path


def fetch_files(
    paths: Sequence[str],
    temp_dir: str,
    *,
    encoding: str | None = None,
    members: Sequence[str] = (),
) -> list[InputFile]:
    """Copies remote files, unpacks others, and detects the compression.

    Args:
        paths: local and remote files, or members of zip archives.
        temp_dir: a local directory for the copies.
        encoding: the encoding of text that is not UTF-8. UTF-16 is recognized
            by its byte order mark.
        members: regular expressions of the names that are wanted of a zip
            archive of several files, the best first.

    Raises:
        UserError: for a directory, or a file that cannot be unpacked.
    """
    return [
        _fetch(number, path, temp_dir, encoding, members)
        for number, path in enumerate(paths)
    ]


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


def _fetch(
    number: int,
    path: str,
    temp_dir: str,
    encoding: str | None,
    members: Sequence[str],
) -> InputFile:
    name = display_name(path)
    path, member = split_member(path)
    if "://" in path:
        local = os.path.join(temp_dir, f"{number}-{os.path.basename(path)}")
        with _explained(path):
            if tf.io.gfile.isdir(path):
                raise _directory_error(path)
            tf.io.gfile.copy(path, local, overwrite=True)
        path = local
    elif os.path.isdir(path):
        raise _directory_error(path)
    start = _read_magic(path)
    if is_packed(start):
        copy = os.path.join(temp_dir, f"unpacked-{number}")
        if start.startswith(ZIP_MAGICS):
            name = extract_member(path, member, members, name, copy)
        else:
            unpack(path, name, copy)
        path, start = copy, _read_magic(copy)
    compression = next(
        (
            kind
            for magic, kind in _COMPRESSIONS.items()
            if start.startswith(magic)
        ),
        None,
    )
    fetched = InputFile(number, path, name, compression)
    if compression:
        start = fetched.read_start(len(start))
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    if encoding is None or start.startswith(b"PAR1"):
        return fetched
    return _decode(fetched, encoding, temp_dir)


def _read_magic(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(8)


def _decode(file: InputFile, encoding: str, temp_dir: str) -> InputFile:
    """Returns a UTF-8 copy of a text of another encoding."""
    path = os.path.join(temp_dir, f"decoded-{file.number}")
    try:
        with (
            io.TextIOWrapper(file.open(), encoding, newline="") as source,
            open(path, "w", encoding="utf-8", newline="") as copy,
        ):
            shutil.copyfileobj(source, copy, _CHUNK_BYTES)
    except UnicodeError as error:
        raise UserError(
            f"{file.name} is not text of the encoding {encoding}: {error}."
            " Name the right one with --encoding."
        ) from error
    return dataclasses.replace(file, path=path, compression=None)


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

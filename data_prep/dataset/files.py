"""Reads, writes and hashes local and remote files, and explains failures."""

import concurrent.futures
import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from data_prep.dataset.errors import TransientError, UserError

#: What TensorFlow raises once a store has not answered any of its attempts.
OUTAGES = (
    tf.errors.AbortedError,
    tf.errors.DeadlineExceededError,
    tf.errors.UnavailableError,
)

# What TensorFlow adds to the message of an operation, for programmers.
_NOISE = re.compile(r"\{\{.*?\}\} | \[Op:\w+\]")

_CHUNK_BYTES = 1 << 24


def digest_file(path: str) -> str:
    """Returns the SHA-256 of a local or remote file, in hexadecimal."""
    if "://" not in path:
        with open(path, "rb") as local:
            return hashlib.file_digest(local, "sha256").hexdigest()
    digest = hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as remote:
        while chunk := remote.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def digest_files(paths: Sequence[str]) -> list[str]:
    """Returns the SHA-256 of each file; reads several files in parallel."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(digest_file, paths))


def to_json(value: Any) -> str:
    """Formats a value as indented JSON; equal values give equal text."""
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


@contextlib.contextmanager
def writing(what: str, remedy: str) -> Iterator[None]:
    """Explains to the user why the block cannot write.

    Args:
        what: what the block writes, and where.
        remedy: the sentences that say what to do if there is no room or no
            permission.

    Raises:
        TransientError: a store does not answer.
        UserError: there is no room or no permission.
    """
    try:
        yield
    except OUTAGES as error:
        raise TransientError(
            f"cannot write {what}: {reason(error)}. Start the same command"
            " again once the store answers."
        ) from error
    except (OSError, tf.errors.OpError) as error:
        raise UserError(
            f"cannot write {what}: {reason(error)}. {remedy}"
        ) from error


def reason(error: Exception) -> str:
    """Returns the message of an error as people need it."""
    if isinstance(error, tf.errors.OpError):
        return _NOISE.sub("", str(error.message))
    return str(error)


def write_text(path: str, text: str) -> None:
    """Writes text to a local or remote path, atomically by a rename."""
    with tf.io.gfile.GFile(path + ".tmp", "w") as file:
        file.write(text)
    tf.io.gfile.rename(path + ".tmp", path, overwrite=True)


def write_json(path: str, value: Any) -> None:
    """Writes `value` to a local or remote path, atomically by a rename."""
    write_text(path, to_json(value))


def read_json(path: str) -> Any:
    """Reads a JSON value from a local or remote path."""
    with tf.io.gfile.GFile(path) as file:
        return json.loads(file.read())


def describe_differences(
    old: Mapping[str, Any], new: Mapping[str, Any]
) -> list[str]:
    """Describes for people in what two records of JSON differ, key by key."""
    return [
        f"{key} was {old.get(key)!r} and is {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]

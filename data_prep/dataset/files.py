"""Reads, writes and digests files, local or remote."""

import concurrent.futures
import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

_BYTES_AT_A_TIME = 1 << 24


def digest_file(path: str) -> str:
    """Returns the SHA-256 of a local or remote file, in hexadecimal."""
    if "://" not in path:
        with open(path, "rb") as local:
            return hashlib.file_digest(local, "sha256").hexdigest()
    digest = hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as remote:
        while block := remote.read(_BYTES_AT_A_TIME):
            digest.update(block)
    return digest.hexdigest()


def digest_files(paths: Sequence[str]) -> list[str]:
    """Returns the SHA-256 of each file, several at a time."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(digest_file, paths))


def to_json(value: Any) -> str:
    """Returns readable JSON; equal values give equal text."""
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def write_json(path: str, value: Any) -> None:
    """Writes `value` to `path`, local or remote, by way of a rename."""
    with tf.io.gfile.GFile(path + ".tmp", "w") as file:
        file.write(to_json(value))
    tf.io.gfile.rename(path + ".tmp", path, overwrite=True)


def read_json(path: str) -> Any:
    """Reads the JSON value in `path`, local or remote."""
    with tf.io.gfile.GFile(path) as file:
        return json.loads(file.read())

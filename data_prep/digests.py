"""SHA-256 of files, wherever they are."""

import concurrent.futures
import hashlib
import os
from collections.abc import Sequence

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

"""Checks a version's files against the list of digests that it brings along."""

import hashlib
import os

import tensorflow as tf

from serving.local_server.model import ModelLoadError
from serving.protocol import Code

# In the format of `sha256sum`, of all files but itself.
_FILE_NAME = "assets.extra/SHA256SUMS"

_BLOCK_BYTES = 2**20


def check_digests(path: str) -> None:
    """Checks that a version holds the files that were published, and no others.

    Args:
        path: the directory of the version.

    Raises:
        ModelLoadError: if it does not, or has no list.
    """
    try:
        with tf.io.gfile.GFile(os.path.join(path, _FILE_NAME)) as file:
            lines = file.read().splitlines()
        expected = {}
        for line in lines:
            digest, _, name = line.partition("  ")
            expected[name] = digest
        actual = {
            name: _sha256(os.path.join(path, name))
            for name in _list_files(path)
            if name != _FILE_NAME
        }
    except (OSError, UnicodeDecodeError, tf.errors.OpError) as error:
        reason = str(error).partition("\n")[0]
        raise ModelLoadError(
            f"{path} cannot be checked: {reason}", Code.DATA_LOSS
        ) from error
    for name in sorted(expected.keys() | actual.keys()):
        if expected.get(name) != actual.get(name):
            raise ModelLoadError(
                f"{path}: {name} is not what {_FILE_NAME} says.", Code.DATA_LOSS
            )


def _list_files(directory: str) -> list[str]:
    return [
        os.path.relpath(os.path.join(parent, name), directory)
        for parent, _, names in tf.io.gfile.walk(directory)
        for name in names
    ]


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()

"""SHA-256 of files, wherever they are."""

import hashlib

import tensorflow as tf

_BYTES_AT_A_TIME = 1 << 24


def digest_file(path: str) -> str:
    """Returns the SHA-256 of a local or remote file, in hexadecimal."""
    digest = hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as file:
        while block := file.read(_BYTES_AT_A_TIME):
            digest.update(block)
    return digest.hexdigest()

"""Digests of a version's files, so that anybody can check a copy of it.

The list has the format of `sha256sum`: on each line the SHA-256 of a file in
hexadecimal digits, two spaces, and the file's path from the directory of the
version, with `/` between its parts. It names every file of the version but
itself, in the order of their paths. In the directory of the version

    sha256sum --check assets.extra/SHA256SUMS

checks them all.
"""

import os

import tensorflow as tf

from data_prep.dataset.files import digest_file

FILE_NAME = "assets.extra/SHA256SUMS"


def write_digests(version_dir: str) -> None:
    """Writes the list of the digests of all files.

    Args:
        version_dir: a version, complete but for this file.
    """
    lines = sorted(
        (path, digest_file(os.path.join(version_dir, path)))
        for path in _list_files(version_dir)
        if path != FILE_NAME
    )
    with tf.io.gfile.GFile(os.path.join(version_dir, FILE_NAME), "w") as file:
        file.write("".join(f"{digest}  {path}\n" for path, digest in lines))


def _list_files(directory: str) -> list[str]:
    """Returns the paths of all files, from the directory."""
    return [
        os.path.relpath(os.path.join(parent, name), directory)
        for parent, _, names in tf.io.gfile.walk(directory)
        for name in names
    ]

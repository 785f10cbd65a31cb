"""The numbered versions of a model, as TensorFlow Serving watches them."""

import contextlib
import os
from collections.abc import Iterator

import tensorflow as tf
from absl import logging

# TensorFlow Serving passes over names that are no numbers.
_UNFINISHED = ".unfinished-"


def list_versions(export_dir: str) -> list[int]:
    """Returns the published versions, in ascending order.

    Args:
        export_dir: parent of the numbered directories.
    """
    return sorted(int(name) for name in _list(export_dir) if name.isdigit())


@contextlib.contextmanager
def new_version(export_dir: str) -> Iterator[tuple[str, str]]:
    """Publishes what is written in the `with` block as the next version.

    The block writes to a directory that TensorFlow Serving passes over. At its
    end the directory is renamed: on a file system, a server that watches sees
    all of the version or nothing. (An object store renames file by file. There
    a server may try the half of it, keep the version that it has, and try
    again a minute later.)

    If the block raises, nothing of the version is left; if the process is
    killed, the next call removes what it left. So one process at a time may
    export to a directory.

    Args:
        export_dir: parent of the numbered directories.

    Yields:
        The directory to write to, which does not exist yet, and the one that
        the version will have.
    """
    tf.io.gfile.makedirs(export_dir)
    _remove_unfinished(export_dir)
    version = max(list_versions(export_dir), default=0) + 1
    draft = os.path.join(export_dir, f"{_UNFINISHED}{version}")
    published = os.path.join(export_dir, str(version))
    try:
        yield draft, published
        tf.io.gfile.rename(draft, published)
    except BaseException:
        _remove_unfinished(export_dir)
        raise


def remove_old_versions(export_dir: str, keep: int) -> None:
    """Removes all but the newest version and a number of older ones.

    Args:
        export_dir: parent of the numbered directories.
        keep: how many of the older versions to leave.
    """
    newest_first = list_versions(export_dir)[::-1]
    for version in newest_first[1 + keep :]:
        # Renamed first, so that no server starts on the half of it.
        doomed = os.path.join(export_dir, f"{_UNFINISHED}{version}")
        tf.io.gfile.rename(os.path.join(export_dir, str(version)), doomed)
        tf.io.gfile.rmtree(doomed)
        logging.info("Removed version %d.", version)


def _remove_unfinished(export_dir: str) -> None:
    for name in _list(export_dir):
        if name.startswith(_UNFINISHED):
            tf.io.gfile.rmtree(os.path.join(export_dir, name))


def _list(directory: str) -> list[str]:
    if not tf.io.gfile.exists(directory):
        return []
    return [name.rstrip("/") for name in tf.io.gfile.listdir(directory)]

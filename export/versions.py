"""The numbered versions of a model, as TensorFlow Serving watches them.

Each version lists the digests of its files in `assets.extra/SHA256SUMS`, so
that anybody can check a copy of it. The list has the format of `sha256sum`:
each line holds the SHA-256 of a file in hexadecimal digits, two spaces, and
the file's path relative to the version, with `/` as separator. It names every
file of the version except itself, sorted by path. In the version's directory

    sha256sum --check assets.extra/SHA256SUMS

checks them all. `assets.extra/origin.json` identifies the weights of the job
that the version serves: no clock says whether these are still the best.
"""

import contextlib
import os
from collections.abc import Iterator

import tensorflow as tf
from absl import logging

from data_prep.dataset.files import digest_file, read_json, write_json

_DIGESTS_FILE = "assets.extra/SHA256SUMS"

_ORIGIN_FILE = "assets.extra/origin.json"

_WEIGHTS_ID = "weights_id"

# Serving loads a directory once it has this file.
_MODEL_FILE = "saved_model.pb"

# TensorFlow Serving ignores directories whose names are not numbers.
_UNFINISHED = ".unfinished-"


def list_versions(export_dir: str) -> list[int]:
    """Returns the published versions, in ascending order.

    Args:
        export_dir: parent of the numbered directories, which may not exist.
    """
    return [
        version
        for version in _list_numbers(export_dir)
        # Without it, publishing to an object store was cut short.
        if tf.io.gfile.exists(
            os.path.join(export_dir, str(version), _MODEL_FILE)
        )
    ]


def write_origin(version_dir: str, weights_id: str) -> None:
    """Records which weights of its job a version serves.

    Args:
        version_dir: a version that is being written.
        weights_id: what identifies the weights.
    """
    path = os.path.join(version_dir, _ORIGIN_FILE)
    tf.io.gfile.makedirs(os.path.dirname(path))
    write_json(path, {_WEIGHTS_ID: weights_id})


def read_origin(version_dir: str) -> str | None:
    """Returns which weights of its job a version serves.

    Args:
        version_dir: the directory of a published version.

    Returns:
        What `write_origin` was given; `None` if the version has no record of
        it, as those of earlier releases.
    """
    path = os.path.join(version_dir, _ORIGIN_FILE)
    if not tf.io.gfile.exists(path):
        return None
    return str(read_json(path)[_WEIGHTS_ID])


@contextlib.contextmanager
def new_version(export_dir: str) -> Iterator[tuple[str, str]]:
    """Publishes what is written in the `with` block as the next version.

    The block writes to a directory that TensorFlow Serving ignores. At its end
    the directory is renamed: on a file system, a server that watches sees all
    of the version or nothing. (An object store renames file by file. A server
    there may try to load half a version, keep the version that it has, and try
    again a minute later.)

    If the block raises, nothing of the version is left; if the process is
    killed, the next call removes what it left. So only one process at a time
    may export to a directory.

    Args:
        export_dir: parent of the numbered directories.

    Yields:
        The directory to write to, which does not exist yet, and the directory
        of the version once published.
    """
    tf.io.gfile.makedirs(export_dir)
    _remove_unfinished(export_dir)
    version = max(_list_numbers(export_dir), default=0) + 1
    draft = os.path.join(export_dir, f"{_UNFINISHED}{version}")
    published = os.path.join(export_dir, str(version))
    try:
        yield draft, published
        move_version(draft, published)
    except BaseException:
        # What cannot be removed now must not hide what went wrong. The next
        # call removes it.
        with contextlib.suppress(tf.errors.OpError):
            _remove_unfinished(export_dir)
        raise


def move_version(version_dir: str, target_dir: str) -> None:
    """Moves a version to where a server sees it once it is complete.

    Args:
        version_dir: a complete version.
        target_dir: its new directory, which does not exist or is empty, on the
            same file system.
    """
    if "://" not in version_dir:
        tf.io.gfile.rename(version_dir, target_dir)
        return
    names = _list_files(version_dir)
    for name in sorted(names, key=lambda n: n == _MODEL_FILE):
        target = os.path.join(target_dir, name)
        tf.io.gfile.makedirs(os.path.dirname(target))
        tf.io.gfile.rename(os.path.join(version_dir, name), target)
    # The version is there, whatever becomes of the empty draft.
    with contextlib.suppress(tf.errors.OpError):
        tf.io.gfile.rmtree(version_dir)


def write_digests(version_dir: str) -> None:
    """Writes the list of the digests of a version's files.

    Args:
        version_dir: a version, complete except for this list.
    """
    lines = sorted(
        (path, digest_file(os.path.join(version_dir, path)))
        for path in _list_files(version_dir)
        if path != _DIGESTS_FILE
    )
    path = os.path.join(version_dir, _DIGESTS_FILE)
    with tf.io.gfile.GFile(path, "w") as file:
        file.write("".join(f"{digest}  {path}\n" for path, digest in lines))


def remove_old_versions(export_dir: str, keep: int) -> None:
    """Removes all versions but the newest and a number of older ones.

    Args:
        export_dir: parent of the numbered directories.
        keep: number of older versions to keep.
    """
    newest_first = list_versions(export_dir)[::-1]
    for version in newest_first[1 + keep :]:
        # Renamed first, so that no server loads a half-removed version.
        doomed = os.path.join(export_dir, f"{_UNFINISHED}{version}")
        tf.io.gfile.rename(os.path.join(export_dir, str(version)), doomed)
        tf.io.gfile.rmtree(doomed)
        logging.info("Removed version %d.", version)


def _remove_unfinished(export_dir: str) -> None:
    for name in _list(export_dir):
        if name.startswith(_UNFINISHED):
            tf.io.gfile.rmtree(os.path.join(export_dir, name))


def _list_numbers(export_dir: str) -> list[int]:
    """Returns the numbers of all versions, those cut short included."""
    return sorted(int(name) for name in _list(export_dir) if name.isdigit())


def _list(directory: str) -> list[str]:
    if not tf.io.gfile.exists(directory):
        return []
    return [name.rstrip("/") for name in tf.io.gfile.listdir(directory)]


def _list_files(directory: str) -> list[str]:
    """Returns the paths of all files, relative to the directory."""
    return [
        os.path.relpath(os.path.join(parent, name), directory)
        for parent, _, names in tf.io.gfile.walk(directory)
        for name in names
    ]

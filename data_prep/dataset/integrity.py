"""Checks that prepared data are what their manifest promises."""

import tensorflow as tf

from data_prep.dataset.errors import UserError
from data_prep.dataset.files import digest_files
from data_prep.dataset.manifest import read_manifest


def check_files(data_dir: str) -> None:
    """Compares every file of prepared data with its digest in the manifest.

    Reads all of them once.

    Args:
        data_dir: the prepared data.

    Raises:
        UserError: a file is missing, cut short or another one.
    """
    digests = dict(sorted(read_manifest(data_dir).digests.items()))
    paths = [str(tf.io.gfile.join(data_dir, name)) for name in digests]
    for path in paths:
        if not tf.io.gfile.exists(path):
            raise UserError(
                f"{path} is missing, although the manifest names it. Copy it"
                " again, or prepare the data again."
            )
    for path, expected, actual in zip(
        paths, digests.values(), digest_files(paths), strict=True
    ):
        if actual != expected:
            raise UserError(
                f"{path} is not the file that was prepared: its SHA-256 is"
                f" {actual[:16]}... and the manifest has {expected[:16]}..."
                " Copy it again, or prepare the data again."
            )

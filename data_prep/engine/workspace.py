"""The directories of a preparation: the output and a temporary one."""

import contextlib
import re
import tempfile
from collections.abc import Iterator

import duckdb
import tensorflow as tf

from data_prep.dataset.errors import UserError
from data_prep.dataset.files import OUTAGES, writing
from data_prep.rules.rejects import FILE_NAME as REJECTS_FILE

# Errors that a full disk causes, and errors of exhausted memory.
_DISK_ERRORS = (OSError, duckdb.IOException, duckdb.TransactionException)
_MEMORY_ERRORS = (MemoryError, duckdb.OutOfMemoryException)


def clear_output(output_dir: str) -> None:
    """Creates the output directory; removes files of an interrupted run."""
    users_dir = tf.io.gfile.join(output_dir, "users")
    with writing(f"to {users_dir}", "Make room, or name another directory."):
        tf.io.gfile.makedirs(users_dir)
    for name in tf.io.gfile.listdir(users_dir):
        if re.fullmatch(r"part-\d{5,}-of-\d{5,}\.tfrecord", name):
            tf.io.gfile.remove(tf.io.gfile.join(users_dir, name))
    rejects_path = tf.io.gfile.join(output_dir, REJECTS_FILE)
    if tf.io.gfile.exists(rejects_path):
        tf.io.gfile.remove(rejects_path)


@contextlib.contextmanager
def working_directory(output_dir: str) -> Iterator[str]:
    """Provides a temporary local directory, and explains exhausted resources.

    Args:
        output_dir: the output directory.

    Raises:
        UserError: if a file cannot be written in either directory, or memory
            runs out.
    """
    with tempfile.TemporaryDirectory(prefix="data_prep-") as temp_dir:
        try:
            yield temp_dir
        except _DISK_ERRORS as error:
            if isinstance(error, OSError) and error.filename:
                raise  # It names its file.
            raise UserError(
                f"could not work in {temp_dir} (TMPDIR names another place):"
                f" {str(error).splitlines()[0]}"
            ) from error
        except _MEMORY_ERRORS as error:
            raise UserError(
                f"memory ran out ({str(error).partition(chr(10))[0]}). Raise"
                " --memory-limit where the machine has more, and lower it"
                " where it has not."
            ) from error
        except OUTAGES:
            raise
        except tf.errors.OpError as error:
            raise UserError(
                f"cannot write to {output_dir}: {error.message}"
            ) from error

"""Small JSON files, written whole or not at all."""

import json
from typing import Any

import tensorflow as tf


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

"""Ratings from memory, commands in processes, and prepared data read back."""

import dataclasses
import os
import pathlib
import subprocess
import sys

import pyarrow as pa
import tensorflow as tf

from data_prep.records import GROUPS, list_shards, parse_user_ids, parse_users
from data_prep.sources import Source
from data_prep.vocabulary import read_items

ROOT = pathlib.Path(__file__).parents[2]
NAMES = ("user_id", "item_id", "rating", "timestamp")


@dataclasses.dataclass(frozen=True)
class RowsSource(Source):
    """Rows of (user_id, item_id, rating, timestamp), and titles by item."""

    rows: list
    titles: dict = dataclasses.field(default_factory=dict)

    def describe(self):
        return {"name": "rows", "count": len(self.rows)}

    def load(self, connection, temp_dir):
        create_table(connection, "source_ratings", self.rows)
        connection.execute(
            "CREATE TABLE source_titles (item_id VARCHAR, title VARCHAR)"
        )
        for title in self.titles.items():
            connection.execute("INSERT INTO source_titles VALUES (?, ?)", title)


def create_table(connection, name, rows):
    types = (pa.string(), pa.string(), pa.float64(), pa.float64())
    columns = list(zip(*rows, strict=True)) or [()] * len(NAMES)
    table = pa.table(
        {
            column: pa.array(values, kind)
            for column, values, kind in zip(NAMES, columns, types, strict=True)
        }
    )
    connection.from_arrow(table).create(name)


def read_back(data_dir):
    """Returns {(user_id, item_id): (group, rating)} and the order of users."""
    item_ids = read_items(data_dir).item_ids
    found, order = {}, []
    for shard in list_shards(data_dir):
        examples = list(tf.data.TFRecordDataset(shard).as_numpy_iterator())
        if not examples:
            continue
        user_ids = [u.decode() for u in parse_user_ids(examples).numpy()]
        order += user_ids
        parsed = parse_users(examples, len(item_ids), list(GROUPS))
        for group, ratings in parsed.items():
            for (row, item), rating in zip(
                ratings.indices.numpy(), ratings.values.numpy(), strict=True
            ):
                key = user_ids[row], item_ids[item]
                assert key not in found, "a rating was written twice"
                found[key] = group, float(rating)
    return found, order


def read_files(directory):
    """Returns the bytes of every file, by its path in the directory."""
    root = pathlib.Path(directory)
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def start_task(*arguments, **options):
    """Starts `python -m data_prep.task` with the arguments."""
    return subprocess.Popen(
        [sys.executable, "-m", "data_prep.task", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **options.pop("env", {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def run_task(*arguments, **options):
    """Runs the command; returns its exit code, output and last error line."""
    process = start_task(*arguments, **options)
    output, errors = process.communicate(timeout=120)
    assert "Traceback" not in errors
    return process.returncode, output, errors.strip().splitlines()[-1:]

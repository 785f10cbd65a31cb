"""Provides sources in memory, runs commands and reads prepared data back."""

import dataclasses
import functools
import os
import pathlib
import subprocess
import sys

import pyarrow as pa
import tensorflow as tf

from data_prep.dataset.items import read_items
from data_prep.dataset.records import (
    list_shards,
    parse_cold_ratings,
    parse_user_ids,
    parse_users,
)
from data_prep.dataset.schema import COLD_RATINGS, SUBSETS
from data_prep.ratings import deduplicate, from_table, merge, unify_items
from data_prep.readers.reading import Reading
from data_prep.rules.rejects import Rejects
from data_prep.sources.source import Source

ROOT = pathlib.Path(__file__).parents[2]
TYPES = {
    "user_id": pa.string(),
    "item_id": pa.string(),
    "rating": pa.float64(),
    "timestamp": pa.float64(),
}


@dataclasses.dataclass(frozen=True)
class InMemorySource(Source):
    """Rows of (user_id, item_id, rating, timestamp), and titles by item."""

    rows: list
    titles: dict = dataclasses.field(default_factory=dict)
    rows_per_part: int = 50
    estimated_rows: int = 1000

    def describe(self):
        return {"name": "rows", "count": len(self.rows)}

    def estimate_rows(self):
        return self.estimated_rows

    def read(self, reading):
        for start in range(0, len(self.rows), self.rows_per_part):
            rows = self.rows[start : start + self.rows_per_part]
            yield functools.partial(to_table, rows)

    def read_titles(self, item_ids, temp_dir):
        return self.titles


def to_table(rows):
    columns = list(zip(*rows, strict=True)) or [()] * len(TYPES)
    return pa.table(
        {
            name: pa.array(values, kind)
            for (name, kind), values in zip(TYPES.items(), columns, strict=True)
        }
    )


def to_ratings(rows):
    """Converts rows of (user, item, rating, timestamp[, is_test])."""
    table = to_table([row[:4] for row in rows])
    if rows and len(rows[0]) > 4:
        table = table.append_column("is_test", pa.array([r[4] for r in rows]))
    return deduplicate(merge(unify_items([from_table(table)])))


def read_source(source, temp_dir, **options):
    """Returns the valid rows of a source, and its rejects."""
    reading = Reading(str(temp_dir), Rejects(), **options)
    tables = [
        part().select(list(TYPES)).cast(pa.schema(TYPES.items()))
        for part in source.read(reading)
    ]
    rows = [
        tuple(row[name] for name in TYPES)
        for table in tables
        for row in table.to_pylist()
    ]
    return rows, reading.rejects


def read_back(data_dir):
    """Returns {(user_id, item_id): (subset, rating)} and the order of users."""
    item_ids = read_items(data_dir).item_ids
    found, order = {}, []
    for shard in list_shards(data_dir):
        examples = list(tf.data.TFRecordDataset(shard).as_numpy_iterator())
        if not examples:
            continue
        user_ids = [u.decode() for u in parse_user_ids(examples).numpy()]
        order += user_ids
        parsed = parse_users(examples, len(item_ids), list(SUBSETS))
        for subset, ratings in parsed.items():
            for (row, item), rating in zip(
                ratings.indices.numpy(), ratings.values.numpy(), strict=True
            ):
                key = user_ids[row], item_ids[item]
                assert key not in found, "a rating was written twice"
                found[key] = subset, float(rating)
    return found, order


def read_cold_back(data_dir):
    """Returns {(user_id, subset): ratings of cold items}."""
    found = {}
    for shard in list_shards(data_dir):
        examples = list(tf.data.TFRecordDataset(shard).as_numpy_iterator())
        if not examples:
            continue
        user_ids = [u.decode() for u in parse_user_ids(examples).numpy()]
        for subset in COLD_RATINGS:
            ratings = parse_cold_ratings(tf.constant(examples), subset)
            for (row, _), rating in zip(
                ratings.indices.numpy(), ratings.values.numpy(), strict=True
            ):
                key = user_ids[row], subset
                found.setdefault(key, []).append(float(rating))
    return found


def serialize_user(user_id, subsets, cold=()):
    """Serializes one user with TensorFlow's own protocol buffers.

    Args:
        user_id: the raw id.
        subsets: item indices and ratings by subset.
        cold: pairs of a held-out subset and its ratings of cold items.
    """
    example = tf.train.Example()
    feature = example.features.feature
    feature["user_id"].bytes_list.value.append(user_id.encode())
    for subset, (indices, ratings) in subsets.items():
        index_key, rating_key = SUBSETS[subset]
        feature[index_key].int64_list.value.extend(indices)
        feature[rating_key].float_list.value.extend(ratings)
    for subset, ratings in cold:
        if ratings:
            feature[COLD_RATINGS[subset]].float_list.value.extend(ratings)
    return example.SerializeToString(deterministic=True)


def read_files(directory):
    """Returns the bytes of every file, by its path in the directory."""
    root = pathlib.Path(directory)
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def start_task(*arguments, module="data_prep.task", **options):
    """Starts `python -m data_prep.task` with the arguments."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **options.pop("env", {})},
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def run_task(*arguments, **options):
    """Runs the command; returns its exit code, output and last error line."""
    stdin = options.pop("input", None)
    if stdin is not None:
        options["stdin"] = subprocess.PIPE
    process = start_task(*arguments, **options)
    output, errors = process.communicate(stdin, timeout=120)
    assert "Traceback" not in errors
    return process.returncode, output, errors.strip().splitlines()[-1:]

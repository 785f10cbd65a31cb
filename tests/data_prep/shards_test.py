import os

import duckdb
import pytest
import tensorflow as tf

from data_prep import shards
from data_prep.encode import prepare
from data_prep.splits import make_split
from tests.data_prep.helpers import read_back, read_files


def create_tables(connection, num_users, num_items):
    connection.execute(
        f"CREATE TABLE users AS SELECT u AS user_index, 'u' || u AS user_id,"
        f" 0 AS shard FROM range({num_users}) AS numbers(u)"
    )
    connection.execute(
        f"""
        CREATE TABLE encoded AS
        SELECT
            u AS user_index, 0 AS group_index, i AS item_index,
            CAST(1 AS FLOAT) AS rating, CAST(NULL AS VARCHAR) AS dropped
        FROM range({num_users}) AS users(u), range({num_items}) AS items(i)
        """
    )


@pytest.mark.parametrize("rows_at_a_time", [1, 2, 7, 100])
def test_users_are_whole_wherever_the_stream_is_cut(
    source, rows_at_a_time, tmp_path, monkeypatch
):
    expected, output_dir = str(tmp_path / "a"), str(tmp_path / "b")
    prepare(source, make_split("random"), expected)
    monkeypatch.setattr(shards, "_ROWS_AT_A_TIME", rows_at_a_time)
    prepare(source, make_split("random"), output_dir)
    assert read_files(output_dir) == read_files(expected)
    assert len(read_back(output_dir)[0]) == len(source.rows)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device")
def test_full_device_is_an_error(tmp_path):
    (tmp_path / "users").mkdir()
    shard = tmp_path / "users" / "part-00000-of-00001.tfrecord"
    shard.symlink_to("/dev/full")
    with duckdb.connect() as connection:
        create_tables(connection, num_users=50, num_items=50)
        with pytest.raises(tf.errors.ResourceExhaustedError, match="No space"):
            shards.write_shards(connection, str(tmp_path), 1)


def test_ratings_out_of_order_are_a_defect():
    with duckdb.connect() as connection:
        create_tables(connection, num_users=2, num_items=2)
        connection.execute("INSERT INTO encoded SELECT * FROM encoded")
        with pytest.raises(RuntimeError, match="not together, in order"):
            list(shards._read_ratings(connection))

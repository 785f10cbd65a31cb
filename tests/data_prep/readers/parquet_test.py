"""Parquet files of every shape."""

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.dataset.errors import UserError
from data_prep.rules.columns import Columns
from data_prep.rules.row_rules import Scale
from data_prep.sources.files import Files
from tests.data_prep.helpers import read_source

PLAIN = [("1", "10", 4.5, 100.0), ("2", "20", 0.0, 200.0)]
MOMENT = datetime.datetime(2000, 12, 31, 22, 12, 40)


@pytest.fixture
def read(tmp_path):
    """Writes tables, and reads them; returns rows, and what was rejected."""

    def write_and_read(*tables, columns=None, **options):
        paths = []
        for number, table in enumerate(tables):
            paths.append(str(tmp_path / f"{number}.parquet"))
            pq.write_table(pa.table(table), paths[-1], row_group_size=7)
        return read_source(
            Files(tuple(paths), columns or Columns()), tmp_path, **options
        )

    return write_and_read


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(
            {
                "user_id": [1, 2],
                "movieId": ["10", "20"],
                "rating": pa.array([4.5, 0], pa.float32()),
                "timestamp": [100, 200],
            },
            id="numbers_and_texts",
        ),
        pytest.param(
            {
                "timestamp": pa.array([100, 200], pa.timestamp("s")),
                "other.column": [1, 2],
                "rating": ["4.5", "0"],
                "item": pa.array(["10", "20"], pa.large_string()),
                "user": pa.array(["1", "2"]).dictionary_encode(),
            },
            id="other_types_in_another_order",
        ),
    ],
)
def test_columns_are_recognised(read, table):
    assert read(table)[0] == PLAIN


@pytest.mark.parametrize(
    "times",
    [
        pytest.param(pa.array([MOMENT]), id="datetime"),
        pytest.param(pa.array([MOMENT.replace(tzinfo=datetime.UTC)]), id="utc"),
        pytest.param(pa.array([MOMENT], pa.timestamp("s")), id="seconds"),
        pytest.param(pa.array([MOMENT], pa.timestamp("ns")), id="nanoseconds"),
        *[
            pytest.param(
                pa.array(
                    [MOMENT.replace(tzinfo=datetime.UTC)],
                    pa.timestamp(unit, "Europe/Berlin"),
                ),
                id=f"{unit}_of_a_zone",
            )
            for unit in ("s", "ms", "us", "ns")
        ],
        pytest.param(pa.array([978300760]), id="unix_seconds"),
        pytest.param(pa.array([978300760000.0]), id="unix_milliseconds"),
        pytest.param(pa.array(["2000-12-31 22:12:40"]), id="text"),
    ],
)
def test_timestamps_of_every_type_are_understood(read, times):
    table = {"user": ["1"], "item": ["2"], "rating": [3], "time": times}
    assert read(table)[0] == [("1", "2", 3.0, 978300760.0)]


def test_dates_are_days(read):
    days = pa.array([1], pa.date32())
    table = {"user": [1], "item": [10], "rating": [4], "date": days}
    assert read(table)[0] == [("1", "10", 4.0, 86_400.0)]


def test_columns_can_be_named(read):
    table = {"rating": [9, 9], "who": [1, 2], "what": [10, 20]}
    table |= {"a.b": [4.5, 0], "when": [100, 200]}
    columns = Columns("who", "what", "a.b", "when")
    assert read(table, columns=columns)[0] == PLAIN


@pytest.mark.parametrize("rows_per_part", [4, 20, 1000])
def test_parts_need_not_fit_row_groups_and_files(read, rows_per_part):
    tables, expected = [], []
    for number in range(3):
        users = np.arange(50) + 100 * number
        # The same columns as other types in the last file.
        user = users if number < 2 else users.astype(str)
        tables.append({"user": user, "item": users % 7, "rating": users % 5})
        expected += [(str(u), str(u % 7), u % 5, None) for u in users.tolist()]
    assert read(*tables, rows_per_part=rows_per_part)[0] == expected


def test_rows_that_cannot_be_used_are_named_by_file_and_row(read, tmp_path):
    good = {"user": [1] * 9, "item": range(9), "rating": [3.0] * 9}
    bad = {
        "user": [1, None, 1, 1],
        "item": [1, 2, 3, 4],
        "rating": [3.0, 3.0, float("nan"), 9.0],
    }
    rows, rejects = read(good, bad, scale=Scale(1, 5), rows_per_part=4)
    assert len(rows) == 10
    assert [row.message for row in rejects.first] == [
        f"{tmp_path}/1.parquet, row 2: the user (column user) must not be"
        " empty. Received: ''",
        f"{tmp_path}/1.parquet, row 3: the rating (column rating) must be a"
        " finite number. Received: 'nan'",
        f"{tmp_path}/1.parquet, row 4: the rating (column rating) must be on"
        " the scale 1:5. Received: '9.0'",
    ]


def test_damaged_file_is_named(tmp_path):
    path = tmp_path / "ratings.parquet"
    numbers = np.random.default_rng(0).integers(0, 1 << 60, 10_000)
    table = {"user": numbers, "item": numbers, "rating": [3.0] * 10_000}
    pq.write_table(pa.table(table), path)
    content = bytearray(path.read_bytes())
    content[4:40] = b"\xff" * 36  # The first page's header.
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{path} is damaged: "):
        read_source(Files((str(path),), Columns()), tmp_path)

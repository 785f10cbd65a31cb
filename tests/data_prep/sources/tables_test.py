"""Tables in memory, beside the same rows in files."""

import csv

import duckdb
import pandas
import polars
import pyarrow as pa
import pytest

from data_prep.dataset.errors import UserError
from data_prep.dataset.items import read_items
from data_prep.dataset.manifest import read_manifest
from data_prep.options import Options
from data_prep.prepare import prepare
from data_prep.rules.columns import Columns
from data_prep.rules.row_rules import Scale
from data_prep.sources.registry import make_source
from data_prep.sources.tables import make_table_source
from data_prep.splits.registry import make_split
from tests.data_prep.helpers import read_files, read_source

NAMES = ["user_id", "item_id", "rating", "timestamp"]
PLAIN = [("1", "10", 4.5, 100.0), ("2", "20", 0.0, 200.0)]
COLUMNS = {
    "user_id": [1, 2],
    "movieId": ["10", "20"],
    "rating": [4.5, 0.0],
    "timestamp": [100, 200],
}

#: How users hold tables: each makes one of a dictionary of columns.
KINDS = {
    "arrow": pa.table,
    "record_batch": pa.record_batch,
    "pandas": pandas.DataFrame,
    "polars": polars.DataFrame,
    "duckdb": lambda columns: duckdb.from_arrow(pa.table(columns)),
}


def load(table, tmp_path, **options):
    return read_source(make_table_source(table), tmp_path, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_tables_of_every_library_are_read(kind, tmp_path):
    rows, rejects = load(KINDS[kind](COLUMNS), tmp_path)
    assert rows == PLAIN
    assert not rejects.counts


@pytest.mark.parametrize("kind", KINDS)
def test_content_has_the_same_digest_in_every_library(kind):
    expected = make_table_source(pa.table(COLUMNS)).describe()
    assert make_table_source(KINDS[kind](COLUMNS)).describe() == expected
    assert expected["name"] == "table"
    assert expected["num_rows"] == 2
    assert expected["columns"] == {
        "user": "user_id",
        "item": "movieId",
        "rating": "rating",
        "timestamp": "timestamp",
    }


@pytest.mark.parametrize(
    ("column", "values"),
    [
        pytest.param("user_id", [1, 3], id="other_value"),
        pytest.param("movieId", ["102", "0"], id="other_border"),
        pytest.param("rating", [4.5, None], id="null"),
    ],
)
def test_other_content_has_another_digest(column, values):
    first = make_table_source(pa.table(COLUMNS)).describe()
    other = make_table_source(pa.table(COLUMNS | {column: values})).describe()
    assert first["sha256"] != other["sha256"]


def test_digest_does_not_depend_on_chunks():
    whole = pa.table(COLUMNS)
    halves = pa.concat_tables([whole.slice(0, 1), whole.slice(1)])
    assert (
        make_table_source(whole).describe()
        == make_table_source(halves).describe()
    )


@pytest.mark.parametrize(
    "convert",
    [
        pytest.param(int, id="integers"),
        pytest.param(lambda k: f"id {k}, 'é'", id="strings"),
        pytest.param(lambda k: k + 0.5, id="floats"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_shards_are_those_of_the_same_rows_in_a_csv_file(
    kind, convert, tmp_path
):
    columns = {
        "user_id": [convert(k // 20) for k in range(1_200)],
        "item_id": [convert(k * 7 % 31) for k in range(1_200)],
        "rating": [float(k % 6) for k in range(1_200)],
        "timestamp": [1_000 * (k % 20) + k // 20 for k in range(1_200)],
    }
    path = tmp_path / "ratings.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(NAMES)
        writer.writerows(zip(*columns.values(), strict=True))
    split = make_split("user-time")
    by_csv, by_table = tmp_path / "csv", tmp_path / "table"
    prepare(make_source("files", ratings=str(path)), split, str(by_csv))
    prepare(make_table_source(KINDS[kind](columns)), split, str(by_table))
    expected, found = read_files(by_csv), read_files(by_table)
    assert expected.pop("manifest.json") != found.pop("manifest.json")
    assert found == expected
    first, second = (read_manifest(str(d)) for d in (by_csv, by_table))
    assert first.num_ratings == second.num_ratings
    assert first.rows_dropped == second.rows_dropped
    assert second.source["name"] == "table"


@pytest.mark.parametrize(
    "ids",
    [
        pytest.param(
            pa.array(["a", "b", "a"]).dictionary_encode(), id="strings"
        ),
        pytest.param(pa.array([7, 8, 7]).dictionary_encode(), id="integers"),
        pytest.param(pandas.Categorical(["a", "b", "a"]), id="pandas"),
        pytest.param(
            polars.Series(["a", "b", "a"]).cast(polars.Categorical), id="polars"
        ),
        pytest.param(pa.array(["a", "b", "a"], pa.string_view()), id="views"),
    ],
)
def test_categories_are_ids(ids, tmp_path):
    columns = {"user": ids, "item": ids, "rating": [1.0, 2.0, 3.0]}
    if isinstance(ids, pandas.Categorical):
        table = pandas.DataFrame(columns)
    elif isinstance(ids, polars.Series):
        table = polars.DataFrame(columns)
    else:
        table = pa.table(columns)
    rows, _ = load(table, tmp_path)
    expected = [str(value) for value in pa.array(ids).to_pylist()]
    assert [row[:2] for row in rows] == [(i, i) for i in expected]
    assert len(make_table_source(table).describe()["sha256"]) == 64


def test_index_of_a_data_frame_is_a_column(tmp_path):
    frame = pandas.DataFrame(COLUMNS).set_index(["user_id", "movieId"])
    assert load(frame, tmp_path)[0] == PLAIN


@pytest.mark.parametrize("rows_per_part", [4, 1000])
def test_invalid_rows_are_named_by_their_number(rows_per_part, tmp_path):
    table = pa.table(
        {
            "user": [*"abcdefgh", None, ""],
            "item": [1] * 10,
            "rating": [3.0, None, float("nan"), 9.0, *[5.0] * 6],
        }
    )
    rows, rejects = load(
        table, tmp_path, scale=Scale(1, 5), rows_per_part=rows_per_part
    )
    assert [row[0] for row in rows] == [*"aefgh"]
    assert rejects.counts == {
        "missing_user": 2,
        "missing_rating": 1,
        "unreadable_rating": 1,
        "off_scale_rating": 1,
    }
    assert [row.message for row in rejects.first] == [
        "table, row 2: the rating (column rating) must be a finite number."
        " Received: ''",
        "table, row 3: the rating (column rating) must be a finite number."
        " Received: 'nan'",
        "table, row 4: the rating (column rating) must be on the scale 1:5."
        " Received: '9.0'",
        "table, row 9: the user (column user) must not be empty. Received: ''",
        "table, row 10: the user (column user) must not be empty. Received: ''",
    ]


def test_too_many_invalid_rows_are_refused(tmp_path):
    table = pa.table({"user": [1, None], "item": [1, 2], "rating": [1.0, 2.0]})
    with pytest.raises(UserError, match="table, row 2: the user"):
        prepare(
            make_table_source(table),
            make_split("random"),
            str(tmp_path),
            options=Options(max_bad_rows=0.1),
        )


def test_columns_can_be_named(tmp_path):
    table = {
        "who": [1, 2],
        "what": [10, 20],
        "stars": [9, 9],
        "liked": [4.5, 0],
    }
    columns = Columns(user="who", item="what", rating="liked")
    source = make_table_source(pa.table(table), columns)
    assert read_source(source, tmp_path)[0] == [
        (*row[:3], None) for row in PLAIN
    ]


def test_titles_reach_the_items(rows, tmp_path):
    columns = dict(zip(NAMES, zip(*rows, strict=True), strict=True))
    table = pa.table({name: list(v) for name, v in columns.items()})
    source = make_table_source(table, titles={"i1": "Heat (1995)"})
    prepare(source, make_split("random"), str(tmp_path))
    items = read_items(str(tmp_path))
    titles = dict(zip(items.item_ids, items.titles, strict=True))
    assert titles["i1"] == "Heat (1995)"
    assert titles["i2"] is None
    assert source.describe() != make_table_source(table).describe()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        pytest.param(
            [1, 2],
            "must be a pandas or polars DataFrame.* Received: list",
            id="list",
        ),
        pytest.param(
            pa.table({"user": [1], "item": [1]}),
            "table has no rating column. Its columns are: user, item. Name the"
            r" right one with rating_column=....$",
            id="missing_column",
        ),
        pytest.param(
            pandas.DataFrame({"user": [1, "x"], "item": [1, 2], "rating": 3}),
            "the table cannot be converted to Arrow: .*user",
            id="mixed_types",
        ),
    ],
)
def test_unusable_tables_are_refused(table, message):
    with pytest.raises(UserError, match=message):
        make_table_source(table)

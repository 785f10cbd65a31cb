"""One rule from a value to the text of an id."""

import decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.dataset.errors import UserError
from data_prep.rules.columns import Columns
from data_prep.rules.ids import to_ids
from data_prep.sources.files import Files
from data_prep.sources.tables import make_table_source
from tests.data_prep.helpers import read_source


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(pa.array([7, 700]), id="integers"),
        pytest.param(pa.array([7, 700], pa.uint16()), id="short_integers"),
        pytest.param(pa.array([7.0, 700.0]), id="floats"),
        pytest.param(pa.array([7, 700], pa.float32()), id="short_floats"),
        pytest.param(
            pa.array([decimal.Decimal("7.00"), decimal.Decimal("700.00")]),
            id="decimals",
        ),
        pytest.param(
            pa.array([decimal.Decimal(7), decimal.Decimal(700)]),
            id="decimals_without_fraction",
        ),
        pytest.param(pa.array(["7", "700"]), id="texts"),
        pytest.param(pa.array(["7.0", "700.0"]), id="texts_of_floats"),
        pytest.param(pa.array([" 7", "\t700\xa0"]), id="texts_with_blanks"),
        pytest.param(pa.array([b"7", b"700 "]), id="bytes"),
        pytest.param(pa.array([7, 700]).dictionary_encode(), id="categories"),
    ],
)
def test_the_same_ids_meet_whatever_their_type(values):
    assert to_ids(values).to_pylist() == ["7", "700"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("007", "007"),
        ("1e3", "1e3"),
        ("1.10", "1.10"),
        ("v2.0", "v2.0"),
        ("a\xa0b", "a\xa0b"),
        ("\ufeffa\u3000", "a"),
        ("Nancy", "Nancy"),
        (7.5, "7.5"),
        (0.1, "0.1"),
        (-0.0, "0"),
        ("-0.00", "0"),
        ("-10.0", "-10"),
        ("abc\0\0", "abc"),
        (b"abc\0", "abc"),
        (1e15, "1000000000000000"),
        (decimal.Decimal("7.50"), "7.5"),
        ("café".encode(), "café"),
    ],
)
def test_other_values_have_one_text(value, text):
    assert to_ids(pa.array([value])).to_pylist() == [text]


def test_missing_values_are_no_ids():
    texts = [
        "",
        " ",
        "\xa0",
        "NaN",
        "nan ",
        "None",
        "null",
        "NULL",
        "<NA>",
        None,
    ]
    assert to_ids(pa.array(texts)).null_count == len(texts)
    assert to_ids(pa.array([b"", b"nan"])).null_count == 2
    assert to_ids(pa.array([float("nan")])).null_count == 1


@pytest.mark.parametrize("value", [float("inf"), 2.0**53, b"caf\xe9"])
def test_values_that_cannot_tell_ids_apart_are_no_ids(value):
    assert to_ids(pa.array([value])).to_pylist() == [None]


def test_columns_of_different_types_agree_in_several_files(tmp_path):
    paths = [tmp_path / name for name in ("a.parquet", "b.parquet", "c.csv")]
    for path, user, item in (
        (paths[0], pa.array([1, 2]), pa.array([7, 8])),
        (paths[1], pa.array([1.0, 2.0]), pa.array([7.0, 8.0])),
    ):
        table = {"user_id": user, "item_id": item, "rating": [3, 4]}
        pq.write_table(pa.table(table), path)
    paths[2].write_text("user_id, item_id, rating\n1.0, 7, 3\n2, 8.0, 4\n")
    source = Files(tuple(map(str, paths)), Columns())
    rows, _ = read_source(source, tmp_path)
    assert [row[:2] for row in rows] == [("1", "7"), ("2", "8")] * 3


def test_rows_without_an_id_are_rejected_with_the_reason(tmp_path):
    table = pa.table(
        {
            "user_id": [float("nan"), 1.0, None, float("inf")],
            "item_id": [b"7", b"\xe9", b"7", b"7"],
            "rating": [3, 3, 3, 3],
        }
    )
    rows, rejects = read_source(make_table_source(table), tmp_path)
    assert not rows
    assert rejects.counts == {
        "missing_user": 2,
        "unreadable_item": 1,
        "unreadable_user": 1,
    }
    assert [row.message for row in rejects.first[:2]] == [
        "table, row 1: the user (column user_id) must not be empty. Received:"
        " 'nan'",
        "table, row 2: the item (column item_id) must be UTF-8 text or a number"
        r" that is exact (a float is not from 2**53 on). Received: '\\xE9'",
    ]


@pytest.mark.parametrize(
    "ids",
    [pa.array([[1], [2]]), pa.array([{"a": 1}] * 2), pa.array([True] * 2)],
)
def test_types_that_are_no_ids_are_named(ids, tmp_path):
    table = pa.table({"user": [1, 2], "item": ids, "rating": [3, 4]})
    with pytest.raises(
        UserError, match="the item column item must hold texts or numbers"
    ):
        make_table_source(table)
    path = tmp_path / "ratings.parquet"
    pq.write_table(table, path)
    with pytest.raises(
        UserError, match=f"{path}: the item column item must hold texts or"
    ):
        read_source(Files((str(path),), Columns()), tmp_path)


@pytest.mark.parametrize("kind", [pa.float16(), pa.decimal256(40, 1)])
def test_rare_types_of_numbers_are_read(kind, tmp_path):
    numbers = pa.array([1.0, 2.5], pa.float16()).cast(pa.float64()).cast(kind)
    table = pa.table({"user": [1, 2], "item": [1, 2], "rating": numbers})
    rows, _ = read_source(make_table_source(table), tmp_path)
    assert [row[2] for row in rows] == [1.0, 2.5]


def test_titles_of_a_table_are_found_by_the_same_rule():
    table = pa.table({"user": [1], "item": [7], "rating": [3]})
    source = make_table_source(table, titles={7.0: "Heat", None: "Nothing"})
    assert source.read_titles(["7"], "") == {"7": "Heat"}

import pyarrow as pa
import pytest

import deep_recommender
from data_prep.dataset.errors import UserError
from data_prep.dataset.items import read_items


def test_missing_values_are_left_out(tmp_path):
    ratings = [-1.0, *range(1, 11)] * 60
    table = pa.table(
        {
            "user": [k // 11 for k in range(len(ratings))],
            "item": [k % 13 for k in range(len(ratings))],
            "rating": ratings,
        }
    )
    manifest = deep_recommender.prepare(
        table, tmp_path, split="random", missing_values=[-1]
    )
    assert manifest.rows_dropped["missing_value"] == 60
    assert manifest.rating_min == 1


def test_separator_and_encoding_of_files_can_be_given(tmp_path):
    lines = [f"{k // 9}~é{k % 13}~{k % 5}" for k in range(600)]
    path = tmp_path / "ratings.txt"
    path.write_text("\n".join(["user~item~rating", *lines]), "latin-1")
    data_dir = tmp_path / "data"
    deep_recommender.prepare(
        path, data_dir, split="random", delimiter="~", encoding="latin-1"
    )
    assert "é12" in read_items(str(data_dir)).item_ids


def test_a_table_has_no_separator(tmp_path):
    table = pa.table({"user": [1], "item": [2], "rating": [3]})
    with pytest.raises(UserError, match="`encoding` are for files, not for"):
        deep_recommender.prepare(table, tmp_path, delimiter=";")

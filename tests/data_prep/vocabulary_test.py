import duckdb
import numpy as np
import pytest

from data_prep.encode import prepare
from data_prep.errors import UserError
from data_prep.splits import make_split
from data_prep.vocabulary import create_items_table, read_items, write_items
from tests.data_prep.helpers import RowsSource, read_back


def test_items_are_the_training_items_most_rated_first(source, tmp_path):
    prepare(source, make_split("random"), str(tmp_path), seed=1)
    trained = {}
    for (_, item), (group, rating) in read_back(str(tmp_path))[0].items():
        if group == "train":
            trained.setdefault(item, []).append(rating)
    items = read_items(str(tmp_path))
    assert items.item_ids == sorted(
        trained, key=lambda i: (-len(trained[i]), i)
    )
    assert items.counts.dtype == np.int64
    assert items.counts.tolist() == [len(trained[i]) for i in items.item_ids]
    np.testing.assert_allclose(
        items.means, [np.mean(trained[i]) for i in items.item_ids], rtol=1e-12
    )


def test_titles_are_kept_where_known(rows, tmp_path):
    source = RowsSource(rows, {"i1": "Heat (1995)", "unrated": "Nobody"})
    prepare(source, make_split("random"), str(tmp_path))
    items = read_items(str(tmp_path))
    titles = dict(zip(items.item_ids, items.titles, strict=True))
    assert titles["i1"] == "Heat (1995)"
    assert titles["i2"] is None
    assert "unrated" not in titles


def test_directory_without_manifest_has_no_items(tmp_path):
    with pytest.raises(UserError, match="is not prepared data"):
        read_items(str(tmp_path))


def test_many_items_are_written_as_equal_bytes(tmp_path):
    """Ratings whose sum depends on the order, in several row groups."""
    written = []
    for threads, order in ((1, "ASC"), (4, "DESC")):
        path = tmp_path / f"{threads}.parquet"
        with duckdb.connect(config={"threads": threads}) as connection:
            connection.execute(
                f"""
                CREATE TABLE assigned AS
                SELECT
                    (k % 150000)::VARCHAR AS item_id,
                    sin(k) * 10.0 ** (k % 17) AS rating,
                    'train' AS split
                FROM range(600000) AS numbers(k) ORDER BY k {order}
                """
            )
            connection.execute(
                "CREATE TABLE source_titles (item_id VARCHAR, title VARCHAR)"
            )
            create_items_table(connection)
            write_items(connection, str(path))
        written.append(path.read_bytes())
    assert written[0] == written[1]

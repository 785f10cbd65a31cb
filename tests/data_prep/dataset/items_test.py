import numpy as np
import pytest

from data_prep.dataset.errors import UserError
from data_prep.dataset.items import ItemNames, Items, read_items, write_items
from data_prep.prepare import prepare
from data_prep.splits.registry import make_split
from tests.data_prep.helpers import read_back


def test_items_are_the_training_items_most_rated_first(source, tmp_path):
    prepare(source, make_split("random"), str(tmp_path), seed=1)
    trained = {}
    for (_, item), (subset, rating) in read_back(str(tmp_path))[0].items():
        if subset == "train":
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


def test_directory_without_manifest_has_no_items(tmp_path):
    with pytest.raises(UserError, match="is not prepared data"):
        read_items(str(tmp_path))


def test_equal_items_are_written_as_equal_bytes(tmp_path):
    for name in ("first", "second"):
        items = Items(
            ["b", "a"], np.array([3, 1]), np.array([3.5, 4.0]), ["Heat", None]
        )
        write_items(items, tmp_path / name)
    first = (tmp_path / "first").read_bytes()
    assert first == (tmp_path / "second").read_bytes()


def test_a_title_names_an_item_unless_it_is_an_id_or_several_have_it():
    items = Items(
        item_ids=["1", "2", "3", "4", "5"],
        counts=np.ones(5, np.int64),
        means=np.ones(5),
        titles=["Heat (1995)", None, "2", "Remake", "Remake"],
    )
    names = ItemNames(items)
    assert names.index_of == {
        **{"1": 0, "2": 1, "3": 2, "4": 3, "5": 4},
        "Heat (1995)": 0,
    }
    assert names.ambiguous == {"Remake": ["4", "5"]}

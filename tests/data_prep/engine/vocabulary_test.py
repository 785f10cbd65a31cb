import hypothesis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from data_prep.dataset.items import read_items
from data_prep.engine.assignment import ItemCounts, choose_unit
from data_prep.engine.vocabulary import build_vocabulary
from data_prep.prepare import prepare
from data_prep.splits.registry import make_split
from tests.data_prep.helpers import InMemorySource


def test_titles_are_kept_where_known(rows, tmp_path):
    source = InMemorySource(rows, {"i1": "Heat (1995)", "unrated": "Nobody"})
    prepare(source, make_split("random"), str(tmp_path))
    items = read_items(str(tmp_path))
    titles = dict(zip(items.item_ids, items.titles, strict=True))
    assert titles["i1"] == "Heat (1995)"
    assert titles["i2"] is None
    assert "unrated" not in titles


@pytest.fixture
def counted():
    """Four items: rated 1, 3, 0 and 3 times, in halves of a rating."""
    item_ids = pa.array(["a", "b", "c", "d"])
    return item_ids, ItemCounts(
        np.array([1, 3, 0, 3]), np.array([8, 21, 0, 30])
    )


def test_unrated_items_have_no_index(counted):
    vocabulary = build_vocabulary(*counted, 0.5)
    assert vocabulary.items.item_ids == ["b", "d", "a"]
    assert vocabulary.indices.tolist() == [2, 0, -1, 1]
    assert vocabulary.items.means.tolist() == [3.5, 5.0, 4.0]
    assert vocabulary.rating_mean == 59 * 0.5 / 7


def test_rarely_rated_items_can_be_left_out(counted):
    vocabulary = build_vocabulary(*counted, 0.5, min_ratings=2)
    assert vocabulary.items.item_ids == ["b", "d"]
    assert vocabulary.indices.tolist() == [-1, 0, -1, 1]


def test_old_items_keep_their_indices_and_new_ones_follow(counted):
    old_ids = ["c", "gone", "a"]
    vocabulary = build_vocabulary(*counted, 0.5, min_ratings=2, old_ids=old_ids)
    assert vocabulary.items.item_ids == [*old_ids, "b", "d"]
    assert vocabulary.indices.tolist() == [2, 3, 0, 4]
    assert vocabulary.items.counts.tolist() == [0, 0, 1, 3, 3]
    # Where nobody rated the item, the mean of all ratings takes its place.
    mean = vocabulary.rating_mean
    assert vocabulary.items.means.tolist() == [mean, mean, 4.0, 3.5, 5.0]


def test_old_spellings_of_an_id_get_its_ratings_and_stay(counted):
    """As of data that were prepared before there was one rule of ids."""
    old_ids = [" b", "b\xa0", "a"]
    vocabulary = build_vocabulary(*counted, 0.5, old_ids=old_ids)
    assert vocabulary.items.item_ids == [*old_ids, "d"]
    assert vocabulary.indices.tolist() == [2, 0, -1, 3]
    assert vocabulary.items.counts.tolist() == [3, 0, 1, 3]


@hypothesis.given(
    ratings=st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=200),
    seed=st.integers(0, 9),
)
@hypothesis.settings(max_examples=50)
def test_means_do_not_depend_on_the_order(ratings, seed):
    unit = choose_unit([min(ratings), max(ratings)])
    shuffled = np.random.default_rng(seed).permutation(ratings)
    first, second = (
        np.rint(r / unit).sum() for r in (np.array(ratings), shuffled)
    )
    assert first == second
    # Each term is rounded to 2^-30 of the largest one.
    mean = first * unit / len(ratings)
    largest = max(map(abs, ratings))
    assert abs(mean - np.mean(ratings)) <= largest * 2.0**-29

import collections

import numpy as np
import pytest

from data_prep.dataset.errors import UserError
from data_prep.dataset.items import read_items
from data_prep.dataset.manifest import read_manifest
from data_prep.prepare import prepare
from data_prep.readers.reading import Reading
from data_prep.rules.rejects import Rejects
from data_prep.sources.registry import make_source
from data_prep.splits.base import TEST
from data_prep.splits.registry import make_split
from tests.data_prep.helpers import read_back, read_source, to_ratings

pytestmark = pytest.mark.integration


def load(name, tmp_path, **options):
    rows, _ = read_source(make_source(name, **options), tmp_path)
    return rows


@pytest.mark.integration
def test_movielens_1m_is_the_published_set(tmp_path):
    rows = load("movielens-1m", tmp_path)
    users, items, ratings, timestamps = zip(*rows, strict=True)
    assert len(rows) == 1_000_209
    assert (len(set(users)), len(set(items))) == (6_040, 3_706)
    assert (min(timestamps), max(timestamps)) == (956703932, 1046454590)
    assert collections.Counter(ratings) == {
        1: 56_174,
        2: 107_557,
        3: 261_197,
        4: 348_971,
        5: 226_310,
    }
    title = "One Flew Over the Cuckoo's Nest (1975)"
    assert rows[0] == ("1", title, 5, 978300760)


@pytest.mark.slow
@pytest.mark.integration
def test_movielens_1m_is_prepared_whole(movielens_1m):
    manifest = read_manifest(movielens_1m)
    dropped = sum(manifest.rows_dropped.values())
    assert manifest.rows_read == 1_000_209
    num_cold = sum(manifest.num_cold_ratings.values())
    assert sum(manifest.num_ratings.values()) + num_cold + dropped == 1_000_209
    assert manifest.num_users == 6_040
    assert manifest.num_ratings["train"] == 697_435
    assert (manifest.rating_min, manifest.rating_max) == (1, 5)
    items = read_items(movielens_1m)
    assert items.item_ids == items.titles
    assert items.counts.sum() == 697_435
    found, order = read_back(movielens_1m)
    assert len(found) == sum(manifest.num_ratings.values())
    assert len(set(order)) == 6_040


@pytest.mark.integration
def test_movielens_100k_has_titles(tmp_path):
    source = make_source("movielens-100k")
    manifest = prepare(source, make_split("global-time"), str(tmp_path))
    assert manifest.rows_read == 100_000
    assert manifest.split["cuts"]["test"].startswith("1998-03-31")
    items = read_items(str(tmp_path))
    titles = dict(zip(items.item_ids, items.titles, strict=True))
    assert titles["1"] == "Toy Story (1995)"
    assert None not in titles.values()


@pytest.mark.integration
def test_the_folds_of_movielens_100k_are_the_published_ones(tmp_path):
    """GroupLens' u1.test has 20,000 ratings by 459 users of 1,410 items."""
    tested = []
    for name in ("u1", "u2", "u3", "u4", "u5"):
        source = make_source("movielens-100k", fold=name)
        parts = [
            part() for part in source.read(Reading(str(tmp_path), Rejects()))
        ]
        assert sum(map(len, parts)) == 100_000
        test = [
            (row["user_id"], row["item_id"])
            for part in parts
            if "is_test" in part.column_names
            for row in part.to_pylist()
        ]
        assert len(test) == 20_000
        if name == "u1":
            users, items = zip(*test, strict=True)
            assert (len(set(users)), len(set(items))) == (459, 1_410)
        tested += test
    assert len(set(tested)) == 100_000


@pytest.mark.integration
def test_a_fold_is_prepared_by_the_name_of_its_split(tmp_path):
    split = make_split("u1")
    source = make_source("movielens-100k", fold=split.source_fold)
    manifest = prepare(source, split, str(tmp_path))
    assert manifest.split["name"] == "u1"
    kept = manifest.num_ratings["test"] + manifest.num_cold_ratings["test"]
    dropped = manifest.rows_dropped.get("user_without_training_ratings", 0)
    assert kept + dropped == 20_000


def test_a_fold_of_another_source_is_refused():
    with pytest.raises(
        UserError, match=r"u1 is a fold of --source movielens-100k, not of"
    ):
        make_source("movielens-1m", fold="u1")


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "num_test", "num_known", "rmse_of_mean", "rmse_of_biases"),
    [
        ("movielens-1m", 100_021, 95_723, 1.0889, 0.9183),
        ("movielens-100k", 10_000, 2_800, 1.1259, 0.9691),
    ],
)
def test_last_tenth_is_as_hard_as_known(
    name, num_test, num_known, rmse_of_mean, rmse_of_biases, tmp_path
):
    """Bias = mean + item offset + user offset, each damped by 10 ratings."""
    history = to_ratings(load(name, tmp_path))
    users, items = history.users, history.items
    ratings = history.values
    cut = np.sort(history.timestamps)[int(0.9 * len(history))]
    split = make_split("global-time", validation_fraction=0, test_fraction=0.1)
    cuts = {"validation": cut, "test": cut}
    is_test = split.assign(history, 0, cuts) == TEST
    is_train = ~is_test
    assert is_test.sum() == num_test

    def offsets(indices, residuals):
        num = indices.max() + 1
        train = indices[is_train]
        counts = np.bincount(train, minlength=num)
        sums = np.bincount(train, residuals[is_train], minlength=num)
        return (sums / (counts + 10))[indices], (counts > 0)[indices]

    mean = ratings[is_train].mean()
    item_offsets, item_known = offsets(items, ratings - mean)
    user_offsets, user_known = offsets(users, ratings - mean - item_offsets)
    known = is_test & item_known & user_known
    assert known.sum() == num_known
    assert rmse((ratings - mean)[known]) == pytest.approx(
        rmse_of_mean, abs=1e-4
    )
    residuals = ratings - mean - item_offsets - user_offsets
    assert rmse(residuals[known]) == pytest.approx(rmse_of_biases, abs=1e-4)


def rmse(errors):
    return np.sqrt(np.mean(errors**2))

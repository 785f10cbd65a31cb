"""The ratings that data preparation is measured on."""

import numpy as np
import pytest

from benchmarks.netflix_shaped import (
    STEP_VARIANCE,
    Shape,
    generate,
    write_csv,
    write_netflix,
    write_parquet,
)
from data_prep.dataset.manifest import read_manifest
from data_prep.prepare import prepare
from data_prep.sources.registry import make_source
from data_prep.splits.registry import make_split
from tests.data_prep.helpers import read_files

pytestmark = pytest.mark.integration

SHAPE = Shape(60_000)


@pytest.fixture(scope="module")
def blocks():
    return list(generate(SHAPE))


def test_known_noise_is_what_the_oracle_leaves(blocks):
    """The oracle knows every offset and factor: its answer is the signal."""
    ratings = np.concatenate([block.ratings for block in blocks])
    signals = np.concatenate([block.signals for block in blocks])
    fractional = signals - np.floor(signals)
    noise = np.mean(STEP_VARIANCE + fractional * (1 - fractional))
    left = np.mean((ratings - signals) ** 2)
    # Five standard deviations of the mean of as many squared errors.
    assert abs(left - noise) < 5 * np.std((ratings - signals) ** 2) / np.sqrt(
        len(ratings)
    )
    # Nothing is left to explain: residuals have no mean for any item.
    for block in blocks:
        residuals = block.ratings - block.signals
        bound = 5.5 / np.sqrt(len(residuals))
        assert abs(residuals.mean()) < bound
    assert set(np.unique(ratings)) == {1, 2, 3, 4, 5}


def test_users_and_items_are_unequally_active(blocks):
    counts = np.array([len(block.users) for block in blocks])
    assert counts.max() > 10 * np.median(counts)
    users = np.bincount(np.concatenate([block.users for block in blocks]))
    assert users.max() > 10 * np.median(users[users > 0])
    assert abs(counts.sum() / SHAPE.num_ratings - 1) < 0.1


def test_each_user_rates_an_item_once(blocks):
    assert all(len(np.unique(b.users)) == len(b.users) for b in blocks)


@pytest.mark.extended
def test_formats_hold_the_same_ratings(tmp_path):
    split = make_split("netflix-full")
    prepared = []
    for name, write in (
        ("netflix", write_netflix),
        ("parquet", write_parquet),
        ("csv", write_csv),
    ):
        num_ratings = write(SHAPE, str(tmp_path / name))
        source = make_source("files", ratings=str(tmp_path / name))
        output_dir = tmp_path / f"prepared-{name}"
        prepare(source, split, str(output_dir))
        assert read_manifest(str(output_dir)).rows_read == num_ratings
        prepared.append(read_files(output_dir))
        prepared[-1].pop("manifest.json")
    assert prepared[0] == prepared[1] == prepared[2]

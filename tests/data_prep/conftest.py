"""What the tests of data preparation share."""

import importlib.util

import pytest

from data_prep.prepare import prepare
from data_prep.sources.registry import make_source
from data_prep.splits.registry import make_split
from tests.data_prep.helpers import InMemorySource

# `make test-beam` has an environment with Apache Beam.
if importlib.util.find_spec("apache_beam") is None:
    collect_ignore = ["engine/beam_stages_test.py"]


@pytest.fixture(scope="session")
def movielens_1m(tmp_path_factory):
    """MovieLens-1M, prepared as the main job does it."""
    data_dir = str(tmp_path_factory.mktemp("movielens_1m"))
    prepare(make_source("movielens-1m"), make_split("user-time"), data_dir)
    return data_dir


@pytest.fixture
def rows():
    """Sixty users who rate twenty items each, and 0 among the ratings."""
    return [
        (f"u{u}", f"i{(u * 7 + k) % 30}", float((u + k) % 6), 1000.0 * k + u)
        for u in range(60)
        for k in range(20)
    ]


@pytest.fixture
def source(rows):
    return InMemorySource(rows)

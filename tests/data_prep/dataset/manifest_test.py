import dataclasses

import pytest

from data_prep.dataset.errors import UserError
from data_prep.dataset.manifest import (
    Manifest,
    is_prepared,
    read_manifest,
    write_manifest,
)

MANIFEST = Manifest(
    source={"name": "files", "files": [{"name": "a.csv", "sha256": "00"}]},
    split={"name": "random", "test_fraction": 0.1},
    seed=3,
    num_shards=1,
    num_users=2,
    num_items=3,
    num_ratings={"train": 4, "validation": 1, "test": 1},
    rows_read=7,
    rows_dropped={"duplicate": 1},
    rating_min=-10.0,
    rating_max=9.5,
    rating_mean=0.25,
    digests={"items.parquet": "11"},
)


def test_manifest_comes_back_as_it_was_written(tmp_path):
    assert not is_prepared(str(tmp_path))
    write_manifest(MANIFEST, str(tmp_path))
    assert is_prepared(str(tmp_path))
    assert read_manifest(str(tmp_path)) == MANIFEST
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_fingerprint_changes_with_any_field(tmp_path):
    write_manifest(MANIFEST, str(tmp_path))
    assert read_manifest(str(tmp_path)).fingerprint == MANIFEST.fingerprint
    for change in ({"seed": 4}, {"digests": {"items.parquet": "12"}}):
        other = dataclasses.replace(MANIFEST, **change)
        assert other.fingerprint != MANIFEST.fingerprint


def test_data_without_cold_ratings_has_the_fingerprint_of_release_0_1():
    """A job that release 0.1 started goes on with data prepared again."""
    none = dataclasses.replace(
        MANIFEST, num_cold_ratings={"validation": 0, "test": 0}
    )
    some = dataclasses.replace(
        MANIFEST, num_cold_ratings={"validation": 0, "test": 2}
    )
    assert none.fingerprint == MANIFEST.fingerprint == "b69e9a678d2f23fd"
    assert some.fingerprint != MANIFEST.fingerprint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{", "is not readable JSON", id="truncated"),
        pytest.param("[]", "was not written by this version", id="no_object"),
        pytest.param(
            '{"schema_version": 99}', "schema_version=1", id="other_version"
        ),
        pytest.param(
            '{"schema_version": 1}', "and prepare the data again", id="fields"
        ),
    ],
)
def test_unusable_manifest_is_refused(tmp_path, text, message):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read_manifest(str(tmp_path))


def test_directory_that_cannot_hold_a_manifest_is_refused(tmp_path):
    (tmp_path / "ratings.csv").write_text("")
    with pytest.raises(UserError, match="is not prepared data"):
        read_manifest(str(tmp_path / "ratings.csv"))
    with pytest.raises(UserError, match=r"file system https:// is not"):
        read_manifest("https://example.com/data")

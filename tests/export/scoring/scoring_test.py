"""Scoring writes for everybody what a notebook says of each."""

import json
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
import pytest

from data_prep.dataset.manifest import read_manifest
from data_prep.pairs import shard_pairs
from data_prep.prepare import prepare
from data_prep.sources.tables import make_table_source
from data_prep.splits.undivided import Undivided
from export.saved_model import export_job
from export.scoring.answerers import Predictions, Recommendations
from export.scoring.exported_model import ExportedModel, find_version
from export.scoring.scoring import score
from export.scoring.tables import RECOMMENDATIONS
from export.settings import ExportSettings
from tests.serving.small_model import write_model
from trainer.job.paths import JobPaths

pytestmark = pytest.mark.extended

USERS = [f"user-{user}" for user in range(200)]


def read_output(directory):
    """Reads all shards of an output by another reader than wrote them."""
    names = sorted(n for n in os.listdir(directory) if n.startswith("part-"))
    paths = [os.path.join(directory, name) for name in names]
    return pd.concat(map(_read, paths), ignore_index=True)


def _read(path):
    if path.endswith(".parquet"):
        return pq.read_table(path).to_pandas()
    if path.endswith(".csv"):
        return pd.read_csv(path, keep_default_na=False)
    with open(path, encoding="utf-8") as file:
        return pd.DataFrame([json.loads(line) for line in file])


def prepare_users(directory, rows):
    """Prepares the ratings of users: (user, item, rating)."""
    users, items, ratings = zip(*rows, strict=True)
    table = pa.table({"user": users, "item": items, "rating": ratings})
    prepare(make_table_source(table), Undivided(), str(directory), num_shards=3)
    return str(directory)


def score_recommendations(model, data_dir, output, format_="parquet", **kwargs):
    score(Recommendations(model, **kwargs), data_dir, str(output), format_)
    return read_output(output)


@pytest.mark.parametrize("format_", ["parquet", "csv", "jsonl"])
def test_every_format_holds_the_lists_of_a_notebook(
    model, recommender, synthetic_data, tmp_path, format_
):
    scored = score_recommendations(
        model, synthetic_data, tmp_path / "out", format_, top_k=7
    )
    assert list(scored.columns) == RECOMMENDATIONS.names
    expected = recommender.recommend_users(USERS, k=7).to_pandas()
    by_user = dict(iter(scored.groupby("user_id")))
    assert by_user.keys() == set(USERS)
    for user, rows in expected.groupby("user_id"):
        own = by_user[user]
        assert list(own["rank"]) == list(range(1, 8))
        for name in ("score", "predicted_rating"):
            # Batches are other ones, so sums are rounded otherwise.
            np.testing.assert_allclose(own[name], rows[name], atol=1e-4)
        gaps = -np.diff(rows["score"])
        if gaps.min() > 1e-4:
            assert list(own["item_id"]) == list(rows["item_id"])
            assert list(own["title"]) == list(rows["title"])


def test_the_files_are_described_by_a_manifest(model, synthetic_data, tmp_path):
    score_recommendations(model, synthetic_data, tmp_path / "out")
    with open(tmp_path / "out" / "_manifest.json") as file:
        manifest = json.load(file)
    shards = manifest["shards"]
    assert sorted([*shards, "_manifest.json"]) == sorted(
        os.listdir(tmp_path / "out")
    )
    assert sum(shard["num_users"] for shard in shards.values()) == 200
    assert sum(shard["num_rows"] for shard in shards.values()) == 2000
    assert manifest["request"]["top_k"] == 10


#: What a user or an item may be called.
ODD_IDS = ['a,b "c"', "line\nend", "été à 東京", "  7.5", "\\", "'", "{}"]


@pytest.mark.parametrize("format_", ["parquet", "csv", "jsonl"])
def test_odd_ids_of_users_are_read_back(model, tmp_path, format_):
    rows = [(user, "item-1", 7.0) for user in ODD_IDS]
    data_dir = prepare_users(tmp_path / "users", rows)
    scored = score_recommendations(model, data_dir, tmp_path / "out", format_)
    # Blanks around an id are not part of it.
    assert set(scored["user_id"].astype(str)) == {u.strip() for u in ODD_IDS}


def test_unknown_items_are_ignored_and_said(
    model, recommender, tmp_path, caplog
):
    rows = [
        ("one", "item-1", 9.0),
        ("one", "unheard-of", 2.0),
        ("stranger", "unheard-of", 2.0),
    ]
    data_dir = prepare_users(tmp_path / "users", rows)
    scored = score_recommendations(model, data_dir, tmp_path / "out", top_k=3)
    by_user = dict(iter(scored.groupby("user_id")))
    for user, ratings in (("one", {"item-1": 9.0}), ("stranger", {})):
        expected = recommender.recommend(ratings, k=3)["item_id"].to_pylist()
        assert list(by_user[user]["item_id"]) == expected
    assert "does not know 1 of the 2 rated items" in caplog.text


def test_candidates_are_the_only_items(
    model, recommender, synthetic_data, tmp_path
):
    candidates = ["item-3", "item-5", "item-8", "item-13", "unheard-of"]
    scored = score_recommendations(
        model, synthetic_data, tmp_path / "out", top_k=40, candidates=candidates
    )
    everything = recommender.recommend_users(USERS, k=40).to_pandas()
    kept = everything[everything["item_id"].isin(candidates)]
    assert len(scored) == len(kept)
    merged = scored.merge(kept, on=["user_id", "item_id"])
    assert len(merged) == len(kept)
    np.testing.assert_allclose(merged["score_x"], merged["score_y"], atol=1e-4)
    ordered = scored.groupby("user_id")["score"]
    assert ordered.apply(lambda scores: scores.is_monotonic_decreasing).all()


def test_excluded_items_make_room_for_the_next_best(
    model, synthetic_data, tmp_path
):
    every = score_recommendations(
        model, synthetic_data, tmp_path / "every", top_k=20
    )
    excluded = ["item-3", "item-5", "unheard-of"]
    scored = score_recommendations(
        model, synthetic_data, tmp_path / "out", top_k=5, excluded=excluded
    )
    kept = every[~every["item_id"].isin(excluded)]
    expected = kept.groupby("user_id", sort=False).head(5)
    assert list(scored["item_id"]) == list(expected["item_id"])
    assert list(scored["rank"]) == [1, 2, 3, 4, 5] * 200


def test_candidates_that_are_excluded_are_left_out(
    model, synthetic_data, tmp_path
):
    scored = score_recommendations(
        *(model, synthetic_data, tmp_path / "out"),
        candidates=["item-3", "item-5"],
        excluded=["item-5"],
    )
    assert set(scored["item_id"]) == {"item-3"}


def score_pairs(model, data_dir, directory, pairs):
    users, items = zip(*pairs, strict=True)
    table = pa.table({"user": users, "item": items})
    (directory / "pairs").mkdir(parents=True)
    num_shards = read_manifest(data_dir).num_shards
    paths = shard_pairs([table], num_shards, str(directory / "pairs"))
    score(
        Predictions(model, paths), data_dir, str(directory / "out"), "parquet"
    )
    return read_output(directory / "out")


def test_pairs_get_the_predictions_of_a_notebook(
    model, recommender, synthetic_data, tmp_path
):
    pairs = [(user, "item-0") for user in USERS[:150]]
    pairs += [("user-7", "item-9"), ("user-7", "unheard-of"), ("new", "item-2")]
    scored = score_pairs(model, synthetic_data, tmp_path, pairs)
    assert len(scored) == len(pairs)
    found = scored.set_index(["user_id", "item_id"])
    assert set(found.index) == set(pairs)
    assert not found["known"]["user-7", "unheard-of"]
    assert found["known"].sum() == len(pairs) - 1
    ratings = recommender.recommend_users(USERS, k=40).to_pandas()
    expected = ratings.set_index(["user_id", "item_id"])["predicted_rating"]
    unrated = [pair for pair in pairs if pair in expected.index]
    assert len(unrated) > 50
    np.testing.assert_allclose(
        found["predicted_rating"][unrated], expected[unrated], atol=1e-4
    )
    nobody = recommender.predict({}, ["item-2"])
    for name in ("predicted_rating", "standard_deviation"):
        assert found[name]["new", "item-2"] == pytest.approx(
            nobody[name][0].as_py(), abs=1e-4
        )


def test_record_files_without_pairs_are_empty(model, synthetic_data, tmp_path):
    scored = score_pairs(
        model, synthetic_data, tmp_path, [("user-7", "item-9")]
    )
    assert scored["user_id"].tolist() == ["user-7"]


class StoppedError(Exception):
    """A run ends in the middle."""


class StoppedRecommendations(Recommendations):
    """Ends in the middle of the second record file."""

    def answer(self, shard, users):
        for table in super().answer(shard, users):
            yield table
            if shard == 1:
                raise StoppedError


def test_a_stopped_run_goes_on_and_ends_with_the_same_files(
    model, synthetic_data, tmp_path
):
    score_recommendations(model, synthetic_data, tmp_path / "whole")
    stopped = tmp_path / "stopped"
    with pytest.raises(StoppedError, match=r"^$"):
        score(
            StoppedRecommendations(model),
            synthetic_data,
            str(stopped),
            "parquet",
        )
    visible = {n for n in os.listdir(stopped) if not n.startswith(".")}
    # Files are scored together: the third may be complete, too.
    assert visible - {"part-00002-of-00003.parquet"} == {
        "part-00000-of-00003.parquet",
        "_unfinished.json",
    }
    written = (stopped / "part-00000-of-00003.parquet").stat().st_mtime_ns
    score_recommendations(model, synthetic_data, stopped)
    assert written == (
        (stopped / "part-00000-of-00003.parquet").stat().st_mtime_ns
    )
    assert sorted(os.listdir(stopped)) == sorted(os.listdir(tmp_path / "whole"))
    for name in os.listdir(stopped):
        whole = (tmp_path / "whole" / name).read_bytes()
        assert (stopped / name).read_bytes() == whole, name


def test_a_complete_output_is_left_as_it_is(model, synthetic_data, tmp_path):
    score_recommendations(model, synthetic_data, tmp_path / "out")
    before = (tmp_path / "out" / "_manifest.json").stat().st_mtime_ns
    score_recommendations(model, synthetic_data, tmp_path / "out")
    assert (tmp_path / "out" / "_manifest.json").stat().st_mtime_ns == before


def test_a_job_and_the_parent_of_versions_stand_for_the_newest(
    version, tmp_path
):
    parent = os.path.dirname(version)
    assert find_version(version) == version
    assert find_version(parent) == version
    (tmp_path / "export").symlink_to(parent)
    assert find_version(str(tmp_path)) == str(tmp_path / "export" / "1")


def test_mistakes_are_named_with_their_fix(model, synthetic_data, tmp_path):
    refuse = pytest.raises
    with refuse(ValueError, match="nowhere holds no exported model.*export"):
        find_version("/nowhere")
    with refuse(ValueError, match="nowhere is not prepared data"):
        score_recommendations(model, "/nowhere", tmp_path / "out")
    with refuse(ValueError, match="--top-k must be 1 or more. Received: 0"):
        Recommendations(model, 0)
    with refuse(ValueError, match="--candidates: .* knows none of the 1 items"):
        Recommendations(model, candidates=["nothing"])
    with refuse(ValueError, match="leave no item to recommend"):
        Recommendations(model, candidates=["item-1"], excluded=["item-1"])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").touch()
    with refuse(ValueError, match="full is not empty.*--output"):
        score_recommendations(model, synthetic_data, tmp_path / "full")
    score_recommendations(model, synthetic_data, tmp_path / "out")
    with refuse(ValueError, match="top_k was 10 and is 3.*--output"):
        score_recommendations(model, synthetic_data, tmp_path / "out", top_k=3)
    strangers = prepare_users(tmp_path / "strangers", [("u", "thing", 3.0)])
    with refuse(ValueError, match="knows none of the 1 items.*'thing'"):
        score_recommendations(model, strangers, tmp_path / "strange")
    stars = prepare_users(tmp_path / "stars", [("u", "item-1", 50.0)])
    with refuse(ValueError, match="go from 50 to 50.*scale from 0 to 10"):
        score_recommendations(model, stars, tmp_path / "stars-out")


def test_a_model_of_another_kind_is_refused(tmp_path):
    write_model(tmp_path / "1")
    with pytest.raises(ValueError, match="not a model of this version"):
        ExportedModel(str(tmp_path / "1"))


def test_a_damaged_model_is_refused(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"not a model")
    with pytest.raises(ValueError, match="does not hold a SavedModel"):
        ExportedModel(str(tmp_path))


def test_lists_may_be_longer_than_those_of_the_server(
    model, recommender, synthetic_data, tmp_path
):
    scored = score_recommendations(
        *(model, synthetic_data, tmp_path / "out"),
        top_k=100,
        excluded=["item-1"],
    )
    expected = recommender.recommend_users(USERS, k=100).to_pandas()
    expected = expected[expected["item_id"] != "item-1"]
    assert expected.groupby("user_id").size().max() > 5
    pd.testing.assert_series_equal(
        scored.groupby("user_id").size(), expected.groupby("user_id").size()
    )


@pytest.mark.slow
@pytest.mark.parametrize("default", ["recommend_examples", "predict_examples"])
def test_the_default_signature_of_a_model_does_not_matter(
    model, trained_job, synthetic_data, tmp_path, default
):
    paths = JobPaths.resolve(
        trained_job.job_dir, export_dir=str(tmp_path / "export"), environ={}
    )
    other = ExportedModel(
        export_job(paths, ExportSettings(default_signature=default))
    )
    lists = [
        score_recommendations(each, synthetic_data, tmp_path / name)
        for name, each in {"one": model, "other": other}.items()
    ]
    pd.testing.assert_frame_equal(*lists)

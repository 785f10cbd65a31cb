"""What a notebook does with a table of ratings, by `deep_recommender` alone."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from deep_recommender import Recommender
from tests.deep_recommender.conftest import SMALL

pytestmark = pytest.mark.integration

#: The ratings of a new person who likes the even items.
EVEN = {"item-0": 5, "item-2": 5, "item-4": 5, "item-1": 1, "item-3": 1}


def is_even(item_id):
    return int(item_id.removeprefix("item-")) % 2 == 0


def test_a_dataframe_becomes_recommendations(recommender):
    best = recommender.recommend(EVEN, k=10)
    assert best.column_names == [
        *("item_id", "title", "predicted_rating", "score")
    ]
    assert best["score"].equals(best["predicted_rating"])
    assert best.num_rows == 10
    assert all(is_even(item_id) for item_id in best["item_id"].to_pylist())
    predictions = best["predicted_rating"].to_pylist()
    assert predictions == sorted(predictions, reverse=True)
    assert not EVEN.keys() & set(best["item_id"].to_pylist())


def test_metrics_are_those_of_the_job_and_beat_the_biases(recommender):
    metrics = recommender.metrics
    with open(os.path.join(recommender.job_dir, "metrics.json")) as file:
        assert metrics == json.load(file)
    assert metrics["test"]["rmse"] < metrics["baselines"]["biases"]["rmse"]


def test_many_users_get_what_each_gets_alone(recommender, ratings):
    users = [0, 1, 7, 150]
    many = recommender.recommend_users(users, k=5).to_pandas()
    assert list(many["user_id"].unique()) == [str(user) for user in users]
    for user in users:
        own = ratings[ratings["user_id"] == user]
        alone = recommender.recommend(
            zip(own["item_id"], own["rating"], strict=True), k=5
        ).to_pandas()
        part = many[many["user_id"] == str(user)]
        assert list(part["item_id"]) == list(alone["item_id"])
        np.testing.assert_allclose(
            part["predicted_rating"], alone["predicted_rating"], rtol=1e-5
        )
        assert not set(part["item_id"]) & set(own["item_id"])


@pytest.mark.parametrize(
    "to_table",
    [pd.DataFrame, pl.DataFrame, pa.table],
    ids=["pandas", "polars", "arrow"],
)
def test_users_who_come_as_a_table_need_not_be_in_the_data(
    recommender, to_table
):
    table = to_table(
        {
            "user": ["new"] * 5 + ["other"],
            "item": [*EVEN, "item-1"],
            "rating": [*map(float, EVEN.values()), 5.0],
        }
    )
    many = recommender.recommend_users(table, k=3).to_pandas()
    alone = recommender.recommend(EVEN, k=3)["item_id"].to_pylist()
    assert list(many[many["user_id"] == "new"]["item_id"]) == alone
    others = many[many["user_id"] == "other"]["item_id"]
    assert not any(is_even(item_id) for item_id in others)


def test_predictions_keep_the_order_of_the_items(recommender):
    items = ["item-7", "item-6", "unheard-of"]
    answer = recommender.predict(EVEN, items)
    assert answer["item_id"].to_pylist() == items
    assert answer["known"].to_pylist() == [True, True, False]
    odd, even, _ = answer["predicted_rating"].to_pylist()
    assert odd < 3 < even


def test_explanations_name_ratings_of_the_user(recommender):
    reasons = recommender.explain(EVEN, ["item-6", "item-8"]).to_pandas()
    assert set(reasons["item_id"]) == {"item-6", "item-8"}
    assert set(reasons["reason_item_id"]) <= EVEN.keys()
    assert reasons["contribution"].abs().max() > 0


def test_similar_items_are_liked_by_the_same_users(recommender):
    similar = recommender.similar_items("item-0", k=5)
    assert similar["item_id"].to_pylist().count("item-0") == 0
    even = [is_even(item_id) for item_id in similar["item_id"].to_pylist()]
    assert sum(even) >= 4
    similarities = similar["similarity"].to_pylist()
    assert similarities == sorted(similarities, reverse=True)
    assert -1 <= min(similarities) <= max(similarities) <= 1 + 1e-6


def test_what_is_saved_answers_alike_when_it_is_loaded(recommender, tmp_path):
    job_dir = recommender.save(tmp_path / "job")
    loaded = Recommender.load(job_dir)
    assert loaded.recommend(EVEN).equals(recommender.recommend(EVEN))
    assert loaded.metrics == recommender.metrics
    assert loaded.config == recommender.config
    assert loaded.recommend_users([3]).equals(recommender.recommend_users([3]))
    assert loaded.recommend_users([3.0]).equals(loaded.recommend_users(["3"]))


@pytest.mark.slow
def test_the_commands_go_on_with_what_a_notebook_saved(recommender, tmp_path):
    job_dir = recommender.save(tmp_path / "job")
    command = [sys.executable, "-m", "deep_recommender", "export"]
    run = subprocess.run(
        [*command, "--job-dir", job_dir, "--top-k", "5"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert os.path.exists(f"{job_dir}/export/1/saved_model.pb")


@pytest.mark.extended
def test_a_job_of_the_command_opens_in_a_notebook(trained_job, synthetic_data):
    loaded = Recommender.load(trained_job.job_dir, data_dir=synthetic_data)
    best = loaded.recommend({"item-1": 9}, k=3)
    assert best.num_rows == 3
    assert loaded.recommend_users(["user-5"], k=2).num_rows == 2


@pytest.mark.slow
def test_an_export_holds_the_numbers_of_the_notebook(recommender, tmp_path):
    version = recommender.export(tmp_path / "versions", top_k=7)
    assert version == str(tmp_path / "versions" / "1")
    assert os.path.exists(f"{version}/saved_model.pb")


@pytest.mark.slow
def test_a_path_trains_as_its_table_does(recommender, ratings, tmp_path):
    path = tmp_path / "ratings.csv"
    ratings.to_csv(path, index=False)
    by_path = Recommender(**SMALL, num_refeeds=1).fit(path, verbose=False)
    assert by_path.metrics == recommender.metrics


@pytest.mark.slow
def test_fitting_again_goes_on_with_the_job(ratings, tmp_path):
    settings = {**SMALL, "num_epochs": 2}
    first = Recommender(job_dir=tmp_path / "job", **settings)
    first.fit(ratings, verbose=False)
    again = Recommender(job_dir=tmp_path / "job", **settings)
    assert again.fit(ratings, verbose=False).metrics == first.metrics


@pytest.mark.slow
def test_prepared_data_is_taken_as_it_is(synthetic_data):
    recommender = Recommender(**{**SMALL, "num_epochs": 1})
    recommender.fit(synthetic_data, verbose=False)
    assert "data" not in os.listdir(recommender.job_dir)


def test_more_items_than_an_export_answers_may_be_asked_for(recommender):
    assert recommender.recommend(EVEN, k=35).num_rows == 35
    assert recommender.recommend(EVEN, k=1000).num_rows == 35


def test_a_user_without_ratings_gets_an_answer(recommender):
    assert recommender.recommend({}, k=4).num_rows == 4


@pytest.mark.slow
def test_a_temporary_job_goes_when_python_ends(synthetic_data):
    script = (
        "from deep_recommender import Recommender\n"
        "recommender = Recommender('untaught', num_epochs=1)\n"
        f"recommender.fit({synthetic_data!r}, verbose=False)\n"
        "print(recommender.job_dir, recommender.metrics['best_epoch'])"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
    )
    job_dir, best_epoch = run.stdout.split()
    assert best_epoch == "1"
    assert not os.path.exists(job_dir)


def test_a_known_item_among_unknown_ones_is_enough_and_said(
    recommender, caplog
):
    recommender.recommend({"item-0": 5, "Itme-2": 4}, k=1)
    assert "does not know 1 of 2 rated items: 'Itme-2'" in caplog.text


def test_a_recipe_may_be_a_file(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"recipe": "untaught", "hidden_units": [8, 4]}')
    recommender = Recommender(path, num_epochs=3)
    assert (
        recommender.config
        == Recommender("untaught", hidden_units=(8, 4), num_epochs=3).config
    )


#: What a person does -> how they do it, and what they are told.
MISTAKES = {
    "only unknown items": (
        lambda r: r.recommend({"nothing": 5}),
        "does not know 1 of 1 rated items: 'nothing'.*Recommender.items",
    ),
    "off-scale rating": (
        lambda r: r.recommend({"item-0": 9}),
        "from 1 to 5. Received: 9 for 'item-0'",
    ),
    "rating that is no number": (
        lambda r: r.recommend({"item-0": float("nan")}),
        "Received: nan for 'item-0'",
    ),
    "no recommendations": (
        lambda r: r.recommend(EVEN, k=0),
        "`k` must be 1 or more. Received: k=0",
    ),
    "no similar items": (
        lambda r: r.similar_items("item-0", k=0),
        "`k` must be 1 or more. Received: k=0",
    ),
    "unknown item": (
        lambda r: r.similar_items("nothing"),
        "knows no item 'nothing'",
    ),
    "unknown target": (
        lambda r: r.explain(EVEN, ["nothing"]),
        "knows no item 'nothing'",
    ),
    "unknown user": (
        lambda r: r.recommend_users([999]),
        "1 of 1 users are not in .*: 999",
    ),
    "ids of several types": (
        lambda r: r.recommend_users([3, "four"]),
        r"all numbers or all strings. Received: \[3, 'four'\]",
    ),
    "directory in use": (lambda r: r.save(r.job_dir), "is not empty"),
    "unknown recipe": (
        lambda r: Recommender(recipe="soup"),
        "paper, .*recipe='soup'",
    ),
    "unknown setting": (
        lambda r: Recommender(epochs=3),
        "no setting 'epochs'.*num_epochs",
    ),
    "nothing trained": (
        lambda r: Recommender().metrics,
        "nothing was trained yet. Call `fit`",
    ),
    "no job": (lambda r: Recommender.load("/nowhere"), "no trained job"),
    "unknown columns": (
        lambda r: Recommender().fit(pd.DataFrame({"a": [1]})),
        "table has no user column, .*no rating column. Its columns are: a",
    ),
    "not a table": (
        lambda r: Recommender().fit([1, 2, 3]),
        "must be a pandas or polars DataFrame.*Received: list",
    ),
    "no file": (
        lambda r: Recommender().fit("/no/such.csv"),
        "/no/such.csv",
    ),
}


@pytest.mark.parametrize(("ask", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_its_fix(recommender, ask, message):
    with pytest.raises(ValueError, match=message):
        ask(recommender)


@pytest.mark.slow
def test_titles_name_items_as_well_as_ids(ratings, tmp_path):
    titles = tmp_path / "titles.csv"
    lines = [f"item-{item},Film {item} (1999)" for item in range(39)]
    lines.append("item-39,Film 38 (1999)")
    titles.write_text("\n".join(["item_id,title", *lines]))
    recommender = Recommender(**{**SMALL, "num_epochs": 1})
    recommender.fit(ratings, items=titles, verbose=False)
    by_title = recommender.recommend({"Film 0 (1999)": 5}, k=3)
    assert by_title.equals(recommender.recommend({"item-0": 5}, k=3))
    assert by_title["title"].to_pylist()[0].startswith("Film ")
    with pytest.raises(ValueError, match="2 items are called 'Film 38"):
        recommender.similar_items("Film 38 (1999)")
    assert recommender.items.column_names == [
        "item_id",
        "title",
        "num_ratings",
        "mean_rating",
    ]

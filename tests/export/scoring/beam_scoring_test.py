"""Scoring on Beam writes the files of one machine (`make test-beam`)."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from data_prep.dataset.errors import UserError
from data_prep.pairs import shard_pairs
from export.scoring.answerers import Predictions, Recommendations
from export.scoring.beam_scoring import score_on_beam
from export.scoring.scoring import begin, score
from tests.integration.commands import error_line, run

ARGUMENTS = ["--runner=FnApiRunner", "--direct_num_workers=2"]

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("default"),
]


def read_files(directory):
    """The content of all files, those that begin with a point included."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def recommend_three(model):
    return Recommendations(model, top_k=3, excluded=["item-5"])


@pytest.fixture
def predict_pairs(synthetic_data, tmp_path):
    """Asks for two items of each user, known or not."""
    table = pa.table(
        {
            "user": [f"user-{user}" for user in range(210) for _ in "ab"],
            "item": [f"item-{item}" for item in range(42)] * 10,
        }
    )
    (tmp_path / "pairs").mkdir()
    pairs = shard_pairs([table], 3, str(tmp_path / "pairs"))
    return lambda model: Predictions(model, pairs)


@pytest.mark.parametrize("format_", ["parquet", "jsonl", "csv"])
def test_files_of_recommendations_are_those_of_one_machine(
    model, synthetic_data, tmp_path, format_
):
    local, remote = tmp_path / "local", tmp_path / "remote"
    score(recommend_three(model), synthetic_data, str(local), format_)
    output = score_on_beam(
        model.path,
        recommend_three,
        synthetic_data,
        str(remote),
        format_,
        PipelineOptions(ARGUMENTS),
    )
    assert output.count("num_users") == 200
    assert output.count("num_rows") == 600
    assert read_files(remote) == read_files(local)


def test_rows_of_predictions_are_those_of_one_machine(
    model, synthetic_data, predict_pairs, tmp_path
):
    local, remote = tmp_path / "local", tmp_path / "remote"
    score(predict_pairs(model), synthetic_data, str(local), "parquet")
    score_on_beam(
        model.path,
        predict_pairs,
        synthetic_data,
        str(remote),
        "parquet",
        PipelineOptions(ARGUMENTS),
    )
    rows, expected = (
        sorted(
            pq.read_table(path).to_pylist(),
            key=lambda row: (row["user_id"], row["item_id"]),
        )
        for path in (remote, local)
    )
    assert len(rows) == 420
    assert rows == expected


def test_a_scoring_that_one_machine_began_is_gone_on_with(
    model, synthetic_data, tmp_path
):
    local, remote = tmp_path / "local", tmp_path / "remote"
    done = score(recommend_three(model), synthetic_data, str(local), "csv")
    begun = begin(recommend_three(model), synthetic_data, str(remote), "csv")
    # A shard that is complete is not looked at again.
    name = "part-00001-of-00003.csv"
    begun.record({name: done.shards[name]})
    score_on_beam(
        model.path,
        recommend_three,
        synthetic_data,
        str(remote),
        "csv",
        PipelineOptions(ARGUMENTS),
    )
    expected = read_files(local)
    del expected[name]
    assert read_files(remote) == expected


def test_an_output_of_another_request_is_refused(
    model, synthetic_data, tmp_path
):
    begin(Recommendations(model), synthetic_data, str(tmp_path), "csv")
    with pytest.raises(UserError, match="holds what another command scored"):
        score_on_beam(
            model.path,
            recommend_three,
            synthetic_data,
            str(tmp_path),
            "csv",
            PipelineOptions(ARGUMENTS),
        )


@pytest.mark.parametrize("kind", ["recommendations", "pairs"])
def test_command_runs_in_worker_processes(
    version, synthetic_data, tmp_path, kind
):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("user_id,item_id\nuser-3,item-1\nuser-4,item-2\n")
    arguments = ["--model", version, "--data-dir", synthetic_data]
    arguments += ["--pairs", pairs] if kind == "pairs" else []
    code, text, errors = run(
        "export.score_on_beam",
        *(*arguments, "--output", tmp_path / "remote"),
        *("--runner", "FnApiRunner", "--direct_num_workers", "2"),
        "--direct_running_mode=multi_processing",
    )
    assert code == 0, errors
    assert f"Scores: {tmp_path}/remote" in text
    code, _, errors = run(
        "export.score", *arguments, "--output", tmp_path / "local"
    )
    assert code == 0, errors
    assert read_files(tmp_path / "remote") == read_files(tmp_path / "local")


def test_files_of_ratings_are_to_be_prepared_first(version, tmp_path):
    code, _, errors = run(
        *("export.score_on_beam", "--model", version, "--ratings=x.csv"),
        *("--output", tmp_path / "out"),
    )
    assert code == 1
    assert "data_prep.beam_pipeline` first" in error_line(errors)

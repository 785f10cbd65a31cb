"""Publishes taught autoencoders, and ratings on scales of any width."""

import csv
import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from data_prep.prepare import prepare
from data_prep.sources.registry import make_source
from data_prep.splits.registry import make_split
from export.model_card import write_model_card
from export.probe_requests import make_requests
from export.probe_users import make_users, read_users
from export.saved_model import export_job, write_saved_model
from export.settings import RANK_BY, ExportSettings
from export.signatures.signatures import Signatures
from export.verification import ServedModel, check_answers, check_predictions
from tests.export.helpers import make_taught_model, round_matrices
from tests.synthetic import train_small_job
from trainer.job.record import load_job

pytestmark = pytest.mark.extended


@pytest.fixture(scope="module")
def taught_job(trained_job):
    """The small job with a taught autoencoder in place of its model."""
    job = load_job(trained_job)
    model = make_taught_model(job.data.num_items)
    return dataclasses.replace(job, model=model)


def write_version(job, path, rank_by="score"):
    signatures = Signatures(
        job.model,
        job.items,
        (job.data.rating_min, job.data.rating_max),
        top_k=100,
        history_length=16,
        uncertainty=job.uncertainty,
        rank_by=rank_by,
    )
    write_saved_model(signatures, str(path))
    return signatures


@pytest.mark.parametrize(
    "rank_by",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name != "score"))
        for name in RANK_BY
    ],
)
def test_the_cpp_loader_answers_like_the_keras_model(
    taught_job, synthetic_data, trained_job, tmp_path, rank_by
):
    settings = ExportSettings(rank_by=rank_by)
    signatures = write_version(taught_job, tmp_path / "model", rank_by)
    users = read_users(synthetic_data, taught_job.data.num_items)
    requests = make_requests(
        signatures, taught_job.items.item_ids, make_users(taught_job)
    )
    with ServedModel(str(tmp_path / "model")) as served:
        check_answers(served, signatures, requests)
        check_predictions(served, taught_job, users, settings)
        # Another ranking is not taken for it.
        other = RANK_BY[RANK_BY.index(rank_by) - 1]
        with pytest.raises(RuntimeError, match="with other scores"):
            check_predictions(
                served, taught_job, users, ExportSettings(rank_by=other)
            )
        write_model_card(
            str(tmp_path),
            trained_job,
            taught_job,
            settings,
            signatures,
            served.signature_defs,
        )
    card = Path(tmp_path, "assets.extra/model_card.md").read_text()
    assert f"by `scores`: {signatures.predictor.ranks_by}." in card
    assert f"- rank_by: {rank_by}\n" in card
    assert "the output kernel of interest" in card


def test_the_check_of_a_taught_model_allows_for_tf32(
    taught_job, synthetic_data, tmp_path
):
    users = read_users(synthetic_data, taught_job.data.num_items)
    write_version(taught_job, tmp_path / "model")
    rounded = dataclasses.replace(
        taught_job, model=make_taught_model(taught_job.data.num_items)
    )
    arguments = (rounded, users, ExportSettings())
    with ServedModel(str(tmp_path / "model")) as served:
        check_predictions(served, *arguments, "float32")
        round_matrices(rounded.model, num_bits=10)
        check_predictions(served, *arguments, "tensor_float_32")
        with pytest.raises(RuntimeError, match="is not published"):
            check_predictions(served, *arguments, "float32")


@pytest.mark.slow
def test_a_scale_of_ratings_may_be_as_wide_as_that_of_play_counts(tmp_path):
    rng = np.random.default_rng(0)
    with open(tmp_path / "plays.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "item_id", "rating"])
        for user in range(60):
            for item in rng.permutation(40)[:20]:
                count = int(np.clip(rng.lognormal(6, 2), 1, 352_698))
                writer.writerow([f"user-{user}", f"item-{item}", count])
        writer.writerow(["user-0", "item-0", 352_698])
    prepare(
        make_source("files", ratings=str(tmp_path / "plays.csv")),
        make_split("random"),
        str(tmp_path / "data"),
    )
    paths = train_small_job(tmp_path / "job", str(tmp_path / "data"))
    version = export_job(paths, ExportSettings(data_dir=str(tmp_path / "data")))
    assert os.path.exists(os.path.join(version, "saved_model.pb"))

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorboard.plugins.projector import ProjectorConfig

from data_prep.dataset.files import read_json
from data_prep.dataset.items import read_items
from trainer.job.record import load_job
from trainer.training.tensorboard import write_projector

pytestmark = pytest.mark.integration


def read_summaries(trained_job, run):
    """Reads all summaries of a run as pairs of tag and step, and values."""
    (events,) = tf.io.gfile.glob(f"{trained_job.log_dir}/{run}/events.*")
    return {
        (value.tag, event.step): value
        for event in tf.compat.v1.train.summary_iterator(events)
        for value in event.summary.value
    }


def test_every_epoch_has_the_histogram_of_every_trained_weight(trained_job):
    summaries = read_summaries(trained_job, "weights")
    weights = load_job(trained_job).model.trainable_variables
    assert {step for _, step in summaries} == {0, 1, 2}
    assert len(summaries) == 3 * len(weights)


def test_the_test_figures_are_scalars(trained_job):
    metrics = read_json(trained_job.metrics_file)
    summaries = read_summaries(trained_job, "best")
    step = metrics["best_epoch"] - 1
    for tag, expected in (
        ("errors/rmse", metrics["test"]["rmse"]),
        (
            "lists/liked/ndcg@10",
            metrics["ranking"]["network"]["liked/ndcg@10"],
        ),
    ):
        value = tf.make_ndarray(summaries[tag, step].tensor)
        assert value == pytest.approx(expected, rel=1e-6)


def test_the_projector_finds_a_vector_and_a_title_for_every_item(trained_job):
    with open(f"{trained_job.log_dir}/best/projector_config.pbtxt") as file:
        (items,) = text_format.Parse(file.read(), ProjectorConfig()).embeddings
    vectors = np.loadtxt(f"{trained_job.log_dir}/best/{items.tensor_path}")
    job = load_job(trained_job)
    np.testing.assert_allclose(
        vectors, job.model.dense_layers[0].reverse_kernel, rtol=1e-4
    )
    with open(f"{trained_job.log_dir}/best/{items.metadata_path}") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    assert rows[0] == ["title", "training ratings", "mean rating"]
    assert [row[0] for row in rows[1:]] == job.items.item_ids


def test_a_title_stays_in_its_cell(tmp_path, trained_job):
    items = read_items(trained_job.vocabulary_dir)
    items = dataclasses.replace(
        items, titles=["one\ttwo\nthree"] * len(items.titles)
    )
    write_projector(load_job(trained_job).model, items, str(tmp_path))
    lines = (tmp_path / "best/titles.tsv").read_text().splitlines()
    assert len(lines) == 1 + len(items.titles)
    assert lines[1].split("\t")[0] == "one two three"

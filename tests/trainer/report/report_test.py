import dataclasses
import re

import pytest

from data_prep.dataset.files import read_json
from data_prep.dataset.items import read_items
from data_prep.dataset.records import list_shards
from tests.synthetic import prepare_synthetic, train_small_job
from tests.trainer.report.html_page import Page
from trainer.history import read_history
from trainer.input_pipeline import evaluation_batches
from trainer.job_record import load_job
from trainer.report.people import ExtremeUsers
from trainer.report.report import write_report


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return prepare_synthetic(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def paths(tmp_path_factory, data_dir):
    return train_small_job(tmp_path_factory.mktemp("job"), data_dir)


@pytest.fixture(scope="module")
def report(paths):
    with open(paths.report_file) as file:
        return file.read()


def test_a_job_ends_with_a_report_that_needs_no_other_file(report):
    page = Page(report)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    for name, value in page.attributes:
        if name in ("src", "href", "xlink:href"):
            assert value.startswith("#"), (name, value)
    assert not re.search(r"url\((?!#)|@import", report)


def test_every_picture_has_a_description(report):
    page = Page(report)
    labels = [value for name, value in page.attributes if name == "aria-label"]
    assert len(labels) == page.tags.count("svg") > 10
    assert all(len(label) > 20 for label in labels)


def test_the_report_says_what_the_job_measured(report, paths):
    page = Page(report)
    metrics = read_json(paths.metrics_file)
    assert f"{metrics['test']['rmse']:.4f}RMSE of ratings" in page.text
    low, high = (
        metrics["intervals"]["rmse"]["biases"][f"difference_{end}"]
        for end in ("low", "high")
    )
    assert f"[{low:+.4f}, {high:+.4f}]" in page.text
    assert page.text.count("Because of item-") > 5
    assert f"--job-dir={paths.job_dir}" in page.text


def test_every_epoch_has_its_figures(paths):
    history = read_history(paths)
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert all(row["fixed_point_gap"] > 0 for row in history)


def test_titles_are_text_whatever_they_hold(tmp_path, paths, data_dir):
    items = read_items(data_dir)
    title = "<script>alert('$x$')</script> & \"more\""
    items = dataclasses.replace(items, titles=[title] * len(items.titles))
    job = load_job(paths)
    elsewhere = dataclasses.replace(paths, job_dir=str(tmp_path))
    write_report(
        elsewhere,
        job.config,
        data_dir,
        items,
        read_json(paths.metrics_file),
        ExtremeUsers("network"),
        job.model,
        evaluation_batches(
            list_shards(data_dir), len(items.item_ids), 50, "test"
        ),
    )
    with open(elsewhere.report_file) as file:
        page = Page(file.read())
    assert title in page.text
    assert "script" not in page.tags

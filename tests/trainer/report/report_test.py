import dataclasses
import re

import pytest

from data_prep.dataset.files import read_json
from data_prep.dataset.items import read_items
from data_prep.dataset.records import list_shards
from tests.trainer.report.html_page import Page
from trainer.input.input_pipeline import evaluation_batches
from trainer.job.history import read_history
from trainer.job.record import load_job
from trainer.report.people import ExtremeUsers
from trainer.report.report import write_report

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def report(trained_job):
    with open(trained_job.report_file) as file:
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


def test_the_report_says_what_the_job_measured(report, trained_job):
    page = Page(report)
    metrics = read_json(trained_job.metrics_file)
    assert f"{metrics['test']['rmse']:.4f}RMSE of ratings" in page.text
    low, high = (
        metrics["intervals"]["rmse"]["biases"][f"difference_{end}"]
        for end in ("low", "high")
    )
    assert f"[{low:+.4f}, {high:+.4f}]" in page.text
    assert page.text.count("Because of item-") > 5
    coverage = metrics["uncertainty"]["test"]["coverage"]["0.8"]
    assert f"80%{coverage:.1%}" in page.text
    assert f"--job-dir={trained_job.job_dir}" in page.text


def test_every_epoch_has_its_figures(trained_job):
    history = read_history(trained_job)
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert all(row["fixed_point_gap"] > 0 for row in history)


def test_titles_are_text_whatever_they_hold(
    tmp_path, trained_job, synthetic_data
):
    items = read_items(synthetic_data)
    title = "<script>alert('$x$')</script> & \"more\""
    items = dataclasses.replace(items, titles=[title] * len(items.titles))
    job = load_job(trained_job)
    elsewhere = dataclasses.replace(trained_job, record_dir=str(tmp_path))
    write_report(
        elsewhere,
        job.config,
        synthetic_data,
        items,
        read_json(trained_job.metrics_file),
        ExtremeUsers("network"),
        job.model,
        evaluation_batches(
            list_shards(synthetic_data), len(items.item_ids), 50, "test"
        ),
    )
    with open(elsewhere.report_file) as file:
        page = Page(file.read())
    assert title in page.text
    assert "script" not in page.tags

import dataclasses
import shutil

import pytest

from data_prep.dataset.manifest import read_manifest, write_manifest
from tests.trainer.compare.summary_test import record
from tests.trainer.report.html_page import Page
from trainer.compare.folds import read_folds
from trainer.compare.report import write_report
from trainer.compare.summary import summarize


@pytest.fixture
def source(tmp_path, synthetic_data):
    records = [
        record("popularity", 0, None, 0.2),
        record("biases", 0, 1.0, 0.15),
        record("recommended", 0, 0.9, 0.3),
    ]
    summary = summarize({"data": records})
    summary["failures"] = {"ease": "too many <items>"}
    summary["versions"] = {"cornac": "3.0.1"}
    path = tmp_path / "compare.html"
    write_report(
        str(path), summary, read_folds([synthetic_data], str(tmp_path))
    )
    return path.read_text()


def test_the_page_needs_no_other_file(source):
    page = Page(source)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    for name, value in page.attributes:
        assert name not in ("src", "srcset")
        assert not (name == "href" and value and not value.startswith("#"))


def test_the_page_says_who_is_best_and_by_how_much(source):
    text = Page(source).text
    assert "RMSE: best is recipe recommended, 0.9000." in text
    assert (
        "The best of others is user and item biases, 1.0000, which differs from"
        " recipe recommended by +0.1000 [+0.1000, +0.1000]." in text
    )
    assert "EASE is left out: too many <items>" in text
    assert "python -m trainer.compare" in text


def test_charts_describe_themselves(source):
    labels = [
        value for name, value in Page(source).attributes if name == "aria-label"
    ]
    assert labels[0].startswith("RMSE: recipe recommended 0.900, user and")


def test_folds_are_described_tuned_and_made_again_each(
    tmp_path, synthetic_data
):
    other = shutil.copytree(synthetic_data, tmp_path / "other")
    manifest = read_manifest(synthetic_data)
    write_manifest(dataclasses.replace(manifest, seed=1), str(other))
    data_dirs = [synthetic_data, str(other)]
    folds = read_folds(data_dirs, str(tmp_path))
    summary = summarize(
        {fold.name: [record("biases", 0, 1.0, 0.15)] for fold in folds}
    )
    summary |= {"failures": {}, "versions": {}}
    path = tmp_path / "compare.html"
    write_report(str(path), summary, folds)
    text = Page(path.read_text()).text
    assert "the standard deviation over folds" in text
    for fold in folds:
        assert fold.manifest.fingerprint in text
        assert f"user and item biases on {fold.name}" in text
        assert f"--output-dir={fold.data_dir}" in text
    assert f"--data-dir={','.join(data_dirs)}" in text

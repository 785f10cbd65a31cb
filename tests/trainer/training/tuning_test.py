"""A trial tells its tuning service what each epoch is worth."""

import json

import pytest

from tests.synthetic import train_small_job
from trainer.training.tuning import report_to_tuning

pytestmark = pytest.mark.integration


@pytest.fixture
def metric_file(tmp_path):
    return tmp_path / "hypertune" / "output.metrics"


def read_reports(metric_file):
    return [json.loads(line) for line in metric_file.read_text().splitlines()]


def test_a_report_has_the_format_of_the_service_s_library(metric_file):
    environ = {
        "CLOUD_ML_HP_METRIC_FILE": str(metric_file),
        "CLOUD_ML_TRIAL_ID": "7",
    }
    report_to_tuning(0.987, 3, environ)
    text = metric_file.read_text()
    (report,) = read_reports(metric_file)
    assert isinstance(report.pop("timestamp"), float)
    assert report == {
        "checkpoint_path": "",
        "global_step": "3",
        "trial": "7",
        "val_rmse": "0.987",
    }
    assert text.endswith("\n")
    assert text.index("checkpoint_path") < text.index("global_step")
    assert text.index("trial") < text.index("val_rmse")


def test_an_epoch_is_reported_once_and_the_last_hundred_are_kept(metric_file):
    environ = {
        "CLOUD_ML_HP_METRIC_FILE": str(metric_file),
        "CLOUD_ML_HP_METRIC_TAG": "error",
    }
    for epoch in [*range(1, 121), 120]:
        report_to_tuning(1 / epoch, epoch, environ)
    reports = read_reports(metric_file)
    assert [int(each["global_step"]) for each in reports] == list(
        range(21, 121)
    )
    assert all(each["trial"] == "0" and "error" in each for each in reports)


@pytest.mark.slow
def test_a_job_reports_the_validation_rmse_of_each_epoch(
    metric_file, tmp_path, synthetic_data, monkeypatch
):
    monkeypatch.setenv("CLOUD_ML_HP_METRIC_FILE", str(metric_file))
    paths = train_small_job(tmp_path / "job", synthetic_data)
    with open(paths.history_file) as file:
        history = json.load(file)
    reports = read_reports(metric_file)
    assert [each["global_step"] for each in reports] == ["1", "2", "3"]
    assert [float(each["val_rmse"]) for each in reports] == [
        each["val_rmse"] for each in history
    ]

"""Trials of a tuning job, as Vertex AI starts them."""

import json

import pytest

from tests.integration.commands import run, start
from trainer.job.paths import JobPaths
from trainer.job.record import load_job

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_trials_at_the_same_time_stay_apart(tmp_path, synthetic_data):
    rates = {"1": "0.01", "2": "0.002"}
    processes = []
    for trial, rate in rates.items():
        base = tmp_path / trial
        processes.append(
            start(
                "trainer.task",
                *("--job-dir", tmp_path / "shared"),
                *("--data-dir", synthetic_data, "--recipe", "untaught"),
                *("--hidden_units", "16,8", "--num_epochs", "2.0"),
                *("--learning_rate", rate, "--batch_size", "40.0"),
                *("--tie_weights", "false"),
                env={
                    "AIP_MODEL_DIR": f"{base}/model/",
                    "AIP_CHECKPOINT_DIR": f"{base}/checkpoints/",
                    "AIP_TENSORBOARD_LOG_DIR": f"{base}/logs/",
                    "CLOUD_ML_TRIAL_ID": trial,
                    "CLOUD_ML_HP_METRIC_FILE": f"{base}/output.metrics",
                },
            )
        )
    for process in processes:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
    assert not (tmp_path / "shared").exists()
    for trial, rate in rates.items():
        base = tmp_path / trial
        job = load_job(JobPaths.resolve(str(base), environ={}))
        assert job.config.learning_rate == float(rate)
        assert not job.config.tie_weights
        assert (base / "model/1/saved_model.pb").exists()
        reports = (base / "output.metrics").read_text().splitlines()
        assert [json.loads(line)["trial"] for line in reports] == [trial] * 2
        metrics = json.loads((base / "metrics.json").read_text())
        best = json.loads(reports[metrics["best_epoch"] - 1])
        assert float(best["val_rmse"]) == pytest.approx(
            metrics["validation"]["rmse"], rel=1e-6
        )


def test_the_directory_of_a_trial_is_that_of_a_job(tmp_path, synthetic_data):
    base = tmp_path / "1"
    flags = (
        *("--data-dir", synthetic_data, "--recipe=untaught"),
        *("--hidden-units=16,8", "--batch-size=40", "--num-epochs=1"),
    )
    code, _, errors = run(
        *("trainer.task", "--job-dir", tmp_path / "shared", *flags),
        env={"AIP_CHECKPOINT_DIR": f"{base}/checkpoints/"},
    )
    assert code == 0, errors
    code, output, errors = run(
        *("trainer.evaluate", "--job-dir", base, "--data-dir", synthetic_data),
        *("--output", tmp_path / "metrics.json"),
    )
    assert code == 0, errors
    assert "autoencoder, epoch 1" in output
    assert (tmp_path / "metrics.json").read_text() == (
        (base / "metrics.json").read_text()
    )

import json
import os
import random
import resource
import signal
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import tensorflow as tf

from data_prep.dataset.manifest import read_manifest
from data_prep.dataset.records import list_shards, parse_users
from serving.client import Client
from tests.integration.commands import (
    REPOSITORY,
    SMALL_JOB,
    error_line,
    run,
    start,
)
from tests.job_state import assert_same_state
from tests.serving.processes import run_server
from tests.synthetic import write_ratings
from trainer.job.paths import JobPaths
from trainer.job.record import load_job

pytestmark = pytest.mark.extended


@pytest.fixture(scope="module")
def job(tmp_path_factory, synthetic_data):
    """A finished job: its directory and what the command printed."""
    job_dir = tmp_path_factory.mktemp("jobs") / "job"
    code, output, errors = run(
        "trainer.task",
        *("--job-dir", job_dir, "--data-dir", synthetic_data),
        *SMALL_JOB,
    )
    assert code == 0, errors
    return job_dir, output, errors


def test_a_job_leaves_everything_under_its_directory(job):
    job_dir, _, _ = job
    assert {path.name for path in job_dir.iterdir()} == {
        "checkpoints",
        "config.json",
        "export",
        "logs",
        "metrics.json",
        "report.html",
        "vocabulary",
    }
    assert [path.name for path in (job_dir / "export").iterdir()] == ["1"]


def test_a_job_shows_progress_and_ends_with_recommendations(job):
    job_dir, output, errors = job
    for epoch in (1, 2, 3):
        assert f"epoch {epoch}/3: training loss" in errors
    assert "users/s" in errors
    assert "user and item biases" in output
    recommended = output.partition("recommends")[2]
    assert recommended.count("item-") == 10
    assert f"SavedModel: {job_dir}/export/1" in output


@pytest.mark.slow
def test_a_taught_job_shows_its_teachers_and_measures_them(
    tmp_path, synthetic_data
):
    code, output, errors = run(
        "trainer.task",
        *("--job-dir", tmp_path, "--data-dir", synthetic_data),
        *SMALL_JOB,
        *("--recipe=recommended", "--teacher-rank=2", "--teacher-sweeps=10"),
        "--teacher-samples=4",
    )
    assert code == 0, errors
    assert "Bayesian factorization: sweep 10/10" in errors
    assert "epoch 3/3: training loss" in errors
    for name in ("Bayesian factorization", "EASE", "popularity"):
        assert f"  {name} " in output
    assert "NDCG@10" in output
    assert output.partition("recommends")[2].count("item-") == 10


@pytest.mark.slow
def test_a_job_prepares_the_managed_dataset_of_the_platform(tmp_path):
    write_ratings(tmp_path / "all.csv")
    header, *lines = (tmp_path / "all.csv").read_text().splitlines()
    parts = {"training": lines[::2], "validation": lines[1::4]}
    parts["test"] = lines[3::4]
    for name, part in parts.items():
        path = tmp_path / f"{name}-00000-of-00001.csv"
        path.write_text("\n".join([header, *part]))
    code, _, errors = run(
        "trainer.task",
        *("--job-dir", tmp_path / "job"),
        *SMALL_JOB,
        env={
            f"AIP_{name.upper()}_DATA_URI": f"{tmp_path}/{name}-*.csv"
            for name in parts
        },
    )
    assert code == 0, errors
    num_ratings = read_manifest(str(tmp_path / "job/data")).num_ratings
    assert num_ratings["test"] == len(parts["test"])
    assert num_ratings["train"] + num_ratings["validation"] == (
        len(parts["training"]) + len(parts["validation"])
    )


def test_a_real_server_answers_a_client_with_the_keras_model_s_numbers(
    job, synthetic_data
):
    job_dir, _, _ = job
    trained = load_job(JobPaths.resolve(str(job_dir), environ={}))
    users = tf.data.TFRecordDataset(list_shards(synthetic_data)).batch(3)
    histories = parse_users(
        next(iter(users)), trained.data.num_items, ["train"]
    )["train"]
    expected = trained.model(histories).numpy()
    item_ids = trained.items.item_ids
    with run_server(job_dir / "export") as server:
        client = Client(server.url)
        for user in range(3):
            rated = histories.indices[:, 0] == user
            ratings = {
                item_ids[item]: float(rating)
                for (_, item), rating in zip(
                    histories.indices.numpy()[rated],
                    histories.values.numpy()[rated],
                    strict=True,
                )
            }
            answer = client.predict(ratings, item_ids)
            np.testing.assert_allclose(
                [item.predicted_rating for item in answer.items],
                expected[user],
                rtol=1e-5,
                atol=1e-5,
            )
            assert answer.num_known_items == len(ratings)
            recommended = client.recommend(ratings).items
            unrated = [i for i in item_ids if i not in ratings]
            assert [item.item_id for item in recommended] == sorted(
                unrated, key=lambda i: -expected[user][item_ids.index(i)]
            )


@pytest.mark.slow
def test_started_again_a_finished_job_repeats_its_answer(job, synthetic_data):
    job_dir, output, _ = job
    code, again, errors = run(
        "trainer.task",
        *("--job_dir", job_dir, "--data_dir", synthetic_data),
        *(flag.replace("-", "_").replace("__", "--") for flag in SMALL_JOB),
    )
    assert code == 0, errors
    assert again == output
    assert [path.name for path in (job_dir / "export").iterdir()] == ["1"]


@pytest.mark.slow
def test_a_job_killed_at_any_step_ends_with_the_weights_of_one_that_was_not(
    tmp_path, synthetic_data
):
    flags = (
        *("--data-dir", synthetic_data),
        *("--hidden-units=16,8", "--batch-size=10", "--num-epochs=60"),
    )
    whole = start("trainer.task", "--job-dir", tmp_path / "whole", *flags)
    killed = start("trainer.task", "--job-dir", tmp_path / "killed", *flags)
    last_epoch = random.Random(os.urandom(8)).randrange(2, 40)
    for line in killed.stderr:
        if f"epoch {last_epoch}/60" in line:
            killed.send_signal(signal.SIGKILL)
            break
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed/metrics.json").exists()
    _, whole_errors = whole.communicate()
    assert whole.returncode == 0, whole_errors

    code, _, errors = run(
        "trainer.task", "--job-dir", tmp_path / "killed", *flags
    )
    assert code == 0, errors
    assert "epoch 1/60" not in errors
    assert_same_state(
        *(tmp_path / name / "checkpoints" for name in ("whole", "killed"))
    )
    metrics = [
        (tmp_path / name / "metrics.json").read_text()
        for name in ("whole", "killed")
    ]
    assert metrics[0] == metrics[1]


@pytest.mark.slow
def test_vertex_ai_s_variables_say_where_things_go(tmp_path, synthetic_data):
    trial = tmp_path / "trial"
    code, output, errors = run(
        "trainer.task",
        *("--job-dir", tmp_path / "job", "--data-dir", synthetic_data),
        *SMALL_JOB,
        env={
            "AIP_MODEL_DIR": f"{tmp_path}/model/",
            "AIP_CHECKPOINT_DIR": f"{trial}/checkpoints/",
            "AIP_TENSORBOARD_LOG_DIR": f"{tmp_path}/logs/",
        },
    )
    assert code == 0, errors
    assert (tmp_path / "model/1/saved_model.pb").exists()
    assert list((tmp_path / "logs").rglob("events.*"))
    # The record lies with the checkpoints: trials share --job-dir.
    assert not (tmp_path / "job").exists()
    assert {path.name for path in trial.iterdir()} == {
        "checkpoints",
        "config.json",
        "metrics.json",
        "report.html",
        "vocabulary",
    }
    assert (trial / "checkpoints/latest/checkpoint").exists()
    code, output, errors = run(
        "export.task",
        *("--job-dir", trial, "--export-dir", tmp_path / "elsewhere"),
    )
    assert code == 0, errors
    assert output == f"Exported {tmp_path}/elsewhere/1\n"


@pytest.mark.parametrize(
    ("flags", "exit_code", "message"),
    [
        (["--job-dri=x"], 2, "Unknown command line flag 'job_dri'"),
        pytest.param(
            [], 2, "error: --job-dir is missing.", marks=pytest.mark.slow
        ),
        pytest.param(
            ["--job-dir=x", "stray"],
            2,
            "unexpected argument 'stray'",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--job-dir=x", "--recipe=best"],
            1,
            "ends in .json. Received: recipe='best'",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--job-dir=x", "--batch-size=many"],
            2,
            "batch_size",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--job-dir=x", "--hidden-units=64,big"],
            1,
            "64,big",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--job-dir=x", "--dropout-rate=80"],
            1,
            "not a percentage",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--job-dir=x", "--optimizer=sgd"],
            1,
            "one of momentum, adam",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--job-dir=x", "--data-dir=x"],
            1,
            "x is not prepared data",
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_told_in_one_line(tmp_path, flags, exit_code, message):
    code, _, errors = run(
        "trainer.task", *flags, cwd=tmp_path, env={"PYTHONPATH": REPOSITORY}
    )
    assert code == exit_code
    assert message in error_line(errors)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_another_configuration_is_told_in_one_line(job, synthetic_data):
    job_dir, _, _ = job
    code, _, errors = run(
        "trainer.task",
        *("--job-dir", job_dir, "--data-dir", synthetic_data),
        *SMALL_JOB,
        "--learning-rate=0.5",
    )
    assert code == 1
    assert "learning_rate was" in error_line(errors)


@pytest.mark.slow
def test_a_full_disk_is_told_in_one_line_and_the_job_goes_on_later(
    tmp_path, synthetic_data
):
    arguments = (
        *("--job-dir", tmp_path / "job", "--data-dir", synthetic_data),
        *SMALL_JOB,
    )

    def limit_file_size():
        # A checkpoint of this job is larger: its write fails half-way, as on
        # a full disk.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    code, _, errors = run(
        "trainer.task", *arguments, preexec_fn=limit_file_size
    )
    assert code == 1
    assert "cannot write a checkpoint" in error_line(errors)
    assert not (tmp_path / "job/metrics.json").exists()
    code, _, errors = run("export.task", "--job-dir", tmp_path / "job")
    assert code == 1
    assert "holds no trained job" in error_line(errors)
    code, _, errors = run("trainer.task", *arguments)
    assert code == 0, errors


@pytest.mark.slow
def test_the_source_distribution_runs_away_from_the_source_tree(
    tmp_path, synthetic_data
):
    subprocess.run(
        [
            *(sys.executable, "setup.py", "-q"),
            *("egg_info", "--egg-base", tmp_path),
            *("sdist", "--dist-dir", tmp_path),
        ],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    assert "setup.py" in names
    assert not [name for name in names if name.startswith("tests")]
    site = tmp_path / "site"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "-q", "--no-deps"),
            *("--no-build-isolation", "--target", site, sdist),
        ],
        check=True,
    )
    code, output, errors = run(
        "trainer.task",
        *("--job-dir", "job", "--data-dir", synthetic_data),
        *SMALL_JOB,
        cwd=tmp_path,
        env={"PYTHONPATH": str(site)},
    )
    assert code == 0, errors
    assert "SavedModel: job/export/1" in output
    metrics = json.loads((tmp_path / "job/metrics.json").read_text())
    assert metrics["test"]["num_ratings"] > 0

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from data_prep.dataset.errors import UserError
from data_prep.dataset.files import read_json, write_json
from data_prep.dataset.manifest import read_manifest
from tests.integration.commands import error_line, run, start
from tests.synthetic import reverse_test_ratings
from trainer.job.lease import hold_lease
from trainer.job.paths import JobPaths
from trainer.job.record import read_config
from trainer.recipes import make_config
from trainer.search.records import State, Trial, read_trials, write_trial
from trainer.search.search import run_search
from trainer.search.space import SPACE

#: Recipes under which a trial trains in seconds.
UNTAUGHT = {
    "recipe": "untaught",
    "hidden_units": [16, 8],
    "batch_size": 40,
    "num_epochs": 3,
}
TAUGHT = {
    "recipe": "quickstart",
    "hidden_units": [16, 8],
    "num_epochs": 2,
    "teacher_rank": 2,
    "teacher_sweeps": 20,
    "teacher_samples": 8,
}


def write_recipe(directory, recipe):
    path = directory / "small.json"
    path.write_text(json.dumps(recipe))
    return str(path)


def flags(data_dir, job_dir, recipe, num_trials, **others):
    return [
        f"--{name.replace('_', '-')}={value}"
        for name, value in {
            "data_dir": data_dir,
            "job_dir": job_dir,
            "recipe": recipe,
            "num_trials": num_trials,
            **others,
        }.items()
    ]


def outcomes(job_dir):
    """What a search leaves: the record of every trial, and the recipe."""
    return read_trials(str(job_dir), list(SPACE)), read_json(
        os.path.join(job_dir, "recipe.json")
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_trials": 0}, "`num_trials` must be at least 1.*num_trials=0"),
        ({"num_jobs": 0}, "`jobs` must be at least 1. Received: jobs=0"),
        ({"recipe": "soup"}, "one of paper, .*ends in .json.*recipe='soup'"),
        ({"data_dir": "/nowhere"}, "/nowhere is not prepared data"),
    ],
    ids=["trials", "jobs", "recipe", "data"],
)
def test_arguments_are_checked_first(
    arguments, message, tmp_path, synthetic_data
):
    good = {
        "data_dir": synthetic_data,
        "job_dir": str(tmp_path / "search"),
        "recipe": "untaught",
        "num_trials": 1,
        "num_jobs": 1,
        "seed": 0,
    }
    with pytest.raises(UserError, match=message):
        run_search(**{**good, **arguments})
    assert not (tmp_path / "search").exists()


def test_a_search_of_other_settings_is_refused(tmp_path, synthetic_data):
    write_json(str(tmp_path / "search.json"), {"recipe": "paper", "seed": 1})
    with pytest.raises(
        UserError,
        match=r"holds another search: .*recipe was 'paper' and is 'untaught';"
        r" seed was 1 and is 0; .* Give the flags of that search",
    ):
        run_search(synthetic_data, str(tmp_path), "untaught", 1, 1, 0)


def test_a_second_search_in_the_directory_is_refused(tmp_path, synthetic_data):
    with (
        hold_lease(str(tmp_path / "lease.json")),
        # A lease of this very process counts as one of an earlier container.
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(os, "getpid", os.getppid)
        with pytest.raises(UserError, match=r"another run trains in .*process"):
            run_search(synthetic_data, str(tmp_path), "untaught", 1, 1, 0)


@pytest.mark.extended
def test_without_its_library_a_search_says_what_brings_it():
    code = """
import runpy
import sys

sys.modules["optuna"] = None
sys.argv = ["search", "--data_dir=data", "--job_dir=job"]
runpy.run_module("trainer.search", run_name="__main__")
"""
    process = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert error_line(process.stderr) == (
        "error: this command needs `optuna`. pip install"
        " 'deep-recommender[search]' brings it."
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, synthetic_data):
    """A recipe, and the directory of a search that nobody disturbed."""
    directory = tmp_path_factory.mktemp("searches")
    recipe = write_recipe(directory, UNTAUGHT)
    job_dir = directory / "whole"
    code, output, errors = run(
        "trainer.search", *flags(synthetic_data, job_dir, recipe, 3)
    )
    assert code == 0, errors
    assert f"{job_dir}/recipe.json" in output
    return recipe, job_dir


@pytest.mark.slow
def test_the_best_trial_becomes_a_recipe_that_makes_its_job(
    undisturbed, synthetic_data
):
    _, job_dir = undisturbed
    trials, recipe = outcomes(job_dir)
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert trials[0].values["hidden_units"] == "16,8"
    best = min(
        (trial for trial in trials if trial.state == State.COMPLETE),
        key=lambda trial: trial.val_rmse,
    )
    assert best.val_rmse <= trials[0].val_rmse
    paths = JobPaths.resolve(
        os.path.join(job_dir, f"trial-{best.number:04d}"), environ={}
    )
    manifest = read_manifest(synthetic_data)
    assert read_config(paths) == make_config(
        os.path.join(job_dir, "recipe.json"),
        {},
        manifest.num_users,
        manifest.num_items,
    )
    assert recipe["recipe"] == "untaught"


@pytest.mark.slow
def test_the_best_trial_is_measured_without_training_anew(
    undisturbed, tmp_path, synthetic_data
):
    shutil.copytree(undisturbed[1] / "trial-0000", tmp_path / "job")
    code, _, errors = run(
        *("trainer.task", "--job-dir", tmp_path / "job"),
        *("--data-dir", synthetic_data),
    )
    assert code == 0, errors
    assert "epoch 1/3" not in errors
    metrics = read_json(str(tmp_path / "job/metrics.json"))
    trials, _ = outcomes(undisturbed[1])
    assert metrics["validation"]["rmse"] == trials[0].val_rmse
    assert (tmp_path / "job/export/1/saved_model.pb").exists()


@pytest.mark.slow
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_a_search_that_was_ended_goes_on_to_the_same_study(
    signal_number, undisturbed, tmp_path, synthetic_data
):
    recipe, whole = undisturbed
    arguments = flags(synthetic_data, tmp_path, recipe, 3)
    process = start("trainer.search", *arguments)
    for line in process.stderr:
        if "Trial 1 of 3" in line:
            break
    history = tmp_path / "trial-0001/checkpoints/history.json"
    while not history.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal_number)
    process.communicate(timeout=60)
    assert process.returncode == (
        143 if signal_number == signal.SIGTERM else -signal.SIGKILL
    )
    assert read_trials(str(tmp_path), list(SPACE))[1].state == State.RUNNING
    code, _, errors = run("trainer.search", *arguments)
    assert code == 0, errors
    assert "Goes on: 1 trials have ended." in errors
    assert outcomes(tmp_path) == outcomes(whole)


@pytest.mark.slow
def test_a_finished_search_repeats_its_answer_and_may_get_more_trials(
    undisturbed, tmp_path, synthetic_data
):
    recipe, whole = undisturbed
    shutil.copytree(whole, tmp_path / "copy")
    arguments = flags(synthetic_data, tmp_path / "copy", recipe, 3)
    code, output, errors = run("trainer.search", *arguments)
    assert code == 0, errors
    assert "Trial" not in errors
    assert "trainer.task" in output
    code, _, errors = run(
        "trainer.search",
        *flags(synthetic_data, tmp_path / "copy", recipe, 4),
    )
    assert code == 0, errors
    trials, _ = outcomes(tmp_path / "copy")
    assert trials[:3] == outcomes(whole)[0]
    assert len(trials) == 4


@pytest.mark.slow
def test_taught_trials_share_their_teachers_and_run_at_the_same_time(
    tmp_path, synthetic_data
):
    recipe = write_recipe(tmp_path, TAUGHT)
    code, _, errors = run(
        "trainer.search",
        *flags(synthetic_data, tmp_path / "search", recipe, 3, jobs=2),
    )
    assert code == 0, errors
    places = [
        tmp_path
        / "search"
        / place
        / "checkpoints/teachers/rating_teacher.keras"
        for place in (".", "trial-0000", "trial-0001", "trial-0002")
    ]
    assert len({place.stat().st_ino for place in places}) == 1
    trials, _ = outcomes(tmp_path / "search")
    assert {trial.state for trial in trials} == {State.COMPLETE}


@pytest.mark.slow
def test_the_test_ratings_change_nothing(tmp_path, synthetic_data):
    other_data = reverse_test_ratings(synthetic_data, tmp_path / "data")
    recipe = write_recipe(tmp_path, TAUGHT)
    for name, data_dir in (("one", synthetic_data), ("other", other_data)):
        run_search(data_dir, str(tmp_path / name), recipe, 1, 1, 0)
    assert outcomes(tmp_path / "one") == outcomes(tmp_path / "other")


@pytest.mark.slow
def test_a_trial_that_is_behind_is_stopped_and_counts_up_to_there(
    undisturbed, tmp_path, synthetic_data
):
    recipe, whole = undisturbed
    shutil.copytree(whole, tmp_path / "copy")
    trials, _ = outcomes(whole)
    ahead = {"val_rmse": 0.2, "val_rmse_by_epoch": (0.3, 0.2, 0.2)}
    for number in range(4):
        trial = dataclasses.replace(trials[0], number=number, **ahead)
        write_trial(str(tmp_path / "copy"), trial)
    trials = run_search(synthetic_data, str(tmp_path / "copy"), recipe, 5, 1, 0)
    assert trials[4].state == State.PRUNED
    assert trials[4].val_rmse is None
    # Of three epochs the first tells too little.
    assert len(trials[4].val_rmse_by_epoch) == 2


@pytest.mark.slow
def test_a_trial_that_cannot_be_trained_is_left_behind(
    undisturbed, tmp_path, synthetic_data
):
    recipe, whole = undisturbed
    shutil.copytree(whole, tmp_path / "copy")
    base = outcomes(whole)[0][0]
    for number, values in (
        (3, {"learning_rate": 1e30}),
        (4, {"hidden_units": "1000000,1000000"}),
    ):
        trial = Trial(number, {**base.values, **values})
        write_trial(str(tmp_path / "copy"), trial)
    trials = run_search(synthetic_data, str(tmp_path / "copy"), recipe, 5, 1, 0)
    assert trials[3].state == State.DIVERGED
    assert "the loss became" in trials[3].reason
    assert trials[4].state == State.FAILED
    assert "too little memory" in trials[4].reason


@pytest.mark.slow
def test_a_recipe_that_no_job_can_train_ends_the_search(
    tmp_path, synthetic_data
):
    recipe = write_recipe(tmp_path, {**UNTAUGHT, "batch_size": 4000})
    code, _, errors = run(
        "trainer.search", *flags(synthetic_data, tmp_path / "s", recipe, 3)
    )
    assert code == 1
    assert "trial 0: `batch_size` must be at most" in error_line(errors)

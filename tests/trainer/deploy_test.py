import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from optuna.distributions import CategoricalDistribution, IntDistribution

from trainer.search.space import SPACE
from trainer.training import tuning

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "trainer/deploy"
JOBS = sorted(DEPLOY.glob("vertex_ai/*.yaml"))

#: Parses command lines as `trainer.task` does, without running it.
PARSE = """
import json, sys
from data_prep import command_line
import trainer.task
for line in json.loads(sys.argv[1]):
    command_line._parse_flags(["trainer.task", *line], None)
"""


def read(path):
    return yaml.safe_load(path.read_text())


def pools(job):
    return job.get("trialJobSpec", job)["workerPoolSpecs"]


def some_values(parameter):
    for name, spec in parameter.items():
        if name in ("doubleValueSpec", "integerValueSpec"):
            return list(spec.values())
        if name in ("discreteValueSpec", "categoricalValueSpec"):
            return spec["values"]
    raise AssertionError(parameter)


def test_there_is_a_file_for_each_kind_of_job():
    assert [path.name for path in JOBS] == [
        "custom_job.yaml",
        "several_workers_job.yaml",
        "spot_job.yaml",
        "tuning_job.yaml",
    ]
    readme = (DEPLOY / "README.md").read_text()
    for path in JOBS:
        assert f"`vertex_ai/{path.name}`" in readme


@pytest.mark.extended
def test_the_command_takes_the_flags_of_every_job_and_trial():
    lines = [
        pool["containerSpec"]["args"]
        for path in JOBS
        for pool in pools(read(path))
    ]
    tuned = read(DEPLOY / "vertex_ai/tuning_job.yaml")
    of_study = tuned["studySpec"]["parameters"]
    for pick in (0, -1):
        lines.append(
            [
                *pools(tuned)[0]["containerSpec"]["args"],
                *(
                    word
                    for parameter in of_study
                    for word in (
                        f"--{parameter['parameterId']}",
                        str(some_values(parameter)[pick]),
                    )
                ),
            ]
        )
    run = subprocess.run(
        [sys.executable, "-c", PARSE, json.dumps(lines)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def to_parameter(name, distribution):
    """Describes a setting of the search as a study of Vertex AI does."""
    parameter = {"parameterId": name}
    if getattr(distribution, "log", False):
        parameter["scaleType"] = "UNIT_LOG_SCALE"
    if isinstance(distribution, CategoricalDistribution):
        values = list(distribution.choices)
        kind = "categorical" if isinstance(values[0], str) else "discrete"
        return {**parameter, f"{kind}ValueSpec": {"values": values}}
    kind = "integer" if isinstance(distribution, IntDistribution) else "double"
    bounds = {"minValue": distribution.low, "maxValue": distribution.high}
    return {**parameter, f"{kind}ValueSpec": bounds}


def test_the_study_has_the_space_of_the_search():
    study = read(DEPLOY / "vertex_ai/tuning_job.yaml")["studySpec"]
    assert study["parameters"] == [
        to_parameter(name, distribution) for name, distribution in SPACE.items()
    ]


def test_the_study_minimizes_what_the_job_reports(tmp_path):
    study = read(DEPLOY / "vertex_ai/tuning_job.yaml")["studySpec"]
    (metric,) = study["metrics"]
    file = tmp_path / "metrics"
    tuning.report_to_tuning(
        0.9, 1, environ={"CLOUD_ML_HP_METRIC_FILE": str(file)}
    )
    assert metric["goal"] == "MINIMIZE"
    assert metric["metricId"] in json.loads(file.read_text())


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_a_job_has_one_chief(path):
    assert pools(read(path))[0]["replicaCount"] == 1


def test_workers_that_lose_one_start_together():
    job = read(DEPLOY / "vertex_ai/several_workers_job.yaml")
    assert job["scheduling"]["restartJobOnWorkerRestart"] is True


def test_the_image_has_every_package_of_the_project():
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    copied = set(re.findall(r"^COPY (\w+) \1$", dockerfile, re.MULTILINE))
    packages = re.search(
        r"include=\[(.*?)\]", (REPOSITORY / "setup.py").read_text(), re.DOTALL
    )
    assert copied == set(re.findall(r'"(\w+)\*"', packages[1]))

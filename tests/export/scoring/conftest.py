"""An exported model, users in prepared data, and what is known of both."""

import importlib.util

import pytest

from deep_recommender import Recommender
from export.saved_model import export_job
from export.scoring.exported_model import ExportedModel, find_version
from export.settings import ExportSettings
from trainer.job.paths import JobPaths

if importlib.util.find_spec("apache_beam") is None:
    collect_ignore = ["beam_scoring_test.py"]


@pytest.fixture(scope="package")
def version(tmp_path_factory, trained_job, synthetic_data):
    """A version that recommends 5 of its 40 items."""
    paths = JobPaths.resolve(
        trained_job.job_dir,
        export_dir=str(tmp_path_factory.mktemp("export")),
        environ={},
    )
    settings = ExportSettings(top_k=5, data_dir=synthetic_data)
    return export_job(paths, settings)


@pytest.fixture(scope="package")
def model(version):
    return ExportedModel(find_version(version))


@pytest.fixture(scope="package")
def recommender(trained_job, synthetic_data):
    """The trained job in a notebook, which answers from the Keras model."""
    return Recommender.load(trained_job.job_dir, data_dir=synthetic_data)

"""The dataset that Vertex AI hands to a job."""

import pytest

from data_prep.dataset.errors import UserError
from trainer.input.managed_dataset import find_managed_dataset

TRAINING = "gs://bucket/training-*.csv"
VALIDATION = "gs://bucket/validation-*.csv"
TEST = "gs://bucket/test-*.csv"


def test_training_and_validation_are_trained_on_and_the_test_set_is_kept():
    environ = {
        "AIP_DATA_FORMAT": "csv",
        "AIP_TRAINING_DATA_URI": TRAINING,
        "AIP_VALIDATION_DATA_URI": VALIDATION,
        "AIP_TEST_DATA_URI": TEST,
    }
    assert find_managed_dataset(environ) == (f"{TRAINING},{VALIDATION}", TEST)


def test_a_dataset_need_not_be_divided():
    environ = {"AIP_TRAINING_DATA_URI": TRAINING}
    assert find_managed_dataset(environ) == (TRAINING, None)


def test_most_jobs_have_none():
    assert find_managed_dataset({"AIP_MODEL_DIR": "gs://bucket/model/"}) is None


def test_a_dataset_in_bigquery_is_refused_by_name():
    environ = {
        "AIP_DATA_FORMAT": "bigquery",
        "AIP_TRAINING_DATA_URI": "bq://project.dataset.training",
    }
    with pytest.raises(UserError, match=r"CSV files.*bigquery.*--data-dir"):
        find_managed_dataset(environ)

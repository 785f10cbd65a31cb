"""What every test starts from: seeds of its own, two replicas' devices."""

import os

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf

# Two devices on one processor, so that tests can train on two replicas.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)


@pytest.fixture(autouse=True)
def _seeds():
    keras.utils.set_random_seed(2017)


@pytest.fixture(scope="session")
def synthetic_data(tmp_path_factory):
    """Directory of 200 users' prepared ratings of 40 items."""
    from tests.synthetic import prepare_synthetic

    return prepare_synthetic(tmp_path_factory.mktemp("synthetic"))


@pytest.fixture(scope="session")
def trained_job(tmp_path_factory, synthetic_data):
    """Places of a small job, trained on the synthetic data."""
    from tests.synthetic import train_small_job

    return train_small_job(tmp_path_factory.mktemp("job"), synthetic_data)

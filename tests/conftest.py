"""What every test starts from: seeds of its own, devices of replicas."""

import os

import hypothesis
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# How long an example takes says something of the machine, not of the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_configure(config):
    """Sets TensorFlow up, but for the process that hands tests to others."""
    hands_out = config.getoption("numprocesses", default=None)
    if hands_out and not hasattr(config, "workerinput"):
        return
    import tensorflow as tf

    # Devices on one processor, so that tests can train on several replicas.
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 3,
    )


@pytest.fixture(autouse=True)
def _seeds():
    import keras

    keras.utils.set_random_seed(2017)


def _mirror(num_replicas):
    """Makes a strategy of replicas on one processor.

    It reduces without collective operations: these remember shapes for the
    life of a process, in which a job has one strategy and tests have many.
    """
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(
        [f"CPU:{i}" for i in range(num_replicas)],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )


@pytest.fixture
def two_replicas():
    """A strategy of two replicas on one processor."""
    return _mirror(2)


@pytest.fixture
def three_replicas():
    """A strategy of three replicas on one processor."""
    return _mirror(3)


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

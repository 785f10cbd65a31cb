"""What every test starts from: a seed of its own and small thread pools."""

import os

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.fixture(autouse=True)
def _seed():
    import keras

    keras.utils.set_random_seed(2017)

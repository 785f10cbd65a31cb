"""Jobs that replicas of one process train, against jobs of one device."""

import dataclasses

import pytest
import tensorflow as tf

from tests.job_state import assert_close_state
from trainer.job.paths import JobPaths
from trainer.recipes import RECIPES
from trainer.training.train import train

pytestmark = [pytest.mark.integration, pytest.mark.slow]

#: Both teachers, parts of histories, and dropout.
TAUGHT = dataclasses.replace(
    RECIPES["quickstart"],
    hidden_units=(8, 4),
    dropout_rate=0.5,
    teacher_rank=2,
    teacher_sweeps=5,
    teacher_samples=2,
    batch_size=100,
    num_epochs=2,
)

UNTAUGHT = dataclasses.replace(
    RECIPES["untaught"],
    hidden_units=(8, 4),
    dropout_rate=0.5,
    refeed_noise_rate=0.2,
    batch_size=100,
    num_epochs=2,
)


def run(directory, data_dir, strategy, config):
    """Trains a job; returns the directory of its checkpoints."""
    paths = JobPaths.resolve(str(directory), environ={})
    train(config, data_dir, paths, strategy)
    return paths.checkpoint_dir


@pytest.mark.parametrize("config", [TAUGHT, UNTAUGHT], ids=lambda c: c.model)
def test_three_replicas_train_a_job_like_one(
    config, tmp_path, synthetic_data, three_replicas
):
    # Shares of 34, 33 and 33 users.
    assert_close_state(
        run(tmp_path / "three", synthetic_data, three_replicas, config),
        run(
            tmp_path / "one",
            synthetic_data,
            tf.distribute.get_strategy(),
            config,
        ),
    )

"""Compares the states that two runs of a job would resume from."""

import numpy as np
import tensorflow as tf


def read_latest_state(checkpoint_dir):
    """Returns the tensors of a job's latest checkpoint, by name."""
    checkpoint = tf.train.latest_checkpoint(f"{checkpoint_dir}/latest")
    reader = tf.train.load_checkpoint(checkpoint)
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name != "_CHECKPOINTABLE_OBJECT_GRAPH"
        and not name.startswith("save_counter")
    }


def assert_same_state(checkpoint_dir, other_checkpoint_dir):
    """Compares the latest checkpoints of two jobs, bit by bit."""
    state = read_latest_state(checkpoint_dir)
    other = read_latest_state(other_checkpoint_dir)
    assert state.keys() == other.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


def assert_close_state(checkpoint_dir, other_checkpoint_dir):
    """Compares the latest checkpoints of two jobs, but for rounding of sums."""
    state = read_latest_state(checkpoint_dir)
    other = read_latest_state(other_checkpoint_dir)
    assert state.keys() == other.keys()
    for name, value in state.items():
        np.testing.assert_allclose(
            value, other[name], rtol=1e-5, atol=1e-5, err_msg=name
        )

import json

import pytest
import tensorflow as tf

from data_prep.dataset.errors import UserError
from trainer.distribution import create_strategy


def test_a_machine_without_gpus_trains_without_a_strategy_of_its_own():
    assert create_strategy({}) is tf.distribute.get_strategy()


def test_a_cluster_of_one_is_one_machine():
    config = json.dumps({"cluster": {"chief": ["host:2222"]}})
    strategy = create_strategy({"TF_CONFIG": config})
    assert strategy is tf.distribute.get_strategy()


def test_a_cluster_of_several_tasks_is_refused():
    cluster = {"chief": ["a:2222"], "worker": ["b:2222", "c:2222"]}
    with pytest.raises(UserError, match="cluster of 3 tasks"):
        create_strategy({"TF_CONFIG": json.dumps({"cluster": cluster})})


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"cluster": 3}', '{"cluster": []}']
)
def test_a_cluster_that_cannot_be_read_is_refused(text):
    with pytest.raises(UserError, match=r"must be a JSON object.*TF_CONFIG="):
        create_strategy({"TF_CONFIG": text})

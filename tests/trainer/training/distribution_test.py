import json

import pytest
import tensorflow as tf

from data_prep.dataset.errors import UserError
from trainer.training.distribution import check_devices, create_strategy

pytestmark = pytest.mark.integration


def test_a_machine_without_gpus_trains_without_a_strategy_of_its_own():
    assert create_strategy({}) is tf.distribute.get_strategy()


@pytest.mark.skipif(
    bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU"
)
def test_a_machine_without_gpus_is_refused_where_one_is_required():
    check_devices()
    with pytest.raises(UserError, match=r"--require-gpu: .* no GPU"):
        check_devices(require_gpu=True)


def test_a_cluster_of_one_is_one_machine():
    config = json.dumps({"cluster": {"chief": ["host:2222"]}})
    strategy = create_strategy({"TF_CONFIG": config})
    assert strategy is tf.distribute.get_strategy()


@pytest.mark.parametrize("name", ["ps", "evaluator"])
def test_tasks_that_do_not_train_are_refused(name):
    cluster = {"chief": ["a:2222"], name: ["b:2222"]}
    with pytest.raises(UserError, match=f"names a task '{name}'"):
        create_strategy({"TF_CONFIG": json.dumps({"cluster": cluster})})
    # A cluster of one would train a second job in the same directory.
    alone = {"cluster": {}, "task": {"type": name, "index": 0}}
    with pytest.raises(UserError, match=f"names a task '{name}'"):
        create_strategy({"TF_CONFIG": json.dumps(alone)})


def test_machines_that_do_not_know_of_each_other_are_refused():
    pools = {"workerpool0": ["a:2222"], "workerpool1": ["b:2222", "c:2222"]}
    environ = {"CLUSTER_SPEC": json.dumps({"cluster": pools})}
    with pytest.raises(UserError, match="3 machines and TF_CONFIG 1: each"):
        create_strategy(environ)
    alone = json.dumps({"cluster": {"workerpool0": ["a:2222"]}})
    assert (
        create_strategy({"CLUSTER_SPEC": alone}) is tf.distribute.get_strategy()
    )


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"cluster": 3}'])
def test_a_cluster_spec_that_cannot_be_read_is_refused(text):
    with pytest.raises(UserError, match=r"must be a JSON .*CLUSTER_SPEC="):
        create_strategy({"CLUSTER_SPEC": text})


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"cluster": 3}', '{"cluster": []}']
)
def test_a_cluster_that_cannot_be_read_is_refused(text):
    with pytest.raises(UserError, match=r"must be a JSON object.*TF_CONFIG="):
        create_strategy({"TF_CONFIG": text})


@pytest.mark.parametrize(
    "task", [{}, {"type": "worker"}, {"type": "worker", "index": 1}]
)
def test_a_cluster_that_does_not_say_which_task_this_is_is_refused(task):
    cluster = {"chief": ["a:2222"], "worker": ["b:2222"]}
    config = json.dumps({"cluster": cluster, "task": task})
    with pytest.raises(UserError, match="but not which of them this is"):
        create_strategy({"TF_CONFIG": config})

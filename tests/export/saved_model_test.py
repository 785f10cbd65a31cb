import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from data_prep.records import list_shards, parse_users
from export.cpp_loader import CppSavedModel
from export.saved_model import export_job, list_versions
from trainer.job_record import load_job

#: Runs a SavedModel in a process that does not import TensorFlow's Python.
RUN_BY_CPP_ALONE = """
import json, sys
import numpy as np
from export.cpp_loader import CppSavedModel
request = json.load(sys.stdin)
dtypes = {"string": object, "float32": np.float32}
feeds = {
    name: np.array(value, dtypes[dtype])
    for name, (dtype, value) in request["feeds"].items()
}
(ratings,) = CppSavedModel(request["path"]).run(feeds, request["fetches"])
assert "tensorflow" not in sys.modules
json.dump(ratings.tolist(), sys.stdout)
"""


@pytest.fixture(scope="module")
def exported(trained_job):
    return export_job(trained_job)


def signature_defs(path):
    with open(os.path.join(path, "saved_model.pb"), "rb") as file:
        saved_model = saved_model_pb2.SavedModel.FromString(file.read())
    return saved_model.meta_graphs[0].signature_def


def real_histories(job, data_dir, num_users=16):
    """Real users' training ratings, sparse and as signatures take them."""
    users = tf.data.TFRecordDataset(list_shards(data_dir)).batch(num_users)
    ratings = parse_users(next(iter(users)), job.data.num_items, ["train"])[
        "train"
    ]
    ids = np.array(job.items.item_ids, object)[ratings.indices[:, 1]]
    rows = ratings.indices[:, 0].numpy()
    length = np.bincount(rows).max()
    item_ids = np.full((num_users, length), "", object)
    values = np.zeros((num_users, length), np.float32)
    columns = np.concatenate([np.arange(n) for n in np.bincount(rows)])
    item_ids[rows, columns] = ids
    values[rows, columns] = ratings.values
    return ratings, item_ids, values


def test_names_types_and_shapes_are_those_of_the_protocol(exported):
    def describe(tensors):
        return {
            name: (
                tf.as_dtype(info.dtype).name,
                [dim.size for dim in info.tensor_shape.dim],
            )
            for name, info in tensors.items()
        }

    signatures = signature_defs(exported)
    history = {
        "item_ids": ("string", [-1, -1]),
        "ratings": ("float32", [-1, -1]),
    }
    known = {"num_known_items": ("int32", [-1])}
    assert describe(signatures["serving_default"].inputs) == history
    assert describe(signatures["serving_default"].outputs) == known | {
        "item_ids": ("string", [-1, 40]),
        "predicted_ratings": ("float32", [-1, 40]),
    }
    assert describe(signatures["predict"].inputs) == history | {
        "candidate_item_ids": ("string", [-1, -1])
    }
    assert describe(signatures["predict"].outputs) == known | {
        "predicted_ratings": ("float32", [-1, -1]),
        "candidate_known": ("bool", [-1, -1]),
    }
    assert describe(signatures["encode"].inputs) == history
    assert describe(signatures["encode"].outputs) == known | {
        "code": ("float32", [-1, 8])
    }


def test_the_cpp_loader_gives_the_keras_model_s_numbers_for_real_users(
    exported, trained_job, synthetic_data
):
    job = load_job(trained_job)
    ratings, item_ids, values = real_histories(job, synthetic_data)
    signature = signature_defs(exported)["predict"]
    candidates = np.tile(
        np.array(job.items.item_ids, object), (len(item_ids), 1)
    )
    feeds = {
        "item_ids": ("string", item_ids),
        "ratings": ("float32", values),
        "candidate_item_ids": ("string", candidates),
    }
    result = subprocess.run(
        [sys.executable, "-c", RUN_BY_CPP_ALONE],
        input=json.dumps(
            {
                "path": exported,
                "feeds": {
                    signature.inputs[name].name: (dtype, value.tolist())
                    for name, (dtype, value) in feeds.items()
                },
                "fetches": [signature.outputs["predicted_ratings"].name],
            }
        ),
        capture_output=True,
        text=True,
        check=True,
    )
    np.testing.assert_allclose(
        json.loads(result.stdout), job.model(ratings), rtol=1e-5, atol=1e-5
    )


def test_python_s_loader_gives_the_same_recommendations_as_cpp_s(
    exported, trained_job, synthetic_data
):
    job = load_job(trained_job)
    _, item_ids, values = real_histories(job, synthetic_data)
    python = tf.saved_model.load(exported).signatures["serving_default"](
        item_ids=tf.constant(item_ids), ratings=tf.constant(values)
    )
    signature = signature_defs(exported)["serving_default"]
    names = sorted(python)
    cpp = CppSavedModel(exported).run(
        {
            signature.inputs["item_ids"].name: item_ids,
            signature.inputs["ratings"].name: values,
        },
        [signature.outputs[name].name for name in names],
    )
    for name, value in zip(names, cpp, strict=True):
        np.testing.assert_array_equal(value, python[name].numpy())


def test_the_model_s_refusals_reach_the_caller_of_the_cpp_loader(exported):
    signature = signature_defs(exported)["encode"]
    with pytest.raises(RuntimeError, match="scale from 0 to 10"):
        CppSavedModel(exported).run(
            {
                signature.inputs["item_ids"].name: np.array([["item-1"]]),
                signature.inputs["ratings"].name: np.array([[11.0]], "f"),
            },
            [signature.outputs["code"].name],
        )


def test_the_cpp_loader_refuses_what_keras_own_saving_writes(tmp_path):
    # The reason for ExportArchive: Python loads this one without a word.
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

    class Module(tf.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        @tf.function(input_signature=[tf.TensorSpec([None, 2], name="x")])
        def serve(self, x):
            return {"y": self.model(x)}

    module = Module()
    tf.saved_model.save(
        module, str(tmp_path), signatures={"serving_default": module.serve}
    )
    signature = signature_defs(tmp_path)["serving_default"]
    with pytest.raises(RuntimeError, match="Could not find variable"):
        CppSavedModel(str(tmp_path)).run(
            {signature.inputs["x"].name: np.zeros((1, 2), "f")},
            [signature.outputs["y"].name],
        )


def test_a_directory_without_a_saved_model_is_refused_by_the_loader(tmp_path):
    with pytest.raises(RuntimeError, match="Could not find SavedModel"):
        CppSavedModel(str(tmp_path))


def test_warm_up_covers_every_signature_for_one_user_and_for_several(exported):
    path = os.path.join(exported, "assets.extra/tf_serving_warmup_requests")
    requests = [
        prediction_log_pb2.PredictionLog.FromString(
            record.numpy()
        ).predict_log.request
        for record in tf.data.TFRecordDataset(path)
    ]
    batch_sizes = {}
    for request in requests:
        shape = request.inputs["item_ids"].tensor_shape
        batch_sizes.setdefault(request.model_spec.signature_name, set()).add(
            shape.dim[0].size
        )
    assert batch_sizes == {
        name: {1, 4} for name in ("serving_default", "predict", "encode")
    }


def test_versions_count_up_and_nothing_else_is_left(trained_job, exported):
    before = list_versions(trained_job.export_dir)
    os.makedirs(os.path.join(trained_job.export_dir, ".draft-9"))
    path = export_job(trained_job)
    assert int(os.path.basename(path)) == before[-1] + 1
    assert list_versions(trained_job.export_dir) == [
        *before,
        before[-1] + 1,
    ]


def test_a_saved_model_that_differs_from_the_model_is_not_published(
    trained_job, exported, monkeypatch
):
    before = list_versions(trained_job.export_dir)

    def run(self, feeds, fetches):
        return [np.zeros((1, 1), np.float32) for _ in fetches]

    monkeypatch.setattr(CppSavedModel, "run", run)
    with pytest.raises(RuntimeError, match="It is not published"):
        export_job(trained_job)
    assert list_versions(trained_job.export_dir) == before


def test_no_directory_no_versions(tmp_path):
    assert list_versions(str(tmp_path / "nowhere")) == []

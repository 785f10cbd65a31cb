import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from data_prep.dataset.records import list_shards, parse_users
from export.cpp_loader import CppSavedModel
from export.probe_requests import Request, pad_histories, to_examples
from export.probe_users import read_users
from export.saved_model import export_job
from export.settings import ExportSettings
from export.verification import ServedModel, check_predictions
from tests.export.helpers import leave_one_out, round_matrices
from trainer.job.record import load_job

pytestmark = pytest.mark.integration

SIGNATURES = {
    "serving_default",
    "recommend_top",
    "recommend_from",
    "predict",
    "explain",
    "similar",
    "encode",
    "recommend_examples",
    "predict_examples",
    "describe",
}

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
with open("/proc/self/maps") as maps:
    (library,) = {
        line.split()[-1] for line in maps if "libtensorflow_cc" in line
    }
json.dump({"ratings": ratings.tolist(), "library": library}, sys.stdout)
"""


@pytest.fixture(scope="module")
def exported(trained_job, synthetic_data):
    return export_job(trained_job, ExportSettings(data_dir=synthetic_data))


@pytest.fixture(scope="module")
def served(exported):
    with ServedModel(exported) as model:
        yield model


def read_graph(path):
    with open(os.path.join(path, "saved_model.pb"), "rb") as file:
        saved_model = saved_model_pb2.SavedModel.FromString(file.read())
    return saved_model.meta_graphs[0]


def signature_defs(path):
    return read_graph(path).signature_def


def real_histories(job, data_dir, num_users=16):
    """Reads real users' training ratings, sparse and as padded histories."""
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
        "titles": ("string", [-1, 40]),
        "predicted_ratings": ("float32", [-1, 40]),
        "scores": ("float32", [-1, 40]),
    }
    candidates = {"candidate_item_ids": ("string", [-1, -1])}
    assert describe(signatures["predict"].inputs) == history | candidates
    assert describe(signatures["predict"].outputs) == known | {
        "predicted_ratings": ("float32", [-1, -1]),
        "candidate_known": ("bool", [-1, -1]),
        "standard_deviations": ("float32", [-1, -1]),
    }
    assert describe(signatures["recommend_top"].inputs) == history | {
        "num_recommendations": ("int32", [-1])
    }
    assert describe(signatures["recommend_top"].outputs) == describe(
        signatures["recommend_from"].outputs
    )
    assert describe(signatures["recommend_from"].inputs) == history | candidates
    assert describe(signatures["recommend_from"].outputs) == known | {
        "item_ids": ("string", [-1, -1]),
        "titles": ("string", [-1, -1]),
        "predicted_ratings": ("float32", [-1, -1]),
        "scores": ("float32", [-1, -1]),
    }
    assert describe(signatures["explain"].inputs) == history | {
        "target_item_ids": ("string", [-1, -1])
    }
    assert describe(signatures["explain"].outputs) == known | {
        "reason_item_ids": ("string", [-1, -1, 5]),
        "reason_titles": ("string", [-1, -1, 5]),
        "contributions": ("float32", [-1, -1, 5]),
        "target_known": ("bool", [-1, -1]),
    }
    assert describe(signatures["similar"].inputs) == {
        "target_item_ids": ("string", [-1, -1])
    }
    assert describe(signatures["similar"].outputs) == {
        "similar_item_ids": ("string", [-1, -1, 39]),
        "similar_titles": ("string", [-1, -1, 39]),
        "similarities": ("float32", [-1, -1, 39]),
        "target_known": ("bool", [-1, -1]),
    }
    assert describe(signatures["encode"].inputs) == history
    assert describe(signatures["encode"].outputs) == known | {
        "code": ("float32", [-1, 8])
    }
    examples = {"examples": ("string", [-1])}
    for name in ("recommend", "predict"):
        plain = "serving_default" if name == "recommend" else name
        assert describe(signatures[f"{name}_examples"].inputs) == examples
        assert describe(signatures[f"{name}_examples"].outputs) == describe(
            signatures[plain].outputs
        )
    assert describe(signatures["describe"].inputs) == {
        "item_ids": ("string", [-1, -1])
    }
    assert describe(signatures["describe"].outputs) == {
        "item_known": ("bool", [-1, -1]),
        "history_length": ("int32", [-1]),
        "rating_min": ("float32", [-1]),
        "rating_max": ("float32", [-1]),
    }


def check_the_cpp_loader(exported, job, data_dir, packages=""):
    """Compares the C++ loader's predictions with the Keras model's.

    Args:
        exported: the directory of a SavedModel.
        job: the job that it is of.
        data_dir: the data of the job.
        packages: a directory with another release of TensorFlow.
    """
    ratings, item_ids, values = real_histories(job, data_dir)
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
        env={**os.environ, "PYTHONPATH": str(packages)},
    )
    answer = json.loads(result.stdout)
    assert answer["library"].startswith(str(packages))
    np.testing.assert_allclose(
        answer["ratings"], job.model(ratings), rtol=1e-5, atol=1e-5
    )


def test_the_cpp_loader_gives_the_keras_model_s_numbers_for_real_users(
    exported, trained_job, synthetic_data
):
    check_the_cpp_loader(exported, load_job(trained_job), synthetic_data)


@pytest.mark.slow
@pytest.mark.parametrize(
    "release", ["2.20.0", "2.19.1", "2.18.1", "2.17.1", "2.16.2", "2.15.1"]
)
def test_so_do_the_loaders_of_earlier_releases(
    exported, trained_job, synthetic_data, tmp_path, release
):
    """TensorFlow Serving is built with one of these."""
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet"),
            # Only its C++ library is used, so its Python version is irrelevant.
            *("--no-deps", "--only-binary=:all:", "--python-version=3.11"),
            *("--target", tmp_path, f"tensorflow-cpu=={release}"),
        ],
        check=True,
    )
    check_the_cpp_loader(
        exported, load_job(trained_job), synthetic_data, tmp_path
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


def test_recommendations_to_real_users_are_numpy_s_ranking_of_the_model(
    served, trained_job, synthetic_data
):
    job = load_job(trained_job)
    ratings, item_ids, values = real_histories(job, synthetic_data)
    predictions = job.model(ratings).numpy()
    predictions[tuple(ratings.indices.numpy().T)] = -np.inf
    order = np.argsort(-predictions, axis=1, kind="stable")
    best = np.take_along_axis(predictions, order, axis=1)
    ids = np.array([item_id.encode() for item_id in job.items.item_ids])
    history = {"item_ids": item_ids, "ratings": values}
    candidates = np.tile(
        np.array(job.items.item_ids[::-1], object), (len(item_ids), 1)
    )
    for request in (
        Request("serving_default", history),
        Request(
            "recommend_top",
            {
                **history,
                "num_recommendations": np.full(len(item_ids), 50, np.int32),
            },
        ),
        Request(
            "recommend_from", {**history, "candidate_item_ids": candidates}
        ),
    ):
        answer = served.answer(request)
        assert (
            answer["item_ids"].tolist()
            == np.where(np.isfinite(best), ids[order], b"").tolist()
        )
        np.testing.assert_allclose(
            answer["predicted_ratings"],
            np.where(np.isfinite(best), best, 0),
            rtol=1e-5,
            atol=1e-5,
        )


def test_reasons_for_real_users_are_those_of_leaving_each_rating_out(
    served, trained_job, synthetic_data
):
    job = load_job(trained_job)
    ids = np.array(job.items.item_ids, object)
    users = read_users(synthetic_data, job.data.num_items)[:3]
    targets = np.tile(ids[[0, 20, 39]], (3, 1))
    answer = served.answer(
        Request(
            "explain",
            {**pad_histories(users, ids), "target_item_ids": targets},
        )
    )
    for row, user in enumerate(users):
        contributions = leave_one_out(
            job.model,
            job.items.item_ids,
            list(zip(ids[user.items], user.ratings, strict=True)),
        )[:, [0, 20, 39]]
        for column in range(3):
            of_each = {
                item_id.encode(): contribution
                for item_id, contribution in zip(
                    ids[user.items], contributions[:, column], strict=True
                )
            }
            np.testing.assert_allclose(
                answer["contributions"][row, column],
                [of_each[id] for id in answer["reason_item_ids"][row, column]],
                rtol=1e-4,
                atol=1e-5,
            )
            np.testing.assert_allclose(
                np.abs(answer["contributions"][row, column]),
                np.sort(np.abs(contributions[:, column]))[::-1][:5],
                rtol=1e-4,
                atol=1e-5,
            )


def test_the_cpp_loader_ranks_similar_items_by_the_model_s_own_rows(
    served, trained_job
):
    job = load_job(trained_job)
    rows = job.model.dense_layers[0].reverse_kernel.numpy()
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -np.inf)
    order = np.argsort(-cosines, axis=1)[:, :-1]
    ids = np.array(job.items.item_ids, object)
    answer = served.answer(
        Request("similar", {"target_item_ids": ids[np.newaxis]})
    )
    assert answer["similar_item_ids"].astype(str).tolist() == [
        ids[order].tolist()
    ]
    np.testing.assert_allclose(
        answer["similarities"][0],
        np.take_along_axis(cosines, order, axis=1),
        rtol=1e-4,
        atol=1e-6,
    )


def test_examples_of_real_users_are_answered_as_their_histories(
    served, trained_job, synthetic_data
):
    job = load_job(trained_job)
    ids = np.array(job.items.item_ids, object)
    users = read_users(synthetic_data, job.data.num_items)
    candidates = np.tile(ids[:7], (len(users), 1))
    examples = {"examples": to_examples(users, ids, candidates)}
    history = pad_histories(users, ids)
    for name, inputs in (
        ("serving_default", history),
        ("predict", {**history, "candidate_item_ids": candidates}),
    ):
        expected = served.answer(Request(name, inputs))
        by_example = name.replace("serving_default", "recommend") + "_examples"
        answer = served.answer(Request(by_example, examples))
        assert answer.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_array_equal(answer[key], value)


def test_the_length_to_pad_to_covers_99_of_100_users(
    served, trained_job, synthetic_data
):
    answer = served.answer(
        Request("describe", {"item_ids": np.array([["item-1"]], object)})
    )
    lengths = [
        len(user.items)
        for user in read_users(
            synthetic_data, load_job(trained_job).data.num_items
        )
    ]
    assert max(lengths) <= answer["history_length"][0] <= max(lengths) + 16
    assert (answer["rating_min"][0], answer["rating_max"][0]) == (0, 10)


class OtherwiseServed:
    """A model that answers like another one except for one output."""

    def __init__(self, served, name, change):
        self.served, self.name, self.change = served, name, change

    def answer(self, request):
        answer = self.served.answer(request)
        if self.name in answer:
            answer[self.name] = self.change(answer[self.name])
        return answer


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("predicted_ratings", lambda ratings: ratings + 1e-3),
        ("predicted_ratings", lambda ratings: ratings * np.float32(np.nan)),
        ("predicted_ratings", lambda ratings: ratings[:, :-1]),
        ("scores", lambda scores: scores + 1e-3),
        ("scores", lambda scores: scores * np.float32(np.nan)),
        ("item_ids", lambda ids: ids[:, ::-1]),
        ("item_ids", lambda ids: np.where(ids == b"item-3", b"3", ids)),
    ],
    ids=[
        *("off", "NaN", "short", "scores_off", "scores_NaN"),
        *("reversed", "misnamed"),
    ],
)
def test_other_answers_than_the_model_s_are_found_out(
    served, trained_job, synthetic_data, name, change
):
    job = load_job(trained_job)
    users = read_users(synthetic_data, job.data.num_items)
    arguments = (job, users, ExportSettings())
    check_predictions(served, *arguments)
    with pytest.raises(
        RuntimeError, match=rf"with other {name} than the model\. It is not"
    ):
        check_predictions(OtherwiseServed(served, name, change), *arguments)


@pytest.mark.parametrize(
    ("precision", "num_bits"), [("tensor_float_32", 10), ("bfloat16", 7)]
)
def test_the_check_allows_for_the_precision_of_products_and_no_more(
    served, trained_job, synthetic_data, precision, num_bits
):
    job = load_job(trained_job)
    users = read_users(synthetic_data, job.data.num_items)
    round_matrices(job.model, num_bits)
    arguments = (job, users, ExportSettings())
    check_predictions(served, *arguments, precision)
    with pytest.raises(RuntimeError, match="is not published"):
        check_predictions(served, *arguments, "float32")
    off = OtherwiseServed(served, "predicted_ratings", lambda x: x + 1.0)
    with pytest.raises(RuntimeError, match="is not published"):
        check_predictions(off, *arguments, precision)


# ---- Shapes, which TensorFlow Serving does not hold a request to ----


def request_of(name, *, rows=2):
    """Makes a valid request, with three ratings and two items per user."""

    def strings(length):
        return np.full((rows, length), "item-1", object)

    inputs = {
        "item_ids": strings(3),
        "ratings": np.full((rows, 3), 5, np.float32),
        "candidate_item_ids": strings(2),
        "target_item_ids": strings(2),
        "examples": np.full(rows, b"", object),
        "num_recommendations": np.full(rows, 2, np.int32),
    }
    wanted = {
        "recommend_top": ("item_ids", "ratings", "num_recommendations"),
        "recommend_from": ("item_ids", "ratings", "candidate_item_ids"),
        "predict": ("item_ids", "ratings", "candidate_item_ids"),
        "explain": ("item_ids", "ratings", "target_item_ids"),
        "similar": ("target_item_ids",),
        "recommend_examples": ("examples",),
        "predict_examples": ("examples",),
        "describe": ("item_ids",),
    }.get(name, ("item_ids", "ratings"))
    return Request(name, {key: inputs[key] for key in wanted})


INPUTS = [
    (name, key)
    for name in sorted(SIGNATURES)
    for key in request_of(name).inputs
]


@pytest.mark.parametrize(("name", "key"), INPUTS)
def test_an_input_of_another_rank_is_refused_by_its_name(served, name, key):
    request = request_of(name)
    served.answer(request)
    value = request.inputs[key]
    for wrong in (value[0], value[np.newaxis]):
        inputs = {**request.inputs, key: np.asarray(wrong, value.dtype)}
        with pytest.raises(
            RuntimeError, match=rf"`{key}` must have the shape \[batch"
        ):
            served.answer(Request(name, inputs))


@pytest.mark.parametrize(
    ("name", "key"),
    [(name, key) for name, key in INPUTS if len(request_of(name).inputs) > 1],
)
def test_an_input_with_rows_to_spare_is_refused_by_its_name(served, name, key):
    request = request_of(name)
    with pytest.raises(RuntimeError, match=f"`{key}`"):
        served.answer(
            Request(
                name,
                {**request.inputs, key: request_of(name, rows=1).inputs[key]},
            )
        )


def test_histories_and_ratings_must_be_of_one_length(served):
    for name in SIGNATURES - {"describe"}:
        request = request_of(name)
        if "ratings" in request.inputs:
            inputs = {**request.inputs, "ratings": np.zeros((2, 1), "f")}
            with pytest.raises(
                RuntimeError,
                match="`item_ids` and `ratings` must have the same shape",
            ):
                served.answer(Request(name, inputs))


def test_a_batch_may_be_empty(served):
    for name in SIGNATURES:
        for key, value in served.answer(request_of(name, rows=0)).items():
            assert len(value) == 0, (name, key)


# ---- The loader ----


def test_the_cpp_loader_refuses_what_keras_own_saving_writes(tmp_path):
    # The reason for ExportArchive: Python loads this model without complaint.
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


def test_no_signature_makes_the_others_copy_a_kernel(exported):
    """Gathering rows from a variable makes every read of the whole copy it."""
    operations = {
        node.op
        for function in read_graph(exported).graph_def.library.function
        for node in function.node_def
    }
    assert "ReadVariableOp" in operations
    assert "ResourceGather" not in operations


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
        batch_sizes.setdefault(request.model_spec.signature_name, set()).update(
            tensor.tensor_shape.dim[0].size
            for tensor in request.inputs.values()
        )
    assert batch_sizes == {name: {1, 4} for name in SIGNATURES}

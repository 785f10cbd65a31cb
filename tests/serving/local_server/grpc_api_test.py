import concurrent.futures

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests.serving.messages import ALIEN, predict_request, to_lists
from tests.serving.processes import run_server

pytestmark = pytest.mark.integration


def test_recommendations_come_with_the_full_model_spec(predictions):
    response = predictions.Predict(predict_request())
    assert to_lists(response) == {
        "item_ids": [[b"brazil", "été à 東京".encode(), b"cube"]],
        "predicted_ratings": [[4.5, 4.0, 3.5]],
        "num_known_items": [1],
    }
    assert response.model_spec.name == "recommender"
    assert response.model_spec.version.value == 3
    assert response.model_spec.signature_name == "serving_default"


def test_a_version_can_be_named(predictions):
    response = predictions.Predict(predict_request(version=3))
    assert response.model_spec.version.value == 3


def test_answers_are_lists_of_their_type(predictions):
    tensors = predictions.Predict(predict_request()).outputs
    assert list(tensors["predicted_ratings"].float_val) == [4.5, 4.0, 3.5]
    assert list(tensors["num_known_items"].int_val) == [1]
    assert len(tensors["item_ids"].string_val) == 3
    assert not tensors["predicted_ratings"].tensor_content


@pytest.mark.extended
def test_answers_can_be_runs_of_bytes(model_base_path):
    with (
        run_server(
            model_base_path,
            "--enable_serialization_as_tensor_content",
            "--enable_grpc_healthcheck_service",
        ) as server,
        grpc.insecure_channel(server.grpc_address) as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        response = stub.Predict(predict_request())
        assert len(response.outputs["predicted_ratings"].tensor_content) == 12
        assert to_lists(response)["predicted_ratings"] == [[4.5, 4.0, 3.5]]

        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"") == b"\x08\x01"
        with pytest.raises(grpc.RpcError) as caught:
            check(b"\x0a\x01x")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_only_the_outputs_asked_for_are_answered(predictions):
    response = predictions.Predict(
        predict_request(output_filter=["num_known_items"])
    )
    assert to_lists(response) == {"num_known_items": [1]}


@pytest.mark.parametrize(
    ("signature_name", "dtype", "field", "values", "expected"),
    [
        ("half", tf.float32, "float_val", [2.0, 4.0], [1.0, 2.0]),
        ("half", tf.float32, "float_val", [4.0], [2.0, 2.0]),
        ("half", tf.float32, "float_val", [2.0, 4.0, 6.0], [1.0, 2.0]),
        ("half", tf.float32, "float_val", [], [0.0, 0.0]),
        ("echo", tf.string, "string_val", [b"a", b""], [b"a", b""]),
        ("echo", tf.string, "string_val", [b"a"], [b"a", b"a"]),
        ("half_precision", tf.float16, "half_val", [0x3C00], [1.0, 1.0]),
        ("successor", tf.int64, "int64_val", [2**62], [2**62 + 1] * 2),
    ],
    ids=[
        "floats",
        "the last value stands for the rest",
        "too many values",
        "no value",
        "strings",
        "the last string stands for the rest",
        "half precision",
        "integers",
    ],
)
def test_lists_of_values_are_read(
    predictions, signature_name, dtype, field, values, expected
):
    request, tensor = request_of_two(signature_name, dtype)
    getattr(tensor, field).extend(values)
    outputs = to_lists(predictions.Predict(request))
    assert next(iter(outputs.values())) == expected


@pytest.mark.parametrize(
    ("signature_name", "dtype", "content", "expected"),
    [
        ("half", tf.float32, b"\0\0\0\x40\0\0\x80\x40", [1.0, 2.0]),
        ("echo", tf.string, b"\x01\x02xyz", [b"x", b"yz"]),
        (
            "echo",
            tf.string,
            b"\x80\x01\x00" + b"x" * 128,
            [b"x" * 128, b""],
        ),
    ],
    ids=["floats", "strings", "a long string"],
)
def test_runs_of_bytes_are_read(
    predictions, signature_name, dtype, content, expected
):
    request, tensor = request_of_two(signature_name, dtype)
    tensor.tensor_content = content
    outputs = to_lists(predictions.Predict(request))
    assert next(iter(outputs.values())) == expected


def request_of_two(signature_name, dtype):
    """Makes a request with a tensor of two values that are not there yet."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "recommender"
    request.model_spec.signature_name = signature_name
    tensor = request.inputs["text" if signature_name == "echo" else "x"]
    tensor.dtype = dtype.as_datatype_enum
    tensor.tensor_shape.dim.add(size=2)
    return request, tensor


def test_a_scalar_output_is_answered(predictions):
    response = predictions.Predict(predict_request("total", {"x": [1.0, 2.0]}))
    assert to_lists(response) == {"y": 3.0}


def test_a_large_message_is_answered(predictions):
    values = [float(number) for number in range(2_000_000)]
    response = predictions.Predict(predict_request("total", {"x": values}))
    assert to_lists(response)["y"] == pytest.approx(sum(values), rel=1e-6)


def test_the_metadata_holds_every_signature(predictions):
    request = get_model_metadata_pb2.GetModelMetadataRequest(
        model_spec=predict_request().model_spec,
        metadata_field=["signature_def"],
    )
    response = predictions.GetModelMetadata(request)
    assert response.model_spec.name == "recommender"
    assert response.model_spec.version.value == 3
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert {"serving_default", "predict", "__saved_model_init_op"} <= set(
        signatures.signature_def
    )
    assert signatures.signature_def["half"].inputs["x"].name == "half_x:0"


@pytest.mark.parametrize("fields", [{}, {"version": 3}, {"version_label": "x"}])
def test_the_status_ignores_labels(channel, fields):
    service = model_service_pb2_grpc.ModelServiceStub(channel)
    response = service.GetModelStatus(
        get_model_status_pb2.GetModelStatusRequest(
            model_spec=predict_request(**fields).model_spec
        )
    )
    (status,) = response.model_version_status
    assert (status.version, status.state) == (3, status.AVAILABLE)
    assert (status.status.error_code, status.status.error_message) == (0, "")


def test_callers_get_the_answers_to_their_own_questions(predictions):
    def predict(rating):
        inputs = {**ALIEN, "ratings": [[rating]]}
        response = predictions.Predict(predict_request(inputs=inputs))
        return to_lists(response)["predicted_ratings"][0][0]

    ratings = [i / 64 for i in range(200)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(predict, ratings))
    assert answers == [rating + 0.5 for rating in ratings]

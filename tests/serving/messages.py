"""Makes requests of both protocols, and reads answers of gRPC."""

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

ALIEN = {"item_ids": [["alien"]], "ratings": [[4.0]]}


def half(**tensors):
    """Makes the body of a REST request to halve numbers."""
    return {"signature_name": "half", **tensors}


def predict_request(
    signature_name="",
    inputs=None,
    output_filter=(),
    *,
    name="recommender",
    version=None,
    version_label=None,
):
    """Makes a PredictRequest; without inputs it asks for recommendations."""
    request = predict_pb2.PredictRequest(output_filter=output_filter)
    request.model_spec.name = name
    request.model_spec.signature_name = signature_name
    if version is not None:
        request.model_spec.version.value = version
    if version_label is not None:
        request.model_spec.version_label = version_label
    for input_name, values in (inputs or ALIEN).items():
        request.inputs[input_name].CopyFrom(tf.make_tensor_proto(values))
    return request


def to_lists(response):
    """Returns the outputs of a PredictResponse as nested lists."""
    return {
        name: tf.make_ndarray(tensor).tolist()
        for name, tensor in response.outputs.items()
    }

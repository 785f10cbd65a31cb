"""The file of requests that warms a server up."""

import os
from collections.abc import Iterable

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from export.probe_requests import Request

FILE_NAME = "assets.extra/tf_serving_warmup_requests"


def write_warmup(requests: Iterable[Request], version_dir: str) -> None:
    """Writes the requests where TensorFlow Serving looks for them.

    It answers them before it calls a version available, so that no user waits
    for what happens once; a version that cannot answer them never becomes
    available.

    Args:
        requests: at most 1000, or the version cannot be loaded.
        version_dir: a SavedModel.
    """
    path = os.path.join(version_dir, FILE_NAME)
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.TFRecordWriter(path) as writer:
        for name, inputs in requests:
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = name
            for tensor_name, value in inputs.items():
                request.inputs[tensor_name].CopyFrom(
                    tf.make_tensor_proto(value)
                )
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request)
            )
            writer.write(log.SerializeToString())

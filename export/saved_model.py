"""Writes, checks and publishes a SavedModel for TensorFlow Serving."""

import contextlib
import os
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from export.cpp_loader import CppSavedModel
from export.signatures import Signatures
from serving import protocol
from trainer.job_paths import JobPaths
from trainer.job_record import load_job

#: Recommendations in an answer.
TOP_K = 100

#: Largest difference between the model and what was written, as the same
#: float32 operations run through another executor.
_TOLERANCE = 1e-5

_WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"

#: Name of a signature and its inputs by name.
_Request = tuple[str, dict[str, np.ndarray]]


def export_job(paths: JobPaths) -> str:
    """Publishes the best model of a job as the next version.

    The version is written beside the others under a name that TensorFlow
    Serving ignores, loaded and run as TensorFlow Serving would, and then
    renamed: a server that watches the directory never sees half of it.

    Args:
        paths: the places of the job.

    Returns:
        The directory of the version.

    Raises:
        UserError: there is no trained job.
    """
    job = load_job(paths)
    signatures = Signatures(
        job.model,
        job.items.item_ids,
        (job.data.rating_min, job.data.rating_max),
        job.data.rating_mean,
        TOP_K,
    )
    tf.io.gfile.makedirs(paths.export_dir)
    version = max(list_versions(paths.export_dir), default=0) + 1
    draft = os.path.join(paths.export_dir, f".draft-{version}")
    if tf.io.gfile.exists(draft):
        tf.io.gfile.rmtree(draft)
    _write(signatures, draft)
    requests = list(_warmup_requests(signatures, job.items.item_ids))
    _write_warmup(requests, draft)
    _check(signatures, requests, draft)
    published = os.path.join(paths.export_dir, str(version))
    tf.io.gfile.rename(draft, published)
    logging.info("Published version %d in %s.", version, published)
    return published


def list_versions(export_dir: str) -> list[int]:
    """Returns the published versions, in ascending order.

    Args:
        export_dir: parent of the numbered directories.
    """
    if not tf.io.gfile.exists(export_dir):
        return []
    names = (name.rstrip("/") for name in tf.io.gfile.listdir(export_dir))
    return sorted(int(name) for name in names if name.isdigit())


def _write(signatures: Signatures, path: str) -> None:
    # Saving by `tf.saved_model.save` would look the same, and load in Python;
    # TensorFlow Serving's loader would not find the weights
    # (https://github.com/keras-team/keras/issues/20095).
    archive = keras.export.ExportArchive()
    for table in signatures.tables:
        archive.track(table)
    for name, function in signatures.functions.items():
        archive.add_endpoint(name, function, signatures.input_specs[name])
    archive.write_out(path, verbose=False)


def _warmup_requests(
    signatures: Signatures, item_ids: list[str]
) -> Iterator[_Request]:
    """Makes requests for every signature, for one user and for several.

    TensorFlow Serving answers them before it calls a version available, so
    that no user waits for what happens once; a version that cannot answer
    them never becomes available.
    """
    for name, specs in signatures.input_specs.items():
        for batch_size, history in ((1, 1), (1, 16), (4, 16)):
            ids = np.resize(np.array(item_ids, object), (batch_size, history))
            inputs = {
                protocol.ITEM_IDS: ids,
                protocol.RATINGS: np.full(
                    ids.shape, signatures.rating_scale[1], np.float32
                ),
                protocol.CANDIDATE_ITEM_IDS: ids,
            }
            yield name, {spec.name: inputs[spec.name] for spec in specs}


def _write_warmup(requests: list[_Request], path: str) -> None:
    file = os.path.join(path, _WARMUP_FILE)
    tf.io.gfile.makedirs(os.path.dirname(file))
    with tf.io.TFRecordWriter(file) as writer:
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


def _check(signatures: Signatures, requests: list[_Request], path: str) -> None:
    """Runs the warm-up requests as TensorFlow Serving will, and compares.

    Raises:
        RuntimeError: the loader refuses the SavedModel, or an answer differs
            from the model's own.
    """
    saved_model = saved_model_pb2.SavedModel()
    with tf.io.gfile.GFile(os.path.join(path, "saved_model.pb"), "rb") as file:
        saved_model.ParseFromString(file.read())
    signature_defs = saved_model.meta_graphs[0].signature_def
    with contextlib.closing(CppSavedModel(path)) as loaded:
        for name, inputs in requests:
            tensors = signature_defs[name]
            expected = signatures.functions[name](
                **{key: tf.constant(value) for key, value in inputs.items()}
            )
            answer = loaded.run(
                {
                    tensors.inputs[key].name: value
                    for key, value in inputs.items()
                },
                [tensors.outputs[key].name for key in expected],
            )
            for key, value in zip(expected, answer, strict=True):
                if not _agree(value, expected[key].numpy()):
                    raise RuntimeError(
                        f"The SavedModel in {path} answers {name!r} with other"
                        f" {key} than the model: {value} instead of"
                        f" {expected[key].numpy()}. It is not published."
                    )


def _agree(actual: np.ndarray, expected: np.ndarray) -> bool:
    if actual.shape != expected.shape:
        return False
    if expected.dtype == np.float32:
        return np.allclose(actual, expected, rtol=_TOLERANCE, atol=_TOLERANCE)
    return bool(np.all(actual == expected))

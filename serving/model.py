"""SavedModels: the versions on disk and the ones that are served."""

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format  # type: ignore[import-untyped]
from google.protobuf.message import (  # type: ignore[import-untyped]
    DecodeError,
)
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from serving.protocol import Code, RequestError, Tensor


class ModelLoadError(ValueError):
    """A model that cannot be found or loaded."""


class ModelVersion:
    """One loaded version of a model.

    Args:
        path: the directory of the SavedModel.

    Raises:
        ModelLoadError: if it does not hold a SavedModel that can be loaded.
    """

    def __init__(self, path: str):
        try:
            self._signature_defs = _read_signature_defs(path)
            # The functions do not keep alive what they use.
            self._saved_model = tf.saved_model.load(path)
        except (
            DecodeError,
            OSError,
            RuntimeError,
            ValueError,
            tf.errors.OpError,
        ) as error:
            reason = str(error).partition("\n")[0]
            raise ModelLoadError(
                f"{path} does not hold a SavedModel that can be loaded:"
                f" {reason}"
            ) from error

    def input_dtypes(self, signature_name: str) -> dict[str, str]:
        """Returns the type of each input of a signature.

        Raises:
            RequestError: if the model has no such signature.
        """
        if signature_name not in self._signature_defs:
            raise RequestError(
                Code.INVALID_ARGUMENT,
                f'Serving signature name: "{signature_name}" not found in'
                " signature def",
            )
        inputs = self._signature_defs[signature_name].inputs
        return {name: _dtype_name(info.dtype) for name, info in inputs.items()}

    def run(
        self, signature_name: str, inputs: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Runs a signature on all of its inputs.

        Raises:
            RequestError: if the model refuses or fails.
        """
        signature = self._saved_model.signatures[signature_name]
        try:
            outputs = signature(
                **{
                    name: tf.constant(tensor.values, _dtype(tensor.dtype))
                    for name, tensor in inputs.items()
                }
            )
        except tf.errors.OpError as error:
            raise RequestError(
                Code(error.error_code), _without_python_frames(error.message)
            ) from error
        return {
            name: Tensor(
                _dtype_name(tensor.dtype.as_datatype_enum),
                np.asarray(tensor).tolist(),
            )
            for name, tensor in sorted(outputs.items())
        }

    def signature_defs(self) -> dict[str, Any]:
        """Returns every SignatureDef in protobuf's JSON mapping."""
        return {
            name: json_format.MessageToDict(
                signature_def,
                always_print_fields_with_no_presence=True,
                preserving_proto_field_name=True,
            )
            for name, signature_def in sorted(self._signature_defs.items())
        }


class Models:
    """The models of a server, each in one or more versions.

    Args:
        versions: by model name and version number.
    """

    def __init__(self, versions: Mapping[str, Mapping[int, ModelVersion]]):
        self._versions = versions

    def find(
        self, name: str, version: int | None, label: str | None
    ) -> tuple[int, ModelVersion]:
        """Returns the version asked for, the newest if none is.

        Raises:
            RequestError: if it is not served.
        """
        if label is not None:
            raise RequestError(
                Code.INVALID_ARGUMENT,
                f"Unrecognized servable version label: {label}",
            )
        versions = self._versions.get(name, {})
        number = max(versions, default=None) if version is None else version
        if number is None or number not in versions:
            wanted = (
                f"Latest({name})"
                if version is None
                else f"Specific({name}, {version})"
            )
            raise RequestError(
                Code.NOT_FOUND, f"Servable not found for request: {wanted}"
            )
        return number, versions[number]

    def served_versions(self, name: str, version: int | None) -> list[int]:
        """Returns the served versions of a model, or the one asked for.

        Raises:
            RequestError: if there is none.
        """
        versions = self._versions.get(name, {})
        if not versions:
            raise RequestError(
                Code.NOT_FOUND, f"Could not find any versions of model {name}"
            )
        if version is None:
            return list(versions)
        if version not in versions:
            raise RequestError(
                Code.NOT_FOUND,
                f"Could not find version {version} of model {name}",
            )
        return [version]


def find_newest_version(base_path: str) -> tuple[int, str]:
    """Returns the number and the directory of the newest version of a model.

    A version is a directory whose name is a number; anything else in
    `base_path` is ignored.

    Raises:
        ModelLoadError: if `base_path` holds none or cannot be read.
    """
    if not tf.io.gfile.isdir(base_path):
        raise ModelLoadError(f"{base_path} is not a directory.")
    try:
        names = tf.io.gfile.listdir(base_path)
    except tf.errors.OpError as error:
        raise ModelLoadError(
            f"{base_path} cannot be listed: {error.message}"
        ) from error
    # Object stores list directories with a trailing slash.
    names = [name.rstrip("/") for name in names]
    paths = {
        int(name): os.path.join(base_path, name)
        for name in names
        if re.fullmatch("[0-9]+", name)
        and tf.io.gfile.isdir(os.path.join(base_path, name))
    }
    if not paths:
        raise ModelLoadError(
            f"{base_path} holds no version of a model. A version is a"
            " directory whose name is a number, such as"
            f" {os.path.join(base_path, '1')}."
        )
    newest = max(paths)
    return newest, paths[newest]


def _read_signature_defs(
    path: str,
) -> Mapping[str, meta_graph_pb2.SignatureDef]:
    with tf.io.gfile.GFile(os.path.join(path, "saved_model.pb"), "rb") as file:
        saved_model = saved_model_pb2.SavedModel.FromString(file.read())
    for meta_graph in saved_model.meta_graphs:
        if tf.saved_model.SERVING in meta_graph.meta_info_def.tags:
            return meta_graph.signature_def
    raise ValueError("no graph is tagged 'serve'.")


def _dtype_name(datatype: int) -> str:
    return types_pb2.DataType.Name(datatype).removeprefix("DT_").lower()


def _dtype(name: str) -> tf.DType:
    return tf.as_dtype(types_pb2.DataType.Value(f"DT_{name.upper()}"))


def _without_python_frames(message: str) -> str:
    """Leaves of a message what TensorFlow's C++ part says."""
    message = re.sub(
        r"^Graph execution error:.*<stack traces unavailable>\n",
        "",
        message,
        flags=re.DOTALL,
    )
    return re.sub(r" \[Op:\w+\]$", "", message)

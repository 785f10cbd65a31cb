"""Runs a SavedModel through TensorFlow's C++ loader.

This is the loader that TensorFlow Serving uses, reached through the C API of
the library in the TensorFlow package
(https://www.tensorflow.org/install/lang_c). Python's `tf.saved_model.load`
is another one: it accepts SavedModels that this one cannot run
(https://github.com/keras-team/keras/issues/20095).
"""

import ctypes
import importlib.util
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Data types by their numbers in tensorflow/c/tf_datatype.h.
_DTYPES: dict[int, np.dtype] = {
    1: np.dtype(np.float32),
    3: np.dtype(np.int32),
    9: np.dtype(np.int64),
    10: np.dtype(np.bool_),
}
_STRING = 7

# sizeof(TF_TString), tensorflow/core/platform/ctstring_internal.h.
_STRING_SIZE = 24


class _Output(ctypes.Structure):
    """An output of an operation in a graph: TF_Output."""

    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


class CppSavedModel:
    """A SavedModel that C++ loaded, with its variables, tables and assets.

    Args:
        path: a local directory with `saved_model.pb`.

    Raises:
        RuntimeError: the loader refuses it.
    """

    def __init__(self, path: str) -> None:
        self._api = _load_library()
        self._status = self._api.TF_NewStatus()
        self._graph = self._api.TF_NewGraph()
        options = self._api.TF_NewSessionOptions()
        tags = (ctypes.c_char_p * 1)(b"serve")
        self._session = self._api.TF_LoadSessionFromSavedModel(
            options,
            None,
            os.fsencode(path),
            tags,
            1,
            self._graph,
            None,
            self._status,
        )
        self._api.TF_DeleteSessionOptions(options)
        self._raise_if_failed()

    def run(
        self, feeds: Mapping[str, np.ndarray], fetches: Sequence[str]
    ) -> list[np.ndarray]:
        """Runs the graph once.

        Args:
            feeds: name of a tensor -> its value. A SignatureDef names the
                tensors of its inputs, such as `serving_default_ratings:0`.
                Strings are arrays of `str` or `bytes` objects.
            fetches: names of the tensors to return. A SignatureDef names those
                of its outputs.

        Returns:
            The values of the fetched tensors, in order; strings as arrays of
            `bytes` objects.

        Raises:
            RuntimeError: the graph has no such tensor, or refuses the values;
                the message is TensorFlow's.
        """
        inputs = [self._to_tensor(value) for value in feeds.values()]
        outputs = (ctypes.c_void_p * len(fetches))()
        try:
            self._api.TF_SessionRun(
                self._session,
                None,
                self._find(list(feeds)),
                (ctypes.c_void_p * len(inputs))(*inputs),
                len(inputs),
                self._find(fetches),
                outputs,
                len(fetches),
                None,
                0,
                None,
                self._status,
            )
            self._raise_if_failed()
            return [self._to_array(tensor) for tensor in outputs]
        finally:
            for tensor in (*inputs, *outputs):
                if tensor:
                    self._api.TF_DeleteTensor(tensor)

    def close(self) -> None:
        """Frees the session and the graph."""
        self._api.TF_CloseSession(self._session, self._status)
        self._api.TF_DeleteSession(self._session, self._status)
        self._api.TF_DeleteGraph(self._graph)
        self._api.TF_DeleteStatus(self._status)

    def _find(self, names: Sequence[str]) -> Any:
        outputs = (_Output * len(names))()
        for output, name in zip(outputs, names, strict=True):
            operation, _, index = name.partition(":")
            output.operation = self._api.TF_GraphOperationByName(
                self._graph, operation.encode()
            )
            if not output.operation:
                raise RuntimeError(f"The graph holds no tensor {name!r}.")
            output.index = int(index)
        return outputs

    def _to_tensor(self, value: np.ndarray) -> Any:
        # Not `ascontiguousarray`, which makes a vector of a scalar.
        value = np.asarray(value, order="C")
        is_string = value.dtype.kind in "OUS"
        dtype = (
            _STRING
            if is_string
            else next(key for key, t in _DTYPES.items() if t == value.dtype)
        )
        dimensions = (ctypes.c_int64 * value.ndim)(*value.shape)
        size = value.size * _STRING_SIZE if is_string else value.nbytes
        tensor = self._api.TF_AllocateTensor(
            dtype, dimensions, value.ndim, size
        )
        data = self._api.TF_TensorData(tensor)
        if not is_string:
            ctypes.memmove(data, value.ctypes.data, size)
            return tensor
        for position, item in enumerate(value.flat):
            text = item if isinstance(item, bytes) else str(item).encode()
            string = data + position * _STRING_SIZE
            self._api.TF_StringInit(string)
            self._api.TF_StringCopy(string, text, len(text))
        return tensor

    def _to_array(self, tensor: Any) -> np.ndarray:
        shape = tuple(
            self._api.TF_Dim(tensor, axis)
            for axis in range(self._api.TF_NumDims(tensor))
        )
        dtype = self._api.TF_TensorType(tensor)
        data = self._api.TF_TensorData(tensor)
        if dtype != _STRING:
            array = np.empty(shape, _DTYPES[dtype])
            ctypes.memmove(array.ctypes.data, data, array.nbytes)
            return array
        strings = np.empty(shape, np.dtype(object))
        for position in range(strings.size):
            string = data + position * _STRING_SIZE
            strings.flat[position] = ctypes.string_at(
                self._api.TF_StringGetDataPointer(string),
                self._api.TF_StringGetSize(string),
            )
        return strings

    def _raise_if_failed(self) -> None:
        if self._api.TF_GetCode(self._status):
            message = self._api.TF_Message(self._status)
            raise RuntimeError(message.decode(errors="replace"))


def _load_library() -> ctypes.CDLL:
    """Loads TensorFlow's library, without importing TensorFlow."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.origin is None:
        raise RuntimeError("TensorFlow is not installed.")
    api = ctypes.CDLL(
        os.path.join(os.path.dirname(spec.origin), "libtensorflow_cc.so.2")
    )
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    for name, result, arguments in (
        ("TF_NewStatus", pointer, ()),
        ("TF_DeleteStatus", None, (pointer,)),
        ("TF_GetCode", ctypes.c_int, (pointer,)),
        ("TF_Message", ctypes.c_char_p, (pointer,)),
        ("TF_NewGraph", pointer, ()),
        ("TF_DeleteGraph", None, (pointer,)),
        ("TF_NewSessionOptions", pointer, ()),
        ("TF_DeleteSessionOptions", None, (pointer,)),
        (
            "TF_LoadSessionFromSavedModel",
            pointer,
            (
                pointer,
                pointer,
                ctypes.c_char_p,
                pointer,
                ctypes.c_int,
                pointer,
                pointer,
                pointer,
            ),
        ),
        ("TF_GraphOperationByName", pointer, (pointer, ctypes.c_char_p)),
        (
            "TF_SessionRun",
            None,
            (
                pointer,
                pointer,
                pointer,
                pointer,
                ctypes.c_int,
                pointer,
                pointer,
                ctypes.c_int,
                pointer,
                ctypes.c_int,
                pointer,
                pointer,
            ),
        ),
        ("TF_CloseSession", None, (pointer, pointer)),
        ("TF_DeleteSession", None, (pointer, pointer)),
        (
            "TF_AllocateTensor",
            pointer,
            (ctypes.c_int, pointer, ctypes.c_int, size),
        ),
        ("TF_DeleteTensor", None, (pointer,)),
        ("TF_TensorType", ctypes.c_int, (pointer,)),
        ("TF_TensorData", pointer, (pointer,)),
        ("TF_NumDims", ctypes.c_int, (pointer,)),
        ("TF_Dim", ctypes.c_int64, (pointer, ctypes.c_int)),
        ("TF_StringInit", None, (pointer,)),
        ("TF_StringCopy", None, (pointer, ctypes.c_char_p, size)),
        ("TF_StringGetDataPointer", pointer, (pointer,)),
        ("TF_StringGetSize", size, (pointer,)),
    ):
        function = getattr(api, name)
        function.restype, function.argtypes = result, list(arguments)
    return api

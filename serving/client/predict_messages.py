"""TensorFlow Serving's messages, in the fields that the client uses.

The package tensorflow-serving-api has them all, and needs all of TensorFlow.

Source: tensorflow_serving/apis/{predict,model,get_model_status}.proto of
https://github.com/tensorflow/serving.
"""

from typing import Any

from google.protobuf import (  # type: ignore[import-untyped]
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)

# The members of DataType that the signatures use.
FLOAT, INT32, STRING, BOOL = 1, 3, 7, 10

# The field of a tensor that holds its values.
FIELD_OF_DTYPE = {
    FLOAT: "float_val",
    INT32: "int_val",
    STRING: "string_val",
    BOOL: "bool_val",
}

# ModelVersionStatus.State
STATES = {
    10: "START",
    20: "LOADING",
    30: "AVAILABLE",
    40: "UNLOADING",
    50: "END",
}

_TYPES = {
    "bool": "TYPE_BOOL",
    "bytes": "TYPE_BYTES",
    "float": "TYPE_FLOAT",
    # An enum looks the same as its number.
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "string": "TYPE_STRING",
}

# Message -> field -> its number and type; "*" marks lists.
_MESSAGES = {
    "Dim": {"size": (1, "int64")},
    "TensorShape": {"dim": (2, "*Dim")},
    "Tensor": {
        "dtype": (1, "int32"),
        "tensor_shape": (2, "TensorShape"),
        "float_val": (5, "*float"),
        "int_val": (7, "*int32"),
        "string_val": (8, "*bytes"),
        "bool_val": (11, "*bool"),
    },
    "Int64Value": {"value": (1, "int64")},
    "ModelSpec": {
        "name": (1, "string"),
        "version": (2, "Int64Value"),
        "signature_name": (3, "string"),
        "version_label": (4, "string"),
    },
    # A map is a list of such entries.
    "NamedTensor": {"key": (1, "string"), "value": (2, "Tensor")},
    "PredictRequest": {
        "model_spec": (1, "ModelSpec"),
        "inputs": (2, "*NamedTensor"),
    },
    "PredictResponse": {"outputs": (1, "*NamedTensor")},
    "GetModelStatusRequest": {"model_spec": (1, "ModelSpec")},
    "Status": {"error_code": (1, "int32"), "error_message": (2, "string")},
    "ModelVersionStatus": {
        "version": (1, "int64"),
        "state": (2, "int32"),
        "status": (3, "Status"),
    },
    "GetModelStatusResponse": {
        "model_version_status": (1, "*ModelVersionStatus")
    },
}


def _make_messages() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="serving/predict_messages.proto",
        package="serving",
        syntax="proto3",
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, (number, type_name) in fields.items():
            field = message.field.add(name=field_name, number=number)
            is_list = type_name.startswith("*")
            element = type_name.removeprefix("*")
            field.label = (
                field.LABEL_REPEATED if is_list else field.LABEL_OPTIONAL
            )
            if element in _MESSAGES:
                field.type = field.TYPE_MESSAGE
                field.type_name = f".serving.{element}"
            else:
                field.type = getattr(field, _TYPES[element])
    # A pool of its own, hidden from the rest of the process.
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"serving.{name}")
        )
        for name in _MESSAGES
    }


_CLASSES = _make_messages()
PredictRequest = _CLASSES["PredictRequest"]
PredictResponse = _CLASSES["PredictResponse"]
GetModelStatusRequest = _CLASSES["GetModelStatusRequest"]
GetModelStatusResponse = _CLASSES["GetModelStatusResponse"]

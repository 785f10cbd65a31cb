"""Formats the answers of TensorFlow Serving's REST API.

Layout, number formats and error messages are TensorFlow Serving's, byte for
byte. A tensor is a nested list here; the module needs the standard library
only.

Source: json_tensor.cc of https://github.com/tensorflow/serving.
"""

import base64
import functools
import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from serving.local_server.errors import refuse
from serving.local_server.rest.requests import INTEGER_RANGES, Tensor
from serving.protocol import VersionStatus


def format_error(message: str) -> bytes:
    """Formats the body of an error: `{"error": message}`, or nothing for ""."""
    if not message:
        return b""
    text = json.dumps({"error": message}, indent=4, ensure_ascii=False)
    return text.encode("utf-8", "replace")


def format_status(statuses: Sequence[VersionStatus]) -> bytes:
    """Formats the status of a model's versions, in the order given."""
    return _print_message(
        {
            "model_version_status": [
                {
                    "version": str(each.version),
                    "state": each.state,
                    "status": {
                        "error_code": each.error_code.name,
                        "error_message": each.error_message,
                    },
                }
                for each in statuses
            ]
        }
    )


def format_metadata(
    model_name: str, version: int, signature_defs: Mapping[str, Any]
) -> bytes:
    """Formats the metadata of one version of a model.

    Args:
        model_name: the name of the model.
        version: the number of the version.
        signature_defs: each SignatureDef in protobuf's JSON mapping, with the
            original field names and no field left out.
    """
    return _print_message(
        {
            "model_spec": {
                "name": model_name,
                "signature_name": "",
                "version": str(version),
            },
            "metadata": {"signature_def": {"signature_def": signature_defs}},
        }
    )


def _print_message(message: dict[str, Any]) -> bytes:
    # Protobuf's JSON printer indents by one, rapidjson by four.
    return (json.dumps(message, indent=1) + "\n").encode()


def format_float(value: float, dtype: str) -> str:
    """Formats a number with six digits if they suffice, else exactly.

    Args:
        value: a number of type `dtype`.
        dtype: float or double, as in `Tensor.dtype`.
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    code, num_digits = ("f", 9) if dtype == "float" else ("d", 17)
    text = f"{value:g}"
    try:
        (read_back,) = struct.unpack(code, struct.pack(code, float(text)))
    except OverflowError:
        # The six digits of the largest numbers round up to infinity.
        read_back = math.inf
    if read_back != value:
        text = f"{value:.{num_digits}g}"
    return text if "." in text or "e" in text else text + ".0"


def format_outputs(outputs: Mapping[str, Tensor], by_row: bool) -> bytes:
    """Formats the outputs of a signature.

    A single output is written bare; several are keyed by name.

    Args:
        outputs: tensors by name.
        by_row: whether to write `predictions`, one entry per row, for a
            request with `instances`; otherwise `outputs`, one entry per
            tensor.

    Raises:
        RequestError: if the tensors have no rows or not equally many, or JSON
            has no form for their type.
    """
    return _format_rows(outputs) if by_row else _format_columns(outputs)


def _format_rows(outputs: Mapping[str, Tensor]) -> bytes:
    num_rows = None
    for name, tensor in outputs.items():
        if not isinstance(tensor.values, list):
            refuse(f"Tensor name: {name} has no shape information ")
        if num_rows is None:
            num_rows = len(tensor.values)
        if len(tensor.values) != num_rows:
            refuse(
                f"Tensor name: {name} has inconsistent batch size:"
                f" {len(tensor.values)} expecting: {num_rows}"
            )
    columns = {
        name: [_format_tensor(name, tensor.dtype, row) for row in tensor.values]
        for name, tensor in outputs.items()
    }
    rows = [
        _format_named(dict(zip(columns, row, strict=True)), indent=8)
        for row in zip(*columns.values(), strict=True)
    ]
    if not rows:
        return b'{\n    "predictions": []\n}'
    text = ",\n        ".join(rows)
    return _to_bytes(f'{{\n    "predictions": [\n        {text}\n    ]\n}}')


def _format_columns(outputs: Mapping[str, Tensor]) -> bytes:
    columns = {
        name: _format_tensor(name, *tensor) for name, tensor in outputs.items()
    }
    return _to_bytes(
        f'{{\n    "outputs": {_format_named(columns, indent=4)}\n}}'
    )


def _format_named(texts: Mapping[str, str], indent: int) -> str:
    if len(texts) == 1:
        return next(iter(texts.values()))
    margin = "\n" + " " * indent
    members = [
        f"{margin}    {_format_string(name)}: {text}"
        for name, text in texts.items()
    ]
    return "{" + ",".join(members) + margin + "}"


def _format_tensor(name: str, dtype: str, values: Any) -> str:
    return _format_values(_value_formatter(name, dtype), values)


def _format_values(format_value: Callable[[Any], str], values: Any) -> str:
    if not isinstance(values, list):
        return format_value(values)
    if values and isinstance(values[0], list):
        texts = (_format_values(format_value, row) for row in values)
        return f"[{', '.join(texts)}]"
    return f"[{', '.join(map(format_value, values))}]"


def _value_formatter(name: str, dtype: str) -> Callable[[Any], str]:
    """Returns the function that formats one value of a tensor."""
    if dtype == "string":
        return _format_base64 if name.endswith("_bytes") else _format_bytes
    if dtype in ("float", "double"):
        return functools.partial(format_float, dtype=dtype)
    if dtype == "bool" or dtype in INTEGER_RANGES:
        return json.dumps
    return refuse(f"Failed to write JSON value for tensor type: {dtype}")


def _format_base64(value: bytes) -> str:
    return f'{{"b64": "{base64.b64encode(value).decode()}"}}'


def _format_bytes(value: bytes) -> str:
    return _format_string(value.decode("utf-8", "surrogateescape"))


_format_string = json.JSONEncoder(ensure_ascii=False).encode


def _to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")

"""Parses the requests of TensorFlow Serving's REST API.

Routes and bodies are parsed as TensorFlow Serving parses them, and refused in
its words, so that a client cannot tell one server from the other. A tensor is
a nested list here; the module needs the standard library only.

Source: http_rest_api_util.cc and json_tensor.cc of
https://github.com/tensorflow/serving.
"""

import base64
import json
import math
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from serving.local_server.errors import RequestError, refuse
from serving.local_server.rest import rapidjson
from serving.protocol import RECOMMEND, Code

# ---- URLs ----

_VERSION_OR_LABEL = r"(?:(?i:/versions/)([0-9]+)|(?i:/labels/)([^/:]+))?"
_POST_TARGET = re.compile(
    rf"(?i:/v1/models/)([^/:]+){_VERSION_OR_LABEL}:(predict|classify|regress)"
)
_GET_TARGET = re.compile(
    rf"(?i:/v1/models)(?:/([^/:]+))?{_VERSION_OR_LABEL}(?:/((?i:metadata)))?"
)


class Route(NamedTuple):
    """The model that a request addresses, and what it asks for.

    Attributes:
        verb: predict, classify, regress, status or metadata.
        model_name: the model's name, percent-decoded.
        version: a version's number, or None.
        label: a version's label, percent-decoded, or None. Without version
            and label the newest version is meant.
    """

    verb: str
    model_name: str
    version: int | None
    label: str | None


def parse_route(method: str, target: str) -> Route:
    """Parses the method and the target of a request.

    Args:
        method: the HTTP method.
        target: the path with its query string, percent-encoded as received.
            No route takes a query string: it belongs to the path.

    Raises:
        RequestError: if TensorFlow Serving has no such route.
    """
    match = None
    if method == "POST":
        match = _POST_TARGET.fullmatch(target)
    elif method == "GET":
        match = _GET_TARGET.fullmatch(target)
    if match is None:
        refuse(f"Malformed request: {method} {target}")
    model_name, version, label, verb = match.groups()
    if model_name is None:
        refuse("Missing model name in request.")
    if version is not None and int(version) >= 2**63:
        # TensorFlow Serving answers this one with an empty body.
        refuse("")
    if method == "GET" and verb != "metadata":
        # `/METADATA` is matched, as all of the path, and then not recognized.
        verb = "status"
    return Route(
        verb=verb,
        model_name=urllib.parse.unquote(model_name),
        version=None if version is None else int(version),
        label=None if label is None else urllib.parse.unquote(label),
    )


# ---- Requests ----


class Tensor(NamedTuple):
    """A tensor as nested lists.

    Attributes:
        dtype: TensorFlow's DataType in lower case, without `DT_`: float,
            double, int64, string, bool.
        values: lists nested as deep as the tensor's rank, or one value for a
            scalar. Strings are `bytes`.
    """

    dtype: str
    values: Any


@dataclass(frozen=True)
class PredictRequest:
    """A predict request whose tensors are not parsed yet.

    How to parse them depends on the signature that the request names, and an
    unknown model or signature is reported before a malformed tensor.

    Attributes:
        signature_name: the signature to run.
        document: the JSON object of the request.
    """

    signature_name: str
    document: dict[str, Any]

    def parse_inputs(self, dtypes: Mapping[str, str]) -> dict[str, Tensor]:
        """Parses the tensors of the request.

        As in TensorFlow Serving, types are checked and shapes are not: those
        are up to the signature. Only a ragged tensor is refused.

        Args:
            dtypes: the type of each input of the signature, by name.

        Returns:
            Tensors by name.

        Raises:
            RequestError: if the request does not hold exactly these inputs.
        """
        if not dtypes:
            refuse(
                "Failed to get input map for signature: " + self.signature_name
            )
        if not self.document.keys() & {"instances", "inputs"}:
            refuse("Missing 'inputs' or 'instances' key")
        if {"instances", "inputs"} <= self.document.keys():
            refuse(
                f"JSON Value: {_quote(self.document)} Not formatted correctly"
                " expecting only one of 'inputs' or 'instances' keys to exist "
            )
        if self.is_by_row:
            return _parse_rows(self.document, dtypes)
        return _parse_columns(self.document["inputs"], dtypes)

    @property
    def is_by_row(self) -> bool:
        """Whether rows come in `instances`; the answer has `predictions`."""
        return "instances" in self.document


def parse_predict_request(body: bytes) -> PredictRequest:
    """Parses the JSON of a predict request and the name of its signature.

    Raises:
        RequestError: if it is not a JSON object or `signature_name` is no
            string.
    """
    document = _parse_json(body)
    return PredictRequest(_signature_name(document), document)


def parse_examples_request(body: bytes) -> str:
    """Parses the JSON of a classify or regress request.

    Returns:
        The name of its signature; the examples are not parsed.

    Raises:
        RequestError: if it holds no list of examples.
    """
    document = _parse_json(body)
    signature_name = _signature_name(document)
    examples = document.get("examples")
    if "examples" not in document:
        refuse(
            f"JSON Value: {_quote(document)} When method is classify, key"
            " 'examples' is expected and was not found"
        )
    if not isinstance(examples, list):
        refuse(
            f"JSON Value: {_quote(document)} Expecting 'examples' value to be"
            " an list/array"
        )
    if not examples:
        refuse(
            f"JSON Value: {_quote(document)} 'examples' value is an empty array"
        )
    return signature_name


def _signature_name(document: Any) -> str:
    if not isinstance(document, dict):
        refuse(f"JSON Value: {_quote(document)} Is not object")
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        refuse(
            f"JSON Value: {_quote(document)} not formatted correctly."
            " 'signature_name' key must be a string value."
        )
    return name or RECOMMEND


def _parse_json(body: bytes) -> Any:
    try:
        return rapidjson.parse(body)
    except rapidjson.ParseError as error:
        refuse(f"JSON Parse error: {error}")


def _parse_rows(
    document: dict[str, Any], dtypes: Mapping[str, str]
) -> dict[str, Tensor]:
    rows = document["instances"]
    if not isinstance(rows, list):
        refuse(
            f"JSON Value: {_quote(document)} Expecting 'instances' to be an"
            " list/array"
        )
    if not rows:
        refuse(f"JSON Value: {_quote(document)} No values in 'instances' array")
    are_named = _is_named(rows[0])
    if not are_named and len(dtypes) > 1:
        refuse(
            "instances is a plain list, but expecting list of objects as"
            " multiple input tensors required as per tensorinfo_map"
        )
    inputs = {name: Tensor(dtype, []) for name, dtype in dtypes.items()}
    shapes: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        if are_named and not _is_named(row):
            refuse(
                f"Expecting object but got list at item {index} of input list"
            )
        if not are_named and _is_named(row):
            refuse(
                f"Expecting value/list but got object at item {index} of input"
                " list"
            )
        values = row if are_named else dict.fromkeys(dtypes, row)
        for name, value in values.items():
            try:
                _append_row(name, value, inputs, shapes)
            except RequestError as error:
                key = f" key: {name}" if are_named else ""
                refuse(
                    f"Failed to process element: {index}{key} of 'instances'"
                    f" list. Error: {error.code.name}: {error.message}"
                )
        if values.keys() != dtypes.keys():
            refuse(
                f"Failed to process element: {index} of 'instances' list. JSON"
                f" object: {_quote(row)} keys must be equal to:"
                f" {','.join(sorted(dtypes))}"
            )
    return inputs


def _append_row(
    name: str,
    value: Any,
    inputs: dict[str, Tensor],
    shapes: dict[str, list[int]],
) -> None:
    if name not in inputs:
        refuse(f"JSON object: does not have named input: {name}")
    dtype, values = inputs[name]
    shape = _shape_of(value)
    values.append(_parse_values(value, dtype, shape))
    expected = shapes.setdefault(name, shape)
    if math.prod(shape) != math.prod(expected):
        refuse(
            f"Expecting tensor size: {math.prod(expected)} but got:"
            f" {math.prod(shape)}"
        )
    if shape != expected:
        refuse(
            f"Expecting shape {_shape_text(expected)} but got:"
            f" {_shape_text(shape)}"
        )


def _parse_columns(
    columns: Any, dtypes: Mapping[str, str]
) -> dict[str, Tensor]:
    if not _is_named(columns):
        if len(dtypes) > 1:
            refuse(
                "inputs is a plain value/list, but expecting an object as"
                " multiple input tensors required as per tensorinfo_map"
            )
        columns = dict.fromkeys(dtypes, columns)
    inputs = {}
    for name, dtype in sorted(dtypes.items()):
        if name not in columns:
            refuse(f"Missing named input: {name} in 'inputs' object.")
        value = columns[name]
        inputs[name] = Tensor(
            dtype, _parse_values(value, dtype, _shape_of(value))
        )
    return inputs


def _is_named(value: Any) -> bool:
    """Whether a value is an object of named tensors, not a bare tensor."""
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: dict[str, Any]) -> bool:
    return value.keys() == {"b64"} and isinstance(value["b64"], str)


# NumPy's limit is 64 dimensions, TensorFlow's 254. A row is one dimension less.
_MAX_RANK = 63


def _shape_of(value: Any) -> list[int]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if len(shape) > _MAX_RANK:
            refuse("Too many dimensions in tensor")
        if not value:
            break
        value = value[0]
    return shape


def _shape_text(shape: list[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _parse_values(
    value: Any, dtype: str, shape: list[int], level: int = 0
) -> Any:
    if not isinstance(value, list):
        if level != len(shape):
            refuse(
                f"JSON Value: {_quote(value)} found at incorrect level:"
                f" {level + 1} in the JSON DOM. Expected at level: {len(shape)}"
            )
        return _parse_value(value, dtype)
    if level >= len(shape):
        refuse(
            f"Encountered list at unexpected level: {level} expected <"
            f" {len(shape)}"
        )
    if len(value) != shape[level]:
        refuse(
            f"Encountered list at unexpected size: {len(value)} at level:"
            f" {level} expected size: {shape[level]}"
        )
    return [_parse_values(item, dtype, shape, level + 1) for item in value]


INTEGER_RANGES = {
    "int8": range(-(2**7), 2**7),
    "int16": range(-(2**15), 2**15),
    "int32": range(-(2**31), 2**31),
    "int64": range(-(2**63), 2**63),
    "uint8": range(2**8),
    "uint32": range(2**32),
    "uint64": range(2**64),
}


def _parse_value(value: Any, dtype: str) -> Any:
    if dtype == "string":
        if isinstance(value, dict):
            return _decode_base64(value)
        if isinstance(value, str):
            return _to_utf8(value)
    elif dtype == "bool":
        if isinstance(value, bool):
            return value
    elif dtype in ("float", "double"):
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif dtype in INTEGER_RANGES:
        # `type`, because neither True nor 1.0 is an integer of the protocol.
        if type(value) is int and value in INTEGER_RANGES[dtype]:
            return value
    else:
        raise RequestError(
            Code.UNIMPLEMENTED,
            f"Conversion of JSON Value: {_quote(value)} to type: {dtype}",
        )
    return refuse(
        f"JSON Value: {_quote(value)} Type: {_json_type(value)} is not of"
        f" expected type: {dtype}"
    )


def _to_utf8(value: str) -> bytes:
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        refuse("JSON Parse error: The surrogate pair in string is invalid.")


def _decode_base64(value: dict[str, Any]) -> bytes:
    if not _is_base64(value):
        refuse(
            f"JSON Value: {_quote(value)} not formatted correctly for base64"
            " data"
        )
    try:
        return base64.b64decode(value["b64"], validate=True)
    except ValueError:
        refuse("Unable to base64 decode")


def _json_type(value: Any) -> str:
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        return "String"
    if isinstance(value, list):
        return "Array"
    return "Object" if isinstance(value, dict) else "Number"


_PRETTY_ENCODER = json.JSONEncoder(indent=4, ensure_ascii=False)


def _quote(value: Any) -> str:
    """Formats a JSON value, up to the token that exceeds 256 bytes."""
    text = ""
    num_bytes = 0
    for token in _PRETTY_ENCODER.iterencode(value):
        text += token
        num_bytes += len(token.encode("utf-8", "replace"))
        if num_bytes > 256:
            break
    return text

"""TensorFlow Serving's REST protocol as pure functions over bytes.

It holds the names that a served model and its clients share, reads a request
(`parse_route`, `parse_predict_request`) and writes an answer (`encode_*`).
Sockets, models and tensors are somebody else's: a tensor is a nested list
here. It needs the standard library only.

Messages and number formats are those of TensorFlow Serving, odd ones included,
so that a client cannot tell one server from the other.
"""

import base64
import enum
import functools
import json
import math
import re
import struct
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from serving.local_server import rapidjson

# Signatures of the served model. Unless it says otherwise, one takes ITEM_IDS
# and RATINGS, a user's history padded with "" and of shape (batch_size,
# history_length), and returns NUM_KNOWN_ITEMS of shape (batch_size,). The first
# dimension of every tensor is the batch.

# Returns ITEM_IDS and PREDICTED_RATINGS, (batch_size, k), best first; a row
# that runs out of unseen items is padded with "".
RECOMMEND = "serving_default"
# Also takes CANDIDATE_ITEM_IDS, (batch_size, num_candidates), and returns
# ITEM_IDS and PREDICTED_RATINGS of that shape: the candidates, best first.
# What is rated, unknown, "" or there twice leaves a "" at the end.
RECOMMEND_FROM = "recommend_from"
# Also takes CANDIDATE_ITEM_IDS, (batch_size, num_candidates), and returns
# PREDICTED_RATINGS and CANDIDATE_KNOWN of that shape.
PREDICT = "predict"
# Also takes TARGET_ITEM_IDS, (batch_size, num_targets), and returns
# TARGET_KNOWN of that shape, REASON_ITEM_IDS and CONTRIBUTIONS, (batch_size,
# num_targets, num_reasons): the ratings that moved the prediction most.
EXPLAIN = "explain"
# Takes TARGET_ITEM_IDS alone, (batch_size, num_targets), and returns
# TARGET_KNOWN of that shape, SIMILAR_ITEM_IDS and SIMILARITIES, (batch_size,
# num_targets, k): the most similar items, best first.
SIMILAR = "similar"
# Returns CODE, (batch_size, code_units).
ENCODE = "encode"
# RECOMMEND and PREDICT over EXAMPLES alone, (batch_size,), each a serialized
# tf.train.Example with the features ITEM_IDS, RATINGS and CANDIDATE_ITEM_IDS.
RECOMMEND_EXAMPLES = "recommend_examples"
PREDICT_EXAMPLES = "predict_examples"
# Takes ITEM_IDS alone, (batch_size, num_items), and returns ITEM_KNOWN of that
# shape and what requests should look like: HISTORY_LENGTH, the length to pad
# histories to, RATING_MIN and RATING_MAX, (batch_size,).
DESCRIBE = "describe"

# Tensors of the signatures.
ITEM_IDS = "item_ids"
RATINGS = "ratings"
CANDIDATE_ITEM_IDS = "candidate_item_ids"
TARGET_ITEM_IDS = "target_item_ids"
EXAMPLES = "examples"
PREDICTED_RATINGS = "predicted_ratings"
CANDIDATE_KNOWN = "candidate_known"
TARGET_KNOWN = "target_known"
REASON_ITEM_IDS = "reason_item_ids"
CONTRIBUTIONS = "contributions"
SIMILAR_ITEM_IDS = "similar_item_ids"
SIMILARITIES = "similarities"
NUM_KNOWN_ITEMS = "num_known_items"
CODE = "code"
ITEM_KNOWN = "item_known"
HISTORY_LENGTH = "history_length"
RATING_MIN = "rating_min"
RATING_MAX = "rating_max"


class Code(enum.IntEnum):
    """The canonical status codes that TensorFlow and gRPC share."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_HTTP_STATUS = {
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.OUT_OF_RANGE: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.ABORTED: 409,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.CANCELLED: 499,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}


class RequestError(Exception):
    """A request that is answered with an error.

    Args:
        code: the canonical code.
        message: what the caller is told.
    """

    def __init__(self, code: Code, message: str):
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def http_status(self) -> int:
        """The HTTP status of the answer."""
        return _HTTP_STATUS.get(self.code, 500)


# ---- URLs ----

_VERSION_OR_LABEL = r"(?:(?i:/versions/)([0-9]+)|(?i:/labels/)([^/:]+))?"
_POST_TARGET = re.compile(
    rf"(?i:/v1/models/)([^/:]+){_VERSION_OR_LABEL}:(predict|classify|regress)"
)
_GET_TARGET = re.compile(
    rf"(?i:/v1/models)(?:/([^/:]+))?{_VERSION_OR_LABEL}(?:/((?i:metadata)))?"
)


class Route(NamedTuple):
    """What a request asks of which model.

    `verb` is one of predict, classify, regress, status and metadata. Without a
    version and a label the newest version is meant.
    """

    verb: str
    model_name: str
    version: int | None
    label: str | None


def parse_route(method: str, target: str) -> Route:
    """Reads the method and the target of a request.

    Args:
        method: the HTTP method.
        target: the path with its query string, percent-encoded as received.
            No route takes a query string: it belongs to the path.

    Raises:
        RequestError: if the REST protocol has no such request.
    """
    match = None
    if method == "POST":
        match = _POST_TARGET.fullmatch(target)
    elif method == "GET":
        match = _GET_TARGET.fullmatch(target)
    if match is None:
        _refuse(f"Malformed request: {method} {target}")
    model_name, version, label, verb = match.groups()
    if model_name is None:
        _refuse("Missing model name in request.")
    if version is not None and int(version) >= 2**63:
        # TensorFlow Serving answers this one with an empty body.
        _refuse("")
    if method == "GET" and verb != "metadata":
        # `/METADATA` is matched, as all of the path, and then not recognised.
        verb = "status"
    return Route(
        verb=verb,
        model_name=urllib.parse.unquote(model_name),
        version=None if version is None else int(version),
        label=None if label is None else urllib.parse.unquote(label),
    )


# ---- Requests ----


class Tensor(NamedTuple):
    """A tensor as nested lists, with TensorFlow's name of its type.

    The names are those of the SignatureDef without `DT_`: float, double,
    int64, string, bool. Strings are bytes.
    """

    dtype: str
    values: Any


@dataclass(frozen=True)
class PredictRequest:
    """A predict request whose tensors are not decoded yet.

    What its tensors must look like depends on the signature that it names, and
    an unknown model or signature is reported before a malformed tensor.
    """

    signature_name: str
    document: dict[str, Any]

    def decode_inputs(self, dtypes: Mapping[str, str]) -> dict[str, Tensor]:
        """Decodes the tensors of the request.

        As in TensorFlow Serving types are checked and shapes are not, except
        that a tensor must not be ragged: shapes are up to the signature.

        Args:
            dtypes: the type of each input of the signature.

        Raises:
            RequestError: if the request does not hold exactly these inputs.
        """
        if not dtypes:
            _refuse(
                "Failed to get input map for signature: " + self.signature_name
            )
        if not self.document.keys() & {"instances", "inputs"}:
            _refuse("Missing 'inputs' or 'instances' key")
        if {"instances", "inputs"} <= self.document.keys():
            _refuse(
                f"JSON Value: {_quote(self.document)} Not formatted correctly"
                " expecting only one of 'inputs' or 'instances' keys to exist "
            )
        if self._is_by_row:
            return _decode_rows(self.document, dtypes)
        return _decode_columns(self.document["inputs"], dtypes)

    def encode_outputs(self, outputs: Mapping[str, Tensor]) -> bytes:
        """Encodes the answer, by row or by column as the request was.

        A single output stands alone, several are named.

        Raises:
            RequestError: if an output cannot be written that way.
        """
        if self._is_by_row:
            return _encode_rows(outputs)
        return _encode_columns(outputs)

    @property
    def _is_by_row(self) -> bool:
        return "instances" in self.document


def parse_predict_request(body: bytes) -> PredictRequest:
    """Reads the JSON of a predict request and the signature that it names.

    Raises:
        RequestError: if it is not a JSON object or names no signature.
    """
    document = _parse_json(body)
    return PredictRequest(_signature_name(document), document)


def parse_examples_request(body: bytes) -> str:
    """Reads the JSON of a classify or regress request.

    Returns:
        The name of the signature that it names; its examples are not read.

    Raises:
        RequestError: if it holds no list of examples.
    """
    document = _parse_json(body)
    signature_name = _signature_name(document)
    examples = document.get("examples")
    if "examples" not in document:
        _refuse(
            f"JSON Value: {_quote(document)} When method is classify, key"
            " 'examples' is expected and was not found"
        )
    if not isinstance(examples, list):
        _refuse(
            f"JSON Value: {_quote(document)} Expecting 'examples' value to be"
            " an list/array"
        )
    if not examples:
        _refuse(
            f"JSON Value: {_quote(document)} 'examples' value is an empty array"
        )
    return signature_name


def _signature_name(document: Any) -> str:
    if not isinstance(document, dict):
        _refuse(f"JSON Value: {_quote(document)} Is not object")
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        _refuse(
            f"JSON Value: {_quote(document)} not formatted correctly."
            " 'signature_name' key must be a string value."
        )
    return name or RECOMMEND


def _parse_json(body: bytes) -> Any:
    try:
        return rapidjson.parse(body)
    except rapidjson.ParseError as error:
        _refuse(f"JSON Parse error: {error}")


def _decode_rows(
    document: dict[str, Any], dtypes: Mapping[str, str]
) -> dict[str, Tensor]:
    rows = document["instances"]
    if not isinstance(rows, list):
        _refuse(
            f"JSON Value: {_quote(document)} Expecting 'instances' to be an"
            " list/array"
        )
    if not rows:
        _refuse(
            f"JSON Value: {_quote(document)} No values in 'instances' array"
        )
    are_named = _is_named(rows[0])
    if not are_named and len(dtypes) > 1:
        _refuse(
            "instances is a plain list, but expecting list of objects as"
            " multiple input tensors required as per tensorinfo_map"
        )
    inputs = {name: Tensor(dtype, []) for name, dtype in dtypes.items()}
    shapes: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        if are_named and not _is_named(row):
            _refuse(
                f"Expecting object but got list at item {index} of input list"
            )
        if not are_named and _is_named(row):
            _refuse(
                f"Expecting value/list but got object at item {index} of input"
                " list"
            )
        values = row if are_named else dict.fromkeys(dtypes, row)
        for name, value in values.items():
            try:
                _append_row(name, value, inputs, shapes)
            except RequestError as error:
                key = f" key: {name}" if are_named else ""
                _refuse(
                    f"Failed to process element: {index}{key} of 'instances'"
                    f" list. Error: {error.code.name}: {error.message}"
                )
        if values.keys() != dtypes.keys():
            _refuse(
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
        _refuse(f"JSON object: does not have named input: {name}")
    dtype, values = inputs[name]
    shape = _shape_of(value)
    values.append(_decode_values(value, dtype, shape))
    expected = shapes.setdefault(name, shape)
    if math.prod(shape) != math.prod(expected):
        _refuse(
            f"Expecting tensor size: {math.prod(expected)} but got:"
            f" {math.prod(shape)}"
        )
    if shape != expected:
        _refuse(
            f"Expecting shape {_shape_text(expected)} but got:"
            f" {_shape_text(shape)}"
        )


def _decode_columns(
    columns: Any, dtypes: Mapping[str, str]
) -> dict[str, Tensor]:
    if not _is_named(columns):
        if len(dtypes) > 1:
            _refuse(
                "inputs is a plain value/list, but expecting an object as"
                " multiple input tensors required as per tensorinfo_map"
            )
        columns = dict.fromkeys(dtypes, columns)
    inputs = {}
    for name, dtype in sorted(dtypes.items()):
        if name not in columns:
            _refuse(f"Missing named input: {name} in 'inputs' object.")
        value = columns[name]
        inputs[name] = Tensor(
            dtype, _decode_values(value, dtype, _shape_of(value))
        )
    return inputs


def _is_named(value: Any) -> bool:
    """Tells an object of named tensors from a tensor that stands alone."""
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
            _refuse("Too many dimensions in tensor")
        if not value:
            break
        value = value[0]
    return shape


def _shape_text(shape: list[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _decode_values(
    value: Any, dtype: str, shape: list[int], level: int = 0
) -> Any:
    if not isinstance(value, list):
        if level != len(shape):
            _refuse(
                f"JSON Value: {_quote(value)} found at incorrect level:"
                f" {level + 1} in the JSON DOM. Expected at level: {len(shape)}"
            )
        return _decode_value(value, dtype)
    if level >= len(shape):
        _refuse(
            f"Encountered list at unexpected level: {level} expected <"
            f" {len(shape)}"
        )
    if len(value) != shape[level]:
        _refuse(
            f"Encountered list at unexpected size: {len(value)} at level:"
            f" {level} expected size: {shape[level]}"
        )
    return [_decode_values(item, dtype, shape, level + 1) for item in value]


_INTEGERS = {
    "int8": range(-(2**7), 2**7),
    "int16": range(-(2**15), 2**15),
    "int32": range(-(2**31), 2**31),
    "int64": range(-(2**63), 2**63),
    "uint8": range(2**8),
    "uint32": range(2**32),
    "uint64": range(2**64),
}


def _decode_value(value: Any, dtype: str) -> Any:
    if dtype == "string":
        if isinstance(value, dict):
            return _decode_base64(value)
        if isinstance(value, str):
            return _decode_string(value)
    elif dtype == "bool":
        if isinstance(value, bool):
            return value
    elif dtype in ("float", "double"):
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif dtype in _INTEGERS:
        # `type`, because neither True nor 1.0 is an integer of the protocol.
        if type(value) is int and value in _INTEGERS[dtype]:
            return value
    else:
        raise RequestError(
            Code.UNIMPLEMENTED,
            f"Conversion of JSON Value: {_quote(value)} to type: {dtype}",
        )
    return _refuse(
        f"JSON Value: {_quote(value)} Type: {_json_type(value)} is not of"
        f" expected type: {dtype}"
    )


def _decode_string(value: str) -> bytes:
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        _refuse("JSON Parse error: The surrogate pair in string is invalid.")


def _decode_base64(value: dict[str, Any]) -> bytes:
    if not _is_base64(value):
        _refuse(
            f"JSON Value: {_quote(value)} not formatted correctly for base64"
            " data"
        )
    try:
        return base64.b64decode(value["b64"], validate=True)
    except ValueError:
        _refuse("Unable to base64 decode")


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
    """Quotes a JSON value, up to the token that goes beyond 256 bytes."""
    text = ""
    num_bytes = 0
    for token in _PRETTY_ENCODER.iterencode(value):
        text += token
        num_bytes += len(token.encode("utf-8", "replace"))
        if num_bytes > 256:
            break
    return text


def _refuse(message: str) -> NoReturn:
    raise RequestError(Code.INVALID_ARGUMENT, message)


# ---- Answers ----


def encode_error(message: str) -> bytes:
    """Encodes the answer to a refused request."""
    if not message:
        return b""
    text = json.dumps({"error": message}, indent=4, ensure_ascii=False)
    return text.encode("utf-8", "replace")


class VersionStatus(NamedTuple):
    """How far a version of a model has come.

    `state` is one of START, LOADING, AVAILABLE, UNLOADING and END; a version
    that could not be loaded has ended with an error.
    """

    version: int
    state: str
    code: Code
    message: str


def encode_status(statuses: Sequence[VersionStatus]) -> bytes:
    """Encodes the status of a model, in the order given."""
    return _encode_message(
        {
            "model_version_status": [
                {
                    "version": str(each.version),
                    "state": each.state,
                    "status": {
                        "error_code": each.code.name,
                        "error_message": each.message,
                    },
                }
                for each in statuses
            ]
        }
    )


def encode_metadata(
    model_name: str, version: int, signature_defs: Mapping[str, Any]
) -> bytes:
    """Encodes the metadata of one version of a model.

    Args:
        model_name: the name of the model.
        version: the version the metadata is of.
        signature_defs: each SignatureDef in protobuf's JSON mapping, with the
            fields' original names and none left out.
    """
    return _encode_message(
        {
            "model_spec": {
                "name": model_name,
                "signature_name": "",
                "version": str(version),
            },
            "metadata": {"signature_def": {"signature_def": signature_defs}},
        }
    )


def _encode_message(message: dict[str, Any]) -> bytes:
    # Protobuf's JSON printer indents by one, rapidjson by four.
    return (json.dumps(message, indent=1) + "\n").encode()


def format_float(value: float, dtype: str) -> str:
    """Formats a number the short way if that loses nothing, else exactly.

    Args:
        value: a number of type `dtype`.
        dtype: float or double, TensorFlow's names of the types.
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


def _encode_rows(outputs: Mapping[str, Tensor]) -> bytes:
    num_rows = None
    for name, tensor in outputs.items():
        if not isinstance(tensor.values, list):
            _refuse(f"Tensor name: {name} has no shape information ")
        if num_rows is None:
            num_rows = len(tensor.values)
        if len(tensor.values) != num_rows:
            _refuse(
                f"Tensor name: {name} has inconsistent batch size:"
                f" {len(tensor.values)} expecting: {num_rows}"
            )
    columns = {
        name: [_encode_tensor(name, tensor.dtype, row) for row in tensor.values]
        for name, tensor in outputs.items()
    }
    rows = [
        _encode_named(dict(zip(columns, row, strict=True)), indent=8)
        for row in zip(*columns.values(), strict=True)
    ]
    if not rows:
        return b'{\n    "predictions": []\n}'
    text = ",\n        ".join(rows)
    return _to_bytes(f'{{\n    "predictions": [\n        {text}\n    ]\n}}')


def _encode_columns(outputs: Mapping[str, Tensor]) -> bytes:
    columns = {
        name: _encode_tensor(name, *tensor) for name, tensor in outputs.items()
    }
    return _to_bytes(
        f'{{\n    "outputs": {_encode_named(columns, indent=4)}\n}}'
    )


def _encode_named(texts: Mapping[str, str], indent: int) -> str:
    if len(texts) == 1:
        return next(iter(texts.values()))
    margin = "\n" + " " * indent
    members = [
        f"{margin}    {_encode_string(name)}: {text}"
        for name, text in texts.items()
    ]
    return "{" + ",".join(members) + margin + "}"


def _encode_tensor(name: str, dtype: str, values: Any) -> str:
    return _encode_values(_encoder(name, dtype), values)


def _encode_values(encode: Callable[[Any], str], values: Any) -> str:
    if not isinstance(values, list):
        return encode(values)
    if values and isinstance(values[0], list):
        return f"[{', '.join(_encode_values(encode, row) for row in values)}]"
    return f"[{', '.join(map(encode, values))}]"


def _encoder(name: str, dtype: str) -> Callable[[Any], str]:
    """Returns what writes one value of a tensor."""
    if dtype == "string":
        return _encode_base64 if name.endswith("_bytes") else _encode_bytes
    if dtype in ("float", "double"):
        return functools.partial(format_float, dtype=dtype)
    if dtype == "bool" or dtype in _INTEGERS:
        return json.dumps
    _refuse(f"Failed to write JSON value for tensor type: {dtype}")


def _encode_base64(value: bytes) -> str:
    return f'{{"b64": "{base64.b64encode(value).decode()}"}}'


def _encode_bytes(value: bytes) -> str:
    return _encode_string(value.decode("utf-8", "surrogateescape"))


_encode_string = json.JSONEncoder(ensure_ascii=False).encode


def _to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")

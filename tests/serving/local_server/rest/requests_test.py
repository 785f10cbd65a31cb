import json

import pytest

from serving.local_server.errors import RequestError
from serving.local_server.rest import requests, responses
from serving.protocol import Code

HISTORY = {"item_ids": "string", "ratings": "float"}


def parse(body, dtypes):
    request = requests.parse_predict_request(json.dumps(body).encode())
    return request.parse_inputs(dtypes)


def refusal(body, dtypes):
    with pytest.raises(RequestError) as caught:
        parse(body, dtypes)
    return caught.value


# ---- URLs ----


@pytest.mark.parametrize(
    ("method", "target", "route"),
    [
        ("GET", "/v1/models/m", ("status", "m", None, None)),
        ("GET", "/V1/Models/m", ("status", "m", None, None)),
        ("GET", "/v1/models/m/versions/007", ("status", "m", 7, None)),
        ("GET", "/v1/models/m/labels/new", ("status", "m", None, "new")),
        ("GET", "/v1/models/m/metadata", ("metadata", "m", None, None)),
        ("GET", "/v1/models/m/METADATA", ("status", "m", None, None)),
        (
            "GET",
            "/v1/models/m/versions/3/metadata",
            ("metadata", "m", 3, None),
        ),
        ("GET", "/v1/models/m?x=1", ("status", "m?x=1", None, None)),
        ("POST", "/v1/models/m:predict", ("predict", "m", None, None)),
        ("POST", "/v1/models/m:classify", ("classify", "m", None, None)),
        ("POST", "/v1/models/m:regress", ("regress", "m", None, None)),
        (
            "POST",
            "/v1/models/a%2Fb%20%C3%A9/labels/n%3Aw:predict",
            ("predict", "a/b é", None, "n:w"),
        ),
        (
            "POST",
            "/v1/models/m/versions/9223372036854775807:predict",
            ("predict", "m", 2**63 - 1, None),
        ),
    ],
)
def test_a_target_is_read_as_a_route(method, target, route):
    assert requests.parse_route(method, target) == route


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/v1/"),
        ("GET", "/v1/models/"),
        ("GET", "/v1/models/m/"),
        ("GET", "/v1/models/m:predict"),
        ("GET", "/v1/models/m/versions/x"),
        ("GET", "/v1/models/m/versions/1/labels/x"),
        ("GET", "/v1/models/m/versions/٣"),
        ("POST", "/v1/models/m"),
        ("POST", "/v1/models/m:Predict"),
        ("POST", "/v1/models/m:predict/"),
        ("POST", "/v1/models/m:predict?a=b"),
        ("PUT", "/v1/models/m:predict"),
        ("HEAD", "/v1/models/m"),
    ],
)
def test_any_other_target_is_malformed(method, target):
    with pytest.raises(RequestError) as caught:
        requests.parse_route(method, target)
    assert caught.value.message == f"Malformed request: {method} {target}"
    assert caught.value.http_status == 400


@pytest.mark.parametrize("target", ["/v1/models", "/v1/models/versions/3"])
def test_a_model_must_be_named(target):
    with pytest.raises(RequestError, match=r"Missing model name in request\."):
        requests.parse_route("GET", target)


def test_a_version_beyond_int64_is_refused_without_a_word():
    with pytest.raises(RequestError, match=r"^$") as caught:
        requests.parse_route("GET", f"/v1/models/m/versions/{2**63}")
    assert responses.format_error(caught.value.message) == b""


# ---- JSON ----


def test_the_signature_is_the_default_unless_named():
    def name_of(body):
        return requests.parse_predict_request(body).signature_name

    assert name_of(b"{}") == "serving_default"
    assert name_of(b'{"signature_name": ""}') == "serving_default"
    assert name_of(b'{"signature_name": "predict"}') == "predict"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b" \n\t", "JSON Parse error: The document is empty. at offset: 3"),
        (b"[1]", "JSON Value: [\n    1\n] Is not object"),
        (
            b'{"signature_name": 1}',
            'JSON Value: {\n    "signature_name": 1\n} not formatted correctly.'
            " 'signature_name' key must be a string value.",
        ),
    ],
    ids=["empty", "white space", "list", "signature name"],
)
def test_a_body_that_is_no_request_is_refused(body, message):
    with pytest.raises(RequestError) as caught:
        requests.parse_predict_request(body)
    assert caught.value.message == message
    assert caught.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("depth", "message"),
    [
        (64, "Too many dimensions in tensor"),
        (1_000_000, r"JSON Parse error: Nested too deeply\."),
    ],
)
def test_nesting_beyond_arrays_is_refused(depth, message):
    body = b'{"inputs": ' + b"[" * depth + b"]" * depth + b"}"
    with pytest.raises(RequestError, match=message):
        requests.parse_predict_request(body).parse_inputs({"x": "float"})


def test_nesting_that_arrays_take_is_parsed():
    values = []
    for _ in range(62):
        values = [values]
    for key in ("inputs", "instances"):
        assert parse({key: values}, {"x": "float"})["x"].values == values


# ---- Tensors of a request ----


def test_rows_become_one_tensor_per_input():
    rows = [
        {"item_ids": ["a", "b"], "ratings": [1, 2.5]},
        {"ratings": [3, 4], "item_ids": ["é", ""]},
    ]
    assert parse({"instances": rows}, HISTORY) == {
        "item_ids": ("string", [[b"a", b"b"], ["é".encode(), b""]]),
        "ratings": ("float", [[1.0, 2.5], [3.0, 4.0]]),
    }


def test_columns_keep_their_shapes_and_unknown_ones_are_ignored():
    columns = {"item_ids": [["a"], ["b"]], "ratings": 3, "other": "x"}
    assert parse({"inputs": columns}, HISTORY) == {
        "item_ids": ("string", [[b"a"], [b"b"]]),
        "ratings": ("float", 3.0),
    }


@pytest.mark.parametrize(
    ("body", "values"),
    [
        ({"instances": [1, 2]}, [1, 2]),
        ({"instances": [{"x": 1}, {"x": 2}]}, [1, 2]),
        ({"inputs": [[1], [2]]}, [[1], [2]]),
        ({"inputs": {"x": 1}}, 1),
        ({"inputs": []}, []),
        ({"instances": [[], []]}, [[], []]),
    ],
)
def test_a_single_input_needs_no_name(body, values):
    assert parse(body, {"x": "int64"}) == {"x": ("int64", values)}


def test_strings_may_be_given_in_base64():
    assert parse(
        {"instances": [{"b64": "/w=="}, "b64"]}, {"text": "string"}
    ) == {"text": ("string", [b"\xff", b"b64"])}
    assert parse({"inputs": {"b64": "YQ=="}}, {"text": "string"}) == {
        "text": ("string", b"a")
    }


def test_bytes_that_are_no_utf8_travel_through():
    body = b'{"inputs": "\xff\xc3\xa9"}'
    request = requests.parse_predict_request(body)
    inputs = request.parse_inputs({"text": "string"})
    assert inputs["text"].values == b"\xff\xc3\xa9"
    assert b'"\xff\xc3\xa9"' in responses.format_outputs(inputs, by_row=False)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("int64", 2**63 - 1),
        ("int64", -(2**63)),
        ("uint64", 2**64 - 1),
        ("int32", -(2**31)),
        ("uint8", 255),
        ("bool", False),
        ("double", 0.1),
        ("float", 7),
    ],
)
def test_values_of_the_right_type_are_taken(dtype, value):
    assert parse({"inputs": value}, {"x": dtype}) == {"x": (dtype, value)}


@pytest.mark.parametrize(
    ("dtype", "value", "type_name"),
    [
        ("int64", 101.0, "Number"),
        ("int64", 2**63, "Number"),
        ("int64", True, "True"),
        ("int32", 2**31, "Number"),
        ("uint8", -1, "Number"),
        ("float", "abc", "String"),
        ("float", False, "False"),
        ("float", None, "Null"),
        ("double", {"b64": "YQ=="}, "Object"),
        ("bool", 1, "Number"),
        ("string", 5, "Number"),
    ],
)
def test_values_of_another_type_are_refused(dtype, value, type_name):
    error = refusal({"inputs": [value]}, {"x": dtype})
    quoted = json.dumps(value, indent=4)
    assert error.message == (
        f"JSON Value: {quoted} Type: {type_name} is not of expected type:"
        f" {dtype}"
    )
    assert error.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("dtype", ["half", "bfloat16", "uint16", "complex64"])
def test_types_that_cannot_be_fed_are_unimplemented_in_columns_only(dtype):
    message = f"Conversion of JSON Value: 1 to type: {dtype}"
    by_column = refusal({"inputs": [1]}, {"x": dtype})
    assert (by_column.code, by_column.message) == (Code.UNIMPLEMENTED, message)
    assert by_column.http_status == 501
    by_row = refusal({"instances": [1]}, {"x": dtype})
    assert by_row.code is Code.INVALID_ARGUMENT
    assert by_row.message == (
        "Failed to process element: 0 of 'instances' list. Error:"
        f" UNIMPLEMENTED: {message}"
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("*", "Unable to base64 decode"),
        ("é", "Unable to base64 decode"),
        (
            1,
            'JSON Value: {\n    "b64": 1\n} not formatted correctly for base64'
            " data",
        ),
    ],
)
def test_bad_base64_is_refused(value, message):
    error = refusal({"inputs": [{"b64": value}]}, {"text": "string"})
    assert error.message == message


def test_half_a_surrogate_pair_is_refused():
    request = requests.parse_predict_request(b'{"inputs": "\\ud800"}')
    with pytest.raises(RequestError, match="surrogate pair in string"):
        request.parse_inputs({"text": "string"})


ROW = "Failed to process element: "


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Missing 'inputs' or 'instances' key"),
        (
            {"inputs": 1, "instances": 2},
            'JSON Value: {\n    "inputs": 1,\n    "instances": 2\n} Not'
            " formatted correctly expecting only one of 'inputs' or"
            " 'instances' keys to exist ",
        ),
        (
            {"instances": 5},
            "JSON Value: {\n    \"instances\": 5\n} Expecting 'instances' to be"
            " an list/array",
        ),
        (
            {"instances": []},
            "JSON Value: {\n    \"instances\": []\n} No values in 'instances'"
            " array",
        ),
        (
            {"instances": [["a"]]},
            "instances is a plain list, but expecting list of objects as"
            " multiple input tensors required as per tensorinfo_map",
        ),
        (
            {"inputs": [["a"]]},
            "inputs is a plain value/list, but expecting an object as multiple"
            " input tensors required as per tensorinfo_map",
        ),
        (
            {"instances": [{"ratings": 1}]},
            ROW + "0 of 'instances' list. JSON object: {\n    \"ratings\": 1\n}"
            " keys must be equal to: item_ids,ratings",
        ),
        (
            {"instances": [{"item_ids": "a", "ratings": 1, "x": 2}]},
            ROW + "0 key: x of 'instances' list. Error: INVALID_ARGUMENT: JSON"
            " object: does not have named input: x",
        ),
        (
            {"inputs": {"ratings": [1]}},
            "Missing named input: item_ids in 'inputs' object.",
        ),
        (
            {"instances": [{"item_ids": "a", "ratings": "abc"}]},
            ROW + "0 key: ratings of 'instances' list. Error: INVALID_ARGUMENT:"
            ' JSON Value: "abc" Type: String is not of expected type: float',
        ),
        (
            {"instances": [{"item_ids": "a", "ratings": 1}, ["a"]]},
            "Expecting object but got list at item 1 of input list",
        ),
    ],
)
def test_requests_that_do_not_hold_the_inputs_are_refused(body, message):
    assert refusal(body, HISTORY).message == message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"instances": [[1, 2], [3]]},
            ROW + "1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting"
            " tensor size: 2 but got: 1",
        ),
        (
            {"instances": [[1, 2], [[3, 4]]]},
            ROW + "1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting"
            " shape [2] but got: [1,2]",
        ),
        (
            {"instances": [1, {"x": 2}]},
            "Expecting value/list but got object at item 1 of input list",
        ),
        (
            {"inputs": [[1, 2], [3]]},
            "Encountered list at unexpected size: 1 at level: 1 expected size:"
            " 2",
        ),
        (
            {"inputs": [1, [2]]},
            "Encountered list at unexpected level: 1 expected < 1",
        ),
        (
            {"inputs": [[4], 5]},
            "JSON Value: 5 found at incorrect level: 2 in the JSON DOM."
            " Expected at level: 2",
        ),
    ],
)
def test_ragged_tensors_are_refused(body, message):
    assert refusal(body, {"x": "int64"}).message == message


def test_a_signature_without_inputs_cannot_be_asked():
    assert refusal({"inputs": {}}, {}).message == (
        "Failed to get input map for signature: serving_default"
    )

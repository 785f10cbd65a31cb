import json
import math
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving.local_server.errors import RequestError
from serving.local_server.rest import responses
from serving.local_server.rest.requests import Tensor
from serving.protocol import Code, VersionStatus


def format_outputs(outputs, by_row=True):
    return responses.format_outputs(outputs, by_row).decode()


# ---- Numbers ----


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (3.0, "3.0"),
        (0.1, "0.1"),
        (1e6, "1e+06"),
        (9000000.0, "9e+06"),
        (123456.0, "123456.0"),
        (16777216.0, "16777216.0"),
        (1 / 3, "0.333333343"),
        (3e-05, "3e-05"),
        (3.4028234663852886e38, "3.40282347e+38"),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
    ],
)
def test_float32_is_written_as_tensorflow_serving_does(value, text):
    (float32,) = struct.unpack("f", struct.pack("f", value))
    assert responses.format_float(float32, "float") == text


def test_float64_is_written_with_more_digits():
    assert responses.format_float(0.1, "double") == "0.1"
    assert responses.format_float(1 / 3, "double") == "0.33333333333333331"
    largest = 1.7976931348623157e308
    assert float(responses.format_float(largest, "double")) == largest


@given(st.floats(width=32, allow_nan=False))
@example(1.1754943508222875e-38)
def test_every_float32_comes_back(value):
    text = responses.format_float(value, "float")
    (read_back,) = struct.unpack("f", struct.pack("f", json.loads(text)))
    assert read_back == value
    assert math.isinf(value) or isinstance(json.loads(text), float)


# ---- Answers ----


def test_a_single_output_stands_alone():
    outputs = {"y": Tensor("int64", [1, 2])}
    assert json.loads(format_outputs(outputs)) == {"predictions": [1, 2]}
    assert json.loads(format_outputs(outputs, by_row=False)) == {
        "outputs": [1, 2]
    }


def test_several_outputs_are_named():
    outputs = {
        "ids": Tensor("string", [["é".encode(), b'"'], [b"", b"\n"]]),
        "known": Tensor("bool", [True, False]),
    }
    assert json.loads(format_outputs(outputs)) == {
        "predictions": [
            {"ids": ["é", '"'], "known": True},
            {"ids": ["", "\n"], "known": False},
        ]
    }
    assert json.loads(format_outputs(outputs, by_row=False)) == {
        "outputs": {"ids": [["é", '"'], ["", "\n"]], "known": [True, False]}
    }


def test_an_answer_without_rows_is_still_json():
    assert json.loads(format_outputs({"y": Tensor("float", [])})) == {
        "predictions": []
    }


def test_outputs_named_bytes_are_written_in_base64():
    outputs = {"y_bytes": Tensor("string", [b"\xff"])}
    assert json.loads(format_outputs(outputs)) == {
        "predictions": [{"b64": "/w=="}]
    }


def test_rows_need_a_batch_dimension():
    with pytest.raises(
        RequestError, match=r"^Tensor name: y has no shape information $"
    ):
        format_outputs({"y": Tensor("float", 1.0)})
    assert json.loads(
        format_outputs({"y": Tensor("float", 1.0)}, by_row=False)
    ) == {"outputs": 1.0}


def test_rows_need_outputs_of_one_batch_size():
    message = r"^Tensor name: b has inconsistent batch size: 1 expecting: 2$"
    with pytest.raises(RequestError, match=message):
        format_outputs(
            {"a": Tensor("int64", [1, 2]), "b": Tensor("int64", [1])}
        )


def test_half_precision_cannot_be_written():
    with pytest.raises(
        RequestError,
        match=r"^Failed to write JSON value for tensor type: half$",
    ):
        format_outputs({"y": Tensor("half", [1.0])})


def test_an_error_is_written_byte_by_byte_as_tensorflow_serving_does():
    assert responses.format_error('no "é" \udcff') == (
        '{\n    "error": "no \\"é\\" ?"\n}'.encode()
    )


def test_a_status_has_a_state_and_an_error():
    statuses = [
        VersionStatus(10, "END", Code.DATA_LOSS, "broken"),
        VersionStatus(9, "AVAILABLE", Code.OK, ""),
    ]
    answer = json.loads(responses.format_status(statuses))
    assert answer["model_version_status"] == [
        {
            "version": "10",
            "state": "END",
            "status": {"error_code": "DATA_LOSS", "error_message": "broken"},
        },
        {
            "version": "9",
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        },
    ]

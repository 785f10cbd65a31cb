import math

import pytest

from serving.local_server.rest import rapidjson
from serving.local_server.rest.rapidjson import ParseError


# What rapidjson 1.1 says of these, which TensorFlow Serving reads JSON with.
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"a": nope}', "Invalid value. at offset: 7"),
        ('{"é": nope}'.encode(), "Invalid value. at offset: 8"),
        (b'\xef\xbb\xbf{"\xff": tru}', "Invalid value. at offset: 12"),
        (b'{"a": +1}', "Invalid value. at offset: 6"),
        (b'{"a": .5}', "Invalid value. at offset: 6"),
        (b'{"a": -}', "Invalid value. at offset: 7"),
        (b'{"a": [Inf, -Inf, Infi]}', "Invalid value. at offset: 22"),
        (b'{"a": [1, ]}', "Invalid value. at offset: 10"),
        (b'{"a": 1, }', "Missing a name for object member. at offset: 9"),
        (b'{"a":', "Invalid value. at offset: 5"),
        (b'{"a": 1.}', "Miss fraction part in number. at offset: 8"),
        (b'{"a": -0e+}', "Miss exponent in number. at offset: 10"),
        (
            b'{"a": 01}',
            "Missing a comma or '}' after an object member. at offset: 7",
        ),
        (
            b'{"a": [{"]": 1}, 1.5.]}',
            "Missing a comma or ']' after an array element. at offset: 20",
        ),
        (
            b'  {"a": [], "b": 1',
            "Missing a comma or '}' after an object member. at offset: 18",
        ),
        (b"{a: 1}", "Missing a name for object member. at offset: 1"),
        (
            b'{"a" 1}',
            "Missing a colon after a name of object member. at offset: 5",
        ),
        (
            b'{"a": "b}',
            "Missing a closing quotation mark in string. at offset: 9",
        ),
        (b'{"a": "\n"}', "Invalid escape character in string. at offset: 7"),
        (b'{"a": "\\x"}', "Invalid escape character in string. at offset: 7"),
        (
            b'{"a": "\\u00x9"}',
            "Incorrect hex digit after \\u escape in string. at offset: 7",
        ),
        (b"}", "The document is empty. at offset: 0"),
        (b"\xef\xbb\xbf", "The document is empty. at offset: 3"),
        (
            b'{"a": 1e400.5}',
            "Number too big to be stored in double. at offset: 6",
        ),
    ],
)
def test_broken_json_is_reported_in_rapidjsons_words(body, message):
    with pytest.raises(ParseError) as caught:
        rapidjson.parse(body)
    assert str(caught.value) == message


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" * 5000])
def test_numbers_beyond_double_are_refused(number):
    body = f'{{"é {number}": 1, "inputs": {number}}}'
    offset = len(body.encode()) - len(number) - 1
    message = f"Number too big to be stored in double. at offset: {offset}$"
    with pytest.raises(ParseError, match=message):
        rapidjson.parse(body.encode())


def test_infinity_has_a_short_name_too():
    body = b'{"Inf": "Inf, -Inf", "inputs": [Inf, -Inf, Infinity]}'
    assert rapidjson.parse(body) == {
        "Inf": "Inf, -Inf",
        "inputs": [math.inf, -math.inf, math.inf],
    }


def test_what_rapidjson_takes_is_taken():
    body = (
        b'\xef\xbb\xbf {"inputs": [NaN, Infinity, -Infinity, 1e300],'
        b' "inputs": 2, "\xff": {}} trailing }'
    )
    document = rapidjson.parse(body)
    nan, *others = document["inputs"]
    assert math.isnan(nan)
    assert others == [math.inf, -math.inf, 1e300]
    assert document["\udcff"] == {}

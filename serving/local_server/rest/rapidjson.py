"""Parses JSON as rapidjson does, TensorFlow Serving's parser.

Of duplicate keys the first one wins; `NaN`, `Infinity` and `Inf` are numbers;
a byte order mark is ignored, and so is anything after the value. Errors have
rapidjson's text and its offset in bytes. Python's decoder does the work.

Source: error/en.h and reader.h of https://github.com/Tencent/rapidjson.
"""

import json
import math
import re
from typing import Any


class ParseError(ValueError):
    """A text that is not JSON; the message is rapidjson's."""


def parse(body: bytes) -> Any:
    """Parses the first JSON value of a text and ignores the rest.

    Bytes that are not UTF-8 become surrogates, as with "surrogateescape".

    Raises:
        ParseError: if the text does not begin with a JSON value.
    """
    text = body.decode("utf-8", "surrogateescape")
    if not text:
        raise ParseError("The document is empty")
    start = len(text) - len(text.removeprefix("\ufeff").lstrip(" \t\r\n"))
    # No value begins with these; the slice is "" at the end of the text.
    if text[start : start + 1] in ",:]}":
        raise _error(text, "The document is empty.", start)
    try:
        try:
            document, _ = _DECODER.raw_decode(text, start)
        except json.JSONDecodeError as error:
            if not _INF.match(text, error.pos):
                raise
            text = _spell_out_infinities(text)
            document, _ = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise _error(text, *_rapidjson_error(text, error)) from error
    except _NumberTooBigError as error:
        raise _error(
            text,
            "Number too big to be stored in double.",
            len(_before(text, error.number)),
        ) from error
    except RecursionError:
        raise ParseError("Nested too deeply.") from None
    return document


def _error(text: str, reason: str, position: int) -> ParseError:
    before = text[:position].replace(_SPELLED_OUT, "Inf")
    offset = len(before.encode("utf-8", "surrogateescape"))
    return ParseError(f"{reason} at offset: {offset}")


_STRING = r'"(?:[^"\\]|\\.)*"'
_WORDS = ("null", "true", "false", "NaN", "Infinity", "-Infinity")
_NUMBER_AT_END = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$")
_STRING_OR_BRACKET = re.compile(_STRING + r"|[][{}]", re.DOTALL)


def _rapidjson_error(text: str, error: json.JSONDecodeError) -> tuple[str, int]:
    """Translates an error of Python's decoder: rapidjson's text, position."""
    position = error.pos
    match error.msg.split()[:2]:
        case ["Expecting", "value"]:
            return "Invalid value.", _end_of_word(text, position)
        case ["Expecting", "property"]:
            return "Missing a name for object member.", position
        case ["Expecting", "':'"]:
            return "Missing a colon after a name of object member.", position
        case ["Illegal", "trailing"]:
            # Python 3.13 and newer stop at the comma already.
            after = text[position + 1 :].lstrip(" \t\r\n")
            position = len(text) - len(after)
            if after.startswith("]"):
                return "Invalid value.", position
            return "Missing a name for object member.", position
        case ["Expecting", "','"]:
            return _missing_comma_error(text, position)
        case ["Unterminated", _]:
            return "Missing a closing quotation mark in string.", len(text)
        case ["Invalid", "\\uXXXX"]:
            reason = "Incorrect hex digit after \\u escape in string."
            return reason, position - 1
        case _:
            return "Invalid escape character in string.", position


def _end_of_word(text: str, start: int) -> int:
    """Returns where the word that begins at `start` stops being a literal."""
    end = start
    while end < len(text) and any(
        word.startswith(text[start : end + 1]) for word in _WORDS
    ):
        end += 1
    return end


def _missing_comma_error(text: str, position: int) -> tuple[str, int]:
    # Python's decoder stops before what rapidjson parses as part of a number.
    number = _NUMBER_AT_END.search(text[max(0, position - 400) : position])
    if number and not number[2]:
        if text.startswith(".", position) and not number[1]:
            return "Miss fraction part in number.", position + 1
        if text.startswith(("e", "E"), position):
            has_sign = text.startswith(("+", "-"), position + 1)
            return "Miss exponent in number.", position + 1 + has_sign
    brackets = [""]
    for token in _STRING_OR_BRACKET.finditer(text, 0, position):
        if token[0] in "[{":
            brackets.append(token[0])
        elif token[0] in "]}":
            brackets.pop()
    if brackets[-1] == "{":
        return "Missing a comma or '}' after an object member.", position
    return "Missing a comma or ']' after an array element.", position


# rapidjson also has a short name for infinity. Python's decoder gets the long
# one, marked by the white space after it, so that offsets can be corrected.
_INF = re.compile(r"-?Inf(?!i)")
_STRING_OR_INF = re.compile(_STRING + r"|Inf(?!i)", re.DOTALL)
_SPELLED_OUT = "Infinity\r\t"


def _spell_out_infinities(text: str) -> str:
    return _STRING_OR_INF.sub(
        lambda match: _SPELLED_OUT if match[0] == "Inf" else match[0], text
    )


def _first_of_each_key(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        members.setdefault(key, value)
    return members


class _NumberTooBigError(Exception):
    def __init__(self, number: str):
        super().__init__(number)
        self.number = number


_STRING_OR_NUMBER = re.compile(
    _STRING + r"|-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?", re.DOTALL
)


def _before(text: str, number: str) -> str:
    """Returns the text before the first such number of a JSON document."""
    tokens = _STRING_OR_NUMBER.finditer(text)
    return text[: next(each.start() for each in tokens if each[0] == number)]


def _parse_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _NumberTooBigError(text)
    return number


def _parse_int(text: str) -> float:
    # No integer type holds more than 20 digits, and Python's `int` refuses
    # thousands of them.
    return int(text) if len(text) <= 20 else _parse_float(text)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_first_of_each_key,
    parse_float=_parse_float,
    parse_int=_parse_int,
)

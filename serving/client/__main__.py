"""Asks a served model, and prints its answer as a table or as JSON.

    python -m serving.client recommend \
        --url http://localhost:8501/v1/models/recommender \
        --rating "Toy Story (1995)=5" --rating "Heat (1995)=3.5"

It needs what `serving.client` needs.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from serving.client.client import Client
from serving.client.errors import ServingError
from serving.client.ids import to_id
from serving.client.rating_files import read_ratings
from serving.client.results import (
    Prediction,
    Reason,
    Recommendation,
    Recommendations,
    SimilarItem,
)
from serving.command_line import Parser, fail

_Pairs = list[tuple[str, float]]

_NUM_ITEMS = 10


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command."""
    parser = _make_parser()
    flags = parser.parse(arguments)
    try:
        ratings: _Pairs = []
        if flags.command in _USER_COMMANDS:
            for path in flags.ratings:
                file = read_ratings(path)
                _note(f"{path}: {file.columns}")
                ratings += file.ratings
            ratings += flags.rating
        client = Client(flags.url, flags.timeout_seconds)
    except ValueError as error:
        parser.error(str(error))
    except ServingError as error:
        fail(str(error), exit_code=1)
    try:
        with client:
            answer, table = _COMMANDS[flags.command](client, ratings, flags)
    except ServingError as error:
        fail(str(error), exit_code=1)
    if flags.json:
        text = json.dumps(answer, indent=2, ensure_ascii=False)
    else:
        text = "\n".join(table)
    sys.stdout.write(f"{text}\n")


# ---- The commands: each returns the JSON and the lines of the table ----

_Output = tuple[dict[str, Any], list[str]]


def _recommend(
    client: Client, ratings: _Pairs, flags: argparse.Namespace
) -> _Output:
    answer = client.recommend(ratings, flags.candidate or None)
    num_wanted = flags.num_items or _NUM_ITEMS
    if flags.num_items and not flags.candidate:
        answer = _recommend_more(client, ratings, num_wanted, answer)
    items = answer.items[:num_wanted]
    return _output(
        client,
        ratings,
        answer.num_known_items,
        {"items": [item._asdict() for item in items]},
        [
            "rank  predicted rating  item",
            *(
                f"{rank:4}  {item.predicted_rating:16.3f}  {_name(item)}"
                for rank, item in enumerate(items, start=1)
            ),
        ],
    )


def _recommend_more(
    client: Client, ratings: _Pairs, num_wanted: int, answer: Recommendations
) -> Recommendations:
    """Asks for more items than the model answers with by default."""
    if len(answer.items) >= num_wanted:
        return answer
    try:
        return client.recommend(ratings, num_recommendations=num_wanted)
    except ServingError as error:
        if not error.is_refusal:
            raise
        # A model of an earlier release.
        _note_limit(num_wanted, len(answer.items))
        return answer


def _predict(
    client: Client, ratings: _Pairs, flags: argparse.Namespace
) -> _Output:
    answer = client.predict(ratings, flags.candidate)
    return _output(
        client,
        ratings,
        answer.num_known_items,
        {
            "items": [
                {
                    name: value
                    for name, value in item._asdict().items()
                    if value is not None
                }
                for item in answer.items
            ]
        },
        [
            "predicted rating  known  item",
            *(
                f"{_format_prediction(item):>16}"
                f"  {'yes' if item.known else 'no':5}  {item.item_id}"
                for item in answer.items
            ),
        ],
    )


def _format_prediction(item: Prediction) -> str:
    rating = f"{item.predicted_rating:.3f}"
    if item.standard_deviation is None:
        return rating
    return f"{rating} \N{PLUS-MINUS SIGN} {item.standard_deviation:.3f}"


def _explain(
    client: Client, ratings: _Pairs, flags: argparse.Namespace
) -> _Output:
    answer = client.explain(ratings, flags.target)
    given = dict(ratings)

    def rating_of(reason: Reason) -> float:
        return given.get(reason.item_id, given.get(reason.title, math.nan))

    lines = ["contribution  rating  item"]
    for item in answer.items:
        lines.append(_heading(item.item_id, item.known))
        lines += [
            f"{reason.contribution:+12.3f}"
            f"  {rating_of(reason):6g}  {_name(reason)}"
            for reason in item.reasons
        ]
    return _output(
        client,
        ratings,
        answer.num_known_items,
        {
            "items": [
                {
                    **item._asdict(),
                    "reasons": [reason._asdict() for reason in item.reasons],
                }
                for item in answer.items
            ]
        },
        lines,
    )


def _similar(
    client: Client, ratings: _Pairs, flags: argparse.Namespace
) -> _Output:
    answer = client.similar(flags.item)
    document = []
    lines = ["similarity  item"]
    for item_id, known, similar_items in answer.items:
        items = similar_items[: flags.num_items or _NUM_ITEMS]
        if known:
            _note_limit(flags.num_items, len(similar_items))
        document.append(
            {
                "item_id": item_id,
                "known": known,
                "items": [item._asdict() for item in items],
            }
        )
        lines.append(_heading(item_id, known))
        lines += [f"{item.similarity:10.3f}  {_name(item)}" for item in items]
    return {"items": document}, lines


def _encode(
    client: Client, ratings: _Pairs, flags: argparse.Namespace
) -> _Output:
    answer = client.encode(ratings)
    return _output(
        client,
        ratings,
        answer.num_known_items,
        {"code": answer.code},
        [
            "unit       value",
            *(
                f"{unit:4}  {value:10.4f}"
                for unit, value in enumerate(answer.code)
            ),
        ],
    )


def _status(
    client: Client, ratings: _Pairs, flags: argparse.Namespace
) -> _Output:
    versions = client.status()
    return (
        {
            "versions": [
                {
                    "version": each.version,
                    "state": each.state,
                    "error_message": each.error_message,
                }
                for each in versions
            ]
        },
        [
            "version  state      error",
            *(
                f"{each.version:7}  {each.state:9}"
                f"  {each.error_message}".rstrip()
                for each in versions
            ),
        ],
    )


_COMMANDS = {
    "recommend": _recommend,
    "predict": _predict,
    "explain": _explain,
    "similar": _similar,
    "encode": _encode,
    "status": _status,
}
# The commands that take the ratings of a user.
_USER_COMMANDS = ("recommend", "predict", "explain", "encode")


def _heading(item_id: str, known: bool) -> str:
    return f"{item_id}:{'' if known else ' unknown to the model'}"


def _name(item: Recommendation | Reason | SimilarItem) -> str:
    """Returns an item's title and, if it is another text, its id."""
    if item.title == item.item_id:
        return item.item_id
    return f"{item.title}  [{item.item_id}]"


def _note(text: str) -> None:
    """Prints a line beside the answer."""
    sys.stderr.write(f"{text}\n")


def _note_limit(num_wanted: int | None, num_items: int) -> None:
    if num_wanted and num_wanted > num_items:
        _note(
            f"The model answers with {num_items} items, not {num_wanted}. How"
            " many it may answer with is chosen at export: --top-k."
        )


def _find_unknown(client: Client, item_ids: list[str]) -> list[str]:
    """Returns the unknown items; none if the model is too old to say."""
    try:
        return client.find_unknown(item_ids)
    except ServingError:
        return []


def _output(
    client: Client,
    ratings: _Pairs,
    num_known_items: int,
    answer: dict[str, Any],
    lines: Iterable[str],
) -> _Output:
    # The model counts an item that is named twice once.
    rated = list(dict.fromkeys(item_id for item_id, _ in ratings))
    unknown = (
        _find_unknown(client, rated) if num_known_items < len(rated) else []
    )
    return (
        {
            "num_rated_items": len(rated),
            "num_known_items": num_known_items,
            "unknown_items": unknown,
            **answer,
        },
        [
            f"{num_known_items} of {len(rated)} rated items are known to the"
            " model",
            *([f"Unknown: {', '.join(map(repr, unknown))}"] if unknown else []),
            "",
            *lines,
        ],
    )


# ---- Flags ----


def _make_parser() -> Parser:
    parser = Parser(
        prog="python -m serving.client",
        description=(
            "Asks a served model about a user, given their ratings, or about"
            " items."
        ),
    )
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True
    )
    parsers = {
        name: commands.add_parser(name, help=help_text)
        for name, help_text in (
            ("recommend", "prints the items that the user would like best"),
            ("predict", "prints the ratings that the user would give to items"),
            (
                "explain",
                "prints the ratings that moved the scores of items most",
            ),
            (
                "similar",
                "prints the items most similar to items, by the cosine of the"
                " model's own item vectors, the rows of its output kernel",
            ),
            ("encode", "prints the user's code, the output of the encoder"),
            ("status", "prints which versions of the model are served"),
        )
    }
    for name, command in parsers.items():
        command.add_argument(
            "--url",
            required=True,
            help="the URL of the model, such as"
            " http://localhost:8501/v1/models/recommender"
            " or grpc://localhost:8500/recommender",
        )
        command.add_argument(
            "--timeout_seconds",
            type=_parse_seconds,
            default=10.0,
            help="the most time to wait, retries included (default: 10)",
        )
        command.add_argument(
            "--json", action="store_true", help="print JSON, not a table"
        )
        if name in _USER_COMMANDS:
            _add_rating_flags(command)
    for name, help_text in (
        ("recommend", "the most items to print (default: 10)"),
        ("similar", "the most items to print per item (default: 10)"),
    ):
        parsers[name].add_argument(
            "--num_items", type=_parse_num_items, help=help_text
        )
    for name, flag, help_text in (
        ("recommend", "--candidate", "an item to choose from"),
        ("predict", "--candidate", "an item whose rating to predict"),
        ("explain", "--target", "an item whose score to explain"),
        ("similar", "--item", "an item to compare with all others"),
    ):
        parsers[name].add_argument(
            flag,
            type=_parse_item_id,
            action="append",
            required=name != "recommend",
            metavar="ITEM",
            help=f"{help_text}; may be repeated",
        )
    return parser


def _add_rating_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--rating",
        type=_parse_rating,
        action="append",
        default=[],
        metavar="ITEM=RATING",
        help="a rating that the user gave, of an item by id or title; may be"
        " repeated",
    )
    command.add_argument(
        "--ratings",
        action="append",
        default=[],
        metavar="FILE",
        help="a CSV, JSON or JSON lines file of such ratings, - for the"
        " standard input",
    )


def _parse_rating(text: str) -> tuple[str, float]:
    # The last "=", because titles may hold one.
    name, _, rating_text = text.rpartition("=")
    item_id = to_id(name)
    try:
        rating = float(rating_text)
    except ValueError:
        rating = math.nan
    if not item_id or not math.isfinite(rating):
        raise argparse.ArgumentTypeError(
            "must be an item, '=' and a finite number, such as"
            f" 'Heat (1995)=3.5'. Received: {text!r}"
        )
    return item_id, rating


def _parse_item_id(text: str) -> str:
    item_id = to_id(text)
    if item_id is None:
        raise argparse.ArgumentTypeError("must not be empty")
    return item_id


def _parse_num_items(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"must be a positive whole number. Received: {text!r}"
        )
    return int(text)


def _parse_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(
            f"must be a positive number. Received: {text!r}"
        )
    return seconds


if __name__ == "__main__":
    main()

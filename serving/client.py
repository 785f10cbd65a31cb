"""Asks a served model for recommendations and predicted ratings.

    python -m serving.client recommend \
        --url http://localhost:8501/v1/models/recommender \
        --rating "Toy Story (1995)=5" --rating "Heat (1995)=3.5"

It needs the standard library only.
"""

import argparse
import http.client
import json
import math
import re
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from serving import protocol
from serving.command_line import Parser, fail

Ratings = Mapping[str, float] | Iterable[tuple[str, float]]

_MODEL_URL = re.compile(
    r"https?://[^/?#]+(/[^?#]*)?/v1/models/[^/:?#]+"
    r"(/versions/[0-9]+|/labels/[^/:?#]+)?"
)


class ServingError(Exception):
    """A model that could not be reached, refused, or answered nonsense.

    Args:
        message: the server's text where it sent one.
        status: the HTTP status of the answer; None without an answer.
    """

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        self.message = message
        self.status = status

    def __str__(self) -> str:
        if self.status is None:
            return self.message
        return f"{self.message} (HTTP status {self.status})"


class Recommendation(NamedTuple):
    """An item and the rating that the user would give it."""

    item_id: str
    predicted_rating: float


class Prediction(NamedTuple):
    """The rating that the user would give an item.

    What is predicted for an item that is not `known` to the model says nothing
    about that item.
    """

    item_id: str
    predicted_rating: float
    known: bool


@dataclass(frozen=True)
class Recommendations:
    """What the user would like best, best first, without what he rated.

    `num_known_items` counts the rated items that the model knows.
    """

    items: list[Recommendation]
    num_known_items: int


@dataclass(frozen=True)
class Predictions:
    """A prediction for each candidate, in the order of the candidates.

    `num_known_items` counts the rated items that the model knows.
    """

    items: list[Prediction]
    num_known_items: int


class Client:
    """Talks to one model over REST.

    Threads may share it: every call opens a connection of its own.

    Args:
        url: the model's, such as `http://localhost:8501/v1/models/recommender`.
            With `/versions/3` at its end that version answers, otherwise the
            newest.
        timeout_seconds: how long to wait for a connection, and then for each
            part of the answer.

    Example:
        >>> client = Client("http://localhost:8501/v1/models/recommender")
        >>> client.recommend({"Toy Story (1995)": 5}).items[0]
        Recommendation(item_id='Aladdin (1992)', predicted_rating=4.71)
    """

    def __init__(self, url: str, timeout_seconds: float = 10):
        if not _MODEL_URL.fullmatch(url):
            raise ValueError(
                "`url` must be that of a model, such as"
                " http://localhost:8501/v1/models/recommender."
                f" Received: url={url!r}"
            )
        self._url = url
        self._timeout_seconds = timeout_seconds

    def recommend(self, ratings: Ratings) -> Recommendations:
        """Returns the items that a user would like best.

        Args:
            ratings: the user's ratings by item id, or pairs of the two.
                Unknown items are ignored; no rating at all is fine.

        Raises:
            ServingError: if there is no answer or not the expected one.
            TypeError: if an item id is not a string.
            ValueError: if an item id is empty or a rating is not finite.
        """
        answer = self._predict(protocol.RECOMMEND, _history(ratings))
        item_ids = answer.values(protocol.ITEM_IDS, str)
        predicted_ratings = answer.values(
            protocol.PREDICTED_RATINGS, float, length=len(item_ids)
        )
        return Recommendations(
            items=[
                Recommendation(*pair)
                for pair in zip(item_ids, predicted_ratings, strict=True)
                # What fills the list of a user who rated nearly everything.
                if pair[0] != ""
            ],
            num_known_items=answer.value(protocol.NUM_KNOWN_ITEMS, int),
        )

    def predict(
        self, ratings: Ratings, candidate_item_ids: Sequence[str]
    ) -> Predictions:
        """Returns the ratings that a user would give to some items.

        Args:
            ratings: the user's ratings by item id, or pairs of the two.
                Unknown items are ignored; no rating at all is fine.
            candidate_item_ids: the items whose ratings to predict.

        Raises:
            ServingError: if there is no answer or not the expected one.
            TypeError: if an item id is not a string.
            ValueError: if an item id is empty or a rating is not finite.
        """
        candidates = [_checked_item_id(each) for each in candidate_item_ids]
        answer = self._predict(
            protocol.PREDICT,
            {**_history(ratings), protocol.CANDIDATE_ITEM_IDS: candidates},
        )
        predicted_ratings = answer.values(
            protocol.PREDICTED_RATINGS, float, length=len(candidates)
        )
        known = answer.values(
            protocol.CANDIDATE_KNOWN, bool, length=len(candidates)
        )
        return Predictions(
            items=[
                Prediction(*triple)
                for triple in zip(
                    candidates, predicted_ratings, known, strict=True
                )
            ],
            num_known_items=answer.value(protocol.NUM_KNOWN_ITEMS, int),
        )

    def _predict(
        self, signature_name: str, row: Mapping[str, list[Any]]
    ) -> "_Answer":
        """Runs a signature on one row."""
        request = {"signature_name": signature_name, "instances": [row]}
        status, body = self._post(json.dumps(request).encode())
        try:
            document = json.loads(body)
        except ValueError as error:
            text = body[:200].decode("utf-8", "replace")
            raise ServingError(
                f"{self._url} did not answer in JSON. Received: {text!r}",
                status,
            ) from error
        match document:
            case {"error": str(message)}:
                raise ServingError(message, status)
            case {"predictions": [dict(row)]}:
                return _Answer(row, self._url, status)
        raise ServingError(
            f"{self._url} did not answer with one row of named predictions."
            f" Received: {json.dumps(document)[:200]}",
            status,
        )

    def _post(self, body: bytes) -> tuple[int, bytes]:
        url = urllib.parse.urlsplit(f"{self._url}:predict")
        connection_type = (
            http.client.HTTPSConnection
            if url.scheme == "https"
            else http.client.HTTPConnection
        )
        connection = connection_type(
            url.netloc.rpartition("@")[2], timeout=self._timeout_seconds
        )
        waiting_for = "a connection to"
        try:
            connection.connect()
            waiting_for = "an answer from"
            connection.request(
                "POST",
                urllib.parse.quote(url.path, safe="/:%"),
                body,
                {"Content-Type": "application/json"},
            )
            response = connection.getresponse()
            return response.status, response.read()
        except TimeoutError as error:
            raise ServingError(
                f"Timed out after {self._timeout_seconds:g} seconds of waiting"
                f" for {waiting_for} {self._url}"
            ) from error
        except ConnectionRefusedError as error:
            raise ServingError(
                f"Nothing listens at {self._url}. Is the server running?"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise ServingError(
                f"Cannot talk to {self._url}: {error or repr(error)}"
            ) from error
        finally:
            connection.close()


class _Answer(NamedTuple):
    """The outputs of a signature for one row."""

    row: Mapping[str, Any]
    url: str
    status: int

    def value(self, name: str, kind: type) -> Any:
        value = self.row.get(name)
        if type(value) is not kind:
            raise self._error(name, f"a value of type {kind.__name__}")
        return value

    def values(
        self, name: str, kind: type, length: int | None = None
    ) -> list[Any]:
        values = self.row.get(name)
        if (
            not isinstance(values, list)
            or any(type(value) is not kind for value in values)
            or length not in (None, len(values))
        ):
            size = "a list of" if length is None else f"a list of {length}"
            raise self._error(name, f"{size} values of type {kind.__name__}")
        return values

    def _error(self, name: str, expected: str) -> ServingError:
        return ServingError(
            f"{self.url} should answer with {name!r}: {expected}."
            f" Received: {json.dumps(self.row)[:200]}",
            self.status,
        )


def _history(ratings: Ratings) -> dict[str, list[Any]]:
    pairs = ratings.items() if isinstance(ratings, Mapping) else ratings
    item_ids, values = [], []
    for item_id, rating in pairs:
        if not math.isfinite(rating):
            raise ValueError(
                f"A rating must be a finite number. Received: {rating} for"
                f" item {item_id!r}"
            )
        item_ids.append(_checked_item_id(item_id))
        values.append(float(rating))
    return {protocol.ITEM_IDS: item_ids, protocol.RATINGS: values}


def _checked_item_id(item_id: str) -> str:
    if not isinstance(item_id, str):
        raise TypeError(f"An item id must be a string. Received: {item_id!r}")
    if not item_id:
        # The served model takes it for padding.
        raise ValueError("An item id must not be empty.")
    return item_id


# ---- Command line ----


def main(arguments: Sequence[str] | None = None) -> None:
    """Asks once and prints the answer."""
    parser = _parser()
    flags = parser.parse(arguments)
    try:
        client = Client(flags.url)
    except ValueError as error:
        parser.error(str(error))
    try:
        if flags.command == "recommend":
            recommendations = client.recommend(flags.rating)
            items: list[Any] = recommendations.items[: flags.num_items]
            num_known_items = recommendations.num_known_items
        else:
            predictions = client.predict(flags.rating, flags.candidate)
            items = predictions.items
            num_known_items = predictions.num_known_items
    except ServingError as error:
        fail(str(error), exit_code=1)
    # The model counts an item that is named twice once.
    num_rated_items = len({item_id for item_id, _ in flags.rating})
    if flags.json:
        answer = {
            "num_rated_items": num_rated_items,
            "num_known_items": num_known_items,
            "items": [item._asdict() for item in items],
        }
        print(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    print(
        f"{num_known_items} of {num_rated_items} rated items are known to the"
        " model\n"
    )
    if flags.command == "recommend":
        print("rank  predicted rating  item")
        for rank, item in enumerate(items, start=1):
            print(f"{rank:4}  {item.predicted_rating:16.3f}  {item.item_id}")
    else:
        print("predicted rating  known  item")
        for item in items:
            known = "yes" if item.known else "no"
            print(f"{item.predicted_rating:16.3f}  {known:5}  {item.item_id}")


def _parser() -> Parser:
    parser = Parser(
        prog="python -m serving.client",
        description="Asks a served model about a user, given his ratings.",
    )
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True
    )
    recommend = commands.add_parser(
        "recommend", help="prints the items that the user would like best"
    )
    predict = commands.add_parser(
        "predict", help="prints the ratings that the user would give to items"
    )
    for command in (recommend, predict):
        command.add_argument(
            "--url",
            required=True,
            help="the model's, e.g. http://localhost:8501/v1/models/recommender",
        )
        command.add_argument(
            "--rating",
            type=_parse_rating,
            action="append",
            default=[],
            metavar="ITEM=RATING",
            help="a rating that the user gave; may be repeated",
        )
        command.add_argument(
            "--json", action="store_true", help="print JSON, not a table"
        )
    recommend.add_argument(
        "--num_items",
        type=_parse_num_items,
        default=10,
        help="how many items to print at most (default: 10)",
    )
    predict.add_argument(
        "--candidate",
        type=_parse_item_id,
        action="append",
        required=True,
        metavar="ITEM",
        help="an item whose rating to predict; may be repeated",
    )
    return parser


def _parse_rating(text: str) -> tuple[str, float]:
    # The last "=", because titles may hold one.
    item_id, _, rating_text = text.rpartition("=")
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
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def _parse_num_items(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"must be a positive whole number. Received: {text!r}"
        )
    return int(text)


if __name__ == "__main__":
    main()

"""Asks a served model for recommendations, predictions and reasons.

    python -m serving.client recommend \
        --url http://localhost:8501/v1/models/recommender \
        --rating "Toy Story (1995)=5" --rating "Heat (1995)=3.5"

Over REST it needs the standard library only; over gRPC, the packages grpcio
and protobuf.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from serving import protocol
from serving.client import rest_transport as rest_client
from serving.client.answers import (
    Encoding,
    Explanation,
    Explanations,
    Prediction,
    Predictions,
    Reason,
    Recommendation,
    Recommendations,
)
from serving.client.errors import ServingError
from serving.client.retries import Deadline, call_with_retries
from serving.client.transport import Answer, Row, Transport, VersionStatus
from serving.protocol import Code

__all__ = [
    "Client",
    "Encoding",
    "Explanation",
    "Explanations",
    "Prediction",
    "Predictions",
    "Reason",
    "Recommendation",
    "Recommendations",
    "ServingError",
    "VersionStatus",
]

Ratings = Mapping[str, float] | Iterable[tuple[str, float]]
_Result = TypeVar("_Result")

# Targets cost more than candidates: their lists are padded to less.
_TARGETS_LENGTH = 16

# What servers answer to a request that they understood and do not like, such
# as one for a signature that the model does not have.
_REFUSED = (400, Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION)


class Client:
    """Talks to one model over REST or gRPC.

    Requests that a server may not have looked at are sent again (REST 429 and
    503, gRPC UNAVAILABLE and RESOURCE_EXHAUSTED, refused connections), after
    pauses that grow. Threads may share a client.

    Args:
        url: the model's, `http://localhost:8501/v1/models/recommender` (or
            https) or `grpc://localhost:8500/recommender`. With `/versions/3`
            or `/labels/stable` at its end that version answers, otherwise the
            newest.
        timeout_seconds: how long a call may take, retries included.
        max_retries: how often a request is sent again at most.
        pads: whether histories are padded to the length that the model
            publishes, for which the first call asks it. A server that puts
            requests together in batches fails those of different lengths.

    Raises:
        ValueError: if `url` is not that of a model.
        ServingError: if `url` is one for gRPC and that is not installed.

    Example:
        >>> client = Client("http://localhost:8501/v1/models/recommender")
        >>> client.recommend({"Toy Story (1995)": 5}).items[0]
        Recommendation(item_id='Aladdin (1992)', predicted_rating=4.71)
    """

    def __init__(
        self,
        url: str,
        timeout_seconds: float = 10,
        *,
        max_retries: int = 3,
        pads: bool = True,
    ):
        self._url = url
        self._transport = _make_transport(url)
        self._timeout_seconds = timeout_seconds
        self._max_retries = max_retries
        # 0: lists are sent as they are; None: to be found out.
        self._history_length = None if pads else 0

    def recommend(
        self,
        ratings: Ratings,
        candidate_item_ids: Sequence[str] | None = None,
    ) -> Recommendations:
        """Returns the items that a user would like best.

        Args:
            ratings: the user's ratings by item id, or pairs of the two.
                Unknown items are ignored; no rating at all is fine.
            candidate_item_ids: the items to choose from; None for all.

        Raises:
            ServingError: if there is no answer or not the expected one.
            TypeError: if an item id is not a string.
            ValueError: if an item id is empty or a rating is not finite.
        """
        if candidate_item_ids is None:
            outputs = self._ask(protocol.RECOMMEND, ratings)
        else:
            outputs = self._ask(
                protocol.RECOMMEND_FROM,
                ratings,
                {protocol.CANDIDATE_ITEM_IDS: candidate_item_ids},
            )
        item_ids = outputs.values(protocol.ITEM_IDS, str)
        predicted_ratings = outputs.values(
            protocol.PREDICTED_RATINGS, float, len(item_ids)
        )
        return Recommendations(
            items=[
                Recommendation(*pair)
                for pair in zip(item_ids, predicted_ratings, strict=True)
                # What fills the list of a user who rated nearly everything.
                if pair[0] != ""
            ],
            num_known_items=outputs.num_known_items,
        )

    def predict(
        self, ratings: Ratings, candidate_item_ids: Sequence[str]
    ) -> Predictions:
        """Returns the ratings that a user would give to some items.

        Args:
            ratings: as for `recommend`.
            candidate_item_ids: the items whose ratings to predict.

        Raises:
            ServingError: if there is no answer or not the expected one.
            TypeError: if an item id is not a string.
            ValueError: if an item id is empty or a rating is not finite.
        """
        outputs = self._ask(
            protocol.PREDICT,
            ratings,
            {protocol.CANDIDATE_ITEM_IDS: candidate_item_ids},
        )
        length = outputs.sent_length(protocol.CANDIDATE_ITEM_IDS)
        predicted_ratings = outputs.values(
            protocol.PREDICTED_RATINGS, float, length
        )
        known = outputs.values(protocol.CANDIDATE_KNOWN, bool, length)
        return Predictions(
            items=[
                Prediction(*triple)
                # Not strict: the candidates may have been padded.
                for triple in zip(
                    candidate_item_ids, predicted_ratings, known, strict=False
                )
            ],
            num_known_items=outputs.num_known_items,
        )

    def explain(
        self, ratings: Ratings, target_item_ids: Sequence[str]
    ) -> Explanations:
        """Returns which of a user's ratings moved predictions most.

        Args:
            ratings: as for `recommend`.
            target_item_ids: the items whose predicted ratings to explain.

        Raises:
            ServingError: if there is no answer or not the expected one.
            TypeError: if an item id is not a string.
            ValueError: if an item id is empty or a rating is not finite.
        """
        outputs = self._ask(
            protocol.EXPLAIN,
            ratings,
            {protocol.TARGET_ITEM_IDS: target_item_ids},
        )
        length = outputs.sent_length(protocol.TARGET_ITEM_IDS)
        known = outputs.values(protocol.TARGET_KNOWN, bool, length)
        reasons = outputs.lists(protocol.REASON_ITEM_IDS, str, length)
        contributions = outputs.lists(protocol.CONTRIBUTIONS, float, length)
        return Explanations(
            items=[
                Explanation(
                    item_id,
                    item_known,
                    [
                        Reason(*pair)
                        for pair in zip(names, values, strict=False)
                        if pair[0] != ""
                    ],
                )
                # Not strict: the targets may have been padded.
                for item_id, item_known, names, values in zip(
                    target_item_ids, known, reasons, contributions, strict=False
                )
            ],
            num_known_items=outputs.num_known_items,
        )

    def encode(self, ratings: Ratings) -> Encoding:
        """Returns the code of a user.

        Args:
            ratings: as for `recommend`.

        Raises:
            ServingError: if there is no answer or not the expected one.
            TypeError: if an item id is not a string.
            ValueError: if an item id is empty or a rating is not finite.
        """
        outputs = self._ask(protocol.ENCODE, ratings)
        return Encoding(
            code=outputs.values(protocol.CODE, float),
            num_known_items=outputs.num_known_items,
        )

    def status(self) -> list[VersionStatus]:
        """Returns what the server says of the versions of the model.

        Raises:
            ServingError: if there is no answer or not the expected one.
        """
        return self._call(self._transport.read_status, self._new_deadline())

    def close(self) -> None:
        """Frees the connection, if there is one."""
        self._transport.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(
        self,
        signature_name: str,
        ratings: Ratings,
        lists: Mapping[str, Sequence[str]] | None = None,
    ) -> "_Outputs":
        """Runs a signature on a history and other lists of items."""
        row = _read_history(ratings)
        for name, item_ids in (lists or {}).items():
            row[name] = [_checked_item_id(item_id) for item_id in item_ids]
        deadline = self._new_deadline()
        padded = _pad(row, self._find_history_length(deadline))
        try:
            answer = self._predict(signature_name, padded, deadline)
        except ServingError as error:
            if error.status in _REFUSED and self._history_length:
                # A newer version may have come, with another length.
                self._history_length = None
            raise
        return _Outputs(answer, self._url, padded)

    def _find_history_length(self, deadline: Deadline) -> int:
        """Asks the model what to pad histories to, once."""
        if self._history_length is None:
            row = {protocol.ITEM_IDS: [""]}
            try:
                answer = self._predict(protocol.DESCRIBE, row, deadline)
            except ServingError as error:
                if error.status not in _REFUSED:
                    raise
                self._history_length = 0
            else:
                outputs = _Outputs(answer, self._url, row)
                self._history_length = outputs.value(
                    protocol.HISTORY_LENGTH, int
                )
        return self._history_length

    def _predict(
        self, signature_name: str, row: Row, deadline: Deadline
    ) -> Answer:
        return self._call(
            lambda before: self._transport.predict(signature_name, row, before),
            deadline,
        )

    def _call(
        self, call: Callable[[Deadline], _Result], deadline: Deadline
    ) -> _Result:
        return call_with_retries(
            lambda: call(deadline), deadline, self._max_retries
        )

    def _new_deadline(self) -> Deadline:
        return Deadline(self._timeout_seconds)


class _Outputs(NamedTuple):
    """An answer, whose form is yet to be checked, and what it answers."""

    answer: Answer
    url: str
    sent: Row

    @property
    def num_known_items(self) -> int:
        return int(self.value(protocol.NUM_KNOWN_ITEMS, int))

    def sent_length(self, name: str) -> int:
        return len(self.sent[name])

    def value(self, name: str, kind: type) -> Any:
        value = self.answer.row.get(name)
        if type(value) is not kind:
            raise self._error(name, f"a value of type {kind.__name__}")
        return value

    def values(
        self, name: str, kind: type, length: int | None = None
    ) -> list[Any]:
        values: Any = self.answer.row.get(name)
        if not _is_list(values, kind) or length not in (None, len(values)):
            size = "a list of" if length is None else f"a list of {length}"
            raise self._error(name, f"{size} values of type {kind.__name__}")
        return list(values)

    def lists(self, name: str, kind: type, length: int) -> list[list[Any]]:
        lists: Any = self.answer.row.get(name)
        if (
            not _is_list(lists, list)
            or len(lists) != length
            or not all(_is_list(values, kind) for values in lists)
        ):
            raise self._error(
                name, f"{length} lists of values of type {kind.__name__}"
            )
        return list(lists)

    def _error(self, name: str, expected: str) -> ServingError:
        return ServingError(
            f"{self.url} should answer with {name!r}: {expected}."
            f" Received: {str(self.answer.row)[:200]}",
            self.answer.status,
        )


def _make_transport(url: str) -> Transport:
    if rest_client.URL.fullmatch(url):
        return rest_client.RestTransport(url)
    if url.startswith("grpc://"):
        try:
            from serving.client import grpc_transport as grpc_client
        except ImportError as error:
            raise ServingError(
                "A grpc:// URL needs the packages grpcio and protobuf: `pip"
                f" install grpcio protobuf` ({error})."
            ) from error
        if grpc_client.URL.fullmatch(url):
            return grpc_client.GrpcTransport(url)
    raise ValueError(
        "`url` must be that of a model, such as"
        " http://localhost:8501/v1/models/recommender or"
        f" grpc://localhost:8500/recommender. Received: url={url!r}"
    )


def _read_history(ratings: Ratings) -> dict[str, list[Any]]:
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


def _pad(
    row: dict[str, list[Any]], history_length: int
) -> dict[str, list[Any]]:
    """Pads lists so that nearly all requests have the same shapes.

    A list that is longer goes to the next multiple.
    """
    if not history_length:
        return row
    padded = {}
    for name, values in row.items():
        length = (
            _TARGETS_LENGTH
            if name == protocol.TARGET_ITEM_IDS
            else history_length
        )
        filler = 0.0 if name == protocol.RATINGS else ""
        num_missing = max(1, -(-len(values) // length)) * length - len(values)
        padded[name] = values + [filler] * num_missing
    return padded


def _is_list(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(
        type(value) is kind for value in values
    )

"""The client: one method per signature of the served model."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from serving import protocol
from serving.client import rest_transport
from serving.client.errors import ServingError
from serving.client.results import (
    Encoding,
    Explanation,
    Explanations,
    Prediction,
    Predictions,
    Reason,
    Recommendation,
    Recommendations,
    SimilarItem,
    SimilarItems,
    Similarities,
)
from serving.client.retries import Deadline, call_with_retries
from serving.client.transport import Answer, Row, Transport
from serving.protocol import VersionStatus

Ratings = Mapping[str, float] | Iterable[tuple[str, float]]
_Result = TypeVar("_Result")

# The length that targets are padded to. A target costs more than a candidate,
# so it is less than that of histories.
_TARGETS_LENGTH = 16


class Client:
    """Asks one served model, over REST or gRPC.

    A request that the server did not process is sent again after a growing
    pause: REST 429 and 503, gRPC UNAVAILABLE and RESOURCE_EXHAUSTED, refused
    connections. Connections are kept for later calls; threads may share a
    client.

    Args:
        url: the URL of the model, `http://localhost:8501/v1/models/recommender`
            (or https) or `grpc://localhost:8500/recommender`. A suffix
            `/versions/3` or `/labels/stable` chooses a version, otherwise the
            newest one answers.
        timeout_seconds: the most time of a call, retries included.
        max_retries: the most retries of a call.
        pads: whether to pad histories to the length that the model publishes,
            which the first call asks for. A server that batches requests fails
            those of different lengths.

    Raises:
        ValueError: if `url` is not the URL of a model.
        ServingError: if `url` is one for gRPC, which is not installed.

    Example:
        >>> client = Client("http://localhost:8501/v1/models/recommender")
        >>> client.recommend({"Toy Story (1995)": 5}).items[0]
        Recommendation(item_id='45517', predicted_rating=4.7, score=4.7,
            title='Cars (2006)')
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
        # None until the model was asked; 0 to send lists as they are.
        self._history_length = None if pads else 0

    def recommend(
        self,
        ratings: Ratings,
        candidate_item_ids: Sequence[str] | None = None,
        num_recommendations: int | None = None,
    ) -> Recommendations:
        """Returns the items that a user would like best and did not rate.

        Args:
            ratings: the user's ratings by item id or title, or pairs of these
                and ratings. Unknown items are ignored, and of an item named
                twice the last rating counts; it may be empty.
            candidate_item_ids: the items to choose from; None for all.
            num_recommendations: the items wanted of all; None for as many as
                the model was exported with. Of candidates all are ranked.

        Returns:
            So many items, or fewer if fewer are left.

        Raises:
            ServingError: if there is no answer or not the expected one. A
                model of an earlier release refuses `num_recommendations`.
            TypeError: if an item id is not a string.
            ValueError: if an item id is empty, a rating is not finite, or both
                candidates and a number are given.
        """
        if candidate_item_ids is None:
            outputs = (
                self._ask(protocol.RECOMMEND, ratings)
                if num_recommendations is None
                else self._ask(
                    protocol.RECOMMEND_TOP, ratings, number=num_recommendations
                )
            )
        else:
            if num_recommendations is not None:
                raise ValueError(
                    "Give either `candidate_item_ids`, which are all ranked, or"
                    " `num_recommendations`. Received: num_recommendations="
                    f"{num_recommendations}"
                )
            outputs = self._ask(
                protocol.RECOMMEND_FROM,
                ratings,
                {protocol.CANDIDATE_ITEM_IDS: candidate_item_ids},
            )
        item_ids = outputs.values(protocol.ITEM_IDS, str)
        predicted_ratings = outputs.values(
            protocol.PREDICTED_RATINGS, float, len(item_ids)
        )
        # Older models have no scores: they rank by the predicted rating.
        scores = (
            outputs.values(protocol.SCORES, float, len(item_ids))
            if protocol.SCORES in outputs.answer.row
            else predicted_ratings
        )
        titles = outputs.values(protocol.TITLES, str, len(item_ids), item_ids)
        return Recommendations(
            items=_items(
                Recommendation, item_ids, predicted_ratings, scores, titles
            ),
            num_known_items=outputs.num_known_items,
        )

    def predict(
        self, ratings: Ratings, candidate_item_ids: Sequence[str]
    ) -> Predictions:
        """Predicts the ratings that a user would give to some items.

        Args:
            ratings: as for `recommend`.
            candidate_item_ids: the items whose ratings to predict.

        Returns:
            A prediction for each candidate, in their order.

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
        deviations = (
            outputs.values(protocol.STANDARD_DEVIATIONS, float, length)
            if protocol.STANDARD_DEVIATIONS in outputs.answer.row
            else [None] * length
        )
        return Predictions(
            items=[
                Prediction(*values)
                # Not strict: the candidates may have been padded.
                for values in zip(
                    candidate_item_ids,
                    predicted_ratings,
                    known,
                    deviations,
                    strict=False,
                )
            ],
            num_known_items=outputs.num_known_items,
        )

    def explain(
        self, ratings: Ratings, target_item_ids: Sequence[str]
    ) -> Explanations:
        """Returns the ratings of a user that moved scores most.

        Args:
            ratings: as for `recommend`.
            target_item_ids: the items whose scores to explain.

        Returns:
            An explanation for each target, in their order.

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
        titles = outputs.lists(protocol.REASON_TITLES, str, length, reasons)
        return Explanations(
            items=[
                Explanation(item_id, item_known, _items(Reason, *lists))
                # Not strict: the targets may have been padded.
                for item_id, item_known, *lists in zip(
                    target_item_ids,
                    known,
                    reasons,
                    contributions,
                    titles,
                    strict=False,
                )
            ],
            num_known_items=outputs.num_known_items,
        )

    def similar(self, item_ids: Sequence[str]) -> Similarities:
        """Returns the items most similar to each of some items.

        The similarity of two items is the cosine of their rows of the model's
        output kernel: the vectors that the model predicts their ratings with.

        Args:
            item_ids: the items to compare with all others.

        Returns:
            The similar items of each item, in the order of `item_ids`.

        Raises:
            ServingError: if there is no answer or not the expected one.
            TypeError: if an item id is not a string.
            ValueError: if an item id is empty.
        """
        outputs = self._ask(
            protocol.SIMILAR, None, {protocol.TARGET_ITEM_IDS: item_ids}
        )
        length = outputs.sent_length(protocol.TARGET_ITEM_IDS)
        known = outputs.values(protocol.TARGET_KNOWN, bool, length)
        similar = outputs.lists(protocol.SIMILAR_ITEM_IDS, str, length)
        similarities = outputs.lists(protocol.SIMILARITIES, float, length)
        titles = outputs.lists(protocol.SIMILAR_TITLES, str, length, similar)
        return Similarities(
            items=[
                SimilarItems(item_id, item_known, _items(SimilarItem, *lists))
                # Not strict: the items may have been padded.
                for item_id, item_known, *lists in zip(
                    item_ids, known, similar, similarities, titles, strict=False
                )
            ]
        )

    def encode(self, ratings: Ratings) -> Encoding:
        """Returns the code of a user: the encoder's output.

        Args:
            ratings: as for `recommend`.

        Returns:
            A code of as many numbers as the encoder's last layer has units.

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

    def find_unknown(self, item_ids: Sequence[str]) -> list[str]:
        """Returns the items that the model does not know, in their order.

        Args:
            item_ids: ids or titles.

        Raises:
            ServingError: if there is no answer or not the expected one, such
                as from a model that was exported without `describe`.
            TypeError: if an item id is not a string.
            ValueError: if an item id is empty.
        """
        outputs = self._ask(
            protocol.DESCRIBE, None, {protocol.ITEM_IDS: item_ids}
        )
        length = outputs.sent_length(protocol.ITEM_IDS)
        known = outputs.values(protocol.ITEM_KNOWN, bool, length)
        return [
            item_id
            # Not strict: the items may have been padded.
            for item_id, is_known in zip(item_ids, known, strict=False)
            if not is_known
        ]

    def status(self) -> list[VersionStatus]:
        """Returns the status of each version of the model, newest first.

        Raises:
            ServingError: if there is no answer or not the expected one.
        """
        return self._call(self._transport.read_status, self._new_deadline())

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(
        self,
        signature_name: str,
        ratings: Ratings | None,
        lists: Mapping[str, Sequence[str]] | None = None,
        number: int | None = None,
    ) -> "_Outputs":
        """Runs a signature on what it takes: a history, lists, a number."""
        row = {} if ratings is None else _read_history(ratings)
        for name, item_ids in (lists or {}).items():
            row[name] = [_checked_item_id(item_id) for item_id in item_ids]
        deadline = self._new_deadline()
        padded: Row = _pad(row, self._find_history_length(deadline))
        if number is not None:
            padded = {**padded, protocol.NUM_RECOMMENDATIONS: number}
        try:
            answer = self._predict(signature_name, padded, deadline)
        except ServingError as error:
            if error.is_refusal and self._history_length:
                # A new version may have replaced it, with another length.
                self._history_length = None
            raise
        return _Outputs(answer, self._url, padded)

    def _find_history_length(self, deadline: Deadline) -> int:
        """Returns the length to pad histories to; asks the model once."""
        if self._history_length is None:
            row = {protocol.ITEM_IDS: [""]}
            try:
                answer = self._predict(protocol.DESCRIBE, row, deadline)
            except ServingError as error:
                if not error.is_refusal:
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
    """An answer, checked as it is read.

    An output with a default may be missing: older models lack it.

    Attributes:
        answer: the outputs of a signature.
        url: the URL of the model.
        sent: the inputs, padded.
    """

    answer: Answer
    url: str
    sent: Row

    @property
    def num_known_items(self) -> int:
        return int(self.value(protocol.NUM_KNOWN_ITEMS, int))

    def sent_length(self, name: str) -> int:
        sent: Any = self.sent[name]
        return len(sent)

    def value(self, name: str, kind: type) -> Any:
        value = self.answer.row.get(name)
        if type(value) is not kind:
            raise self._error(name, f"a value of type {kind.__name__}")
        return value

    def values(
        self,
        name: str,
        kind: type,
        length: int | None = None,
        default: list[Any] | None = None,
    ) -> list[Any]:
        values: Any = self.answer.row.get(name, default)
        if not _is_list(values, kind) or length not in (None, len(values)):
            size = "a list of" if length is None else f"a list of {length}"
            raise self._error(name, f"{size} values of type {kind.__name__}")
        return list(values)

    def lists(
        self,
        name: str,
        kind: type,
        length: int,
        default: list[list[Any]] | None = None,
    ) -> list[list[Any]]:
        lists: Any = self.answer.row.get(name, default)
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
    if rest_transport.URL.fullmatch(url):
        return rest_transport.RestTransport(url)
    if url.startswith("grpc://"):
        try:
            from serving.client import grpc_transport
        except ImportError as error:
            raise ServingError(
                "A grpc:// URL needs the packages grpcio and protobuf: `pip"
                f" install grpcio protobuf` ({error})."
            ) from error
        if grpc_transport.URL.fullmatch(url):
            return grpc_transport.GrpcTransport(url)
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
        # The served model treats it as padding.
        raise ValueError("An item id must not be empty.")
    return item_id


def _pad(
    row: dict[str, list[Any]], history_length: int
) -> dict[str, list[Any]]:
    """Pads lists to the next multiple of a length.

    So nearly all requests have the same shapes, and can share a batch.
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


def _items(
    item_type: Callable[..., _Result],
    item_ids: Iterable[str],
    *columns: Iterable[Any],
) -> list[_Result]:
    """Joins items with their values, without the padding at the end."""
    return [
        item_type(item_id, *values)
        for item_id, *values in zip(item_ids, *columns, strict=False)
        if item_id != ""
    ]


def _is_list(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(
        type(value) is kind for value in values
    )

"""The demo as an ASGI application: the page, and the API that it calls."""

import asyncio
import json
import math
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from serving import protocol
from serving.client.client import Client
from serving.client.errors import ServingError
from serving.client.rest_transport import RestTransport
from serving.client.retries import Deadline
from serving.demo.catalog import Catalog

# Items that the page shows at once.
_NUM_FOUND = 6
_NUM_RECOMMENDATIONS = 10
# People should learn soon that the model does not answer.
_TIMEOUT_SECONDS = 5.0
# About ten thousand ratings.
_MAX_BODY_BYTES = 2**20

_PAGE_DIR = Path(__file__).with_name("page")
_PAGE_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_HEADERS = {
    # The page loads only its own files. If a title ever got into it as HTML,
    # the browser would not run it.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self';"
        " img-src 'self'; connect-src 'self'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class _Response(NamedTuple):
    status: int
    content_type: str
    body: bytes


class DemoApp:
    """Serves the page, and asks the model on its behalf.

        GET  /                     the page; its files lie beside it
        GET  /api/scale            the ratings that a user can give
        GET  /api/items?query=...  items found by words of their titles
        POST /api/recommendations  recommendations and their reasons

    The last takes `{"ratings": {ID_OR_TITLE: RATING}}`. Answers are JSON. If
    the model does not answer, the status is 502, if it refuses the ratings
    400, and `error` says why.

    Args:
        url: the URL of the model over REST.
        catalog: the items of the model.
    """

    def __init__(self, url: str, catalog: Catalog):
        self._client = Client(url, _TIMEOUT_SECONDS)
        self._transport = RestTransport(url)
        self._catalog = catalog
        self._files = {
            path: _Response(200, content_type, (_PAGE_DIR / name).read_bytes())
            for path, (name, content_type) in _PAGE_FILES.items()
        }

    async def __call__(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        body = bytearray()
        more_body = True
        while more_body and len(body) <= _MAX_BODY_BYTES:
            message = await receive()
            body += message.get("body", b"")
            more_body = message.get("more_body", False)
        # In a thread, because it waits for the model.
        response = await asyncio.to_thread(
            self._respond,
            scope["method"],
            scope["path"],
            scope["query_string"].decode("ascii"),
            bytes(body),
        )
        headers = {
            "content-type": response.content_type,
            "content-length": str(len(response.body)),
            **_HEADERS,
        }
        await send(
            {
                "type": "http.response.start",
                "status": response.status,
                "headers": [
                    (name.encode(), value.encode())
                    for name, value in headers.items()
                ],
            }
        )
        await send({"type": "http.response.body", "body": response.body})

    def _respond(
        self, method: str, path: str, query_string: str, body: bytes
    ) -> _Response:
        try:
            match method, path:
                case "GET", _ if path in self._files:
                    return self._files[path]
                case "GET", "/api/scale":
                    return _to_json(self._read_scale())
                case "GET", "/api/items":
                    return _to_json(self._search(query_string))
                case "POST", "/api/recommendations":
                    ratings = _parse_ratings(body)
                    if ratings is None:
                        return _to_json(
                            {
                                "error": 'The body must be {"ratings":'
                                " {ITEM_ID: NUMBER}}, of at most"
                                f" {_MAX_BODY_BYTES} bytes."
                            },
                            400,
                        )
                    return _to_json(self._recommend(ratings))
        except ServingError as error:
            # The model refuses ratings that are not on its scale.
            is_refusal = method == "POST" and error.status == 400
            return _to_json({"error": str(error)}, 400 if is_refusal else 502)
        return _to_json({"error": f"There is no {method} {path}."}, 404)

    def _read_scale(self) -> dict[str, Any]:
        answer = self._transport.predict(
            protocol.DESCRIBE,
            {protocol.ITEM_IDS: [""]},
            Deadline(_TIMEOUT_SECONDS),
        )
        match answer.row:
            case {
                protocol.RATING_MIN: float(low),
                protocol.RATING_MAX: float(high),
            }:
                return {"choices": rating_choices(low, high)}
        raise ServingError(
            "The model does not say its rating scale. Received:"
            f" {json.dumps(answer.row)[:200]}",
            answer.status,
        )

    def _search(self, query_string: str) -> dict[str, Any]:
        query = urllib.parse.parse_qs(query_string).get("query", [""])[0]
        found = self._catalog.search(query, _NUM_FOUND)
        return {"items": [item._asdict() for item in found]}

    def _recommend(self, ratings: dict[str, float]) -> dict[str, Any]:
        recommendations = self._client.recommend(ratings)
        best = recommendations.items[:_NUM_RECOMMENDATIONS]
        explanations = self._client.explain(
            ratings, [item.item_id for item in best]
        )
        title_of = self._catalog.title_of
        return {
            "items": [
                {
                    "item_id": item.item_id,
                    "title": title_of(item.item_id),
                    "predicted_rating": item.predicted_rating,
                    "reasons": [
                        {
                            "title": title_of(reason.item_id),
                            "rating": ratings.get(
                                reason.item_id, ratings.get(reason.title)
                            ),
                            "contribution": reason.contribution,
                        }
                        for reason in explanation.reasons
                    ],
                }
                for item, explanation in zip(
                    best, explanations.items, strict=True
                )
            ],
            "num_known_items": recommendations.num_known_items,
        }


def rating_choices(low: float, high: float) -> list[float]:
    """Returns the ratings to choose from, at most eleven, ascending.

    They are 1 apart on a scale between whole numbers, and 0.5 apart on one
    between halves. A longer scale, or any other, is divided into ten equal
    steps.

    Args:
        low: the lowest rating of the scale.
        high: the highest rating of the scale.
    """
    num_steps = 10
    for step in (1.0, 0.5):
        steps = (high - low) / step
        if (low / step).is_integer() and steps.is_integer() and steps <= 10:
            num_steps = int(steps)
            break
    return np.linspace(low, high, num_steps + 1).tolist()


def _parse_ratings(body: bytes) -> dict[str, float] | None:
    """Parses the ratings of a user; None if the body is malformed."""
    if len(body) > _MAX_BODY_BYTES:
        return None
    try:
        # A Python int may be larger than any float.
        document = json.loads(body, parse_int=float)
    except (ValueError, RecursionError):
        return None
    match document:
        case {"ratings": dict(ratings)} if all(
            item_id and isinstance(rating, float) and math.isfinite(rating)
            for item_id, rating in ratings.items()
        ):
            return ratings
    return None


def _to_json(document: dict[str, Any], status: int = 200) -> _Response:
    return _Response(status, "application/json", json.dumps(document).encode())

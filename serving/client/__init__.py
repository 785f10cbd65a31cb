"""A client of a served model, as a library and as a command.

    from serving.client import Client

    client = Client("http://localhost:8501/v1/models/recommender")
    client.recommend({"Toy Story (1995)": 5, "Heat (1995)": 3.5})

Over REST it needs the standard library only; over gRPC, the packages grpcio
and protobuf.
"""

from serving.client.client import Client
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
from serving.protocol import VersionStatus

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
    "SimilarItem",
    "SimilarItems",
    "Similarities",
    "VersionStatus",
]

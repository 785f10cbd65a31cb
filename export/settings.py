"""The settings of an export, checked when they are made."""

import dataclasses

from data_prep.dataset.errors import UserError
from serving import protocol

#: Values of `default_signature` -> the signature that answers requests which
#: name none.
DEFAULT_SIGNATURES = {
    "recommend": protocol.RECOMMEND,
    "recommend_examples": protocol.RECOMMEND_EXAMPLES,
    "predict_examples": protocol.PREDICT_EXAMPLES,
}

#: Values of `rank_by`: what the score is that ranks items. `score` is what
#: validation chose, interest and some of the predicted rating; of a model that
#: knows no interest, the predicted rating.
RANK_BY = ("score", "rating", "interest")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """Settings of an export.

    Args:
        top_k: number of recommendations, and of similar items, in an answer;
            a smaller catalog gives fewer.
        rank_by: one of `RANK_BY`.
        clip_predictions: whether predicted ratings are clipped to the rating
            scale. The scores that rank items never are.
        history_length: length that clients should pad histories to. `None`
            takes it from the training histories.
        default_signature: one of `DEFAULT_SIGNATURES`.
        keep: number of older versions to keep; `None` keeps all.
        data_dir: the prepared data that the job was trained on, to check the
            export on real users. `None` looks in the job directory.

    Raises:
        UserError: a setting has a value that no export can use.
    """

    top_k: int = 100
    rank_by: str = "score"
    clip_predictions: bool = False
    history_length: int | None = None
    default_signature: str = "recommend"
    keep: int | None = None
    data_dir: str | None = None

    def __post_init__(self) -> None:
        for name, minimum in (("top_k", 1), ("history_length", 1), ("keep", 0)):
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise UserError(
                    f"`{name}` must be {minimum} or more."
                    f" Received: {name}={value}"
                )
        for name, choices in (
            ("rank_by", RANK_BY),
            ("default_signature", DEFAULT_SIGNATURES),
        ):
            value = getattr(self, name)
            if value not in choices:
                raise UserError(
                    f"`{name}` must be one of {', '.join(choices)}. Received:"
                    f" {name}={value!r}"
                )

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """Settings of an export.

    Args:
        top_k: number of recommendations, and of similar items, in an answer;
            a smaller catalog gives fewer.
        clip_predictions: whether predicted ratings are clipped to the rating
            scale. Items are ranked by the unclipped prediction either way.
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
        if self.default_signature not in DEFAULT_SIGNATURES:
            raise UserError(
                "`default_signature` must be one of"
                f" {', '.join(DEFAULT_SIGNATURES)}. Received:"
                f" default_signature={self.default_signature!r}"
            )

"""What can be chosen when a job is exported."""

import dataclasses

from data_prep.dataset.errors import UserError
from serving import protocol

#: What a request that names no signature can be answered by, by the name
#: that the command gives it.
DEFAULT_SIGNATURES = {
    "recommend": protocol.RECOMMEND,
    "recommend_examples": protocol.RECOMMEND_EXAMPLES,
    "predict_examples": protocol.PREDICT_EXAMPLES,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """How a job is exported.

    Args:
        top_k: recommendations in an answer; a catalogue with fewer items gives
            as many as it has.
        clip_predictions: whether predicted ratings are put back on the rating
            scale. Items are ranked by the prediction itself either way.
        history_length: what clients should pad histories to. `None` takes it
            from the training histories.
        default_signature: one of `DEFAULT_SIGNATURES`.
        keep: number of older versions to leave beside the new one; `None`
            leaves all.
        data_dir: the prepared data that the job was trained on, for checks on
            real users. `None` looks in the job directory.

    Raises:
        UserError: for a value that no export can use.
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

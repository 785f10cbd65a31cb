"""Answers of signatures as tables."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from serving import protocol

#: The outputs of a signature by name, one row per user.
Answer = dict[str, npt.NDArray[np.generic]]

#: The columns of recommendations.
RECOMMENDATIONS = pa.schema(
    {
        "user_id": pa.string(),
        "rank": pa.int32(),
        "item_id": pa.string(),
        "title": pa.string(),
        "score": pa.float32(),
        "predicted_rating": pa.float32(),
    }
)

#: The columns of predictions; `standard_deviation` where the model knows it.
PREDICTIONS = pa.schema(
    {
        "user_id": pa.string(),
        "item_id": pa.string(),
        "predicted_rating": pa.float32(),
        "known": pa.bool_(),
        "standard_deviation": pa.float32(),
    }
)


def predictions_schema(has_deviations: bool) -> pa.Schema:
    """Returns the columns of predictions.

    Args:
        has_deviations: whether the model knows standard deviations.
    """
    if has_deviations:
        return PREDICTIONS
    return PREDICTIONS.remove(PREDICTIONS.get_field_index("standard_deviation"))


def tabulate_recommendations(
    user_ids: Sequence[str | bytes],
    answer: Answer,
    k: int,
    excluded: Sequence[str] = (),
) -> pa.Table:
    """Lists the recommendations of many users in one table.

    Args:
        user_ids: the users.
        answer: the answer to them of a signature that recommends.
        k: the most recommendations per user.
        excluded: ids of items to leave out.

    Returns:
        `RECOMMENDATIONS`, the users in the order given, of each the best
        first, with ranks from 1.
    """
    item_ids = answer[protocol.ITEM_IDS]
    is_kept = item_ids != b""
    if excluded:
        is_excluded = pc.is_in(
            pa.array(item_ids.ravel(), pa.string()),
            value_set=pa.array(excluded, pa.string()),
        )
        is_kept &= ~is_excluded.to_numpy(False).reshape(item_ids.shape)
    ranks = np.cumsum(is_kept, axis=1, dtype=np.int32)
    is_kept &= ranks <= k
    rows = np.nonzero(is_kept)[0]

    return pa.table(
        [
            pa.array(user_ids, pa.string()).take(pa.array(rows)),
            ranks[is_kept],
            pa.array(item_ids[is_kept], pa.string()),
            pa.array(answer[protocol.TITLES][is_kept], pa.string()),
            answer[protocol.SCORES][is_kept],
            answer[protocol.PREDICTED_RATINGS][is_kept],
        ],
        schema=RECOMMENDATIONS,
    )


def tabulate_predictions(
    user_ids: Sequence[str | bytes],
    candidates: Sequence[Sequence[str | bytes]],
    answer: Answer,
) -> pa.Table:
    """Lists the predicted ratings of many users in one table.

    Args:
        user_ids: the users.
        candidates: the items of each.
        answer: the answer of `predict` to them, its rows filled up.

    Returns:
        `predictions_schema`, the users in the order given; `known` says
        whether the model knows the item.
    """
    lengths = np.array([len(each) for each in candidates])
    width = answer[protocol.PREDICTED_RATINGS].shape[1]
    is_kept = np.arange(width) < lengths[:, np.newaxis]
    rows = np.nonzero(is_kept)[0]
    has_deviations = protocol.STANDARD_DEVIATIONS in answer
    names = [protocol.PREDICTED_RATINGS, protocol.CANDIDATE_KNOWN]
    if has_deviations:
        names.append(protocol.STANDARD_DEVIATIONS)
    return pa.table(
        [
            pa.array(user_ids, pa.string()).take(pa.array(rows)),
            pa.array(
                [item_id for each in candidates for item_id in each],
                pa.string(),
            ),
            *(answer[name][is_kept] for name in names),
        ],
        schema=predictions_schema(has_deviations),
    )

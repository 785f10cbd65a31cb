"""Names and codes that an exported model, its server and its clients share.

A signature takes tensors by name and returns tensors by name. Unless its
comment says otherwise, it takes a user's history,

    ITEM_IDS  string   (batch_size, history_length), padded with ""
    RATINGS   float32  (batch_size, history_length), padded with 0

Wherever an item id is taken, a title that one item alone has is taken as well.
Unless its comment says otherwise, a signature also returns how many of the
rated items the model knows,

    NUM_KNOWN_ITEMS  int32  (batch_size,)

The first dimension of every tensor is the batch. The module needs the standard
library only.
"""

import enum
from typing import NamedTuple

# ---- Signatures ----

# Ranks the whole catalog, best first, without what the user rated. Returns
# ITEM_IDS and TITLES, string, PREDICTED_RATINGS and SCORES, float32, all
# (batch_size, k). An item without a title has its id in its place.
# The scores are what items are ranked by: for models that rank by predicted
# rating, these ratings before they are clipped. Older SavedModels return no
# SCORES and no titles. A row that runs out of unrated items ends with "" and 0.
RECOMMEND = "serving_default"
# Also takes NUM_RECOMMENDATIONS, int32, (batch_size,), 0 or more, and returns
# what RECOMMEND does, with k the largest of them or the size of the catalog. A
# row that asks for fewer ends with "" and 0. Older SavedModels lack it.
RECOMMEND_TOP = "recommend_top"
# Ranks CANDIDATE_ITEM_IDS, string, (batch_size, num_candidates), instead of the
# catalog, and returns as many ITEM_IDS, TITLES, PREDICTED_RATINGS and SCORES. A
# candidate that is rated, unknown, "" or repeated is left out: the row ends
# with "" and 0.
RECOMMEND_FROM = "recommend_from"
# Also takes CANDIDATE_ITEM_IDS, string, (batch_size, num_candidates). Returns
# PREDICTED_RATINGS, float32, and CANDIDATE_KNOWN, bool, of that shape and in
# that order; and STANDARD_DEVIATIONS, float32, of the ratings around these
# predictions, which older SavedModels lack.
PREDICT = "predict"
# Also takes TARGET_ITEM_IDS, string, (batch_size, num_targets). Returns
# TARGET_KNOWN, bool, of that shape, and the ratings that moved each target's
# score most: REASON_ITEM_IDS and REASON_TITLES, string, and CONTRIBUTIONS,
# float32, in units of the score, all (batch_size, num_targets, num_reasons),
# ending with "" and 0.
EXPLAIN = "explain"
# Takes TARGET_ITEM_IDS alone, string, (batch_size, num_targets), and no user.
# Returns TARGET_KNOWN, bool, of that shape, and the items most similar to each
# target, the most similar first: SIMILAR_ITEM_IDS and SIMILAR_TITLES, string,
# and SIMILARITIES, float32, all (batch_size, num_targets, k), ending with ""
# and 0. The
# similarity of two items is the cosine of their rows of the model's output
# kernel. There is no NUM_KNOWN_ITEMS.
SIMILAR = "similar"
# Returns CODE, float32, (batch_size, code_units): the encoder's output.
ENCODE = "encode"
# RECOMMEND and PREDICT over EXAMPLES alone, string, (batch_size,): each is a
# serialized tf.train.Example with the features ITEM_IDS, RATINGS and, to
# predict, CANDIDATE_ITEM_IDS.
RECOMMEND_EXAMPLES = "recommend_examples"
PREDICT_EXAMPLES = "predict_examples"
# Takes ITEM_IDS alone, string, (batch_size, num_items). Returns ITEM_KNOWN,
# bool, of that shape, and what the model expects of requests, each of shape
# (batch_size,): HISTORY_LENGTH, int32, the length to pad histories to, and
# RATING_MIN and RATING_MAX, float32, the rating scale. There is no
# NUM_KNOWN_ITEMS.
DESCRIBE = "describe"

# ---- Tensors ----

ITEM_IDS = "item_ids"
TITLES = "titles"
RATINGS = "ratings"
CANDIDATE_ITEM_IDS = "candidate_item_ids"
NUM_RECOMMENDATIONS = "num_recommendations"
TARGET_ITEM_IDS = "target_item_ids"
EXAMPLES = "examples"
PREDICTED_RATINGS = "predicted_ratings"
STANDARD_DEVIATIONS = "standard_deviations"
SCORES = "scores"
CANDIDATE_KNOWN = "candidate_known"
TARGET_KNOWN = "target_known"
REASON_ITEM_IDS = "reason_item_ids"
REASON_TITLES = "reason_titles"
CONTRIBUTIONS = "contributions"
SIMILAR_ITEM_IDS = "similar_item_ids"
SIMILAR_TITLES = "similar_titles"
SIMILARITIES = "similarities"
NUM_KNOWN_ITEMS = "num_known_items"
CODE = "code"
ITEM_KNOWN = "item_known"
HISTORY_LENGTH = "history_length"
RATING_MIN = "rating_min"
RATING_MAX = "rating_max"

# ---- Status ----


class Code(enum.IntEnum):
    """The canonical status codes of TensorFlow and gRPC.

    Source: https://grpc.github.io/grpc/core/md_doc_statuscodes.html
    """

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class VersionStatus(NamedTuple):
    """The status of one version of a model.

    Attributes:
        version: its number.
        state: START, LOADING, AVAILABLE, UNLOADING or END, as in TensorFlow
            Serving's ModelVersionStatus.State; it answers while AVAILABLE.
        error_code: OK unless the version could not be loaded.
        error_message: why it could not; "" otherwise.
    """

    version: int
    state: str
    error_code: Code = Code.OK
    error_message: str = ""

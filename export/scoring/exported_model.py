"""An exported model, run in this process."""

import hashlib
import os
from collections.abc import Mapping, Sequence

import tensorflow as tf
from absl import logging

from data_prep.dataset.errors import UserError
from data_prep.dataset.files import digest_file
from export.scoring.tables import Answer
from export.versions import list_versions
from serving import protocol
from trainer.job.paths import JobPaths

# An exported model is not differentiated: TensorFlow's warnings about functions
# without gradients would only alarm.
logging.get_absl_logger().addFilter(
    lambda record: "unsaved custom gradients" not in str(record.msg)
)

_MODEL_FILE = "saved_model.pb"
# The index of the weights holds a checksum of each.
_DIGESTED = (_MODEL_FILE, "variables/variables.index")


def find_version(path: str) -> str:
    """Finds the SavedModel that a directory stands for.

    Args:
        path: a version, the parent of numbered versions, of which the newest
            is taken, or the directory of a job, whose export is taken.

    Raises:
        UserError: there is none.
    """
    if tf.io.gfile.exists(os.path.join(path, _MODEL_FILE)):
        return path
    for parent in (path, JobPaths.resolve(path, environ={}).export_dir):
        versions = list_versions(parent)
        if versions:
            return os.path.join(parent, str(versions[-1]))
    raise UserError(
        f"{path} holds no exported model: no {_MODEL_FILE}, no numbered"
        " versions and no job with an export. Run `python -m export.task"
        " --job-dir DIR`, and give that directory or the version it names."
    )


class ExportedModel:
    """The signatures of a version.

    Args:
        path: the directory of the SavedModel.

    Attributes:
        path: as given.
        num_recommendations: items in the answer of `recommend`.
        ranks_all_items: whether these are all items that the model knows.
        rating_scale: lowest and highest rating that a user can give.
        has_deviations: whether it knows standard deviations of predictions.

    Raises:
        UserError: it cannot be loaded, or was exported without what scoring
            asks for.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._saved_model = tf.saved_model.load(path)
        except Exception as error:
            # The loader raises nearly anything on a broken file.
            reason = str(error).partition("\n")[0]
            raise UserError(
                f"{path} does not hold a SavedModel that can be loaded:"
                f" {reason} Copy it again, or export the job again."
            ) from error
        self._signatures = dict(self._saved_model.signatures)
        self._check_signatures()
        best = self.answer_to_nobody(protocol.RECOMMEND)[protocol.ITEM_IDS]
        self.num_recommendations = best.shape[1]
        similar = self._call(
            protocol.SIMILAR,
            {protocol.TARGET_ITEM_IDS: tf.constant([[best[0, 0]]])},
        )
        # An item is not among those similar to it. So a catalog that the
        # answers exhaust shows in one item less.
        self.ranks_all_items = (
            similar[protocol.SIMILAR_ITEM_IDS].shape[2]
            < self.num_recommendations
        )
        self.has_deviations = (
            protocol.STANDARD_DEVIATIONS
            in self._signatures[protocol.PREDICT].structured_outputs
        )
        described = self._describe([""])
        self.rating_scale = (
            float(described[protocol.RATING_MIN][0]),
            float(described[protocol.RATING_MAX][0]),
        )

    @property
    def digest(self) -> str:
        """A SHA-256 that no other model has."""
        digests = [
            digest_file(os.path.join(self.path, name)) for name in _DIGESTED
        ]
        return hashlib.sha256("".join(digests).encode()).hexdigest()

    def run(self, name: str, inputs: Mapping[str, tf.Tensor]) -> Answer:
        """Runs a signature over histories.

        Args:
            name: the signature.
            inputs: its inputs by name.

        Raises:
            UserError: the model refuses them.
        """
        try:
            return self._call(name, inputs)
        except tf.errors.InvalidArgumentError as error:
            raise UserError(
                f"{self.path} refuses the ratings:"
                f" {str(error.message).splitlines()[0]}"
            ) from error

    def answer_to_nobody(self, name: str, **columns: Sequence[str]) -> Answer:
        """Runs a signature for a user of whom nothing is known.

        Args:
            name: the signature.
            **columns: its further inputs, lists of item ids.
        """
        return self.run(
            name,
            {
                protocol.ITEM_IDS: tf.fill([1, 0], ""),
                protocol.RATINGS: tf.zeros([1, 0]),
                **{
                    column: tf.constant([list(ids)], tf.string)
                    for column, ids in columns.items()
                },
            },
        )

    def know(self, item_ids: Sequence[str]) -> list[bool]:
        """Tells which items the model knows, by id or title."""
        known = self._describe(item_ids)[protocol.ITEM_KNOWN]
        return list(map(bool, known[0]))

    def find_ids(self, names: Sequence[str]) -> list[str]:
        """Returns the ids of those items that the model knows, each once.

        Args:
            names: ids or titles.
        """
        answer = self.answer_to_nobody(
            protocol.RECOMMEND_FROM, **{protocol.CANDIDATE_ITEM_IDS: names}
        )
        found = answer[protocol.ITEM_IDS][0]
        return sorted(item_id.decode() for item_id in found if item_id)

    def _describe(self, item_ids: Sequence[str]) -> Answer:
        return self._call(
            protocol.DESCRIBE,
            {protocol.ITEM_IDS: tf.constant([list(item_ids)], tf.string)},
        )

    def _call(self, name: str, inputs: Mapping[str, tf.Tensor]) -> Answer:
        outputs = self._signatures[name](**inputs)
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def _check_signatures(self) -> None:
        recommend = self._signatures.get(protocol.RECOMMEND)
        if recommend is None or not (
            {protocol.TITLES, protocol.SCORES}
            <= recommend.structured_outputs.keys()
            and {protocol.SIMILAR, protocol.RECOMMEND_FROM}
            <= self._signatures.keys()
        ):
            raise UserError(
                f"{self.path} is not a model of this version. Export the job"
                " again: `python -m export.task --job-dir DIR`."
            )
        _, inputs = recommend.structured_input_signature
        if protocol.EXAMPLES in inputs:
            raise UserError(
                f"{self.path} was exported with --default-signature. Export"
                " the job without it."
            )

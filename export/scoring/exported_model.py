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

    def know(self, item_ids: Sequence[str]) -> list[bool]:
        """Tells which items the model knows, by id or title."""
        known = self._describe(item_ids)[protocol.ITEM_KNOWN]
        return list(map(bool, known[0]))

    def find_ids(self, names: Sequence[str]) -> list[str]:
        """Returns the ids of those items that the model knows, each once.

        Args:
            names: ids or titles.
        """
        # A user without ratings is recommended every candidate.
        answer = self.run(
            protocol.RECOMMEND_FROM,
            {
                protocol.ITEM_IDS: tf.fill([1, 0], ""),
                protocol.RATINGS: tf.zeros([1, 0]),
                protocol.CANDIDATE_ITEM_IDS: tf.constant([list(names)]),
            },
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
        # The last signature that the protocol got.
        if protocol.RECOMMEND_TOP not in self._signatures:
            raise UserError(
                f"{self.path} is not a model of this version. Export the job"
                " again: `python -m export.task --job-dir DIR`."
            )

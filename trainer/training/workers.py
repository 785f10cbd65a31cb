"""The processes that train a job together, and what they tell each other."""

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from data_prep.dataset.errors import TransientError


class Workers:
    """The workers of a job: the chief writes, all others only read.

    Args:
        strategy: the strategy that the job trains under.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self._strategy = strategy
        # One graph for each number of values.
        self._run = tf.function(
            lambda values: strategy.run(_share, args=(values,)),
            autograph=False,
        )

    @property
    def are_many(self) -> bool:
        """Whether there is more than one process."""
        return isinstance(
            self._strategy, tf.distribute.MultiWorkerMirroredStrategy
        )

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes."""
        return bool(self._strategy.extended.should_checkpoint)

    @contextlib.contextmanager
    def must_all_answer(self) -> Iterator[None]:
        """Ends the block if another worker dies or hangs.

        TensorFlow notices at most half a minute later.

        Raises:
            TransientError: another worker was lost.
        """
        try:
            yield
        except (tf.errors.AbortedError, tf.errors.UnavailableError) as error:
            if not self.are_many:
                raise
            raise TransientError(
                "another worker of the job died or does not answer. Start all"
                " workers again with the same commands: they go on from the"
                f" last state. ({error.message[:300]})"
            ) from error

    def gather(self, values: Sequence[int]) -> npt.NDArray[np.int64]:
        """Collects numbers from all workers; each must call it.

        It returns when all have called it.

        Args:
            values: the numbers of this worker, as many on each.

        Returns:
            `(num_replicas, len(values))`, the same on all workers.
        """
        if not self.are_many:
            return np.array([values], np.int64)
        shared = self._run(tf.constant(values, tf.int64))
        return np.array(self._strategy.experimental_local_results(shared)[0])


def _share(values: tf.Tensor) -> tf.Tensor:
    """Puts the values of a replica into its row of a matrix of all."""
    replica = tf.distribute.get_replica_context()
    row = tf.one_hot(
        tf.convert_to_tensor(replica.replica_id_in_sync_group),
        replica.num_replicas_in_sync,
        dtype=tf.int64,
    )
    return replica.all_reduce(
        tf.distribute.ReduceOp.SUM, row[:, tf.newaxis] * values
    )

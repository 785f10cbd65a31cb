"""Counts what a training step computes, moves and sends, on paper.

The counts follow `AutoEncoder.train_step` and `TaughtAutoEncoder.train_step`:
an update towards the ratings, then `num_refeeds` dense ones, each with an
all-reduce of its gradients. A replica has its share of the users of the batch
and all weights.
"""

import dataclasses
import functools

import numpy as np

#: Bytes of a weight, an activation or a gradient, float32.
_FLOAT = 4

#: Bytes of an item index that goes with a row of a gradient.
_INDEX = 8

#: Matrices of outputs that are held at a time: predictions, targets, errors and
#: their gradient. An assumption.
_OUTPUTS_HELD = 4

#: Times that a matrix of outputs is written or read beside its products:
#: biases, activation, errors, their gradient. An assumption.
_OUTPUT_PASSES = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """What is trained.

    Attributes:
        num_items: size of the catalog.
        hidden_units: sizes of the encoder's layers, the code last; untied.
        num_refeeds: dense updates per batch.
        num_sampled_items: items that stand for the catalog; 0 takes all.
        num_states: states that the optimizer keeps for each weight: 1 for
            momentum, 2 for Adam.
        is_taught: whether it is a `TaughtAutoEncoder` with a rating teacher.
        teacher_rank: rank of the rating teacher.
        teacher_samples: samples of it that answer in a step.
        has_interest_teacher: whether EASE teaches interest.
    """

    num_items: int
    hidden_units: tuple[int, ...]
    num_refeeds: int = 1
    num_sampled_items: int = 0
    num_states: int = 1
    is_taught: bool = False
    teacher_rank: int = 0
    teacher_samples: int = 0
    has_interest_teacher: bool = False

    @property
    def num_tables(self) -> int:
        """Kernels that have a row for each item."""
        return 4 if self.is_taught else 2

    @property
    def num_hidden_weights(self) -> int:
        """Entries of the kernels between hidden layers, both directions."""
        pairs = zip(self.hidden_units, self.hidden_units[1:], strict=False)
        return 2 * sum(inputs * outputs for inputs, outputs in pairs)

    @property
    def num_dense_weights(self) -> int:
        """Weights that have no row per item, biases included."""
        biases = 2 * sum(self.hidden_units) - self.hidden_units[-1]
        biases -= self.hidden_units[0]
        return (
            self.num_hidden_weights
            + biases
            + self.num_tables // 2 * self.hidden_units[0]
        )

    @property
    def num_weights(self) -> int:
        """All weights: the rows of items with a reverse bias, and the rest."""
        row = self.num_tables * self.hidden_units[0] + self.num_tables // 2
        return self.num_items * row + self.num_dense_weights


@dataclasses.dataclass(frozen=True)
class Share:
    """What a replica gets of a batch.

    Attributes:
        num_users: users.
        num_ratings: ratings of these users.
        num_rated_items: distinct items among them.
        num_rated_by_all: distinct items that the whole batch rated.
    """

    num_users: float
    num_ratings: float
    num_rated_items: float
    num_rated_by_all: float


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one replica does in a step.

    Attributes:
        flops: floating-point operations of products; a multiplication and an
            addition count two.
        traffic: bytes that are read from and written to its memory.
        sent: bytes that it sends to other replicas.
    """

    flops: float
    traffic: float
    sent: float


@functools.cache
def share_batch(
    num_items: int, batch_size: int, ratings_per_user: int, num_replicas: int
) -> Share:
    """Divides a batch whose users rate popular items more.

    The probability of the item of rank `r` is proportional to `1 / (r + 10)`,
    as in `benchmarks.batches`. Here users may rate an item twice, which leaves
    up to a tenth fewer distinct items.

    Args:
        num_items: size of the catalog.
        batch_size: users of the global batch.
        ratings_per_user: mean number of ratings per user.
        num_replicas: replicas that share the batch.
    """
    chances = 1 / (np.arange(num_items) + 10.0)
    chances /= chances.sum()

    def count_distinct(num_ratings: float) -> float:
        return float(-np.expm1(-num_ratings * chances).sum())

    num_users = batch_size / num_replicas
    num_ratings = num_users * ratings_per_user
    return Share(
        num_users,
        num_ratings,
        count_distinct(num_ratings),
        count_distinct(batch_size * ratings_per_user),
    )


def count_step(network: Network, share: Share, num_replicas: int) -> Cost:
    """Counts the cost of a step for one replica.

    Args:
        network: what is trained.
        share: what the replica gets of the batch.
        num_replicas: replicas that train together.
    """
    updates = [_first_update(network, share)]
    updates += [_refeeding(network, share)] * network.num_refeeds
    return Cost(
        sum(update.flops for update in updates),
        sum(
            _count_traffic(network, update, num_replicas) for update in updates
        ),
        sum(_count_sent(network, update, num_replicas) for update in updates),
    )


@dataclasses.dataclass(frozen=True)
class _Update:
    """An update of the weights.

    Attributes:
        flops: as for a step.
        outputs: entries of dense outputs.
        rows_read: rows of tables that dense products read.
        kernel_rows: for each table with a gradient, the rows that have one.
        bias_rows: the same for the reverse biases.
        updated_rows: `kernel_rows`, once the gradients of all replicas are
            added up.
        updated_biases: the same for `bias_rows`.
    """

    flops: float
    outputs: float
    rows_read: float
    kernel_rows: tuple[float, ...]
    bias_rows: tuple[float, ...]
    updated_rows: tuple[float, ...]
    updated_biases: tuple[float, ...]


def _first_update(network: Network, share: Share) -> _Update:
    """Counts the update towards the ratings or the teachers' answers."""
    units, users = network.hidden_units[0], share.num_users
    samples = network.num_sampled_items
    sparse = 2 * share.num_ratings * units
    hidden = 6 * users * network.num_hidden_weights
    rated = rated_by_all = float(network.num_items)
    if samples:
        rated, rated_by_all = share.num_rated_items, share.num_rated_by_all
    if not network.is_taught:
        # The loss is about the ratings alone: only the output is dense.
        columns = rated + samples * bool(network.num_refeeds)
        return _Update(
            flops=4 * sparse + hidden + 2 * users * columns * units,
            outputs=users * columns,
            rows_read=columns,
            kernel_rows=(rated, rated),
            bias_rows=(rated,),
            updated_rows=(rated_by_all, rated_by_all),
            updated_biases=(rated_by_all,),
        )
    taught = samples or network.num_items
    interesting, interesting_to_all = (
        taught
        if network.has_interest_teacher
        else min(items + samples, network.num_items)
        for items in (rated, rated_by_all)
    )
    columns = taught + interesting
    return _Update(
        flops=4 * sparse
        + hidden
        + 3 * 2 * users * columns * units
        + _count_teachers(network, share, taught),
        outputs=users * columns,
        rows_read=2 * columns,
        kernel_rows=(rated, taught, rated, interesting),
        bias_rows=(taught, interesting),
        updated_rows=(rated_by_all, taught, rated_by_all, interesting_to_all),
        updated_biases=(taught, interesting_to_all),
    )


def _refeeding(network: Network, share: Share) -> _Update:
    """Counts the update towards the dense output itself."""
    users, units = share.num_users, network.hidden_units[0]
    columns = network.num_sampled_items or network.num_items
    # Forward and the gradient of the kernel on the way in, forward and both
    # gradients on the way out.
    dense = 5 * 2 * users * columns * units
    # The mask goes in as well, and no interest comes out.
    rows = (columns,) * (3 if network.is_taught else 2)
    return _Update(
        flops=dense + 6 * users * network.num_hidden_weights,
        outputs=users * columns,
        rows_read=3 * columns,
        kernel_rows=rows,
        bias_rows=(columns,),
        # All replicas sample the same items.
        updated_rows=rows,
        updated_biases=(columns,),
    )


def _count_teachers(network: Network, share: Share, columns: float) -> float:
    """Counts the operations of the teachers' answers."""
    size = 1 + network.teacher_rank
    regression = 2 * share.num_ratings * size**2 + share.num_users * size**3 / 3
    answer = 2 * share.num_users * columns * size
    flops = network.teacher_samples * (regression + answer)
    if network.has_interest_teacher:
        flops += 2 * share.num_ratings * network.num_items
    return flops


def _count_traffic(
    network: Network, update: _Update, num_replicas: int
) -> float:
    """Counts the bytes that an update moves in memory."""
    units = network.hidden_units[0]
    of_items = units * sum(update.kernel_rows) + sum(update.bias_rows)
    updated = units * sum(update.updated_rows) + sum(update.updated_biases)
    dense = network.num_dense_weights
    # Gradient, weight and states are read, weight and states written.
    passes = 3 + 2 * network.num_states
    moved = of_items + dense + passes * (updated + dense)
    if network.num_sampled_items and num_replicas > 1:
        # The rows of all replicas are written and read to be added up.
        moved += 2 * num_replicas * of_items
    return _FLOAT * (
        moved + units * update.rows_read + _OUTPUT_PASSES * update.outputs
    )


def _count_sent(network: Network, update: _Update, num_replicas: int) -> float:
    """Counts the bytes that a replica sends in an update.

    A ring all-reduce sends each replica's gradient `2 (N - 1) / N` times
    (Patarasuk and Yuan, 2009, "Bandwidth optimal all-reduce algorithms for
    clusters of workstations", https://doi.org/10.1016/j.jpdc.2008.09.002).
    Rows with their indices are gathered instead: `N - 1` times.
    """
    units = network.hidden_units[0]
    reduced = float(network.num_dense_weights)
    rows, biases = sum(update.kernel_rows), sum(update.bias_rows)
    gathered = 0.0
    if network.num_sampled_items:
        gathered = rows * (units * _FLOAT + _INDEX)
        gathered += biases * (_FLOAT + _INDEX)
    else:
        reduced += rows * units + biases
    others = num_replicas - 1
    return others * (2 / num_replicas * _FLOAT * reduced + gathered)


def count_state_bytes(network: Network) -> int:
    """Counts the bytes of weights and states, which each replica holds.

    Without sampling, a gradient of all weights comes on top.
    """
    copies = 1 + network.num_states + (network.num_sampled_items == 0)
    return _FLOAT * copies * network.num_weights


def count_output_bytes(network: Network, share: Share) -> float:
    """Counts the bytes of the outputs that a replica holds in a step."""
    outputs = _first_update(network, share).outputs
    return _FLOAT * _OUTPUTS_HELD * outputs


def count_pulled_and_pushed(network: Network, share: Share) -> float:
    """Counts the bytes between a worker and parameter servers in a step.

    The worker pulls the rows that it reads and the dense weights before each
    update, and pushes their gradients after it.
    """
    updates = [_first_update(network, share)]
    updates += [_refeeding(network, share)] * network.num_refeeds
    units = network.hidden_units[0]
    return sum(
        2
        * (
            sum(update.kernel_rows) * (units * _FLOAT + _INDEX)
            + sum(update.bias_rows) * (_FLOAT + _INDEX)
            + network.num_dense_weights * _FLOAT
        )
        for update in updates
    )

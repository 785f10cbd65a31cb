"""The counts of a step, worked out by hand on a network of ten items."""

import dataclasses

import numpy as np
import pytest

from benchmarks.batches import make_batches
from benchmarks.step_cost import (
    Cost,
    Network,
    Share,
    count_output_bytes,
    count_pulled_and_pushed,
    count_state_bytes,
    count_step,
    share_batch,
)

PLAIN = Network(num_items=10, hidden_units=(4, 3))
SAMPLED = dataclasses.replace(PLAIN, num_sampled_items=3)
TAUGHT = dataclasses.replace(
    PLAIN,
    is_taught=True,
    teacher_rank=2,
    teacher_samples=1,
    has_interest_teacher=True,
)

#: Two users with five ratings of four items; all replicas' users rated six.
SHARE = Share(2, 5, 4, 6)


def test_every_weight_is_counted():
    # Kernels both ways, then biases.
    assert PLAIN.num_weights == 2 * 40 + 2 * 12 + (10 + 4 + 3 + 4)
    assert TAUGHT.num_weights == 4 * 40 + 2 * 12 + (2 * 14 + 3 + 4)


@pytest.mark.integration
def test_the_models_have_the_weights_that_are_counted():
    from trainer.model.autoencoder import AutoEncoder
    from trainer.model.taught_autoencoder import TaughtAutoEncoder

    plain = AutoEncoder(10, (4, 3, 5), tie_weights=False)
    taught = TaughtAutoEncoder(10, hidden_units=(4, 3, 5))
    for model, network in ((plain, PLAIN), (taught, TAUGHT)):
        counted = dataclasses.replace(network, hidden_units=(4, 3, 5))
        trained = sum(
            np.prod(weight.shape, dtype=int)
            for weight in model.trainable_variables
        )
        assert trained == counted.num_weights


def test_an_update_without_refeeding_has_one_dense_product():
    first = count_step(dataclasses.replace(PLAIN, num_refeeds=0), SHARE, 1)
    sparse, hidden, dense = 2 * 5 * 4, 2 * 24 * 2, 2 * 2 * 10 * 4
    assert first.flops == 4 * sparse + 3 * hidden + dense
    # All weights: gradient written, five passes of momentum. The output
    # kernel is read once, the output passed six times.
    assert first.traffic == 4 * (6 * 125 + 10 * 4 + 6 * 2 * 10)


def test_a_refeeding_adds_five_dense_products():
    first = count_step(dataclasses.replace(PLAIN, num_refeeds=0), SHARE, 1)
    both = count_step(PLAIN, SHARE, 1)
    assert both.flops - first.flops == 5 * 2 * 2 * 10 * 4 + 3 * 2 * 24 * 2
    assert both.traffic - first.traffic == 4 * (6 * 125 + 3 * 40 + 6 * 20)


def test_adam_keeps_one_state_more_than_momentum():
    adam = dataclasses.replace(PLAIN, num_states=2)
    more = count_step(adam, SHARE, 1).traffic
    more -= count_step(PLAIN, SHARE, 1).traffic
    assert more == 2 * 2 * 4 * 125
    # Weights, states and a gradient.
    assert count_state_bytes(PLAIN) == 3 * 4 * 125
    assert count_state_bytes(adam) == 4 * 4 * 125


def test_four_matrices_of_outputs_are_held():
    assert count_output_bytes(PLAIN, SHARE) == 4 * 4 * 2 * 10
    assert count_output_bytes(SAMPLED, SHARE) == 4 * 4 * 2 * 7


@pytest.mark.parametrize(
    ("num_replicas", "sent"), [(1, 0), (2, 2 * 4 * 125), (4, 3 * 4 * 125)]
)
def test_a_ring_sends_each_gradient_twice_but_for_a_share(num_replicas, sent):
    assert count_step(PLAIN, SHARE, num_replicas).sent == sent


def test_a_sample_costs_its_rows_and_those_that_are_rated():
    cost = count_step(SAMPLED, SHARE, 2)
    # Seven columns: four rated, and three sampled for the re-feeding.
    first = 4 * 40 + 3 * 96 + 2 * 2 * 7 * 4
    refeeding = 5 * 2 * 2 * 3 * 4 + 3 * 96
    # Eight rows of tables and four biases; twelve and six on both replicas.
    first_traffic = 36 + 35 + 5 * (54 + 35) + 2 * 2 * 36 + 7 * 4 + 6 * 2 * 7
    refeeding_traffic = 27 + 35 + 5 * (27 + 35) + 2 * 2 * 27 + 9 * 4 + 6 * 6
    # Rows go with an index of eight bytes.
    first_sent = 4 * 35 + 8 * (16 + 8) + 4 * (4 + 8)
    refeeding_sent = 4 * 35 + 6 * (16 + 8) + 3 * (4 + 8)
    assert cost == Cost(
        first + refeeding,
        4 * (first_traffic + refeeding_traffic),
        first_sent + refeeding_sent,
    )


def test_a_sample_costs_the_same_in_a_larger_catalog():
    larger = dataclasses.replace(SAMPLED, num_items=1_000_000)
    assert count_step(larger, SHARE, 2) == count_step(SAMPLED, SHARE, 2)


def test_teachers_answer_and_both_outputs_learn():
    cost = count_step(TAUGHT, SHARE, 2)
    regression = 2 * 5 * 3**2 + 2 * 3**3 / 3
    teachers = regression + 2 * 2 * 10 * 3 + 2 * 5 * 10
    first = 4 * 40 + 3 * 96 + 3 * 2 * 2 * 20 * 4 + teachers
    refeeding = 5 * 2 * 2 * 10 * 4 + 3 * 96
    assert cost.flops == pytest.approx(first + refeeding)
    # Re-feeding trains all but the kernel and the bias of the interest.
    assert cost.sent == 4 * 219 + 4 * (219 - 40 - 10)


def test_a_worker_pulls_and_pushes_what_it_updates():
    dense = 20 * (16 + 8) + 10 * (4 + 8) + 35 * 4
    assert count_pulled_and_pushed(PLAIN, SHARE) == 2 * 2 * dense


def test_the_items_of_a_batch_are_nearly_as_many_as_in_generated_ones():
    batches = make_batches(20, 5_000, 64, 50)
    distinct = [len(np.unique(indices[:, 1])) for indices, _ in batches]
    share = share_batch(5_000, 128, 50, 2)
    assert share.num_users == 64
    assert share.num_ratings == 3_200
    # Generated users rate no item twice, so they rate some more.
    assert 1 < np.mean(distinct) / share.num_rated_items < 1.1
    assert share.num_rated_items < share.num_rated_by_all < 5_000

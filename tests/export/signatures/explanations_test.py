import numpy as np
import pytest
import tensorflow as tf

from export.signatures.explanations import NUM_REASONS
from tests.export.helpers import ask, leave_one_out, make_signatures
from trainer.model.autoencoder import AutoEncoder
from trainer.model.layers import CENTERINGS

pytestmark = pytest.mark.integration

ITEM_IDS = [f"item-{index}" for index in range(12)]
HISTORY = [
    (ITEM_IDS[index], rating)
    for index, rating in [(7, 5.0), (0, 0.0), (3, 4.5), (11, 1.0), (4, 2.0)]
]


def model_and_signatures(**arguments):
    model = AutoEncoder(len(ITEM_IDS), **arguments)
    rng = np.random.default_rng(5)
    model.centering.set_statistics(
        rng.integers(1, 20, len(ITEM_IDS)), rng.uniform(1, 4, len(ITEM_IDS))
    )
    for weight in model.trainable_variables:
        weight.assign(rng.normal(0, 0.3, weight.shape))
    return model, make_signatures(model, ITEM_IDS)


def explain(signatures, histories, targets):
    return ask(signatures.explain, histories, target_item_ids=targets)


def assert_reasons(answer, row, position, history, contributions):
    """Compares with all contributions to a target, largest first."""
    order = np.argsort(-np.abs(contributions), kind="stable")[:NUM_REASONS]
    reasons = answer["reason_item_ids"][row, position]
    assert [reason.decode() for reason in reasons[: len(order)]] == [
        history[place][0] for place in order
    ]
    np.testing.assert_allclose(
        answer["contributions"][row, position, : len(order)],
        contributions[order],
        rtol=1e-4,
        atol=1e-5,
    )
    assert reasons[len(order) :].tolist() == [b""] * (NUM_REASONS - len(order))
    assert not answer["contributions"][row, position, len(order) :].any()


@pytest.mark.parametrize("centering", CENTERINGS)
@pytest.mark.parametrize("tie_weights", [False, True])
@pytest.mark.parametrize(
    ("hidden_units", "last_layer_activation"),
    [((6,), False), ((6, 5, 4), True)],
    ids=str,
)
def test_contributions_are_those_of_leaving_each_rating_out(
    centering, tie_weights, hidden_units, last_layer_activation
):
    model, signatures = model_and_signatures(
        centering=centering,
        tie_weights=tie_weights,
        hidden_units=hidden_units,
        last_layer_activation=last_layer_activation,
    )
    # The second target is rated itself.
    answer = explain(signatures, [HISTORY], [["item-9", "item-3"]])
    contributions = leave_one_out(model, ITEM_IDS, HISTORY)
    assert_reasons(answer, 0, 0, HISTORY, contributions[:, 9])
    assert_reasons(answer, 0, 1, HISTORY, contributions[:, 3])


def test_of_many_ratings_those_that_did_most_are_named():
    model, signatures = model_and_signatures(
        centering="user_item", hidden_units=(6, 5)
    )
    history = [
        (item_id, float(position % 6))
        for position, item_id in enumerate(ITEM_IDS)
    ]
    answer = explain(signatures, [history], [["item-2"]])
    contributions = leave_one_out(model, ITEM_IDS, history)[:, 2]
    assert len(contributions) > NUM_REASONS
    assert_reasons(answer, 0, 0, history, contributions)


@pytest.mark.parametrize("centering", CENTERINGS)
def test_a_single_rating_is_measured_against_the_empty_history(centering):
    model, signatures = model_and_signatures(
        centering=centering, hidden_units=(6, 5)
    )
    history = [("item-5", 1.0)]
    answer = explain(signatures, [[], history], [["item-2"], ["item-5"]])
    assert answer["reason_item_ids"][0, 0].tolist() == [b""] * NUM_REASONS
    assert not answer["contributions"][0].any()
    contributions = leave_one_out(model, ITEM_IDS, history)[:, 5]
    assert_reasons(answer, 1, 0, history, contributions)


def test_unknown_and_empty_targets_have_no_reasons():
    _, signatures = model_and_signatures(hidden_units=(6, 5))
    answer = explain(signatures, [HISTORY], [["item-1", "unheard of", ""]])
    assert answer["target_known"].tolist() == [[True, False, False]]
    assert (answer["reason_item_ids"][0, 0] != b"").all()
    assert (answer["reason_item_ids"][0, 1:] == b"").all()
    assert not answer["contributions"][0, 1:].any()


def test_what_is_unknown_or_overruled_in_a_history_is_no_reason():
    _, signatures = model_and_signatures(
        centering="user_item", hidden_units=(6, 5)
    )
    expected = explain(signatures, [HISTORY], [["item-1"]])
    answer = explain(
        signatures,
        [[("unheard of", 5.0), ("item-7", 1.0), *HISTORY]],
        [["item-1"]],
    )
    for name, value in expected.items():
        np.testing.assert_array_equal(answer[name], value)


def test_without_targets_nothing_is_explained():
    _, signatures = model_and_signatures(hidden_units=(6, 5))
    answer = explain(signatures, [HISTORY, []], np.empty((2, 0), object))
    assert answer["reason_item_ids"].shape == (2, 0, NUM_REASONS)


def test_memory_does_not_grow_with_the_number_of_users():
    _, signatures = model_and_signatures(hidden_units=(6, 5))
    function = tf.function(
        signatures.explain,
        input_signature=signatures.input_specs["explain"],
    ).get_concrete_function()
    (loop,) = [
        operation
        for operation in function.graph.get_operations()
        if operation.type in ("While", "StatelessWhile")
    ]
    # One user at a time.
    assert loop.get_attr("parallel_iterations") == 1

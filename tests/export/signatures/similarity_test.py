import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.export.helpers import make_signatures
from trainer.model.autoencoder import AutoEncoder

ITEM_IDS = [f"item-{index}" for index in range(12)]
UNKNOWN = "unheard of"


@pytest.fixture(params=[False, True], ids=["untied", "tied"])
def model(request):
    keras.utils.set_random_seed(0)
    return AutoEncoder(
        len(ITEM_IDS), hidden_units=(4, 3), tie_weights=request.param
    )


def find_similar(model, targets, item_ids=ITEM_IDS, **settings):
    signatures = make_signatures(model, item_ids, **settings)
    answer = signatures.similar(tf.constant(np.array(targets, object)))
    return {name: tensor.numpy() for name, tensor in answer.items()}


def cosines(model):
    """Cosines of all pairs of items, by NumPy in float64."""
    rows = model.dense_layers[0].reverse_kernel.numpy().astype(float)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows @ rows.T


def test_similar_items_are_those_of_the_highest_cosines(model):
    answer = find_similar(model, [["item-3", "item-0"], ["item-11", "item-3"]])
    assert answer["similar_item_ids"].shape == (2, 2, 4)
    expected = cosines(model)
    for row, targets in enumerate([[3, 0], [11, 3]]):
        for column, target in enumerate(targets):
            of_target = expected[target].copy()
            of_target[target] = -np.inf
            order = np.argsort(-of_target)[:4]
            assert answer["similar_item_ids"][row, column].tolist() == [
                ITEM_IDS[index].encode() for index in order
            ]
            np.testing.assert_allclose(
                answer["similarities"][row, column],
                of_target[order],
                rtol=1e-5,
                atol=1e-6,
            )
    assert answer["target_known"].all()


def test_a_small_catalogue_is_ranked_whole_without_the_target(model):
    answer = find_similar(model, [ITEM_IDS], top_k=100)
    assert answer["similar_item_ids"].shape == (1, 12, 11)
    for target, similar in zip(
        ITEM_IDS, answer["similar_item_ids"][0].tolist(), strict=True
    ):
        assert sorted(similar) == sorted(
            item_id.encode() for item_id in ITEM_IDS if item_id != target
        )


def test_of_a_large_catalogue_the_most_similar_items_are_found():
    keras.utils.set_random_seed(0)
    item_ids = [f"item {index}" for index in range(1003)]
    model = AutoEncoder(len(item_ids), hidden_units=(8, 4))
    answer = find_similar(model, [["item 500"]], item_ids, top_k=10)
    expected = cosines(model)[500]
    order = np.argsort(-expected)[1:11]
    assert answer["similar_item_ids"][0, 0].tolist() == [
        item_ids[index].encode() for index in order
    ]
    np.testing.assert_allclose(
        answer["similarities"][0, 0], expected[order], rtol=1e-5
    )


def test_unknown_and_empty_targets_have_no_similar_items(model):
    answer = find_similar(model, [["item-1", UNKNOWN, ""]])
    assert answer["target_known"].tolist() == [[True, False, False]]
    assert (answer["similar_item_ids"][0, 0] != b"").all()
    assert (answer["similar_item_ids"][0, 1:] == b"").all()
    assert not answer["similarities"][0, 1:].any()


@pytest.mark.parametrize("size", [0.0, 1e-42, 1e-30, 1e30])
def test_rows_of_any_length_have_finite_similarities(model, size):
    layer = model.dense_layers[0]
    kernel = layer.reverse_kernel.numpy()
    kernel[2] *= size
    layer.reverse_kernel.assign(kernel)
    similarities = find_similar(model, [ITEM_IDS], top_k=11)["similarities"]
    assert np.isfinite(similarities).all()
    assert np.abs(similarities).max() <= 1
    if size in (0.0, 1e-42):
        assert not similarities[0, 2].any()


def test_a_copy_of_an_item_is_as_similar_as_can_be(model):
    layer = model.dense_layers[0]
    kernel = layer.reverse_kernel.numpy()
    kernel[5] = 3 * kernel[7]
    layer.reverse_kernel.assign(kernel)
    answer = find_similar(model, [["item-7"]])
    assert answer["similar_item_ids"][0, 0, 0] == b"item-5"
    assert answer["similarities"][0, 0, 0] == pytest.approx(1, abs=1e-6)


def test_a_single_item_has_none_that_are_similar():
    model = AutoEncoder(1, hidden_units=(3,))
    answer = find_similar(model, [["alien", UNKNOWN]], ["alien"])
    assert answer["similar_item_ids"].shape == (1, 2, 0)
    assert answer["target_known"].tolist() == [[True, False]]


@pytest.mark.parametrize("shape", [(0, 2), (2, 0)])
def test_without_targets_nothing_is_similar(model, shape):
    answer = find_similar(model, np.empty(shape, object))
    assert answer["similarities"].shape == (*shape, 4)

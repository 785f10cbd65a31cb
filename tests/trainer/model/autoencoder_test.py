import keras
import numpy as np
import pytest
import tensorflow as tf

from data_prep.dataset.errors import UserError
from tests.reference import ReferenceAutoEncoder
from trainer.model.activations import ACTIVATIONS
from trainer.model.autoencoder import AutoEncoder
from trainer.model.item_subsets import sample_items
from trainer.model.optimizers import OPTIMIZERS, Momentum

pytestmark = pytest.mark.integration

NUM_ITEMS = 7
LEARNING_RATE = 0.005


def to_sparse(ratings, rated):
    indices = np.argwhere(rated)
    return tf.SparseTensor(
        indices, ratings[rated].astype(np.float32), ratings.shape
    )


def random_ratings(rng, num_users=4, num_items=NUM_ITEMS):
    rated = rng.random((num_users, num_items)) < 0.6
    return rng.integers(1, 6, rated.shape) * rated.astype(float), rated


def compiled_model(weight_decay=0.0, **arguments):
    model = AutoEncoder(
        **{
            "num_items": NUM_ITEMS,
            "hidden_units": (4, 3),
            "dropout_rate": 0.0,
            **arguments,
        }
    )
    model.compile(Momentum(LEARNING_RATE, weight_decay=weight_decay))
    return model


def reference_of(model):
    layers = model.dense_layers
    return ReferenceAutoEncoder(
        encoder=[
            (layer.kernel.numpy(), layer.bias.numpy()) for layer in layers
        ],
        decoder=[
            (
                None if model.tie_weights else layer.reverse_kernel.numpy().T,
                layer.reverse_bias.numpy(),
            )
            for layer in reversed(layers)
        ],
        activation=model.activation,
        last_layer_activation=model.last_layer_activation,
        learning_rate=LEARNING_RATE,
        weight_decay=model.optimizer.get_config()["weight_decay"],
    )


def assert_same_weights(model, reference):
    """Compares to float32's accuracy after a few updates."""
    expected = reference_of(model).weights
    for actual, wanted in zip(expected, reference.weights, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("num_refeeds", [0, 1, 2])
@pytest.mark.parametrize("tie_weights", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_training_steps_equal_the_reference(
    activation, tie_weights, num_refeeds
):
    model = compiled_model(
        activation=activation, tie_weights=tie_weights, num_refeeds=num_refeeds
    )
    reference = reference_of(model)
    rng = np.random.default_rng(1)
    for _ in range(2):  # The second batch meets momentum.
        ratings, rated = random_ratings(rng)
        model.reset_metrics()
        logs = model.train_step(to_sparse(ratings, rated))
        loss = reference.train_step(ratings, rated.astype(float), num_refeeds)
        np.testing.assert_allclose(logs["loss"], loss, rtol=1e-5)
    assert_same_weights(model, reference)
    assert int(model.optimizer.iterations) == 2 * (1 + num_refeeds)


@pytest.mark.parametrize("hidden_units", [(3,), (5, 3), (6, 5, 4, 3)], ids=str)
@pytest.mark.parametrize("tie_weights", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("last_layer_activation", [False, True])
def test_every_depth_equals_the_reference(
    hidden_units, tie_weights, last_layer_activation
):
    model = compiled_model(
        hidden_units=hidden_units,
        tie_weights=tie_weights,
        last_layer_activation=last_layer_activation,
        weight_decay=0.01,
    )
    reference = reference_of(model)
    ratings, rated = random_ratings(np.random.default_rng(2))
    model.train_step(to_sparse(ratings, rated))
    reference.train_step(ratings, rated.astype(float), num_refeeds=1)
    assert_same_weights(model, reference)


def test_the_graph_does_what_the_eager_step_does():
    ratings = to_sparse(*random_ratings(np.random.default_rng(3)))
    weights = []
    for run in (lambda step: step, tf.function):
        keras.utils.set_random_seed(5)
        model = compiled_model(dropout_rate=0.5)
        run(model.train_step)(ratings)
        weights.append(model.get_weights())
    for eager, graph in zip(*weights, strict=True):
        np.testing.assert_allclose(eager, graph, rtol=1e-6, atol=1e-6)


def test_the_refed_output_is_the_training_mode_one_of_before_the_update():
    # With dropout the first forward pass is random: replay it by its seed.
    model = compiled_model(dropout_rate=0.5, seed=11, num_refeeds=1)
    twin = compiled_model(dropout_rate=0.5, seed=11, num_refeeds=0)
    twin.set_weights(model.get_weights())
    ratings = to_sparse(*random_ratings(np.random.default_rng(4)))

    twin_before = twin(ratings, training=True)
    refed = []
    noise = model.refeed_noise.call
    model.refeed_noise.call = lambda inputs, **kwargs: (
        refed.append(inputs) or noise(inputs, **kwargs)
    )
    model.train_step(ratings)
    np.testing.assert_allclose(refed[0], twin_before, rtol=1e-6)


def test_a_stored_zero_is_a_rating():
    ratings = np.array([[0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    rated = np.array([[True, True, False, False, False, False, False]])
    model = compiled_model(num_refeeds=0)
    reference = reference_of(model)
    logs = model.train_step(to_sparse(ratings, rated))
    loss = reference.train_step(ratings, rated.astype(float), num_refeeds=0)
    np.testing.assert_allclose(logs["loss"], loss, rtol=1e-5)
    assert_same_weights(model, reference)


def test_a_user_without_ratings_and_one_with_a_single_rating():
    ratings = np.zeros((3, NUM_ITEMS))
    rated = np.zeros((3, NUM_ITEMS), bool)
    ratings[1, 2], rated[1, 2] = 4.0, True
    ratings[2, 3:], rated[2, 3:] = 2.0, True
    model = compiled_model()
    reference = reference_of(model)
    model.train_step(to_sparse(ratings, rated))
    reference.train_step(ratings, rated.astype(float), num_refeeds=1)
    assert_same_weights(model, reference)


@pytest.mark.parametrize("num_sampled_items", [0, 3])
def test_a_batch_without_ratings_has_no_loss_and_moves_nothing(
    num_sampled_items,
):
    model = compiled_model(num_refeeds=0, num_sampled_items=num_sampled_items)
    before = model.get_weights()
    empty = np.zeros((2, NUM_ITEMS))
    logs = model.train_step(to_sparse(empty, empty > 0))
    assert float(logs["loss"]) == 0.0
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_unrated_entries_do_not_move_the_loss():
    ratings, rated = random_ratings(np.random.default_rng(6))
    losses = []
    for bias in (0.0, 100.0):
        model = compiled_model(hidden_units=(3,), num_refeeds=0)
        model.set_weights([np.zeros_like(w) for w in model.get_weights()])
        unrated_anywhere = np.zeros(NUM_ITEMS)
        unrated_anywhere[-1] = bias
        rated[:, -1] = False
        model.dense_layers[0].reverse_bias.assign(unrated_anywhere)
        losses.append(
            float(model.train_step(to_sparse(ratings, rated))["loss"])
        )
    assert losses[0] == losses[1]


def test_noise_leaves_dropped_entries_out_of_input_and_target():
    model = compiled_model(refeed_noise_rate=0.5, seed=3)
    reference = reference_of(model)
    ratings, rated = random_ratings(np.random.default_rng(7))
    noised = []
    noise = model.refeed_noise.call

    def remember(inputs, **kwargs):
        noised.append(noise(inputs, **kwargs))
        return noised[-1]

    model.refeed_noise.call = remember
    model.train_step(to_sparse(ratings, rated))
    refed = noised[0].numpy().astype(float)
    assert 0 < np.mean(refed == 0) < 1
    reference.update(ratings, rated.astype(float))
    reference.update(refed, (refed != 0).astype(float))
    assert_same_weights(model, reference)


@pytest.mark.parametrize(
    ("hidden_units", "tie_weights", "expected"),
    [
        ((128,), False, 4_566_504),
        ((128, 128), False, 4_566_504 + 33_024),
        ((128, 128, 128), False, 4_566_504 + 2 * 33_024),
        ((256,), False, 9_115_240),
        ((512, 512, 1024), False, 19_788_136),
        ((512, 512, 1024), True, 9_904_488),
        ((256, 256, 512), False, 9_509_736),
        ((128, 256, 256), False, 4_764_008),
    ],
    ids=str,
)
def test_parameter_counts_are_the_paper_s(hidden_units, tie_weights, expected):
    model = AutoEncoder(
        17_768, hidden_units=hidden_units, tie_weights=tie_weights
    )
    assert sum(np.prod(w.shape) for w in model.trainable_variables) == expected


def test_weights_start_glorot_uniform_and_biases_at_zero():
    layer = AutoEncoder(300, hidden_units=(200,)).dense_layers[0]
    limit = np.sqrt(6 / 500)
    for kernel in (layer.kernel, layer.reverse_kernel):
        values = kernel.numpy()
        assert np.abs(values).max() <= limit
        np.testing.assert_allclose(values.std(), limit / np.sqrt(3), rtol=0.02)
    assert not layer.bias.numpy().any()
    assert not layer.reverse_bias.numpy().any()


def test_a_linear_autoencoder_finds_the_principal_subspace():
    # Baldi and Hornik, 1989: the minimum of a linear autoencoder of width k
    # spans the first k principal components.
    rng = np.random.default_rng(8)
    num_users, num_items, code_units = 256, 12, 3
    spectrum = np.array([5.0, 4.0, 3.0, *[0.5] * (num_items - 3)])
    axes = np.linalg.qr(rng.normal(size=(num_items, num_items)))[0]
    data = rng.normal(size=(num_users, num_items)) * spectrum @ axes.T
    data -= data.mean(axis=0)
    model = AutoEncoder(
        num_items,
        hidden_units=(code_units,),
        activation="linear",
        dropout_rate=0.0,
        num_refeeds=0,
    )
    model.compile(keras.optimizers.Adam(0.01))
    ratings = to_sparse(data, np.full(data.shape, True))
    step = tf.function(model.train_step)
    for _ in range(1500):
        step(ratings)
    learned = np.linalg.qr(model.dense_layers[0].reverse_kernel.numpy())[0]
    principal = np.linalg.svd(data)[2][:code_units].T
    cosines = np.linalg.svd(learned.T @ principal)[1]
    angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    assert angles.max() < 1.0


def fixed_point_gap(num_refeeds):
    keras.utils.set_random_seed(0)
    model = AutoEncoder(
        30,
        hidden_units=(16, 8),
        dropout_rate=0.0,
        num_refeeds=num_refeeds,
        centering="mean",
    )
    model.compile(Momentum(0.02))
    rng = np.random.default_rng(9)
    low_rank = rng.normal(size=(64, 2)) @ rng.normal(size=(2, 30))
    ratings = to_sparse(low_rank, rng.random(low_rank.shape) < 0.3)
    step = tf.function(model.train_step)
    for _ in range(200):
        step(ratings)
    once = model.decode(model.encode(ratings))
    twice = model.decode(model.encode(once))
    return float(tf.reduce_mean((twice - once) ** 2))


def test_refeeding_brings_f_of_f_closer_to_f():
    assert fixed_point_gap(num_refeeds=1) < 0.5 * fixed_point_gap(0)


@pytest.mark.parametrize("tie_weights", [False, True], ids=["untied", "tied"])
def test_a_saved_model_is_read_back_without_custom_objects(
    tmp_path, tie_weights
):
    model = compiled_model(
        activation="leaky_relu", tie_weights=tie_weights, centering="user_item"
    )
    model.centering.set_statistics(
        np.arange(NUM_ITEMS), np.linspace(1, 5, NUM_ITEMS)
    )
    ratings = to_sparse(*random_ratings(np.random.default_rng(10)))
    model.train_step(ratings)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    np.testing.assert_array_equal(loaded(ratings), model(ratings))


def test_fit_trains_on_sparse_batches_and_validates_on_pairs():
    ratings = to_sparse(*random_ratings(np.random.default_rng(11), 8))
    batches = tf.data.Dataset.from_tensor_slices(ratings).batch(4)
    pairs = tf.data.Dataset.zip(batches, batches)
    model = compiled_model()
    history = model.fit(
        batches, validation_data=pairs, epochs=30, shuffle=False, verbose=0
    ).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert history["val_rmse"][-1] < 0.7 * history["val_rmse"][0]
    assert int(model.optimizer.iterations) == 30 * 2 * 2
    assert model.predict(pairs, verbose=0).shape == (8, NUM_ITEMS)


def train_under(strategy, optimizer, **arguments):
    """Trains eight batches under a strategy; returns weights and metrics."""
    keras.utils.set_random_seed(13)
    with strategy.scope():
        model = AutoEncoder(
            NUM_ITEMS,
            hidden_units=(4, 3),
            centering="user_item",
            seed=13,
            **arguments,
        )
        model.compile(optimizer())
        model.optimizer.build(model.trainable_variables)
    # The users' numbers of ratings differ widely, so that a mean of the
    # replicas' means would be another loss.
    ratings, rated = random_ratings(np.random.default_rng(14), num_users=10)
    rated[::4, 2:] = False
    batches = tf.data.Dataset.from_tensor_slices(to_sparse(ratings, rated))

    @tf.function
    def step(batch):
        strategy.run(model.train_step, args=(batch,))

    # Two replicas share five users as three and two.
    for batch in strategy.experimental_distribute_dataset(
        batches.batch(5).repeat(4)
    ):
        step(batch)
    return model.get_weights(), model.training_metrics()


#: Re-feeds all items or a sample, whose rows a lazy optimizer updates.
REFEEDS = {
    "all_items": {"refeed_noise_rate": 0.5},
    "sampled_items": {"refeed_noise_rate": 0.5, "num_sampled_items": 3},
}


def assert_two_replicas_train_like_one(two_replicas, **arguments):
    weights, metrics = train_under(tf.distribute.get_strategy(), **arguments)
    mirrored_weights, mirrored_metrics = train_under(two_replicas, **arguments)
    for expected, actual in zip(weights, mirrored_weights, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
    for name, expected in metrics.items():
        np.testing.assert_allclose(mirrored_metrics[name], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "refeeds"),
    [
        pytest.param(
            name,
            refeeds,
            marks=[]
            if (name, refeeds) == ("momentum", "all_items")
            else pytest.mark.slow,
        )
        for name in OPTIMIZERS
        for refeeds in REFEEDS
    ],
)
def test_two_replicas_train_exactly_like_one(name, refeeds, two_replicas):
    arguments = REFEEDS[refeeds]
    assert_two_replicas_train_like_one(
        two_replicas,
        optimizer=lambda: OPTIMIZERS[name](
            0.005, weight_decay=0.01, lazy="num_sampled_items" in arguments
        ),
        dropout_rate=0.5,
        **arguments,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "arguments"),
    [
        (lambda: Momentum(0.005), {"num_refeeds": 0}),
        (lambda: keras.optimizers.Adam(0.01), {}),
        (lambda: keras.optimizers.Adam(0.01), {"num_sampled_items": 3}),
    ],
    ids=["no_refeeds", "keras_adam", "keras_adam_of_sampled_items"],
)
def test_two_replicas_of_other_steps_train_exactly_like_one(
    optimizer, arguments, two_replicas
):
    assert_two_replicas_train_like_one(
        two_replicas, optimizer=optimizer, dropout_rate=0.5, **arguments
    )


@pytest.mark.parametrize(
    "policy",
    [
        "mixed_bfloat16",
        pytest.param("mixed_float16", marks=pytest.mark.extended),
    ],
)
def test_mixed_precision_learns_what_float32_learns(policy):
    ratings = to_sparse(*random_ratings(np.random.default_rng(15)))
    losses = {}
    for dtype in ("float32", policy):
        keras.utils.set_random_seed(16)
        model = AutoEncoder(
            NUM_ITEMS,
            hidden_units=(4, 3),
            dropout_rate=0.0,
            centering="user_item",
            dtype=dtype,
        )
        # Slow enough that rounding errors do not grow.
        model.compile(keras.optimizers.SGD(0.02))
        assert model(ratings).dtype == tf.float32
        assert all(w.dtype == "float32" for w in model.trainable_variables)
        step = tf.function(model.train_step)
        # Loss scaling skips the first updates, which overflow float16.
        for _ in range(60):
            model.reset_metrics()
            logs = step(ratings)
        losses[dtype] = float(logs["loss"])
    np.testing.assert_allclose(losses[policy], losses["float32"], rtol=0.05)


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("hidden_units", (), r"hidden_units=\(\)"),
        ("hidden_units", (8, 0), r"positive integers.*hidden_units=\(8, 0\)"),
        ("activation", "gelu", "one of selu, .*activation='gelu'"),
        ("dropout_rate", 80, "a fraction.*dropout_rate=80"),
        ("dropout_rate", float("nan"), "dropout_rate=nan"),
        ("refeed_noise_rate", 1.0, "refeed_noise_rate=1.0"),
        ("num_refeeds", -1, "num_refeeds=-1"),
        ("num_sampled_items", -1, "num_sampled_items=-1"),
        ("centering", "users", "one of none, mean, item, user_item"),
    ],
)
def test_an_impossible_argument_is_refused_by_name_and_value(
    argument, value, message
):
    with pytest.raises(UserError, match=message):
        compiled_model(**{argument: value})


# ---- Item sampling ----


def test_an_item_that_is_neither_rated_nor_drawn_keeps_its_weights():
    model = AutoEncoder(500, hidden_units=(4, 3), num_sampled_items=20, seed=3)
    model.compile(Momentum(LEARNING_RATE, lazy=True, weight_decay=0.1))
    rng = np.random.default_rng(21)
    rated = rng.random((4, 500)) < 0.02
    ratings = rng.integers(1, 6, rated.shape) * rated.astype(float)
    layer = model.dense_layers[0]
    before = [
        weight.numpy()
        for weight in (layer.kernel, layer.reverse_kernel, layer.reverse_bias)
    ]
    model.train_step(to_sparse(ratings, rated))
    touched = rated.any(axis=0)
    touched[sample_items(20, 500, keras.random.SeedGenerator(3))] = True
    assert rated.any(axis=0).sum() < touched.sum() < 70
    for old, weight in zip(
        before,
        (layer.kernel, layer.reverse_kernel, layer.reverse_bias),
        strict=True,
    ):
        new = weight.numpy()
        np.testing.assert_array_equal(new[~touched], old[~touched])
        assert (new[touched] != old[touched]).any()


@pytest.mark.parametrize("num_sampled_items", [NUM_ITEMS, 10 * NUM_ITEMS])
def test_a_sample_of_every_item_is_no_sampling(num_sampled_items):
    model = compiled_model(num_sampled_items=num_sampled_items)
    reference = reference_of(model)
    ratings, rated = random_ratings(np.random.default_rng(22))
    for _ in range(5):
        model.train_step(to_sparse(ratings, rated))
        reference.train_step(ratings, rated, num_refeeds=1)
    assert_same_weights(model, reference)


@pytest.mark.parametrize(
    "policy",
    ["float32", pytest.param("mixed_float16", marks=pytest.mark.extended)],
)
def test_sampled_training_learns(policy):
    rng = np.random.default_rng(24)
    ratings = to_sparse(*random_ratings(rng, num_users=16, num_items=40))
    keras.utils.set_random_seed(25)
    model = AutoEncoder(
        40,
        hidden_units=(16, 8),
        dropout_rate=0.0,
        num_sampled_items=10,
        dtype=policy,
    )
    model.compile(OPTIMIZERS["adam"](0.01, lazy=True))
    model.optimizer.build(model.trainable_variables)
    step = tf.function(model.train_step)
    losses = []
    for _ in range(150):
        model.reset_metrics()
        losses.append(float(step(ratings)["loss"]))
    assert np.mean(losses[-10:]) < 0.2 * losses[0]

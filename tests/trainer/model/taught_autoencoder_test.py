import keras
import numpy as np
import pytest
import tensorflow as tf

from data_prep.dataset.errors import UserError
from tests.reference import ACTIVATIONS
from trainer.model.optimizers import Adam, Momentum
from trainer.model.rating_model import RatingModel
from trainer.model.taught_autoencoder import TaughtAutoEncoder

pytestmark = pytest.mark.integration

LEARNING_RATE = 0.01
INPUT_SCALE = 10.0


@keras.saving.register_keras_serializable(package="tests")
class RidgeTeacher(RatingModel):
    """Knows the item factors; a user's factors are a ridge regression.

    Args:
        factors: `(num_items, rank)`.
        mean: rating of an item that factors say nothing of.
        unit: what a unit of the factors' products is worth in ratings.
    """

    def __init__(self, factors, mean=0.0, unit=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factors = np.array(factors, np.float32)
        self.mean = mean
        self.unit = unit
        self.built = True

    def call(self, ratings, items=None, training=False):
        rated = tf.sparse.to_dense(
            ratings.with_values(tf.ones_like(ratings.values))
        )
        centered = tf.sparse.to_dense(
            ratings.with_values((ratings.values - self.mean) / self.unit)
        )
        rank = self.factors.shape[1]
        squares = tf.einsum("ui,ik,il->ukl", rated, self.factors, self.factors)
        codes = tf.linalg.solve(
            squares + 0.01 * tf.eye(rank), (centered @ self.factors)[..., None]
        )[..., 0]
        factors = self.factors
        if items is not None:
            factors = tf.gather(factors, items)
        return self.mean + self.unit * (codes @ tf.transpose(factors))

    def get_config(self):
        return {
            **super().get_config(),
            "factors": self.factors.tolist(),
            "mean": self.mean,
            "unit": self.unit,
        }


def to_sparse(ratings, rated):
    return tf.SparseTensor(
        np.argwhere(rated), ratings[rated].astype(np.float32), ratings.shape
    )


def low_rank_data(num_users=300, num_items=24, unit=1.0, mean=3.0):
    """Makes ratings, what is rated, and the teacher that knows the factors."""
    rng = np.random.default_rng(0)
    factors = rng.choice([-1.0, 1.0], (num_items, 2))
    ratings = mean + unit * (rng.normal(size=(num_users, 2)) @ factors.T)
    rated = rng.random(ratings.shape) < 0.5
    return ratings, rated, RidgeTeacher(factors, mean, unit)


def set_statistics(model, ratings, rated):
    counts = rated.sum(axis=0)
    sums = np.where(rated, ratings, 0).sum(axis=0)
    model.set_statistics(
        counts, sums / np.maximum(counts, 1), ratings[rated].std()
    )


def taught_model(ratings, rated, teacher, num_epochs=0, **arguments):
    """Trains a small model on batches of 50 users."""
    keras.utils.set_random_seed(1)
    model = TaughtAutoEncoder(
        ratings.shape[1],
        teacher,
        teacher,
        **{"hidden_units": (32, 16), "dropout_rate": 0.0, "seed": 1}
        | arguments,
    )
    set_statistics(model, ratings, rated)
    model.compile(keras.optimizers.Adam(0.003))
    # A graph takes seconds to trace, and is worth it for many steps.
    step = tf.function(model.train_step) if num_epochs > 3 else model.train_step
    for _ in range(num_epochs):
        for first in range(0, len(ratings), 50):
            users = slice(first, first + 50)
            step(to_sparse(ratings[users], rated[users]))
    return model


@pytest.fixture(scope="module")
def student():
    """A model of 250 users, trained."""
    ratings, rated, teacher = low_rank_data()
    return taught_model(ratings[:250], rated[:250], teacher, num_epochs=40)


@pytest.mark.parametrize(
    "users", [slice(0, 250), slice(250, 300)], ids=["seen", "unseen"]
)
def test_the_student_of_a_perfect_teacher_converges_to_it(student, users):
    ratings, rated, teacher = low_rank_data()
    inputs = to_sparse(ratings[users], rated[users])
    _, user_offsets = student.centering(inputs)
    answers = teacher(inputs)
    biases = student.centering.restore(tf.zeros_like(answers), user_offsets)
    of_student = np.mean((student(inputs) - answers) ** 2)
    of_biases = np.mean((biases - answers) ** 2)
    assert of_student < 0.1 * of_biases


def test_the_student_ranks_as_its_interest_teacher_does(student):
    ratings, rated, teacher = low_rank_data()
    inputs = to_sparse(ratings, rated)
    logits, scores = (
        student.answer(inputs).interest.numpy(),
        teacher(inputs).numpy(),
    )
    correlations = [
        np.corrcoef(*pair)[0, 1] for pair in zip(logits, scores, strict=True)
    ]
    assert np.median(correlations) > 0.9


@pytest.mark.extended
def test_parts_of_histories_teach_what_to_say_of_short_ones(student):
    ratings, rated, teacher = low_rank_data()
    few = to_sparse(ratings, rated & (np.cumsum(rated, axis=1) <= 3))
    by_wholes = taught_model(
        ratings[:250], rated[:250], teacher, 40, whole_history_rate=1.0
    )
    distances = [
        np.mean((model(few) - teacher(few)) ** 2)
        for model in (student, by_wholes)
    ]
    assert distances[0] < 0.8 * distances[1]


@pytest.mark.extended
@pytest.mark.parametrize("unit", [20.0, 0.2])
def test_the_scale_of_the_ratings_does_not_matter(unit):
    ratings, rated, teacher = low_rank_data(unit=1.0, mean=3.0)
    scaled, _, scaled_teacher = low_rank_data(unit=unit, mean=3.0 * unit)
    inputs = to_sparse(ratings, rated), to_sparse(scaled, rated)
    models = (
        taught_model(ratings, rated, teacher, num_epochs=3),
        taught_model(scaled, rated, scaled_teacher, num_epochs=3),
    )
    # Rounding grows with the updates.
    np.testing.assert_allclose(
        models[1](inputs[1]) / unit, models[0](inputs[0]), atol=0.01
    )
    np.testing.assert_allclose(
        models[1].answer(inputs[1]).interest,
        models[0].answer(inputs[0]).interest,
        atol=0.01,
    )


class ReferenceStudent:
    """The losses of both updates in NumPy and float64.

    Args:
        model: whose weights and statistics to start from.
    """

    def __init__(self, model):
        self.weights = [w.numpy().astype(float) for w in variables(model)]
        self.mean = float(model.centering.mean)
        self.item_offsets = model.centering.item_offsets.numpy().astype(float)
        self.deviation = float(model.deviation)
        self.interest_weight = model.interest_weight
        self.sharpness = model.sharpness
        self.activation = ACTIVATIONS[model.activation][0]

    def outputs(self, values, mask):
        kernel, bias, reverse_kernel, reverse_bias = self.weights[:4]
        kernel2, bias2, reverse_kernel2, reverse_bias2 = self.weights[4:8]
        kernel3, bias3, reverse_kernel3, reverse_bias3 = self.weights[8:]
        act = self.activation
        hidden = act(values @ kernel + bias + mask @ kernel2 + bias2)
        code = act(hidden @ kernel3 + bias3)
        hidden = act(code @ reverse_kernel3.T + reverse_bias3)
        return (
            hidden @ reverse_kernel.T + reverse_bias,
            hidden @ reverse_kernel2.T + reverse_bias2,
        )

    def center(self, ratings, rated):
        residuals = (ratings - self.mean - self.item_offsets) * rated
        counts = rated.sum(axis=1, keepdims=True)
        user_offsets = residuals.sum(axis=1, keepdims=True) / (counts + 10)
        return (residuals - user_offsets) * rated, user_offsets

    def predict(self, ratings, rated):
        centered, user_offsets = self.center(ratings, rated)
        scale = INPUT_SCALE / np.sqrt(rated.sum(axis=1, keepdims=True) + 1)
        outputs, logits = self.outputs(
            centered / self.deviation * scale, rated * scale
        )
        biases = self.mean + self.item_offsets + user_offsets
        return outputs, logits, biases

    def taught_loss(self, ratings, rated, answers):
        outputs, logits, biases = self.predict(ratings, rated)
        targets = (answers - biases) / self.deviation
        scores = answers / answers.std(axis=1, keepdims=True)
        interest = softmax(self.sharpness * scores)
        entropy = -np.sum(interest * np.log(softmax(logits)), axis=1)
        return (
            np.mean((outputs - targets) ** 2)
            + self.interest_weight * entropy.mean()
        )

    def untaught_loss(self, ratings, rated):
        outputs, logits, biases = self.predict(ratings, rated)
        errors = (outputs - (ratings - biases) / self.deviation)[rated]
        interest = rated / rated.sum(axis=1, keepdims=True)
        entropy = -np.sum(interest * np.log(softmax(logits)), axis=1)
        return np.mean(errors**2) + self.interest_weight * entropy.mean()

    def refeed_loss(self, refed):
        scale = INPUT_SCALE / np.sqrt(refed.shape[1] + 1)
        outputs, _ = self.outputs(refed * scale, np.full(refed.shape, scale))
        return np.mean((outputs - refed) ** 2)

    def descend(self, loss, step_size=1e-6):
        """Moves the weights against the gradient, by central differences."""
        gradients = [np.zeros_like(w) for w in self.weights]
        for weight, gradient in zip(self.weights, gradients, strict=True):
            for place in np.ndindex(weight.shape):
                value = weight[place]
                weight[place] = value + step_size
                above = loss()
                weight[place] = value - step_size
                gradient[place] = (above - loss()) / (2 * step_size)
                weight[place] = value
        self.weights = [
            weight - LEARNING_RATE * gradient
            for weight, gradient in zip(self.weights, gradients, strict=True)
        ]


def variables(model):
    return [
        weight
        for layer in (
            model.rating_layer,
            model.interest_layer,
            *model.hidden_layers,
        )
        for weight in (
            layer.kernel,
            layer.bias,
            layer.reverse_kernel,
            layer.reverse_bias,
        )
    ]


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("num_refeeds", "num_sampled_items"),
    # A sample of every item is the catalog.
    [(0, 0), (1, 0), (2, 0), (2, 6), (1, 60)],
)
@pytest.mark.parametrize("is_taught", [True, False], ids=["taught", "untaught"])
def test_updates_equal_the_reference(is_taught, num_refeeds, num_sampled_items):
    ratings, rated, teacher = low_rank_data(num_users=5, num_items=6)
    model = TaughtAutoEncoder(
        6,
        teacher if is_taught else None,
        teacher if is_taught else None,
        hidden_units=(4, 3),
        dropout_rate=0.0,
        whole_history_rate=1.0,
        num_refeeds=num_refeeds,
        num_sampled_items=num_sampled_items,
        interest_weight=0.5,
    )
    set_statistics(model, ratings, rated)
    model.compile(Momentum(LEARNING_RATE, momentum=0.0))
    reference = ReferenceStudent(model)
    inputs = to_sparse(ratings, rated)
    answers = teacher(inputs).numpy().astype(float)

    metrics = model.train_step(inputs)

    def loss():
        if is_taught:
            return reference.taught_loss(ratings, rated, answers)
        return reference.untaught_loss(ratings, rated)

    assert float(
        metrics["loss"] + model.interest_weight * metrics["interest_loss"]
    ) == pytest.approx(loss(), rel=1e-5)
    outputs, _, _ = reference.predict(ratings, rated)
    reference.descend(loss)
    for _ in range(num_refeeds):
        refed = outputs
        scale = INPUT_SCALE / np.sqrt(7)
        outputs, _ = reference.outputs(
            refed * scale, np.full(refed.shape, scale)
        )
        reference.descend(lambda refed=refed: reference.refeed_loss(refed))
    for actual, expected in zip(
        variables(model), reference.weights, strict=True
    ):
        np.testing.assert_allclose(actual, expected, atol=1e-5)


def sampled_model(is_taught, num_items):
    """A model with its first weights, whose batches sample 8 items."""
    ratings, rated, teacher = low_rank_data(num_items=num_items)
    teachers = [teacher if is_taught else None] * 2
    keras.utils.set_random_seed(1)
    model = TaughtAutoEncoder(
        num_items,
        *teachers,
        hidden_units=(16, 8),
        dropout_rate=0.0,
        num_sampled_items=8,
        interest_weight=0.5,
        seed=1,
    )
    set_statistics(model, ratings, rated)
    model.compile(Adam(0.003, lazy=True))
    model.optimizer.build(model.trainable_variables)
    return model, ratings, rated, teacher


@pytest.mark.parametrize("is_taught", [True, False], ids=["taught", "untaught"])
def test_a_step_changes_the_rows_of_rated_and_sampled_items_alone(is_taught):
    model, ratings, rated, _ = sampled_model(is_taught, num_items=60)
    rated &= np.arange(60) < 6
    before = [weight.numpy() for weight in variables(model)]
    model.train_step(to_sparse(ratings[:50], rated[:50]))
    changed = np.zeros(60, bool)
    for old, new in zip(before, variables(model), strict=True):
        if len(old) == 60:
            differs = old != new.numpy()
            changed |= differs if differs.ndim == 1 else differs.any(axis=1)
    assert changed[:6].all()
    assert 6 < changed.sum() <= 6 + 8


@pytest.mark.slow
def test_the_student_of_samples_learns_what_the_teacher_answers():
    model, ratings, rated, teacher = sampled_model(True, num_items=24)
    step = tf.function(model.train_step, reduce_retracing=True)
    for _ in range(60):
        for first in range(0, len(ratings), 50):
            users = slice(first, first + 50)
            step(to_sparse(ratings[users], rated[users]))
    inputs = to_sparse(ratings, rated)
    answers = teacher(inputs)
    errors = np.sqrt(np.mean((model(inputs) - answers) ** 2))
    assert errors < 0.5 * np.std(answers)


def test_sampled_logits_stand_for_all_items():
    """Without a teacher the sum over a sample estimates that over all."""
    model, ratings, rated, _ = sampled_model(False, num_items=60)
    inputs = to_sparse(ratings[:20], rated[:20] & (np.arange(60) < 6))
    logits = model.answer(inputs).interest.numpy()
    sums = []
    for _ in range(200):
        interest = model._find_interest_targets(
            inputs, inputs, model._sample_items()
        )
        np.testing.assert_array_equal(np.sort(interest.items[:6]), range(6))
        sums.append(
            np.exp(
                logits[:, interest.items] + interest.corrections.numpy()
            ).sum(axis=1)
        )
    np.testing.assert_allclose(
        np.mean(sums, axis=0), np.exp(logits).sum(axis=1), rtol=0.1
    )


def test_training_leaves_teachers_and_statistics_alone():
    ratings, rated, teacher = low_rank_data()
    model = taught_model(ratings, rated, teacher)
    before = [w.numpy() for w in model.non_trainable_variables]
    model.train_step(to_sparse(ratings, rated))
    names = ("deviation", "mean", "item_offsets", "weight")
    kept = [
        (w.numpy(), b)
        for w, b in zip(model.non_trainable_variables, before, strict=True)
        if w.name.endswith(names)
    ]
    assert len(kept) == 5
    for after, earlier in kept:
        np.testing.assert_array_equal(after, earlier)


def test_predicted_ratings_are_a_mean_of_network_and_teacher():
    ratings, rated, teacher = low_rank_data()
    model = taught_model(ratings, rated, teacher)
    inputs = to_sparse(ratings, rated)
    network = model(inputs)
    model.network_weight.assign(0.25)
    np.testing.assert_allclose(
        model(inputs), 0.25 * network + 0.75 * teacher(inputs), atol=1e-4
    )


def test_scores_are_interest_and_some_deviations_of_the_rating():
    ratings, rated, teacher = low_rank_data()
    model = taught_model(ratings, rated, teacher)
    inputs = to_sparse(ratings, rated)
    answers = model.answer(inputs)
    np.testing.assert_allclose(model.score(answers), answers.interest)
    model.rating_weight.assign(0.5)
    np.testing.assert_allclose(
        model.score(answers),
        answers.interest + 0.5 * model(inputs) / ratings[rated].std(),
        atol=1e-4,
    )


def test_asked_items_are_columns_of_the_catalog():
    ratings, rated, teacher = low_rank_data()
    model = taught_model(ratings, rated, teacher)
    inputs, items = to_sparse(ratings, rated), tf.constant([3, 0, 3], tf.int64)
    for asked, catalog in (
        (model(inputs, items), model(inputs)),
        *zip(model.answer(inputs, items), model.answer(inputs), strict=True),
    ):
        np.testing.assert_allclose(
            asked, tf.gather(catalog, items, axis=1), atol=1e-5
        )


def test_an_empty_history_has_finite_answers_and_updates():
    ratings, rated, teacher = low_rank_data()
    rated[:2] = False
    model = taught_model(ratings, rated, teacher, num_epochs=1)
    inputs = to_sparse(ratings[:3], rated[:3])
    answers = model.answer(inputs)
    for answer in (model(inputs), answers.interest, model.score(answers)):
        assert np.all(np.isfinite(answer))


def test_the_config_makes_the_same_model_again():
    ratings, rated, teacher = low_rank_data()
    model = taught_model(ratings, rated, teacher, num_epochs=1, num_refeeds=2)
    model.network_weight.assign(0.5)
    copy = TaughtAutoEncoder.from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    copy.set_weights(model.get_weights())
    inputs = to_sparse(ratings, rated)
    np.testing.assert_array_equal(
        copy.score(copy.answer(inputs)), model.score(model.answer(inputs))
    )
    np.testing.assert_array_equal(copy(inputs), model(inputs))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden_units": ()}, "`hidden_units` must be one or more"),
        ({"activation": "relu7"}, "`activation` must be one of"),
        ({"dropout_rate": 80}, "`dropout_rate` must be in .*percentage"),
        ({"whole_history_rate": 30}, "`whole_history_rate` must be in"),
        ({"num_refeeds": -1}, "`num_refeeds` must be 0 or more"),
        ({"interest_weight": float("nan")}, "`interest_weight` must be"),
        ({"sharpness": -1.0}, "`sharpness` must be a finite number"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        TaughtAutoEncoder(3, **arguments)


def train_under(strategy):
    """Trains six batches of five users; returns the weights."""
    ratings, rated, _ = low_rank_data(num_users=30)
    keras.utils.set_random_seed(1)
    with strategy.scope():
        model = TaughtAutoEncoder(
            ratings.shape[1],
            RidgeTeacher(np.ones((ratings.shape[1], 1)), mean=3.0),
            hidden_units=(8, 4),
            dropout_rate=0.5,
            whole_history_rate=0.3,
            seed=1,
        )
        set_statistics(model, ratings, rated)
        model.compile(Momentum(LEARNING_RATE))
        model.optimizer.build(model.trainable_variables)
    batches = tf.data.Dataset.from_tensor_slices(to_sparse(ratings, rated))

    @tf.function
    def step(batch):
        strategy.run(model.train_step, args=(batch,))

    for batch in strategy.experimental_distribute_dataset(batches.batch(5)):
        step(batch)
    return model.get_weights()


@pytest.mark.slow
def test_two_replicas_show_the_parts_and_drop_the_units_that_one_does(
    two_replicas,
):
    expected = train_under(tf.distribute.get_strategy())
    for one, other in zip(expected, train_under(two_replicas), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)

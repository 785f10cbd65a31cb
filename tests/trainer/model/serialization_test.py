"""Every class that Keras can read from a file survives its configuration."""

import importlib
import inspect
import pkgutil

import keras
import pytest

import trainer
from trainer.model import layers, metrics, optimizers
from trainer.model.activations import leaky_relu
from trainer.model.autoencoder import AutoEncoder
from trainer.model.global_batch import GlobalDropout
from trainer.model.taught_autoencoder import TaughtAutoEncoder
from trainer.model.uncertainty import Uncertainty
from trainer.teachers.ease import Ease
from trainer.teachers.ridge_encoders import RidgeEncoders

#: An object of each registered class, no argument of which is its default.
SAMPLES = [
    AutoEncoder(
        5,
        hidden_units=(4, 3),
        activation="leaky_relu",
        last_layer_activation=False,
        dropout_rate=0.5,
        tie_weights=True,
        num_refeeds=2,
        refeed_noise_rate=0.25,
        num_sampled_items=3,
        centering="item",
        seed=7,
        name="model",
    ),
    TaughtAutoEncoder(
        5,
        rating_teacher=RidgeEncoders(5, 2, 3, 4, 10.0, name="ratings"),
        interest_teacher=Ease(5, name="interest"),
        hidden_units=(4, 3),
        activation="leaky_relu",
        dropout_rate=0.5,
        whole_history_rate=0.25,
        num_refeeds=2,
        num_sampled_items=3,
        interest_weight=0.125,
        sharpness=3.0,
        seed=7,
        name="model",
    ),
    RidgeEncoders(5, 2, 3, 4, 10.0, name="ratings"),
    Ease(5, name="interest"),
    Uncertainty(5, (0.5, 4.0), name="uncertainty"),
    GlobalDropout(0.25, seed=3, name="dropout"),
    layers.ReversibleDense(
        4,
        activation=leaky_relu,
        reverse_activation="selu",
        tie_weights=True,
        updates_rows=True,
        dtype="mixed_bfloat16",
        name="dense",
    ),
    layers.RatingCentering(
        "user_item", item_damping=3.0, user_damping=4.0, name="centering"
    ),
    metrics.RatingRootMeanSquaredError(name="error", dtype="float64"),
    metrics.RatingMeanAbsoluteError(name="error", dtype="float64"),
    optimizers.Momentum(0.25, momentum=0.5, weight_decay=0.125, lazy=True),
    *(
        optimizer(0.25, weight_decay=0.125, lazy=True, name="optimizer")
        for optimizer in (
            optimizers.Adam,
            optimizers.Adagrad,
            optimizers.RMSprop,
        )
    ),
]


def registered_classes():
    """The classes that any module of the package registers with Keras."""
    for module in pkgutil.walk_packages(trainer.__path__, "trainer."):
        # Flags of two commands cannot be defined in one process.
        if not module.name.endswith(("task", "evaluate", "__main__")):
            importlib.import_module(module.name)
    return {
        value
        for name, value in keras.saving.get_custom_objects().items()
        if name.startswith(f"{layers.PACKAGE}>") and inspect.isclass(value)
    }


def test_every_registered_class_has_a_sample():
    assert {type(sample) for sample in SAMPLES} == registered_classes()


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: type(s).__name__)
def test_a_class_survives_its_configuration(sample):
    copy = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(sample)
    )
    assert type(copy) is type(sample)
    assert copy.get_config() == sample.get_config()


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: type(s).__name__)
def test_a_configuration_holds_every_argument_of_the_constructor(sample):
    arguments = {
        name
        for base in type(sample).__mro__
        if base.__module__.startswith("trainer.")
        for name, parameter in inspect.signature(
            base.__init__
        ).parameters.items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    }
    assert arguments - {"self"} <= sample.get_config().keys()

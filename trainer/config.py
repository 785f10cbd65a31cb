"""The settings of a training job, checked when they are made."""

import dataclasses
import math
from typing import Any

from data_prep.dataset.errors import UserError
from trainer import optimizers
from trainer.autoencoder import AutoEncoder
from trainer.renamed_settings import use_current_names

#: Type that hidden layers compute in -> Keras' dtype policy.
PRECISIONS = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}


def _setting(help_text: str) -> Any:
    return dataclasses.field(metadata={"help": help_text})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Settings that, with the data, decide the weights that a job ends with.

    Paths are not among them: a job directory may be moved. Each setting is
    also a flag of `trainer.task`, which says what it means. None has a default
    here: start from one of `recipes.RECIPES` with `dataclasses.replace`.

    Raises:
        UserError: a setting has a value that no job can use.
    """

    hidden_units: tuple[int, ...] = _setting(
        "Sizes of the encoder's layers, the code last; the decoder mirrors"
        " them. Example: 512,512,1024."
    )
    activation: str = _setting("Activation of every layer.")
    last_layer_activation: bool = _setting(
        "Whether the output layer uses the activation too; if not, it is"
        " linear."
    )
    dropout_rate: float = _setting(
        "Fraction of the code's units that training drops, in [0, 1)."
    )
    tie_weights: bool = _setting(
        "Whether the decoder uses the transposed kernels of the encoder."
    )
    num_refeeds: int = _setting("Dense re-feeding updates per batch.")
    refeed_noise_rate: float = _setting(
        "Fraction of the re-fed entries dropped from input and target, in"
        " [0, 1)."
    )
    num_sampled_items: int = _setting(
        "Items sampled per batch to stand for the whole catalog in dense"
        " re-feeding; a training step then updates only the weights of these"
        " items and of those rated in the batch. 0 re-feeds the whole"
        " catalog."
    )
    weight_decay: float = _setting(
        "L2 penalty on every weight, biases included."
    )
    centering: str = _setting(
        "Biases subtracted from the ratings before the network sees them:"
        " none, mean, item (mean and item offsets) or user_item (user offsets"
        " too)."
    )
    optimizer: str = _setting("Optimizer: momentum, adam, adagrad or rmsprop.")
    learning_rate: float = _setting("Learning rate of the first epoch.")
    learning_rate_milestones: tuple[int, ...] = _setting(
        "Epochs, counted from 0, at whose start the learning rate is"
        " multiplied by --learning_rate_decay. Example: 24,36,48,66,72."
    )
    learning_rate_decay: float = _setting(
        "Factor on the learning rate at each milestone."
    )
    batch_size: int = _setting("Users per batch, over all replicas.")
    num_epochs: int = _setting("Passes over the users.")
    mixed_precision: str = _setting(
        "Type that hidden layers compute in: float32, bfloat16 or float16, the"
        " last with loss scaling. Ratings, loss and weights stay float32."
    )
    seed: int = _setting(
        "Seed of the initial weights, dropout, item samples and shuffling."
    )

    def __post_init__(self) -> None:
        AutoEncoder.check_arguments(**self.model_arguments())
        if self.optimizer not in optimizers.OPTIMIZERS:
            raise UserError(
                "`optimizer` must be one of"
                f" {', '.join(optimizers.OPTIMIZERS)}."
                f" Received: optimizer={self.optimizer!r}"
            )
        for name in ("learning_rate", "learning_rate_decay"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise UserError(
                    f"`{name}` must be a positive number."
                    f" Received: {name}={value}"
                )
        if not 0 <= self.weight_decay < math.inf:
            raise UserError(
                "`weight_decay` must be 0 or more."
                f" Received: weight_decay={self.weight_decay}"
            )
        for name in ("batch_size", "num_epochs"):
            value = getattr(self, name)
            if value < 1:
                raise UserError(
                    f"`{name}` must be a positive integer."
                    f" Received: {name}={value}"
                )
        milestones = self.learning_rate_milestones
        if milestones and (
            min(milestones) < 0 or list(milestones) != sorted(set(milestones))
        ):
            raise UserError(
                "`learning_rate_milestones` must be epochs in ascending order."
                f" Received: learning_rate_milestones={milestones}"
            )
        if self.mixed_precision not in PRECISIONS:
            raise UserError(
                f"`mixed_precision` must be one of {', '.join(PRECISIONS)}."
                f" Received: mixed_precision={self.mixed_precision!r}"
            )

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Config":
        """Makes a config from the JSON of one, in which tuples are lists.

        Args:
            values: every setting by its name, or by its name in release 0.1.

        Raises:
            UserError: a setting has a value that no job can use.
        """
        arguments: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in use_current_names(values).items()
        }
        return cls(**arguments)

    def model_arguments(self) -> dict[str, Any]:
        """Returns the arguments of `AutoEncoder` except `num_items`."""
        return {
            name: getattr(self, name)
            for name in (
                "hidden_units",
                "activation",
                "last_layer_activation",
                "dropout_rate",
                "tie_weights",
                "num_refeeds",
                "refeed_noise_rate",
                "num_sampled_items",
                "centering",
                "seed",
            )
        }

    def learning_rate_at(self, epoch: int) -> float:
        """Returns the learning rate of an epoch, counted from 0."""
        passed = sum(
            milestone <= epoch for milestone in self.learning_rate_milestones
        )
        return self.learning_rate * self.learning_rate_decay**passed

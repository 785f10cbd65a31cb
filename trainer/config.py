"""The settings of a training job, checked when they are made."""

import dataclasses
import math
from typing import Any

from data_prep.dataset.errors import UserError
from trainer.model import optimizers
from trainer.model.autoencoder import AutoEncoder
from trainer.model.taught_autoencoder import TaughtAutoEncoder
from trainer.renamed_settings import use_current_settings
from trainer.teachers.bayesian_factorization import FactorizationConfig

#: Type that hidden layers compute in -> Keras' dtype policy.
PRECISIONS = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}

#: Setting `model` -> class of the model, and the settings that are arguments
#: of its constructor.
_MODELS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "autoencoder": (
        AutoEncoder,
        (
            "hidden_units",
            "activation",
            "last_layer_activation",
            "dropout_rate",
            "tie_weights",
            "num_refeeds",
            "refeed_noise_rate",
            "num_sampled_items",
            "centering",
        ),
    ),
    "taught_autoencoder": (
        TaughtAutoEncoder,
        (
            "hidden_units",
            "activation",
            "dropout_rate",
            "whole_history_rate",
            "num_refeeds",
            "num_sampled_items",
            "interest_weight",
            "sharpness",
        ),
    ),
}

#: Settings of the autoencoder -> the only value under which the taught
#: autoencoder works.
_FIXED_WHEN_TAUGHT = {
    "last_layer_activation": False,
    "tie_weights": False,
    "refeed_noise_rate": 0.0,
    "centering": "user_item",
}

#: Share of the teacher's sweeps that no sample is kept of.
_BURN_IN = 0.2


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

    model: str = _setting(
        "Model: autoencoder, which learns from ratings alone, or"
        " taught_autoencoder, which learns ratings and interest from teachers"
        " that are fitted first."
    )
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
        " re-feeding and for teachers; a training step then updates only the"
        " weights of these items and of those rated in the batch. 0 takes the"
        " whole catalog."
    )
    weight_decay: float = _setting(
        "L2 penalty on every weight, biases included."
    )
    centering: str = _setting(
        "Biases subtracted from the ratings before the network sees them:"
        " none, mean, item (mean and item offsets) or user_item (user offsets"
        " too)."
    )
    whole_history_rate: float = _setting(
        "Share of the users whose whole history a training step of the taught"
        " autoencoder shows, in [0, 1]; of the others it shows a random part."
    )
    interest_weight: float = _setting(
        "Weight of interest beside ratings in the loss of the taught"
        " autoencoder."
    )
    sharpness: float = _setting(
        "Factor on the scores of the interest teacher before their softmax."
    )
    teacher_rank: int = _setting(
        "Factors per user and item of the rating teacher."
    )
    teacher_sweeps: int = _setting(
        "Sweeps of the sampler that fits the rating teacher."
    )
    teacher_samples: int = _setting("Samples that the rating teacher averages.")
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
    patience: int = _setting(
        "Epochs without a lower validation RMSE after which training stops; 0"
        " trains all epochs."
    )
    mixed_precision: str = _setting(
        "Type that hidden layers compute in: float32, bfloat16 or float16, the"
        " last with loss scaling. Ratings, loss and weights stay float32."
    )
    seed: int = _setting(
        "Seed of the initial weights, dropout, item samples, shuffling and"
        " teachers."
    )

    def __post_init__(self) -> None:
        self._check_model()
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
        if self.patience < 0:
            raise UserError(
                "`patience` must be 0 or more."
                f" Received: patience={self.patience}"
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

    def _check_model(self) -> None:
        """Checks the settings of the model and of its teachers."""
        if self.model not in _MODELS:
            raise UserError(
                f"`model` must be one of {', '.join(_MODELS)}."
                f" Received: model={self.model!r}"
            )
        model_class, names = _MODELS[self.model]
        model_class.check_arguments(
            **{name: getattr(self, name) for name in names}
        )
        for name in ("teacher_rank", "teacher_samples"):
            if getattr(self, name) < 1:
                raise UserError(
                    f"`{name}` must be a positive integer."
                    f" Received: {name}={getattr(self, name)}"
                )
        num_kept = self.teacher_sweeps - self._num_burn_in()
        if self.teacher_samples > num_kept:
            raise UserError(
                "`teacher_samples` must be at most the number of sweeps after"
                f" burn-in, {num_kept} of teacher_sweeps="
                f"{self.teacher_sweeps}."
                f" Received: teacher_samples={self.teacher_samples}"
            )
        if self.model == "taught_autoencoder":
            for name, value in _FIXED_WHEN_TAUGHT.items():
                if getattr(self, name) != value:
                    raise UserError(
                        f"`{name}` must be {value!r} for"
                        " model='taught_autoencoder'; the recipes `untaught`"
                        " and `paper` take other values."
                        f" Received: {name}={getattr(self, name)!r}"
                    )

    def _num_burn_in(self) -> int:
        return int(_BURN_IN * self.teacher_sweeps)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Config":
        """Makes a config from the JSON of one, in which tuples are lists.

        Args:
            values: every setting by its name, as this or an earlier release
                wrote them.

        Raises:
            UserError: a setting has a value that no job can use.
        """
        arguments: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in use_current_settings(values).items()
        }
        return cls(**arguments)

    def model_class(self) -> type[AutoEncoder] | type[TaughtAutoEncoder]:
        """Returns the class of the model."""
        model_class: type[AutoEncoder] | type[TaughtAutoEncoder]
        model_class, _ = _MODELS[self.model]
        return model_class

    def model_arguments(self) -> dict[str, Any]:
        """Returns the model's arguments except `num_items` and teachers."""
        _, names = _MODELS[self.model]
        return {name: getattr(self, name) for name in (*names, "seed")}

    def teacher_config(self) -> FactorizationConfig:
        """Returns the settings of the rating teacher."""
        return FactorizationConfig(
            rank=self.teacher_rank,
            num_sweeps=self.teacher_sweeps,
            num_burn_in=self._num_burn_in(),
            num_samples=self.teacher_samples,
            seed=self.seed,
        )

    def learning_rate_at(self, epoch: int) -> float:
        """Returns the learning rate of an epoch, counted from 0."""
        passed = sum(
            milestone <= epoch for milestone in self.learning_rate_milestones
        )
        return self.learning_rate * self.learning_rate_decay**passed

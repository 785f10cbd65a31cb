"""Named sets of training settings, each with its source."""

from trainer.config import Config
from trainer.renamed_settings import ADDED_SETTINGS

#: The best model of the paper's table 3, Netflix full, with the command of
#: the authors' README (https://github.com/NVIDIA/DeepRecommender): untied,
#: SELU on the output too, no noise, no weight decay. The schedule halves the
#: learning rate at five epochs; the paper trains for about 100.
PAPER = Config(
    hidden_units=(512, 512, 1024),
    activation="selu",
    last_layer_activation=True,
    dropout_rate=0.8,
    tie_weights=False,
    num_refeeds=1,
    refeed_noise_rate=0.0,
    num_sampled_items=0,
    weight_decay=0.0,
    centering="none",
    optimizer="momentum",
    learning_rate=0.005,
    learning_rate_milestones=(24, 36, 48, 66, 72),
    learning_rate_decay=0.5,
    batch_size=128,
    num_epochs=102,
    mixed_precision="float32",
    seed=0,
    **ADDED_SETTINGS,
)

#: For catalogs of a few thousand items, chosen on the validation ratings of
#: MovieLens-1M. The biases are subtracted, the layers are small, and Adam
#: reaches in two minutes what takes the paper's schedule a hundred epochs.
#: Re-feeding and heavy dropout stay. Weight decay hardly changes the error but
#: decides what is recommended: without it, items with only a few ratings, whose
#: weights nothing else restrains, get most of the highest predictions.
QUICKSTART = Config(
    hidden_units=(256, 64),
    activation="selu",
    last_layer_activation=False,
    dropout_rate=0.8,
    tie_weights=False,
    num_refeeds=1,
    refeed_noise_rate=0.0,
    num_sampled_items=0,
    weight_decay=1e-4,
    centering="user_item",
    optimizer="adam",
    learning_rate=0.001,
    learning_rate_milestones=(15, 20, 25),
    learning_rate_decay=0.5,
    batch_size=128,
    num_epochs=30,
    mixed_precision="float32",
    seed=0,
    **ADDED_SETTINGS,
)

#: The most accurate model with the best lists, chosen on the validation
#: ratings of MovieLens-1M. Teachers are fitted first; the network learns their
#: answers to whole histories and to parts of them. The first learning rate is
#: that of the first epochs only: kept for longer, it makes the loss jump.
RECOMMENDED = Config(
    model="taught_autoencoder",
    hidden_units=(384, 192),
    activation="selu",
    last_layer_activation=False,
    dropout_rate=0.1,
    tie_weights=False,
    num_refeeds=1,
    refeed_noise_rate=0.0,
    num_sampled_items=0,
    weight_decay=0.0,
    centering="user_item",
    whole_history_rate=0.3,
    interest_weight=0.05,
    sharpness=0.5,
    teacher_rank=32,
    teacher_sweeps=100,
    teacher_samples=16,
    optimizer="adam",
    learning_rate=0.002,
    learning_rate_milestones=(3, 5, 7, 8, 9, 10),
    learning_rate_decay=0.5,
    batch_size=128,
    num_epochs=12,
    patience=0,
    mixed_precision="float32",
    seed=0,
)

RECIPES = {
    "paper": PAPER,
    "quickstart": QUICKSTART,
    "recommended": RECOMMENDED,
}

DEFAULT_RECIPE = "quickstart"

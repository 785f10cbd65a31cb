"""A trained job whose recommendations are known by construction."""

import csv
import dataclasses

import numpy as np
import tensorflow as tf

from data_prep.options import Options
from data_prep.prepare import prepare
from data_prep.sources.registry import make_source
from data_prep.splits.registry import make_split
from export.saved_model import export_job
from trainer.job.paths import JobPaths
from trainer.recipes import RECIPES
from trainer.training.train import train_and_evaluate

SPACE_TITLES = (
    "Alien (1979)",
    "Aliens (1986)",
    "Contact (1997)",
    "Moon (2009)",
    "Solaris (1972)",
    "Sunshine (2007)",
)
#: A title that a page must not take for HTML.
HOSTILE_TITLE = "<img src=x onerror=\"document.title='hacked'\">"
SONG_TITLES = (
    "Amélie (2001)",
    "Cabaret (1972)",
    "Chicago (2002)",
    "Sound of Music, The (1965)",
    "Grease (1978)",
    HOSTILE_TITLE,
)


def make_job(directory):
    """Trains and exports a model of people who like one kind of film only.

    Half of them give 5 stars to what is set in space and 1 to what is sung,
    and the others the reverse. The ids of the items are `film-0` and on.
    """
    titles = SPACE_TITLES + SONG_TITLES
    with open(directory / "titles.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["item_id", "title"])
        writer.writerows(
            (f"film-{item}", title) for item, title in enumerate(titles)
        )
    rng = np.random.default_rng(0)
    with open(directory / "ratings.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "item_id", "rating", "timestamp"])
        for user in range(200):
            for second, item in enumerate(rng.permutation(len(titles))[:10]):
                likes = (item < len(SPACE_TITLES)) == (user % 2 == 0)
                writer.writerow(
                    [f"user-{user}", f"film-{item}", 5 if likes else 1, second]
                )
    data_dir = str(directory / "data")
    prepare(
        make_source("files", ratings=str(directory / "ratings.csv")),
        make_split("user-time"),
        data_dir,
        options=Options(titles=str(directory / "titles.csv")),
    )
    paths = JobPaths.resolve(str(directory / "job"), environ={})
    train_and_evaluate(
        dataclasses.replace(
            RECIPES["untaught"],
            hidden_units=(16, 8),
            batch_size=10,
            num_epochs=20,
        ),
        data_dir,
        paths,
        tf.distribute.get_strategy(),
    )
    export_job(paths)
    return directory / "job"

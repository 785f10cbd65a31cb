"""Ratings whose structure is known, and a recommender trained on them."""

import numpy as np
import pandas as pd
import pytest

from deep_recommender import Recommender

#: Settings under which a small table trains in seconds.
SMALL = {
    "recipe": "untaught",
    "hidden_units": (16, 8),
    "dropout_rate": 0.2,
    "learning_rate": 0.01,
    "batch_size": 40,
    "num_epochs": 12,
}


@pytest.fixture(scope="session")
def ratings():
    """200 users' ratings of 40 items on a scale from 1 to 5.

    Half of the users like the even items and dislike the odd ones, the other
    half the other way round.
    """
    rng = np.random.default_rng(7)
    rows = []
    for user in range(200):
        for second, item in enumerate(rng.permutation(40)[:20]):
            likes = (item + user) % 2 == 0
            rating = (4.5 if likes else 1.5) + rng.choice([-0.5, 0.5])
            rows.append((user, f"item-{item}", rating, 1_000_000 + second))
    columns = ["user_id", "item_id", "rating", "timestamp"]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture(scope="session")
def recommender(ratings):
    return Recommender(**SMALL, num_refeeds=1).fit(ratings, verbose=False)

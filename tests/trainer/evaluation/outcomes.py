"""Generates outcomes of two models on random users."""

import numpy as np

from trainer.evaluation.outcomes import Outcomes

NUM_ITEMS = 150
LIKED_FROM = 4.0


def random_outcomes(seed=0, num_users=30, max_held_out=20):
    """Makes a batch of users; some have liked nothing."""
    rng = np.random.default_rng(seed)
    held_out = np.array(
        [
            (user, item)
            for user in range(num_users)
            for item in rng.permutation(NUM_ITEMS)[
                : rng.integers(1, max_held_out)
            ]
        ]
    )
    ratings = rng.integers(1, 6, len(held_out)).astype(np.float32)
    return Outcomes(
        history_lengths=rng.integers(0, 40, num_users),
        held_out=held_out,
        ratings=ratings,
        predictions={
            "good": ratings + rng.normal(0, 0.5, len(ratings)).astype("f"),
            "bad": rng.uniform(0, 6, len(ratings)).astype("f"),
        },
        ranked={
            name: np.stack(
                [rng.permutation(NUM_ITEMS)[:100] for _ in range(num_users)]
            )
            for name in ("good", "bad")
        },
        deviations={"good": rng.uniform(0.2, 1.5, len(ratings)).astype("f")},
    )


def split_batches(outcomes, first_size):
    """Splits outcomes into two batches of users."""
    num_users = len(outcomes.history_lengths)
    for rows in (range(first_size), range(first_size, num_users)):
        is_in = np.isin(outcomes.users, rows)
        yield Outcomes(
            history_lengths=outcomes.history_lengths[rows],
            held_out=outcomes.held_out[is_in] - [rows.start, 0],
            ratings=outcomes.ratings[is_in],
            predictions={
                name: values[is_in]
                for name, values in outcomes.predictions.items()
            },
            ranked={
                name: lists[rows] for name, lists in outcomes.ranked.items()
            },
            deviations={
                name: values[is_in]
                for name, values in outcomes.deviations.items()
            },
        )

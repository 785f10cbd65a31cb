"""The splits in plain Python, row by row: an independent oracle."""

import collections
import datetime
import hashlib
import math
from fractions import Fraction

PARTS = ("train", "validation", "test")


def _share(text):
    """Maps text to [0, 1) by the first 52 bits of its MD5 digest."""
    digest = hashlib.md5(text.encode()).hexdigest()
    return Fraction(int(digest[:13], 16), 16**13)


def remove_duplicates(rows):
    latest = {}
    for user, item, rating, timestamp in rows:
        key = user, item
        if key not in latest or timestamp >= latest[key][1]:
            latest[key] = rating, timestamp
    return [(*key, *rest) for key, rest in latest.items()]


def _sort_histories(rows, seed):
    """Returns the items of each user by time, equal times by their draws."""
    by_user = collections.defaultdict(list)
    for user, item, _, timestamp in rows:
        by_user[user].append((timestamp, draw(user, item, seed), item))
    return {
        user: [item for _, _, item in sorted(history)]
        for user, history in by_user.items()
    }


def user_time(rows, seed):
    split = {}
    for user, items in _sort_histories(rows, seed).items():
        num_train = math.floor(Fraction(7, 10) * len(items))
        later = (
            "validation"
            if _share(f"{seed}:{user}") < Fraction(1, 2)
            else "test"
        )
        for position, item in enumerate(items):
            split[user, item] = "train" if position < num_train else later
        if len(items) < 2:
            split[user, items[0]] = "user_with_fewer_than_2_ratings"
    return split


def global_time(rows, seed, validation="0.1", test="0.1"):
    del seed
    timestamps = sorted(row[3] for row in rows)

    def cut_after(share):
        return [*timestamps, math.inf][math.floor(share * len(rows))]

    test_cut = cut_after(1 - Fraction(test))
    validation_cut = cut_after(1 - Fraction(test) - Fraction(validation))
    return {
        (user, item): PARTS[(ts >= validation_cut) + (ts >= test_cut)]
        for user, item, _, ts in rows
    }


def leave_last_out(rows, seed):
    split = {}
    for user, items in _sort_histories(rows, seed).items():
        names = ["train"] * len(items)
        if len(items) > 2:
            names[-2:] = ["validation", "test"]
        for name, item in zip(names, items, strict=True):
            split[user, item] = name
    return split


def draw(user, item, seed):
    """Draws a number in [0, 1) as `data_prep.hashing.draw_uniform`."""

    def head(text):
        return int.from_bytes(hashlib.md5(text.encode()).digest()[:8])

    z = head(f"{seed}:user:{user}") + head(f"{seed}:item:{item}")
    z %= 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return Fraction(z ^ (z >> 31), 2**64)


def random(rows, seed, validation="0.1", test="0.1"):
    split = {}
    for user, item, _, _ in rows:
        share = draw(user, item, seed)
        if share < Fraction(test):
            split[user, item] = "test"
        elif share < Fraction(test) + Fraction(validation):
            split[user, item] = "validation"
        else:
            split[user, item] = "train"
    return split


def fold(rows, seed, validation="0.05"):
    split = {}
    for user, item, _, _, is_test in rows:
        if is_test:
            split[user, item] = "test"
        elif draw(user, item, seed) < Fraction(validation):
            split[user, item] = "validation"
        else:
            split[user, item] = "train"
    return split


def netflix(rows, seed, training_days, evaluation_days):
    split = {}
    for user, item, _, timestamp in rows:
        moment = datetime.datetime.fromtimestamp(timestamp, datetime.UTC)
        day = moment.date().isoformat()
        if training_days[0] <= day <= training_days[1]:
            split[user, item] = "train"
        elif evaluation_days[0] <= day <= evaluation_days[1]:
            is_validation = draw(user, item, seed) < Fraction(1, 2)
            split[user, item] = "validation" if is_validation else "test"
        else:
            split[user, item] = "outside_the_dates_of_the_split"
    return split


def keep_known(split):
    """Drops held-out ratings of users without training ratings.

    Returns what is kept, what is kept apart because its item has no training
    ratings, and the number of dropped ratings by reason.
    """
    train = [key for key, part in split.items() if part == "train"]
    users = {user for user, _ in train}
    items = {item for _, item in train}
    kept, cold, dropped = {}, {}, collections.Counter()
    for (user, item), part in split.items():
        if part not in PARTS:
            dropped[part] += 1
        elif user not in users:
            dropped["user_without_training_ratings"] += 1
        elif item not in items:
            cold[user, item] = part
        else:
            kept[user, item] = part
    return kept, cold, dropped

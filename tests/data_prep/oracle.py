"""The splits in plain Python, row by row, written apart from the SQL."""

import collections
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
        latest[key] = max(latest.get(key, (-math.inf,)), (timestamp, rating))
    return [(*key, rating, ts) for key, (ts, rating) in latest.items()]


def user_time(rows, seed):
    by_user = collections.defaultdict(list)
    for user, item, _, timestamp in rows:
        by_user[user].append((timestamp, item))
    split = {}
    for user, history in by_user.items():
        num_train = math.floor(Fraction(7, 10) * len(history))
        later = (
            "validation"
            if _share(f"{seed}:{user}") < Fraction(1, 2)
            else "test"
        )
        for position, (_, item) in enumerate(sorted(history)):
            split[user, item] = "train" if position < num_train else later
        if len(history) < 2:
            split[user, history[0][1]] = "user_with_fewer_than_2_ratings"
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


def random(rows, seed, validation="0.1", test="0.1"):
    split = {}
    for user, item, _, _ in rows:
        share = _share(f"{seed}:{len(user)}:{user}:{item}")
        if share < Fraction(test):
            split[user, item] = "test"
        elif share < Fraction(test) + Fraction(validation):
            split[user, item] = "validation"
        else:
            split[user, item] = "train"
    return split


def keep_known(split):
    """Drops held-out ratings of users and items without training ratings."""
    train = [key for key, part in split.items() if part == "train"]
    users = {user for user, _ in train}
    items = {item for _, item in train}
    kept, dropped = {}, collections.Counter()
    for (user, item), part in split.items():
        if part not in PARTS:
            dropped[part] += 1
        elif user not in users:
            dropped["user_without_training_ratings"] += 1
        elif item not in items:
            dropped["item_without_training_ratings"] += 1
        else:
            kept[user, item] = part
    return kept, dropped

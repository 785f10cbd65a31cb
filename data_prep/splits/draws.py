"""What chance decides, decided by digests of ids and seed."""

import fractions

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_prep.hashing import digest_texts
from data_prep.ratings import Rows


def toss(rows: Rows, seed: int) -> npt.NDArray[np.uint64]:
    """Returns a number for every rating, uniform in [0, 2^64).

    It depends on the user's id, the item's id and the seed, and on nothing
    else: not on the order of rows, files, shards or workers. With `h` the
    first 64 bits of an MD5 digest, it is

        mix(h("seed:user:" + user_id) + h("seed:item:" + item_id))

    modulo 2^64, where `mix` is the last step of the generator SplitMix64.

    Reference:
        Steele, Lea and Flood, 2014, "Fast splittable pseudorandom number
        generators" (https://doi.org/10.1145/2660193.2660195).
    """
    users, user_places = np.unique(rows.users, return_inverse=True)
    items, item_places = np.unique(rows.items, return_inverse=True)
    user_heads, item_heads = (
        digest_texts(ids.take(pa.array(places)), f"{seed}:{role}:")[:, 0]
        for role, ids, places in (
            ("user", rows.user_ids, users),
            ("item", rows.item_ids, items),
        )
    )
    return _mix(user_heads[user_places] + item_heads[item_places])


def to_threshold(share: fractions.Fraction) -> np.uint64:
    """Returns the number that this share of all coins is below."""
    return np.uint64(int(share * 2**64))


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(
        0xBF58476D1CE4E5B9
    )
    values = (values ^ (values >> np.uint64(27))) * np.uint64(
        0x94D049BB133111EB
    )
    return values ^ (values >> np.uint64(31))

"""Compiled loops of the Gibbs sampler: all that passes over every rating.

Ratings are in compressed rows (`starts`, `items`). What may run in parallel
is cut into `blocks` of users whose number does not depend on the machine, so
that sums are added in the same order everywhere.
"""

import math

import numba
import numpy as np

_SQRT_HALF = math.sqrt(0.5)
_DENSITY_AT_0 = 1.0 / math.sqrt(2.0 * math.pi)

#: Least probability that is told from 0.
_TINY = 1e-12


@numba.njit(cache=True, parallel=True)
def group_by_item(starts, items, num_items):
    """Inverts compressed rows: the users of each item, in order.

    Returns:
        `(item_starts, users)`, int64 `(num_items + 1,)` and int32
        `(num_ratings,)`.
    """
    item_starts = np.zeros(num_items + 1, np.int64)
    for item in items:
        item_starts[item + 1] += 1
    for item in range(num_items):
        item_starts[item + 1] += item_starts[item]
    places = item_starts[:-1].copy()
    users = np.empty(len(items), np.int32)
    for user in range(len(starts) - 1):
        for k in range(starts[user], starts[user + 1]):
            users[places[items[k]]] = user
            places[items[k]] += 1
    return item_starts, users


@numba.njit(cache=True, parallel=True, fastmath=True)
def predict_all(starts, items, user_factors, item_factors, out):
    """Computes the prediction of each rating.

    Args:
        starts: see the module.
        items: see the module.
        user_factors: float32 `(num_users, 1 + rank)`, the bias first.
        item_factors: float32 `(num_items, 1 + rank)`, the bias first.
        out: float32 `(num_ratings,)`, written.
    """
    for user in numba.prange(len(starts) - 1):
        z = user_factors[user]
        for k in range(starts[user], starts[user + 1]):
            s = item_factors[items[k]]
            x = z[0] + s[0]
            for f in range(1, len(z)):
                x += z[f] * s[f]
            out[k] = x


@numba.njit(cache=True, parallel=True, fastmath=True)
def collect_by_user(
    blocks, starts, items, residuals, z, item_deltas, s, precisions, slopes
):
    """Settles the last change of the items, then sums what the users need.

    Takes `z[user] * item_deltas[item]` off the residuals and computes for
    each user the sums of `s^2` and of `residual * s` over their ratings.
    """
    for block in numba.prange(len(blocks) - 1):
        for user in range(blocks[block], blocks[block + 1]):
            zu = z[user]
            a = 0.0
            c = 0.0
            for k in range(starts[user], starts[user + 1]):
                item = items[k]
                x = residuals[k] - zu * item_deltas[item]
                residuals[k] = x
                q = s[item]
                a += q * q
                c += x * q
            precisions[user] = a
            slopes[user] = c


@numba.njit(cache=True, parallel=True, fastmath=True)
def collect_by_item(
    blocks, starts, items, residuals, s, user_deltas, z, precisions, slopes
):
    """Settles the last change of the users, then sums what the items need.

    The counterpart of `collect_by_user`, in the same order of the ratings.
    """
    num_blocks = len(blocks) - 1
    num_items = len(s)
    sums = np.zeros((num_blocks, num_items, 2))
    for block in numba.prange(num_blocks):
        own = sums[block]
        for user in range(blocks[block], blocks[block + 1]):
            delta = user_deltas[user]
            zu = z[user]
            zz = zu * zu
            for k in range(starts[user], starts[user + 1]):
                item = items[k]
                x = residuals[k] - delta * s[item]
                residuals[k] = x
                own[item, 0] += zz
                own[item, 1] += x * zu
    for item in range(num_items):
        a = 0.0
        c = 0.0
        for block in range(num_blocks):
            a += sums[block, item, 0]
            c += sums[block, item, 1]
        precisions[item] = a
        slopes[item] = c


@numba.njit(cache=True, fastmath=True)
def draw_factors(
    precisions,
    slopes,
    alpha,
    own,
    own_mean,
    own_precision,
    own_noise,
    weights,
    member_starts,
    members,
    implicit,
    implicit_mean,
    implicit_precision,
    implicit_noise,
):
    """Draws one dimension of one side: own factors, then implicit ones.

    Call a side's rows entities (users, say) and the other side's features
    (items). An entity's factor is its own one plus `weights[entity]` times
    the sum of the implicit factors of its features. Given everything else,
    each of these numbers is Gaussian; they are drawn one after the other.

    Args:
        precisions: float64 `(num_entities,)`, sums of squares of the other
            side's factors over an entity's ratings.
        slopes: float64 `(num_entities,)`, sums of residual times the other
            side's factor.
        alpha: precision of the noise.
        own: float32 `(num_entities,)`, updated.
        own_mean: mean of their prior.
        own_precision: its precision.
        own_noise: `(num_entities,)`, standard normal.
        weights: float32 `(num_entities,)`.
        member_starts: starts of each feature's entities in `members`.
        members: the entities of each feature.
        implicit: float32 `(num_features,)`, updated.
        implicit_mean: mean of their prior.
        implicit_precision: its precision.
        implicit_noise: `(num_features,)`, standard normal.

    Returns:
        The changes of the entities' factors, float32 `(num_entities,)`.
    """
    num_entities = len(own)
    deltas = np.empty(num_entities, np.float32)
    # What the loop over members reads and writes lies in one cache line:
    # weighted precision, weighted slope, sum of the implicit changes.
    sums = np.zeros((num_entities, 4), np.float32)
    for n in range(num_entities):
        a = alpha * precisions[n]
        c = alpha * slopes[n]
        total = own_precision + a
        new = (own_precision * own_mean + c + own[n] * a) / total
        new += own_noise[n] / math.sqrt(total)
        delta = np.float32(new) - own[n]
        own[n] += delta
        deltas[n] = delta
        sums[n, 0] = weights[n] * weights[n] * a
        sums[n, 1] = weights[n] * (c - delta * a)
    for j in range(len(implicit)):
        a = 0.0
        c = 0.0
        for k in range(member_starts[j], member_starts[j + 1]):
            row = sums[members[k]]
            a += row[0]
            c += row[1]
        total = implicit_precision + a
        new = implicit_precision * implicit_mean + c + implicit[j] * a
        new = new / total + implicit_noise[j] / math.sqrt(total)
        delta = np.float32(new) - implicit[j]
        implicit[j] += delta
        for k in range(member_starts[j], member_starts[j + 1]):
            row = sums[members[k]]
            row[1] -= delta * row[0]
            row[2] += delta
    for n in range(num_entities):
        deltas[n] += weights[n] * sums[n, 2]
    return deltas


@numba.njit(cache=True)
def _normal_cdf(x):
    return 0.5 * math.erfc(-x * _SQRT_HALF)


@numba.njit(cache=True)
def _normal_quantile(p):
    """Computes the inverse of the normal CDF, to a relative 1.2e-9.

    Reference:
        Acklam's rational approximation, as in
        https://en.wikipedia.org/wiki/Normal_distribution (2003).
    """
    p = min(max(p, _TINY), 1.0 - _TINY)
    if p < 0.02425 or p > 1.0 - 0.02425:
        q = math.sqrt(-2.0 * math.log(min(p, 1.0 - p)))
        x = -7.784894002430293e-03
        x = x * q - 3.223964580411365e-01
        x = x * q - 2.400758277161838e00
        x = x * q - 2.549732539343734e00
        x = x * q + 4.374664141464968e00
        x = x * q + 2.938163982698783e00
        y = 7.784695709041462e-03
        y = y * q + 3.224671290700398e-01
        y = y * q + 2.445134137142996e00
        y = y * q + 3.754408661907416e00
        x /= y * q + 1.0
        return x if p < 0.5 else -x
    q = p - 0.5
    r = q * q
    x = -3.969683028665376e01
    x = x * r + 2.209460984245205e02
    x = x * r - 2.759285104469687e02
    x = x * r + 1.383577518672690e02
    x = x * r - 3.066479806614716e01
    x = x * r + 2.506628277459239e00
    y = -5.447609879822406e01
    y = y * r + 1.615858368580409e02
    y = y * r - 1.556989798598866e02
    y = y * r + 6.680131188771972e01
    y = y * r - 1.328068155288572e01
    return x * q / (y * r + 1.0)


@numba.njit(cache=True, parallel=True)
def draw_latents(classes, thresholds, uniforms, predictions):
    """Draws the latent value of each rating, given its class.

    Args:
        classes: uint8 `(num_ratings,)`.
        thresholds: float64 `(num_classes - 1,)`, ascending.
        uniforms: float32 `(num_ratings,)`, in [0, 1).
        predictions: float32 `(num_ratings,)`, replaced by what is left of the
            latent values when the prediction is taken off.

    Returns:
        For each threshold the slope and the curvature of the log likelihood,
        summed over the ratings, float64 `(num_classes - 1, 2)`. The curvature
        leaves out the products of neighbors.
    """
    num_blocks = 16
    num_thresholds = len(thresholds)
    size = (len(classes) + num_blocks - 1) // num_blocks
    sums = np.zeros((num_blocks, num_thresholds, 2))
    for block in numba.prange(num_blocks):
        own = sums[block]
        for k in range(block * size, min((block + 1) * size, len(classes))):
            p = predictions[k]
            c = classes[k]
            low = 0.0
            high = 1.0
            if c > 0:
                low = _normal_cdf(thresholds[c - 1] - p)
            if c < num_thresholds:
                high = _normal_cdf(thresholds[c] - p)
            mass = max(high - low, 1e-9)
            if c < num_thresholds:
                x = thresholds[c] - p
                y = _DENSITY_AT_0 * math.exp(-0.5 * x * x) / mass
                own[c, 0] += y
                own[c, 1] += y * y + x * y
            if c > 0:
                x = thresholds[c - 1] - p
                y = _DENSITY_AT_0 * math.exp(-0.5 * x * x) / mass
                own[c - 1, 0] -= y
                own[c - 1, 1] += y * y - x * y
            predictions[k] = _normal_quantile(low + uniforms[k] * mass)
    return sums.sum(axis=0)

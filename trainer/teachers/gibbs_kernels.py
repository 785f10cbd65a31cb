"""Compiled loops of the Gibbs sampler: everything that visits every rating.

Ratings come in compressed rows, as in `TrainingRatings`. Loops that several
threads can share work on the users from `first` to `end`, and release the
interpreter's lock.
"""

import math
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_SQRT_HALF = math.sqrt(0.5)
_DENSITY_AT_0 = 1.0 / math.sqrt(2.0 * math.pi)


@numba.njit(cache=True)
def group_by_item(
    starts: Array, items: Array, num_items: int
) -> tuple[Array, Array]:
    """Lists the users of each item, in order.

    Args:
        starts: int64 `(num_users + 1,)`.
        items: int32 `(num_ratings,)`.
        num_items: size of the catalog.

    Returns:
        The starts of the items, int64 `(num_items + 1,)`, and the users,
        int32 `(num_ratings,)`.
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


@numba.njit(cache=True, nogil=True)
def sum_members(starts: Array, members: Array, values: Array) -> Array:
    """Sums in each row the values of its members, float32 `(num_rows,)`."""
    sums = np.empty(len(starts) - 1, np.float32)
    for row in range(len(sums)):
        total = 0.0
        for k in range(starts[row], starts[row + 1]):
            total += values[members[k]]
        sums[row] = total
    return sums


@numba.njit(cache=True, nogil=True, fastmath=True)
def predict(
    first: int,
    end: int,
    starts: Array,
    items: Array,
    user_factors: Array,
    item_factors: Array,
    predictions: Array,
) -> None:
    """Computes the latent rating that the factors predict for each rating.

    Args:
        first: first user.
        end: the user after the last.
        starts: int64 `(num_users + 1,)`.
        items: int32 `(num_ratings,)`.
        user_factors: float32 `(num_users, 1 + rank)`, the bias first.
        item_factors: float32 `(num_items, 1 + rank)`, the bias first.
        predictions: float32 `(num_ratings,)`, written.
    """
    for user in range(first, end):
        u = user_factors[user]
        for k in range(starts[user], starts[user + 1]):
            i = item_factors[items[k]]
            total = u[0] + i[0]
            for f in range(1, len(u)):
                total += u[f] * i[f]
            predictions[k] = total


@numba.njit(cache=True, nogil=True, fastmath=True)
def sum_by_user(
    first: int,
    end: int,
    starts: Array,
    items: Array,
    residuals: Array,
    last_user_factors: Array,
    last_item_changes: Array,
    item_factors: Array,
    sums: Array,
) -> None:
    """Sums for each user what the draw of one of their factors depends on.

    On the way it takes the last change of the items,
    `last_user_factors[user] * last_item_changes[item]`, off the residuals.

    Args:
        first: first user.
        end: the user after the last.
        starts: int64 `(num_users + 1,)`.
        items: int32 `(num_ratings,)`.
        residuals: float32 `(num_ratings,)`, updated.
        last_user_factors: float32 `(num_users,)`.
        last_item_changes: float32 `(num_items,)`.
        item_factors: float32 `(num_items,)`, the dimension to draw.
        sums: of `item_factor^2` and of `residual * item_factor`, float64
            `(num_users, 2)`, written.
    """
    for user in range(first, end):
        last = last_user_factors[user]
        squares = 0.0
        products = 0.0
        for k in range(starts[user], starts[user + 1]):
            residual = residuals[k] - last * last_item_changes[items[k]]
            residuals[k] = residual
            factor = item_factors[items[k]]
            squares += factor * factor
            products += residual * factor
        sums[user, 0] = squares
        sums[user, 1] = products


@numba.njit(cache=True, nogil=True, fastmath=True)
def sum_by_item(
    first: int,
    end: int,
    starts: Array,
    items: Array,
    residuals: Array,
    item_factors: Array,
    user_changes: Array,
    user_factors: Array,
    sums: Array,
) -> None:
    """Sums for each item what the draw of one of its factors depends on.

    On the way it takes the last change of the users,
    `user_changes[user] * item_factors[item]`, off the residuals.

    Args:
        first: first user.
        end: the user after the last.
        starts: int64 `(num_users + 1,)`.
        items: int32 `(num_ratings,)`.
        residuals: float32 `(num_ratings,)`, updated.
        item_factors: float32 `(num_items,)`.
        user_changes: float32 `(num_users,)`.
        user_factors: float32 `(num_users,)`, the dimension to draw.
        sums: of `user_factor^2` and of `residual * user_factor` over the
            users from `first` to `end`, float64 `(num_items, 2)`, written.
    """
    sums[:] = 0
    for user in range(first, end):
        change = user_changes[user]
        factor = user_factors[user]
        square = factor * factor
        for k in range(starts[user], starts[user + 1]):
            item = items[k]
            residual = residuals[k] - change * item_factors[item]
            residuals[k] = residual
            sums[item, 0] += square
            sums[item, 1] += residual * factor


@numba.njit(cache=True, fastmath=True)
def draw_own(
    sums: Array,
    noise_precision: float,
    prior_mean: float,
    prior_precision: float,
    normals: Array,
    own: Array,
) -> Array:
    """Draws one dimension of the own factors of all users, or of all items.

    Given everything else they are independent Gaussians.

    Args:
        sums: float64 `(num_rows, 2)`, of `sum_by_user` or `sum_by_item`;
            the products are updated to the residuals after the draw.
        noise_precision: precision of the latent ratings' noise.
        prior_mean: mean of the factors' prior.
        prior_precision: its precision.
        normals: standard normal numbers, float32 `(num_rows,)`.
        own: the factors, float32 `(num_rows,)`, replaced.

    Returns:
        Their changes, float32 `(num_rows,)`.
    """
    changes = np.empty_like(own)
    for row in range(len(own)):
        data_precision = noise_precision * sums[row, 0]
        precision = prior_precision + data_precision
        mean = prior_precision * prior_mean + data_precision * own[row]
        mean = (mean + noise_precision * sums[row, 1]) / precision
        new = np.float32(mean + normals[row] / math.sqrt(precision))
        changes[row] = new - own[row]
        sums[row, 1] -= changes[row] * sums[row, 0]
        own[row] = new
    return changes


@numba.njit(cache=True, fastmath=True)
def draw_implicit(
    sums: Array,
    noise_precision: float,
    prior_mean: float,
    prior_precision: float,
    normals: Array,
    weights: Array,
    starts: Array,
    rows: Array,
    implicit: Array,
) -> Array:
    """Draws one dimension of the implicit factors, one after the other.

    An implicit factor of an item moves the composite factors of all users who
    rated it, each by the user's weight (and the other way round). Given
    everything else it is Gaussian.

    Args:
        sums: float64 `(num_rows, 2)`, as `draw_own` left them.
        noise_precision: precision of the latent ratings' noise.
        prior_mean: mean of the implicit factors' prior.
        prior_precision: its precision.
        normals: standard normal numbers, float32 `(num_features,)`.
        weights: of the implicit factors in a row, float32 `(num_rows,)`.
        starts: starts of the features in `rows`, int64 `(num_features + 1,)`.
        rows: the rows that have each feature, int32 `(num_ratings,)`.
        implicit: the factors, float32 `(num_features,)`, replaced.

    Returns:
        The changes of the composite factors, float32 `(num_rows,)`.
    """
    # What the inner loops use of a row lies in one cache line: precision and
    # slope that it adds, and the sum of the changes.
    state = np.zeros((len(weights), 4), np.float32)
    for row in range(len(weights)):
        weight = noise_precision * weights[row]
        state[row, 0] = weight * weights[row] * sums[row, 0]
        state[row, 1] = weight * sums[row, 1]
    for feature in range(len(implicit)):
        data_precision = 0.0
        slope = 0.0
        for k in range(starts[feature], starts[feature + 1]):
            row = rows[k]
            data_precision += state[row, 0]
            slope += state[row, 1]
        precision = prior_precision + data_precision
        mean = prior_precision * prior_mean + data_precision * implicit[feature]
        mean = (mean + slope) / precision
        new = np.float32(mean + normals[feature] / math.sqrt(precision))
        change = new - implicit[feature]
        implicit[feature] = new
        for k in range(starts[feature], starts[feature + 1]):
            row = rows[k]
            state[row, 1] -= change * state[row, 0]
            state[row, 2] += change
    return weights * state[:, 2]


@numba.njit(cache=True)
def normal_cdf(x: float) -> float:
    """Computes the distribution function of the standard normal."""
    return 0.5 * math.erfc(-x * _SQRT_HALF)


@numba.njit(cache=True)
def normal_quantile(p: float) -> float:
    """Computes the inverse of `normal_cdf`, to 1e-8; 7 at the most.

    Reference:
        P. J. Acklam, 2003, "An algorithm for computing the inverse normal
        cumulative distribution function": rational approximations of the
        middle and of the tails.
    """
    p = min(max(p, 1e-12), 1.0 - 1e-12)
    tail = min(p, 1.0 - p)
    if tail < 0.02425:
        q = math.sqrt(-2.0 * math.log(tail))
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


@numba.njit(cache=True, nogil=True)
def draw_latent_residuals(
    first: int,
    end: int,
    classes: Array,
    bounds: Array,
    predictions: Array,
    uniforms: Array,
) -> None:
    """Draws latent ratings between the bounds of their class.

    Args:
        first: first rating.
        end: the rating after the last.
        classes: uint8 `(num_ratings,)`.
        bounds: float64 `(num_classes + 1,)`, from -infinity to infinity.
        predictions: means of the latent ratings, float32 `(num_ratings,)`;
            replaced by the latent ratings less their means.
        uniforms: uniform numbers in [0, 1), float32 `(num_ratings,)`.
    """
    for k in range(first, end):
        low = normal_cdf(bounds[classes[k]] - predictions[k])
        high = normal_cdf(bounds[classes[k] + 1] - predictions[k])
        predictions[k] = normal_quantile(low + uniforms[k] * (high - low))


@numba.njit(cache=True, nogil=True)
def differentiate_thresholds(
    classes: Array,
    bounds: Array,
    predictions: Array,
    step: int,
) -> tuple[Array, Array]:
    """Differentiates the log likelihood of the classes by the bounds.

    Args:
        classes: uint8 `(num_ratings,)`.
        bounds: float64 `(num_classes + 1,)`, from -infinity to infinity.
        predictions: means of the latent ratings, float32 `(num_ratings,)`.
        step: every `step`-th rating counts.

    Returns:
        Gradient `(num_classes + 1,)` and negative Hessian `(num_classes + 1,
        num_classes + 1)`, float64; 0 for the infinite bounds.
    """
    size = len(bounds)
    gradient = np.zeros(size)
    hessian = np.zeros((size, size))
    for k in range(0, len(classes), step):
        c = classes[k]
        low = bounds[c] - predictions[k]
        high = bounds[c + 1] - predictions[k]
        mass = max(normal_cdf(high) - normal_cdf(low), 1e-9)
        # Densities are 0 at infinity.
        at_low = _DENSITY_AT_0 * math.exp(-0.5 * low * low) / mass
        at_high = _DENSITY_AT_0 * math.exp(-0.5 * high * high) / mass
        if c > 0:
            gradient[c] -= at_low
            hessian[c, c] += at_low * (at_low - low)
        if c + 2 < size:
            gradient[c + 1] += at_high
            hessian[c + 1, c + 1] += at_high * (at_high + high)
        hessian[c, c + 1] -= at_low * at_high
        hessian[c + 1, c] -= at_low * at_high
    return gradient, hessian

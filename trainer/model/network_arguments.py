"""Checks of the arguments that all autoencoders share."""

from collections.abc import Sequence

from data_prep.dataset.errors import UserError
from trainer.model.activations import ACTIVATIONS


def check_network_arguments(
    hidden_units: Sequence[int],
    activation: str,
    num_refeeds: int,
    num_sampled_items: int,
    **dropout_rates: float,
) -> None:
    """Checks layers, re-feeding, sampling and dropout.

    Args:
        hidden_units: sizes of the encoder's layers.
        activation: name of their activation.
        num_refeeds: dense re-feeding updates per batch.
        num_sampled_items: items that stand for the catalog; 0 for all.
        **dropout_rates: fractions that training drops, by their names.

    Raises:
        UserError: an argument has a value that no model can have.
    """
    if not hidden_units or min(hidden_units) < 1:
        raise UserError(
            "`hidden_units` must be one or more positive integers."
            f" Received: hidden_units={hidden_units}"
        )
    if activation not in ACTIVATIONS:
        raise UserError(
            f"`activation` must be one of {', '.join(ACTIVATIONS)}."
            f" Received: activation={activation!r}"
        )
    for name, rate in dropout_rates.items():
        if not 0 <= rate < 1:
            raise UserError(
                f"`{name}` must be in [0, 1), a fraction, not a percentage."
                f" Received: {name}={rate}"
            )
    for name, number in (
        ("num_refeeds", num_refeeds),
        ("num_sampled_items", num_sampled_items),
    ):
        if number < 0:
            raise UserError(
                f"`{name}` must be 0 or more. Received: {name}={number}"
            )

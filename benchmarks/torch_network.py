"""The network and the update of the authors' code, of plain PyTorch layers."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch


def make_network(
    num_items: int, hidden_units: Sequence[int], dropout_rate: float
) -> torch.nn.Sequential:
    """Makes encoder and decoder of SELU layers, with dropout of the code.

    Args:
        num_items: size of the catalog.
        hidden_units: the encoder's layers, the code last.
        dropout_rate: share of the code that is dropped in training.
    """
    sizes = (num_items, *hidden_units)
    sizes = (*sizes, *sizes[-2::-1])
    layers: list[torch.nn.Module] = []
    for position, (inputs, outputs) in enumerate(pairwise(sizes), start=1):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.SELU()]
        if position == len(hidden_units):
            layers.append(torch.nn.Dropout(dropout_rate))
    return torch.nn.Sequential(*layers)


def make_update(
    model: torch.nn.Module, learning_rate: float, momentum: float
) -> Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """Makes an update by SGD with momentum, towards the inputs that are not 0.

    Args:
        model: the network.
        learning_rate: that of the optimizer.
        momentum: that of the optimizer.

    Returns:
        What maps inputs `(batch_size, num_items)` to the outputs before the
        update, and the loss.
    """
    optimizer = torch.optim.SGD(
        model.parameters(), lr=learning_rate, momentum=momentum
    )

    def update(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        optimizer.zero_grad()
        mask = inputs != 0
        outputs = model(inputs)
        loss = ((outputs - inputs) * mask).square().sum() / mask.sum()
        loss.backward()
        optimizer.step()
        return outputs.detach(), loss

    return update

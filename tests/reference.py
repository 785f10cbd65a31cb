"""An independent NumPy implementation of the paper's training step.

Written from the paper and the authors' code, in float64, with derivatives by
hand: nothing here knows of TensorFlow.
"""

import numpy as np

SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def _sigmoid(z):
    return 1 / (1 + np.exp(-z))


#: Name -> (function, derivative by the pre-activation).
ACTIVATIONS = {
    "selu": (
        lambda z: SELU_SCALE * np.where(z > 0, z, SELU_ALPHA * np.expm1(z)),
        lambda z: SELU_SCALE * np.where(z > 0, 1, SELU_ALPHA * np.exp(z)),
    ),
    "elu": (
        lambda z: np.where(z > 0, z, np.expm1(z)),
        lambda z: np.where(z > 0, 1, np.exp(z)),
    ),
    "leaky_relu": (
        lambda z: np.where(z > 0, z, 0.01 * z),
        lambda z: np.where(z > 0, 1, 0.01),
    ),
    "relu": (lambda z: np.maximum(z, 0), lambda z: np.where(z > 0, 1.0, 0.0)),
    "relu6": (
        lambda z: np.clip(z, 0, 6),
        lambda z: np.where((z > 0) & (z < 6), 1.0, 0.0),
    ),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": (_sigmoid, lambda z: _sigmoid(z) * (1 - _sigmoid(z))),
    "swish": (
        lambda z: z * _sigmoid(z),
        lambda z: _sigmoid(z) * (1 + z * (1 - _sigmoid(z))),
    ),
    "linear": (lambda z: z, np.ones_like),
}


class ReferenceAutoEncoder:
    """The autoencoder without dropout, trained by SGD with momentum.

    Args:
        encoder: a (kernel, bias) for each encoder layer.
        decoder: a (kernel, bias) for each decoder layer, code side first; a
            kernel is None where it is the transposed encoder kernel.
    """

    def __init__(
        self,
        encoder,
        decoder,
        activation,
        last_layer_activation,
        learning_rate,
        momentum=0.9,
        weight_decay=0.0,
    ):
        self.weights = []
        # Per layer: index of its kernel, whether transposed, index of its bias.
        self.layers = []
        for kernel, bias in encoder:
            self.layers.append((self._add(kernel), False, self._add(bias)))
        num_encoder_layers = len(self.layers)
        for position, (kernel, bias) in enumerate(decoder):
            mirrored = self.layers[num_encoder_layers - 1 - position][0]
            self.layers.append(
                (
                    mirrored if kernel is None else self._add(kernel),
                    kernel is None,
                    self._add(bias),
                )
            )
        self.activations = [ACTIVATIONS[activation]] * len(self.layers)
        if not last_layer_activation:
            self.activations[-1] = ACTIVATIONS["linear"]
        self.velocity = [np.zeros_like(weight) for weight in self.weights]
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay

    def _add(self, weight):
        self.weights.append(np.array(weight, np.float64))
        return len(self.weights) - 1

    def _kernel(self, layer):
        index, transposed, _ = layer
        return self.weights[index].T if transposed else self.weights[index]

    def forward(self, x):
        """Returns the input of each layer and its pre-activation."""
        inputs, pre_activations = [x], []
        for layer, (function, _) in zip(
            self.layers, self.activations, strict=True
        ):
            z = inputs[-1] @ self._kernel(layer) + self.weights[layer[2]]
            pre_activations.append(z)
            inputs.append(function(z))
        return inputs, pre_activations

    def update(self, x, mask):
        """Updates towards f(x) = x where mask is 1.

        Returns:
            The loss and f(x), from before the update.
        """
        inputs, pre_activations = self.forward(x)
        count = mask.sum()
        error = mask * (inputs[-1] - x)
        loss = (error**2).sum() / count if count else 0.0
        gradients = [np.zeros_like(weight) for weight in self.weights]
        upstream = 2 * error / count if count else np.zeros_like(error)
        for position in reversed(range(len(self.layers))):
            layer = self.layers[position]
            index, transposed, bias = layer
            delta = upstream * self.activations[position][1](
                pre_activations[position]
            )
            kernel_gradient = inputs[position].T @ delta
            gradients[index] += (
                kernel_gradient.T if transposed else kernel_gradient
            )
            gradients[bias] += delta.sum(axis=0)
            upstream = delta @ self._kernel(layer).T
        for index, gradient in enumerate(gradients):
            # PyTorch's SGD: v = momentum * v + g; w -= learning_rate * v.
            self.velocity[index] = (
                self.momentum * self.velocity[index]
                + gradient
                + self.weight_decay * self.weights[index]
            )
            self.weights[index] -= self.learning_rate * self.velocity[index]
        return loss, inputs[-1]

    def train_step(self, x, rated, num_refeeds):
        """Runs one batch: the ratings, then the re-fed outputs."""
        loss, outputs = self.update(x, rated)
        for _ in range(num_refeeds):
            _, outputs = self.update(outputs, (outputs != 0).astype(float))
        return loss

"""The networks: layers, losses, optimizers and the autoencoders of them."""

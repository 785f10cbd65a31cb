"""The deep autoencoder: model, training, evaluation."""

"""Trains and evaluates the deep autoencoder."""

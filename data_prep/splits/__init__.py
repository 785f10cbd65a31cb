"""Splits of ratings into training, validation and test subsets."""

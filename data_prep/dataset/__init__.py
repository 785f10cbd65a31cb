"""The contract of prepared data on disk: all that other packages read."""

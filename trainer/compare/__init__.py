"""Compares this project's models with others on the same prepared data."""

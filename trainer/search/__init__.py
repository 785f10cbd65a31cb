"""Searches for settings that make a better model of given data."""

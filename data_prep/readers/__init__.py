"""Reads people's files: finds, recognizes and decodes them."""

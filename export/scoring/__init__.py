"""Answers of an exported model for all users, in files."""

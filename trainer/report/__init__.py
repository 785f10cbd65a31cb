"""Writes the report of a job: one HTML file that people read."""

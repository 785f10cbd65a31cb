"""Prepares ratings on one machine: partitions, assigns, encodes, writes."""

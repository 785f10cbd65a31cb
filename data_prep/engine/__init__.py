"""The engine that prepares data on one machine."""

"""A client of a served model, as a library and as a command.

Over REST it needs the standard library alone.
"""

from serving.client.client import Client, ServingError

__all__ = ["Client", "ServingError"]

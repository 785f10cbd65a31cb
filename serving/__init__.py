"""The protocol of the served model: client, local server."""

"""Serving of exported models: protocol, client, local server, demo page."""

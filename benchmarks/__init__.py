"""One command a claim: each prints JSON lines."""

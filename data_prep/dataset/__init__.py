"""Prepared data on disk: the contract with other packages."""

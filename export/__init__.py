"""A trained job in, a versioned SavedModel over raw item ids out."""

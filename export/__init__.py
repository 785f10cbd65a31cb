"""Exports trained jobs as versioned SavedModels over raw item ids."""

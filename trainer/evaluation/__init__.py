"""Evaluates models on held-out ratings: metrics, evaluator, baselines."""

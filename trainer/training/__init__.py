"""Training: one loop for all devices and workers, from records to results."""

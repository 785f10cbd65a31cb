"""What a job reads: prepared records as batches of sparse ratings."""

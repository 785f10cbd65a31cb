"""A job directory: what each file in it holds, how it is written and read."""

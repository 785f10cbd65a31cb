"""What a served model answers: the graph behind each signature."""

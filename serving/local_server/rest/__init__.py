"""TensorFlow Serving's REST API: its text format, and the application."""

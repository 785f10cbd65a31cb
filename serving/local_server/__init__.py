"""TensorFlow Serving's protocol, served on one machine."""

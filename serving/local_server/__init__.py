"""A server of TensorFlow Serving's protocol for one machine."""

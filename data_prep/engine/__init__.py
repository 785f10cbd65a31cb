"""The steps of a preparation, shared by the local and the Beam runner."""

"""A web page on which people rate titles and see recommendations."""

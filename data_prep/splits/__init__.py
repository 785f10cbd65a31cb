"""Named, seeded splits into training, validation and test ratings."""

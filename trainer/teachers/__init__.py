"""Teachers: models fitted in closed form or by sampling, to learn from."""

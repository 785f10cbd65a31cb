"""Teachers: models fitted to the ratings in closed form or by sampling."""

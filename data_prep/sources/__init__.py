"""Sources of ratings: named data sets, files and tables in memory."""

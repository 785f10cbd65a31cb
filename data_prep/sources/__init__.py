"""Where ratings come from: named data sets, files and tables in memory."""

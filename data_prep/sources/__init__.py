"""Where ratings come from: named data sets and files of many formats."""

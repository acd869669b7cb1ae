"""Tasks as rows of a table, features, the classification objective."""

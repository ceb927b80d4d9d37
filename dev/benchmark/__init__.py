"""What `dev/bench.py` compares, in the order of the data: models, measuring, comparisons, rows."""

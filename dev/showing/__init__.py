"""What `dev/demo.py` does, in the order of the data: checks, checkpoints, graphs, steps, pictures, reports."""

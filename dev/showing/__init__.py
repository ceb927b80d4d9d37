"""What `dev/demo.py` does, in the order of the data: checkpoints, graphs, steps, pictures, reports."""

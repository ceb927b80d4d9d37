"""What `dev/gpu.py` runs: stages, the processes that they run in, their report, and what each measures."""

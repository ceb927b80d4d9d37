"""Labelling pictures for training on subjects (Subject-Diffusion, section 3.1): what `research/label.py` is made of."""

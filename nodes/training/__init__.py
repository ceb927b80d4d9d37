"""Training a joint-image model: the one loop of this repository, and what runs in it.

Modules here import torch, what training needs beside it where it is used, and each other; `host/` and `nodes.py` talk to the
host. Letters of axes and meanings of words are in docs/architecture.md.
"""

"""JeDi, joint-image diffusion: reference pictures, a joint set, coupled attention, guidance, picking.

Modules here import torch, einops and each other; `host/` and `nodes.py` talk to the host. Letters of axes and meanings of
words are in docs/architecture.md.
"""

"""JeDi, joint-image diffusion: reference pictures, a joint set, coupled attention, guidance, picking.

Axis legend: S sets, M pictures to generate, R references, N = M + R pictures in a set, B = S * N rows
(set-major; in each set the M generated rows come first), C H W latent, L tokens, D channels, T text
tokens. Modules here import torch, einops and each other; only `nodes.py` talks to the host.
"""

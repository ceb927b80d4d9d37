"""The nodes of Subject-Diffusion."""

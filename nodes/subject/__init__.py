"""Subject-Diffusion: one picture of each subject, fused into the text and into layers of the UNet; where each goes; the nodes.

Letters of axes and meanings of words are in docs/architecture.md.
"""

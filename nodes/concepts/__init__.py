"""Concepts of a scene: phrases become boxes, boxes become masks, masks become blend weights on the latent grid.

Read in the order of the data: phrases, detection, choosing, masks, places.
Letters of axes and meanings of words are in docs/architecture.md.
"""

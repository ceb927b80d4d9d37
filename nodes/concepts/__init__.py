"""Concepts of a scene: phrases become boxes, boxes become masks, masks become weights on the latent grid.

Axes: B pictures, K concepts, H W picture pixels, h w latent pixels, Q detected boxes, T text tokens.
Read in the order of the data: phrases, detection, choosing, masks, scene; nodes.py holds the nodes.
"""

"""Nodes in the shape of ComfyUI_InstantID's, which take their place where that pack is not installed."""

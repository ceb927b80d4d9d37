"""The nodes of the pack; `extension.py` lists them in data-flow order."""

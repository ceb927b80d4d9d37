"""Sets of pictures of one subject, read from where they are and written into shards; nothing of ComfyUI is needed.

Beside torch and the standard library these modules import Pillow and numpy, and PyAV and pyarrow where they are used.
"""

"""Everything that touches ComfyUI: hooks on its model, its text encoder and VAE, files, folders, sockets."""

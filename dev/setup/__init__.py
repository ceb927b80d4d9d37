"""Finding a ComfyUI, or setting a private one up; standard library only, for it runs before anything is installed."""

"""Same Subject: ComfyUI nodes that paint the subject of reference pictures into new scenes.

Loading this package does no work: the host calls `comfy_entrypoint` when it wants the nodes, so
tools and tests can import the package where no ComfyUI is at hand.
"""

import importlib
import logging

WEB_DIRECTORY = "./js"


async def comfy_entrypoint():
    """Return the extension that lists the nodes; imported here and not before. Raises in a ComfyUI that is too old."""
    from .nodes.host import version

    try:
        given = importlib.import_module("comfyui_version").__version__
    except (ImportError, AttributeError):
        given = "unknown"
    version.check(given)
    try:
        from .nodes.extension import SameSubjectExtension
    except Exception:
        logging.exception("Same Subject: its nodes could not be imported")
        raise
    return SameSubjectExtension()

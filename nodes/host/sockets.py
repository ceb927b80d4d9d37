"""The pack's own socket types."""

from comfy_api.latest import io

References = io.Custom("JEDI_REFERENCES")
"""tuple of `joint.references.Reference`."""
Set = io.Custom("JEDI_SET")
"""`joint.layout.JointSet`."""
Options = io.Custom("JEDI_OPTIONS")
"""`joint.settings.Options`."""

"""The node that says what a graph lacks."""

from __future__ import annotations

from comfy_api.latest import io, ui

from ..host import inputs
from . import report
from .host import listing


class CheckFiles(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CheckFiles",
            display_name="Check Files",
            category="Same Subject",
            description="Lists every file and package that the nodes of this graph need, and which are missing. Nothing is "
            "downloaded when it runs.",
            search_aliases=[
                "missing models",
                "missing files",
                "download models",
                "check models",
                "what is missing",
                "same subject",
            ],
            inputs=[],
            outputs=[
                io.String.Output(
                    display_name="report",
                    tooltip="What is missing, with where to get it, then what is here. For Preview as Text.",
                )
            ],
            hidden=[io.Hidden.prompt],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls):
        return float("nan")  # files come and go

    @classmethod
    @inputs.checked
    def execute(cls) -> io.NodeOutput:
        said = report.text(listing.rows(cls.hidden.prompt or {}))
        return io.NodeOutput(said, ui=ui.PreviewText(said))

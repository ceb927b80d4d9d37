"""The node that loads a demo model."""

from __future__ import annotations

from comfy_api.latest import io

from ..host import demo_model, demo_pictures, folders
from . import config


class LoadDemoModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JediDemoLoader",
            display_name="Load Demo Model",
            category="JeDi",
            description="Loads a small joint-image model that ships with the pack, and pictures of a subject for it, for trying "
            "JeDi without a download.",
            search_aliases=["jedi demo", "same subject demo", "tiny model", "checkpoint loader", "load demo"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=folders.demo_models(config.KEY),
                    tooltip="A demo model: a .safetensors file in this pack's demo folder or in models/jedi_demo.",
                ),
            ],
            outputs=[
                io.Model.Output(tooltip="The joint-image UNet, for JeDi."),
                io.Clip.Output(tooltip="Its text encoder, for Joint Set."),
                io.Vae.Output(tooltip="Its VAE, for Joint Set and VAE Decode."),
                io.Image.Output(
                    display_name="pictures",
                    tooltip="The pictures of one subject that ship with the pack, as one batch: something the demo model "
                    "can draw, for Reference Pictures.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, file):
        try:
            demo_model.describe(folders.demo_path(file))
        except ValueError as problem:
            return str(problem)
        return True

    @classmethod
    def fingerprint_inputs(cls, file):
        files = [folders.demo_path(file), *demo_pictures.paths()]
        return tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in files)

    @classmethod
    def execute(cls, file) -> io.NodeOutput:
        return io.NodeOutput(*demo_model.load(folders.demo_path(file)), demo_pictures.load())

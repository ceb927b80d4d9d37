"""The nodes that load what ships with the pack."""

from __future__ import annotations

from comfy_api.latest import io

from ..host import inputs, sockets, weights
from ..scene.concept import SceneTools
from . import config, examples
from .host import folders
from .host import model as demo_model
from .host import pictures as demo_pictures
from .host import tools as demo_tools


class LoadDemoModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JediDemoLoader",
            display_name="Load Demo Model",
            category="Same Subject/JeDi",
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
            if file is not None:  # None is what another node will give
                demo_model.describe(folders.demo_path(file))
        except ValueError as problem:
            return str(problem)
        return True

    @classmethod
    def fingerprint_inputs(cls, file):
        return weights.stamps(*demo_model.files(folders.demo_path(file)), *demo_pictures.paths(demo_pictures.REFERENCES))

    @classmethod
    @inputs.checked
    def execute(cls, file) -> io.NodeOutput:
        pictures = demo_pictures.load("Load Demo Model", demo_pictures.REFERENCES)
        return io.NodeOutput(*demo_model.load(folders.demo_path(file)), pictures)


class ExamplePictures(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ExamplePictures",
            display_name="Example Pictures",
            category="Same Subject/JeDi",
            description="Pictures of toys that ship with the pack, for trying a graph before you have pictures of your own: "
            "then put Load Image in its place.",
            search_aliases=["jedi example", "sample images", "test picture", "demo picture", "example image", "toy"],
            inputs=[
                io.Combo.Input(
                    "pictures",
                    options=[*examples.PICTURES, *examples.SETS],
                    tooltip="Which toy, and where it is. The node shows it before you run the graph.",
                ),
                io.Combo.Input(
                    "size",
                    options=list(examples.SIZES),
                    default=examples.SIZES[-1],
                    tooltip="Width and height in pixels: 64 is what the demo model paints, 512 is for checkpoints.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="pictures", tooltip="The pictures, as one batch, for Reference Pictures or Concept."
                ),
                io.Mask.Output(display_name="masks", tooltip="Masks that are white on the toy, for Reference Pictures."),
                io.String.Output(display_name="captions", tooltip="What each picture shows, one a line, for Reference Pictures."),
            ],
        )

    @classmethod
    @inputs.checked
    def execute(cls, pictures, size="512") -> io.NodeOutput:
        for name, given, choices in (
            ("pictures", pictures, [*examples.PICTURES, *examples.SETS]),
            ("size", size, examples.SIZES),
        ):
            if (problem := inputs.check_choice("Example Pictures", name, given, choices)) is not True:
                raise ValueError(problem)
        return io.NodeOutput(*demo_pictures.examples("Example Pictures", pictures, size))


class LoadDemoTools(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DemoToolsLoader",
            display_name="Load Demo Tools",
            category="Same Subject/Concepts",
            description="Loads what a scene of several concepts needs beside its model: small, trained on the demo's toys, for "
            "trying scenes without a download.",
            search_aliases=["demo identity", "demo detector", "scene demo", "multi concept demo", "load demo"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=folders.demo_models(config.TOOLS_KEY),
                    tooltip="The demo file that Load Demo Model loads the scene's model from.",
                ),
            ],
            outputs=[
                sockets.IdentityAdapter.Output(
                    display_name="adapter",
                    tooltip="Turns a toy into what the model attends to, in Concept Branch or Apply Identity.",
                ),
                sockets.FaceAnalysis.Output(
                    display_name="face_analysis", tooltip="Recognises toys instead of faces; for Identity and Face Keypoints."
                ),
                sockets.Detector.Output(
                    display_name="detector", tooltip="Finds toys whose shape a phrase names: ball, star, box or heart."
                ),
                io.Image.Output(display_name="pictures", tooltip="Pictures of two toys that ship with the pack, as one batch."),
                sockets.SceneTools.Output(display_name="tools", tooltip="All of them together, for Compose Scene."),
                sockets.Segmenter.Output(display_name="segmenter", tooltip="Cuts toys out of their pictures, for Concept Masks."),
            ],
        )

    @classmethod
    def validate_inputs(cls, file):
        try:
            if file is not None:
                demo_tools.check(folders.demo_path(file, demo_tools.NODE))
        except ValueError as problem:
            return str(problem)
        return True

    @classmethod
    def fingerprint_inputs(cls, file):
        return weights.stamps(folders.demo_path(file, demo_tools.NODE), *demo_pictures.paths(demo_pictures.TOYS))

    @classmethod
    @inputs.checked
    def execute(cls, file) -> io.NodeOutput:
        adapter, finder = demo_tools.load(folders.demo_path(file, demo_tools.NODE))
        tools = SceneTools(detector=finder, adapter=adapter, face_analysis=finder)
        pictures = demo_pictures.load(demo_tools.NODE, demo_pictures.TOYS)
        return io.NodeOutput(adapter, finder, finder, pictures, tools, demo_tools.ToyMasks(finder.finder))

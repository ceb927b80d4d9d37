"""The nodes that take the place of ComfyUI_InstantID's in shared graphs, and which of theirs each node of ours replaces."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ...host import inputs, sockets
from .. import faces
from ..host import face_analysis, files
from ..host import instantid as theirs

CATEGORY = "Same Subject/Identity"


def _window_inputs() -> list:
    return [
        inputs.share("start_at", 0.0, "Share of the schedule at which the person begins to act.", step=0.001),
        inputs.share("end_at", 1.0, "Share of the schedule at which the person stops acting.", step=0.001),
    ]


def _strength(name: str, default: float, most: float, what: str, least: float = 0.0) -> io.Float.Input:
    return io.Float.Input(name, default=default, min=least, max=most, step=0.01, tooltip=f"How strongly {what} acts.")


def _noise(default: float) -> io.Float.Input:
    return io.Float.Input(
        "noise", default=default, min=0.0, max=1.0, step=0.1, tooltip="Noise in the face of nobody, for the negative side."
    )


def _mask() -> io.Mask.Input:
    return io.Mask.Input("mask", optional=True, tooltip="White where the person is; the positive prompt counts only there.")


def _keypoints() -> io.Image.Input:
    return io.Image.Input(
        "image_kps",
        optional=True,
        tooltip="A picture with a face in the pose that is wanted, or drawn keypoints. None: the pose of the first picture.",
    )


def _person_inputs() -> list:
    return [
        sockets.IdentityAdapter.Input("instantid", tooltip="From Load InstantID."),
        sockets.FaceAnalysis.Input("insightface", tooltip="From Load Face Analysis."),
    ]


def _conditioning_outputs() -> list:
    return [
        io.Conditioning.Output(display_name="positive", tooltip="For the sampler; its face is the person's."),
        io.Conditioning.Output(display_name="negative", tooltip="For the sampler; its face is nobody's."),
    ]


def _schema(node: Any, node_id: str, inputs: list, outputs: list, instead: str = "Apply Identity") -> io.Schema:
    """node: has a NAME, which is theirs. instead: our node for new graphs."""
    return io.Schema(
        node_id=node_id,
        display_name=node.NAME,
        category=CATEGORY,
        is_deprecated=True,
        description=f"Takes the place of ComfyUI_InstantID's {node.NAME} in its graphs. For new graphs: {instead}.",
        inputs=inputs,
        outputs=outputs,
    )


class _Replacing(io.ComfyNode):
    """A node with a window."""

    NAME = ""

    @classmethod
    def validate_inputs(cls, start_at, end_at):
        return inputs.window_or_problem(cls.NAME, "start_at", start_at, "end_at", end_at)


def _apply_schema(node: type[_Replacing], node_id: str, widgets: list) -> io.Schema:
    given = [
        *_person_inputs(),
        io.ControlNet.Input("control_net", tooltip="InstantID's ControlNet."),
        io.Image.Input("image", tooltip="Pictures of one person; of each the largest face counts."),
        io.Model.Input("model", tooltip="A Stable Diffusion XL model."),
        io.Conditioning.Input("positive", tooltip="The prompt."),
        io.Conditioning.Input("negative", tooltip="What to steer away from."),
        *widgets,
        _keypoints(),
        _mask(),
    ]
    return _schema(node, node_id, given, [io.Model.Output(tooltip="For the sampler."), *_conditioning_outputs()])


def _apply(
    node, adapter, analysis, control_net, image, model, positive, negative, strengths, window, noise, combine, image_kps
) -> io.NodeOutput:
    embeds = theirs.FaceEmbeds(adapter, theirs.recognise(node, analysis, image, noise, combine))
    hint = theirs.first(embeds.person) if image_kps is None else theirs.drawn(node, analysis, image_kps, "`image_kps`, picture")
    model = theirs.on_model(node, model, embeds, strengths[0], window)
    pair = theirs.on_conditioning(node, positive, negative, embeds, control_net, hint, strengths[1], window)
    return io.NodeOutput(model, *pair)


class ApplyInstantID(_Replacing):
    NAME = "Apply InstantID"
    NOISE = 0.35
    """Theirs has no widget for it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        widgets = [_strength("weight", 0.8, 5.0, "the person, and the ControlNet,"), *_window_inputs()]
        return _apply_schema(cls, "IdentityApplyInstantID", widgets)

    @classmethod
    @inputs.checked
    def execute(
        cls, instantid, insightface, control_net, image, model, positive, negative, weight, start_at, end_at, image_kps=None,
        mask=None,
    ) -> io.NodeOutput:  # fmt: skip
        return _apply(
            cls.NAME, instantid, insightface, control_net, image, model, positive, negative, (weight, weight),
            theirs.Window(start_at, end_at, mask), cls.NOISE, faces.AVERAGE, image_kps,
        )  # fmt: skip


class ApplyInstantIDAdvanced(_Replacing):
    NAME = "Apply InstantID Advanced"

    @classmethod
    def define_schema(cls) -> io.Schema:
        widgets = [
            _strength("ip_weight", 0.8, 3.0, "the person"),
            _strength("cn_strength", 0.8, 10.0, "the ControlNet"),
            *_window_inputs(),
            _noise(0.0),
            io.Combo.Input(
                "combine_embeds",
                options=[*faces.COMBINATIONS, theirs.CONCAT],
                default=faces.AVERAGE,
                tooltip="How several pictures become one person. concat works for one picture only.",
            ),
        ]
        return _apply_schema(cls, "IdentityApplyInstantIDAdvanced", widgets)

    @classmethod
    @inputs.checked
    def execute(
        cls, instantid, insightface, control_net, image, model, positive, negative, ip_weight, cn_strength, start_at, end_at,
        noise, combine_embeds, image_kps=None, mask=None,
    ) -> io.NodeOutput:  # fmt: skip
        return _apply(
            cls.NAME, instantid, insightface, control_net, image, model, positive, negative, (ip_weight, cn_strength),
            theirs.Window(start_at, end_at, mask), noise, combine_embeds, image_kps,
        )  # fmt: skip


class FaceKeypointsPreprocessor(io.ComfyNode):
    """Beside Face Keypoints, because the host cannot rename an input that comes from another replaced node."""

    NAME = "Face Keypoints Preprocessor"

    @classmethod
    def define_schema(cls) -> io.Schema:
        given = [
            sockets.FaceAnalysis.Input("faceanalysis", tooltip="From Load Face Analysis."),
            io.Image.Input("image", tooltip="Pictures with a face; one is drawn for each, the largest."),
        ]
        outputs = [io.Image.Output(tooltip="As large as the pictures: five points on black.")]
        return _schema(cls, "IdentityInstantIDKeypoints", given, outputs, "Face Keypoints")

    @classmethod
    @inputs.checked
    def execute(cls, faceanalysis, image) -> io.NodeOutput:
        return io.NodeOutput(theirs.drawn(cls.NAME, faceanalysis, image, "picture"))


class InstantIDPatchAttention(_Replacing):
    NAME = "InstantID Patch Attention"

    @classmethod
    def define_schema(cls) -> io.Schema:
        given = [
            *_person_inputs(),
            io.Image.Input("image", tooltip="Pictures of one person; of each the largest face counts."),
            io.Model.Input("model", tooltip="A Stable Diffusion XL model."),
            _strength("weight", 1.0, 3.0, "the person", least=-1.0),
            *_window_inputs(),
            _noise(0.0),
            io.Mask.Input("mask", optional=True, tooltip="White where the person acts. None: everywhere."),
        ]
        outputs = [
            io.Model.Output(tooltip="For the sampler."),
            sockets.FaceEmbeds.Output(display_name="face_embeds", tooltip="The person, for InstantID Apply ControlNet."),
        ]
        return _schema(cls, "IdentityInstantIDAttention", given, outputs)

    @classmethod
    @inputs.checked
    def execute(cls, instantid, insightface, image, model, weight, start_at, end_at, noise, mask=None) -> io.NodeOutput:
        embeds = theirs.FaceEmbeds(instantid, theirs.recognise(cls.NAME, insightface, image, noise))
        window = theirs.Window(start_at, end_at, mask)
        return io.NodeOutput(theirs.on_model(cls.NAME, model, embeds, weight, window), embeds)


class InstantIDApplyControlNet(_Replacing):
    NAME = "InstantID Apply ControlNet"

    @classmethod
    def define_schema(cls) -> io.Schema:
        given = [
            sockets.FaceEmbeds.Input("face_embeds", tooltip="From InstantID Patch Attention."),
            io.ControlNet.Input("control_net", tooltip="InstantID's ControlNet."),
            io.Image.Input("image_kps", tooltip="Drawn keypoints, from Face Keypoints."),
            io.Conditioning.Input("positive", tooltip="The prompt."),
            io.Conditioning.Input("negative", tooltip="What to steer away from."),
            _strength("strength", 1.0, 10.0, "the ControlNet"),
            *_window_inputs(),
            _mask(),
        ]
        outputs = _conditioning_outputs()
        return _schema(cls, "IdentityInstantIDControlNet", given, outputs, "Identity ControlNet")

    @classmethod
    @inputs.checked
    def execute(
        cls, face_embeds, control_net, image_kps, positive, negative, strength, start_at, end_at, mask=None
    ) -> io.NodeOutput:
        window = theirs.Window(start_at, end_at, mask)
        pair = theirs.on_conditioning(cls.NAME, positive, negative, face_embeds, control_net, image_kps, strength, window)
        return io.NodeOutput(*pair)


def _replacement(old: str, new: str, widgets: list[str], outputs: int, taken: dict[str, str], fixed: dict | None = None):
    """taken: by input of ours, theirs. fixed: by input of ours, a value. outputs: how many of theirs, which ours has, too."""
    return io.NodeReplace(
        new_node_id=new,
        old_node_id=old,
        old_widget_ids=widgets,
        input_mapping=[
            *({"new_id": new_id, "old_id": old_id} for new_id, old_id in taken.items()),
            *({"new_id": new_id, "set_value": value} for new_id, value in (fixed or {}).items()),
        ],
        output_mapping=[{"new_idx": number, "old_idx": number} for number in range(outputs)],
    )


def _alike(old: str, new: type[io.ComfyNode]):
    """A node of ours with the inputs and outputs of theirs, in their order."""
    schema = new.define_schema()
    widgets = [one.id for one in schema.inputs if one.get_io_type() in inputs.WIDGETS]
    return _replacement(old, schema.node_id, widgets, len(schema.outputs), {one.id: one.id for one in schema.inputs})


def replacements() -> list[io.NodeReplace]:
    """What the host is to know about all nodes of ComfyUI_InstantID.

    Only what is never linked to another of them has another name here: the host would look for the old one in a replaced node.
    """
    return [
        _replacement(
            "InstantIDModelLoader", "IdentityLoader", ["instantid_file"], 1, {"adapter": "instantid_file"},
            {"control_net": files.NO_CONTROL},
        ),
        _replacement(
            "InstantIDFaceAnalysis", "IdentityFaceAnalysis", ["provider"], 1, {},
            {"files": face_analysis.ANY, "device": face_analysis.AUTO},
        ),
        _alike("FaceKeypointsPreprocessor", FaceKeypointsPreprocessor),
        _alike("ApplyInstantID", ApplyInstantID),
        _alike("ApplyInstantIDAdvanced", ApplyInstantIDAdvanced),
        _alike("InstantIDAttentionPatch", InstantIDPatchAttention),
        _alike("ApplyInstantIDControlNet", InstantIDApplyControlNet),
    ]  # fmt: skip

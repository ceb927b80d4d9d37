"""The identity nodes (InstantID), in data-flow order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from comfy_api.latest import io

from ..host import inputs, sockets, weights
from . import faces, keypoints, recognising
from .host import applying, face_analysis, files

CATEGORY = "Same Subject/Identity"
MOST_PICTURES = 16


class LoadInstantID(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IdentityLoader",
            display_name="Load InstantID",
            category=CATEGORY,
            description="Loads InstantID's adapter and its face ControlNet, in the published layout.",
            search_aliases=["instantid", "ip-adapter.bin", "face id", "load identity", "InstantIDModelLoader", "same subject"],
            inputs=[
                io.Combo.Input(
                    "adapter",
                    options=files.adapter_names(),
                    tooltip="InstantID's `ip-adapter.bin`, or the same weights as .safetensors, in models/instantid.",
                ),
                io.Combo.Input(
                    "control_net",
                    options=files.control_names(),
                    tooltip="InstantID's ControlNet (`ControlNetModel/diffusion_pytorch_model.safetensors`), in "
                    "models/controlnet or models/instantid; none to go without.",
                ),
            ],
            outputs=[
                sockets.IdentityAdapter.Output(
                    display_name="adapter",
                    tooltip="Turns a face into what the model attends to, in Concept Branch or Apply Identity.",
                ),
                io.ControlNet.Output(display_name="control_net", tooltip="For Identity ControlNet; empty with none."),
            ],
        )

    @classmethod
    def validate_inputs(cls, adapter, control_net):
        asked = [(files.adapter_path, adapter)] if adapter is not None else []  # None is what another node will give
        asked += [(files.control_path, control_net)] if control_net not in (None, files.NO_CONTROL) else []
        problems = []
        for find, name in asked:
            try:
                find(name)
            except ValueError as problem:
                problems.append(str(problem))
        return " ".join(problems) or True

    @classmethod
    def fingerprint_inputs(cls, adapter, control_net):
        paths = [files.adapter_path(adapter)]
        if control_net != files.NO_CONTROL:
            paths.append(files.control_path(control_net))
        return (*map(str, paths), weights.stamps(*paths))

    @classmethod
    @inputs.checked
    def execute(cls, adapter, control_net) -> io.NodeOutput:
        loaded = files.load_adapter(files.adapter_path(adapter))
        if control_net == files.NO_CONTROL:
            return io.NodeOutput(loaded, None)
        return io.NodeOutput(loaded, files.load_control(files.control_path(control_net)))


class LoadFaceAnalysis(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IdentityFaceAnalysis",
            display_name="Load Face Analysis",
            category=CATEGORY,
            description="Loads insightface's models antelopev2 from models/insightface/models/antelopev2. Nothing is downloaded.",
            search_aliases=["insightface", "antelopev2", "face analysis", "InstantIDFaceAnalysis", "face detector", "arcface"],
            inputs=[
                io.Combo.Input(
                    "files",
                    options=[face_analysis.EXACT, face_analysis.ANY],
                    tooltip="As published checks the five files' hashes, which takes a second or two; any accepts other files of "
                    "the same names.",
                ),
                io.Combo.Input(
                    "device",
                    options=[face_analysis.AUTO, face_analysis.CPU],
                    tooltip="Auto uses the GPU where onnxruntime-gpu is installed, else the CPU.",
                ),
            ],
            outputs=[sockets.FaceAnalysis.Output(display_name="face_analysis", tooltip="For Identity and Face Keypoints.")],
        )

    @classmethod
    def validate_inputs(cls, files):  # the host says a problem once for every input that is asked for, and checks the others
        known = inputs.check_choice("Load Face Analysis", "files", files, (face_analysis.EXACT, face_analysis.ANY))
        return face_analysis.problem() or True if known is True else known

    @classmethod
    def fingerprint_inputs(cls, files, device):
        try:
            folder = face_analysis.find_pack()
        except ValueError:
            return float("nan")
        return (files, device, *((folder / name).stat().st_mtime_ns for name in face_analysis.hashes()))

    @classmethod
    @inputs.checked
    def execute(cls, files, device) -> io.NodeOutput:
        return io.NodeOutput(face_analysis.load(files, device))


def choice_inputs(of: str) -> list:
    """The inputs that say which face is meant."""
    return [
        io.Combo.Input(
            "face",
            options=list(faces.CHOICES),
            tooltip=f"Which face of {of}: the largest, or one counted from the left, nearest to a point, or counted by the "
            "detector's score.",
        ),
        io.Int.Input(
            "number",
            default=0,
            min=0,
            max=99,
            tooltip="Which face, when counted left to right or by score: 0 is face 1. Others ignore it.",
        ),
        inputs.share("x", 0.5, "The point for nearest to point, as a share of the width: 0 = left, 1 = right.", advanced=True),
        inputs.share("y", 0.5, "The point for nearest to point, as a share of the height: 0 = top, 1 = bottom.", advanced=True),
    ]


class IdentityFromPictures(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        picture = io.Image.Input("image", tooltip="A picture with the person's face, of any size, or a batch of one size.")
        return io.Schema(
            node_id="IdentityFromPictures",
            display_name="Identity",
            category=CATEGORY,
            description="Recognises one person in one or several pictures.",
            search_aliases=["face embedding", "identity", "instantid face", "insightface embedding", "face id", "average faces"],
            inputs=[
                sockets.FaceAnalysis.Input("face_analysis", tooltip="From Load Face Analysis."),
                io.Autogrow.Input(
                    "images",
                    template=io.Autogrow.TemplatePrefix(picture, prefix="image", min=1, max=MOST_PICTURES),
                    tooltip="Pictures of one person; the embeddings are averaged. Connect one and the next input appears.",
                ),
                *choice_inputs("each picture"),
                io.Combo.Input(
                    "combine",
                    options=list(faces.COMBINATIONS),
                    default=faces.AVERAGE,
                    optional=True,
                    advanced=True,
                    tooltip="How the embeddings of several pictures become one: their average, or their norm average, which "
                    "evens out what stands out in single pictures.",
                ),
                io.Float.Input(
                    "noise",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    optional=True,
                    advanced=True,
                    tooltip="Noise in the face of nobody, which conditioning is steered away from: less burnt colours at a high "
                    "cfg. 0 = none, as the authors do; 0.35 is usual elsewhere.",
                ),
            ],
            outputs=[
                sockets.Identity.Output(
                    display_name="identity", tooltip="The person, for Concept Branch, Apply Identity and Identity ControlNet."
                ),
                io.Image.Output(
                    display_name="keypoints", tooltip="The face's keypoints as in the first picture, for Identity ControlNet."
                ),
            ],
        )

    @classmethod
    @inputs.checked
    def execute(cls, face_analysis, images, face, number, x, y, combine=faces.AVERAGE, noise=0.0) -> io.NodeOutput:
        pictures = [picture for batch in images.values() if batch is not None for picture in batch]
        chosen = recognising.choose_in_pictures("Identity", face_analysis, pictures, faces.Choice(face, number, x, y))
        first = chosen[0]
        person = faces.gather(chosen, combine, noise)
        return io.NodeOutput(person, keypoints.draw([first.keypoints], first.width, first.height)[None])


class FaceKeypoints(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IdentityKeypoints",
            display_name="Face Keypoints",
            category=CATEGORY,
            description="Draws a face's keypoints, which say where a face will be and where it looks.",
            search_aliases=["face kps", "instantid keypoints", "face pose", "facial landmarks", "FaceKeypointsPreprocessor"],
            inputs=[
                sockets.FaceAnalysis.Input("face_analysis", tooltip="From Load Face Analysis."),
                io.Image.Input(
                    "image", tooltip="Pictures with a face in the place and pose that is wanted; one is drawn for each."
                ),
                *choice_inputs("each picture"),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Only faces whose centre is white count: a concept's mask, so that its face is drawn. Of several "
                    "masks on one picture, such as those of Concept Masks, each gives a keypoint picture.",
                ),
                io.Int.Input(
                    "concept",
                    default=0,
                    min=0,
                    max=99,
                    optional=True,
                    tooltip="With the masks of Concept Masks: the concept whose faces are drawn, one a picture, by its number "
                    "on the preview of Find Concepts, from 1. 0 takes the masks as they come.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="keypoints", tooltip="As large as the pictures: five points on black, for Identity ControlNet."
                )
            ],
        )

    @classmethod
    @inputs.checked
    def execute(cls, face_analysis, image, face, number, x, y, mask=None, concept=0) -> io.NodeOutput:
        choice = faces.Choice(face, number, x, y)
        if mask is None and concept:
            raise ValueError(
                f"Face Keypoints: `concept` is {concept}, but no `mask` is connected. Connect `masks` of Concept Masks, or set "
                "`concept` to 0."
            )
        chosen: Sequence[faces.Face | None]
        if mask is None:
            chosen = recognising.choose_in_pictures("Face Keypoints", face_analysis, list(image), choice)
        else:
            masks = mask.reshape(-1, *mask.shape[-2:])
            masks = recognising.masks_of(concept, masks, len(image)) if concept else masks
            place = f"the mask of concept {concept}" if concept else ""
            chosen = recognising.choose_in_masks("Face Keypoints", face_analysis, image, masks, choice, place)
        size = image.shape[2], image.shape[1]
        return io.NodeOutput(torch.stack([keypoints.draw([one.keypoints] if one else [], *size) for one in chosen]))


def window_inputs(what: str) -> list:
    return [
        inputs.share("start_percent", 0.0, f"Share of the schedule at which {what} begins to act."),
        inputs.share("end_percent", 1.0, f"Share of the schedule at which {what} stops acting."),
        io.Mask.Input(
            "mask",
            optional=True,
            tooltip=f"White where {what} acts, of any size; one for all pictures of the batch, or one each. None: everywhere.",
        ),
    ]


class ApplyIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IdentityApply",
            display_name="Apply Identity",
            category=CATEGORY,
            description="Makes a model paint a person's face (InstantID). Chain several for several people, each with a mask.",
            search_aliases=["instantid", "apply instantid", "face id", "ip adapter face", "identity", "same person", "face swap"],
            inputs=[
                io.Model.Input("model", tooltip="A Stable Diffusion XL model; from another Apply Identity for a second person."),
                sockets.IdentityAdapter.Input("adapter", tooltip="From Load InstantID."),
                sockets.Identity.Input("identity", tooltip="The person, from Identity."),
                inputs.identity_strength(),
                *window_inputs("the identity"),
            ],
            outputs=[io.Model.Output(tooltip="The model for the sampler. The model that came in stays as it was.")],
        )

    @classmethod
    def validate_inputs(cls, start_percent, end_percent):
        return inputs.window_or_problem("Apply Identity", "start_percent", start_percent, "end_percent", end_percent)

    @classmethod
    @inputs.checked
    def execute(cls, model, adapter, identity, weight, start_percent, end_percent, mask=None) -> io.NodeOutput:
        return io.NodeOutput(applying.add_to_model(model, adapter, identity, weight, start_percent, end_percent, mask))


class IdentityControlNet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IdentityControl",
            display_name="Identity ControlNet",
            category=CATEGORY,
            description="Places a person's face with InstantID's ControlNet, which sees face and keypoints, never the text.",
            search_aliases=[
                "instantid controlnet",
                "face controlnet",
                "IdentityNet",
                "apply instantid controlnet",
                "face keypoints",
            ],
            inputs=[
                io.Conditioning.Input("positive", tooltip="The prompt; from another Identity ControlNet for a second person."),
                io.Conditioning.Input("negative", tooltip="What to steer away from."),
                io.ControlNet.Input("control_net", tooltip="InstantID's ControlNet, from Load InstantID."),
                sockets.IdentityAdapter.Input("adapter", tooltip="From Load InstantID."),
                sockets.Identity.Input("identity", tooltip="The person, from Identity."),
                io.Image.Input(
                    "keypoints", tooltip="Where the face goes, from Identity or Face Keypoints; scaled to the picture."
                ),
                io.Float.Input(
                    "strength", default=0.8, min=0.0, max=10.0, step=0.01, tooltip="How strongly it acts. The authors use 0.8."
                ),
                *window_inputs("the ControlNet"),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="For the sampler; its face is the person's."),
                io.Conditioning.Output(display_name="negative", tooltip="For the sampler; its face is nobody's."),
            ],
        )

    @classmethod
    def validate_inputs(cls, start_percent, end_percent):
        return inputs.window_or_problem("Identity ControlNet", "start_percent", start_percent, "end_percent", end_percent)

    @classmethod
    @inputs.checked
    def execute(
        cls, positive, negative, control_net, adapter, identity, keypoints, strength, start_percent, end_percent, mask=None
    ) -> io.NodeOutput:
        return io.NodeOutput(
            *applying.add_control(
                positive, negative, control_net, adapter, identity, keypoints, strength, start_percent, end_percent, mask
            )
        )

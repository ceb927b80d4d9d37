"""The nodes that paint a scene of several concepts, in data-flow order.

In one node a concept: Load Scene Tools, Concept, Compose Scene. In parts: a chain of Concept Branch, one Concept Scene.
"""

from __future__ import annotations

from comfy_api.latest import io, ui

from ..concepts import choosing, detection, masks
from ..concepts.host import labelling
from ..concepts.places import Finish
from ..host import inputs, small_pictures, sockets
from ..identity import faces
from ..identity.host import face_analysis
from ..identity.host import files as identity_files
from ..identity.placement import Placement
from . import blending
from . import concept as described
from .branch import MOST_CONCEPTS, Branch, check_places
from .host import composing, loading
from .host.checks import is_joint
from .host.runs import Scene

CATEGORY = "Same Subject/Concepts"
MOST_PICTURES = 16
SHOWN = 512
"""Pixels of the longer side that a preview on a node has at least; smaller pictures are enlarged."""


def _own_guidance() -> list:
    """Inputs of a concept that has a scale of guidance and a share of the schedule of its own."""
    return [
        io.Float.Input(
            "cfg",
            default=0.0,
            min=0.0,
            max=100.0,
            step=0.1,
            optional=True,
            advanced=True,
            tooltip="How strongly its words count, in place of the sampler's cfg. 0 takes the sampler's.",
        ),
        inputs.share(
            "denoise",
            1.0,
            "In which last share of the schedule it paints. Before that the background paints its place, so that with the base "
            "picture's seed and less than 1 it keeps more of that picture.",
            optional=True,
            advanced=True,
        ),
    ]


class LoadSceneTools(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SceneToolsLoader",
            display_name="Load Scene Tools",
            category=CATEGORY,
            description="Loads all that a scene of several people needs beside its checkpoint. Any tool can be none. Nothing is "
            "downloaded.",
            search_aliases=["grounding dino", "segment anything", "instantid", "insightface", "scene loader", "two people"],
            inputs=[
                io.Combo.Input(
                    "detector",
                    options=loading.detectors(),
                    tooltip="Finds what a phrase names: a Grounding DINO in models/grounding-dino. None if every Concept has "
                    "a mask.",
                ),
                io.Combo.Input(
                    "segmenter",
                    options=loading.segmenters(),
                    tooltip="Cuts out what was found: a Segment Anything in models/sams. None for masks in the shape of boxes.",
                ),
                io.Combo.Input(
                    "adapter",
                    options=loading.adapters(),
                    tooltip="Paints a person's face: InstantID's `ip-adapter.bin` in models/instantid. None for scenes without "
                    "people.",
                ),
                io.Combo.Input(
                    "face_analysis",
                    options=[face_analysis.EXACT, face_analysis.ANY, loading.NONE],
                    tooltip="Recognises people: insightface's antelopev2 in models/insightface/models/antelopev2, as published "
                    "(hashes are checked) or any. None for scenes without people.",
                ),
                io.Combo.Input(
                    "control_net",
                    options=identity_files.control_names(),
                    tooltip="Places faces: InstantID's ControlNet in models/controlnet or models/instantid. None to go without.",
                ),
                io.Combo.Input(
                    "device",
                    options=[face_analysis.AUTO, face_analysis.CPU],
                    optional=True,
                    advanced=True,
                    tooltip="Where faces are analysed. Auto uses the GPU where onnxruntime-gpu is installed, else the CPU.",
                ),
            ],
            outputs=[sockets.SceneTools.Output(display_name="tools", tooltip="For Compose Scene.")],
        )

    @classmethod
    def validate_inputs(cls, detector, segmenter, adapter, face_analysis, control_net):
        chosen = (detector, segmenter, adapter, face_analysis, control_net)
        problem = loading.problems(dict(zip(loading.LOADERS, chosen, strict=True)))
        return inputs.Once(problem, "see the other message of Load Scene Tools") if problem else True

    @classmethod
    def fingerprint_inputs(cls, detector, segmenter, adapter, face_analysis, control_net, device=None):
        return (device, *loading.stamps(detector, segmenter, adapter, face_analysis, control_net))

    @classmethod
    @inputs.checked
    def execute(cls, detector, segmenter, adapter, face_analysis, control_net, device="auto") -> io.NodeOutput:
        return io.NodeOutput(loading.load(detector, segmenter, adapter, face_analysis, control_net, device))


class ConceptNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        picture = io.Image.Input("image", tooltip="A picture with the person's face, of any size, or a batch of one size.")
        return io.Schema(
            node_id="SceneConcept",
            display_name="Concept",
            category=CATEGORY,
            description="One person or thing of a scene: what finds it, what is painted, and who it is.",
            search_aliases=[
                "person",
                "character",
                "two people",
                "multiple people",
                "instantid",
                "multi concept",
                "consistent character",
            ],
            inputs=[
                io.String.Input(
                    "phrase",
                    default="a woman",
                    tooltip="What to find on the base picture, in plain words: a woman in red. Two Concepts with one phrase take "
                    "two instances, from left to right. With a mask it is a name only.",
                ),
                io.String.Input(
                    "prompt",
                    multiline=True,
                    default="",
                    tooltip="What is painted in its place. Empty: the words of the whole scene.",
                ),
                io.Autogrow.Input(
                    "images",
                    template=io.Autogrow.TemplatePrefix(picture, prefix="image", min=0, max=MOST_PICTURES),
                    tooltip="Pictures of the person, the largest face of each; embeddings are averaged. None for a thing, or for "
                    "whoever the words describe.",
                ),
                io.Float.Input(
                    "strength",
                    default=0.8,
                    min=-1.0,
                    max=5.0,
                    step=0.01,
                    tooltip="How much the face's attention counts next to the text's. The authors use 0.8.",
                ),
                io.Float.Input(
                    "control_strength",
                    default=0.8,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    tooltip="How strongly the face ControlNet acts, if the tools have one. 0 goes without, and needs no face in "
                    "the base picture.",
                ),
                inputs.share("start_percent", 0.0, "Share of the schedule at which the person begins to act.", advanced=True),
                inputs.share("end_percent", 1.0, "Share of the schedule at which the person stops acting.", advanced=True),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="White where it is, in the shape of the base picture; then it is not looked for. One for all base "
                    "pictures, or one each.",
                ),
                sockets.References.Input(
                    "subject",
                    optional=True,
                    tooltip="For a thing instead of a person: from Reference Pictures or Load Subject. Needs a prompt, and vae "
                    "of Compose Scene. Strength 1 is then as JeDi's recipe says.",
                ),
                io.Combo.Input(
                    "face",
                    options=list(faces.CHOICES),
                    default=faces.LARGEST,
                    optional=True,
                    advanced=True,
                    tooltip="Who it is where a picture has several faces: the largest, or one counted from the left, nearest to "
                    "a point, or counted by the detector's score.",
                ),
                io.Int.Input(
                    "number",
                    default=0,
                    min=0,
                    max=99,
                    optional=True,
                    advanced=True,
                    tooltip="Which face, when counted left to right or by score: 0 is face 1. Others ignore it.",
                ),
                *(
                    inputs.share(
                        name, 0.5, f"The point for nearest to point, as a share of the {side}.", optional=True, advanced=True
                    )
                    for name, side in (("x", "width: 0 = left, 1 = right"), ("y", "height: 0 = top, 1 = bottom"))
                ),
                io.String.Input(
                    "negative",
                    multiline=True,
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip="What to steer away from here. Empty: what the whole scene steers away from.",
                ),
                *_own_guidance(),
            ],
            outputs=[sockets.Concept.Output(display_name="concept", tooltip="For Compose Scene.")],
        )

    @classmethod
    def validate_inputs(cls, phrase, start_percent, end_percent, images=None):  # the host passes every group
        if problem := inputs.text_problem("Concept", "phrase", phrase):
            return problem
        try:
            described.normalised(phrase or "")
        except ValueError as problem:
            return str(problem)
        return inputs.window_or_problem("Concept", "start_percent", start_percent, "end_percent", end_percent)

    @classmethod
    @inputs.checked
    def execute(
        cls, phrase, prompt, strength, control_strength, start_percent, end_percent, images=None, mask=None, subject=(),
        face=faces.LARGEST, number=0, x=0.5, y=0.5, negative="", cfg=0.0, denoise=1.0,
    ) -> io.NodeOutput:  # fmt: skip
        pictures = tuple(picture for batch in (images or {}).values() if batch is not None for picture in batch)
        if mask is not None:
            mask = inputs.masks(mask, "Concept: `mask`")
            if not mask.any():
                raise ValueError("Concept: `mask` is black everywhere. White is where the concept is.")
        return io.NodeOutput(
            described.Concept(
                described.normalised(phrase), prompt, pictures, strength, control_strength, start_percent, end_percent, mask,
                subject, faces.Choice(face, number, x, y), negative, cfg or None, denoise,
            )
        )  # fmt: skip


class ComposeScene(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        concept = sockets.Concept.Input("concept", tooltip="From Concept; numbers on the preview follow this order.")
        return io.Schema(
            node_id="SceneCompose",
            display_name="Compose Scene",
            category=CATEGORY,
            description="Makes a model paint several people or things, each where the base picture has it: finds and masks them, "
            "recognises faces, places them, and blends all at every step.",
            search_aliases=[
                "two people",
                "multiple people",
                "two characters",
                "multi concept",
                "scene",
                "regional prompt",
                "omg",
            ],
            **small_pictures.COME_BACK,
            inputs=[
                io.Model.Input("model", tooltip="Paints the background, with the sampler's own prompt, and every concept."),
                io.Clip.Input("clip", tooltip="Reads the prompts of the concepts."),
                sockets.SceneTools.Input("tools", tooltip="From Load Scene Tools, or Load Demo Tools."),
                io.Image.Input(
                    "image",
                    tooltip="The base picture, painted from the scene's words alone: who is where. Paint the scene with the same "
                    "seed and size.",
                ),
                io.Conditioning.Input(
                    "positive", tooltip="The words of the whole scene, as the sampler has them; for Concepts without a prompt."
                ),
                io.Conditioning.Input(
                    "negative", tooltip="What to steer away from in every concept without a negative text of its own."
                ),
                io.Autogrow.Input(
                    "concepts",
                    template=io.Autogrow.TemplatePrefix(concept, prefix="concept", min=1, max=MOST_CONCEPTS),
                    tooltip="The people and things. Connect one and the next input appears.",
                ),
                io.Combo.Input(
                    "continue_from",
                    options=list(blending.CONTINUE_FROM),
                    default=blending.AUTO,
                    tooltip="What a concept's next step starts from. Own: its own latents, which keeps people apart best; euler "
                    "and ddim only. Blend: the blended picture. Auto: own where the sampler can follow it, else blend.",
                ),
                io.Int.Input(
                    "last_steps",
                    default=0,
                    min=0,
                    max=10000,
                    advanced=True,
                    tooltip="With own: in so many steps at the end the background goes on by itself. Auto does so in all.",
                ),
                io.Int.Input(
                    "grow",
                    default=8,
                    min=-256,
                    max=256,
                    tooltip="Pixels by which every mask grows before masks are shared out; negative shrinks it.",
                ),
                io.Float.Input(
                    "feather",
                    default=1.0,
                    min=0.0,
                    max=32.0,
                    step=0.1,
                    tooltip="How softly concepts blend into one another, in latent pixels. 0 = hard edges.",
                ),
                io.Combo.Input(
                    "overlaps",
                    options=list(masks.SHARE_OUTS),
                    advanced=True,
                    tooltip="Who keeps a pixel that several masks cover: the concept with the best score (a mask of yours counts "
                    "1), or the one whose box it is nearest to the middle of.",
                ),
                io.Combo.Input(
                    "order",
                    options=[one for one in choosing.ORDERS if one != choosing.NEAREST],
                    advanced=True,
                    tooltip="How the boxes of a phrase are put in order; the first one is chosen.",
                ),
                inputs.share("box_threshold", 0.35, "A box counts if the best word of its phrase scores more.", advanced=True),
                inputs.share("text_threshold", 0.25, "The best word must score more than this, too.", advanced=True),
                io.Combo.Input(
                    "if_missing",
                    options=list(choosing.MISSING),
                    tooltip="What to do about a concept that is not found: stop with an error, or leave it out.",
                ),
                io.Vae.Input(
                    "vae", optional=True, tooltip="Reads the pictures of subjects. Only Concepts with a subject need it."
                ),
            ],
            outputs=[
                io.Model.Output(tooltip="The model for the sampler. The model that came in stays as it was."),
                io.Image.Output(
                    display_name="preview", tooltip="The base picture with every concept's box, number from 1, phrase and score."
                ),
                sockets.Concepts.Output(display_name="places", tooltip="Where the concepts are, for Concept Scene."),
                io.Mask.Output(
                    display_name="masks",
                    tooltip="One mask a concept, in order, for the first picture and then for each further one.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, continue_from, concepts=None):  # the host passes every group
        return inputs.check_choice("Compose Scene", "continue_from", continue_from, blending.CONTINUE_FROM)

    @classmethod
    @inputs.checked
    def execute(
        cls, model, clip, tools, image, positive, negative, concepts, continue_from, last_steps, grow, feather, overlaps, order,
        box_threshold, text_threshold, if_missing, vae=None,
    ) -> io.NodeOutput:  # fmt: skip
        known = inputs.check_choice("Compose Scene", "continue_from", continue_from, blending.CONTINUE_FROM)
        if known is not True:  # another node gave it
            raise ValueError(known)
        numbered = sorted(concepts.items(), key=lambda item: int(item[0].removeprefix("concept")))
        settings = composing.Settings(
            choosing.Rule(order, missing=if_missing),
            detection.Thresholds(box_threshold, text_threshold),
            Finish(grow, overlaps, feather),
            continue_from,
            last_steps,
        )
        given = [one for _, one in numbered if one is not None]
        painter = composing.Painter(model, clip, vae, tools, positive, negative)
        found = composing.compose(painter, image, given, settings)
        preview, masks = labelling.labelled(found.boxes), found.concepts.masks.flatten(0, 1)
        seen = ui.PreviewImage(labelling.labelled(found.boxes, SHOWN), cls=cls)
        return io.NodeOutput(found.model, preview, found.concepts, masks, ui=seen)


class ConceptBranch(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptBranch",
            display_name="Concept Branch",
            category=CATEGORY,
            description="One concept of a scene: what paints it, and where. Chain one for each, then Concept Scene.",
            search_aliases=[
                "multi concept",
                "regional prompt",
                "attention couple",
                "latent couple",
                "two people",
                "several characters",
            ],
            inputs=[
                io.Conditioning.Input("positive", tooltip="The prompt for this concept, with its ControlNets if it has any."),
                io.Conditioning.Input("negative", tooltip="What to steer away from in this concept."),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="White where the concept is, of any size. Leave it unconnected if Concept Scene gets concepts. Where "
                    "masks meet, the one that comes first in the chain wins.",
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="A model of its own, for example from JeDi. Unconnected, or the scene's own model: all such branches "
                    "are painted in one batch, which is faster.",
                ),
                sockets.Set.Input(
                    "joint_set",
                    optional=True,
                    tooltip="With a model from JeDi: its joint set, of one picture to generate for each picture of the scene.",
                ),
                sockets.Branches.Input(
                    "previous", optional=True, tooltip="Concepts from another Concept Branch; they come first."
                ),
                sockets.IdentityAdapter.Input("adapter", optional=True, tooltip="With `identity`: from Load InstantID."),
                sockets.Identity.Input("identity", optional=True, tooltip="For a person: who it is, from Identity."),
                inputs.identity_strength(optional=True),
                inputs.share(
                    "start_percent",
                    0.0,
                    "With `identity`: share of the schedule at which it begins to act.",
                    optional=True,
                    advanced=True,
                ),
                inputs.share(
                    "end_percent",
                    1.0,
                    "With `identity`: share of the schedule at which it stops acting.",
                    optional=True,
                    advanced=True,
                ),
                io.Mask.Input(
                    "identity_mask",
                    optional=True,
                    tooltip="With `identity`: white where it acts inside the concept, such as the face alone. None: everywhere.",
                ),
                *_own_guidance(),
            ],
            outputs=[sockets.Branches.Output(display_name="branches", tooltip="For the next Concept Branch, or Concept Scene.")],
        )

    @classmethod
    def validate_inputs(cls, start_percent=None, end_percent=None):
        return inputs.window_or_problem("Concept Branch", "start_percent", start_percent, "end_percent", end_percent)

    @classmethod
    @inputs.checked
    def execute(
        cls, positive, negative, mask=None, model=None, joint_set=None, previous=(), adapter=None, identity=None, weight=0.8,
        start_percent=0.0, end_percent=1.0, identity_mask=None,
        cfg=0.0, denoise=1.0,
    ) -> io.NodeOutput:  # fmt: skip
        number = len(previous) + 1
        if number > MOST_CONCEPTS:
            raise ValueError(f"Concept Branch: {number} concepts are chained, but a scene takes at most {MOST_CONCEPTS}.")
        joint = model is not None and is_joint(model)
        if joint != (joint_set is not None):
            given, missing = ("`model` from JeDi", "`joint_set`") if joint else ("`joint_set`", "`model` from JeDi")
            raise ValueError(f"Concept Branch: concept {number} has a {given} but no {missing}. Connect both, or neither.")
        if mask is not None:
            mask = inputs.masks(mask, f"Concept Branch: the mask of concept {number}")
            if not mask.any():
                raise ValueError(
                    f"Concept Branch: the mask of concept {number} is black everywhere. White is where the concept is."
                )
        if (adapter is None) != (identity is None):
            given, missing = ("`adapter`", "`identity`") if identity is None else ("`identity`", "`adapter`")
            raise ValueError(f"Concept Branch: concept {number} has an {given} but no {missing}. Connect both, or neither.")
        if identity is None and identity_mask is not None:
            raise ValueError(
                f"Concept Branch: concept {number} has an `identity_mask` but no `identity`. Connect both, or neither; where the "
                "concept itself is goes to `mask`."
            )
        if identity_mask is not None:
            identity_mask = inputs.acting_mask(identity_mask, f"Concept Branch: the `identity_mask` of concept {number}")
        person = None
        if identity is not None:
            person = Placement(identity_files.project(adapter, identity), weight, identity_mask, start_percent, end_percent)
        return io.NodeOutput((*previous, Branch(positive, negative, model, mask, joint_set, person, cfg or None, denoise)))


class ConceptScene(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptScene",
            display_name="Concept Scene",
            category=CATEGORY,
            description="Makes a model paint several concepts, each in its place, by blending their latents at every step.",
            search_aliases=[
                "multi concept",
                "latent blending",
                "regional prompt",
                "scene",
                "composition",
                "attention couple",
                "omg",
            ],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="Paints the background, with the sampler's own prompt, and concepts without a model of their own.",
                ),
                sockets.Branches.Input("branches", tooltip="The concepts, from the last Concept Branch of a chain."),
                sockets.Concepts.Input(
                    "concepts",
                    optional=True,
                    tooltip="Where the concepts are, in the order of the chain. Leave it unconnected if every branch has a mask.",
                ),
                io.Combo.Input(
                    "continue_from",
                    options=list(blending.CONTINUE_FROM),
                    tooltip="What a concept's next step starts from. Blend: the blended picture; any sampler. Own: its own "
                    "latents, as the paper lists it, which keeps identities better; euler and ddim only. Auto: own, with "
                    "`last_steps` as many as the sampler's, where the sampler can follow it, else blend.",
                ),
                io.Int.Input(
                    "last_steps",
                    default=0,
                    min=0,
                    max=10000,
                    tooltip="With own: in so many steps at the end the background goes on by itself, before them from the "
                    "blended picture (S of the paper, which gives no value).",
                ),
                io.Float.Input(
                    "feather",
                    default=0.5,
                    min=0.0,
                    max=32.0,
                    step=0.1,
                    tooltip="How soft the edges of the branches' own masks are, in latent pixels (mostly 8 pixels each). "
                    "Concepts bring their own.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model for the sampler. The model that came in stays as it was.")],
        )

    @classmethod
    def validate_inputs(cls, continue_from):
        return inputs.check_choice("Concept Scene", "continue_from", continue_from, blending.CONTINUE_FROM)

    @classmethod
    @inputs.checked
    def execute(cls, model, branches, continue_from, last_steps, feather, concepts=None) -> io.NodeOutput:
        known = inputs.check_choice("Concept Scene", "continue_from", continue_from, blending.CONTINUE_FROM)
        if known is not True:  # another node gave it
            raise ValueError(known)
        check_places(branches, concepts)
        return io.NodeOutput(Scene(branches, concepts, continue_from, last_steps, feather).install(model))

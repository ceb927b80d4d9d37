"""The nodes of Subject-Diffusion: Load Subject Adapter, a chain of Subject, Subject Prompt, Apply Subjects."""

from __future__ import annotations

from comfy_api.latest import io, ui

from ..host import inputs, small_pictures, sockets
from ..joint.settings import LEVELS
from . import chain, places, settings
from .host import applying, files, loading, prompting

CATEGORY = "Same Subject/Subjects"


class LoadSubjectAdapter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SubjectAdapterLoader",
            display_name="Load Subject Adapter",
            category=CATEGORY,
            description="Loads what lets a checkpoint paint subjects as one picture of each shows them (Subject-Diffusion), and "
            "the text encoder that belongs to it. Nothing is downloaded.",
            search_aliases=["subject diffusion", "subject adapter", "ip-adapter", "reference image", "zero shot subject"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=files.names(),
                    tooltip="A file, or a folder of the authors' four, in models/subject_adapters. `demo` ships with the pack, "
                    "for the demo's model of scenes.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="The image encoder that the adapter was trained with: the authors use OpenCLIP's ViT-H/14. Leave it "
                    "empty for an adapter that brings its own, as the demo's does.",
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="The checkpoint's own text encoder. Needed for steps without subjects (`interpolation`), and for "
                    "adapters that hold only what differs from it.",
                ),
            ],
            outputs=[
                sockets.SubjectAdapter.Output(display_name="adapter", tooltip="For Subject and Subject Prompt."),
                io.Clip.Output(display_name="clip", tooltip="The text encoder that was trained with the adapter."),
                io.ClipVision.Output(
                    display_name="clip_vision",
                    tooltip="The image encoder that the adapter was trained with.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, file):
        try:
            if file is not None:  # None is what another node will give
                files.check(file)
        except ValueError as problem:
            return str(problem)
        return True

    @classmethod
    def fingerprint_inputs(cls, file, **_):
        return files.fingerprint(file)

    @classmethod
    @inputs.checked
    def execute(cls, file, clip_vision=None, clip=None) -> io.NodeOutput:
        adapter = loading.load(files.find(file), clip_vision, clip)
        return io.NodeOutput(adapter, adapter.clip, adapter.image_encoder)


class SubjectNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        def share(name: str, default: float, tooltip: str) -> io.Float.Input:
            return inputs.share(name, default, f"{tooltip} Used where `place` is box.")

        return io.Schema(
            node_id="SubjectPicture",
            display_name="Subject",
            category=CATEGORY,
            description="One thing or person to paint as a picture shows it: what it is, what of the picture is it, and where it "
            "goes. Chain one for each. The node shows what was cut out.",
            search_aliases=["subject diffusion", "reference image", "object", "cut out", "personalise", "customize"],
            inputs=[
                sockets.SubjectAdapter.Input("adapter", tooltip="From Load Subject Adapter."),
                io.Image.Input("image", tooltip="One picture that shows it."),
                io.String.Input("class_name", default="", tooltip="What it is, in a word or two: dog, teapot, woman."),
                io.Combo.Input(
                    "place",
                    options=list(places.KINDS),
                    tooltip="Where it goes. Box: x, y, width and height. Mask: what `where` covers. Found: what Find Concepts "
                    "found in another picture. Its own picture: where it stands there. Anywhere: where the seed says.",
                ),
                share("x", 0.25, "Left edge of its box, as a share of the picture's width."),
                share("y", 0.25, "Top edge of its box, as a share of the picture's height."),
                share("width", 0.5, "Width of its box, as a share of the picture's."),
                share("height", 0.5, "Height of its box, as a share of the picture's."),
                io.Int.Input(
                    "place_seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    tooltip="Chooses the place where `place` is anywhere.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="White on the subject in `image`, from Concept Masks or painted. Load Image gives one that is white "
                    "where a picture is transparent: put Invert Mask between. Without it the whole picture counts.",
                ),
                sockets.Subjects.Input("previous", optional=True, tooltip="The subjects before this one, from another Subject."),
                io.Mask.Input("where", optional=True, tooltip="White where the subject goes in the new picture."),
                sockets.Boxes.Input("boxes", optional=True, tooltip="From Find Concepts on a base picture."),
                io.Int.Input(
                    "concept",
                    default=1,
                    min=1,
                    max=64,
                    optional=True,
                    advanced=True,
                    tooltip="Which of the concepts in `boxes` it takes the place of, counted from 1.",
                ),
            ],
            outputs=[sockets.Subjects.Output(display_name="subjects", tooltip="For Subject Prompt and Apply Subjects.")],
            hidden=[io.Hidden.unique_id],
            **small_pictures.COME_BACK,
        )

    @classmethod
    def validate_inputs(cls, place, class_name, x, y, width, height):
        problem = _problem(place, class_name, (x, y, width, height))
        return inputs.Once(problem, "see the other message of Subject") if problem else True

    @classmethod
    @inputs.checked
    def execute(
        cls,
        adapter,
        image,
        class_name,
        place,
        x,
        y,
        width,
        height,
        place_seed,
        mask=None,
        previous=None,
        where=None,
        boxes=None,
        concept=1,
    ) -> io.NodeOutput:
        where = None if where is None else inputs.masks(where, "Subject: `where`")
        wanted = places.Wanted(place, x, y, width, height, place_seed, where, boxes, concept)
        subject, shown = applying.encode(adapter, image, mask, class_name, wanted.place())
        if previous is not None and previous.adapter is not adapter:
            raise ValueError(
                "Subject: `previous` was encoded for another adapter than `adapter`. Connect one Load Subject Adapter to all."
            )
        before = () if previous is None else previous.each
        preview = ui.PreviewImage(small_pictures.clear(shown)[None], cls=cls)
        return io.NodeOutput(chain.Subjects(adapter, (*before, subject)), ui=preview)


def _problem(place, class_name, box: tuple) -> str | None:
    """Why inputs of Subject cannot be; None if they may, or if another node will give them."""
    if isinstance(problem := inputs.check_choice("Subject", "place", place, places.KINDS), str):
        return problem
    if wrong := inputs.text_problem("Subject", "class_name", class_name):
        return wrong
    for name, value in zip(("x", "y", "width", "height"), box, strict=True):
        if wrong := inputs.share_problem("Subject", name, value, "picture"):
            return wrong
    try:
        if class_name is not None:
            chain.check_name(class_name)
        if place == places.BOX and None not in box:
            places.box(*box)
    except ValueError as refusal:
        return str(refusal)
    return None


class SubjectPrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SubjectPrompt",
            display_name="Subject Prompt",
            category=CATEGORY,
            description="Writes the text for a picture with subjects: each gets its clause, in which its picture stands for a "
            "word.",
            search_aliases=["subject diffusion", "clip text encode", "prompt", "conditioning", "fused text"],
            inputs=[
                sockets.SubjectAdapter.Input("adapter", tooltip="From Load Subject Adapter."),
                io.String.Input(
                    "text",
                    default="",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="What the picture shows. `, the dog is …` is added for each subject.",
                ),
                io.String.Input(
                    "negative",
                    default="",
                    multiline=True,
                    dynamic_prompts=True,
                    optional=True,
                    tooltip="What it shall not show. The authors leave it empty.",
                ),
                sockets.Subjects.Input("subjects", optional=True, tooltip="From the last Subject. Without it a plain prompt."),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="For the sampler."),
                io.Conditioning.Output(display_name="negative", tooltip="For the sampler."),
            ],
        )

    @classmethod
    @inputs.checked
    def execute(cls, adapter, text, negative="", subjects=None) -> io.NodeOutput:
        return io.NodeOutput(*prompting.prompts(adapter, subjects, text, negative))


class ApplySubjects(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SubjectApply",
            display_name="Apply Subjects",
            category=CATEGORY,
            description="Lets a model paint subjects in their places, in one picture and one call of the UNet a term.",
            search_aliases=["subject diffusion", "apply adapter", "multi subject", "zero shot", "attention control"],
            inputs=[
                io.Model.Input("model", tooltip="The checkpoint that the adapter is for."),
                sockets.Subjects.Input("subjects", tooltip="From the last Subject."),
                io.Float.Input(
                    "image_cfg",
                    default=1.5,
                    min=0.0,
                    max=30.0,
                    step=0.1,
                    tooltip="How strongly the subjects count; the sampler's cfg is how strongly the text does. The paper: 1.5, "
                    "and 3 for the text.",
                ),
                inputs.share(
                    "interpolation",
                    0.0,
                    "Last share of the schedule that the original model paints by the plain text, without subjects: 0 none, 1 "
                    "all. Between, a subject turns into what the words say.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=5.0,
                    step=0.05,
                    optional=True,
                    tooltip="β: how much the layers that look at the subjects' pictures add.",
                ),
                inputs.share(
                    "start_percent",
                    0.0,
                    "Share of the schedule at which these layers begin to act.",
                    optional=True,
                    advanced=True,
                ),
                inputs.share(
                    "end_percent", 1.0, "Share of the schedule at which they cease to act.", optional=True, advanced=True
                ),
                *(
                    io.Boolean.Input(
                        level, default=True, optional=True, advanced=True, tooltip=f"Whether they act at the {level} resolution."
                    )
                    for level in LEVELS
                ),
                io.Int.Input(
                    "control_steps",
                    default=0,
                    min=0,
                    max=1000,
                    optional=True,
                    advanced=True,
                    tooltip="In how many of the first steps the latents are moved so that the words for each subject are "
                    "attended to in its own place: for two that mix. 0 is off; about 10 is usual. Each such step takes about "
                    "three times as long.",
                ),
                io.Float.Input(
                    "control_scale",
                    default=20.0,
                    min=0.0,
                    max=10000.0,
                    step=1.0,
                    optional=True,
                    advanced=True,
                    tooltip="How far they are moved. It falls to half over these steps.",
                ),
                io.Float.Input(
                    "control_stop",
                    default=-1.0,
                    min=-1.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    advanced=True,
                    tooltip="At which value nothing more is moved: mean attention outside less that inside. -1 never stops.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="For the sampler.")],
        )

    @classmethod
    def validate_inputs(cls, start_percent=0.0, end_percent=1.0):
        return inputs.window_or_problem("Apply Subjects", "start_percent", start_percent, "end_percent", end_percent)

    @classmethod
    @inputs.checked
    def execute(
        cls,
        model,
        subjects,
        image_cfg,
        interpolation,
        strength=1.0,
        start_percent=0.0,
        end_percent=1.0,
        control_steps=0,
        control_scale=20.0,
        control_stop=-1.0,
        **levels,
    ) -> io.NodeOutput:
        chosen = frozenset(level for level in LEVELS if levels.get(level, True))
        steering = settings.Steering(control_steps, control_scale, control_stop)
        made = settings.Settings(image_cfg, strength, start_percent, end_percent, chosen, interpolation, steering)
        return io.NodeOutput(applying.apply(model, subjects, made))

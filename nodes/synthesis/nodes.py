"""The nodes that make sets to train on, in the order of algorithm 1; between them stand the host's own and the concept nodes."""

from __future__ import annotations

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..host import inputs, small_pictures, sockets
from . import asking, grouping, pasting, prompts
from .host import captioning, instances, saving

CATEGORY = "Same Subject/Training Data"
LISTS, LANGUAGE_MODEL = "lists", "language model"
MOST_INSTANCES = 16


def _seed(what: str) -> io.Int.Input:
    return io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=True, tooltip=what)


class SetPrompts(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S3Prompts",
            display_name="Set Prompts",
            category=CATEGORY,
            description="Writes what a collage of one subject shows and the scenes that its instances go into: the first step of "
            "making sets to train on.",
            search_aliases=["s3 dataset", "synthetic same subject", "training set", "data set prompts", "algorithm 1"],
            inputs=[
                _seed("Decides about all that is drawn: object, looks and scenes. The same seed gives the same prompts."),
                io.String.Input("subject", default="", tooltip="The object, such as teapot. Empty: one of 500 is drawn."),
                io.Int.Input(
                    "instances",
                    default=4,
                    min=grouping.LEAST,
                    max=MOST_INSTANCES,
                    tooltip="How many instances are looked for in the collage, at most, and how many scenes are written.",
                ),
                io.Combo.Input(
                    "texts",
                    options=[LISTS, LANGUAGE_MODEL],
                    tooltip="Where looks and scenes come from: lists that ship with the pack, or the language model whose "
                    f"address whoever started ComfyUI has set in the variable {asking.URL}. With lists, nothing is sent.",
                ),
                io.String.Input(
                    "description",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="What the object looks like, instead of the list: your own words, or those of Generate Text.",
                ),
                io.String.Input(
                    "scenes",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="Scenes to draw from, one a line, instead of the list. The word object in curly brackets stands for "
                    "the object with its article.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="collage", tooltip="The prompt of the collage: photos of the same thing."),
                io.String.Output(display_name="phrases", tooltip="The object, a line for each instance, for Find Concepts."),
                io.String.Output(display_name="scenes", tooltip="A scene for each instance, one a line, for Paste Instances."),
                io.String.Output(display_name="subject", tooltip="The object's name, for Group Instances."),
            ],
        )

    @classmethod
    @inputs.checked
    def execute(cls, seed, subject, instances, texts, description="", scenes="") -> io.NodeOutput:
        if (problem := inputs.check_choice("Set Prompts", "texts", texts, (LISTS, LANGUAGE_MODEL))) is not True:
            raise ValueError(problem)
        own = prompts.lines(scenes)
        if texts == LANGUAGE_MODEL:
            chosen = prompts.drawn(seed, instances, subject).subject
            try:
                looks, written = asking.texts(chosen, instances, seed)
            except asking.Unanswered as unanswered:
                raise ValueError(f"Set Prompts: {unanswered}") from unanswered
            subject, description, own = chosen, description or looks, own or written
        made = prompts.drawn(seed, instances, subject, description, own)
        return io.NodeOutput(made.collage, "\n".join([made.subject] * instances), "\n".join(made.scenes), made.subject)


class GroupInstances(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S3Group",
            display_name="Group Instances",
            category=CATEGORY,
            description="Finds which instances of a collage are one and the same subject by CLIP, and makes sets of these. "
            "Where there is no set, what follows is not run.",
            search_aliases=["s3 dataset", "clip similarity", "connected components", "same subject", "affinity"],
            is_output_node=True,
            **small_pictures.COME_BACK,
            inputs=[
                io.Image.Input("image", tooltip="The collage, or a batch of them."),
                io.Mask.Input("masks", tooltip="A mask for each instance, from Concept Masks; as many for every picture."),
                io.ClipVision.Input("clip_vision", tooltip="The image encoder that says how alike two instances are."),
                io.String.Input("subject", default="", tooltip="The object's name, which is saved with its sets."),
                io.Float.Input(
                    "affinity",
                    default=grouping.SAME,
                    min=-1.0,
                    max=1.0,
                    step=0.005,
                    tooltip="Two instances are one subject where the cosine of their embeddings is more than this. Paper: 0.95.",
                ),
                io.Int.Input(
                    "most",
                    default=grouping.MOST,
                    min=grouping.LEAST,
                    max=MOST_INSTANCES,
                    tooltip="Pictures of a set, at most: those that are most like the others stay. The paper's have 2 to 4.",
                ),
                inputs.share("least_size", 0.01, "Share of the collage that an instance covers at least; others are left out."),
            ],
            outputs=[sockets.InstanceSets.Output(display_name="sets", tooltip="For Paste Instances and Save Sets.")],
        )

    @classmethod
    @inputs.checked
    def execute(cls, image, masks, clip_vision, subject, affinity, most, least_size) -> io.NodeOutput:
        made = instances.group(image, masks, clip_vision, subject, affinity, most, least_size)
        shown = {"images": small_pictures.save(made.shown), "text": [made.said()], "counted": [made.counted()]}
        return io.NodeOutput(made.sets or ExecutionBlocker(None), ui=shown)


class PasteInstances(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S3Paste",
            display_name="Paste Instances",
            category=CATEGORY,
            description="Puts each instance at a random place of an empty picture, with a scene to paint around it, and decides "
            "which sets are stylised, and how. Its outputs are lists: what follows runs once an instance.",
            search_aliases=["s3 dataset", "random placement", "outpaint", "background augmentation", "inpaint mask"],
            inputs=[
                sockets.InstanceSets.Input("sets", tooltip="From Group Instances."),
                io.String.Input(
                    "scenes",
                    multiline=True,
                    default="",
                    tooltip="A scene a line, given out in turn: of Set Prompts, or your own.",
                ),
                _seed("Decides about places, sizes, noise and styles. The same seed gives the same."),
                io.Int.Input("width", default=1024, min=64, max=8192, step=8, tooltip="Of the pictures, in pixels."),
                io.Int.Input("height", default=1024, min=64, max=8192, step=8, tooltip="Of the pictures, in pixels."),
                inputs.share("smallest", 0.4, "Longer side of an instance, as a share of the picture's shorter side, at least."),
                inputs.share("largest", 0.7, "The same at most. No instance is made larger than it was in the collage."),
                inputs.share(
                    "stylised", 0.5, "Share of sets that are stylised, each in one style for all its pictures. Paper: 0.5."
                ),
                io.String.Input(
                    "styles",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="Instructions to draw from, one a line. Empty: 24 that ship with the pack.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="pictures", is_output_list=True, tooltip="Each instance on grey, in turn."),
                io.Mask.Output(display_name="masks", is_output_list=True, tooltip="For each, white where the scene is painted."),
                io.Mask.Output(display_name="kept", is_output_list=True, tooltip="For each, white where the instance is."),
                io.String.Output(display_name="prompts", is_output_list=True, tooltip="For each, its scene."),
                io.Int.Output(display_name="seeds", is_output_list=True, tooltip="For each, a seed for its sampler."),
                io.Boolean.Output(display_name="stylise", is_output_list=True, tooltip="For each, whether its set is stylised."),
                io.String.Output(
                    display_name="styles", is_output_list=True, tooltip="For each, the instruction to InstructPix2Pix; or empty."
                ),
            ],
        )

    @classmethod
    @inputs.checked
    def execute(
        cls, sets, scenes, seed, width, height, smallest, largest, stylised, styles=""
    ) -> io.NodeOutput:  # fmt: skip
        written = prompts.lines(scenes)
        if not written:
            raise ValueError("Paste Instances: `scenes` is empty, but needs a scene a line. Connect those of Set Prompts.")
        if smallest > largest or not largest:
            raise ValueError(
                f"Paste Instances: `smallest` is {smallest} and `largest` {largest}, but needs to be no more than that, which is "
                "more than 0. Exchange or raise them."
            )
        canvas = pasting.Canvas(width, height, smallest, largest)
        made = pasting.pasted(sets, written, prompts.lines(styles) or prompts.listed("styles"), stylised, canvas, seed)
        return io.NodeOutput(
            [one.picture[None] for one in made],
            [one.mask[None] for one in made],
            [1 - one.mask[None] for one in made],
            [one.scene for one in made],
            [one.seed for one in made],
            [bool(one.style) for one in made],
            [one.style for one in made],
        )


class CaptionPictures(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S3Caption",
            display_name="Caption Pictures",
            category=CATEGORY,
            description="Says what each picture shows, by BLIP-2 where you have its files, else by its prompt.",
            search_aliases=["blip2", "blip-2", "image to text", "describe picture", "s3 dataset"],
            is_input_list=True,
            inputs=[
                io.Image.Input("pictures", tooltip="The finished pictures."),
                io.Combo.Input(
                    "model",
                    options=captioning.names(),
                    tooltip="A published folder of BLIP-2 in models/blip2, or none: then captions are the prompts. Nothing is "
                    "downloaded.",
                ),
                io.String.Input("prompt", default="", force_input=True, tooltip="What each picture was painted from."),
            ],
            outputs=[
                io.String.Output(display_name="captions", is_output_list=True, tooltip="For each picture what it shows."),
            ],
        )

    @classmethod
    def validate_inputs(cls, model):
        try:
            for name in _values(model):
                captioning.find(name)
        except ValueError as problem:
            return str(problem)
        return True

    @classmethod
    def fingerprint_inputs(cls, model, **_):
        return tuple(captioning.stamps(folder) for name in _values(model) if (folder := captioning.find(name)))

    @classmethod
    @inputs.checked
    def execute(cls, pictures, model, prompt) -> io.NodeOutput:
        rows = _rows("Caption Pictures", pictures)
        folder = captioning.find(model[0])
        if folder is None:
            captioning.forget()
            if len(prompt) not in (1, len(rows)):
                raise ValueError(
                    f"Caption Pictures: `prompt` has {len(prompt)} texts for {len(rows)} pictures, but needs 1, or one a "
                    "picture. Connect the `prompts` of Paste Instances."
                )
            written = [" ".join(text.split()) for text in prompt]
            return io.NodeOutput(written if len(written) == len(rows) else written * len(rows))
        try:
            return io.NodeOutput(captioning.captions(folder, rows))
        except ValueError as problem:
            raise ValueError(f"Caption Pictures: {problem}") from problem


def _values(given) -> list:
    """What a node that takes lists is given before it runs; none is what another node will give."""
    return [value for value in (given if isinstance(given, list) else [given]) if value is not None]


def _rows(node: str, batches) -> list:
    """Pictures [H, W, 3] of a list of batches. Raises ValueError for NaN and infinity."""
    rows = [picture[..., :3] for batch in batches for picture in batch]
    for picture in rows:
        inputs.check_finite(picture, f"{node}: `pictures`")
    return rows


class SaveSets(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S3Save",
            display_name="Save Sets",
            category=CATEGORY,
            description="Writes finished sets into a WebDataset shard with captions, subject, affinity and style, for training.",
            search_aliases=["s3 dataset", "webdataset", "shard", "tar", "save training set", "export"],
            is_output_node=True,
            is_input_list=True,
            **small_pictures.COME_BACK,
            inputs=[
                sockets.InstanceSets.Input("sets", tooltip="From Group Instances: which pictures belong together."),
                io.Image.Input("pictures", tooltip="The finished pictures, one for each instance, in their order."),
                io.String.Input("captions", force_input=True, tooltip="What each picture shows, from Caption Pictures."),
                io.String.Input("filename_prefix", default="sets/s3", tooltip="Folder and beginning of the shard's name."),
                io.String.Input(
                    "name",
                    default="",
                    tooltip="End of the shard's name, and beginning of its sets'. Written again under the same name. Empty: "
                    "shards are counted, and sets named by what they hold.",
                ),
                io.Combo.Input("folder", options=[saving.OUTPUT, saving.TEMPORARY], tooltip="Where in ComfyUI it goes."),
                io.Combo.Input("format", options=list(saving.KINDS), tooltip="Of the pictures: png keeps them, jpg is smaller."),
                io.String.Input(
                    "styles", optional=True, force_input=True, tooltip="What each picture was stylised by, from Paste Instances."
                ),
            ],
            outputs=[],
        )

    @classmethod
    @inputs.checked
    def execute(cls, sets, pictures, captions, filename_prefix, name, folder, format, styles=None) -> io.NodeOutput:
        for given, choice, choices in (
            ("folder", folder[0], (saving.OUTPUT, saving.TEMPORARY)), ("format", format[0], saving.KINDS),
        ):  # fmt: skip
            if (problem := inputs.check_choice("Save Sets", given, choice, choices)) is not True:
                raise ValueError(problem)
        rows = _rows("Save Sets", pictures)
        made = saving.gathered(sets[0], rows, captions, styles or (), name[0])
        file = saving.save(made, filename_prefix[0], name[0], folder[0], format[0])
        return io.NodeOutput(ui={"sets": [file], "images": saving.strips(sets[0], rows)})

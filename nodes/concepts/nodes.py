"""The concept nodes, in data-flow order."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..host import inputs, small_pictures, sockets
from . import by_hand, choosing, detection, given, masks, phrases, places
from .host import corrections as painted
from .host import files, finding, grounding, labelling, segmenting, showing

CATEGORY = "Same Subject/Concepts"
MOST_MASKS = 64


class LoadGroundingDino(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptDetectorLoader",
            display_name="Load Grounding DINO",
            category=CATEGORY,
            description="Loads the detector that finds what a phrase names on a picture.",
            search_aliases=["grounding dino", "groundingdino", "open vocabulary detector", "phrase to box", "detector loader"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=files.detector_names(),
                    tooltip="An original .pth file, such as groundingdino_swint_ogc.pth, or a published folder, such as "
                    "grounding-dino-tiny, in models/grounding-dino. Nothing is downloaded.",
                ),
            ],
            outputs=[sockets.Detector.Output(display_name="detector", tooltip="For Find Concepts.")],
        )

    @classmethod
    def validate_inputs(cls, file):
        return _file_or_problem(files.DETECTORS, file)

    @classmethod
    def fingerprint_inputs(cls, file):
        return files.fingerprint(files.DETECTORS, file)

    @classmethod
    @inputs.checked
    def execute(cls, file) -> io.NodeOutput:
        return io.NodeOutput(grounding.load(files.find(files.DETECTORS, file)))


class LoadSegmentAnything(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptSegmenterLoader",
            display_name="Load Segment Anything",
            category=CATEGORY,
            description="Loads the network that cuts out what a box holds. Needs the Python package segment-anything.",
            search_aliases=["segment anything", "sam", "sam loader", "box to mask", "segmentation"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=files.segmenter_names(),
                    tooltip="An original .pth file (vit_b, vit_l or vit_h), such as sam_vit_b_01ec64.pth, in models/sams. "
                    "Nothing is downloaded.",
                ),
            ],
            outputs=[sockets.Segmenter.Output(display_name="segmenter", tooltip="For Concept Masks.")],
        )

    @classmethod
    def validate_inputs(cls, file):
        return _file_or_problem(files.SEGMENTERS, file, segmenting.missing_package())

    @classmethod
    def fingerprint_inputs(cls, file):
        return files.fingerprint(files.SEGMENTERS, file)

    @classmethod
    @inputs.checked
    def execute(cls, file) -> io.NodeOutput:
        return io.NodeOutput(segmenting.load(files.find(files.SEGMENTERS, file)))


def _file_or_problem(category: str, file: str | None, missing: str | None = None):
    """True, or all that keeps the queue from starting: ``missing``, and files. None is a name that another node will give."""
    problems = [missing] if missing else []
    try:
        if file is not None:
            files.check(category, file)
    except ValueError as problem:
        problems.append(str(problem))
    return " ".join(problems) or True


class FindConcepts(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptFind",
            display_name="Find Concepts",
            category=CATEGORY,
            description="Finds the concepts of a scene on a picture: one phrase a line, one instance a phrase.",
            search_aliases=["grounding dino", "phrase to box", "detect", "text to mask", "multi concept", "find person"],
            **small_pictures.COME_BACK,
            inputs=[
                sockets.Detector.Input("detector", tooltip="From Load Grounding DINO."),
                io.Image.Input("image", tooltip="The picture to search, or a batch; every picture is searched for every phrase."),
                io.String.Input(
                    "phrases",
                    multiline=True,
                    tooltip="One concept a line, in plain words: a woman in red. A phrase on two lines means two instances.",
                ),
                io.Combo.Input(
                    "order",
                    options=list(choosing.ORDERS),
                    tooltip="How the boxes of a phrase are put in order; the first one is chosen. Equal phrases take the first "
                    "ones and share them out from left to right.",
                ),
                io.Int.Input("index", default=0, min=0, max=63, tooltip="How many boxes of that order to pass over: 0 is box 1."),
                io.Float.Input(
                    "box_threshold",
                    default=0.35,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="A box counts if the best word of the phrase scores more than this on it. Lower finds more.",
                ),
                io.Float.Input(
                    "text_threshold",
                    default=0.25,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="The best word must score more than this, too. Of phrases whose best words score the same, the one "
                    "with more words above it gets the box.",
                ),
                io.Combo.Input(
                    "if_missing",
                    options=list(choosing.MISSING),
                    tooltip="What to do about a phrase with too few boxes: stop with an error, or go on with an empty concept.",
                ),
                io.Int.Input(
                    "x", default=0, min=0, max=16384, optional=True, advanced=True, tooltip="With nearest to point: its column."
                ),
                io.Int.Input(
                    "y", default=0, min=0, max=16384, optional=True, advanced=True, tooltip="With nearest to point: its row."
                ),
                io.Float.Input(
                    "duplicates",
                    default=0.7,
                    min=0.1,
                    max=1.0,
                    step=0.05,
                    optional=True,
                    advanced=True,
                    tooltip="Boxes of one phrase that overlap more than this (intersection over union) count as one.",
                ),
                sockets.Boxes.Input(
                    "previous", optional=True, tooltip="Concepts of the same picture from another Find Concepts; they come first."
                ),
                io.String.Input(
                    "chosen",
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip="Boxes that were chosen by a click on the node's picture, in place of order and index. Empty: none.",
                ),
            ],
            outputs=[
                sockets.Boxes.Output(display_name="boxes", tooltip="The concepts with their boxes, for Concept Masks."),
                io.BoundingBox.Output(
                    display_name="chosen", tooltip="For each picture the chosen boxes with scores, in the order of the concepts."
                ),
                io.BoundingBox.Output(
                    display_name="found", tooltip="For each picture every box of every concept, with scores, best first."
                ),
                io.Image.Output(
                    display_name="preview",
                    tooltip="The pictures with chosen boxes, the concepts' numbers from 1, phrases and scores.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, phrases, chosen=None):
        return _phrases_or_problem(phrases, chosen)

    @classmethod
    @inputs.checked
    def execute(
        cls, detector, image, phrases, order, index, box_threshold, text_threshold, if_missing, x=0, y=0, duplicates=0.7,
        previous=None, chosen="",
    ) -> io.NodeOutput:  # fmt: skip
        rule = choosing.Rule(order, index, (x, y), if_missing)
        thresholds = detection.Thresholds(box_threshold, text_threshold, duplicates)
        wanted = by_hand.read(chosen, by_hand.CHOSEN)
        result = finding.find(detector, image[..., :3], _split(phrases), rule, thresholds, wanted)
        shown = showing.candidates(result, 1 if previous is None else len(previous.phrases) + 1, chosen)
        if previous is not None:
            result = previous.join(result)
            for number, row in enumerate(result.chosen, 1):
                choosing.check_distinct(result.phrases, row, f"picture {number}")
        return io.NodeOutput(
            result,
            [_as_dicts(result.phrases, [[box] if box else [] for box in row]) for row in result.chosen],
            [_as_dicts(result.phrases, row) for row in result.found],
            labelling.labelled(result),
            ui=shown,
        )


_split = phrases.split


def _phrases_or_problem(text, chosen=None):
    """True, or why the queue must not start. None is a text that another node will give."""
    for name, value in {"phrases": text, "chosen": chosen}.items():
        if problem := inputs.text_problem("Find Concepts", name, value):
            return problem
    try:
        wanted = by_hand.read(chosen or "", by_hand.CHOSEN)
        if text is not None:
            by_hand.check(wanted, _split(text), by_hand.CHOSEN)
        return True
    except ValueError as problem:
        return str(problem)


def _as_dicts(names, row) -> list[dict]:
    """The host's bounding boxes of one picture; row: K sequences of boxes."""
    return [box.as_dict(name) for name, boxes in zip(names, row, strict=True) for box in boxes]


def _pipeline_inputs() -> list:
    return [
        io.Int.Input(
            "grow",
            default=8,
            min=-256,
            max=256,
            tooltip="Pixels by which every mask grows before masks are shared out; negative shrinks it.",
        ),
        io.Combo.Input(
            "overlaps",
            options=list(masks.SHARE_OUTS),
            tooltip="Who keeps a pixel that several masks cover: the concept with the best score, or the one whose box it is "
            "nearest to the middle of.",
        ),
        io.Float.Input(
            "feather",
            default=1.0,
            min=0.0,
            max=32.0,
            step=0.1,
            tooltip="How softly concepts blend into one another: the blur of blend weights, in latent pixels. 0 = hard edges.",
        ),
    ]


def _mask_outputs() -> list:
    return [
        sockets.Concepts.Output(display_name="concepts", tooltip="The concepts with their places, for what paints them."),
        io.Mask.Output(
            display_name="masks",
            tooltip="One mask a concept, in order, for the first picture and then for each further one. They do not overlap.",
        ),
        io.Mask.Output(display_name="background", tooltip="For each picture what no concept covers."),
        io.BoundingBox.Output(
            display_name="mask_boxes",
            tooltip="For each picture the boxes around the masks, in order, as ComfyUI's bounding boxes.",
        ),
    ]


def _masks_out(result: places.Concepts, shown: dict | None = None) -> io.NodeOutput:
    around = [_as_dicts(result.phrases, [[box] if box else [] for box in row]) for row in result.mask_boxes()]
    return io.NodeOutput(result, result.masks.flatten(0, 1), 1 - result.masks.sum(1), around, ui=shown)


class ConceptsFromBoxes(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptsFromBoxes",
            display_name="Concepts From Boxes",
            category=CATEGORY,
            description="Makes concepts of boxes that another node found or that you drew, without our detector.",
            search_aliases=["bounding box", "bbox", "boxes to concepts", "own boxes", "rt-detr", "sam3", "multi concept"],
            inputs=[
                io.Image.Input("image", tooltip="The picture that the boxes are about, or a batch."),
                io.BoundingBox.Input(
                    "bounding_boxes",
                    force_input=True,
                    tooltip="ComfyUI's bounding boxes: from Bounding Box, Create Bounding Boxes, RT-DETR Detect or SAM3 Detect.",
                ),
                io.String.Input(
                    "phrases",
                    multiline=True,
                    default="",
                    tooltip="One concept a line; the first boxes of the order are theirs. Empty: every box is a concept, called "
                    "by its label.",
                ),
                io.Combo.Input(
                    "order", options=list(given.ORDERS), tooltip="In what order the boxes go to the phrases: as given, or sorted."
                ),
                sockets.Boxes.Input(
                    "previous",
                    optional=True,
                    tooltip="Concepts of the same picture from Find Concepts or another Concepts From Boxes; they come first.",
                ),
            ],
            outputs=[
                sockets.Boxes.Output(display_name="boxes", tooltip="The concepts with their boxes, for Concept Masks."),
                io.Image.Output(
                    display_name="preview", tooltip="The pictures with the boxes, the concepts' numbers from 1, and phrases."
                ),
            ],
        )

    @classmethod
    @inputs.checked
    def execute(cls, image, bounding_boxes, phrases, order, previous=None) -> io.NodeOutput:
        first = 1 if previous is None else len(previous.phrases) + 1
        result = given.boxes(bounding_boxes, image[..., :3], _lines(phrases), order, first)
        if previous is not None:
            result = previous.join(result, given.NODE)
            for number, row in enumerate(result.chosen, 1):
                given.check_distinct(result.phrases, row, f"picture {number}")
        return io.NodeOutput(result, labelling.labelled(result))


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


class ConceptMasks(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ConceptMasks",
            display_name="Concept Masks",
            category=CATEGORY,
            description="Turns the boxes of concepts into masks that do not overlap, and into blend weights that sum to one.",
            search_aliases=["segment anything", "sam", "box to mask", "instance masks", "regional", "multi concept"],
            **small_pictures.COME_BACK,
            inputs=[
                sockets.Boxes.Input("boxes", tooltip="From Find Concepts or Concepts From Boxes; the pictures come with them."),
                *_pipeline_inputs(),
                sockets.Segmenter.Input(
                    "segmenter", optional=True, tooltip="From Load Segment Anything. Without it, masks are box-shaped."
                ),
                io.String.Input(
                    "corrections",
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip="What was painted on the node's picture: files in the input folder, red is added to a mask and blue "
                    "erased. Empty: none.",
                ),
            ],
            outputs=_mask_outputs(),
        )

    @classmethod
    def validate_inputs(cls, corrections=None):
        if problem := inputs.text_problem("Concept Masks", "corrections", corrections):
            return problem
        try:
            painted.fingerprint(by_hand.read(corrections or "", by_hand.CORRECTIONS))
            return True
        except ValueError as problem:
            return str(problem)

    @classmethod
    def fingerprint_inputs(cls, corrections=None, **others):
        try:
            return painted.fingerprint(by_hand.read(corrections or "", by_hand.CORRECTIONS))
        except ValueError:
            return corrections  # what is wrong with it is said by the node

    @classmethod
    @inputs.checked
    def execute(cls, boxes, grow, overlaps, feather, segmenter=None, corrections="") -> io.NodeOutput:
        mended = by_hand.read(corrections, by_hand.CORRECTIONS)
        finish = places.Finish(grow, overlaps, feather)
        result = finding.cut_out(boxes, finish, segmenter, painted=mended)
        return _masks_out(result, showing.masks(result, boxes.pictures, corrections))


class ConceptsFromMasks(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        mask = io.Mask.Input("mask", tooltip="White where the concept with the same position is; a batch counts as several.")
        return io.Schema(
            node_id="ConceptsFromMasks",
            display_name="Concepts From Masks",
            category=CATEGORY,
            description="Makes concepts of masks of your own, without a detector.",
            search_aliases=["own masks", "mask to concept", "regional", "painted masks", "multi concept"],
            inputs=[
                io.Autogrow.Input(
                    "masks",
                    template=io.Autogrow.TemplatePrefix(mask, prefix="mask", min=1, max=MOST_MASKS),
                    tooltip="One mask a concept, all of one size. Connect one and the next input appears.",
                ),
                io.String.Input(
                    "phrases",
                    multiline=True,
                    default="",
                    tooltip="What each mask shows, one line a mask, in their order. Used in messages; empty is allowed.",
                ),
                *_pipeline_inputs(),
            ],
            outputs=_mask_outputs(),
        )

    @classmethod
    @inputs.checked
    def execute(cls, masks, phrases, grow, overlaps, feather) -> io.NodeOutput:
        raw = _gather(masks)
        names = _lines(phrases)
        if names and len(names) != len(raw):
            raise ValueError(
                f"Concepts From Masks: `phrases` has {len(names)} lines for {len(raw)} masks. Write one line a mask, or none."
            )
        names = names or tuple(f"concept {number}" for number in range(1, len(raw) + 1))
        row = tuple(places.box_of(mask) for mask in raw)
        placed = places.place(raw, row, names, places.Finish(grow, overlaps, feather), "Concepts From Masks:")
        return _masks_out(places.Concepts(names, (row,), placed[None], feather))


def _gather(given: dict) -> torch.Tensor:
    """The masks of an Autogrow input as one batch [K, H, W]. Raises unless there are some, of one size."""
    batches = [mask.reshape(-1, *mask.shape[-2:]) for mask in given.values() if mask is not None]
    sizes = {tuple(batch.shape[-2:]) for batch in batches}
    if len(sizes) != 1:
        found = " and ".join(f"{width}x{height}" for height, width in sorted(sizes)) or "none"
        raise ValueError(f"Concepts From Masks: `masks` needs masks of one size, but has {found}. Resize them.")
    masks = torch.cat(batches)
    if not len(masks):
        raise ValueError(
            "Concepts From Masks: `masks` holds no mask, but needs at least 1. The node before it found nothing: look for "
            "something else, or lower its threshold."
        )
    for number, mask in enumerate(masks, 1):
        inputs.check_finite(mask, f"Concepts From Masks: mask {number}")
    return masks

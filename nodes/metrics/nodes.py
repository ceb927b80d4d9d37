"""The nodes that score pictures of a subject, and those that choose by it."""

from __future__ import annotations

import math

import torch
from comfy_api.latest import io, ui

from ..host import inputs, small_pictures, sockets, speaking
from ..joint import prompts, references
from . import choosing, similarity
from .host import encoders, files, nearest, scoring

CATEGORY = "Same Subject/Scores"
MOST = 4096


class LoadScoreModels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ScoreModelsLoader",
            display_name="Load Score Models",
            category=CATEGORY,
            description="Loads CLIP and DINO, with which the papers measure how well a picture keeps its subject.",
            search_aliases=["clip score", "dino score", "metrics", "load clip vit-b/32", "load dino vits16", "evaluation"],
            inputs=[
                io.Combo.Input(
                    "clip",
                    options=files.names(files.CLIP),
                    tooltip="A published folder in models/scores: clip-vit-base-patch32 in the papers. Nothing is downloaded.",
                ),
                io.Combo.Input(
                    "dino",
                    options=files.names(files.DINO),
                    tooltip="A published folder in models/scores: dino-vits16 in the papers. Nothing is downloaded.",
                ),
            ],
            outputs=[sockets.ScoreModels.Output(display_name="models", tooltip="For Score Subject and Nearest References.")],
        )

    @classmethod
    def validate_inputs(cls, clip, dino):
        try:
            for kind, name in ((files.CLIP, clip), (files.DINO, dino)):
                if name not in (None, files.NONE):
                    files.find(kind, name)
        except ValueError as problem:
            return str(problem)
        return True

    @classmethod
    def fingerprint_inputs(cls, clip, dino):
        chosen = ((files.CLIP, clip), (files.DINO, dino))
        return tuple(files.stamps(files.find(kind, name)) for kind, name in chosen if name not in (None, files.NONE))

    @classmethod
    @inputs.checked
    def execute(cls, clip, dino) -> io.NodeOutput:
        return io.NodeOutput(encoders.load(clip, dino))


class ScoreSubject(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        score = {
            "clip_t": "How well the pictures follow the prompt: cosine of CLIP's embeddings, the mean of all pictures.",
            "clip_i": "How alike pictures and references are to CLIP: mean cosine over all pairs.",
            "mclip_i": "The same on pictures and references without their backgrounds.",
            "dino": "How alike they are to DINO, which tells subjects of one class apart: mean cosine over all pairs.",
            "mdino": "The same on pictures and references without their backgrounds.",
        }
        return io.Schema(
            node_id="ScoreSubject",
            display_name="Score Subject",
            category=CATEGORY,
            description="Measures how well pictures keep a subject and follow a prompt: CLIP-T, CLIP-I, MCLIP-I, DINO, MDINO.",
            search_aliases=["clip-i", "clip-t", "mdino", "dreambench", "similarity", "evaluate", "subject fidelity", "metrics"],
            inputs=[
                sockets.ScoreModels.Input("models", tooltip="From Load Score Models."),
                io.Image.Input("image", tooltip="The picture to score, or a batch."),
                sockets.References.Input(
                    "references",
                    optional=True,
                    tooltip="Pictures of the subject. With masks and keep_background, masked and whole scores can both be had.",
                ),
                io.String.Input(
                    "prompt",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="What the pictures shall show: one line for all, or one a picture. Empty leaves CLIP-T out.",
                ),
                io.Mask.Input(
                    "masks",
                    optional=True,
                    tooltip="White where the subject is on each picture, for MCLIP-I and MDINO; one for all or one a picture.",
                ),
                io.Combo.Input(
                    "background",
                    options=list(references.BACKGROUNDS),
                    default="white",
                    optional=True,
                    advanced=True,
                    tooltip="What MCLIP-I and MDINO show in place of backgrounds. The papers do not say; figures of different "
                    "colours do not compare.",
                ),
            ],
            outputs=[
                *(io.Float.Output(display_name=name, tooltip=score[name]) for name in similarity.NAMES),
                sockets.Scores.Output(display_name="scores", tooltip="Those of each picture, for Best Of."),
                io.String.Output(display_name="text", tooltip="All of them in words, and what could not be measured."),
            ],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, prompt=""):
        return inputs.text_problem(scoring.NODE, "prompt", prompt) or True

    @classmethod
    @inputs.checked
    def execute(cls, models, image, references=(), prompt="", masks=None, background="white") -> io.NodeOutput:
        texts = prompts.split_prompts(prompt) if prompt.strip() else []
        given = [] if masks is None else list(inputs.masks(masks, f"{scoring.NODE}: `masks`"))
        if not references and not texts:
            raise ValueError(
                f"{scoring.NODE}: neither `references` nor `prompt` is given, but one is needed. Connect or type one."
            )
        measured = scoring.score(models, _pictures(scoring.NODE, image), references, texts, given, background)
        mean, said = similarity.mean(measured.scores), measured.text()
        outputs = (_or_why(similarity.TITLES[name], getattr(mean, name)) for name in similarity.NAMES)
        return io.NodeOutput(*outputs, measured.scores, said, ui=ui.PreviewText(said))


def _pictures(node: str, image: torch.Tensor) -> list[torch.Tensor]:
    """The pictures of a batch as [H, W, 3] each. Raises, in the name of ``node``, for what is no picture."""
    with speaking.said_by(node, ("Reference Pictures",), lambda said: said.replace("`images`", "`image`")):
        return [picture[..., :3].expand(-1, -1, 3) for picture in references.unbatch_pictures([image])]


def _or_why(title: str, value: float | None):
    """A score, or what stops the nodes that would read one that was not measured."""
    from comfy_execution.graph_utils import ExecutionBlocker

    if value is not None:
        return value
    return ExecutionBlocker(
        f"{scoring.NODE}: {title} was not measured, but a node needs it. CLIP-T needs a prompt, the others references, MCLIP-I "
        "and MDINO masks of pictures and references, too, and each its network in Load Score Models. Give these, or disconnect."
    )


class BestOf(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        defaults = {"clip_t": 1.0, "dino": 1.0}
        return io.Schema(
            node_id="ScoreBestOf",
            display_name="Best Of",
            category=CATEGORY,
            description="Keeps the best pictures of a batch by their scores, in the mix that you choose.",
            search_aliases=["best of n", "pick best", "rank pictures", "sort by score", "filter batch", "clip score"],
            inputs=[
                io.Image.Input("image", tooltip="The batch that was scored."),
                sockets.Scores.Input("scores", tooltip="From Score Subject, of the same pictures."),
                io.Int.Input("keep", default=1, min=1, max=MOST, tooltip="How many pictures to keep, the best first."),
                *(
                    io.Float.Input(
                        name,
                        default=defaults.get(name, 0.0),
                        min=0.0,
                        max=100.0,
                        step=0.05,
                        tooltip=f"How much {similarity.TITLES[name]} counts, in its own spread over the batch. 0: not at all.",
                    )
                    for name in similarity.NAMES
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The pictures that were kept, the best first."),
                sockets.Scores.Output(display_name="scores", tooltip="Theirs."),
                io.String.Output(display_name="numbers", tooltip="Which pictures of the batch they are, counted from 1: 3, 1."),
            ],
            **small_pictures.COME_BACK,
        )

    @classmethod
    @inputs.checked
    def execute(cls, image, scores, keep, **weights) -> io.NodeOutput:
        if len(scores) != len(image):
            raise ValueError(
                f"Best Of: `scores` are of {len(scores)} pictures, but `image` has {len(image)}. Connect the batch "
                "that was scored."
            )
        wrong = [name for name, weight in weights.items() if not 0 <= weight < math.inf]
        if keep < 1 or wrong:
            name, value = (wrong[0], weights[wrong[0]]) if wrong else ("keep", keep)
            raise ValueError(f"Best Of: `{name}` is {value}, but needs to be {0 if wrong else 1} or more. Type such a number.")
        try:
            best = choosing.best(scores, weights, keep)
        except ValueError as problem:
            raise ValueError(f"Best Of: {problem}.") from problem
        places = [place for place, _ in best]
        lines = [f"{place + 1} ({mixed:+.2f}): {similarity.line(scores[place])}" for place, mixed in best]
        numbers = ", ".join(str(place + 1) for place in places)
        shown = {"text": ("\n".join(lines),), "images": small_pictures.save([image[place] for place in places])}
        return io.NodeOutput(image[places], tuple(scores[place] for place in places), numbers, ui=shown)


class NearestReferences(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="NearestReferences",
            display_name="Nearest References",
            category=CATEGORY,
            description="Takes from hundreds of pictures of one subject those that are nearest to the prompt, as references.",
            search_aliases=[
                "retrieve references",
                "many pictures",
                "folder of pictures",
                "database",
                "clip search",
                "jedi",
                "rag",
            ],
            inputs=[
                sockets.ScoreModels.Input("models", tooltip="From Load Score Models, with CLIP."),
                io.Combo.Input(
                    "folder",
                    options=nearest.folders(),
                    tooltip="A folder in ComfyUI's input folder with pictures of one subject. Each is looked at once and "
                    "remembered; a text file of the same name is its caption.",
                ),
                io.String.Input("prompt", multiline=True, default="", tooltip="What shall be painted, in a sentence."),
                io.Int.Input("count", default=3, min=1, max=16, tooltip="How many references to take."),
                inputs.share(
                    "diversity",
                    0.0,
                    "0 takes the nearest, however alike; more passes over pictures like those already taken.",
                    step=0.05,
                ),
                io.Image.Input("image", optional=True, tooltip="A batch of pictures in place of a folder, which is then none."),
                io.String.Input(
                    "caption", default="", optional=True, tooltip="The caption of pictures without a text file of their own."
                ),
                io.Combo.Input(
                    "fit",
                    options=list(references.FITS),
                    optional=True,
                    tooltip="How a picture gets the set's size: crop cuts its edges, pad adds background, stretch distorts it.",
                ),
                io.Combo.Input(
                    "background",
                    options=list(references.BACKGROUNDS),
                    optional=True,
                    advanced=True,
                    tooltip="What is shown around padded pictures.",
                ),
                sockets.References.Input("previous", optional=True, tooltip="More references, which come first."),
            ],
            outputs=[
                sockets.References.Output(
                    display_name="references", tooltip="The nearest pictures, for Joint Set or previous of Reference Pictures."
                ),
                io.String.Output(display_name="names", tooltip="Their names, one a line, the nearest first."),
                io.String.Output(display_name="text", tooltip="What was found and what was left out, in words."),
            ],
            **small_pictures.COME_BACK,
        )

    @classmethod
    def validate_inputs(cls, folder, prompt, diversity=None, caption=None):
        problem = inputs.share_problem(nearest.NODE, "diversity", diversity, "choice")
        for name, value in (("prompt", prompt), ("caption", caption)):
            problem = problem or inputs.text_problem(nearest.NODE, name, value)
        try:
            if folder is not None:
                nearest.folder_of(folder)
        except ValueError as wrong:
            return str(wrong)
        return problem or True

    @classmethod
    def fingerprint_inputs(cls, folder, **_):
        return None if folder is None else nearest.stamps(folder)

    @classmethod
    @inputs.checked
    def execute(
        cls, models, folder, prompt, count, diversity, image=None, caption="", fit="crop", background="grey", previous=()
    ) -> io.NodeOutput:
        batch = [] if image is None else _pictures(nearest.NODE, image)
        found = nearest.find(models, nearest.folder_of(folder), batch, prompt, count, diversity, caption, fit, background)
        small = [small_pictures.small(one.picture, 192) for one in found.references]
        shown = {"text": (found.said,), "images": small_pictures.save(small)}
        return io.NodeOutput((*previous, *found.references), "\n".join(found.names), found.said, ui=shown)

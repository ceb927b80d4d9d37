"""The JeDi nodes, in data-flow order."""

from __future__ import annotations

from dataclasses import replace

import torch
from comfy_api.latest import io, ui

from ..host import inputs, small_pictures, sockets, weights
from . import correspondence, guidance, layout, ordering, picking, places, prompts, recording, references, settings, starting
from .host import sets as joint_sets
from .host import showing, subject_files, viewing

CATEGORY = "Same Subject/JeDi"
MOST_REFERENCES = 16


def _strength(name: str, **more) -> io.Float.Input:
    """How often references count: 0 leaves them out, 1 is as they are."""
    return io.Float.Input(name, default=1.0, min=0.0, max=20.0, step=0.05, **more)


class ReferencePictures(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        picture = io.Image.Input("image", tooltip="A picture of the subject, of any size, or a batch of pictures of one size.")
        mask = io.Mask.Input("mask", optional=True, tooltip="White where the subject of the picture with the same position is.")
        return io.Schema(
            node_id="JediReferences",
            display_name="Reference Pictures",
            category=CATEGORY,
            description="Gathers pictures of one subject, each with its caption.",
            search_aliases=[
                "jedi references",
                "subject pictures",
                "reference images",
                "same subject",
                "ip adapter",
                "dreambooth",
            ],
            inputs=[
                io.Autogrow.Input(
                    "images",
                    template=io.Autogrow.TemplatePrefix(picture, prefix="image", min=1, max=MOST_REFERENCES),
                    tooltip="Pictures of one subject. Connect one and the next input appears; batches count as several.",
                ),
                io.String.Input(
                    "captions",
                    multiline=True,
                    default="",
                    tooltip="What each picture shows, one line a picture, in their order. A single line serves all; "
                    "empty is allowed.",
                ),
                io.Combo.Input(
                    "fit",
                    options=list(references.FITS),
                    tooltip="How a picture gets the set's size: crop cuts its edges, pad adds background, stretch distorts it.",
                ),
                io.Combo.Input(
                    "background",
                    options=list(references.BACKGROUNDS),
                    tooltip="What is shown where a mask blanks the background, and around padded pictures.",
                ),
                io.Autogrow.Input(
                    "masks",
                    template=io.Autogrow.TemplatePrefix(mask, prefix="mask", min=0, max=MOST_REFERENCES),
                    optional=True,
                    tooltip="White = subject; the rest is blanked. None, one for all, or one a picture. Any size. "
                    "Transparency in a picture works too.",
                ),
                io.Boolean.Input(
                    "invert_masks",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Switch on for masks that are white on the background, such as the one Load Image makes "
                    "of transparency.",
                ),
                sockets.References.Input(
                    "previous",
                    optional=True,
                    tooltip="More pictures, of this subject or another, from another Reference Pictures node; they come first.",
                ),
                io.Boolean.Input(
                    "keep_background",
                    default=False,
                    optional=True,
                    tooltip="Leave the background in the pictures; masks then only say what others see of them, with "
                    "subject_masks of JeDi Options or the recipe auto of JeDi.",
                ),
                io.String.Input(
                    "subject",
                    default="",
                    optional=True,
                    tooltip="The word of the captions that names the subject, such as dog; for masks that the model finds. "
                    "Empty takes the caption's noun.",
                ),
                _strength(
                    "strength",
                    optional=True,
                    tooltip="How often these pictures count where others attend to them: 0 leaves them out, 1 is as they are.",
                ),
                io.Mask.Input(
                    "where",
                    optional=True,
                    tooltip="White on the part of the generated pictures where this subject is: one mask for all, or one a "
                    "picture. With it, two subjects share a set, each in its place.",
                ),
                io.Combo.Input(
                    "place",
                    options=list(places.PLACES),
                    default=places.AS_GIVEN,
                    optional=True,
                    tooltip="Where this subject is in the generated pictures: as given by where, or found while sampling by its "
                    "word, which every prompt then needs to hold.",
                ),
                io.String.Input(
                    "order",
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip="The order of the pictures, counted from 1 as they are connected, such as 2, 1, 3; captions and "
                    "masks go with them. Dragging the rows in the node writes it. Empty is as connected.",
                ),
            ],
            outputs=[
                sockets.References.Output(display_name="references", tooltip="The pictures with their captions, for Joint Set.")
            ],
            **small_pictures.COME_BACK,
        )

    @classmethod
    def validate_inputs(cls, order="", images=None, masks=None):  # the host passes every group
        if problem := inputs.text_problem("Reference Pictures", "order", order):
            return problem
        try:
            ordering.parse_order(order or "")
        except ValueError as problem:
            return str(problem)
        return True

    @classmethod
    @inputs.checked
    def execute(
        cls,
        images,
        captions,
        fit,
        background,
        masks=None,
        invert_masks=False,
        previous=(),
        keep_background=False,
        subject="",
        strength=1.0,
        where=None,
        place=places.AS_GIVEN,
        order="",
    ) -> io.NodeOutput:
        pictures = references.unbatch_pictures(batch for batch in images.values() if batch is not None)
        given = references.unbatch_masks(batch for batch in (masks or {}).values() if batch is not None)
        given = [1 - mask for mask in given] if invert_masks else given
        captions = prompts.split_captions(captions, len(pictures))
        acting = references.unbatch_masks([] if where is None else [where], "where")
        by_word = place == places.BY_WORD
        gathered = references.gather(
            pictures, given, captions, fit, background, keep_background, subject.strip(), strength, acting, by_word
        )
        gathered = tuple(ordering.ordered(gathered, order))
        return io.NodeOutput((*previous, *gathered), ui=showing.of_references(gathered, len(previous), order))


class SaveSubject(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JediSaveSubject",
            display_name="Save Subject",
            category=CATEGORY,
            description="Saves reference pictures, with captions, masks and strengths, as one file in models/subjects.",
            search_aliases=[
                "jedi save",
                "save references",
                "save character",
                "store subject",
                "export subject",
                "subject library",
            ],
            inputs=[
                sockets.References.Input("references", tooltip="Pictures of the subject, from Reference Pictures."),
                io.String.Input(
                    "name",
                    default="subject",
                    tooltip="What the file's name begins with; a number follows, so that no file is ever overwritten. "
                    "May begin with a folder: dogs/rex.",
                ),
            ],
            outputs=[sockets.References.Output(display_name="references", tooltip="The same pictures, for Joint Set.")],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, name):
        return subject_files.name_problem(name) or True

    @classmethod
    @inputs.checked
    def execute(cls, references, name) -> io.NodeOutput:
        subject_files.save(references, name)
        return io.NodeOutput(references, ui=_seen(references, cls))


class LoadSubject(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JediLoadSubject",
            display_name="Load Subject",
            category=CATEGORY,
            description="Loads reference pictures that Save Subject wrote, for any model.",
            search_aliases=[
                "jedi load",
                "load references",
                "load character",
                "saved subject",
                "subject library",
                "import subject",
            ],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=subject_files.names(),
                    tooltip="A file in models/subjects, yours or a friend's. Its pictures do not depend on a model.",
                ),
                _strength(
                    "strength",
                    tooltip="Multiplies the strengths that the pictures were saved with: 0 leaves them out, 1 is as saved.",
                ),
                sockets.References.Input(
                    "previous", optional=True, tooltip="More pictures, of this subject or another; they come first."
                ),
            ],
            outputs=[
                sockets.References.Output(display_name="references", tooltip="The pictures with their captions, for Joint Set.")
            ],
        )

    @classmethod
    def validate_inputs(cls, file):
        try:
            if file is not None:
                subject_files.check(file)
        except ValueError as problem:
            return str(problem)
        return True

    @classmethod
    def fingerprint_inputs(cls, file, **_):
        return weights.stamps(subject_files.find(file))

    @classmethod
    @inputs.checked
    def execute(cls, file, strength, previous=()) -> io.NodeOutput:
        loaded = subject_files.read(subject_files.find(file))
        stronger = tuple(replace(one, strength=one.strength * strength) for one in loaded)
        return io.NodeOutput((*previous, *stronger), ui=_seen(loaded, cls))


def _seen(shown: tuple[references.Reference, ...], node: type[io.ComfyNode]) -> ui.PreviewImage:
    """References as a node shows them, small and whole."""
    side = subject_files.SIDE
    return ui.PreviewImage(torch.stack([replace(one, fit="pad").fitted(side, side) for one in shown]), cls=node)


class JointSetNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JediJointSet",
            display_name="Joint Set",
            category=CATEGORY,
            description="Makes a set of reference pictures and pictures to generate, each with its own prompt.",
            search_aliases=["jedi set", "joint image", "same subject", "story", "consistent character", "batch prompts"],
            inputs=[
                io.Clip.Input("clip", tooltip="The text encoder that belongs to the model."),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model; it encodes the references."),
                sockets.References.Input("references", tooltip="Pictures of the subject, from Reference Pictures."),
                io.String.Input(
                    "prompts",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="One prompt a line, one line a picture to generate; a single prompt serves all pictures. "
                    "For prompts of several "
                    "lines put a line with only --- between or after them.",
                ),
                io.String.Input(
                    "negative",
                    multiline=True,
                    dynamic_prompts=True,
                    default="",
                    tooltip="What to steer away from, for every picture of the set. Usually empty.",
                ),
                io.Int.Input(
                    "pictures",
                    default=0,
                    min=0,
                    max=layout.MOST_PICTURES,
                    tooltip="Pictures to generate in a set; 0 means one for each prompt. They see each other, so they "
                    "show one subject.",
                ),
                io.Int.Input(
                    "sets",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="How many sets to make of the same references and prompts, with different noise. Sets do "
                    "not see each other.",
                ),
                io.Int.Input(
                    "width",
                    default=0,
                    min=0,
                    max=8192,
                    step=8,
                    tooltip="Width in pixels of every picture of the set; 0 takes the first reference's, scaled down with its "
                    "aspect to the size that the model was made for.",
                ),
                io.Int.Input(
                    "height",
                    default=0,
                    min=0,
                    max=8192,
                    step=8,
                    tooltip="Height in pixels of every picture of the set; 0 takes the first reference's, scaled down with its "
                    "aspect to the size that the model was made for.",
                ),
                io.Int.Input(
                    "reference_seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    advanced=True,
                    tooltip="Seed of the noise that the references are shown with. The pictures' own noise comes from "
                    "the sampler's seed.",
                ),
                io.Latent.Input(
                    "start",
                    optional=True,
                    tooltip="Pictures to begin from, for a second pass or image to image with a denoise below 1: what a sampler "
                    "made of an earlier set, resized or not. Width and height 0 follow it.",
                ),
                io.String.Input(
                    "redo",
                    default="",
                    optional=True,
                    tooltip="With start: which pictures to make again, such as 2, 4-5, counted from 1 through all sets. The rest "
                    "stay exactly as they are, and the new ones see them. Empty makes all.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="positive", tooltip="Prompts and captions, one row a picture; for the sampler."
                ),
                io.Conditioning.Output(
                    display_name="negative", tooltip="The negative prompt at the same length; for the sampler."
                ),
                io.Latent.Output(
                    display_name="latent", tooltip="The batch to denoise: pictures to generate, then references; for the sampler."
                ),
                sockets.Set.Output(display_name="joint_set", tooltip="What is where in the batch; for JeDi and Pick Pictures."),
            ],
            **small_pictures.COME_BACK,
        )

    @classmethod
    def validate_inputs(cls, prompts, pictures, redo=""):
        known = _prompts_or_problem(prompts, pictures)
        return _redo_or_problem(redo) if known is True else known

    @classmethod
    @inputs.checked
    def execute(
        cls,
        clip,
        vae,
        references,
        prompts,
        negative,
        pictures,
        sets,
        width,
        height,
        reference_seed,
        start=None,
        redo="",
    ) -> io.NodeOutput:
        texts = _split(prompts, pictures)
        made = joint_sets.prepare(clip, vae, references, texts, negative, sets, width, height, reference_seed, start, redo)
        shown = showing.of_set(made, texts, references)
        return io.NodeOutput(made.positive, made.negative, made.latent, made.joint_set, ui=shown)


def _split(text: str, pictures: int) -> list[str]:
    chosen = prompts.assign(prompts.split_prompts(text), pictures)
    if len(chosen) > layout.MOST_PICTURES:
        raise ValueError(
            f"Joint Set: {len(chosen)} prompts were given, but a set holds at most {layout.MOST_PICTURES} pictures to generate. "
            "Use several Joint Sets."
        )
    return chosen


def _prompts_or_problem(text, pictures):
    """True, or why the queue must not start. What is linked from another node is not known yet: None."""
    if text is None or pictures is None:
        return True
    if problem := inputs.text_problem("Joint Set", "prompts", text):
        return problem
    if not isinstance(pictures, int):
        return f"Joint Set: `pictures` is {pictures}, but needs to be a whole number. Type one."
    try:
        _split(text, pictures)
    except ValueError as problem:
        return str(problem)
    return True


def _redo_or_problem(text):
    """True, or why the queue must not start."""
    if text is None:
        return True
    if problem := inputs.text_problem("Joint Set", "redo", text):
        return problem
    try:
        picking.parse_redo(text)
    except ValueError as problem:
        return str(problem)
    return True


class JeDiOptions(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        levels = {
            "full": "The UNet's attention at the latent's own resolution: fine detail, and most of the cost.",
            "half": "The UNet's attention at half the latent's resolution.",
            "quarter": "The UNet's attention at a quarter of the latent's resolution.",
            "eighth": "The UNet's attention at an eighth of the latent's resolution: overall shape and colour.",
        }
        return io.Schema(
            node_id="JediOptions",
            display_name="JeDi Options",
            category=CATEGORY,
            description="Less common choices for JeDi: where attention is coupled, and forms of the method to compare.",
            search_aliases=["jedi advanced", "coupled attention", "channel order", "same subject options"],
            inputs=[
                inputs.share(
                    "coupling_start",
                    0.0,
                    "Share of the schedule at which attention begins to be coupled: 0 = from pure noise on.",
                ),
                inputs.share("coupling_end", 1.0, "Share of the schedule at which coupling ends: 1 = never."),
                *(
                    io.Boolean.Input(level, default=True, tooltip=f"Couple pictures here. {levels[level]}")
                    for level in settings.LEVELS
                ),
                io.Combo.Input(
                    "reference_attention",
                    options=list(settings.REFERENCE_ATTENTIONS),
                    tooltip="What references attend to. The paper: all pictures. References only and itself only are cheaper and "
                    "depart from the paper; itself only suits models that were never trained on sets.",
                ),
                io.Combo.Input(
                    "null_references",
                    options=[settings.ISOLATED, settings.LITERAL],
                    tooltip="A term without references. Isolated: generated pictures do not see them. Literal: as "
                    "equation 3 is printed, where "
                    "their noised form stays visible.",
                ),
                io.Combo.Input(
                    "channel_order",
                    options=[settings.AUTO, *settings.CHANNEL_ORDERS],
                    tooltip="Input channels of a 9-channel model. Auto reads the file's metadata; Stable Diffusion "
                    "inpainting files are "
                    "noisy, mask, reference. Has no effect on 4-channel models.",
                ),
                io.Combo.Input(
                    "subject_masks",
                    options=list(settings.MASKS),
                    default=settings.OFF,
                    optional=True,
                    tooltip="Show only the subject of a reference to others. Given: where it has a mask. Auto: always, and the "
                    "model finds missing masks by the word for the subject in the caption.",
                ),
                _strength(
                    "reference_strength",
                    optional=True,
                    tooltip="How often each token of a reference counts in attention; JeDi's strength multiplies it.",
                ),
                io.Float.Input(
                    "reference_noise",
                    default=1.0,
                    min=0.05,
                    max=1.0,
                    step=0.05,
                    optional=True,
                    tooltip="Noise level of the references as a share of the pictures'. The paper: 1. Models that were never "
                    "trained on sets keep a subject better with cleaner references, 0.6.",
                ),
                inputs.share(
                    "style_fidelity",
                    1.0,
                    "How much of the references a reference-free term leaves out: 1 all of them, 0 none, so that "
                    "guidance acts on the text only.",
                    step=0.05,
                    optional=True,
                ),
                inputs.share(
                    "color_match",
                    0.0,
                    "How far the subject's colours are moved to those of its references at every step: 0 not at all, 1 "
                    "all the way. Light and shade go with them.",
                    step=0.05,
                    optional=True,
                ),
                io.Int.Input(
                    "bank",
                    default=0,
                    min=0,
                    max=262144,
                    step=64,
                    optional=True,
                    tooltip="MiB in which what references show is kept from one run to the next, so that another picture of them "
                    "costs little more than one without references; 0 keeps nothing. For references that attend to references "
                    "only or to themselves only.",
                ),
                io.Int.Input(
                    "reference_levels",
                    default=0,
                    min=0,
                    max=16,
                    optional=True,
                    tooltip="How many noise levels the references take over the schedule: 0 one at every step. With 2 or 3 a "
                    "bank is many times smaller, at a small loss of likeness.",
                ),
                *(
                    _strength(
                        name,
                        optional=True,
                        advanced=True,
                        tooltip=f"Multiplies the strength of references {when}.",
                    )
                    for name, when in (
                        ("strength_start", "at the start of the schedule"),
                        ("strength_end", "at its end; between, it goes from one to the other"),
                    )
                ),
                io.Combo.Input(
                    "strength_curve",
                    options=list(settings.CURVES),
                    default=settings.LINEAR,
                    optional=True,
                    advanced=True,
                    tooltip="When the strength goes from strength_start to strength_end: evenly, mostly early, or mostly late.",
                ),
                *(
                    _strength(
                        f"strength_{level}",
                        optional=True,
                        advanced=True,
                        tooltip=f"Multiplies the strength of references here. {levels[level]}",
                    )
                    for level in settings.LEVELS
                ),
            ],
            outputs=[sockets.Options.Output(display_name="options", tooltip="For JeDi.")],
        )

    @classmethod
    def validate_inputs(cls, coupling_start, coupling_end):
        return inputs.window_or_problem("JeDi Options", "coupling_start", coupling_start, "coupling_end", coupling_end)

    @classmethod
    @inputs.checked
    def execute(
        cls,
        coupling_start,
        coupling_end,
        reference_attention,
        null_references,
        channel_order,
        full,
        half,
        quarter,
        eighth,
        **without_training,
    ) -> io.NodeOutput:
        wanted = zip(settings.LEVELS, (full, half, quarter, eighth), strict=True)
        levels = frozenset(level for level, chosen in wanted if chosen)
        strengths = tuple(without_training.pop(f"strength_{level}", 1.0) for level in settings.LEVELS)
        forms = reference_attention, null_references, channel_order
        return io.NodeOutput(
            settings.Options(coupling_start, coupling_end, levels, *forms, **without_training, level_strengths=strengths)
        )


class ApplyJeDi(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JediApply",
            display_name="JeDi",
            category=CATEGORY,
            description="Makes a model paint a joint set: its pictures attend to each other, and the references stay "
            "what they are.",
            search_aliases=[
                "jedi",
                "joint image diffusion",
                "same subject",
                "personalization",
                "coupled attention",
                "image guidance",
            ],
            inputs=[
                io.Model.Input(
                    "model", tooltip="A Stable Diffusion 1.5, 2 or XL model, best one that was trained on joint sets (JeDi)."
                ),
                sockets.Set.Input("joint_set", tooltip="The set to paint, from Joint Set."),
                io.Combo.Input(
                    "guidance",
                    options=list(guidance.MODES),
                    tooltip="How the sampler's cfg acts. Joint: on text and references together. Text first favours "
                    "the subject, image first "
                    "the text; both add image_scale. Text only: on the text.",
                ),
                io.Float.Input(
                    "image_scale",
                    default=5.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="Scale of the references for text first and image first; the sampler's cfg is the scale "
                    "of the text. Others ignore it.",
                ),
                inputs.share(
                    "start_percent",
                    0.0,
                    "Share of the schedule at which image guidance begins; before it, guidance is text only.",
                ),
                inputs.share(
                    "end_percent", 1.0, "Share of the schedule at which image guidance ends; after it, guidance is text only."
                ),
                sockets.Options.Input("options", optional=True, tooltip="Less common choices, from JeDi Options."),
                _strength(
                    "strength",
                    optional=True,
                    tooltip="How strongly pictures look at the references: 0 not at all, 1 as the recipe does, 2 as if each "
                    "reference were there twice.",
                ),
                io.Combo.Input(
                    "recipe",
                    options=list(settings.RECIPES),
                    default=settings.PAPER,
                    optional=True,
                    tooltip="Paper: as published, for models trained on sets. Auto: that for such models, strong for all others. "
                    "Strong: masks of the subject, and three times the attention to it. JeDi Options decide instead where "
                    "connected.",
                ),
                io.Combo.Input(
                    "step_noise",
                    options=list(settings.STEP_NOISES),
                    default=settings.EACH_PICTURE,
                    optional=True,
                    advanced=True,
                    tooltip="Noise that ancestral and SDE samplers add at their steps. Each picture has its own, so that it "
                    "stays the same with more pictures or sets; whole batch is what 0.1.0 did.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model for the sampler. The model that came in stays as it was.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, start_percent, end_percent):
        return inputs.window_or_problem("JeDi", "start_percent", start_percent, "end_percent", end_percent)

    @classmethod
    @inputs.checked
    def execute(
        cls,
        model,
        joint_set,
        guidance,
        image_scale,
        start_percent,
        end_percent,
        options=None,
        strength=1.0,
        recipe=settings.PAPER,
        step_noise=settings.WHOLE_BATCH,
    ) -> io.NodeOutput:
        if options is None:
            options = joint_sets.options_of(recipe, model, joint_set)
        chosen = settings.Settings(guidance, image_scale, start_percent, end_percent, options, strength, step_noise)
        node = None if cls.hidden is None else cls.hidden.unique_id
        return io.NodeOutput(joint_sets.apply(model, joint_set, chosen, node))


class PickPictures(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        kind = io.MatchType.Template("pictures", allowed_types=[io.Latent, io.Image])
        return io.Schema(
            node_id="JediPick",
            display_name="Pick Pictures",
            category=CATEGORY,
            description="Takes generated pictures, references or single pictures out of a sampled joint set.",
            search_aliases=["jedi pick", "select pictures", "remove references", "latent from batch", "image from batch"],
            inputs=[
                io.MatchType.Input(
                    "samples", template=kind, tooltip="The whole batch: latents from the sampler, or pictures from VAE Decode."
                ),
                sockets.Set.Input("joint_set", tooltip="The set that was sampled, from Joint Set."),
                io.Combo.Input(
                    "which", options=list(picking.CHOICES), tooltip="Generated pictures, references, or those named in indices."
                ),
                io.String.Input(
                    "indices",
                    default="0",
                    tooltip="With which = index: which of each set, such as 0, 2-4; 0 is picture 1. Generated pictures come "
                    "first, then the references.",
                ),
            ],
            outputs=[
                io.MatchType.Output(
                    template=kind, id="picked", display_name="picked", tooltip="The chosen rows, in order, of the same type."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, which, indices):
        known = inputs.check_choice("Pick Pictures", "which", which, picking.CHOICES)
        if known is not True:
            return known
        if which != picking.INDEX or indices is None:
            return True
        if wrong := inputs.text_problem("Pick Pictures", "indices", indices):
            return wrong
        try:
            picking.parse_indices(indices)
        except ValueError as problem:
            return str(problem)
        return True

    @classmethod
    @inputs.checked
    def execute(cls, samples, joint_set, which, indices) -> io.NodeOutput:
        rows = picking.rows(joint_set.layout, which, indices)
        if torch.is_tensor(samples):
            picking.check_rows(joint_set.layout, samples.shape[0])
            return io.NodeOutput(samples[rows])
        if not isinstance(samples, dict) or not torch.is_tensor(samples.get("samples")):
            raise ValueError(
                f"Pick Pictures: `samples` is a {type(samples).__name__}, but needs latents or pictures. Connect the sampler, or "
                "VAE Decode."
            )
        count = samples["samples"].shape[0]
        picking.check_rows(joint_set.layout, count)
        picked = {**samples, "samples": samples["samples"][rows]}
        picked.pop(starting.LAYOUT, None)
        if torch.is_tensor(samples.get("noise_mask")) and samples["noise_mask"].shape[0] == count:
            picked["noise_mask"] = samples["noise_mask"][rows]
        if "batch_index" in samples:
            picked["batch_index"] = [samples["batch_index"][row] for row in rows]
        return io.NodeOutput(picked)


class RecordCorrespondence(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        levels = {
            "full": "The latents' own resolution: large, and slow to record.",
            "half": "Half the latents' resolution: 32 x 32 at 512 pixels, 64 x 64 in SDXL at 1024.",
            "quarter": "A quarter of the latents' resolution: 16 x 16 at 512 pixels, 32 x 32 in SDXL at 1024.",
            "eighth": "An eighth of the latents' resolution: 8 x 8 at 512 pixels. SDXL has none.",
        }
        return io.Schema(
            node_id="JediRecord",
            display_name="Record Correspondence",
            category=CATEGORY,
            description="Records what the pictures of a joint set attend to in each other while they are painted. The pictures "
            "stay the same, bit for bit.",
            search_aliases=["jedi record", "attention maps", "record attention", "correspondence", "heat map"],
            inputs=[
                io.Model.Input("model", tooltip="The model that went through JeDi; the sampler gets what comes out."),
                *(
                    io.Boolean.Input(level, default=level in ("half", "quarter"), tooltip=f"Record here. {levels[level]}")
                    for level in settings.LEVELS
                ),
                inputs.share(
                    "start_percent",
                    0.5,
                    "Share of the schedule at which recording begins: 0 = from pure noise on.",
                    advanced=True,
                ),
                inputs.share("end_percent", 1.0, "Share of the schedule at which recording ends.", advanced=True),
                io.Int.Input(
                    "memory",
                    default=512,
                    min=1,
                    max=65536,
                    step=64,
                    advanced=True,
                    tooltip="Most MiB of main memory that a recording takes. Where the tokens of a level do not fit, it is kept "
                    "for cells of 2 x 2, 4 x 4 or more of them.",
                ),
            ],
            outputs=[
                io.Model.Output(tooltip="The model for the sampler. The model that came in stays as it was."),
                sockets.Recording.Output(
                    display_name="recording", tooltip="What the last run with this model attended to, for Show Correspondence."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, start_percent, end_percent):
        return inputs.window_or_problem("Record Correspondence", "start_percent", start_percent, "end_percent", end_percent)

    @classmethod
    @inputs.checked
    def execute(cls, model, full, half, quarter, eighth, start_percent, end_percent, memory) -> io.NodeOutput:
        chosen = zip(settings.LEVELS, (full, half, quarter, eighth), strict=True)
        levels = tuple(level for level, wanted in chosen if wanted)
        if not levels:
            raise ValueError("Record Correspondence: no level is switched on, but needs one. Switch `half` on.")
        made = recording.Recording(levels, start_percent, end_percent, memory * recording.MEBIBYTE)
        return io.NodeOutput(viewing.record(model, made), made)


class ShowCorrespondence(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JediCorrespondence",
            display_name="Show Correspondence",
            category=CATEGORY,
            description="Shows which places of a set's pictures a point of one of them corresponds to: click a picture.",
            search_aliases=["jedi viewer", "attention map", "attention viewer", "correspondence map", "heat map"],
            inputs=[
                sockets.Recording.Input("recording", tooltip="From Record Correspondence."),
                io.Latent.Input("samples", tooltip="The whole batch of the sampler that ran with the recorded model."),
                io.Vae.Input("vae", tooltip="The model's VAE, which decodes the pictures for the view."),
                io.Int.Input(
                    "picture",
                    default=1,
                    min=1,
                    max=4096,
                    tooltip="The picture with the point, counted from 1 through the whole batch: of each set those to generate, "
                    "then the references.",
                ),
                inputs.share("x", 0.5, "Where the point is, as a share of the picture's width from the left.", step=0.001),
                inputs.share("y", 0.5, "Where the point is, as a share of the picture's height from the top.", step=0.001),
                io.Combo.Input(
                    "level",
                    options=list(correspondence.LEVELS),
                    tooltip="By which of the recorded levels. All is all of these together.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="heat_maps",
                    tooltip="The pictures of the point's set in a row: the point, and in the others how well each part matches, "
                    "with rings around the strongest matches.",
                )
            ],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, level):
        return inputs.check_choice("Show Correspondence", "level", level, correspondence.LEVELS)

    @classmethod
    @inputs.checked
    def execute(cls, recording, samples, vae, picture, x, y, level) -> io.NodeOutput:
        shown, view = viewing.show(recording, samples, vae, picture, x, y, level)
        return io.NodeOutput(shown, ui=view)

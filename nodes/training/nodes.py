"""The node that trains a joint model."""

from __future__ import annotations

from comfy_api.latest import io

from ..data.pictures import tensor
from ..host import inputs, small_pictures
from .host import places
from .host.base import NAME
from .settings import ALL, FULL, LAYERS, LORA, METHODS, Settings


class TrainJointModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TrainJointModel",
            display_name=NAME,
            category="Same Subject/Training",
            description="Trains a LoRA with which a Stable Diffusion 1.5, 2 or XL model keeps the subject of its references "
            "(JeDi). Stopped, it keeps what it has learned; run again, it goes on.",
            search_aliases=["jedi training", "train lora", "finetune", "joint image", "train jedi", "personalization"],
            inputs=[
                io.Model.Input("model", tooltip="The model to begin from, straight from Load Checkpoint. It stays as it is."),
                io.Clip.Input("clip", tooltip="Its text encoder, which is not trained."),
                io.Vae.Input("vae", tooltip="Its VAE, which is not trained."),
                io.String.Input(
                    "data",
                    default="",
                    multiline=True,
                    tooltip="Sets of pictures of one subject each: a folder in ComfyUI's input folder, with a folder for each "
                    "set; or videos, shards and more. One source a line, each as likely as the others.",
                ),
                io.String.Input(
                    "name",
                    default="joint_lora",
                    tooltip="Of the LoRA, which is written to models/loras. A run of this name that was stopped goes on.",
                ),
                io.Int.Input("steps", default=1000, min=1, max=10_000_000, tooltip="Steps of the optimiser, in all."),
                io.Float.Input(
                    "rate", default=1e-4, min=0.0, max=1.0, step=1e-6, round=False,
                    tooltip="How far a step goes. It rises at first and falls at the end.",
                ),
                io.Int.Input(
                    "side", default=512, min=64, max=2048, step=8, tooltip="Pictures have an area of side x side pixels."
                ),
                io.Int.Input(
                    "rows", default=4, min=1, max=256, tooltip="Pictures at a time, at least one set. More take memory."
                ),
                io.Int.Input(
                    "sheet_every", default=200, min=0, max=100_000, tooltip="Steps between two sample sheets; 0: none."
                ),
                io.Int.Input(
                    "seed", default=0, min=0, max=2**63 - 1, control_after_generate=False, tooltip="Of all that is drawn."
                ),  # a run goes on with the seed that it was begun with
                io.Combo.Input(
                    "method", options=[kind for kind in METHODS if kind != FULL], default=LORA, optional=True, advanced=True,
                    tooltip="Form of the factors beside the model's weights.",
                ),
                io.Int.Input("rank", default=16, min=1, max=1024, optional=True, advanced=True, tooltip="Of the factors."),
                io.Combo.Input(
                    "layers", options=list(LAYERS), default=ALL, optional=True, advanced=True,
                    tooltip="What has factors. attention: the layers of attention and feed-forward. all: every linear layer and "
                    "convolution, which learns more in as many steps, slower, in a larger file.",
                ),
                io.Boolean.Input(
                    "references", default=True, optional=True, advanced=True,
                    tooltip="Whether the model gets input channels for references. Without them it only learns that pictures "
                    "of a set look at each other.",
                ),
                io.Int.Input(
                    "accumulate", default=1, min=1, max=1024, optional=True, advanced=True,
                    tooltip="Rounds of `rows` pictures that make one step: as more rows, without their memory.",
                ),
                io.Boolean.Input(
                    "save_memory", default=False, optional=True, advanced=True,
                    tooltip="Compute activations again for the gradient: less memory, about a third more time.",
                ),
                io.Boolean.Input(
                    "keep_aspect", default=False, optional=True, advanced=True,
                    tooltip="Keep the aspect of a set's pictures, about; else they are cut square.",
                ),
                io.Float.Input(
                    "min_snr", default=0.0, min=0.0, max=100.0, step=0.5, optional=True, advanced=True,
                    tooltip="Most weight of a noise level by its signal-to-noise ratio, such as 5; 0 weighs all alike.",
                ),
                io.Boolean.Input(
                    "head_start", default=False, optional=True, advanced=True,
                    tooltip="For some hundred steps instead of many thousand: references are seen from the first step, and high "
                    "noise, where looks are decided, counts more. The paper has neither.",
                ),
            ],
            outputs=[
                io.Model.Output(tooltip="The model with the LoRA."),
                io.String.Output(display_name="file", tooltip="The LoRA's file, for Load LoRA at any other time."),
            ],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            **small_pictures.COME_BACK,
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, data=None, name=None, rate=None):
        for given, problem in ((data, places.data_problem), (name, places.name_problem)):
            if given is not None and (said := problem(given)):
                return said
        if rate is not None and not rate > 0:
            return f"{NAME}: `rate` is {rate}, but needs to be above 0. 0.0001 is a good start."
        return True

    @classmethod
    @inputs.checked
    def execute(
        cls, model, clip, vae, data, name, steps, rate, side, rows, sheet_every, seed, method=LORA, rank=16,
        layers=ALL, references=True, accumulate=1, save_memory=False, keep_aspect=False, min_snr=0.0, head_start=False,
    ) -> io.NodeOutput:  # fmt: skip
        from .host import in_graph  # what it takes of the host, older ones lack: they shall have all other nodes

        settings = Settings(
            method, rank, layers, references=references, steps=steps, rate=rate, seed=seed, side=side, rows=rows,
            buckets=keep_aspect, snr=min_snr, head_start=head_start, saving=save_memory, data=data.strip().replace("\n", ", "),
        )  # fmt: skip
        trained, path, pictures = in_graph.train(
            model, clip, vae, data, name, settings, sheet_every, accumulate, cls.hidden.unique_id
        )
        shown = [tensor(picture) for picture in pictures]
        return io.NodeOutput(trained, str(path), ui={"images": small_pictures.save(shown)})

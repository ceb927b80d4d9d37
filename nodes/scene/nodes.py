"""The nodes that paint a scene of several concepts, in data-flow order: a chain of Concept Branch, one Concept Scene."""

from __future__ import annotations

from comfy_api.latest import io

from ..host import inputs, sockets
from ..identity.host import files as identity_files
from ..identity.placement import Placement
from . import blending
from .branch import MOST_CONCEPTS, Branch, check_places
from .host.checks import is_joint
from .host.runs import Scene

CATEGORY = "Concepts"


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
            ],
            outputs=[sockets.Branches.Output(display_name="branches", tooltip="For the next Concept Branch, or Concept Scene.")],
        )

    @classmethod
    @inputs.checked
    def execute(
        cls, positive, negative, mask=None, model=None, joint_set=None, previous=(), adapter=None, identity=None, weight=0.8
    ) -> io.NodeOutput:
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
        person = None if identity is None else Placement(identity_files.project(adapter, identity), weight)
        return io.NodeOutput((*previous, Branch(positive, negative, model, mask, joint_set, person)))


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
                    "latents, as the paper lists it, which keeps identities better; euler and ddim only.",
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

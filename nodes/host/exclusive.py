"""Nodes that cannot share a model, because each brings terms and attention of its own."""

from __future__ import annotations

from comfy.patcher_extension import WrappersMP

NODES = {"same_subject_step": "JeDi", "same_subject_subjects": "Apply Subjects"}
"""What names their wrappers, and theirs."""


def refuse_others(model, node: str) -> None:
    """Raise ValueError if a ModelPatcher went through ``node``, or one that it cannot share the model with."""
    for key, other in NODES.items():
        if model.get_wrappers(WrappersMP.OUTER_SAMPLE, key):
            already = "already went" if other == node else "went"
            reason = "" if other == node else ", whose terms and attention do not go with its own"
            raise ValueError(f"{node}: the model {already} through {other}{reason}. Connect the model from before {other}.")

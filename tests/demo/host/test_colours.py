"""Latents of the demo models as previews show them."""

import latent_preview
import numpy
import pytest
import torch
from comfy.cli_args import LatentPreviewMethod, args
from PIL import Image
from same_subject.dev import pack
from same_subject.nodes.demo.host import model as demo_model
from same_subject.nodes.demo.host import pictures


@pytest.mark.parametrize("method", (LatentPreviewMethod.Auto, LatentPreviewMethod.TAESD))
def test_a_preview_of_a_demo_model_has_the_pictures_own_colours(monkeypatch, method):
    monkeypatch.setattr(args, "preview_method", method)
    model, _, vae = demo_model.load(pack.ROOT / "demo" / "demo.safetensors")
    given = pictures.load("Load Demo Model", "reference")
    with torch.inference_mode():
        latents = model.model.process_latent_in(vae.encode(given))
        before = {key: value.clone() for key, value in vae.first_stage_model.state_dict().items()}
        previewer = latent_preview.get_previewer(torch.device("cpu"), model.model.latent_format)
        for number, picture in enumerate(given):
            kind, shown, _ = previewer.decode_latent_to_preview_image("JPEG", latents[number : number + 1])
            assert isinstance(shown, Image.Image) and shown.size == (64, 64)
            off = numpy.abs(numpy.array(shown) / 255.0 - picture.numpy()).mean()
            assert off < 0.05, "0.02 was seen; by the colours of Stable Diffusion's latents it was 0.4"
    assert all(torch.equal(before[key], value) for key, value in vae.first_stage_model.state_dict().items())
    assert model.model.latent_format._network is not vae.first_stage_model

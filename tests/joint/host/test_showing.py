"""What Reference Pictures and Joint Set show of their rows."""

import folder_paths
import numpy
import pytest
import torch
from PIL import Image
from same_subject.nodes.joint.host import sets, showing
from same_subject.nodes.joint.nodes import JointSetNode, ReferencePictures
from same_subject.tests.tiny import models


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    from same_subject.nodes.demo.host import model as demo_model

    return demo_model.load(models.save_demo(tmp_path_factory.mktemp("demo") / "tiny.safetensors"))


RED, GREEN = (torch.tensor(colour, dtype=torch.float32).expand(1, 40, 240, 3) for colour in ((1, 0, 0), (0, 1, 0)))


def gathered(order="", **more):
    mask = torch.zeros(2, 40, 240)
    mask[:, :, :120] = 1
    given = {"masks": {"mask0": mask}, "keep_background": True, "order": order, **more}
    return ReferencePictures.execute({"image0": RED, "image1": GREEN}, "red <b>\ngreen", "crop", "grey", **given)


def opened(folder, entry):
    assert entry["type"] == "temp"
    return numpy.array(Image.open(folder / entry["subfolder"] / entry["filename"]))


def test_references_are_shown_with_their_own_picture_mask_and_caption_in_the_chosen_order(temporary):
    out = gathered("2, 1")
    first, second = out.ui[showing.ROWS]
    assert [one.caption for one in out.result[0]] == ["green", "red <b>"] == [first["text"], second["text"]]
    assert (first["number"], first["given"], second["number"], second["given"]) == (1, 2, 2, 1)
    assert first["size"] == [240, 40] and first["role"] == "reference"
    picture, veil = opened(temporary, second["picture"]), opened(temporary, second["mask"])
    assert picture.shape == (16, 96, 3) and picture[8, 8, 0] > 250 and picture[8, 8, 1] == 0
    assert veil.shape == (16, 96, 4) and veil[8, 8, 3] == 0 and veil[8, 88, 3] > 140, "what the mask leaves out is tinted"


def test_an_order_takes_masks_and_captions_along_and_leaves_earlier_references_first():
    before = gathered().result[0]
    out = gathered("2, 1", previous=before, masks={"mask0": torch.stack([torch.ones(40, 240), torch.eye(40, 240)])})
    assert [one.caption for one in out.result[0]] == ["red <b>", "green", "green", "red <b>"]
    assert torch.equal(out.result[0][2].mask, torch.eye(40, 240)) and out.result[0][2].picture[0, 0].tolist() == [0, 1, 0]
    assert [row["number"] for row in out.ui[showing.ROWS]] == [3, 4], "rows are this node's own, counted through the set"
    with pytest.raises(ValueError, match="3 numbers, but 2 pictures were given"):
        gathered("2, 1, 3")
    assert "once, such as 2, 1, 3" in ReferencePictures.validate_inputs(order="2, 2")
    assert ReferencePictures.validate_inputs(order="2, 1, 3") is True and ReferencePictures.validate_inputs(order=None) is True
    assert "needs to be text" in ReferencePictures.validate_inputs(order=21)


def test_a_set_is_shown_at_the_size_that_it_is_encoded_at(loaded, temporary, monkeypatch):
    _, clip, vae = loaded
    asked = []
    encode = vae.encode
    monkeypatch.setattr(vae, "encode", lambda pixels: (asked.append(tuple(pixels.shape[1:3])), encode(pixels))[1])
    references = gathered().result[0]
    with torch.inference_mode():
        out = JointSetNode.execute(clip, vae, references, "one\ntwo", "", 0, 2, 0, 0, 0)
    rows = out.ui[showing.ROWS]
    assert [(row["role"], row["number"], row["text"]) for row in rows] == [
        ("picture", 1, "one"), ("picture", 2, "two"), ("reference", 1, "red <b>"), ("reference", 2, "green"),
    ]  # fmt: skip
    ((height, width),) = set(asked)
    assert (height, width) != (40, 240) and all(row["size"] == [width, height] for row in rows)
    assert not any(row.get("kept") for row in rows) and "picture" not in rows[0]
    shown = opened(temporary, rows[2]["picture"])
    assert abs(shown.shape[1] / shown.shape[0] - width / height) < 0.3


def test_pictures_that_redo_leaves_out_are_said_to_be_kept(loaded):
    _, clip, vae = loaded
    references = gathered().result[0]
    with torch.inference_mode():
        start = sets.prepare(clip, vae, references, ["one", "two"], sets=2, width=64, height=64).latent
        out = JointSetNode.execute(clip, vae, references, "one\ntwo", "", 0, 2, 0, 0, 0, start, "2, 4")
    assert [row["kept"] for row in out.ui[showing.ROWS][:2]] == [True, False]

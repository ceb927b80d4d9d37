"""The concept nodes: finding, choosing, masks, refusals; the detector is planted, Segment Anything has random weights."""

import json

import folder_paths
import numpy
import pytest
import torch
from PIL import Image
from same_subject.nodes.concepts import nodes, places
from same_subject.nodes.concepts.boxes import Box
from same_subject.nodes.concepts.host import files as concept_files
from same_subject.nodes.concepts.host import labelling, segmenting
from same_subject.nodes.concepts.places import box_of
from same_subject.nodes.identity import recognising
from same_subject.tests.tiny import planted

SEED = 22  # random weights whose masks are neither white nor black everywhere, and differ between boxes
TWO = (("red", 8, 10, 32, 90), ("green", 56, 20, 88, 80))


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return planted.detector(tmp_path_factory.mktemp("tokenizer"))


def find(detector, image, phrases, order="best score", index=0, threshold=0.35, missing="error", **more):
    return nodes.FindConcepts.execute(detector, image, phrases, order, index, threshold, 0.25, missing, **more).result


def test_every_phrase_gets_the_place_of_its_own_concept(detector):
    boxes, chosen, found, preview = find(detector, planted.scene(*TWO), "a red ball\na green box")
    assert boxes.phrases == ("a red ball", "a green box")
    assert [(box["x"], box["y"], box["width"], box["height"]) for box in chosen[0]] == [(8, 10, 24, 80), (56, 20, 32, 60)]
    assert [box["score"] for box in chosen[0]] == pytest.approx([0.4 + 12 / 96, 0.4 + 16 / 96])  # a column more: 1e-2
    assert [box["label"] for box in chosen[0]] == ["a red ball", "a green box"] and found == chosen
    assert preview.shape == (1, 96, 96, 3) and (preview - boxes.pictures).abs().amax(-1)[0].gt(0.1).sum() > 100


def test_the_numbers_on_the_preview_are_those_that_face_keypoints_takes(detector, monkeypatch):
    """Typing the number that stood on the second concept gave the first one's masks."""
    written = []
    monkeypatch.setattr(labelling.ImageDraw.ImageDraw, "text", lambda self, at, text, **style: written.append(text))
    names = ("a red ball", "a green box")
    boxes, *_ = find(detector, planted.scene(*TWO).repeat(2, 1, 1, 1), "\n".join(names))
    _, masks, *_ = nodes.ConceptMasks.execute(boxes, 0, "nearest box", 0).result
    assert len(written) == 4
    for label in written:
        number, name = label.split(" ", 1)
        (mask, _) = recognising.masks_of(int(number), masks, 2)
        assert box_of(mask).overlap(boxes.chosen[0][[name.startswith(one) for one in names].index(True)]) > 0.95, label
    assert [label.split()[0] for label in written] == ["1", "2"] * 2


def test_a_batch_keeps_every_picture_and_finds_each_ones_own_boxes(detector):
    batch = torch.cat([planted.scene(*TWO), planted.scene(("red", 60, 0, 90, 40)), planted.scene()])
    boxes, chosen, _, preview = find(detector, batch, "red\ngreen", missing="empty concept")
    assert [len(row) for row in chosen] == [2, 1, 0] and len(preview) == 3
    assert [[box is not None for box in row] for row in boxes.chosen] == [[True, True], [True, False], [False, False]]
    with pytest.raises(ValueError, match="nothing was found for `green` in picture 2: its best score was 0.018"):
        find(detector, batch, "red\ngreen")


def test_equal_phrases_take_two_people_from_left_to_right(detector):
    image = planted.scene(("red", 60, 10, 90, 90), ("red", 5, 10, 25, 90))
    boxes, *_ = find(detector, image, "a red man\na red man")
    assert [box.left for box in boxes.chosen[0]] == pytest.approx([5, 60])
    with pytest.raises(ValueError, match="2 boxes found for `a red man` in picture 1, but 3 concepts with `index` 0 need 3"):
        find(detector, image, "a red man\n" * 3)


def test_nodes_in_a_chain_choose_by_rules_of_their_own(detector):
    image = planted.scene(("red", 5, 10, 25, 90), ("red", 60, 10, 90, 90), ("green", 30, 10, 50, 90))
    first, *_ = find(detector, image, "red", "left to right", 1)
    both, chosen, *_ = find(detector, image, "green", previous=first)
    assert both.phrases == ("red", "green") and [box["x"] for box in chosen[0]] == [60, 30]
    near, *_ = find(detector, image, "red", "nearest to point", x=10, y=50)
    assert near.chosen[0][0].left == pytest.approx(5)
    with pytest.raises(ValueError, match="`red` and `a red ball` were found at one and the same place in picture 1"):
        find(detector, image, "a red ball", "left to right", 1, previous=first)
    with pytest.raises(ValueError, match="`previous` holds concepts of other pictures"):
        find(detector, planted.scene(*TWO), "green", previous=first)


def box(x, y, width, height, **more):
    return {"x": x, "y": y, "width": width, "height": height, **more}


def from_boxes(image, given, phrases="", order="as given", **more):
    return nodes.ConceptsFromBoxes.execute(image, given, phrases, order, **more).result


def test_boxes_of_the_hosts_nodes_become_concepts(detector):
    """A box, a list of them for all pictures, or a list for each: the three forms that the host's own nodes give and take."""
    nodes_bounding_boxes = pytest.importorskip("comfy_extras.nodes_bounding_boxes", reason="the host is older")
    from comfy_extras import nodes_images

    image = planted.scene(*TWO)
    (one,) = nodes_images.BoundingBox.execute(8, 10, 24, 80).result
    boxes, preview = from_boxes(image, one)
    assert boxes.phrases == ("concept 1",) and boxes.chosen[0][0].corners == (8, 10, 32, 90)
    assert preview.shape == (1, 96, 96, 3) and not torch.equal(preview, image)
    drawn = [box(8, 10, 24, 80), box(56, 20, 32, 60)]
    (given,) = nodes_bounding_boxes.CreateBoundingBoxes.execute(96, 96, drawn).result[1:2]
    boxes, _ = from_boxes(image.repeat(2, 1, 1, 1), given)
    assert boxes.phrases == ("concept 1", "concept 2")
    assert boxes.chosen[0] == boxes.chosen[1] and boxes.chosen[0][1].corners == (56, 20, 88, 80)
    found, chosen, *_ = find(detector, image, "a red ball\na green box")
    boxes, _ = from_boxes(image, chosen)
    assert boxes.phrases == found.phrases, "a label is a name"
    assert [one.score for one in boxes.chosen[0]] == [one.score for one in found.chosen[0]]
    again = nodes.ConceptMasks.execute(boxes, 0, "nearest box", 0).result
    assert again[3] == [[{**one, "score": pytest.approx(one["score"])} for one in row] for row in chosen], "and out again"


def test_phrases_take_the_first_boxes_of_an_order():
    image = planted.scene().repeat(2, 1, 1, 1)
    small, large, right = box(40.5, 0, 10, 10, score=0.9), box(0, 0, 30, 30, score=0.5), box(60, 0, 20, 20, score=0.7)
    rows = [[small, large, right], [right, small, large]]
    lefts = {
        order: [[one.left for one in row] for row in from_boxes(image, rows, "a cat\n\na dog", order)[0].chosen]
        for order in ("as given", "best score", "largest", "left to right")
    }
    assert lefts == {
        "as given": [[40.5, 0], [60, 40.5]],
        "best score": [[40.5, 60]] * 2,
        "largest": [[0, 60]] * 2,
        "left to right": [[0, 40.5]] * 2,
    }
    boxes, _ = from_boxes(image, rows, "a cat")
    assert boxes.phrases == ("a cat",) and len(boxes.found[0][0]) == 3
    clipped, _ = from_boxes(image, box(-10, 80, 50, 50))
    assert clipped.chosen[0][0].corners == (0, 80, 40, 96)


def test_boxes_and_phrases_can_make_concepts_of_one_scene(detector):
    image = planted.scene(*TWO)
    found, *_ = find(detector, image, "a red ball")
    both, _ = from_boxes(image, box(56, 20, 32, 60), previous=found)
    assert both.phrases == ("a red ball", "concept 2")
    with pytest.raises(
        ValueError, match="Concepts From Boxes: the boxes of `a red ball` and `concept 2` are at one and the same"
    ):
        from_boxes(image, box(8, 10, 24, 80), previous=found)
    with pytest.raises(ValueError, match="Concepts From Boxes: `previous` holds concepts of other pictures"):
        from_boxes(planted.scene(), box(8, 10, 24, 80), previous=found)


@pytest.mark.parametrize(
    ("given", "phrases", "said"),
    [
        ([], "", "the pictures have 0, 0 boxes"),
        ([[], []], "", "the pictures have 0, 0 boxes, but without `phrases`"),
        ([[box(0, 0, 8, 8)], []], "", "the pictures have 1, 0 boxes, but without `phrases`"),
        ([[box(0, 0, 8, 8)], []], "a cat", "picture 2 has 0 boxes, but 1 phrases need 1"),
        ([box(0, 0, 8, 8)], "a cat\na dog", "picture 1 has 1 box, but 2 phrases need 2"),
        ([[box(0, 0, 8, 8)]] * 3, "", "`bounding_boxes` has boxes of 3 pictures, but `image` has 2"),
        (
            box(96, 0, 8, 8),
            "",
            r"box 1 of picture 1 .x 96, y 0, width 8, height 8. covers nothing of the picture, which is 96x96",
        ),
        ([box(0, 0, 8, 8), box(0, 0, -8, 8)], "", "box 2 of picture 1 .* covers nothing"),
        (box(0, float("nan"), 8, 8), "", "box 1 of picture 1 is .*, but needs numbers x, y, width and height"),
        ({"bbox": [0, 0, 1, 1]}, "", "box 1 of picture 1 is .*, but needs numbers"),
        ("boxes", "", "`bounding_boxes` is no box"),
        ([box(0, 0, 8, 8), [box(0, 0, 8, 8)]], "", "`bounding_boxes` is no box"),
        ([box(0, 0, 8, 8), box(0, 0, 8, 8)], "", "the boxes of `concept 1` and `concept 2` are at one and the same place"),
    ],
)
def test_boxes_that_make_no_concepts_are_refused(given, phrases, said):
    with pytest.raises(ValueError, match=f"^Concepts From Boxes: ({said})"):
        from_boxes(planted.scene().repeat(2, 1, 1, 1), given, phrases)


def sam3(*boxes):
    """A MODEL that SAM3 Detect takes, which finds these boxes (left, top, right, bottom) and masks of their shape."""
    from types import SimpleNamespace

    import comfy.model_patcher

    def network(frame, orig_size, **rest):
        height, width = orig_size
        masks = torch.full((len(boxes), height, width), -1.0)
        for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
            mask[top:bottom, left:right] = 1
        found = {"boxes": torch.tensor(boxes).reshape(-1, 4).float(), "scores": torch.linspace(2, 1, len(boxes)), "masks": masks}
        return {name: value[None] for name, value in found.items()}

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.diffusion_model, self.device = network, torch.device("cpu")

        def get_dtype(self):
            return torch.float32

    cpu = torch.device("cpu")
    return SimpleNamespace(patcher=comfy.model_patcher.ModelPatcher(Model(), load_device=cpu, offload_device=cpu)).patcher


@pytest.mark.parametrize("boxes", [[(8, 10, 32, 90), (56, 20, 88, 80)], []])
def test_masks_and_boxes_of_the_hosts_sam3_become_concepts(boxes, monkeypatch):
    nodes_sam3 = pytest.importorskip("comfy_extras.nodes_sam3", reason="the host is older")
    monkeypatch.setattr(nodes_sam3, "_extract_text_prompts", lambda *given: [(None, None, 8)])
    masks, found = nodes_sam3.SAM3_Detect.execute(
        sam3(*boxes), planted.scene(*TWO), conditioning=[1], refine_iterations=0, individual_masks=True
    ).result
    image = planted.scene(*TWO)
    if not boxes:
        assert masks.shape == (0, 96, 96) and found == [[]]
        with pytest.raises(ValueError, match="Concepts From Masks: `masks` holds no mask, but needs at least 1"):
            nodes.ConceptsFromMasks.execute({"mask0": masks}, "", 0, "best score first", 0)
        with pytest.raises(ValueError, match="Concepts From Boxes: the pictures have 0 boxes"):
            from_boxes(image, found)
        return
    concepts, *_, around = nodes.ConceptsFromMasks.execute({"mask0": masks}, "a ball\na box", 0, "best score first", 0).result
    assert torch.equal(concepts.masks[0], masks) and masks.sum(dim=(1, 2)).tolist() == [24 * 80, 32 * 60]
    assert [[one[side] for side in ("x", "y", "width", "height")] for one in around[0]] == [[8, 10, 24, 80], [56, 20, 32, 60]]
    assert [one.corners for one in from_boxes(image, found)[0].chosen[0]] == [tuple(map(float, one)) for one in boxes]


def test_boxes_around_masks_are_those_of_what_is_left_of_them(detector):
    image = planted.scene(*TWO).repeat(2, 1, 1, 1)
    boxes, _ = from_boxes(image, [box(0, 0, 40, 96, score=0.4), box(20, 0, 60, 96, score=0.9)], "a cat\na dog")
    *_, around = nodes.ConceptMasks.execute(boxes, 0, "best score first", 0).result
    assert len(around) == 2 and around[0] == around[1]
    assert [(one["x"], one["width"], one["score"], one["label"]) for one in around[0]] == [
        (0, 20, 0.4, "a cat"),
        (20, 60, 0.9, "a dog"),
    ]
    empty, *_ = find(detector, planted.scene(TWO[1]), "red\ngreen", missing="empty concept")
    *_, around = nodes.ConceptMasks.execute(empty, 0, "best score first", 0).result
    assert [one["label"] for one in around[0]] == ["green"], "an empty concept has none"
    soft = nodes.ConceptsFromMasks.execute({"mask0": 0.25 * torch.eye(8)[None]}, "", 0, "best score first", 0).result
    assert soft[3][0][0]["width"] == 8, "a mask that is nowhere over one half has a box, too"


def test_phrases_are_checked_before_the_queue_starts():
    assert nodes.FindConcepts.validate_inputs("a cat\na dog") is True and nodes.FindConcepts.validate_inputs(None) is True
    assert "is empty" in nodes.FindConcepts.validate_inputs(" \n")
    assert "full stop" in nodes.FindConcepts.validate_inputs("a cat. a dog")


def test_box_shaped_masks_become_weights_that_sum_to_one(detector):
    batch = torch.cat([planted.scene(*TWO), planted.scene(("red", 60, 0, 90, 40))])
    boxes, *_ = find(detector, batch, "red\ngreen", missing="empty concept")
    concepts, masks, background, _ = nodes.ConceptMasks.execute(boxes, 0, "nearest box", 0.7).result
    assert masks.shape == (4, 96, 96) and background.shape == (2, 96, 96)
    assert masks.flatten(1).sum(1).tolist() == [24 * 80, 32 * 60, 30 * 40, 0]
    blend_weights, rest = concepts.blend_weights(12, 12)
    assert blend_weights.shape == (2, 2, 12, 12) and rest.shape == (2, 1, 12, 12)
    assert (blend_weights.sum(1, keepdim=True) + rest - 1).abs().max() < 2e-6 and rest.std() > 0.1  # the last bit is 1.2e-7
    assert blend_weights[0, 0].amax() > 0.9 and blend_weights[1, 1].amax() == 0


def test_masks_of_the_users_own_become_concepts_without_a_detector():
    own = torch.zeros(2, 32, 48)
    own[0, :, :20], own[1, :, 16:40] = 1, 1
    concepts, masks, background, _ = nodes.ConceptsFromMasks.execute(
        {"mask0": own}, "a cat\na dog", 0, "best score first", 0
    ).result
    assert concepts.phrases == ("a cat", "a dog") and concepts.boxes[0][1].corners == (16, 0, 40, 32)
    assert torch.equal(masks[0], own[0]) and masks[1, 0, :20].max() == 0 and background[0, :, 40:].min() == 1
    with pytest.raises(ValueError, match="`phrases` has 1 lines for 2 masks"):
        nodes.ConceptsFromMasks.execute({"mask0": own}, "a cat", 0, "best score first", 0)
    with pytest.raises(ValueError, match="needs masks of one size, but has 4x4 and 48x32"):
        nodes.ConceptsFromMasks.execute({"mask0": own, "mask1": torch.ones(1, 4, 4)}, "", 0, "best score first", 0)
    with pytest.raises(ValueError, match="Concepts From Masks: the mask of `concept 2` lies almost wholly inside"):
        nodes.ConceptsFromMasks.execute({"mask0": own[:1].repeat(2, 1, 1)}, "", 0, "best score first", 0)


def test_a_missing_file_is_named_with_its_folders_and_where_to_get_it(monkeypatch, tmp_path):
    concept_files.register()
    for category in (concept_files.DETECTORS, concept_files.SEGMENTERS):
        _, extensions = folder_paths.folder_names_and_paths[category]
        monkeypatch.setitem(folder_paths.folder_names_and_paths, category, ([str(tmp_path)], extensions))
    for node, file, url in (
        (nodes.LoadGroundingDino, "groundingdino_swint_ogc.pth", "https://huggingface.co/ShilongLiu/GroundingDINO/"),
        (nodes.LoadGroundingDino, "grounding-dino-tiny", "https://huggingface.co/IDEA-Research/grounding-dino-tiny/"),
        (nodes.LoadSegmentAnything, "sam_vit_b_01ec64.pth", "https://dl.fbaipublicfiles.com/segment_anything/"),
    ):
        category = concept_files.DETECTORS if node is nodes.LoadGroundingDino else concept_files.SEGMENTERS
        said = nodes._file_or_problem(category, file)
        assert str(tmp_path) in said and f"Get it from {url}" in said and file in said
        assert file not in next(item for item in node.define_schema().inputs if item.id == "file").options
    assert nodes.LoadGroundingDino.validate_inputs(None) is True


@pytest.fixture
def both_folders(monkeypatch, tmp_path):
    """A folder that is searched for detectors and for segmenters, and one beside it."""
    concept_files.register()
    searched, beside = tmp_path / "searched", tmp_path / "beside"
    for category in (concept_files.DETECTORS, concept_files.SEGMENTERS):
        _, extensions = folder_paths.folder_names_and_paths[category]
        monkeypatch.setitem(folder_paths.folder_names_and_paths, category, ([str(searched)], extensions))
        monkeypatch.delitem(folder_paths.filename_list_cache, category, raising=False)
    for folder in (searched, beside / "published"):
        folder.mkdir(parents=True)
    for name in ("secret.pth", "published/vocab.txt", "published/model.safetensors"):
        (beside / name).touch()
    (beside / "published" / "config.json").write_text('{"model_type": "grounding-dino"}')
    return searched, beside


def test_files_and_folders_that_are_links_are_listed_and_used(both_folders):
    """They were refused as `in none of` the folders that held them."""
    searched, beside = both_folders
    try:
        (searched / "sam.pth").symlink_to(beside / "secret.pth")
        (searched / "linked").symlink_to(beside / "published", target_is_directory=True)
        (searched / "gone.pth").symlink_to(beside / "nowhere.pth")
    except OSError:
        pytest.skip("this system makes no links")
    assert concept_files.segmenter_names() == ["sam.pth"]
    assert concept_files.detector_names() == ["sam.pth", "linked"]
    assert concept_files.find(concept_files.SEGMENTERS, "sam.pth") == searched / "sam.pth"
    assert nodes.LoadGroundingDino.validate_inputs("linked") is True
    said = nodes._file_or_problem(concept_files.SEGMENTERS, "gone.pth")
    assert "gone.pth" in said and f"is a link to {beside / 'nowhere.pth'}, which is not there" in said


@pytest.mark.parametrize(
    "name",
    ("../beside/secret.pth", "x/../../beside/secret.pth", "..\\beside\\secret.pth", "{beside}/secret.pth", "../beside/published",
     "", ".", "C:secret.pth", "a\0.pth", "x" * 5000 + ".pth", "\ud800.pth", 5, ["secret.pth"]),
)  # fmt: skip
def test_names_that_lead_out_of_the_folders_or_are_none_are_refused(both_folders, name):
    searched, beside = both_folders
    (searched / "config.json").write_text("{}")  # the folder itself is no detector
    name = name.format(beside=beside) if isinstance(name, str) else name
    for category in (concept_files.DETECTORS, concept_files.SEGMENTERS):
        assert "which is in none of" in nodes._file_or_problem(category, name)


def test_lists_hold_only_files_that_are_there(both_folders):
    """So that the frontend knows that the others are missing, and can offer those whose source a graph holds."""
    searched, beside = both_folders
    assert concept_files.detector_names() == [] == concept_files.segmenter_names()
    (beside / "published").rename(searched / "grounding-dino-tiny")
    (searched / "groundingdino_swint_ogc.pth").touch()
    for name in (concept_files.DETECTORS, concept_files.SEGMENTERS):
        folder_paths.filename_list_cache.pop(name, None)
    assert concept_files.detector_names() == ["groundingdino_swint_ogc.pth", "grounding-dino-tiny"]
    assert concept_files.segmenter_names() == ["groundingdino_swint_ogc.pth"]


def test_a_detectors_missing_parts_are_said_before_the_queue_starts(monkeypatch, tmp_path):
    monkeypatch.setitem(folder_paths.folder_names_and_paths, concept_files.DETECTORS, ([str(tmp_path)], set()))
    (tmp_path / "original.pth").touch()
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "config.json").write_text("{}")
    for file in ("original.pth", "published"):
        said = nodes.LoadGroundingDino.validate_inputs(file)
        assert said.startswith("Load Grounding DINO: ") and "vocab.txt" in said and "Get it from https://" in said
    (tmp_path / "vocab.txt").touch()
    (tmp_path / "published" / "vocab.txt").touch()
    assert nodes.LoadGroundingDino.validate_inputs("original.pth") is True
    assert "has no `model.safetensors` or `pytorch_model.bin`" in nodes.LoadGroundingDino.validate_inputs("published")
    (tmp_path / "published" / "model.safetensors").touch()
    assert nodes.LoadGroundingDino.validate_inputs("published") is True


def test_masks_that_hold_no_numbers_are_refused():
    spoiled = torch.ones(1, 8, 8)
    spoiled[0, 1, 1] = torch.inf
    with pytest.raises(ValueError, match="^Concepts From Masks: mask 2 holds NaN or infinity"):
        nodes.ConceptsFromMasks.execute({"mask0": torch.eye(8)[None], "mask1": spoiled}, "", 0, "best score first", 1.0)


def test_folders_keep_what_other_nodes_look_for_in_them(monkeypatch, tmp_path):
    known = ([str(tmp_path)], {".safetensors"})
    monkeypatch.setitem(folder_paths.folder_names_and_paths, concept_files.SEGMENTERS, known)
    monkeypatch.delitem(folder_paths.filename_list_cache, concept_files.SEGMENTERS, raising=False)
    concept_files.register()
    folders, extensions = folder_paths.folder_names_and_paths[concept_files.SEGMENTERS]
    assert str(tmp_path) in folders and extensions == {".safetensors", ".pth"}
    for name in ("sam2.safetensors", "sam_mine.pth"):
        (tmp_path / name).touch()
    names = concept_files.segmenter_names()
    assert "sam_mine.pth" in names and "sam2.safetensors" not in names


@pytest.fixture
def sam_file(tmp_path):
    pytest.importorskip("segment_anything", reason="segment-anything is not among the test tools")
    torch.save(planted.segment_anything(SEED).state_dict(), tmp_path / "tiny.pth")
    return tmp_path / "tiny.pth"


def test_segment_anything_gives_what_its_own_predictor_gives(sam_file):
    from segment_anything import SamPredictor

    picture = torch.rand(1, 40, 60, 3, generator=torch.Generator().manual_seed(0))
    boxes = ((Box(5, 5, 30, 35), None, Box(20, 2, 55, 30)),)
    segmenter = segmenting.load(sam_file)
    (masks,) = segmenter.masks(picture, boxes)
    assert masks.shape == (3, 40, 60) and not masks[1].any()
    predictor = SamPredictor(planted.segment_anything(SEED))
    predictor.set_image((picture[0] * 255).round().byte().numpy())
    for position in (0, 2):
        plain, _, _ = predictor.predict(box=torch.tensor(boxes[0][position].corners).numpy(), multimask_output=False)
        assert (masks[position].bool() != torch.from_numpy(plain[0])).float().mean() <= 1e-3
        assert 0.1 < masks[position].mean() < 0.9, "the mask is neither all nor nothing, so equality says something"
    assert (masks[0] != masks[2]).float().mean() >= 100 * 1e-3, "another box gives another mask"


def test_segment_anything_files_that_cannot_be_used_are_refused_by_name(sam_file, monkeypatch):
    state = torch.load(sam_file, weights_only=True)
    torch.save({key: value for key, value in state.items() if "iou_token" not in key}, sam_file.parent / "less.pth")
    torch.save({**state, "extra": torch.zeros(1)}, sam_file.parent / "more.pth")
    sam_file.write_bytes(sam_file.read_bytes()[:1000])
    other = "is not a Segment Anything checkpoint"
    for name, message in (("less", other), ("more", other), ("tiny", r"\(1000 bytes\) cannot be read")):
        with pytest.raises(ValueError, match=f"^Load Segment Anything: {name}.pth {message}"):
            segmenting.load(sam_file.parent / f"{name}.pth")
    monkeypatch.setitem(__import__("sys").modules, "segment_anything", None)
    assert "pip install segment-anything" in nodes.LoadSegmentAnything.validate_inputs("x.pth")
    with pytest.raises(RuntimeError, match="pip install segment-anything"):
        segmenting.load(sam_file)


def test_the_host_can_move_the_networks_and_take_their_memory_back(detector, sam_file):
    import comfy.model_management

    segmenter = segmenting.load(sam_file)
    list(detector.detect(planted.scene(), detector.token_ids("red .")))
    list(segmenter.masks(planted.scene(), ((Box(0, 0, 9, 9),),)))
    ours = (detector.patcher, segmenter.patcher)
    assert all(any(loaded.model is one for loaded in comfy.model_management.current_loaded_models) for one in ours)
    comfy.model_management.unload_all_models()
    assert not any(loaded.model is one for loaded in comfy.model_management.current_loaded_models for one in ours)


def said(output, name):
    """What a node's picture in the frontend is told."""
    (text,) = output.ui[name]
    return json.loads(text)


def test_a_box_chosen_by_hand_is_taken_and_all_candidates_are_shown(detector):
    image = planted.scene(("red", 5, 10, 25, 90), ("red", 60, 10, 90, 90), ("green", 30, 10, 50, 90))
    give = detector, torch.cat([image, image]), "Red\ngreen", "best score", 0, 0.35, 0.25, "error"
    shown = said(nodes.FindConcepts.execute(*give), "candidates")
    assert shown["phrases"] == ["red", "green"] and shown["first"] == 1 and (shown["width"], shown["height"]) == (96, 96)
    assert [[round(value) for value in box[:4]] for box in shown["found"][0][0]] == [[60, 10, 90, 90], [5, 10, 25, 90]]
    assert shown["chosen"] == [[0, 0], [0, 0]] and len(shown["pictures"]) == 2
    entry = {"picture": 2, "concept": 1, "phrase": "red", "number": 2, "box": shown["found"][0][0][1][:4]}
    text = json.dumps([entry])
    chosen = nodes.FindConcepts.execute(*give, chosen=text)
    assert [[round(box.left) for box in row] for row in chosen.result[0].chosen] == [[60, 30], [5, 30]]
    assert said(chosen, "candidates")["chosen"] == [[0, 0], [1, 0]] and said(chosen, "candidates")["text"] == text
    first, *_ = find(detector, image, "blue", missing="empty concept")
    assert said(nodes.FindConcepts.execute(detector, image, *give[2:], previous=first), "candidates")["first"] == 2
    moved = planted.scene(("red", 12, 10, 32, 90), ("red", 60, 10, 90, 90), ("green", 36, 10, 50, 90))
    with pytest.raises(
        ValueError, match=r"^Find Concepts: `chosen` names a box of `red` in picture 2 at \(5, 10, 25, 90\), but no"
    ):
        nodes.FindConcepts.execute(detector, torch.cat([image, moved]), *give[2:], chosen=text)
    with pytest.raises(ValueError, match="names picture 2, but there is 1 picture"):
        nodes.FindConcepts.execute(detector, image, *give[2:], chosen=text)


def test_a_choice_that_cannot_be_meant_is_refused_before_the_queue_starts():
    refuse = nodes.FindConcepts.validate_inputs
    assert refuse("a cat\na dog", '[{"concept": 2, "phrase": "a dog", "number": 9}]') is True and refuse(None, "[]") is True
    assert "names concept 3, but there are 2 concepts" in refuse("a cat\na dog", '[{"concept": 3, "number": 1}]')
    assert "was made for `a dog` as concept 1" in refuse("a cat", '[{"concept": 1, "phrase": "a dog", "number": 1}]')
    assert "needs a JSON list" in refuse("a cat", "2") and "needs to be text" in refuse("a cat", 2)
    assert "needs a JSON list" in nodes.ConceptMasks.validate_inputs("2")
    assert "needs to be text" in nodes.ConceptMasks.validate_inputs(2) and nodes.ConceptMasks.validate_inputs() is True


@pytest.fixture
def input_folder(monkeypatch, tmp_path):
    folder = tmp_path / "input"
    (folder / "same-subject").mkdir(parents=True)
    monkeypatch.setattr(folder_paths, "input_directory", str(folder))
    return folder


def save_painted(path, added=(), erased=(), size=(96, 96)):
    """A picture as the brush makes it. added, erased: boxes."""
    picture = Image.new("RGB", size)
    for colour, box in ((colour, box) for colour, boxes in (("#f00", added), ("#00f", erased)) for box in boxes):
        picture.paste(colour, box)
    picture.save(path)


def corrections(**more):
    return json.dumps([{"concept": 1, "file": "same-subject/one.png", **more}])


def test_painted_corrections_give_the_masks_that_were_made_by_hand(detector, input_folder):
    boxes, *_ = find(detector, torch.cat([planted.scene(*TWO)] * 2), "red\ngreen")
    save_painted(input_folder / "same-subject" / "one.png", [(60, 0, 70, 30)], [(8, 10, 32, 20)])
    made = nodes.ConceptMasks.execute(boxes, 2, "best score first", 0.7, corrections=corrections(picture=2, box=[8, 10, 32, 90]))
    concepts, masks, background, _ = made.result
    plain, plain_masks, *_ = nodes.ConceptMasks.execute(boxes, 2, "best score first", 0.7).result
    by_hand = plain_masks[2:].clone()
    by_hand[0, 10:20, 8:32] = 0
    by_hand[:, 0:30, 60:70] = torch.tensor([1.0, 0.0])[:, None, None]
    assert torch.equal(masks[:2], plain_masks[:2]) and torch.equal(masks[2:], by_hand) and masks[3].sum() < plain_masks[3].sum()
    assert torch.equal(background[1], 1 - by_hand.sum(0))
    own = places.Concepts(plain.phrases, plain.boxes, torch.stack([plain.masks[0], by_hand]), 0.7)
    for one, other in zip(concepts.blend_weights(12, 12), own.blend_weights(12, 12), strict=True):
        assert torch.equal(one, other)
    shown = said(made, "masks")
    assert shown["phrases"] == ["red", "green"] and shown["text"] == corrections(picture=2, box=[8, 10, 32, 90])
    numbers = [pixels(file) for file in shown["numbers"]]
    for number, given in zip(numbers, (plain_masks[:2], by_hand), strict=True):
        assert torch.equal(number, (given * torch.tensor([1, 2])[:, None, None]).sum(0).byte())


def pixels(file):
    """The red channel of a temporary picture."""
    with Image.open(f"{folder_paths.get_temp_directory()}/{file['subfolder']}/{file['filename']}") as picture:
        return torch.from_numpy(numpy.array(picture.convert("RGB")))[..., 0]


def test_corrections_that_do_not_fit_are_refused_with_the_remedy(detector, input_folder):
    boxes, *_ = find(detector, planted.scene(*TWO), "red\ngreen")
    path = input_folder / "same-subject" / "one.png"
    (input_folder.parent / "beside.png").write_bytes(b"")

    def refused(text):
        with pytest.raises(
            ValueError, match=r"(?s)^Concept Masks: `corrections` .*Press Clear All .*, or empty `corrections`\.$"
        ) as caught:
            nodes.ConceptMasks.execute(boxes, 0, "nearest box", 0, corrections=text)
        return str(caught.value)

    assert "names `same-subject/one.png`, which is no file in" in refused(corrections())
    assert nodes.ConceptMasks.validate_inputs(corrections()) == refused(corrections())
    for name in ("../beside.png", str(input_folder.parent / "beside.png"), "same-subject", "a\0", "x" * 5000, "\ud800", ""):
        assert "which is no file in" in refused(json.dumps([{"concept": 1, "file": name}]))
    (input_folder / "link.png").symlink_to(input_folder.parent / "beside.png")
    assert "which is no file in" in refused('[{"concept": 1, "file": "link.png"}]')
    path.write_bytes(b"no picture")
    assert "one.png, which cannot be read as a picture" in refused(corrections())
    save_painted(path, size=(48, 96))
    assert "one.png, which has 48x96 pixels, but the picture has 96x96" in refused(corrections())
    save_painted(path)
    assert "names concept 3, but there are 2 concepts" in refused(corrections(concept=3))
    assert "was made for `green` as concept 1, but that is `red` now" in refused(corrections(phrase="green"))
    assert "at (0, 0, 9, 9), but its box is at (8, 10, 32, 90) now" in refused(corrections(box=[0, 0, 9, 9]))
    save_painted(path, erased=[(0, 0, 96, 96)])
    with pytest.raises(ValueError, match="picture 1 the mask of `red` is black everywhere. Erase less of it"):
        nodes.ConceptMasks.execute(boxes, 0, "nearest box", 0, corrections=corrections())


def test_a_file_that_is_painted_over_makes_the_node_run_again(input_folder):
    path = input_folder / "same-subject" / "one.png"
    save_painted(path)
    seen = nodes.ConceptMasks.fingerprint_inputs(corrections=corrections(), boxes=None)
    assert seen == nodes.ConceptMasks.fingerprint_inputs(corrections=corrections(), boxes=None)
    save_painted(path, [(0, 0, 9, 9)])
    assert seen != nodes.ConceptMasks.fingerprint_inputs(corrections=corrections(), boxes=None)
    path.unlink()
    assert nodes.ConceptMasks.fingerprint_inputs(corrections=corrections(), boxes=None) == corrections()

"""Grounding DINO: both layouts of its files, parity with the original package, and files that must be refused."""

import json
import shutil

import pytest
import torch
from same_subject.nodes.concepts import nodes, phrases
from same_subject.nodes.concepts.host import grounding as host
from same_subject.tests.tiny import grounding as tiny
from same_subject.tests.tiny import planted_grounding as planted
from same_subject.tests.tiny.sets import gap

CAPTION = "a red ball . dog ."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.save_folder(tmp_path_factory.mktemp("models") / "grounding-dino-tiny")


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(2, 60, 90, 3, generator=torch.Generator().manual_seed(1))


def test_original_weights_give_the_original_packages_boxes_and_logits(folder, tmp_path, monkeypatch):
    """Gaps are shares of how far queries differ: 1.7e-5 of logits and 6e-5 of boxes were seen (3e-5 and 3e-7 absolute)."""
    pytest.importorskip("groundingdino", reason="the oracle groundingdino-py is not among the test tools")
    from same_subject.tests.tiny import grounding_oracle

    oracle = grounding_oracle.build(monkeypatch, folder)
    torch.save({"model": {f"module.{key}": value for key, value in oracle.state_dict().items()}}, tmp_path / "original.pth")
    shutil.copy(folder / "vocab.txt", tmp_path)
    detector = host.load(tmp_path / "original.pth")
    seen = host.prepared(torch.rand(1, 70, 90, 3, generator=torch.Generator().manual_seed(2)), 96, 128)
    with torch.no_grad():
        original = oracle(seen, captions=[CAPTION])
        logits, boxes = detector.patcher.model(seen, torch.tensor([detector.token_ids(CAPTION)]))
    tokens = len(detector.token_ids(CAPTION))
    theirs, ours = original["pred_logits"][..., :tokens], logits[..., :tokens]
    assert torch.equal(original["pred_logits"].isinf(), logits.isinf())
    assert (theirs - ours).abs().max() < 2e-4 * theirs.std(dim=1).min()
    assert (original["pred_boxes"] - boxes).abs().max() < 1e-3 * boxes.std(dim=1).min()


def test_a_published_folder_gives_what_transformers_gives(folder, pictures):
    with torch.inference_mode():  # as the host runs nodes
        detector = host.load(folder)
        assert (detector.short_side, detector.long_side) == (96, 160)
        ids = detector.token_ids(CAPTION)
        found = list(detector.detect(pictures, ids))
    network = tiny.network()
    for picture, (logits, boxes) in zip(pictures, found, strict=True):
        seen = host.prepared(picture[None], 96, 144)
        with torch.no_grad():
            plain = network(pixel_values=seen, input_ids=torch.tensor([ids]))
        assert torch.equal(plain.logits[0].isinf(), logits.isinf())
        # The same network on the same tensors: no gap was seen, and 2e-4 is what the other layout of its files needs.
        assert gap(plain.logits[0, :, : len(ids)], logits[:, : len(ids)]) < 2e-4 and gap(plain.pred_boxes[0], boxes) < 2e-4
    (first, places), (second, others) = found
    assert gap(first[:, : len(ids)], second[:, : len(ids)]) > 1 and gap(places, others) > 1, "two pictures are told apart"


def test_the_tokenizer_reads_as_transformers_does_and_parts_phrases(folder):
    import transformers

    tokenizer = host.load_tokenizer(folder / "vocab.txt")
    theirs = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    for text in (CAPTION, "A Red BALL . unknown-word .", "woman in blue ."):
        assert tokenizer.encode(text).ids == theirs(text)["input_ids"]
    ids = tokenizer.encode(phrases.caption(["a red ball", "dog"])).ids
    assert phrases.spans(ids, ["a red ball", "dog"]) == {"a red ball": range(1, 4), "dog": range(5, 6)}
    tokenizer.save(str(folder / "saved.json"))
    (folder / "saved.json").rename(folder.parent / "tokenizer.json")
    assert host.load_tokenizer(folder.parent / "tokenizer.json").encode(CAPTION).ids == theirs(CAPTION)["input_ids"]
    (folder.parent / "tokenizer.json").unlink()


def test_a_size_is_fitted_by_the_published_rule():
    assert host.fitted(480, 640, 800, 1333) == (800, 1066)
    assert host.fitted(640, 480, 800, 1333) == (1066, 800)
    assert host.fitted(500, 2000, 800, 1333) == (333, 1332)
    assert host.fitted(512, 512, 800, 1333) == (800, 800)


def test_planted_weights_find_each_colour_in_its_place(tmp_path):
    """All of the network but its boxes' sizes, from a file: the stand-in that scenes on the live server use."""
    detector = host.load(planted.save_folder(tmp_path / "planted"))
    blobs = {"left": (1, 2, 7, 8), "right": (12, 2, 18, 8)}
    for sides in (("left", "right"), ("right", "left")):
        picture = planted.scene(*(blobs[side] for side in sides), scale=4)
        rule = (picture, "a green man\na blue woman", "best score", 0, 0.35, 0.25, "error")
        boxes, *_ = nodes.FindConcepts.execute(detector, *rule).result
        for side, box in zip(sides, boxes.chosen[0], strict=True):
            left, top, right, bottom = (planted.CELL * 4 * edge for edge in blobs[side])
            assert left < box.centre[0] < right and top < box.centre[1] < bottom, (side, box)
            assert box.score > 0.9
    with pytest.raises(ValueError, match="nothing was found for `a red ball` in picture 1: its best score was 0.0"):
        nodes.FindConcepts.execute(detector, picture, "a red ball", *rule[2:])


@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16))
def test_pictures_in_half_precision_are_searched_in_full_precision(folder, pictures, dtype):
    detector, rough = host.load(folder), pictures.to(dtype)
    ids = detector.token_ids(CAPTION)
    for half, full in zip(detector.detect(rough, ids), detector.detect(rough.float(), ids), strict=True):
        assert all(one.dtype == torch.float32 and torch.equal(one, other) for one, other in zip(half, full, strict=True))
    boxes, _, _, preview = nodes.FindConcepts.execute(
        detector, rough, "a red ball\ndog", "best score", 0, 0.0, 0.0, "empty concept"
    ).result
    assert any(box for row in boxes.chosen for box in row) and (preview - rough.float()).abs().max() > 0.1


@pytest.mark.parametrize("flag", ("fp16_unet", "bf16_unet"))
def test_the_hosts_precision_for_diffusion_models_leaves_the_detector_as_published(folder, pictures, flag, monkeypatch):
    import comfy.model_management
    from comfy.cli_args import args

    def search():
        detector = host.load(folder)
        return next(detector.detect(pictures, detector.token_ids(CAPTION)))

    plain = search()
    monkeypatch.setattr(args, flag, True)
    assert comfy.model_management.unet_dtype() in (torch.float16, torch.bfloat16)
    assert all(torch.equal(one, other) for one, other in zip(search(), plain, strict=True))
    assert plain[0][:, 1].std() > 0 and plain[1].std() > 0


class Dangerous:
    def __reduce__(self):
        return (print, ("code of a downloaded file ran",))


def broken(folder, tmp_path, what):
    """(path, message) of a copy of the tiny model that must be refused."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    if what == "no weights":
        (copy / "model.safetensors").unlink()
        return copy, "copy has no `model.safetensors` or `pytorch_model.bin`"
    if what == "no tokenizer":
        (copy / "vocab.txt").unlink()
        return copy, "there is no `tokenizer.json` or `vocab.txt` in"
    if what == "other tokenizer":
        (copy / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n.\n?\na\n")
        return copy, "has the separators at"
    if what == "truncated":
        whole = (copy / "model.safetensors").read_bytes()
        (copy / "model.safetensors").write_bytes(whole[:-100])
        return copy, "model.safetensors .* cannot be read"
    if what == "other configuration":
        said = json.loads((copy / "config.json").read_text()) | {"decoder_layers": 3}
        (copy / "config.json").write_text(json.dumps(said))
        return copy, "weights do not fit its configuration"
    if what == "code":
        torch.save({"model": {"a": Dangerous()}}, copy / "code.pth")
        return copy / "code.pth", "code.pth .* cannot be read"
    torch.save({"weight": torch.zeros(1)}, copy / "other.pth")
    return copy / "other.pth", "1 of its 1 weights are not those of a Grounding DINO"


WRONG = ("no weights", "no tokenizer", "other tokenizer", "truncated", "other configuration", "code", "other network")


EDGES = (("800", 1333), (1e9, 1e9), (True, 1333), (900, 400), (800, None), (-1, 1333), (800, 10**9))
SIZES = ([800, 1333], "800", 800, *({"shortest_edge": short, "longest_edge": long} for short, long in EDGES))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_size_that_makes_no_sense_is_refused_by_file(folder, tmp_path, size):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "preprocessor_config.json").write_text(json.dumps({"size": size}))
    with pytest.raises(ValueError, match="^Load Grounding DINO: .*preprocessor_config.json cannot be used: its `size` is "):
        host.load(copy)
    (copy / "preprocessor_config.json").write_text(json.dumps({"size": None}))
    assert (host.load(copy).short_side, host.load(copy).long_side) == (800, 1333), "as published"


@pytest.mark.parametrize("what", WRONG)
def test_files_that_cannot_be_used_are_refused_by_name(folder, tmp_path, capsys, what):
    path, message = broken(folder, tmp_path, what)
    with pytest.raises(ValueError, match=f"^Load Grounding DINO: .*{message}"):
        host.load(path)
    assert "code of a downloaded file ran" not in capsys.readouterr().out

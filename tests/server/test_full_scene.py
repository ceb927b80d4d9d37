"""Scenes on the live server as a user builds them: from phrases to masks to faces to a saved picture, all from files.

Every loader is the real one. What it loads stands in: the checkpoint, the ControlNet (in the published layout) and
InstantID's adapter have random weights; Grounding DINO (finds green and blue), Segment Anything (cuts out what is
not grey) and the face pack (finds red squares) are planted.

The checkpoint is of SD1.5's family, because one of SDXL takes gigabytes. With SAME_SUBJECT_SDXL=1 these tests run on SDXL,
its ControlNet and InstantID's 70 layers in full size: they need 12 GB of disk and 20 GB of memory.
"""

import json
import shutil

import numpy
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from same_subject.dev import client, pack
from same_subject.dev.benchmark import measuring
from same_subject.dev.benchmark import models as full_size
from same_subject.nodes.concepts import masks as pipeline
from same_subject.tests.server import checkpoints, graphs
from same_subject.tests.server.graphs import changed, link, node
from same_subject.tests.tiny import face_models, grounding, identities, planted_grounding, planted_segmenting

pytest.importorskip("insightface", reason="insightface is a test tool of its own; `python3 dev/test.py` brings it")
pytest.importorskip("onnx", reason="onnx makes the synthetic pack")
pytest.importorskip("segment_anything", reason="segment-anything is not among the test tools")

PLACES = (1, 2, 7, 8), (12, 2, 18, 8)
"""Where the base picture has its green and its blue blob, in places of the detector."""
FACES = (4, 4, 0.8, 0.3), (5, 14, 0.8, 0.3)
"""The face on each: row, column, red, blue of the face pack's grid, which is the detector's at this size."""
PEOPLE = {"anna": (4, 4, 0.9, 1.0), "bert": (9, 12, 0.8, 0.3), "cyd": (6, 9, 1.0, 0.6)}
WIDTH, HEIGHT, STEPS = 128, 64, 3
ROUNDING = 1e-4
CONTEXT, CHANNELS, INNER, GAIN = 768, checkpoints.LEVELS_CROSS_ATTENTION, 64, 3.0
if checkpoints.USE_SDXL:
    CONTEXT, CHANNELS = full_size.UNETS["sdxl"]["context_dim"], full_size.adapter_channels("sdxl")
    INNER, GAIN = full_size.RESAMPLER_WIDTH["sdxl"], 15.0


def base(*faces):
    """The base picture [1, 320, 640, 3]."""
    picture = planted_grounding.scene(*PLACES, scale=4)
    for row, column, red, blue in faces:
        rows, columns = (slice(at * face_models.GRID, (at + 1) * face_models.GRID) for at in (row, column))
        picture[0, rows, columns] = torch.tensor([red, 0.0, blue])
    return picture


@pytest.fixture(scope="module")
def ready(live):
    """The server with every file of a scene, some that must be refused, and the pictures."""
    models = live.base / "models"
    folders = {name: models / name for name in ("checkpoints", "instantid", "controlnet", "sams", "grounding-dino")}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
    large = [folders["checkpoints"] / "scene.safetensors", folders["controlnet"] / "face.safetensors"]
    if checkpoints.USE_SDXL:
        checkpoints.save_sdxl(large[0])
        checkpoints.save_control(large[1], full_size.UNETS["sdxl"])
    else:
        checkpoints.save_sd15(large[0], checkpoints.LEVELS)
        checkpoints.save_control(large[1])
    for name, width in {"scene": CONTEXT, "narrow": identities.WIDTH}.items():
        large.append(folders["instantid"] / f"{name}.bin")
        torch.save(identities.adapter_state(width=width, channels=CHANNELS, inner=INNER, gain=GAIN), large[-1])
    measuring.trim()  # the server that reads the files needs the memory
    torch.save(planted_segmenting.segment_anything().state_dict(), folders["sams"] / "tiny.pth")
    planted_grounding.save_folder(folders["grounding-dino"] / "planted")
    face_models.save_pack(models / "insightface" / "models" / "antelopev2")
    _save_broken(folders)
    pictures = {name: face_models.picture(face) for name, face in PEOPLE.items()}
    pictures |= {"base": base(*FACES)[0], "one_face": base(FACES[0])[0], "mirrored": base(*FACES)[0].flip(1)}
    for name, pixels in pictures.items():
        Image.fromarray((pixels * 255).round().byte().numpy()).save(live.base / f"{name}.png")
        live.client.upload(live.base / f"{name}.png")
    yield live
    for file in large:
        file.unlink()


def _save_broken(folders):
    """Files that are damaged, or are not what they are taken for."""
    part = (folders["sams"] / "tiny.pth").read_bytes()[:20000]
    (folders["sams"] / "cut.pth").write_bytes(part)
    (folders["grounding-dino"] / "cut.pth").write_bytes(part)
    (folders["controlnet"] / "cut.safetensors").write_bytes((folders["controlnet"] / "face.safetensors").read_bytes()[:20000])
    save_file({"lora.weight": torch.zeros(4)}, folders["controlnet"] / "other.safetensors")
    grounding.vocabulary(folders["grounding-dino"])
    homeless = folders["grounding-dino"] / "homeless"
    shutil.copytree(folders["grounding-dino"] / "planted", homeless, ignore=shutil.ignore_patterns("vocab.txt"))


def finding(phrases="a green man\na blue woman", segmenter="tiny.pth", **more):
    """Base picture -> Find Concepts -> Concept Masks -> the masks as pictures. more: inputs of Concept Masks."""
    graph = {
        "base": node("LoadImage", image="base.png"),
        "detector": node("ConceptDetectorLoader", file="planted"),
        "find": node(
            "ConceptFind", detector=link("detector"), image=link("base"), phrases=phrases, order="best score", index=0,
            box_threshold=0.35, text_threshold=0.25, if_missing="error",
        ),
        "segmenter": node("ConceptSegmenterLoader", file=segmenter),
        "masks": node(
            "ConceptMasks", boxes=link("find"), segmenter=link("segmenter"),
            **{"grow": 8, "overlaps": "nearest box", "feather": 0.0, **more},
        ),
        "mask_pictures": node("MaskToImage", mask=link("masks", 1)),
        "saved_masks": node("SaveImage", images=link("mask_pictures"), filename_prefix="masks"),
    }  # fmt: skip
    return graph


def scene(people=("anna", "bert"), continue_from="blend", last_steps=0, words="a green man and a blue woman", adapter="scene.bin",
          control_net="face.safetensors", file="scene.safetensors"):  # fmt: skip
    """Two people on the base picture's places, each with adapter and ControlNet of its own face."""
    graph = finding() | {
        "checkpoint": node("CheckpointLoaderSimple", ckpt_name=file),
        "instantid": node("IdentityLoader", adapter=adapter, control_net=control_net),
        "analysis": node("IdentityFaceAnalysis", files="any", device="cpu"),
        "words": node("CLIPTextEncode", clip=link("checkpoint", 1), text=words),
        "null": node("CLIPTextEncode", clip=link("checkpoint", 1), text="blurry"),
    }  # fmt: skip
    model, before = link("checkpoint"), {}
    for number, (name, text) in enumerate(zip(people, ("a green man", "a blue woman"), strict=True)):
        graph |= {
            f"picture{number}": node("LoadImage", image=f"{name}.png"),
            f"person{number}": node(
                "IdentityFromPictures", face_analysis=link("analysis"), face="largest", number=0, x=0.5, y=0.5,
                **{"images.image0": link(f"picture{number}")},
            ),
            f"apply{number}": node(
                "IdentityApply", model=model, adapter=link("instantid"), identity=link(f"person{number}"), weight=0.8,
                start_percent=0.0, end_percent=1.0,
            ),
            f"words{number}": node("CLIPTextEncode", clip=link("checkpoint", 1), text=text),
            f"place{number}": node(
                "IdentityKeypoints", face_analysis=link("analysis"), image=link("base"), mask=link("masks", 1), face="largest",
                number=0, x=0.5, y=0.5, concept=number + 1,
            ),
            f"control{number}": node(
                "IdentityControl", positive=link(f"words{number}"), negative=link("null"), control_net=link("instantid", 1),
                adapter=link("instantid"), identity=link(f"person{number}"), keypoints=link(f"place{number}"), strength=0.8,
                start_percent=0.0, end_percent=1.0,
            ),
            f"branch{number}": node(
                "ConceptBranch", positive=link(f"control{number}"), negative=link(f"control{number}", 1), **before
            ),
        }  # fmt: skip
        model, before = link(f"apply{number}"), {"previous": link(f"branch{number}")}
    graph |= {
        "scene": node(
            "ConceptScene", model=model, branches=before["previous"], concepts=link("masks"), continue_from=continue_from,
            last_steps=last_steps, feather=0.0,
        ),
        "empty": node("EmptyLatentImage", width=WIDTH, height=HEIGHT, batch_size=1),
        "sampler": node(
            "KSampler", model=link("scene"), positive=link("words"), negative=link("null"), latent_image=link("empty"), seed=1,
            steps=STEPS, cfg=2.0, sampler_name="euler", scheduler="normal", denoise=1.0,
        ),
        "decode": node("VAEDecode", samples=link("sampler"), vae=link("checkpoint", 2)),
        "save": node("SaveImage", images=link("decode"), filename_prefix="scene"),
        "latent": node("SaveLatent", samples=link("sampler"), filename_prefix="scene"),
    }  # fmt: skip
    return graph


def latents_of(live, outputs):
    """What a run of a scene saved: [rows, 4, h, w]."""
    (entry,) = outputs["latent"]["latents"]
    return load_file(live.base / "output" / entry["subfolder"] / entry["filename"])["latent_tensor"]


class Painted:
    """A run of a scene: its picture [H, W, 3] in 0 to 1, its latents [4, h, w], and where it has one branch alone [3, h, w].

    The background comes first.
    """

    def __init__(self, live, graph):
        outputs = live.client.run(graph)
        (entry,) = outputs["save"]["images"]
        self.picture = torch.from_numpy(numpy.array(graphs.open_picture(live, entry))) / 255
        (self.latents,) = latents_of(live, outputs)
        masks = [graphs.open_picture(live, entry).convert("L") for entry in outputs["saved_masks"]["images"]]
        own = torch.stack([torch.from_numpy(numpy.array(mask)) for mask in masks]) / 255
        blend_weights, background = pipeline.blend_weights(own, HEIGHT // 8, WIDTH // 8, 0.0)
        self.alone = torch.cat((background, blend_weights)) > 0.999

    def change(self, other):
        """Root mean square difference of the latents where the background, the first and the second concept are alone."""
        difference = (self.latents - other.latents).square().mean(0)
        return [difference[place].mean().sqrt().item() for place in self.alone]

    def seen_change(self, other):
        """The same on the pictures."""
        difference = (self.picture - other.picture).square().mean(-1)
        alone = torch.nn.functional.interpolate(self.alone[None].float(), difference.shape)[0] > 0
        return [difference[place].mean().sqrt().item() for place in alone]


@pytest.fixture(scope="module")
def runs(ready):
    """Runs of `scene` by their arguments, each made once."""
    made = {}

    def run(**arguments):
        key = json.dumps(arguments)
        if key not in made:
            made[key] = Painted(ready, scene(**arguments))
        return made[key]

    return run


@pytest.mark.parametrize("mode", ("blend", "own"))
def test_each_identity_changes_the_picture_in_its_own_mask(runs, mode):
    """Of pixels less is asked: the decoder, with its random weights, spreads every change over the whole picture."""
    painted = runs(continue_from=mode)
    for concept, people in ((1, ("cyd", "bert")), (2, ("anna", "cyd"))):
        other = runs(continue_from=mode, people=people)
        for changes, least in ((painted.change(other), 20), (painted.seen_change(other), 2)):
            inside = changes.pop(concept)
            assert inside > least * max(changes), (concept, inside, changes)


@pytest.mark.parametrize("mode", ("blend", "own"))
def test_the_background_follows_the_prompt_of_the_scene(runs, mode):
    background, *concepts = runs(continue_from=mode).change(runs(continue_from=mode, words="a beach at night"))
    assert background > 10 * max(concepts)


def test_a_background_that_goes_on_by_itself_is_that_of_the_plain_picture(ready, runs):
    plain = Painted(ready, changed(scene(), "sampler", model=link("checkpoint")))
    background, *concepts = runs(continue_from="own", last_steps=STEPS).change(plain)
    assert background < ROUNDING * plain.latents.std() and min(concepts) > 100 * ROUNDING * plain.latents.std()


def test_a_batch_of_base_pictures_gives_a_scene_on_each(ready, runs):
    """The first row has the noise of a batch of one, and its base picture."""
    graph = changed(scene(), "empty", batch_size=2)
    for one in graph.values():
        one["inputs"] |= {name: link("both") for name, value in one["inputs"].items() if value == link("base")}
    graph["second"] = node("LoadImage", image="mirrored.png")
    graph["both"] = node("ImageBatch", image1=link("base"), image2=link("second"))
    rows = latents_of(ready, ready.client.run(graph))
    single = runs(continue_from="blend").latents
    assert (rows[0] - single).abs().max() < ROUNDING * single.std()
    other = latents_of(ready, ready.client.run(changed(graph, "second", image="base.png")))
    assert (rows[0] - other[0]).abs().max() < ROUNDING * single.std()
    assert (rows[1] - other[1]).square().mean().sqrt() > 100 * ROUNDING * single.std()


def wrong_graphs():
    """By what is wrong: a graph, the node that must say so, and parts of what it must say."""
    twice = finding()
    twice["again"] = changed(twice, "find", phrases="a green ball", previous=link("find"))["find"]
    twice = changed(twice, "masks", boxes=link("again"))
    return {
        "two concepts on one instance, from two nodes": (
            twice, "ConceptFind", "`a green man` and `a green ball` were found at one and the same place", "Use words",
        ),
        "two concepts on one instance, from one node": (
            finding("a green man\na green woman"), "ConceptFind", "every box of `a green woman` in picture 1 fits `a green man`",
            "Describe the two by different words",
        ),
        "masks that overlap entirely": (
            finding(overlaps="best score first"), "ConceptMasks", "lies almost wholly inside that of", "set `overlaps`",
        ),
        "no face in a concept's mask": (
            changed(scene(), "base", image="one_face.png"), "IdentityKeypoints", "no face was found inside the mask of concept 2",
            "another seed",
        ),
        "a ControlNet for wider face tokens": (
            scene(adapter="narrow.bin"), "IdentityControl", f"takes a context of width [{CONTEXT}], but face tokens have 64",
            "Load InstantID's own ControlNet",
        ),
        "a file that is no ControlNet": (
            scene(control_net="other.safetensors"), "IdentityLoader", "other.safetensors is not a ControlNet in the published",
            "InstantX/InstantID",
        ),
        "a damaged ControlNet": (
            scene(control_net="cut.safetensors"), "IdentityLoader", "cut.safetensors (20000 bytes) cannot be read",
            "InstantX/InstantID",
        ),
        "a damaged detector": (
            changed(finding(), "detector", file="cut.pth"), "ConceptDetectorLoader", "cut.pth (20000 bytes) cannot be read",
            "Download it again",
        ),
        "a damaged segmenter": (
            finding(segmenter="cut.pth"), "ConceptSegmenterLoader", "cut.pth (20000 bytes) cannot be read", "Download it again",
        ),
    }  # fmt: skip


@pytest.mark.parametrize("what", wrong_graphs())
def test_what_is_wrong_is_said_by_its_node_with_the_remedy_and_the_server_goes_on(ready, what):
    graph, kind, *parts = wrong_graphs()[what]
    with pytest.raises(client.NodeFailed) as caught:
        ready.client.run(graph)
    assert caught.value.node_type == kind
    for part in parts:
        assert part in " ".join(caught.value.reason.split())
    assert len(ready.client.run(finding(grow=len(what)))["saved_masks"]["images"]) == 2


def test_a_detector_without_its_tokenizer_is_refused_before_the_queue_starts(ready):
    with pytest.raises(client.Refused) as caught:
        ready.client.run(changed(finding(), "detector", file="homeless"))
    ((_, said),) = caught.value.node_errors.items()
    assert said["class_type"] == "ConceptDetectorLoader" and len(said["errors"]) == 1
    said = " ".join(str(caught.value).split())
    assert "no `tokenizer.json` or `vocab.txt` in" in said and "bert-base-uncased" in said


LONG = {
    "Two People in One Picture - SDXL": "scene_sdxl_two_people",
    "People in Places You Paint - SDXL": "scene_sdxl_own_masks",
}
"""The workflows of people, and the graphs with a node for every step of theirs that shipped before."""


def person_by_person(name, **pictures):
    """The graph with a node for every step, with the sampler and the form of blending of the workflow that ships."""
    graph = shipped(LONG[name], pack.ROOT / "tests" / "saved" / "v0.2-long" / "api", **pictures)
    for one in graph.values():
        if one["class_type"] == "KSampler":
            one["inputs"]["sampler_name"] = "euler"
        if one["class_type"] == "ConceptScene":
            one["inputs"] |= {"continue_from": "own", "last_steps": 2}
    return graph


def picture_of(ready, graph):
    (saver,) = [key for key, one in graph.items() if one["class_type"] == "SaveImage"]
    (entry,) = ready.client.run(graph)[saver]["images"]
    return graphs.open_picture(ready, entry)


def test_the_workflow_of_two_people_paints_with_16_nodes_what_a_node_for_every_step_paints(ready):
    name = "Two People in One Picture - SDXL"
    long, graph = person_by_person(name), shipped(name)
    assert len(graph) <= 16 < len(long)
    painted = [picture_of(ready, each).tobytes() for each in (long, graph, shipped(name, **{"Second portrait": "cyd.png"}))]
    assert painted[0] == painted[1] != painted[2]


def concepts_of(graph):
    return [key for key, one in graph.items() if one["class_type"] == "SceneConcept"]


def test_what_is_wrong_in_a_node_a_person_is_said_with_the_remedy(ready):
    graph = shipped("Two People in One Picture - SDXL")
    (scene_,) = [key for key, one in graph.items() if one["class_type"] == "SceneCompose"]
    (tools,) = [key for key, one in graph.items() if one["class_type"] == "SceneToolsLoader"]
    base = graph[scene_]["inputs"]["image"][0]
    for wrong, kind, said in (
        (changed(graph, base, image="one_face.png"), "SceneCompose", "no face was found inside the mask of concept 2"),
        (
            changed(graph, concepts_of(graph)[1], phrase="a red cat"),
            "SceneCompose",
            "Compose Scene: nothing was found for `a red",
        ),
        (changed(graph, tools, control_net="cut.safetensors"), "SceneToolsLoader", "cut.safetensors (20000 bytes) cannot be"),
    ):
        with pytest.raises(client.NodeFailed) as caught:
            ready.client.run(wrong)
        assert caught.value.node_type == kind and said in " ".join(caught.value.reason.split())
    with pytest.raises(client.Refused, match="SceneToolsLoader") as refused:
        ready.client.run(changed(graph, tools, detector="other.pth", segmenter="other.pth"))
    (answer,) = refused.value.node_errors.values()
    whole = [error["details"] for error in answer["errors"] if "other.pth" in error["details"]]
    assert len(whole) == 1 and whole[0].count("other.pth") >= 2, "what is missing is said once, for all inputs"


STAND_INS = {
    "CheckpointLoaderSimple": {"ckpt_name": "scene.safetensors"},
    "ConceptDetectorLoader": {"file": "planted"},
    "ConceptSegmenterLoader": {"file": "tiny.pth"},
    "IdentityLoader": {"adapter": "scene.bin", "control_net": "face.safetensors"},
    "IdentityFaceAnalysis": {"files": "any", "device": "cpu"},
    "ConceptFind": {"phrases": "a green man\na blue woman"},
    "ConceptMasks": {"overlaps": "nearest box"},
    "SceneToolsLoader": {
        "detector": "planted", "segmenter": "tiny.pth", "adapter": "scene.bin", "face_analysis": "any",
        "control_net": "face.safetensors", "device": "cpu",
    },
    "SceneCompose": {"overlaps": "nearest box"},
    "EmptyLatentImage": {"width": WIDTH, "height": HEIGHT},
    "ImageScaleToTotalPixels": {"megapixels": 160 * 320 / 2**20},
    "KSampler": {"steps": 2},
}  # fmt: skip
"""What differs in the workflows that ship with the pack, by node: files, and what the planted ones can find."""
PICTURES = {
    "Your base picture": "base.png",
    "Mask of the first person": "left.png",
    "Mask of the second person": "right.png",
    "Portrait of the first person": "anna.png",
    "Portrait of the second person": "bert.png",
    "First mask": "left.png",
    "Second mask": "right.png",
    "First portrait": "anna.png",
    "Second portrait": "bert.png",
}
"""By the title of the node that loads it."""
PHRASES = {"a woman": "a green man", "a man": "a blue woman"}
"""What the planted detector finds instead."""


def shipped(name, folder=pack.ROOT / "workflows" / "api", **pictures):
    """A workflow of two people as it ships, on the stand-ins. A random model paints no faces: the base picture is a file."""
    graph = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    for one in graph.values():
        title = one.pop("_meta")["title"]
        one["inputs"] |= STAND_INS.get(one["class_type"], {})
        if one["class_type"] == "LoadImage":
            one["inputs"]["image"] = pictures.get(title, PICTURES[title])
        if one["class_type"] == "SceneConcept":
            one["inputs"]["phrase"] = PHRASES[one["inputs"]["phrase"]]
    painted = [key for key, one in graph.items() if one["class_type"] == "VAEDecode" and not feeds_a_saver(graph, key)]
    for key in painted:
        graph[key] = node("LoadImage", image="base.png")
    return graph


def feeds_a_saver(graph, key):
    return any(one["class_type"] == "SaveImage" and one["inputs"]["images"][0] == key for one in graph.values())


@pytest.mark.parametrize("name", ("Two People in One Picture - SDXL", "People in Places You Paint - SDXL"))
def test_the_workflows_of_two_people_run_as_they_ship(ready, name):
    for side, columns in {"left": slice(0, 320), "right": slice(320, 640)}.items():
        drawn = torch.full((320, 640, 4), 255, dtype=torch.uint8)
        drawn[:, columns, 3] = 0  # what the mask editor paints becomes transparent
        Image.fromarray(drawn.numpy()).save(ready.base / f"{side}.png")
        ready.client.upload(ready.base / f"{side}.png")
    pictures = [picture_of(ready, shipped(name, **other)) for other in ({}, {"Second portrait": "cyd.png"})]
    assert pictures[0].size == ((WIDTH, HEIGHT) if name == "Two People in One Picture - SDXL" else (320, 160))
    assert pictures[0].tobytes() != pictures[1].tobytes(), "a portrait of another person gives another picture"

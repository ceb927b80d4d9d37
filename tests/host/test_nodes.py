"""The nodes as the host sees them: schemas, help pages, inputs that are refused, and a whole graph in one process."""

import asyncio
import copy
import json
import re

import folder_paths
import numpy
import pytest
import same_subject
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from same_subject.dev import pack
from same_subject.nodes.concepts.host import files as concept_files
from same_subject.nodes.concepts.host import segmenting
from same_subject.nodes.demo.host import pictures as demo_pictures
from same_subject.nodes.demo.nodes import LoadDemoModel
from same_subject.nodes.identity.host import face_analysis
from same_subject.nodes.identity.host import files as identity_files
from same_subject.nodes.joint.host import sets as joint_sets
from same_subject.nodes.joint.host import subject_files
from same_subject.nodes.joint.nodes import ApplyJeDi, JeDiOptions, JointSetNode, PickPictures, ReferencePictures
from same_subject.nodes.joint.references import Reference
from same_subject.nodes.metrics.host import files as score_files
from same_subject.nodes.subject.host import files as subject_adapter_files
from same_subject.nodes.subject.nodes import SubjectNode
from same_subject.nodes.synthesis.host import captioning
from same_subject.tests.server import graphs
from same_subject.tests.tiny import models
from same_subject.tests.tiny import subject_adapter_files as tiny_subject_adapters

import nodes as host_nodes

DOCS = pack.ROOT / "js" / "docs"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A folder of demo models with one that works."""
    folder = tmp_path_factory.mktemp("jedi_demo")
    models.save_demo(folder / "tiny.safetensors")
    before = dict(folder_paths.folder_names_and_paths)
    folder_paths.folder_names_and_paths["jedi_demo"] = ([str(folder)], {".safetensors"})
    yield folder
    folder_paths.folder_names_and_paths.clear()
    folder_paths.folder_names_and_paths.update(before)


@pytest.fixture(scope="module")
def extension(demo):
    concept_files.register()
    identity_files.register()
    subject_files.register()
    subject_adapter_files.register()
    score_files.register()
    captioning.register()
    return asyncio.run(same_subject.comfy_entrypoint())


@pytest.fixture(scope="module")
def loaded(demo):
    return LoadDemoModel.execute("tiny.safetensors").result


@pytest.fixture
def host_nodes_with_ours(extension, monkeypatch):
    ours = {node.GET_SCHEMA().node_id: node for node in asyncio.run(extension.get_node_list())}
    for name, node in {**graphs.stock_nodes(), **ours}.items():
        monkeypatch.setitem(host_nodes.NODE_CLASS_MAPPINGS, name, node)


def schemas(extension):
    return {node.GET_SCHEMA().node_id: node.GET_SCHEMA() for node in asyncio.run(extension.get_node_list())}


def test_the_pack_lists_its_nodes(extension):
    assert list(schemas(extension)) == [
        "JediDemoLoader",
        "ExamplePictures",
        "JediReferences",
        "JediSaveSubject",
        "JediLoadSubject",
        "JediJointSet",
        "JediOptions",
        "JediApply",
        "JediRecord",
        "JediPick",
        "JediCorrespondence",
        "ConceptDetectorLoader",
        "ConceptSegmenterLoader",
        "ConceptFind",
        "ConceptsFromBoxes",
        "ConceptMasks",
        "ConceptsFromMasks",
        "IdentityLoader",
        "IdentityFaceAnalysis",
        "IdentityFromPictures",
        "IdentityKeypoints",
        "IdentityApply",
        "IdentityControl",
        "SceneToolsLoader",
        "SceneConcept",
        "SceneCompose",
        "ConceptBranch",
        "ConceptScene",
        "DemoToolsLoader",
        "SubjectAdapterLoader",
        "SubjectPicture",
        "SubjectPrompt",
        "SubjectApply",
        "ScoreModelsLoader",
        "ScoreSubject",
        "ScoreBestOf",
        "NearestReferences",
        "TrainJointModel",
        "S3Prompts",
        "S3Group",
        "S3Paste",
        "S3Caption",
        "S3Save",
        "CheckFiles",
        "IdentityApplyInstantID",
        "IdentityApplyInstantIDAdvanced",
        "IdentityInstantIDKeypoints",
        "IdentityInstantIDAttention",
        "IdentityInstantIDControlNet",
    ]


def test_every_node_is_described_and_every_input_and_output_has_a_tooltip(extension):
    for name, schema in schemas(extension).items():
        root, *flow = schema.category.split("/")
        assert root == "Same Subject" and flow in (
            ["JeDi"],
            ["Concepts"],
            ["Identity"],
            ["Subjects"],
            ["Training"],
            ["Scores"],
            ["Training Data"],
            [],
        ), name
        assert schema.description and schema.display_name, name
        assert len(schema.search_aliases) >= 3 or schema.is_deprecated, name
        for item in (*schema.inputs, *schema.outputs):
            assert item.tooltip and item.tooltip.endswith("."), f"{name}.{item.id}"


def test_every_node_has_a_help_page_that_names_every_input_and_output(extension):
    for name, schema in schemas(extension).items():
        text = (DOCS / f"{name}.md").read_text()
        assert text.startswith(f"# {schema.display_name}\n"), name
        assert "## Example" in text, name
        for item in (*schema.inputs, *schema.outputs):
            assert f"`{item.id if item in schema.inputs else item.display_name or item.io_type}`" in text, f"{name}.{item.id}"


def test_every_help_page_belongs_to_a_node(extension):
    assert {path.stem for path in DOCS.glob("*.md")} == set(schemas(extension))


def references(count=2, captions="a photo of a ball", **inputs):
    generator = torch.Generator().manual_seed(0)
    images = {f"image{i}": torch.rand(1, 70, 90, 3, generator=generator) for i in range(count)}
    return ReferencePictures.execute(images, captions, "crop", "grey", **inputs).result[0]


def joint_set(loaded, prompts="a ball on the beach\na ball at night", **inputs):
    _, clip, vae, _ = loaded
    settings = {"negative": "", "pictures": 0, "sets": 1, "width": 64, "height": 64, "reference_seed": 0, **inputs}
    return JointSetNode.execute(clip, vae, settings.pop("references", None) or references(), prompts, **settings).result


def test_the_basic_graph_paints_pictures(loaded):
    model, _, vae, _ = loaded
    with torch.inference_mode():
        positive, negative, latent, one = joint_set(loaded, sets=2)
        assert latent["samples"].shape == (8, 4, 8, 8) and len(latent["batch_index"]) == 8
        painter = ApplyJeDi.execute(model, one, "joint", 5.0, 0.0, 1.0).result[0]
        (samples,) = host_nodes.KSampler().sample(painter, 1, 2, 3.0, "euler", "normal", positive, negative, latent, 1.0)
        picked = PickPictures.execute(samples, one, "generated", "0").result[0]
        pictures = vae.decode(picked["samples"])
        assert pictures.shape == (4, 64, 64, 3) and pictures.isfinite().all()
        assert picked["batch_index"] == [0, 1, 64, 65]
        everything = vae.decode(samples["samples"])
        kept = PickPictures.execute(everything, one, "references", "0").result[0]
        assert torch.equal(kept, everything[one.layout.reference_rows])
        last = PickPictures.execute(everything, one, "index", "3, 0").result[0]
        assert torch.equal(last, everything[[3, 0, 7, 4]])


def test_a_set_takes_its_size_from_the_first_reference(loaded):
    _, _, latent, one = joint_set(loaded, width=0, height=0)
    assert tuple(one.references.shape) == (2, 4, 7, 9) and latent["samples"].shape[-2:] == (7, 9), "90x70 on 64x64"
    small = ReferencePictures.execute({"image0": torch.rand(1, 45, 90, 3)}, "", "crop", "grey").result[0]
    _, _, latent, _ = joint_set(loaded, width=0, height=0, references=small)
    assert latent["samples"].shape[-2:] == (5, 11), "rounded down"


@pytest.mark.parametrize("width, expected", ((768, (440, 592)), (2048, (888, 1184)), (64, (56, 72))))
def test_a_photo_does_not_make_a_set_of_many_megapixels(loaded, width, expected):
    """A photo of 12 megapixels made a set of 12 megapixels."""
    _, clip, vae, _ = loaded

    class OfWidth:
        def tokenize(self, text):
            return text

        def encode_from_tokens_scheduled(self, text, show_pbar=True):
            return [[torch.zeros(1, 77, width), {}]]

    class Sized:
        def __getattr__(self, name):
            return getattr(vae, name)

        def encode(self, pictures):
            self.asked = tuple(pictures.shape[1:3])
            return torch.zeros(1, 4, self.asked[0] // 8, self.asked[1] // 8)

    photo = Reference(torch.zeros(1, 1, 3).expand(3024, 4032, 3), "", "crop", 0.5)
    sized = Sized()
    joint_sets.prepare(OfWidth(), sized, (photo,), ["a"])
    assert sized.asked == expected


def test_references_are_chained_in_order():
    first = references(1, "first")
    both = references(2, "second\nthird", previous=first)
    assert [reference.caption for reference in both] == ["first", "second", "third"]
    assert both[0] is first[0]


def test_masks_of_any_size_blank_the_background():
    image = torch.ones(2, 40, 40, 3)
    mask = torch.zeros(1, 20, 20)
    mask[:, 5:15, 5:15] = 1
    for inverted in (False, True):
        given = {"mask0": 1 - mask if inverted else mask}
        pair = ReferencePictures.execute({"image0": image}, "", "crop", "black", given, inverted).result[0]
        assert len(pair) == 2
        assert all(reference.picture[20, 20].min() == 1 and reference.picture[2, 2].max() == 0 for reference in pair)


def test_an_option_reaches_the_model(loaded):
    model, *_ = loaded
    _, _, _, one = joint_set(loaded)
    options = JeDiOptions.execute(
        0.1, 0.9, "references only", "literal", "noisy, mask, reference", full=True, half=False, quarter=True, eighth=True
    )
    painter = ApplyJeDi.execute(model, one, "joint", 5.0, 0.2, 0.8, options.result[0]).result[0]
    (hook,) = painter.get_wrappers("outer_sample", "same_subject_step")
    sampling = hook.__self__
    assert sampling.channel_order == "noisy, mask, reference"
    assert (sampling.settings.start, sampling.settings.end) == (0.2, 0.8)
    assert sampling.settings.options.levels == {"full", "quarter", "eighth"}


BAD_PROMPTS = {
    "3 prompts for 5 pictures": ({"prompts": "a\nb\nc", "pictures": 5}, "3 prompts were given for 5 pictures"),
    "too many prompts": ({"prompts": "a\n" * 65, "pictures": 0}, "at most 64"),
    "negative pictures": ({"prompts": "a", "pictures": -1}, "for -1 pictures"),
}


@pytest.mark.parametrize("what", BAD_PROMPTS)
def test_prompts_that_do_not_fit_are_refused_before_the_queue_starts(what):
    inputs, message = BAD_PROMPTS[what]
    assert message in JointSetNode.validate_inputs(**inputs)
    assert JointSetNode.validate_inputs(prompts=None, pictures=None) is True
    assert JointSetNode.validate_inputs(prompts="a\nb", pictures=2) is True


def test_windows_that_end_before_they_start_are_refused_before_the_queue_starts():
    assert "Exchange them" in ApplyJeDi.validate_inputs(0.8, 0.2)
    assert "0 to 1" in ApplyJeDi.validate_inputs(-1.0, 0.2)
    assert ApplyJeDi.validate_inputs(0.2, None) is True
    assert "coupling_start" in JeDiOptions.validate_inputs(0.8, 0.2)


def test_indices_are_checked_before_the_queue_starts_and_against_the_set_after(loaded):
    assert "needs numbers and ranges" in PickPictures.validate_inputs("index", "first")
    assert PickPictures.validate_inputs("generated", "first") is True
    assert "needs to be `generated`, `references` or `index`. Choose" in PickPictures.validate_inputs("all", "0")
    *_, one = joint_set(loaded)
    with pytest.raises(ValueError, match="asks for 4 .0 is picture 1., but a set has 0 to 3: 2 generated, then 2 references"):
        PickPictures.execute(torch.zeros(4, 8, 8, 3), one, "index", "4")
    with pytest.raises(ValueError, match="^Pick Pictures: `samples` is a object, but needs latents or pictures. Connect"):
        PickPictures.execute(object(), one, "index", "0")
    with pytest.raises(ValueError, match="3 rows, but its joint set has 4 rows"):
        PickPictures.execute(torch.zeros(3, 8, 8, 3), one, "generated", "0")


def test_wrong_references_are_refused_with_the_input_and_the_remedy(loaded):
    image = torch.rand(2, 16, 16, 3)
    with pytest.raises(ValueError, match="needs at least 1. Connect a picture"):
        ReferencePictures.execute({}, "", "crop", "grey")
    with pytest.raises(ValueError, match="`captions` has 3 lines for 2 pictures"):
        ReferencePictures.execute({"image0": image}, "a\nb\nc", "crop", "grey")
    with pytest.raises(ValueError, match="3 masks were given for 2 pictures"):
        ReferencePictures.execute({"image0": image}, "", "crop", "grey", {"mask0": torch.ones(3, 4, 4)})
    with pytest.raises(ValueError, match="mask 1 is black everywhere"):
        ReferencePictures.execute({"image0": image}, "", "crop", "grey", {"mask0": torch.zeros(1, 4, 4)})
    with pytest.raises(ValueError, match="`references` is empty"):
        JointSetNode.execute(loaded[1], loaded[2], (), "a", "", 0, 1, 0, 0, 0)
    with pytest.raises(ValueError, match="`clip` is empty"):
        JointSetNode.execute(None, loaded[2], references(), "a", "", 0, 1, 64, 64, 0)


def test_spoiled_pictures_and_masks_are_refused_at_the_node():
    image = torch.rand(1, 16, 16, 3)
    with pytest.raises(ValueError, match="picture 1 holds NaN"):
        ReferencePictures.execute({"image0": image * float("nan")}, "", "crop", "grey")
    with pytest.raises(ValueError, match="mask 1 holds NaN"):
        ReferencePictures.execute({"image0": image}, "", "crop", "grey", {"mask0": torch.full((1, 4, 4), float("nan"))})
    inverted = ReferencePictures.execute({"image0": image}, "", "crop", "grey", {"mask0": torch.zeros(1, 4, 4) > 0}, True)
    assert torch.equal(inverted.result[0][0].picture, image[0])


def test_a_vae_that_is_not_for_pictures_is_refused(loaded):
    _, clip, vae, _ = loaded

    def vae_with(**changed):
        other = copy.copy(vae)
        other.__dict__ |= changed
        return other

    for other, message in (
        (None, "`vae` is empty: the checkpoint holds no VAE"),
        (vae_with(latent_dim=3), "makes latents of 3 axes from 3 channels"),
        (vae_with(latent_dim=3, not_video=True), "makes latents of 3 axes from 3 channels"),
        (vae_with(output_channels=2), "makes latents of 2 axes from 2 channels"),
    ):
        with pytest.raises(ValueError, match=f"^Joint Set: .*{message}.*Connect"):
            joint_set((None, clip, other, None))


def test_latents_that_a_vae_spoils_are_refused(loaded, monkeypatch):
    """As a VAE in half precision does: a set with one NaN gave a picture of nothing but NaN."""
    _, clip, vae, _ = loaded
    encode, given = vae.encode, []

    def failing(pixels):
        given.append(pixels)
        return encode(pixels) * (float("nan") if len(given) == 2 else 1)

    monkeypatch.setattr(vae, "encode", failing)
    with pytest.raises(ValueError, match="^Joint Set: the VAE made NaN or infinity of reference 2.*--fp32-vae"):
        joint_set(loaded)


def broken(folder, demo, name):
    whole = demo / "tiny.safetensors"
    path = folder / "broken.safetensors"
    if name == "truncated":
        path.write_bytes(whole.read_bytes()[:-1000])
    elif name == "not safetensors":
        path.write_bytes(b"<html>not found</html>" * 100)
    elif name == "empty":
        path.write_bytes(b"")
    elif name == "no metadata":
        save_file({"x": torch.zeros(1)}, str(path))
    elif name == "bad metadata":
        save_file({"x": torch.zeros(1)}, str(path), metadata={"same_subject.config": '{"unet": {}}'})
    return path


@pytest.mark.parametrize("name", ("truncated", "not safetensors", "empty", "no metadata", "bad metadata"))
def test_a_broken_demo_file_is_refused_before_the_queue_starts(demo, monkeypatch, tmp_path, name):
    broken(tmp_path, demo, name)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "jedi_demo", ([str(tmp_path)], {".safetensors"}))
    problem = LoadDemoModel.validate_inputs("broken.safetensors")
    assert problem.startswith("Load Demo Model: broken.safetensors cannot be used: ") and problem.endswith(
        "choose another `file`."
    )
    with pytest.raises(ValueError, match="cannot be used"):
        LoadDemoModel.execute("broken.safetensors")
    assert "is in none of" in LoadDemoModel.validate_inputs("gone.safetensors")


def test_demo_weights_that_do_not_fit_their_metadata_are_refused(demo, tmp_path, monkeypatch):
    from safetensors import safe_open

    with safe_open(str(demo / "tiny.safetensors"), "pt") as file:
        metadata = file.metadata()
    state = load_file(str(demo / "tiny.safetensors"))
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "jedi_demo", ([str(tmp_path)], {".safetensors"}))
    for part in ("model.diffusion_model.", "cond_stage_model.", "first_stage_model."):
        missing = next(key for key in state if key.startswith(part))
        save_file({key: value for key, value in state.items() if key != missing}, str(tmp_path / "less.safetensors"), metadata)
        with pytest.raises(
            ValueError, match=f"less.safetensors cannot be used: 1 weights.*{re.escape(missing.removeprefix(part))}"
        ):
            LoadDemoModel.execute("less.safetensors")


def test_the_demo_model_comes_with_the_pictures_that_ship_with_the_pack(loaded, monkeypatch, tmp_path):
    *_, pictures = loaded
    assert pictures.shape == (3, 64, 64, 3) and pictures.dtype == torch.float32
    for number, picture in enumerate(pictures, 1):
        with Image.open(pack.ROOT / "demo" / f"reference_{number}.png") as file:
            assert torch.equal((picture * 255).round().byte(), torch.from_numpy(numpy.array(file.convert("RGB"))))
    monkeypatch.setattr(demo_pictures, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="holds no reference_1.png.*or connect Load Image instead of `pictures`"):
        LoadDemoModel.execute("tiny.safetensors")
    (tmp_path / "reference_1.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match="reference_1.png cannot be read as a picture"):
        LoadDemoModel.execute("tiny.safetensors")


def test_the_demo_model_can_be_loaded_again_by_the_host(loaded):
    model, clip, vae, _ = loaded
    again = model.cached_patcher_init[0](*model.cached_patcher_init[1], disable_dynamic=True)
    weights = again.model.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in model.model.state_dict().items())
    for patcher in (clip.patcher, vae.patcher):
        again = patcher.cached_patcher_init[0](*patcher.cached_patcher_init[1])
        assert all(torch.equal(value, again.model.state_dict()[key]) for key, value in patcher.model.state_dict().items())


def validate(prompt):
    import execution

    valid, error, _, node_errors = asyncio.run(execution.validate_prompt("test", prompt, None))
    return valid, error, node_errors


BROUGHT = {
    ("CheckpointLoaderSimple", "ckpt_name"): "checkpoints",
    ("LoadImage", "image"): "input",
    ("CLIPVisionLoader", "clip_name"): "clip_vision",
    ("SubjectAdapterLoader", "file"): "subject_adapters",
    ("ConceptDetectorLoader", "file"): "grounding-dino",
    ("ConceptSegmenterLoader", "file"): "sams",
    ("IdentityLoader", "adapter"): "instantid",
    ("IdentityLoader", "control_net"): "controlnet",
    ("SceneToolsLoader", "detector"): "grounding-dino",
    ("SceneToolsLoader", "segmenter"): "sams",
    ("SceneToolsLoader", "adapter"): "instantid",
    ("SceneToolsLoader", "control_net"): "controlnet",
}
"""Inputs that name a file which a user brings, and its folder."""


@pytest.fixture
def brought(tmp_path, monkeypatch):
    """Puts empty files where a graph's loaders look for those that a user brings; the demo models are the pack's own."""
    for folder in {*BROUGHT.values(), "insightface", "scores"}:
        (tmp_path / folder).mkdir()
        extensions = {".safetensors", ".pth", ".bin"} if folder != "insightface" else set()
        monkeypatch.setitem(folder_paths.folder_names_and_paths, folder, ([str(tmp_path / folder)], extensions))
    monkeypatch.setattr(folder_paths, "input_directory", str(tmp_path / "input"))
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "jedi_demo", ([str(pack.ROOT / "demo")], {".safetensors"}))
    monkeypatch.setattr(segmenting, "missing_package", lambda: None)
    monkeypatch.setattr(face_analysis, "_can_be_imported", lambda name: True)
    (tmp_path / "grounding-dino" / "vocab.txt").touch()
    pack_folder = tmp_path / "insightface" / "models" / face_analysis.PACK
    pack_folder.mkdir(parents=True)
    for name in face_analysis.hashes():
        (pack_folder / name).touch()

    def bring(prompt):
        for node in prompt.values():
            for (kind, name), folder in BROUGHT.items():
                if node["class_type"] == kind and node["inputs"][name] not in ("none", "demo"):
                    (tmp_path / folder / node["inputs"][name]).touch()
            if node["class_type"] == "SubjectAdapterLoader" and node["inputs"]["file"] != "demo":
                tiny_subject_adapters.save(tmp_path / "subject_adapters" / node["inputs"]["file"])  # its loader looks into it
            if node["class_type"] == "ScoreModelsLoader":
                for folder in (tmp_path / "scores" / node["inputs"][kind] for kind in ("clip", "dino")):
                    folder.mkdir()
                    for name in ("config.json", "pytorch_model.bin"):
                        (folder / name).touch()

    return bring


@pytest.mark.parametrize("path", sorted((pack.ROOT / "workflows" / "api").glob("*.json")), ids=lambda path: path.stem)
def test_api_workflows_are_accepted_by_the_host(path, host_nodes_with_ours, brought):
    """Every input is known and of the right type."""
    prompt = json.loads(path.read_text(encoding="utf-8"))
    brought(prompt)
    valid, error, node_errors = validate(prompt)
    assert valid, (error, node_errors)
    for node in prompt.values():
        schema = host_nodes.NODE_CLASS_MAPPINGS[node["class_type"]].INPUT_TYPES()
        known = {name for group in ("required", "optional") for name in schema.get(group, {})}
        assert {name.split(".")[0] for name in node["inputs"]} <= known, node


def test_the_host_reports_wrong_inputs_by_node_before_the_queue_starts(demo, host_nodes_with_ours):
    def node(class_type, **inputs):
        return {"class_type": class_type, "inputs": inputs}

    references = {"images.image0": ["2", 0], "captions": "", "fit": "crop", "background": "grey"}
    sizes = {"pictures": 5, "sets": 0, "width": 0, "height": 0, "reference_seed": 0}
    sources = {"clip": ["1", 1], "vae": ["1", 2], "references": ["3", 0]}
    prompt = {
        "1": node("JediDemoLoader", file="gone.safetensors"),
        "2": node("EmptyImage", width=64, height=64, batch_size=1, color=0),
        "3": node("JediReferences", **references),
        "4": node("JediJointSet", prompts="a\nb\nc", negative="", **sources, **sizes),
        "5": node("JediPick", samples=["4", 2], joint_set=["4", 3], which="index", indices="x"),
        "6": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
        "7": node("PreviewImage", images=["6", 0]),
    }
    valid, _, errors = validate(prompt)
    assert not valid
    details = {node: " ".join(error["details"] for error in report["errors"]) for node, report in errors.items()}
    assert "gone.safetensors" in details["1"]
    assert "3 prompts were given for 5 pictures" in details["4"] and "sets" in details["4"]
    assert "needs numbers and ranges" in details["5"]
    del prompt["3"]["inputs"]["images.image0"]
    _, _, errors = validate(prompt)
    assert [error["type"] for error in errors["3"]["errors"]] == ["required_input_missing"]


@pytest.mark.parametrize("value", [[], {}, "a", 10**400, float("nan"), -0.1, 1.1])
@pytest.mark.parametrize("place", ["box", "anywhere"])
def test_a_place_that_is_no_share_of_the_picture_is_refused_before_the_queue_starts(place, value):
    problem = str(SubjectNode.validate_inputs(place, "dog", 0.1, value, 0.2, 0.2))
    assert problem.startswith("Subject: `y` is ") and "needs to be a share of the picture in 0 to 1" in problem
    assert SubjectNode.validate_inputs(place, "dog", 0.1, None, 0.2, 0.2) is True

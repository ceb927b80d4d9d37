"""With ComfyUI's DynamicVRAM, its default on NVIDIA cards, everything that the pack loads is what it is without.

No GPU is needed: `tests/tiny/dynamic_vram.py` says what is the host's own here, and what stands in for it. What no test without a
GPU reaches: weights that are read from a file straight to the device, pinned memory, streams, and a card that is full, where
weights leave it while a run goes on. Grounding DINO, Segment Anything, the pack's InstantID adapter and insightface have none of
the host's layers and keep its plain ModelPatcher, or none, so that for them only the reading of files differs.
"""

import comfy.model_detection
import comfy.model_patcher
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from same_subject.dev import pack
from same_subject.nodes.concepts.boxes import Box
from same_subject.nodes.concepts.host import grounding, segmenting
from same_subject.nodes.demo.host import folders
from same_subject.nodes.demo.host import model as demo_model
from same_subject.nodes.demo.nodes import LoadDemoTools
from same_subject.nodes.identity.host import applying as identity_applying
from same_subject.nodes.identity.host import files as identity_files
from same_subject.nodes.joint import references
from same_subject.nodes.joint import settings as joint_settings
from same_subject.nodes.joint.host import bank, kept, sets
from same_subject.nodes.scene.nodes import ComposeScene, ConceptNode
from same_subject.nodes.subject import settings as subject_settings
from same_subject.nodes.subject.chain import Subjects
from same_subject.nodes.subject.host import applying, loading, prompting
from same_subject.tests.tiny import dynamic_vram, identities, models, planted, subject_adapter_files
from same_subject.tests.tiny import grounding as tiny_grounding
from same_subject.tests.tiny.sets import gap

import nodes as host_nodes

pytestmark = pytest.mark.skipif(not dynamic_vram.is_available(), reason="comfy-aimdo does not load on this system")
kinds = pytest.mark.parametrize("kind", (dynamic_vram.HOST, dynamic_vram.STAND_IN))
DEMO = pack.ROOT / "demo"
ROUNDING = 1e-5
"""Of gaps: 0 was seen."""
VISIBLE = 0.01


@pytest.fixture(autouse=True, scope="module")
def as_a_prompt_runs():
    folders.register()
    with torch.inference_mode():
        yield


def picture(name):
    with Image.open(DEMO / f"{name}.png") as file:
        return torch.tensor(list(file.convert("RGB").tobytes())).reshape(1, file.height, file.width, 3) / 255


def painted(model, positive, negative, latent, steps=2):
    return host_nodes.common_ksampler(model, 1, steps, 3.0, "euler", "normal", positive, negative, latent)[0]["samples"].clone()


def empty(width=64, height=64):
    return host_nodes.EmptyLatentImage().generate(width, height, 1)[0]


def joint_set(clip, vae):
    given = references.gather([picture("reference_1")[0]], [], ["a photo of a box"], "crop", "grey")
    return sets.prepare(clip, vae, given, ["a photo of a box on the beach"])


def joined(model, one, **options):
    chosen = joint_settings.Settings("joint", 5.0, 0.0, 1.0, joint_settings.Options(**options))
    return sets.apply(model, one.joint_set, chosen)


def a_joint_set():
    """A picture of a toy in another place, and one without the toy."""
    model, clip, vae = demo_model.load(DEMO / "demo.safetensors")
    one = joint_set(clip, vae)
    return [vae.decode(painted(each, one.positive, one.negative, one.latent)[:1]) for each in (joined(model, one), model)]


def a_scene():
    """Two toys in two masks, recognised by their pictures, and the scene without them."""
    model, clip, _ = demo_model.load(DEMO / "scenes.safetensors")
    tools = LoadDemoTools.execute("scenes.safetensors").result[4]
    positive, negative = (host_nodes.CLIPTextEncode().encode(clip, text)[0] for text in ("a ball and a star in a meadow", ""))
    concepts = {}
    for number, name in enumerate(("ball", "star")):
        mask = torch.zeros(1, 64, 128)
        mask[:, 16:56, 12 + 64 * number : 52 + 64 * number] = 1
        toy = {"image0": picture(f"toy_{number + 1}")}
        (concepts[f"concept{number}"],) = ConceptNode.execute(name, "", 1.0, 0.8, 0.0, 1.0, toy, mask).result
    with_toys = ComposeScene.execute(
        model, clip, tools, torch.zeros(1, 64, 128, 3), positive, negative, concepts, "blend", 0, 3, 0.5, "best score first",
        "best score", 0.35, 0.25, "error",
    ).result[0]  # fmt: skip
    return [painted(each, positive, negative, empty(128)) for each in (with_toys, model)]


def a_subject(control_steps=0):
    """A subject in its box, and the picture without it; with attention control, and without, which leaves weights where they were
    computed with.
    """
    model, clip, _ = demo_model.load(DEMO / "scenes.safetensors")
    adapter = loading.load(DEMO / "subjects.safetensors", clip=clip)
    subject, _ = applying.encode(adapter, picture("toy_1"), None, "ball", (0.1, 0.2, 0.6, 0.9))
    one = Subjects(adapter, (subject,))
    positive, negative = prompting.prompts(adapter, one, "a photo of a ball on the beach", "")
    plain, steered = (
        applying.apply(model, one, subject_settings.Settings(steering=subject_settings.Steering(steps)))
        for steps in (0, control_steps)
    )
    others = (plain, steered) if control_steps else (model, plain)
    return [painted(each, positive, negative, empty()) for each in others][::-1]


def a_controlled_subject():
    return a_subject(1)


RUNS = (a_joint_set, a_scene, a_subject, a_controlled_subject)


@pytest.fixture(scope="module")
def expected():
    return {run.__name__: run() for run in RUNS}


@kinds
@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.__name__)
def test_pictures_are_what_they_are_without(expected, kind, run):
    ours, plain = expected[run.__name__]
    with dynamic_vram.switched_on(kind):
        found, plain_found = run()
    assert gap(ours, plain) > VISIBLE
    assert gap(found, ours) < ROUNDING and gap(plain_found, plain) < ROUNDING


@kinds
def test_files_are_refused_as_they_are_without(tmp_path, kind):
    """Also those whose linear layers lack weights or have others, which the host then takes as they are."""
    good = models.save_demo(tmp_path / "good.safetensors")
    with safe_open(str(good), "pt") as file:
        metadata, state = file.metadata(), load_file(good)
    unet, text = "model.diffusion_model.middle_block.1.", "cond_stage_model.transformer.text_model."
    linear, words = f"{unet}transformer_blocks.0.attn2.to_k.weight", f"{text}embeddings.token_embedding.weight"
    broken = {
        "missing": {key: value for key, value in state.items() if key != linear},
        "a bias too many": {**state, linear.replace("weight", "bias"): torch.zeros(len(state[linear]))},
        "a bias too few": {key: value for key, value in state.items() if key != f"{unet}proj_out.bias"},
        "turned": {**state, linear: state[linear].T.contiguous()},
        "narrow texts": {**state, f"{text}encoder.layers.0.mlp.fc1.weight": torch.zeros(64, 31)},
        "no positions": {key: value for key, value in state.items() if "position_embedding" not in key},
        "few words": {**state, words: state[words][:-1].contiguous()},
        "another first layer": {**state, "model.diffusion_model.input_blocks.0.0.weight": torch.zeros(32, 4, 3, 3)},
    }
    for name, tensors in broken.items():
        save_file(tensors, tmp_path / f"{name}.safetensors", metadata)
    (tmp_path / "cut.safetensors").write_bytes(good.read_bytes()[:-100])

    def said(name):
        try:
            demo_model.load(tmp_path / f"{name}.safetensors")
        except ValueError as problem:
            return str(problem)
        return None

    names = ("cut", *broken)
    before = {name: said(name) for name in names}
    with dynamic_vram.switched_on(kind):
        assert said("good") is None and {name: said(name) for name in names} == before
    assert said("good") is None and all(before.values())


@kinds
def test_keys_and_values_and_latents_of_references_are_kept_from_one_run_to_the_next(kind):
    """What the host sets on layers when it loads them made other networks of them."""
    with dynamic_vram.switched_on(kind):
        model, clip, vae = demo_model.load(DEMO / "demo.safetensors")
        one = joint_set(clip, vae)
        joint_set(clip, vae)
        assert len(kept._kept[vae]) == 1
        banked = joined(model, one, bank=64, reference_attention=joint_settings.REFERENCES_ONLY)
        sizes = []
        for _ in range(2):
            painted(banked, one.positive, one.negative, one.latent)
            sizes.append(bank.size(model.model))
        assert 0 < sizes[0] == sizes[1]


@pytest.fixture
def face_control_file(tmp_path, monkeypatch):
    """A ControlNet as published, of a tiny structure that the host takes for its own."""
    monkeypatch.setattr(comfy.model_detection, "unet_config_from_diffusers_unet", lambda state: dict(identities.UNET))
    state = identities.published_control(identities.control().control_model.state_dict(), identities.UNET)
    save_file(state, tmp_path / "control.safetensors")
    return tmp_path / "control.safetensors", state


def with_a_face(file, unet, adapter):
    control, person = identity_files.load_control(file), identities.identity()
    hint = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    given = identities.conditioning(0), identities.conditioning(1)
    given = identity_applying.add_control(*given, control, adapter, person, hint)
    return identities.sample(identity_applying.add_to_model(unet, adapter, person), *given)


@kinds
def test_a_face_is_painted_as_it_is_without(tmp_path, face_control_file, kind):
    file, _ = face_control_file
    torch.save(identities.adapter_state(), tmp_path / "ip-adapter.bin")
    unet = identities.unet()
    expected = with_a_face(file, unet, identity_files.load_adapter(tmp_path / "ip-adapter.bin"))
    with dynamic_vram.switched_on(kind):
        found = with_a_face(file, unet, identity_files.load_adapter(tmp_path / "ip-adapter.bin"))
    assert gap(found, expected) < ROUNDING and gap(identities.sample(unet), expected) > VISIBLE


@kinds
def test_a_face_controlnet_whose_tensors_do_not_fit_is_refused(tmp_path, face_control_file, kind):
    _, state = face_control_file
    linear = next(key for key in state if key.endswith("ff.net.0.proj.weight"))
    broken = {
        "turned": ({**state, linear: state[linear].T.contiguous()}, "is not a ControlNet of a kind that ComfyUI knows: "),
        "lacking": ({key: value for key, value in state.items() if key != linear}, f"a ControlNet of its kind has {len(state)}"),
    }
    for name, (tensors, message) in broken.items():
        save_file(tensors, tmp_path / f"{name}.safetensors")
        for mode in (None, kind):
            with pytest.raises(ValueError, match=f"^Load InstantID: {name}.safetensors .*{message}.*ControlNetModel/"):
                if mode is None:
                    identity_files.load_control(tmp_path / f"{name}.safetensors")
                else:
                    with dynamic_vram.switched_on(mode):
                        identity_files.load_control(tmp_path / f"{name}.safetensors")


@kinds
def test_detectors_and_segmenters_see_what_they_see_without(tmp_path, kind):
    pytest.importorskip("segment_anything", reason="segment-anything is not among the test tools")
    folder = tiny_grounding.save_folder(tmp_path / "grounding-dino-tiny")
    save_file(planted.segment_anything().state_dict(), tmp_path / "tiny.safetensors")

    def seen():
        detector, segmenter = grounding.load(folder), segmenting.load(tmp_path / "tiny.safetensors")
        ((logits, boxes),) = detector.detect(planted.scene(), detector.token_ids("red ."))
        (masks,) = segmenter.masks(planted.scene(), ((Box(5, 5, 60, 60),),))
        return logits, boxes, masks

    before = seen()
    with dynamic_vram.switched_on(kind):
        after = seen()
    assert all(map(torch.equal, before, after)) and 0 < before[-1].mean() < 1


def test_a_subject_adapter_with_encoders_of_its_own_reads_and_sees_what_it_does_without(tmp_path):
    """In the precision of the file, which the host keeps for layers that a plain ModelPatcher loads."""
    file = subject_adapter_files.save(tmp_path / "toy.safetensors", seed=3)

    def seen():
        adapter = loading.load(file)
        cls, patches = adapter.encode(picture("toy_1")[0])
        texts = adapter.clip.encode_from_tokens_scheduled(adapter.clip.tokenize("a photo of a toy, the ball is sks"))[0][0]
        return cls, patches, texts, adapter.networks.state_dict()

    before = seen()
    for kind in (dynamic_vram.HOST, dynamic_vram.STAND_IN):
        with dynamic_vram.switched_on(kind):
            after = seen()
        assert all(gap(ours, theirs) < 1e-3 for ours, theirs in zip(after[:3], before[:3], strict=True))
        assert after[3].keys() == before[3].keys() and all(torch.equal(after[3][key], before[3][key]) for key in after[3])


def test_attention_control_runs_on_weights_that_stay_where_they_are(tmp_path):
    with dynamic_vram.switched_on(dynamic_vram.STAND_IN):
        model, clip, _ = demo_model.load(DEMO / "scenes.safetensors")
        adapter = loading.load(DEMO / "subjects.safetensors", clip=clip)
        one = Subjects(adapter, (applying.encode(adapter, picture("toy_1"), None, "ball", (0.1, 0.2, 0.6, 0.9))[0],))
        plain, steered = (
            applying.apply(model, one, subject_settings.Settings(steering=subject_settings.Steering(steps))) for steps in (0, 1)
        )
        assert model.is_dynamic() and plain.is_dynamic() and plain.model is model.model
        assert not steered.is_dynamic() and steered.model is not model.model
        model.cached_patcher_init = None
        with pytest.raises(ValueError, match="^Apply Subjects: attention control needs a copy .* set `control_steps` to 0"):
            applying.apply(model, one, subject_settings.Settings(steering=subject_settings.Steering(1)))

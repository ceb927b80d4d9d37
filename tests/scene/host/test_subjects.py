"""A thing as a concept of Compose Scene: to the bit what Joint Set, JeDi and Concept Branch paint, and what is refused."""

import pytest
import torch
from same_subject.nodes.concepts.nodes import ConceptsFromMasks
from same_subject.nodes.joint.nodes import ApplyJeDi, JointSetNode, ReferencePictures
from same_subject.nodes.scene.concept import Concept, SceneTools
from same_subject.nodes.scene.nodes import ComposeScene, ConceptBranch, ConceptNode, ConceptScene
from same_subject.tests.tiny import identities, models, planted
from same_subject.tests.tiny.sets import gap

VISIBLE = 1e-2
TEXT = models.Text("sdxl")
BASE = planted.scene(("red", 8, 10, 32, 90), ("green", 56, 20, 88, 80))
FIND = {"continue_from": "blend", "last_steps": 0, "grow": 2, "feather": 0.5, "overlaps": "best score first"}
FIND |= {"order": "best score", "box_threshold": 0.35, "text_threshold": 0.25, "if_missing": "error"}


class Vae:
    """A VAE of pictures whose latents have an eighth of 96 pixels: the size of what the tiny samplers start from."""

    latent_dim, output_channels = 2, 3

    def spacial_compression_encode(self):
        return 12

    def encode(self, pixels):
        small = torch.nn.functional.adaptive_avg_pool2d(pixels.movedim(-1, 1), (pixels.shape[1] // 12, pixels.shape[2] // 12))
        return 8 * torch.cat((small, small[:, :1]), 1) - 4


@pytest.fixture(scope="module")
def unet():
    return identities.unet()


@pytest.fixture(scope="module")
def vae():
    return Vae()


def words(text):
    return TEXT.encode_from_tokens_scheduled(TEXT.tokenize(text))


def references(seed=0, **more):
    """Two pictures of a thing with masks of it, so that no model has to find these."""
    generator = torch.Generator().manual_seed(seed)
    pictures = {f"image{number}": torch.rand(1, 96, 96, 3, generator=generator) for number in range(2)}
    mask = torch.zeros(1, 96, 96)
    mask[:, 20:70, 20:70] = 1
    given = {"captions": "a mug", "fit": "crop", "background": "grey", "masks": {"mask0": mask, "mask1": mask}}
    return ReferencePictures.execute(pictures, **given, keep_background=True, **more).result[0]


def halves():
    masks = torch.zeros(2, 1, 96, 96)
    masks[0, :, :, :40] = 1
    masks[1, :, :, 50:] = 1
    return list(masks)


def thing(subject, prompt="a mug on a table", strength=1.0, start=0.0, end=1.0, **more):
    return ConceptNode.execute("a mug", prompt, strength, 0.8, start, end, mask=halves()[0], subject=subject, **more).result[0]


def compose(unet, vae, *things, image=BASE, **more):
    given = {f"concept{number}": one for number, one in enumerate(things)}
    with torch.inference_mode():
        scene = words("all"), words("not")
        return ComposeScene.execute(unet, TEXT, SceneTools(), image, *scene, given, **{**FIND, **more}, vae=vae).result[0]


def other():
    return Concept("a box", "a wooden box", mask=halves()[1])


def painted(model, **more):
    return identities.sample(model, words("all"), words("not"), **more)


def long_graph(unet, vae, subject, strength=1.0, continue_from="blend", last_steps=0, sets=1):
    with torch.inference_mode():
        given = {f"mask{number}": mask for number, mask in enumerate(halves())}
        places, *_ = ConceptsFromMasks.execute(given, "a mug\na box", 2, "best score first", 0.5).result
        positive, negative, _, joint_set = JointSetNode.execute(
            TEXT, vae, subject, "a mug on a table", "not", 0, sets, 96, 96, 0
        ).result
        jedi = ApplyJeDi.execute(unet, joint_set, "joint", 5.0, 0.0, 1.0, strength=strength, recipe="auto").result[0]
        (first,) = ConceptBranch.execute(positive, negative, model=jedi, joint_set=joint_set).result
        (both,) = ConceptBranch.execute(words("a wooden box"), words("not"), previous=first).result
        return ConceptScene.execute(unet, both, continue_from, last_steps, 0.5, places).result[0]


@pytest.mark.parametrize("continue_from, last_steps", (("blend", 0), ("own", 1)))
def test_a_subject_is_painted_as_the_long_graph_paints_it_to_the_bit(unet, vae, continue_from, last_steps):
    how = {"continue_from": continue_from, "last_steps": last_steps}
    result = painted(compose(unet, vae, thing(references()), other(), **how))
    assert torch.equal(result, painted(long_graph(unet, vae, references(), **how)))
    for changed in (references(seed=1), ()):
        assert gap(painted(compose(unet, vae, thing(changed), other(), **how)), result) > VISIBLE


def test_strengths_of_the_concept_and_of_its_references_act(unet, vae):
    whole = painted(compose(unet, vae, thing(references()), other()))
    half = painted(compose(unet, vae, thing(references(), strength=0.5), other()))
    assert torch.equal(half, painted(long_graph(unet, vae, references(), strength=0.5))) and gap(half, whole) > VISIBLE
    weaker = painted(compose(unet, vae, thing(references(strength=0.5)), other()))
    assert gap(weaker, half) < 1e-4, "half of the one is half of the other"
    ended = painted(compose(unet, vae, thing(references(), end=0.4), other()))
    never = painted(compose(unet, vae, thing(references(), strength=0.0), other()))
    assert gap(ended, whole) > VISIBLE and gap(never, whole) > VISIBLE


def test_every_base_picture_has_a_set_of_its_own(unet, vae):
    both = painted(compose(unet, vae, thing(references()), other(), image=BASE.repeat(2, 1, 1, 1)), rows=2)
    single = painted(compose(unet, vae, thing(references()), other()))
    assert gap(both[:1], single) < 1e-4 and gap(both[1:], single) > VISIBLE


def test_what_a_subject_cannot_be_is_refused_with_the_remedy(unet, vae):
    portrait = {"images": {"image0": BASE}}
    wrong = (
        (thing(references()), None, "concept 1 has a `subject`, whose pictures a VAE must read, but `vae` is empty"),
        (thing(references(), prompt=" "), vae, "concept 1 has a `subject` but no `prompt`"),
        (thing(references(), strength=-0.5), vae, "the `strength` of concept 1 is -0.5, but a `subject` needs 0 or more"),
    )
    for concept, reader, message in wrong:
        with pytest.raises(ValueError) as caught:
            compose(unet, reader, concept)
        assert message in str(caught.value) and str(caught.value).startswith("Compose Scene: ")
    with pytest.raises(ValueError, match="has pictures of a person .* and a `subject`, but is one or the other"):
        tools = SceneTools(None, None, identities.adapter(), object())
        given = {"concept0": thing(references(), **portrait)}
        ComposeScene.execute(unet, TEXT, tools, BASE, words("all"), words("not"), given, **FIND, vae=vae)
    model = compose(unet, vae, thing(references()), other())
    with pytest.raises(ValueError) as caught:
        painted(model, rows=2)
    said = str(caught.value)
    assert said.startswith("Compose Scene: the `subject` of concept 1 has 1 pictures") and "as many pictures as `image`" in said


def test_what_the_hooks_refuse_is_said_by_the_node_that_the_user_has(unet):
    model = compose(unet, None, other(), continue_from="own")
    with pytest.raises(ValueError, match="^Compose Scene: `continue_from` is `own`"):
        painted(model, sampler="dpmpp_2m")
    with pytest.raises(ValueError, match="^Concept Scene: `continue_from` is `own`"):
        (branch,) = ConceptBranch.execute(words("one"), words("not"), mask=halves()[0]).result
        painted(ConceptScene.execute(unet, branch, "own", 0, 0.5).result[0], sampler="dpmpp_2m")

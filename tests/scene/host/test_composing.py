"""A scene in one node a concept: to the bit what the long graph of today's nodes paints, and refusals that say who speaks."""

import pytest
import torch
from same_subject.nodes.concepts.host import labelling
from same_subject.nodes.concepts.nodes import ConceptMasks, ConceptsFromMasks, FindConcepts
from same_subject.nodes.identity.faces import Face
from same_subject.nodes.identity.nodes import FaceKeypoints, IdentityControlNet, IdentityFromPictures
from same_subject.nodes.scene.concept import Concept, SceneTools
from same_subject.nodes.scene.nodes import ComposeScene, ConceptBranch, ConceptNode, ConceptScene
from same_subject.tests.tiny import identities, models, planted
from same_subject.tests.tiny.sets import gap

VISIBLE = 1e-2
"""Of gaps, where equality is to the bit: another person gives 0.05 and more."""
TEXT = models.Text("sdxl")
BASE = planted.scene(("red", 8, 10, 32, 90), ("green", 56, 20, 88, 80))
PHRASES = "a red ball", "a green box"
FIND = {"continue_from": "blend", "last_steps": 0, "grow": 2, "feather": 0.5, "overlaps": "best score first"}
FIND |= {"order": "best score", "box_threshold": 0.35, "text_threshold": 0.25, "if_missing": "error"}


class Colours:
    """A face analysis that takes every coloured blob for a face; colour and width say whose it is."""

    def faces(self, picture):
        height, width = picture.shape[:2]
        found = []
        for channel in range(3):
            for score, (x, y, across, down) in planted._blobs(picture.movedim(-1, 0), channel):
                box = torch.tensor([x - across / 2, y - down / 2, x + across / 2, y + down / 2])
                box = box * torch.tensor([width, height] * 2)
                corner, size = box[:2], box[2:] - box[:2]
                points = corner + size * torch.tensor([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.4, 0.8), (0.6, 0.8)])
                seed = 1000 * channel + round(across * width)
                embedding = 8 * torch.randn(512, generator=torch.Generator().manual_seed(seed))
                found.append(Face(box, points, embedding, score, width, height))
        return found


def portrait(number):
    """A picture of a person of that number."""
    return planted.scene(("blue", 20, 20, 30 + 3 * number, 70))


@pytest.fixture(scope="module")
def unet():
    return identities.unet()


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    detector = planted.detector(tmp_path_factory.mktemp("tokenizer"))
    return SceneTools(detector, None, identities.adapter(), Colours(), identities.control())


@pytest.fixture(scope="module")
def clip():
    return TEXT


def words(clip, text):
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def concepts(people=(1, 2), prompts=("one", "two"), masks=(None, None), **more):
    made = {}
    for number, (person, prompt, mask) in enumerate(zip(people, prompts, masks, strict=True)):
        pictures = {} if person is None else {"image0": portrait(person)}
        values = {"strength": 0.8, "control_strength": 0.8, "start_percent": 0.0, "end_percent": 1.0, **more}
        (made[f"concept{number}"],) = ConceptNode.execute(PHRASES[number], prompt, images=pictures, mask=mask, **values).result
    return made


def compose(unet, clip, tools, given, image=BASE, **more):
    with torch.inference_mode():
        return ComposeScene.execute(
            unet, clip, tools, image, words(TEXT, "all"), words(TEXT, "not"), given, **{**FIND, **more}
        ).result


def painted(clip, model, sampler="euler"):
    return identities.sample(model, words(clip, "all"), words(clip, "not"), sampler=sampler)


def long_graph(unet, clip, tools, people=(1, 2), continue_from="blend", last_steps=0, own=None):
    """The model that today's nodes give. own: masks instead of phrases."""
    with torch.inference_mode():
        if own is None:
            boxes, *_ = FindConcepts.execute(
                tools.detector, BASE, "\n".join(PHRASES), "best score", 0, 0.35, 0.25, "error"
            ).result
            places, masks, *_ = ConceptMasks.execute(boxes, 2, "best score first", 0.5).result
        else:
            given = {f"mask{number}": mask for number, mask in enumerate(own)}
            places, masks, *_ = ConceptsFromMasks.execute(given, "\n".join(PHRASES), 2, "best score first", 0.5).result
        branches = ()
        for number, (person, prompt) in enumerate(zip(people, ("one", "two"), strict=True), 1):
            pictures = {"image0": portrait(person)}
            identity, _ = IdentityFromPictures.execute(tools.face_analysis, pictures, "largest", 0, 0.5, 0.5).result
            (drawn,) = FaceKeypoints.execute(tools.face_analysis, BASE, "largest", 0, 0.5, 0.5, masks, number).result
            positive, negative = IdentityControlNet.execute(
                words(clip, prompt), words(clip, "not"), tools.control_net, tools.adapter, identity, drawn, 0.8, 0.0, 1.0
            ).result
            (branches,) = ConceptBranch.execute(
                positive, negative, previous=branches, adapter=tools.adapter, identity=identity, weight=0.8
            ).result
        return ConceptScene.execute(unet, branches, continue_from, last_steps, 0.5, places).result[0]


@pytest.mark.parametrize("continue_from, last_steps", (("blend", 0), ("own", 1)))
def test_a_node_a_concept_paints_what_the_long_graph_paints_to_the_bit(unet, clip, tools, continue_from, last_steps):
    how = {"continue_from": continue_from, "last_steps": last_steps}
    expected = painted(clip, long_graph(unet, clip, tools, **how))
    model, *_ = compose(unet, clip, tools, concepts(), **how)
    assert torch.equal(painted(clip, model), expected)
    other, *_ = compose(unet, clip, tools, concepts((1, 3)), **how)
    assert gap(painted(clip, other), expected) > VISIBLE
    words_, *_ = compose(unet, clip, tools, concepts(prompts=("one", "three")), **how)
    assert gap(painted(clip, words_), expected) > VISIBLE


def halves():
    masks = torch.zeros(2, 1, 96, 96)
    masks[0, :, :, :40] = 1
    masks[1, :, :, 50:] = 1
    return list(masks)


def test_masks_of_the_users_own_paint_what_the_long_graph_paints_to_the_bit(unet, clip, tools):
    expected = painted(clip, long_graph(unet, clip, tools, own=halves()))
    without = SceneTools(None, None, tools.adapter, tools.face_analysis, tools.control_net)
    model, *_ = compose(unet, clip, without, concepts(masks=halves()))
    assert torch.equal(painted(clip, model), expected)
    found, *_ = compose(unet, clip, tools, concepts())
    assert gap(painted(clip, found), expected) > VISIBLE, "masks found elsewhere"


def test_masks_order_and_numbers_agree_where_one_concept_has_a_mask_and_one_is_found(unet, clip, tools, monkeypatch):
    written = []
    monkeypatch.setattr(labelling.ImageDraw.ImageDraw, "text", lambda self, at, text, **style: written.append(text))
    right = halves()[1]
    given = concepts(masks=(right, None), people=(None, None))
    given["concept1"] = Concept("a red ball")
    given = dict(reversed(given.items()))  # a prompt of a program may hold them in any order
    _, preview, places, masks = compose(unet, clip, tools, given, grow=0)
    assert [label.split(" ", 1)[0] for label in written] == ["1", "2"] * 2 and preview.shape == BASE.shape
    assert torch.equal(masks[0], right[0]) and masks[1, 10:90, 8:32].all() and masks[1].sum() == 24 * 80
    assert [[round(side) for side in box.corners] for box in places.boxes[0]] == [[50, 0, 96, 96], [8, 10, 32, 90]]


def test_a_concept_without_words_has_those_of_the_scene_and_one_without_pictures_nobody(unet, clip, tools):
    plain, *_ = compose(unet, clip, tools, concepts((None, None), ("all", "all")))
    silent, *_ = compose(unet, clip, tools, concepts((None, None), ("", "  ")))
    assert torch.equal(painted(clip, plain), painted(clip, silent))
    person, *_ = compose(unet, clip, tools, concepts((1, None), ("", "")))
    assert gap(painted(clip, person), painted(clip, plain)) > VISIBLE


def test_strengths_and_the_window_of_a_person_act(unet, clip, tools):
    whole = painted(clip, compose(unet, clip, tools, concepts())[0])
    for changed in ({"strength": 0.4}, {"control_strength": 0.3}, {"control_strength": 0.0}, {"start_percent": 0.5}):
        assert gap(painted(clip, compose(unet, clip, tools, concepts(**changed))[0]), whole) > VISIBLE, changed
    nobody = painted(clip, compose(unet, clip, tools, concepts((None, None)))[0])
    assert torch.equal(painted(clip, compose(unet, clip, tools, concepts(strength=0.0, control_strength=0.0))[0]), nobody)


def test_a_scene_that_cannot_be_is_refused_with_the_remedy(unet, clip, tools):
    bare = SceneTools(tools.detector)
    short = planted.scene(("red", 8, 10, 32, 90))
    wrong = (
        ({"tools": bare}, concepts(), "concept 1 has pictures of a person, but `tools` have no face_analysis"),
        ({"tools": SceneTools()}, concepts(), "has no `mask`, and `tools` have no detector"),
        ({}, {}, "`concepts` is empty"),
        ({}, {"concept0": Concept("")}, "has neither a `phrase` nor a `mask`"),
        ({}, concepts(masks=(torch.ones(3, 96, 96), None)), "the mask of concept 1 has 3 pictures, but `image` has 1"),
        ({}, concepts(masks=(halves()[0][:, :40], None)), "the mask of concept 1 has 96x40 pixels, but `image`"),
        ({"image": short}, concepts(), "nothing was found for `a green box` in picture 1"),
        ({"clip": None}, concepts(), "`clip` is empty"),
        ({}, concepts(masks=(None, corner())), "no face was found inside the mask of concept 2"),
    )  # fmt: skip
    for changed, given, message in wrong:
        settings = {"tools": tools, "clip": clip, "image": BASE, **changed}
        with pytest.raises(ValueError) as caught:
            compose(unet, settings["clip"], settings["tools"], given, settings["image"])
        assert message in str(caught.value) and str(caught.value).startswith("Compose Scene: "), caught.value
    assert compose(unet, None, tools, {"concept0": Concept("a red ball")})[0] is not None, "no words, no text encoder"
    with pytest.raises(ValueError, match="no face was found in picture 1 of 1") as caught:
        grey = {"concept0": Concept("a red ball", "one", (planted.scene()[0],))}
        compose(unet, clip, tools, grey)
    assert str(caught.value).startswith("Compose Scene: concept 1: ")


def test_remedies_are_those_that_the_node_has(unet, clip, tools):
    """A reader of the node alone knows no Find Concepts, and no `index`."""
    one, more = planted.scene(("red", 8, 10, 32, 90)), [Concept("a red ball"), Concept("a red ball"), Concept("a red box")]
    wrong = (
        (more[:2], one, "but 2 concepts need 2. Lower `box_threshold`"),
        ([more[0], more[2]], one, "Describe the two by different words, give one a `mask`"),
        ([Concept("a red ball", mask=halves()[0]), Concept("b", mask=halves()[0])], one, "lies almost wholly inside"),
    )
    for given, image, message in wrong:
        with pytest.raises(ValueError) as caught:
            compose(unet, clip, tools, {f"concept{number}": each for number, each in enumerate(given)}, image)
        said = str(caught.value)
        assert message in said and said.startswith("Compose Scene: ") and "Find Concepts" not in said and "`index`" not in said
    again, *_ = compose(unet, clip, tools, {"concept0": more[0]}, one)
    with pytest.raises(ValueError, match="connect all Concepts to one Compose Scene"):
        compose(again, clip, tools, {"concept0": more[0]}, one)


def corner():
    mask = torch.zeros(1, 96, 96)
    mask[:, 90:, 90:] = 1
    return mask


def test_an_empty_concept_is_left_out_where_that_is_allowed(unet, clip, tools):
    short = planted.scene(("red", 8, 10, 32, 90))
    model, _, places, masks = compose(unet, clip, tools, concepts(), short, if_missing="empty concept")
    assert places.boxes[0][1] is None and not masks[1].any()
    one, *_ = compose(unet, clip, tools, {"concept0": concepts()["concept0"]}, short)
    # Two Concepts keep both people on the model, so that the sums of one call are not those of the other.
    assert gap(painted(clip, model), painted(clip, one)) < 1e-4


def test_concept_refuses_what_names_no_single_thing():
    assert ConceptNode.validate_inputs(" A red  ball. ", 0.0, 1.0) is True
    assert "`phrase` has 2 lines" in ConceptNode.validate_inputs("a\nb", 0.0, 1.0)
    assert str(ConceptNode.validate_inputs("who?", 0.0, 1.0)).startswith("Concept: `phrase` is `who?`")
    assert "Exchange them" in ConceptNode.validate_inputs("a", 0.5, 0.2)
    assert ConceptNode.validate_inputs(None, 0.0, None) is True
    with pytest.raises(ValueError, match="Concept: `mask` is black everywhere"):
        concepts(masks=(torch.zeros(1, 8, 8), None))
    (one,) = ConceptNode.execute(" A red  ball. ", "", 0.8, 0.8, 0.0, 1.0).result
    assert one.phrase == "a red ball" and one.pictures == () and one.mask is None


def test_of_several_faces_in_a_picture_the_chosen_one_is_the_person(unet, clip, tools):
    group = planted.scene(("blue", 4, 20, 4 + 13, 70), ("blue", 40, 20, 40 + 16, 70), ("blue", 66, 4, 90, 92))
    largest, first = (
        painted(clip, model) for model in (grouped(unet, clip, tools, group), grouped(unet, clip, tools, portrait(1)))
    )
    assert gap(largest, first) > VISIBLE
    for choice in ({"face": "left to right"}, {"face": "nearest to point", "x": 0.1, "y": 0.5}):
        assert torch.equal(painted(clip, grouped(unet, clip, tools, group, **choice)), first), choice
    with pytest.raises(ValueError, match="^Compose Scene: concept 1: `number` is 3, but 3 faces were found in picture 1"):
        grouped(unet, clip, tools, group, face="left to right", number=3)


def grouped(unet, clip, tools, picture, **choice):
    """The scene with one person, who is in a picture; the long graph's Identity has the same choice."""
    one = ConceptNode.execute(PHRASES[0], "one", 0.8, 0.8, 0.0, 1.0, images={"image0": picture}, **choice).result[0]
    return compose(unet, clip, tools, {"concept0": one})[0]


def test_a_concept_steers_away_from_what_it_says_itself(unet, clip, tools):
    said = {negative: painted(clip, negated(unet, clip, tools, negative)) for negative in ("", " ", "not", "a hat")}
    assert torch.equal(said[""], said[" "]) and torch.equal(said[""], said["not"]), "the scene steers away from `not`"
    assert gap(said["a hat"], said[""]) > VISIBLE
    with pytest.raises(ValueError, match="`clip` is empty"):
        negated(unet, None, tools, "a hat")


def negated(unet, clip, tools, negative):
    one = ConceptNode.execute(PHRASES[0], "", 0.8, 0.0, 0.0, 1.0, negative=negative).result[0]
    return compose(unet, clip, tools, {"concept0": one})[0]


def test_cfg_and_denoise_reach_the_branch(unet, clip, tools):
    whole = painted(clip, compose(unet, clip, tools, concepts())[0])
    assert torch.equal(painted(clip, compose(unet, clip, tools, concepts(cfg=0.0, denoise=1.0))[0]), whole)
    for changed in ({"cfg": 7.0}, {"denoise": 0.5}):
        assert gap(painted(clip, compose(unet, clip, tools, concepts(**changed))[0]), whole) > 1e-3, changed


def test_the_node_shows_what_it_found_enlarged_where_the_picture_is_small(unet, clip, tools):
    with torch.inference_mode():
        out = ComposeScene.execute(
            unet, clip, tools, BASE, words(TEXT, "all"), words(TEXT, "not"), {"concept0": Concept("a red ball")}, **FIND
        )
    (shown,) = out.ui.as_dict()["images"]
    import folder_paths
    from PIL import Image

    with Image.open(f"{folder_paths.get_temp_directory()}/{shown['filename']}") as picture:
        assert picture.size == (576, 576)
        assert picture.getpixel((6 * 8 + 1, 300)) == (230, 25, 75), "the frame stands on the box"
    assert out.result[1].shape == BASE.shape

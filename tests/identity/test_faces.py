"""Which face of a picture is meant, and one identity from several pictures."""

import pytest
import torch
from same_subject.nodes.identity import faces
from same_subject.nodes.identity.faces import Choice, Face


def face(x, y, size, score):
    box = torch.tensor([x - size / 2, y - size / 2, x + size / 2, y + size / 2], dtype=torch.float32)
    return Face(box, torch.zeros(5, 2), torch.full((4,), float(x)), score, 200, 100)


FACES = [face(150, 20, 10, 0.9), face(40, 50, 30, 0.6), face(90, 80, 20, 0.8)]


@pytest.mark.parametrize(
    "choice, x",
    [
        (Choice("largest"), 40),
        (Choice("left to right", 0), 40),
        (Choice("left to right", 2), 150),
        (Choice("by score", 1), 90),
        (Choice("nearest to point", x=0.7, y=0.0), 150),
        (Choice("nearest to point", x=0.5, y=1.0), 90),
    ],
)
def test_each_choice_finds_its_face(choice, x):
    assert faces.choose(FACES, choice, "Identity", "picture 1").embedding[0] == x


def test_the_largest_is_by_area_and_not_by_the_formula_with_a_slip_of_precedence():
    wide = Face(torch.tensor([0.0, 0.0, 100.0, 10.0]), torch.zeros(5, 2), torch.ones(4), 0.9, 200, 300)
    low = Face(torch.tensor([0.0, 270.0, 20.0, 300.0]), torch.zeros(5, 2), torch.zeros(4), 0.9, 200, 300)
    assert faces.choose([low, wide], Choice("largest"), "Identity", "picture 1") is wide


def test_no_face_is_an_error_that_names_the_picture():
    with pytest.raises(ValueError, match="Identity: no face was found in picture 3, but one is needed. Use a picture"):
        faces.choose([], Choice(), "Identity", "picture 3")


def test_a_number_beyond_the_faces_is_an_error_that_says_how_many_there_are():
    with pytest.raises(ValueError, match="`number` is 3, but 3 faces were found in picture 1. 0 is face 1"):
        faces.choose(FACES, Choice("left to right", 3), "Identity", "picture 1")


def mask_of(*columns, size=(10, 20)):
    """A mask of the faces' picture at a tenth of its size; white in these columns."""
    mask = torch.zeros(size)
    mask[:, list(columns)] = 1
    return mask


def test_only_faces_whose_centre_is_white_in_the_mask_are_inside():
    assert faces.inside(FACES, mask_of(*range(9))) == [FACES[1]], "the edge of the third lies in the mask, its centre does not"
    assert faces.inside(FACES, mask_of(15, 9)) == [FACES[0], FACES[2]]
    assert faces.inside(FACES, 0.5 * mask_of(*range(20))) == []
    lower = torch.zeros(100, 200)
    lower[60:] = 1
    assert faces.inside(FACES, lower) == [FACES[2]], "a mask may have the picture's own size, or any other"
    outside = Face(torch.tensor([190.0, 90.0, 230.0, 120.0]), torch.zeros(5, 2), torch.zeros(4), 0.9, 200, 100)
    assert faces.inside([outside], mask_of(19)) == [outside], "a centre past the edge counts to the edge"


def test_the_choice_is_made_among_the_faces_inside_the_mask():
    mask = mask_of(*range(8, 20))
    where = ("Face Keypoints", "picture 1 of 1", "mask 2 of 3")
    assert faces.choose_inside(FACES, mask, Choice("largest"), *where) is FACES[2], "the largest of all is not inside"
    assert faces.choose_inside(FACES, mask, Choice("left to right", 1), *where) is FACES[0]
    with pytest.raises(ValueError, match="`number` is 2, but 2 faces were found in mask 2 of 3 of picture 1 of 1"):
        faces.choose_inside(FACES, mask, Choice("left to right", 2), *where)


def test_no_face_inside_a_mask_is_an_error_that_says_what_there_was():
    said = "no face was found inside mask 2 of 3: picture 1 of 1 has 3 faces, and the mask covers 5.0% of it.*another seed"
    with pytest.raises(ValueError, match=f"Face Keypoints: {said}"):
        faces.choose_inside(FACES, mask_of(0), Choice(), "Face Keypoints", "picture 1 of 1", "mask 2 of 3")


def test_several_pictures_of_one_person_are_averaged():
    assert faces.gather(FACES[:2]).embedding.tolist() == [95.0] * 4
    assert faces.gather(FACES[:1]).embedding.tolist() == [150.0] * 4


def of(*embedding):
    return Face(torch.zeros(4), torch.zeros(5, 2), torch.tensor(embedding), 0.9, 10, 10)


def test_the_norm_average_is_that_of_comfyui_instantid():
    pictures = torch.randn(3, 1, 512, generator=torch.Generator().manual_seed(0))
    theirs = torch.mean(pictures / torch.norm(pictures, dim=0, keepdim=True), dim=0).flatten()
    gathered = faces.gather([of(*row.flatten().tolist()) for row in pictures], faces.NORM_AVERAGE)
    assert torch.allclose(gathered.embedding, theirs, rtol=1e-6)
    assert not torch.allclose(theirs, pictures.mean(0).flatten(), atol=0.1)
    assert faces.gather([of(3.0, 0.0), of(-3.0, 0.0)], faces.NORM_AVERAGE).embedding.tolist() == [0.0, 0.0], "never NaN"
    assert faces.gather([of(3.0, 4.0)], faces.NORM_AVERAGE).embedding.tolist() == [3.0, 4.0], "one picture is as it is"


def test_noise_makes_a_nobody_of_each_person_that_is_always_the_same():
    """The numbers are those that ComfyUI_InstantID draws: uniform, from a seed that is the sum of the embedding."""
    ann, ben = of(*torch.linspace(-3, 5, 512).tolist()), of(*torch.linspace(-9, 5, 512).tolist())
    assert faces.gather([ann]).nobody() is None, "zeros by default"
    before = torch.random.get_rng_state()
    nobody = faces.gather([ann], noise=0.35).nobody()
    assert torch.equal(torch.random.get_rng_state(), before), "no other random numbers change"
    torch.manual_seed(int(ann.embedding.sum().item()) % 1000000007)
    assert torch.equal(nobody, 0.35 * torch.rand(1, 1, 512).flatten())
    torch.random.set_rng_state(before)
    assert torch.equal(faces.gather([ann], noise=0.7).nobody(), 2 * nobody)
    assert not torch.equal(faces.gather([ben], noise=0.35).nobody(), nobody)

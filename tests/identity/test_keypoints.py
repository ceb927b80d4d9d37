"""The keypoint picture equals the published drawing, pixel by pixel."""

import pytest
import torch
from same_subject.nodes.identity import keypoints

FACE = torch.tensor([[180.3, 150.7], [240.9, 148.2], [212.0, 190.5], [188.6, 225.1], [236.4, 222.8]])


def published(points, width, height):
    """`draw_kps` of InstantID's release, with OpenCV."""
    cv2, numpy = pytest.importorskip("cv2", reason="OpenCV is the oracle; it is a test tool"), pytest.importorskip("numpy")
    kps, picture = points.float().numpy(), numpy.zeros([height, width, 3])
    for limb in ([0, 2], [1, 2], [3, 2], [4, 2]):
        x, y = kps[limb][:, 0], kps[limb][:, 1]
        length = ((x[0] - x[1]) ** 2 + (y[0] - y[1]) ** 2) ** 0.5
        angle = int(numpy.degrees(numpy.arctan2(float(y[0] - y[1]), float(x[0] - x[1]))))
        centre, axes = (int(numpy.mean(x)), int(numpy.mean(y))), (int(length / 2), 4)
        polygon = cv2.ellipse2Poly(centre, axes, angle, 0, 360, 1)
        picture = cv2.fillConvexPoly(picture.copy(), polygon, keypoints.COLOURS[limb[0]])
    picture = (picture * 0.6).astype(numpy.uint8)
    for point, colour in zip(kps, keypoints.COLOURS, strict=True):
        picture = cv2.circle(picture.copy(), (int(point[0]), int(point[1])), 10, colour, -1)
    return torch.from_numpy(picture).float() / 255


def random_face(seed):
    """Keypoints of a face of random size, place and turn, part of them outside of the picture at times."""
    generator = torch.Generator().manual_seed(seed)
    size, turn, x, y = (torch.rand(4, generator=generator) * torch.tensor([2.0, 6.3, 420, 380])).tolist()
    turned = torch.tensor(
        [[torch.tensor(turn).cos(), -torch.tensor(turn).sin()], [torch.tensor(turn).sin(), torch.tensor(turn).cos()]]
    )
    jitter = 6 * torch.randn(5, 2, generator=generator)
    return (FACE - FACE.mean(0) + jitter) * size @ turned.T + torch.tensor([x - 10, y - 10])


@pytest.mark.parametrize("seed", range(60))
def test_it_equals_the_published_drawing_for_faces_of_any_size_turn_and_place(seed):
    points = random_face(seed)
    expected = published(points, 400, 360)
    assert torch.equal(keypoints.draw([points], 400, 360), expected)


def test_some_of_those_faces_stick_out_of_the_picture_and_a_moved_point_shows():
    faces = [random_face(seed) for seed in range(60)]
    outside = [((face < 0) | (face >= torch.tensor([400, 360]))).any() for face in faces]
    assert 5 < sum(outside) < 55
    moved = FACE + torch.tensor([1.0, 0.0])
    assert not torch.equal(keypoints.draw([FACE], 400, 360), keypoints.draw([moved], 400, 360))


@pytest.mark.parametrize("points", [FACE * 0 + 50, FACE * 0.01 + 30, torch.full((5, 2), -500.0), FACE.round()], ids=str)
def test_degenerate_faces_are_drawn_alike(points):
    assert torch.equal(keypoints.draw([points], 120, 100), published(points, 120, 100))


def test_the_colours_and_their_place_are_those_of_the_points():
    picture = keypoints.draw([FACE], 400, 360)
    for point, colour in zip(FACE.tolist(), keypoints.COLOURS, strict=True):
        assert (picture[int(point[1]), int(point[0])] * 255).tolist() == list(colour)
    assert picture.max() == 1 and picture.min() == 0 and picture.shape == (360, 400, 3)
    limb = (FACE[0] + FACE[2]) / 2
    assert (picture[int(limb[1]), int(limb[0])] * 255).tolist() == [153, 0, 0]


def test_two_faces_in_one_picture_do_not_dim_each_others_points():
    other = FACE - torch.tensor([120.0, 90.0])
    both, one = keypoints.draw([FACE, other], 400, 360), keypoints.draw([FACE], 400, 360)
    assert torch.equal(both[130:], torch.maximum(one, keypoints.draw([other], 400, 360))[130:])
    assert (both == 1).sum() == 2 * (one == 1).sum()

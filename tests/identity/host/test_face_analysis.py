"""Faces by the real insightface loader, on a synthetic pack; and everything that can be wrong with an installation."""

import importlib.metadata
import logging
import re
import sys
from types import SimpleNamespace

import folder_paths
import pytest
import torch
import yaml
from same_subject.nodes.host import catalogue
from same_subject.nodes.identity import nodes as identity_nodes
from same_subject.nodes.identity import recognising
from same_subject.nodes.identity.faces import Choice
from same_subject.nodes.identity.host import face_analysis
from same_subject.tests.tiny import face_models
from same_subject.tests.tiny.face_models import GRID, KEYPOINTS, picture

insightface = pytest.importorskip("insightface", reason="insightface is a test tool of its own; `python3 dev/test.py` brings it")
pytest.importorskip("onnx", reason="onnx makes the synthetic pack")

BIG, SURE = (4, 4, 0.75, 1.0), (10, 14, 0.95, 0.3)
"""A large face on the left and a small one, of which the detector is surer, on the right."""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder `insightface` with the pack, known to the host."""
    base = tmp_path_factory.mktemp("models") / "insightface"
    face_models.save_pack(base / "models" / "antelopev2")
    before = dict(folder_paths.folder_names_and_paths)
    folder_paths.folder_names_and_paths["insightface"] = ([str(base)], set())
    yield base
    folder_paths.folder_names_and_paths.clear()
    folder_paths.folder_names_and_paths.update(before)


@pytest.fixture(scope="module")
def analysis(models):
    return face_analysis.load(face_analysis.ANY, face_analysis.CPU)


def test_faces_are_found_where_they_are_with_their_keypoints_and_raw_embeddings(analysis):
    sure, big = analysis.faces(picture(BIG, SURE))
    assert sure.score > big.score > 0.5 and big.area > sure.area
    for face, (row, column, _, blue) in ((big, BIG), (sure, SURE)):
        centre, half = torch.tensor([column + 0.5, row + 0.5]) * GRID, 1 + (round(blue * 255) - 127.5) / 128 / 2
        x1, y1, x2, y2 = face.box_xyxy.tolist()
        assert ((x1 + x2) / 2, (y1 + y2) / 2) == pytest.approx(centre.tolist(), abs=1)
        expected = centre + torch.tensor(KEYPOINTS) * half * GRID
        assert (face.keypoints - expected).abs().max() < 1
    assert big.embedding.shape == (512,) and (big.width, big.height) == (640, 640)
    assert abs(big.embedding.norm() - 1) > 1, "raw, not normalised"
    assert (big.embedding - sure.embedding).abs().max() > 0.1


def test_a_picture_of_another_size_gives_the_same_faces_in_its_own_pixels(analysis):
    full, small = (analysis.faces(picture(BIG, size=size)) for size in (640, 320))
    assert len(full) == len(small) == 1
    assert (full[0].keypoints / 2 - small[0].keypoints).abs().max() < 1
    assert (small[0].width, small[0].height) == (320, 320)


def test_red_is_told_from_blue(analysis):
    assert len(analysis.faces(picture(SURE))) == 1
    assert analysis.faces(picture(SURE).flip(-1)) == [], "a picture whose channels are swapped has no red squares"


def test_the_nodes_choose_average_and_draw(analysis):
    first, second = picture(BIG, SURE), picture(SURE)
    both = recognising.choose_in_pictures("Identity", analysis, [first, second], Choice("largest"))
    assert [round(face.box_xyxy.mean().item()) > 200 for face in both] == [False, True]
    images = {"image0": torch.stack((first, second)), "image1": None}
    identity, drawn = identity_nodes.IdentityFromPictures.execute(analysis, images, "by score", 0, 0.5, 0.5).result
    ones = [analysis.faces(one)[0].embedding for one in (first, second)]
    assert torch.equal(identity.embedding, torch.stack(ones).mean(0)) and len(identity.faces) == 2
    x, y = (int(value) for value in identity.faces[0].keypoints[2])
    assert drawn.shape == (1, 640, 640, 3) and drawn[0, y, x].tolist() == [0.0, 0.0, 1.0]
    chosen = identity_nodes.IdentityFromPictures.execute(
        analysis, images, "by score", 0, 0.5, 0.5, combine="norm average", noise=0.35
    )
    assert torch.equal(chosen.result[0].embedding, (torch.stack(ones) / torch.stack(ones).norm(dim=0)).mean(0))
    assert chosen.result[0].nobody().max() < 0.35 and identity.nobody() is None
    (drawn,) = identity_nodes.FaceKeypoints.execute(analysis, torch.stack((first, second)), "largest", 0, 0.5, 0.5).result
    assert drawn.shape == (2, 640, 640, 3) and not torch.equal(drawn[0], drawn[1])


class Detector:
    """Stands in for insightface: sees a face only in a picture that is fitted into at most ``most`` pixels."""

    def __init__(self, most):
        self.most, self.tried, self.det_model = most, [], self
        self.input_size, self.input_sizes = (640, 640), [(640, 640)]

    def get(self, picture):
        assert self.input_sizes == [self.input_size]
        self.tried.append(self.input_size[0])
        box, points = torch.tensor([1.0, 2.0, 30.0, 40.0]), torch.zeros(5, 2)
        face = SimpleNamespace(bbox=box, kps=points, embedding=torch.full((512,), float(self.input_size[0])), det_score=0.9)
        return [face] if self.tried[-1] <= self.most else []


@pytest.mark.parametrize(("most", "tried"), [(640, [640]), (384, [640, 576, 512, 448, 384]), (100, list(range(640, 192, -64)))])
def test_a_face_that_fills_the_picture_is_looked_for_in_smaller_ones(most, tried):
    detector = Detector(most)
    found = face_analysis.FaceAnalysis(detector).faces(picture())
    assert detector.tried == tried and [face.embedding[0].item() for face in found] == [tried[-1]] * (most >= 256)
    assert (detector.input_size, detector.input_sizes) == ((640, 640), [(640, 640)]), "the next picture starts as this one did"
    detector.tried.clear()
    detector.static_input_size = (640, 640)
    face_analysis.FaceAnalysis(detector).faces(picture())
    assert detector.tried == [640], "a detector of one size is asked once"


def test_insightface_itself_detects_at_every_size(analysis, monkeypatch):
    sizes, detect = [], type(analysis.app.det_model)._detect_candidates
    monkeypatch.setattr(
        type(analysis.app.det_model), "_detect_candidates", lambda *given: (sizes.append(given[2]), detect(*given))[1]
    )
    assert analysis.faces(picture()) == []
    assert sizes == [(side, side) for side in face_analysis.DETECTION_SIZES]
    sizes.clear()
    assert len(analysis.faces(picture(BIG))) == 1 and sizes == [(640, 640)]


def test_a_picture_without_a_face_is_an_error_that_says_which_picture(analysis):
    images = {"image0": picture(BIG)[None], "image1": picture()[None]}
    with pytest.raises(ValueError, match="Identity: no face was found in picture 2 of 2 .counted from 1., but one is needed"):
        identity_nodes.IdentityFromPictures.execute(analysis, images, "largest", 0, 0.5, 0.5)


def test_files_that_are_not_the_published_ones_are_refused_unless_asked_for(models):
    with pytest.raises(ValueError) as error:
        face_analysis.load(face_analysis.EXACT, face_analysis.CPU)
    assert "1k3d68.onnx" in str(error.value) and face_analysis.hashes()["1k3d68.onnx"] in str(error.value)
    assert "antelopev2.zip" in str(error.value) and "set `files` to `any`" in str(error.value)


def test_the_catalogue_lists_the_five_files_with_the_hashes_that_are_checked():
    entries = yaml.safe_load(catalogue.CATALOGUE.read_text(encoding="utf-8"))["models"]
    listed = {entry["file"]: entry["sha256"] for entry in entries if entry["folder"].endswith("antelopev2")}
    five = {"1k3d68.onnx", "2d106det.onnx", "genderage.onnx", "glintr100.onnx", "scrfd_10g_bnkps.onnx"}
    assert face_analysis.hashes() == {name: listed[name] for name in five} and set(listed) == {*five, "antelopev2.zip"}
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in listed.values())


def test_a_pack_nested_in_a_folder_of_its_own_name_is_found(models, tmp_path, monkeypatch):
    face_models.save_pack(tmp_path / "models" / "antelopev2" / "antelopev2")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "insightface", ([str(tmp_path)], set()))
    assert face_analysis.find_pack() == tmp_path / "models" / "antelopev2" / "antelopev2"
    assert len(face_analysis.load(face_analysis.ANY, face_analysis.CPU).faces(picture(BIG))) == 1


def test_missing_files_are_named_with_their_folder_and_source(models, tmp_path, monkeypatch):
    folder = face_models.save_pack(tmp_path / "models" / "antelopev2")
    (folder / "glintr100.onnx").unlink()
    (folder / "genderage.onnx").unlink()
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "insightface", ([str(tmp_path)], set()))
    with pytest.raises(ValueError) as error:
        face_analysis.load(face_analysis.ANY, face_analysis.CPU)
    assert f"{folder} lacks genderage.onnx, glintr100.onnx. Get https://" in str(error.value)
    assert not (folder / "glintr100.onnx").exists(), "nothing is downloaded"


def test_a_damaged_file_is_named_with_its_folder(models, tmp_path, monkeypatch):
    folder = face_models.save_pack(tmp_path / "models" / "antelopev2")
    (folder / "glintr100.onnx").write_bytes(b"<html>404</html>")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "insightface", ([str(tmp_path)], set()))
    with pytest.raises(ValueError, match="the files in .*antelopev2 cannot be loaded"):
        face_analysis.load(face_analysis.ANY, face_analysis.CPU)


def test_a_missing_package_is_an_error_that_says_what_to_install(models, monkeypatch):
    monkeypatch.setitem(sys.modules, "insightface", None)
    monkeypatch.setitem(sys.modules, "insightface.app", None)
    with pytest.raises(ValueError, match="the package insightface is needed.*pip install insightface==2.1"):
        face_analysis.load(face_analysis.ANY, face_analysis.CPU)


@pytest.mark.parametrize("package", ("insightface", "onnxruntime"))
def test_a_missing_package_is_said_before_the_queue_starts_with_missing_files(models, tmp_path, monkeypatch, package):
    node = identity_nodes.LoadFaceAnalysis
    assert node.validate_inputs("any") is True
    monkeypatch.setitem(sys.modules, package, None)
    said = node.validate_inputs("any")
    assert said.startswith(f"Load Face Analysis: the package {package} is needed, but is not installed. Run `pip install")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "insightface", ([str(tmp_path)], set()))
    both = node.validate_inputs("any")
    assert both.startswith(said) and "lacks 1k3d68.onnx" in both


def test_both_runtimes_at_once_are_named_with_the_remedy(models, monkeypatch, caplog):
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1" if "onnxruntime" in name else version(name))
    with caplog.at_level(logging.WARNING):
        face_analysis.load(face_analysis.ANY, face_analysis.AUTO)
    assert "onnxruntime and onnxruntime-gpu are both installed" in caplog.text
    import onnxruntime

    monkeypatch.delattr(onnxruntime, "get_available_providers")
    with pytest.raises(ValueError, match="both installed.*pip uninstall onnxruntime onnxruntime-gpu"):
        face_analysis.load(face_analysis.ANY, face_analysis.AUTO)

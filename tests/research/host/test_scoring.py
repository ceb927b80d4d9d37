"""Scores of a benchmark's pictures: which instance of a picture stands for which subject."""

import pytest
import torch
from same_subject.nodes.concepts import detection
from same_subject.nodes.concepts.boxes import Box
from same_subject.nodes.data import pictures as reading
from same_subject.nodes.metrics.host import encoders
from same_subject.research.bench import scoring
from same_subject.research.bench.plan import Case, Subject
from same_subject.tests.tiny import score_models

SIZE = 64
LEFT, RIGHT, HEAD = (0, 16, 28, 48), (36, 16, 64, 48), (0, 16, 28, 30)


def box(corners):
    left, top, right, bottom = corners
    mask = torch.zeros(SIZE, SIZE)
    mask[top:bottom, left:right] = 1
    return mask


def drawn(**subjects):
    """Noise of its own for each subject, at its place, on grey."""
    picture = torch.full((SIZE, SIZE, 3), 0.5)
    for seed, (left, top, right, bottom) in subjects.items():
        noise = torch.Generator().manual_seed(int(seed[1:]))
        picture[top:bottom, left:right] = torch.rand(bottom - top, right - left, 3, generator=noise) ** int(seed[1:])
    return picture


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = score_models.save(tmp_path_factory.mktemp("scores"))
    return encoders.ScoreModels(None, encoders.load_dino(folder / "dino-vits16"))


@pytest.fixture
def dogs(tmp_path):
    """Two dogs, each with a picture of it alone."""
    made = []
    for name, word, place in (("s1", "dog", LEFT), ("s5", "dog", RIGHT)):
        path = tmp_path / f"{name}.png"
        reading.as_picture(drawn(**{name: place})).save(path)
        made.append(Subject(name, word, True, (path,), ("",)))
    return tuple(made)


def cutter(*places):
    """What finds these on every picture; and how many it was asked for."""
    asked = []

    def cut(picture, word, count=1):
        asked.append((word, count))
        there = [box(place) for place in places if ((picture - 0.5).abs() > 0.01).any(-1)[box(place) > 0].all()]
        return scoring.distinct(there)[:count]

    return cut, asked


def judged(models, dogs, picture, *places):
    cut, asked = cutter(*places)
    scores = scoring.Judge(models, cut)(Case("a", dogs, ((0,),) * len(dogs), "two dogs", 0), picture)
    return scores, asked


def test_two_subjects_of_one_class_have_an_instance_each(models, dogs):
    """Whichever is surer, and whichever stands first: 1 is a picture with both subjects themselves."""
    picture = drawn(s1=LEFT, s5=RIGHT)
    for order in (dogs, dogs[::-1]):
        for places in ((LEFT, RIGHT), (RIGHT, LEFT, HEAD)):
            scores, asked = judged(models, order, picture, *places)
            assert scores.mdino == pytest.approx(1, abs=1e-4) and ("dog", 2) in asked


def test_a_picture_with_one_of_two_shows_nothing_of_both(models, dogs):
    for places in ((LEFT, RIGHT), (LEFT, HEAD, RIGHT)):
        scores, _ = judged(models, dogs, drawn(s1=LEFT), *places)
        assert scores.mdino is None and scores.dino is not None
    one, asked = judged(models, dogs[:1], drawn(s1=LEFT), LEFT, RIGHT)
    assert one.mdino == pytest.approx(1, abs=1e-4) and asked[0] == ("dog", 1)


def test_subjects_of_other_classes_are_found_by_their_words(models, dogs):
    cat = Subject("s5", "cat", True, dogs[1].pictures, ("",))
    there = {"dog": LEFT, "cat": RIGHT}

    def cut(picture, word, count=1):
        return [box(there[word])] if ((picture - 0.5).abs() > 0.01).any(-1)[box(there[word]) > 0].all() else []

    judge = scoring.Judge(models, cut)
    case = Case("a", (dogs[0], cat), ((0,), (0,)), "a dog and a cat", 0)
    assert judge(case, drawn(s1=LEFT, s5=RIGHT)).mdino == pytest.approx(1, abs=1e-4)
    assert judge(case, drawn(s1=LEFT)).mdino is None


def test_a_cutter_gives_distinct_instances_and_the_best_where_one_is_asked_for():
    class Detector:
        def token_ids(self, caption):
            return [101, 7, 1012, 102]

        def detect(self, pictures, ids):
            places = torch.tensor([HEAD, LEFT, RIGHT]) / SIZE
            centred = torch.cat(((places[:, :2] + places[:, 2:]) / 2, places[:, 2:] - places[:, :2]), -1)
            yield torch.logit(torch.tensor([0.7, 0.9, 0.5]))[:, None].repeat(1, 4), centred

    class Segmenter:
        def masks(self, pictures, boxes):
            for row in boxes:
                yield torch.stack([box(tuple(map(round, one.corners))) for one in row])

    cut = object.__new__(scoring.Cutter)
    cut.detector, cut.segmenter = Detector(), Segmenter()
    picture = torch.rand(SIZE, SIZE, 3)
    assert [mask.equal(box(LEFT)) for mask in cut(picture, "Dog")] == [True]
    found = cut(picture, "dog", 2)
    assert len(found) == 2 and found[0].equal(box(LEFT)) and found[1].equal(box(RIGHT)), "a head is no second dog"
    assert len(cut(picture, "dog", 3)) == 2
    assert detection.Thresholds().box < 0.5 and Box(*LEFT).overlap(Box(*HEAD)) < detection.Thresholds().overlap

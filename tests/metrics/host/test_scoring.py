"""Score Subject on a tiny CLIP and DINO: what each score looks at, and what is said where one cannot be had."""

import pytest
import torch
from same_subject.nodes.joint import references
from same_subject.nodes.metrics import nodes
from same_subject.nodes.metrics.host import encoders, scoring
from same_subject.nodes.metrics.similarity import Scores
from same_subject.tests.tiny import score_models

SIZE = 64


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = score_models.save(tmp_path_factory.mktemp("scores"))
    clip, dino = encoders.load_clip(folder / "clip-vit-base-patch32"), encoders.load_dino(folder / "dino-vits16")
    return encoders.ScoreModels(clip, dino)


def drawn(subject: int, scene: int) -> torch.Tensor:
    """A noise of its own for the subject, in the middle, and one for the scene around it: [H, W, 3]."""
    noise = [torch.rand(SIZE, SIZE, 3, generator=torch.Generator().manual_seed(seed)) for seed in (subject, 100 + scene)]
    return torch.where(middle()[..., None] > 0, *noise)


def middle() -> torch.Tensor:
    mask = torch.zeros(SIZE, SIZE)
    mask[16:48, 16:48] = 1
    return mask


def gathered(*pictures, masked=True, keep=True):
    masks = [middle()] if masked else []
    return references.gather(list(pictures), masks, [""] * len(pictures), "crop", "grey", keep)


def test_masked_scores_see_the_subject_and_whole_ones_the_scene_too(models):
    pictures = [drawn(1, 2), drawn(3, 1), drawn(1, 1)]
    measured = scoring.score(models, pictures, gathered(drawn(1, 1)), masks=[middle()])
    other_scene, other_subject, same = measured.scores
    for whole, masked in (("clip_i", "mclip_i"), ("dino", "mdino")):
        assert [getattr(same, whole), getattr(same, masked)] == pytest.approx([1, 1], abs=1e-5)
        assert getattr(other_scene, masked) == pytest.approx(1, abs=1e-5) and getattr(other_scene, whole) < 0.99
        assert getattr(other_subject, masked) < 0.99
    assert same.clip_t is None and measured.notes == ()


def test_the_mean_is_over_all_references_whatever_their_sizes(models):
    picture, large = drawn(1, 2), torch.rand(90, 50, 3, generator=torch.Generator().manual_seed(9))
    both = scoring.score(models, [picture], gathered(drawn(1, 1), large, masked=False)).scores[0]
    apart = [scoring.score(models, [picture], gathered(one, masked=False)).scores[0] for one in (drawn(1, 1), large)]
    assert both.dino == pytest.approx(sum(one.dino for one in apart) / 2, abs=1e-6) and apart[0].dino != apart[1].dino
    assert both.clip_i == pytest.approx(sum(one.clip_i for one in apart) / 2, abs=1e-6) and both.mdino is None


def test_the_background_of_masked_scores_is_the_one_that_is_named(models):
    pictures, wanted = [drawn(1, 2)], gathered(drawn(3, 1))
    found = {level: scoring.score(models, pictures, wanted, masks=[middle()], background=level) for level in ("white", "black")}
    assert found["white"].scores[0].mdino != found["black"].scores[0].mdino
    cut = [one.picture * middle()[..., None] + (1 - middle()[..., None]) for one in wanted]
    white = pictures[0] * middle()[..., None] + (1 - middle()[..., None])
    by_hand = scoring.score(models, [white], gathered(*cut, masked=False)).scores[0]
    assert found["white"].scores[0].mdino == pytest.approx(by_hand.dino, abs=1e-5)


def test_each_picture_is_scored_with_its_own_prompt(models):
    pictures = [drawn(1, 1), drawn(2, 2)]
    each = scoring.score(models, pictures, prompts=["a ball", "a star in the snow"]).scores
    alone = [
        scoring.score(models, [one], prompts=[text]).scores[0]
        for one, text in zip(pictures, ("a ball", "a star in the snow"), strict=True)
    ]
    assert [one.clip_t for one in each] == pytest.approx([one.clip_t for one in alone], abs=1e-5)
    assert each[0] == Scores(clip_t=each[0].clip_t) and each[0].clip_t != pytest.approx(each[1].clip_t, abs=1e-3)
    with pytest.raises(ValueError, match="^Score Subject: `prompt` has 3 for 2 pictures, but needs 1 or 2"):
        scoring.score(models, pictures, prompts=["a"] * 3)


def test_what_cannot_be_measured_is_said(models):
    pictures, black = [drawn(1, 1), drawn(1, 2)], torch.zeros(SIZE, SIZE)
    measured = scoring.score(models, pictures, gathered(drawn(1, 3)), masks=[middle(), black])
    assert measured.scores[1].mdino is None and measured.scores[0].mdino is not None and measured.scores[1].dino is not None
    assert measured.notes == ("MCLIP-I and MDINO leave out picture 2: its mask is black everywhere.",)
    (note,) = scoring.score(models, pictures, gathered(drawn(1, 3), masked=False), masks=[middle()]).notes
    assert note == "MCLIP-I and MDINO need a mask of every reference, but reference 1 has none."
    (note,) = scoring.score(models, pictures, gathered(drawn(1, 3), keep=False)).notes
    assert note.startswith("Reference 1 has lost its background to its mask, so CLIP-I and DINO see it cut out")
    (note,) = scoring.score(models, pictures, prompts=["ball", "red ball " * 60]).notes
    assert note == "CLIP reads only the first 77 tokens of the prompt of picture 2."


def test_the_node_gives_means_and_stops_who_reads_what_was_not_measured(models):
    batch = torch.stack([drawn(1, 2), drawn(3, 1)])
    output = nodes.ScoreSubject.execute(models=models, image=batch, references=gathered(drawn(1, 1)), prompt="a ball")
    clip_t, clip_i, mclip_i, dino, _, scores, text = output.args
    assert clip_t == pytest.approx(sum(one.clip_t for one in scores) / 2) and dino == pytest.approx(
        sum(s.dino for s in scores) / 2
    )
    assert "MCLIP-I was not measured, but a node needs it" in mclip_i.message
    assert text.splitlines()[0] == f"mean: CLIP-T {clip_t:.4f}  CLIP-I {clip_i:.4f}  DINO {dino:.4f}" and text.count("\n") == 2
    with pytest.raises(ValueError, match="^Score Subject: neither `references` nor `prompt` is given"):
        nodes.ScoreSubject.execute(models=models, image=batch)
    with pytest.raises(ValueError, match="^Score Subject: picture 1 holds NaN"):
        nodes.ScoreSubject.execute(models=models, image=batch * torch.nan, prompt="a")


def test_best_of_keeps_the_best_pictures_with_their_scores(models):
    batch = torch.stack([drawn(1, 2), drawn(3, 1), drawn(1, 1)])
    scores = scoring.score(models, list(batch), gathered(drawn(1, 1)), ["a ball"], [middle()]).scores
    weights = {"clip_t": 0.0, "clip_i": 0.0, "mclip_i": 0.0, "dino": 1.0, "mdino": 0.0}
    image, kept, numbers = nodes.BestOf.execute(image=batch, scores=scores, keep=2, **weights).args
    assert torch.equal(image[0], batch[2]) and kept[0] == scores[2] and len(image) == 2
    assert numbers == "3, " + str(1 + [0, 1][scores[1].dino > scores[0].dino])
    with pytest.raises(ValueError, match="^Best Of: `scores` are of 3 pictures, but `image` has 2"):
        nodes.BestOf.execute(image=batch[:2], scores=scores, keep=2, **weights)
    with pytest.raises(ValueError, match="^Best Of: all weights are 0"):
        nodes.BestOf.execute(image=batch, scores=scores, keep=2, **(weights | {"dino": 0.0}))

"""What is compared: models that are trained alike but for one thing (arms), and the paper's tables of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..evaluate import LAMBDAS, Setting

CLIP, LEARNED = "clip", "learned"
"""An image encoder whose tokens stand behind the text: the demo's own, which stays as it is, or one that is trained along."""
SHIPPED = "shipped"
"""The model that ships, which no arm is compared with: it had 8,400 steps."""
JOINED = "joined sets"
"""That model, trained on with sets of two subjects; no arm of a table."""


@dataclass(frozen=True)
class Arm:
    """One model. coupled: a joint-image model with reference channels; else a model of single pictures.

    encoder: CLIP, LEARNED or None. concatenated: a reference stands in the input channels of the picture that is made. sets:
    how many sets there are to train on; None is a new one every time. clips: sets have one scene and one caption, as the
    frames of a clip: the share of them.
    """

    coupled: bool = True
    encoder: str | None = None
    concatenated: bool = False
    sets: int | None = None
    clips: float = 0.0


JEDI = "JeDi"
ARMS = {
    JEDI: Arm(),
    "CLIP encoder": Arm(coupled=False, encoder=CLIP),
    "JeDi + CLIP embedding": Arm(encoder=CLIP),
    "concatenation": Arm(coupled=False, concatenated=True),
    "learned encoder": Arm(coupled=False, encoder=LEARNED),
    "clips alone": Arm(clips=1.0),
    "50 sets": Arm(sets=50),
    "500 sets": Arm(sets=500),
    "clips and sets": Arm(clips=0.5),
}


@dataclass(frozen=True)
class Row:
    """A row of a table. arm: of ARMS, or SHIPPED. setting: how it paints. reshaped: the caption names another shape.

    paper: DINO, MDINO and CLIP-T that the paper gives for it. against: the row that it is compared with, else the first one.
    """

    name: str
    arm: str
    setting: Setting = Setting()
    reshaped: bool = False
    paper: tuple[float, float, float] | None = None
    against: str | None = None


@dataclass(frozen=True)
class Table:
    """title: what it is about. views: references drawn of each subject."""

    title: str
    rows: tuple[Row, ...]
    subjects: int = 200
    views: int = 1

    @property
    def arms(self) -> list[str]:
        """What must be trained for it, each once, in the order of its rows."""
        return list(dict.fromkeys(row.arm for row in self.rows if row.arm != SHIPPED))


def _modes() -> tuple[Row, ...]:
    """The guidance modes over the scales: lambda for joint and text only, the other scale stays 3 in modes of two."""
    made = []
    for scale in LAMBDAS:
        for mode, setting in (
            ("text first", Setting("text first", cfg=3.0, image=scale)),
            ("joint", Setting(cfg=scale)),
            ("image first", Setting("image first", cfg=scale, image=3.0)),
            ("text only", Setting("text only", cfg=scale)),
        ):
            made.append(Row(f"{mode}@{scale:g}", SHIPPED, setting, True))
    return tuple(made)


MODES = ("text first", "joint", "image first", "text only")
TABLES = {
    4: Table(
        "designs of a joint-image model",
        (
            Row(JEDI, JEDI, paper=(0.7501, 0.8639, 0.3020)),
            Row("CLIP encoder", "CLIP encoder", paper=(0.3411, 0.4394, 0.3325)),
            Row("JeDi + CLIP embedding", "JeDi + CLIP embedding", paper=(0.7432, 0.8617, 0.3041)),
            Row("JeDi without image guidance", JEDI, Setting("text only"), paper=(0.4652, 0.5922, 0.3259)),
        ),
    ),
    7: Table(
        "other ways to show a reference",
        (
            Row(JEDI, JEDI, paper=(0.7501, 0.8639, 0.3020)),
            Row("CLIP encoder", "CLIP encoder", paper=(0.3411, 0.4394, 0.3325)),
            Row("concatenation", "concatenation", paper=(0.3379, 0.4292, 0.3247)),
            Row("learned encoder", "learned encoder", paper=(0.7065, 0.7740, 0.3015)),
        ),
    ),
    3: Table(
        "sets to train on",
        (
            Row("a new set every time", JEDI, paper=(0.7467, 0.8636, 0.3015)),
            Row("0 sets: clips alone", "clips alone", paper=(0.8895, 0.8931, 0.2524)),
            Row("50 sets", "50 sets"),
            Row("500 sets", "500 sets"),
            Row("clips and sets, half each", "clips and sets"),
        ),
    ),
    9: Table(
        "number of references",
        (
            Row("1 reference", JEDI),
            Row("3 references", JEDI, Setting(references=3)),
            Row("5 references", JEDI, Setting(references=5)),
            Row("the model that ships, 1", SHIPPED),
            Row("the model that ships, 3", SHIPPED, Setting(references=3), against="the model that ships, 1"),
            Row("the model that ships, 5", SHIPPED, Setting(references=5), against="the model that ships, 1"),
        ),
        views=5,
    ),
    6: Table("modes of guidance, where the caption names another shape than the reference has", _modes(), subjects=400),
}
TABLES[11] = replace(TABLES[6], title="figure 11: looks against caption, over the scales, where the caption names another shape")

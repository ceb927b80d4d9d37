"""The cards of the workflows: a drawing that says so wherever a checkpoint is needed, which this repository has not."""

from PIL import Image, ImageChops
from same_subject.dev import pack
from same_subject.research import cards

WORKFLOWS = pack.ROOT / "workflows"


def test_each_workflow_that_needs_a_checkpoint_has_the_drawing_that_the_command_makes():
    drawn = cards.cards()
    assert set(drawn) == {path.stem for path in WORKFLOWS.glob("*.json") if not path.stem.startswith("Demo")}
    for name, whole in drawn.items():
        with Image.open(WORKFLOWS / f"{name}.jpg") as file:
            difference = ImageChops.difference(file.convert("RGB"), whole.resize(file.size, Image.Resampling.LANCZOS))
        assert max(difference.convert("L").resize((32, 32), Image.Resampling.BOX).getdata()) < 16, name

"""What a prompt of a program can put into a node's inputs, and no widget or socket does, is refused by name."""

import pytest
import torch
from same_subject.nodes.host import inputs
from same_subject.nodes.joint.nodes import ApplyJeDi, JeDiOptions, JointSetNode, ReferencePictures

PICTURE = torch.rand(1, 8, 8, 3)
SHARES = {"coupling_start": 0.0, "coupling_end": 1.0}
MODES = {"reference_attention": "all pictures", "null_references": "isolated", "channel_order": "auto"}
LEVELS = dict.fromkeys(("full", "half", "quarter", "eighth"), True)


@pytest.mark.parametrize("value", ("x", True, 5, {}, [1, 2], {"a": [None]}))
def test_a_plain_value_in_a_socket_is_refused_with_its_name(value):
    with pytest.raises(ValueError, match="^JeDi: `model` is .* but needs what another node gives. Connect one.$"):
        ApplyJeDi.execute(
            model=value, joint_set=None, guidance="joint", image_scale=5.0, start_percent=0.0, end_percent=1.0
        )  # fmt: skip
    with pytest.raises(ValueError, match="^Reference Pictures: `images.image3` is .* but needs what another node gives."):
        ReferencePictures.execute(images={"image3": value}, captions="", fit="crop", background="grey")


def test_an_input_that_a_node_does_not_have_and_a_group_with_a_value_are_refused():
    with pytest.raises(ValueError, match="^Reference Pictures: `images.image99` is no input of this node. Leave it out.$"):
        ReferencePictures.execute(images={}, captions="", fit="crop", background="grey", **{"images.image99": PICTURE})
    with pytest.raises(ValueError, match="^Reference Pictures: `images` is a group of inputs, but has a value of its own."):
        ReferencePictures.execute(images=PICTURE, captions="", fit="crop", background="grey")


def test_an_optional_input_that_is_null_is_one_that_is_not_there():
    given = {"images": {"image0": PICTURE}, "captions": "", "fit": "crop", "background": "grey"}
    (made,) = ReferencePictures.execute(**given, previous=None, masks=None).result
    assert len(made) == 1


@pytest.mark.parametrize("value", (float("nan"), float("inf"), None))
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match="^JeDi Options: `coupling_start` is "):
        JeDiOptions.execute(**{**SHARES, "coupling_start": value}, **MODES, **LEVELS)
    assert JeDiOptions.execute(**SHARES, **MODES, **LEVELS).result


def test_half_characters_are_refused_before_they_reach_a_text_encoder():
    with pytest.raises(ValueError, match="^Reference Pictures: `captions` holds half a character"):
        ReferencePictures.execute(images={"image0": PICTURE}, captions="a \ud83e", fit="crop", background="grey")


@pytest.mark.parametrize("value", ("", {}, [1], True, "0.5", float("nan")))
def test_values_of_the_wrong_type_do_not_break_validation(value):
    assert value is True or "`coupling_end` is" in JeDiOptions.validate_inputs(0.0, value)
    assert JointSetNode.validate_inputs([], 0) == "Joint Set: `prompts` is [], but needs to be text. Type it."
    assert (
        inputs.name_problem("A", "file", "a\0b")
        and inputs.name_problem("A", "file", 5)
        and inputs.name_problem("A", "file", "\ud800")
    )
    assert inputs.name_problem("A", "file", "a b.safetensors") is None

"""The weights of a file in this pack's form: exactly those that it says, with whole tables of words."""

import pytest
import torch
from same_subject.nodes.subject import files
from same_subject.tests.tiny import subject_adapter_files as tiny

TABLE = "text.l.text_model.embeddings.token_embedding.weight"


def test_a_short_table_of_words_becomes_whole_with_zeros_where_nothing_was_trained():
    about = tiny.about()
    state = tiny.state(about)
    rows, numbers = state[TABLE][[3, 40000]], torch.tensor([3, 40000], dtype=torch.int32)
    found = files.whole(about, {**state, TABLE: rows, TABLE + ".rows": numbers})
    assert torch.equal(found[TABLE][numbers], rows) and not found[TABLE][4:40000].any()
    assert found.keys() == state.keys() and found[TABLE].shape == (49408, 32)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"layers.4.attn.to_k.weight": None}, "1 of its weights do not fit: `layers.4.attn.to_k.weight` is missing"),
        ({"attn2.6.to_v.weight": None, "conv_in.bias": None}, "2 of its weights do not fit"),
        ({"layers.7.alpha_attn": torch.ones(())}, "`layers.7.alpha_attn` is not known"),
        ({"mlp.g.fc1.weight": torch.ones(1)}, "`mlp.g.fc1.weight` is not known"),
        ({"conv_in.weight": torch.ones(32, 4, 3, 3)}, r"`conv_in.weight` has shape \(32, 4, 3, 3\), needs \(32, 5, 3, 3\)"),
        ({"proj.null_image_feature": torch.ones(1, 1, 15, 24)}, "`proj.null_image_feature` has shape"),
        ({"vision.visual_projection.weight": None}, "`vision.visual_projection.weight` is missing"),
        ({"text.l.text_model.final_layer_norm.bias": None}, "`text.l.text_model.final_layer_norm.bias` is missing"),
        ({"text.l.text_model.final_layer_norm.bias": torch.ones(32).int()}, "`text.l.*` holds no weights"),
        ({"text.l.text_model.final_layer_norm.bias": {}}, "`text.l.*` holds no weights"),
        ({"conv_in.weight.rows": torch.ones(1).int()}, "`conv_in.weight.rows` is not known"),
        ({f"{TABLE}.rows": torch.ones(1).int()}, "does not fit its numbers of rows"),
        ({TABLE: torch.ones(1, 32), f"{TABLE}.rows": torch.tensor([49408])}, "does not fit its numbers of rows"),
        ({TABLE: torch.ones(1, 32), f"{TABLE}.rows": torch.tensor([-1])}, "does not fit its numbers of rows"),
        ({TABLE: torch.ones(1, 32), f"{TABLE}.rows": torch.tensor([1.0])}, "does not fit its numbers of rows"),
        ({TABLE: torch.ones(1, 33), f"{TABLE}.rows": torch.tensor([1])}, r"has shape \(49408, 33\), needs \(49408, 32\)"),
    ],
)
def test_what_is_missing_left_over_or_of_another_size_is_refused_by_name(change, problem):
    about = tiny.about()
    state = {name: value for name, value in {**tiny.state(about), **change}.items() if value is not None}
    with pytest.raises(ValueError, match=problem):
        files.whole(about, state)


def test_a_file_whose_text_is_a_difference_holds_any_part_of_it_and_nothing_else():
    about = tiny.about("sdxl", text="difference")
    state = {name: value for name, value in tiny.state(about).items() if ".g." not in name or name.startswith("mlp")}
    assert files.whole(about, state).keys() == state.keys()
    with pytest.raises(ValueError, match="`text.g.text_model.x` is not known"):
        files.whole(about, {**state, "text.g.text_model.x": torch.ones(1)})


def test_only_what_nothing_reads_may_be_missing_of_a_whole_text():
    for kind, given, lacks in (("sd15", "l", {"projection"}), ("sd2", "h", {"projection", "last"}), ("sdxl", "g", set())):
        about = tiny.about(kind)
        parts = {"projection": f"text.{given}.text_projection.weight", "last": f"text.{given}.text_model.encoder.layers.2."}
        for part, name in parts.items():
            left = {key: value for key, value in tiny.state(about).items() if not key.startswith(name)}
            if part in lacks:
                assert files.whole(about, left).keys() == left.keys()
            else:
                with pytest.raises(ValueError, match=f"`{name}.*is missing"):
                    files.whole(about, left)

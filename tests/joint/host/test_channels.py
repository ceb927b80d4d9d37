"""What a 9-channel UNet is fed, and how the order of its channels is found out."""

import json

import comfy.sd
import node_helpers
import pytest
import torch
from safetensors.torch import save_file
from same_subject.nodes.joint.host import channels
from same_subject.nodes.joint.host.attention import KEY
from same_subject.tests.tiny import models, sets
from same_subject.tests.tiny.sets import apply, case, gap, sample

ORDER = "noisy, reference, mask"
INPAINTING_ORDER = "noisy, mask, reference"
SIGMA = 14.6146
ROUNDING = 1e-5
"""Of gaps: 5.3e-7 was seen."""
VISIBLE = 0.01


@pytest.fixture(scope="module")
def unet():
    return models.model("sd15", 9)


def first_input(model, one):
    """The UNet's first input of a run by term, 0 for e, 1 for e0 and 2 for e1; each [B, 9, H, W]."""
    calls = sets.Calls(model)
    sample(calls.model, one, steps=1)
    return dict(zip(calls.options[0][KEY].terms, calls.inputs[0].split(one.layout.rows), strict=True))


def test_given_references_come_scaled_with_mask_0_and_missing_pictures_are_zero_with_mask_1(unet):
    one = case(sets=2)
    full = first_input(apply(unet, one.joint_set, "text only", channel_order=ORDER), one)[0]
    made, kept = one.layout.generated_rows, one.layout.reference_rows
    clean = one.joint_set.reference_latents() * 0.18215
    assert gap(full[kept, 4:8], clean) < ROUNDING and (full[kept, 8] == 0).all()
    assert gap(one.joint_set.reference_latents(), clean) > VISIBLE
    assert (full[made, 4:8] == 0).all() and (full[made, 8] == 1).all()
    noisy = (clean + SIGMA * one.joint_set.reference_noise()) / (SIGMA**2 + 1) ** 0.5
    assert gap(full[kept, :4], noisy) < ROUNDING
    assert gap(one.joint_set.reference_noise(), noisy) > VISIBLE


def test_a_null_reference_is_zero_with_mask_1_on_every_row_and_literally_keeps_its_mask(unet):
    one = case()
    for form, mask in (("isolated", torch.ones(4)), ("literal", torch.tensor([1.0, 1, 0, 0]))):
        chunks = first_input(apply(unet, one.joint_set, "joint", channel_order=ORDER, null_references=form), one)
        assert (chunks[1][:, 4:8] == 0).all()
        assert torch.equal(chunks[1][:, 8], mask[:, None, None].expand(-1, 8, 8))
        assert (chunks[0][2:, 4:8] != 0).any()


@pytest.mark.parametrize("mode, null", (("text first", (1, 2)), ("image first", (1,))))
def test_each_of_three_terms_gets_its_own_references(unet, mode, null):
    one = case()
    chunks = first_input(apply(unet, one.joint_set, mode, channel_order=ORDER, image_scale=5.0), one)
    assert {term for term, chunk in chunks.items() if (chunk[:, 4:8] == 0).all()} == set(null)


def test_both_channel_orders_are_the_same_model_with_permuted_weights(unet):
    one = case()
    permuted = models.model("sd15", 9)
    weight = permuted.model.diffusion_model.input_blocks[0][0].weight
    with torch.no_grad():
        weight.copy_(unet.model.diffusion_model.input_blocks[0][0].weight[:, [0, 1, 2, 3, 8, 4, 5, 6, 7]])
    expected = sample(apply(unet, one.joint_set, channel_order=ORDER), one)
    assert gap(sample(apply(permuted, one.joint_set, channel_order=INPAINTING_ORDER), one), expected) < ROUNDING
    assert gap(sample(apply(unet, one.joint_set, channel_order=INPAINTING_ORDER), one), expected) > VISIBLE


def inpainting(one, latent, mask, names=("positive", "negative")):
    """What the host's InpaintModelConditioning makes of a case's conditioning; latent and mask [P, ...] by rows."""
    values = {"concat_latent_image": latent, "concat_mask": mask}

    def given(name):
        entries = getattr(one, name)
        return node_helpers.conditioning_set_values(entries, values) if name in names else entries

    return sets.Case(one.joint_set, given("positive"), given("negative"))


LATENT = sets.pictures(8, seed=9)
HOLE = torch.zeros(8, 1, 64, 64)
for number in range(8):
    HOLE[number, :, 8 * number :, 24:] = 1


@pytest.mark.parametrize("order", (ORDER, INPAINTING_ORDER))
@pytest.mark.parametrize("given", (1, 2, 4, 8))
def test_pictures_to_inpaint_fill_the_channels_of_the_rows_to_generate_in_every_term(unet, order, given):
    """They were ignored: these rows were all missing, a picture of 0 with mask 1."""
    one = case(sets=2)
    which = {1: [0] * 4, 2: [0, 1, 0, 1], 4: [0, 1, 2, 3], 8: [0, 1, 4, 5]}[given]
    steered = inpainting(one, LATENT[:given], HOLE[:given])
    plain = first_input(apply(unet, one.joint_set, channel_order=order), one)
    chunks = first_input(apply(unet, one.joint_set, channel_order=order), steered)
    latents, mask = (slice(4, 8), 8) if order == ORDER else (slice(5, 9), 4)
    made, kept = one.layout.generated_rows, one.layout.reference_rows
    for term, chunk in chunks.items():
        assert torch.allclose(chunk[made, latents], LATENT[which] * 0.18215)
        assert torch.equal(chunk[made, mask], HOLE[which, 0, 4::8, 4::8])
        assert torch.equal(chunk[kept], plain[term][kept])


@pytest.mark.parametrize("mode", ("joint", "text first", "image first", "text only"))
def test_inpainting_moves_the_pictures_in_every_mode_and_is_the_host_s_own_without_references(unet, mode):
    """Without references a set of one picture under InpaintModelConditioning is the host's own, to rounding."""
    one = case()
    options = {"channel_order": INPAINTING_ORDER}
    result = sample(apply(unet, one.joint_set, mode, **options), inpainting(one, LATENT[:2], HOLE[:2]))
    assert gap(result, sample(apply(unet, one.joint_set, mode, **options), one)) > 0.01
    alone = case(generated=1, references=0)
    steered = inpainting(alone, LATENT[:1], HOLE[:1])
    expected = sample(unet, steered)
    effect = gap(expected, sample(unet, inpainting(alone, LATENT[1:2], HOLE[1:2])))
    assert effect > 0.01
    assert gap(sample(apply(unet, alone.joint_set, mode, **options), steered), expected) < 1e-4 * effect


def test_pictures_to_inpaint_of_another_size_are_fitted_and_of_another_number_refused(unet):
    one = case(sets=2)
    model = apply(unet, one.joint_set, channel_order=ORDER)
    large = inpainting(one, LATENT[:1].repeat_interleave(2, -1).repeat_interleave(2, -2), HOLE[:1])
    assert gap(first_input(model, large)[0][:1, 4:8], LATENT[:1] * 0.18215) < 1e-4
    for latents, masks in ((3, 1), (1, 3)):
        with pytest.raises(ValueError, match="^JeDi: InpaintModelConditioning gives 3 .*needs 1, 2, 4 or 8 rows"):
            sample(model, inpainting(one, LATENT[:latents], HOLE[:masks]))


def loaded_from(model, path):
    model = model.clone()
    model.cached_patcher_init = (comfy.sd.load_checkpoint_guess_config, (str(path), False), 0)
    return model


def checkpoint(path, metadata):
    save_file({"x": torch.zeros(1)}, str(path), metadata=metadata)
    return path


@pytest.mark.parametrize("order", (ORDER, INPAINTING_ORDER))
def test_auto_reads_the_order_from_the_file_that_a_stock_loader_loaded(unet, tmp_path, order):
    model = loaded_from(unet, checkpoint(tmp_path / "a.safetensors", {"jedi.channel_order": order}))
    assert channels.channel_order(model, "auto") == order
    assert channels.channel_order(model.clone(), "auto") == order


def test_the_option_wins_over_the_file(unet, tmp_path):
    model = loaded_from(unet, checkpoint(tmp_path / "a.safetensors", {"jedi.channel_order": ORDER}))
    assert channels.channel_order(model, INPAINTING_ORDER) == INPAINTING_ORDER


def test_a_4_channel_model_has_no_order():
    assert channels.channel_order(models.model("sd15", 4), "auto") is None


def test_an_order_that_nobody_states_is_refused_with_the_remedy(unet, tmp_path):
    (tmp_path / "old.ckpt").write_bytes(b"PK\3\4" + bytes(100))
    broken = tmp_path / "broken.safetensors"
    header = json.dumps({"x": {"dtype": "F32", "shape": [100], "data_offsets": [0, 400]}}).encode()
    broken.write_bytes(len(header).to_bytes(8, "little") + header)
    cases = {
        "does not tell which file": unet,
        "has no metadata": loaded_from(unet, checkpoint(tmp_path / "plain.safetensors", {"a": "b"})),
        "not a safetensors file": loaded_from(unet, tmp_path / "old.ckpt"),
        "is truncated": loaded_from(unet, broken),
        "does not exist": loaded_from(unet, tmp_path / "gone.safetensors"),
    }
    for reason, model in cases.items():
        with pytest.raises(ValueError, match=f"{reason}.*set `channel_order`"):
            channels.channel_order(model, "auto")


def test_an_unknown_order_in_a_file_is_refused_by_name(unet, tmp_path):
    model = loaded_from(unet, checkpoint(tmp_path / "a.safetensors", {"jedi.channel_order": "mask, noisy"}))
    with pytest.raises(ValueError, match="of a.safetensors is `mask, noisy`.*Set `channel_order` of JeDi Options"):
        channels.channel_order(model, "auto")


def test_a_model_with_other_input_channels_is_refused():
    with pytest.raises(ValueError, match="takes 8 input channels, but needs 4 .* or 9"):
        channels.channel_order(models.model("sd15", 8), "auto")

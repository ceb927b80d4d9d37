"""The layer between self- and cross-attention against a plain reading of it, and its invariants."""

import torch
import torch.nn.functional as F
from same_subject.nodes.subject import adapter, tokens
from same_subject.tests.tiny.sets import gap

ROUNDING = 2e-6
"""As a share of the effect."""
CHANNELS, WIDTH, HEADS = 64, 48, 4


def attend(q, k, v, heads):
    split = [part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k, v)]
    return F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(-2)


def plain(state, x, given, beta):
    """The authors' block once more: everything in one sequence, everything asked, the first part kept."""
    objects = F.linear(given, state["linear.weight"], state["linear.bias"]).expand(len(x), -1, -1)
    whole = F.layer_norm(torch.cat([x, objects], 1), (CHANNELS,), state["norm1.weight"], state["norm1.bias"])
    q, k, v = (F.linear(whole, state[f"attn.to_{name}.weight"]).unflatten(-1, (HEADS, -1)).transpose(1, 2) for name in "qkv")
    weights = (q @ k.transpose(-1, -2) / (CHANNELS // HEADS) ** 0.5).softmax(-1)
    seen = F.linear((weights @ v).transpose(1, 2).flatten(-2), state["attn.to_out.0.weight"], state["attn.to_out.0.bias"])
    x = x + beta * state["alpha_attn"].tanh() * seen[:, : x.shape[1]]
    value, gate = F.linear(
        F.layer_norm(x, (CHANNELS,), state["norm2.weight"], state["norm2.bias"]),
        state["ff.net.0.proj.weight"],
        state["ff.net.0.proj.bias"],
    ).chunk(2, -1)
    return x + beta * state["alpha_dense"].tanh() * F.linear(
        value * F.gelu(gate), state["ff.net.2.weight"], state["ff.net.2.bias"]
    )


def layer(open_gate=True):
    torch.manual_seed(1)
    built = adapter.Layer(CHANNELS, WIDTH, HEADS).requires_grad_(False)
    if open_gate:
        built.alpha_attn.fill_(0.7), built.alpha_dense.fill_(-0.4)
    return built


def test_the_layer_is_the_authors_block():
    built, x, given = layer(), torch.randn(3, 20, CHANNELS), torch.randn(32, WIDTH)
    expected = plain(built.state_dict(), x, given, 0.8)
    found = built(x, built.subjects(given), 0.8, attend)
    assert gap(found, expected) < ROUNDING and gap(x, expected) > 100 * ROUNDING


def test_a_closed_gate_and_no_weight_give_what_came_in_to_the_bit():
    x, given = torch.randn(2, 20, CHANNELS), torch.randn(32, WIDTH)
    closed, opened = layer(open_gate=False), layer()
    assert torch.equal(closed(x, closed.subjects(given), 1.0, attend), x)
    assert opened(x, opened.subjects(given), 0.0, attend) is x


def test_the_order_of_subjects_changes_nothing_but_rounding():
    built, x, (one, two) = layer(), torch.randn(2, 20, CHANNELS), torch.randn(2, 16, WIDTH)
    both, turned, alone = (built(x, built.subjects(torch.cat(given)), 1.0, attend) for given in ((one, two), (two, one), (one,)))
    assert gap(turned, both) < ROUNDING and gap(alone, both) > 100 * ROUNDING


def test_names_and_shapes_are_those_of_the_authors_files():
    names = set(adapter.Layer(320, 1024, 5).state_dict())
    assert names == {
        *("linear.weight", "linear.bias", "attn.to_q.weight", "attn.to_k.weight", "attn.to_v.weight"),
        *("attn.to_out.0.weight", "attn.to_out.0.bias", "ff.net.0.proj.weight", "ff.net.0.proj.bias"),
        *("ff.net.2.weight", "ff.net.2.bias", "norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"),
        *("alpha_attn", "alpha_dense"),
    }
    with torch.device("meta"):
        grounding = tokens.Grounding(1280, 1024).state_dict()
    assert {name: tuple(value.shape) for name, value in grounding.items()} == {
        "null_image_feature": (1, 1, 256, 1280),
        "null_position_feature": (1, 1, 256, 64),
        "linears_image.layernorm.weight": (1344,),
        "linears_image.layernorm.bias": (1344,),
        "linears_image.fc1.weight": (1024, 1344),
        "linears_image.fc1.bias": (1024,),
        "linears_image.fc2.weight": (1024, 1024),
        "linears_image.fc2.bias": (1024,),
    }

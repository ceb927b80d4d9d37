"""What was made once is found again, by what it was made of and nothing else, within bounds."""

import os

import pytest
import torch
from same_subject.nodes.training.cache import Cache, fingerprint, name_of


def numbers(value):
    return lambda: {"latents": torch.full((1, 4, 8, 8), float(value))}


def test_what_was_made_is_found_by_another_run_to_the_bit(tmp_path):
    made = Cache(tmp_path).get(("latent", torch.rand(8, 8, 3, generator=torch.Generator().manual_seed(1))), numbers(0.1))
    again = Cache(tmp_path)
    found = again.get(("latent", torch.rand(8, 8, 3, generator=torch.Generator().manual_seed(1))), numbers(0.2))
    assert torch.equal(found["latents"], made["latents"]) and (again.found, again.made) == (1, 0)


@pytest.mark.parametrize(
    "one, other",
    (
        (torch.zeros(2, 4, 3), torch.zeros(4, 2, 3)),  # the same bytes
        (torch.zeros(4), torch.zeros(4, dtype=torch.int32)),
        ("1", 1),
        ("text", b"text"),
        ("a toy", "a toy "),
    ),
)
def test_what_differs_has_another_name(one, other):
    assert name_of(("kind", one)) != name_of(("kind", other))
    assert name_of(("ab", "c")) != name_of(("a", "bc"))


def test_networks_are_told_apart_by_their_weights():
    one, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    assert fingerprint(one) != fingerprint(other)
    other.load_state_dict(one.state_dict())
    assert fingerprint(one) == fingerprint(other)


def test_a_damaged_file_is_made_again(tmp_path):
    Cache(tmp_path).get(("a",), numbers(1))
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:40])
    cache = Cache(tmp_path)
    assert cache.get(("a",), numbers(2))["latents"][0, 0, 0, 0] == 2 and cache.made == 1
    assert Cache(tmp_path).get(("a",), numbers(3))["latents"][0, 0, 0, 0] == 2


def test_a_full_folder_keeps_what_it_has_and_takes_no_more(tmp_path):
    cache = Cache(tmp_path, most=2500)  # two of 1,024 bytes
    for value in range(4):
        assert cache.get((value,), numbers(value))["latents"][0, 0, 0, 0] == value
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2
    again = Cache(tmp_path, most=2500)
    for value in range(4):
        again.get((value,), numbers(value))
    assert (again.found, again.made) == (2, 2) and not list(tmp_path.rglob("*.[0-9]*"))


def test_a_folder_that_cannot_be_written_to_costs_what_would_be_kept_and_no_more(tmp_path, monkeypatch, caplog):
    cache = Cache(tmp_path)
    cache.get((0,), numbers(0))
    monkeypatch.setattr(os, "replace", Full())
    for value in range(3):
        assert cache.get((value,), numbers(value))["latents"][0, 0, 0, 0] == value
    assert caplog.text.count("are no longer kept: ") == 1 and "No space left on device" in caplog.text
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1 and (cache.made, cache.found) == (3, 1)


class Full:
    def __call__(self, *_):
        raise OSError(28, "No space left on device")

"""Headers of weight files: what is none is refused with a ValueError, whatever it holds, for lists of files are made of them."""

import json
import struct

import pytest
from same_subject.nodes.host import weights

GOOD = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}


def write(path, header):
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(content)) + content + bytes(4))
    return path


def test_a_good_header_and_its_metadata_are_read(tmp_path):
    said = {"key": "text"}
    assert weights.read_metadata(write(tmp_path / "a.safetensors", {**GOOD, "__metadata__": said})) == said
    assert weights.read_metadata(write(tmp_path / "a.safetensors", GOOD)) == {}


@pytest.mark.parametrize("said", (None, 5, [], "text", {"a": 5}, {"a": {"b": "c"}}, {"a": None}))
def test_metadata_that_are_not_text_by_name_are_refused(tmp_path, said):
    with pytest.raises(
        ValueError, match="a.safetensors is not a safetensors file: its header cannot be read .its `__metadata__`"
    ):
        weights.read_metadata(write(tmp_path / "a.safetensors", {**GOOD, "__metadata__": said}))


@pytest.mark.parametrize(
    "header",
    (
        {"a": 5}, {"a": {"data_offsets": [0]}}, {"a": {"data_offsets": None}}, {"a": {}}, {"a": {"data_offsets": {}}},
        {"a": {"data_offsets": ["0", "4"]}}, b'{"a":' * 100_000, b'{"\xff": 1}',
    ),
)  # fmt: skip
def test_what_is_no_header_is_refused(tmp_path, header):
    with pytest.raises(ValueError, match="a.safetensors is not a safetensors file: its header cannot be read"):
        weights.read_metadata(write(tmp_path / "a.safetensors", header))

"""Damaged and hostile files of every kind that the pack reads, made from good ones."""

from __future__ import annotations

import functools
import io
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Iterator

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

BOMB = 2**29
"""Bytes that a file claims and does not have: what was read in good faith would be seen in the server's memory."""
RAN = "hostile_ran"
"""What code in a file would make, in the server's folder."""
PAGE = b"<!doctype html><html><title>404</title></html>\n"


class Calls:
    """An object whose pickle calls a function as it is read."""

    def __init__(self, function: Callable, *arguments) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def changed_bytes(good: bytes, draw: random.Random, first: int, last: int) -> bytes:
    """``good`` with one bit of another value in [first, last)."""
    content = bytearray(good)
    content[draw.randrange(first, last)] ^= 1 << draw.randrange(8)
    return bytes(content)


def no_weights(good: bytes, draw: random.Random) -> Iterator[tuple[str, bytes]]:
    """What is no file of weights at all."""
    yield "nothing", b""
    yield "one byte", b"{"
    yield "a page", PAGE
    yield "noise", draw.randbytes(3000)
    yield "zeros", bytes(5000)
    for part in (0.01, 0.5, 0.999):
        yield f"the first {part}", good[: int(len(good) * part)]


def headers(good: dict) -> Iterator[tuple[str, bytes]]:
    """Headers of a safetensors file that are wrong; good: the right one."""
    first = next(name for name in good if name != "__metadata__")
    entry = good[first]

    def with_entry(**change):
        return {**good, first: {**entry, **change}}

    for odd in (None, 5, [], "same_subject.config same_subject.tools", {"same_subject.config": 5}, {"same_subject.config": "{"},
                {"a": {"b": "c"}}, {"same_subject.config": "[" * 100000}):  # fmt: skip
        yield f"metadata {ascii(odd)[:40]}", json.dumps({**good, "__metadata__": odd}).encode()
    for shape in ([-1], [2**40, 2**40], [2**63], ["a"], None, [1.5], [0], [1] * 1000):
        yield f"a shape {ascii(shape)[:40]}", json.dumps(with_entry(shape=shape)).encode()
    for offsets in ([0, 2**62], [5, 0], [-8, 0], [0], None, ["0", "4"], [0, float("nan")], [0, float("inf")], [0, 10**400]):
        yield f"offsets {ascii(offsets)[:40]}", json.dumps(with_entry(data_offsets=offsets)).encode()
    for dtype in ("F999", "", None, "O", 5, "I8", "BOOL"):
        yield f"a type {dtype!r}", json.dumps(with_entry(dtype=dtype)).encode()
    yield "no entries", b"{}"
    yield "a list", b"[]"
    yield "an entry that is a number", json.dumps({**good, first: 5}).encode()
    yield "deep", b'{"a":' * 100000 + b"1" + b"}" * 100000
    yield "twice the same", json.dumps(good).encode()[:-1] + b"," + json.dumps({first: entry}).encode()[1:]
    yield "no UTF-8", b'{"\xff\xfe": 1}'
    yield "half characters", json.dumps({**good, "\ud800": entry}).encode()
    yield "NUL", json.dumps({**good, "a\0b": entry}).encode()


def safetensors(good: bytes, draw: random.Random) -> Iterator[tuple[str, bytes]]:
    """Damaged safetensors files."""
    (length,) = struct.unpack("<Q", good[:8])
    header, rest = json.loads(good[8 : 8 + length]), good[8 + length :]
    yield from no_weights(good, draw)
    for claimed in (0, 1, 7, length - 1, length + 1, len(good), 100_000_001, 2**63, 2**64 - 1):
        yield f"a header of {claimed} bytes", struct.pack("<Q", claimed) + good[8:]
    for what, text in headers(header):
        yield what, struct.pack("<Q", len(text)) + text + rest
    for number in range(6):
        yield f"a bit of the header ({number})", changed_bytes(good, draw, 8, 8 + length)
    yield "bytes behind", good + draw.randbytes(64)
    yield "a pickle", pickle.dumps(Calls(print, RAN))
    state = load_safetensors(good)
    for what, changed in wrong_numbers(state):
        yield what, save_safetensors(changed, header.get("__metadata__"))


def demo_configs(good: bytes) -> Iterator[tuple[str, bytes]]:
    """A demo model whose metadata speak of other networks than its weights."""
    (length,) = struct.unpack("<Q", good[:8])
    header, rest = json.loads(good[8 : 8 + length]), good[8 + length :]
    said = json.loads(header["__metadata__"]["same_subject.config"])
    for part, change in (
        ("unet", {"model_channels": 2**30}), ("unet", {"model_channels": -1}), ("unet", {"model_channels": "32"}),
        ("unet", {"num_res_blocks": [10**6, 1]}), ("unet", {"channel_mult": []}), ("unet", {"context_dim": 2**40}),
        ("unet", {"transformer_depth": [10**7, 10**7]}), ("unet", {"num_heads": 0}), ("unet", {"hostile": 1}),
        ("unet", {"in_channels": 7}), ("unet", {"in_channels": None}), ("unet", {"dtype": "os.system"}),
        ("clip", {"hidden_size": 2**24}), ("clip", {"num_hidden_layers": 10**6}), ("clip", {"vocab_size": 2**40}),
        ("clip", {"vocab_size": -5}), ("clip", {"max_position_embeddings": 2**40}), ("clip", {"hidden_act": "nobody"}),
        ("vae", {"ddconfig": {"ch_mult": [1] * 5000}}), ("vae", {"ddconfig": {"ch_mult": []}}), ("vae", {"embed_dim": 2**40}),
        ("vae", {"target": "os.system"}), ("vae", {"ddconfig": {**said["vae"]["ddconfig"], "ch": 2**30}}),
        ("vae", {"lossconfig": {"target": "os.system", "params": {"command": "true"}}}),
        ("vae", {"regularizer_config": {"target": "os.system", "params": {"command": f"touch {RAN}"}}}),
    ):  # fmt: skip
        changed = {**said, part: {**said[part], **change}}
        text = json.dumps(
            {**header, "__metadata__": {**header["__metadata__"], "same_subject.config": json.dumps(changed)}}
        ).encode()
        yield f"{part} {ascii(change)[:60]}", struct.pack("<Q", len(text)) + text + rest
    for scale in (0, float("nan"), float("inf"), "x", None, 1e-300):
        changed = {**said, "latent_scale": scale}
        text = json.dumps(
            {**header, "__metadata__": {**header["__metadata__"], "same_subject.config": json.dumps(changed)}}
        ).encode()
        yield f"latent_scale {scale}", struct.pack("<Q", len(text)) + text + rest
    for shared in ({"vae": {"file": "../../etc/passwd", "sha256": ""}}, {"vae": {"file": "gone.safetensors", "sha256": "0"}},
    {"vae": 5},
                   {"vae": {"file": "tiny.safetensors", "sha256": None}}, [],
                   {"nobody": {"file": "a.safetensors", "sha256": ""}}):  # fmt: skip
        text = json.dumps(
            {**header, "__metadata__": {**header["__metadata__"], "same_subject.shared": json.dumps(shared)}}
        ).encode()
        yield f"shared {ascii(shared)[:60]}", struct.pack("<Q", len(text)) + text + rest


def subjects(good: bytes) -> Iterator[tuple[str, bytes]]:
    """Subjects that say of their references what Save Subject never says, and pictures that are none."""
    (length,) = struct.unpack("<Q", good[:8])
    header, state = json.loads(good[8 : 8 + length]), load_safetensors(good)
    key = "same_subject.subject"
    told = json.loads(header["__metadata__"][key])

    def with_text(text):
        return save_safetensors(state, {**header["__metadata__"], key: text})

    for change in (
        {"caption": 5}, {"caption": "\ud800"}, {"caption": "a" * 10**6}, {"fit": "../crop"}, {"fit": None}, {"background": 1e308},
        {"background": float("nan")}, {"strength": float("inf")}, {"strength": -1}, {"strength": 10**400}, {"strength": [1]},
        {"subject": {"__reduce__": RAN}}, {"subject": None}, {"strength": True},
    ):  # fmt: skip
        entries = [{**told["references"][0], **change}, *told["references"][1:]]
        yield f"subject {ascii(change)[:50]}", with_text(json.dumps({**told, "references": entries}))
    for entries in ([], {}, None, [5], told["references"] * 10**4, [{}], [told["references"]]):
        yield f"references {ascii(entries)[:40]}", with_text(json.dumps({**told, "references": entries}))
    for text in ("", "{", "[" * 10**5, '"' + "a" * 10**7 + '"', "1" * 10**4, json.dumps({**told, "format": 2**70})):
        yield f"text {text[:30]}", with_text(text)
    for name, values in (
        ("0.picture", torch.zeros(4, 4)), ("0.picture", torch.zeros(0, 4, 3)), ("0.picture", torch.zeros(4, 4, 3).long()),
        ("1.mask", torch.ones(3, 3)), ("1.mask", torch.full((32, 32), 1e30)), ("0.where", torch.ones(10**4, 1, 1)),
        ("0.picture", torch.full((4, 4, 3), float("inf"))), ("0.picture", torch.tensor(1.0)),
    ):  # fmt: skip
        yield f"{name} {tuple(values.shape)}", save_safetensors({**state, name: values}, header["__metadata__"])
    yield "no picture", save_safetensors({"1.picture": state["1.picture"]}, header["__metadata__"])


def wrong_numbers(state: dict[str, torch.Tensor]) -> Iterator[tuple[str, dict]]:
    """Weights that are sound as a file and spoil what they are used for."""
    name, value = next((name, value) for name, value in state.items() if value.is_floating_point() and value.ndim > 1)
    for number in (float("nan"), float("inf"), float("-inf")):
        yield (
            f"a weight {number}",
            {**state, name: value.clone().flatten().index_fill(0, torch.tensor([1]), number).view_as(value)},
        )
    for what, other in (("empty", value[:0]), ("a scalar", torch.tensor(1.0)), ("whole numbers", torch.ones_like(value).int()),
                        ("true and false", value > 0), ("turned", value.reshape(1, -1).clone())):  # fmt: skip
        yield f"a weight that is {what}", {**state, name: other}
    yield "one weight less", {key: value for key, value in state.items() if key != name}
    yield "one weight more", {**state, "../../escape": torch.zeros(1)}


def code() -> Iterator[tuple[str, bytes]]:
    """Pickles that run something where they are read without care; each would leave RAN, or reach for the network."""
    import os
    import subprocess
    import urllib.request

    open_file, command = Calls(open, RAN, "w"), f"touch {RAN}"
    for protocol in (0, 1, 2, 4, 5):
        yield f"open, protocol {protocol}", pickle.dumps({"a": open_file}, protocol)
    for what, payload in (
        ("os.system", Calls(os.system, command)), ("eval", Calls(eval, f"open('{RAN}', 'w')")),
        ("exec", Calls(exec, f"open('{RAN}', 'w')")), ("Popen", Calls(subprocess.Popen, ["touch", RAN])),
        ("a download", Calls(urllib.request.urlopen, "http://127.0.0.1:9/")), ("__import__", Calls(__import__, "antigravity")),
        ("torch.load", Calls(torch.load, RAN)), ("torch.hub", Calls(torch.hub.load, "a/b", "c")),
        ("getattr", Calls(getattr, 1, "real")),
    ):  # fmt: skip
        yield what, pickle.dumps({"image_proj": payload, "ip_adapter": {}}, 2)
    yield "a stack of many", b"\x80\x02" + b"(" * 200000 + b"."
    yield "no end", b"\x80\x02}q\x00"
    yield "an unknown global", b"\x80\x02chostile_module\nhostile\n."
    yield "a memo that is not there", b"\x80\x02h\x05."
    yield "a long that is longer", b"\x80\x02\x8b\xff\xff\xff\x7f."
    yield "a string that is longer", b"\x80\x04\x8d\xff\xff\xff\xff\xff\x00\x00\x00."


def in_zip(good: bytes, change: Callable[[str, bytes], tuple[str, bytes] | None], compression=zipfile.ZIP_STORED) -> bytes:
    """A zip with other entries: of each (name, content) what ``change`` makes of it, or nothing."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as source, zipfile.ZipFile(made, "w", compression) as target:
        for entry in source.infolist():
            changed = change(entry.filename, source.read(entry))
            if changed:
                target.writestr(*changed)
    return made.getvalue()


def zips(good: bytes, draw: random.Random) -> Iterator[tuple[str, bytes]]:
    """Damaged zips of torch. good: what torch.save wrote."""

    def replaced(end: str, content: bytes):
        return in_zip(good, lambda name, old: (name, content if name.endswith(end) else old))

    for what, payload in code():
        yield f"a zip with {what}", replaced("data.pkl", payload)
    yield "an empty zip", b"PK\x05\x06" + bytes(18)
    yield "a zip without data.pkl", in_zip(good, lambda name, old: None if name.endswith("data.pkl") else (name, old))
    yield "a zip that climbs", in_zip(good, lambda name, old: ("../../" + name, old))
    yield "a zip from the root", in_zip(good, lambda name, old: ("/etc/" + name, old))
    yield "a zip with weights cut off", replaced("data/0", b"")
    yield "a zip of another byte order", replaced("byteorder", b"middle")
    yield "a zip of another version", replaced("version", b"999999999999")
    yield "a deflated zip", in_zip(good, lambda name, old: (name, old), zipfile.ZIP_DEFLATED)
    yield "a zip bomb", zip_bomb()
    yield "a zip with a bit changed at its end", changed_bytes(good, draw, len(good) - 60, len(good))
    for number in range(3):
        yield f"a zip with a bit changed ({number})", changed_bytes(good, draw, 0, len(good))


@functools.cache
def zip_bomb() -> bytes:
    """Half a megabyte that holds a weight of BOMB bytes, all zero."""
    stored = saved({"weight": torch.zeros(4)})
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(stored)) as source, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename.endswith("data.pkl"):  # the storage's length and the tensor's, both 4 as one byte
                content = content.replace(b"K\x04", b"J" + struct.pack("<i", BOMB // 4))
            if entry.filename.endswith("data/0"):
                with target.open(entry.filename, "w", force_zip64=True) as out:
                    for _ in range(BOMB // 2**20):
                        out.write(bytes(2**20))
            else:
                target.writestr(entry.filename, content)
    return made.getvalue()


def saved(content, legacy: bool = False) -> bytes:
    """What torch.save writes."""
    made = io.BytesIO()
    torch.save(content, made, _use_new_zipfile_serialization=not legacy)
    return made.getvalue()


def weights(state: dict) -> Iterator[tuple[str, dict]]:
    """Other contents of a pickle than weights by name. state: the right ones, possibly in two parts."""
    part = next((key for key in state if isinstance(state[key], dict)), None)

    def within(change):
        return {**state, part: change} if part else change

    inner = state[part] if part else state
    for what, changed in wrong_numbers(inner):
        yield what, within(changed)
    name, value = next(iter(inner.items()))
    side = 2**17
    for what, odd in (
        ("claims more than the file holds", torch.zeros(1).expand(side, side)),
        ("claims it in its own shape", torch.zeros(1).expand(value.shape)),
        ("has no values", torch.empty(2**20, 2**20, device="meta")),
        ("is sparse", torch.sparse_coo_tensor(torch.zeros(2, 1, dtype=torch.long), torch.ones(1), (2**30, 2**30))),
        ("is complex", torch.zeros(value.shape, dtype=torch.complex64)), ("is text", "weight"), ("is a number", 5),
        ("is none", None),
        ("is a list", [value]), ("is a set", {1, 2}), ("is deep", deep({}, 150)), ("is bytes", b"\0" * 100),
    ):  # fmt: skip
        yield f"a weight that {what}", within({**inner, name: odd})
    yield "a list", [1, 2]
    yield "a tensor", torch.zeros(3)
    yield "nothing in it", {}
    yield "numbers for names", {5: torch.zeros(3)}
    yield "none", None


def deep(value, times: int):
    for _ in range(times):
        value = {"a": value}
    return value


def pickles(good: dict, draw: random.Random) -> Iterator[tuple[str, bytes]]:
    """Damaged files of torch.save, of the zip kind and of the kind before it. good: what is saved."""
    whole = saved(good)
    yield from no_weights(whole, draw)
    yield from code()
    yield from zips(whole, draw)
    for what, content in weights(good):
        yield what, saved(content)
    old = saved(good, legacy=True)
    yield "an old file cut off", old[: len(old) // 2]
    for number in range(3):
        yield f"an old file with a bit changed ({number})", changed_bytes(old, draw, 0, len(old))


def configs(good: dict) -> Iterator[tuple[str, bytes]]:
    """Damaged JSON of a published detector: sizes, types, and keys that lead elsewhere."""
    address, place = "http://127.0.0.1:9/x", "../../../../etc"
    yield from (
        ("nothing", b""), ("a page", PAGE), ("a list", b"[]"), ("null", b"null"),
        ("deep", b'{"a":' * 100000 + b"1" + b"}" * 100000),
        ("UTF-16", json.dumps(good).encode("utf-16")), ("with a mark before it", b"\xef\xbb\xbf" + json.dumps(good).encode()),
        ("no UTF-8", b'{"\xff": 1}'), ("cut off", json.dumps(good).encode()[:-20]),
    )  # fmt: skip
    for change in (
        {"d_model": 2**20}, {"d_model": -1}, {"d_model": "256"}, {"d_model": None}, {"d_model": 1.5}, {"num_queries": 2**31},
        {"encoder_layers": 10**6}, {"decoder_layers": -5}, {"encoder_ffn_dim": 2**40}, {"num_feature_levels": 0},
        {"encoder_attention_heads": 0}, {"dropout": float("nan")}, {"activation_function": "os.system"},
        {"layer_norm_eps": float("nan")},
        {"backbone": "resnet50", "use_timm_backbone": True, "use_pretrained_backbone": True}, {"backbone": address},
        {"backbone": "microsoft/resnet-50", "backbone_config": None}, {"backbone_config": 5},
        {"backbone_config": {"model_type": "nobody"}},
        {"backbone_config": {**good.get("backbone_config", {}), "depths": [10**6] * 4}},
        {"backbone_config": {**good.get("backbone_config", {}), "embed_dim": 2**30}}, {"text_config": {"model_type": "nobody"}},
        {"text_config": {**good.get("text_config", {}), "vocab_size": 2**33}}, {"text_config": []},
        {"text_config": {**good.get("text_config", {}), "hidden_act": "__import__('os')"}}, {"model_type": "bert"},
        {"_attn_implementation": "a/b:c"}, {"attn_implementation": "flash_attention_9"}, {"_name_or_path": place},
        {"auto_map": {"AutoModel": "hostile--module.Class"}, "trust_remote_code": True},
        {"quantization_config": {"quant_method": "gptq"}},
        {"quantization_config": {"load_in_4bit": True}}, {"dtype": "float999"}, {"torch_dtype": "nobody"}, {"architectures": 5},
        {"id2label": 5}, {"num_labels": 10**9}, {"pruned_heads": {"0": [1]}}, {"tie_word_embeddings": "x"},
    ):  # fmt: skip
        yield ascii(change)[:60], json.dumps({**good, **change}).encode()


def sides() -> Iterator[tuple[str, bytes]]:
    """Sizes in a `preprocessor_config.json` at which no picture should be seen."""
    for size in (5, [], {"shortest_edge": 2**31, "longest_edge": 2**31}, {"shortest_edge": -1, "longest_edge": 5}, "800", None,
                 {"shortest_edge": "a", "longest_edge": 0}, {"shortest_edge": float("nan"), "longest_edge": 1333}):  # fmt: skip
        yield f"size {size!r}"[:60], json.dumps({"size": size}).encode()


def vocabularies(good: bytes, draw: random.Random) -> Iterator[tuple[str, bytes]]:
    """Damaged vocab.txt."""
    yield "nothing", b""
    yield "noise", draw.randbytes(5000)
    yield "one line", b"a" * 100000
    yield "all the same", b"a\n" * 2000
    yield "the first half", good[: len(good) // 2]
    yield "in another order", b"\n".join(sorted(good.split(b"\n")))


def tokenizers() -> Iterator[tuple[str, bytes]]:
    """Damaged tokenizer.json."""
    empty: dict = {
        "version": "1.0",
        "model": {"type": "WordPiece", "vocab": {}, "unk_token": "[UNK]", "max_input_chars_per_word": 100},
    }
    for what, said in (
        ("a list", []), ("an empty object", {}), ("an empty vocabulary", empty), ("negative numbers", {**empty,
        "model": {"vocab": {"a": -1}}}),
        ("a Unigram", {**empty, "model": {"type": "Unigram", "vocab": [["a", float("nan")]]}}), ("deep", deep({}, 150)),
        ("huge truncation", {**empty, "truncation": {"max_length": 2**63, "strategy": "LongestFirst", "stride": 2**62}}),
        ("a regular expression that explodes", {**empty, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+$"},
        "invert": True}}),
    ):  # fmt: skip
        yield what, json.dumps(said).encode()


def onnx_files(good: bytes, draw: random.Random) -> Iterator[tuple[str, bytes]]:
    """Damaged ONNX files."""
    import onnx

    yield from no_weights(good, draw)
    for number in range(4):
        yield f"a bit changed ({number})", changed_bytes(good, draw, 0, len(good))
    for what, place in (("beside the folder", "../../../../outside"), ("at the root", "/etc/passwd")):
        model = onnx.load_from_string(good)
        tensor = model.graph.initializer[0] if model.graph.initializer else model.graph.initializer.add(name="a", data_type=1)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=place)
        yield f"weights {what}", model.SerializeToString()
    model = onnx.load_from_string(good)
    del model.graph.input[:]
    yield "no inputs", model.SerializeToString()
    model = onnx.load_from_string(good)
    model.graph.node[0].op_type = "Nobody"
    yield "an unknown operator", model.SerializeToString()


def pictures(good, draw: random.Random) -> Iterator[tuple[str, bytes]]:
    """Damaged and odd pictures. good: a PIL picture."""
    import numpy
    from PIL import Image

    def stored(picture, kind="PNG", **more) -> bytes:
        made = io.BytesIO()
        picture.save(made, kind, **more)
        return made.getvalue()

    png = stored(good)
    yield "nothing", b""
    yield "a page", PAGE
    for part in (0.1, 0.5, 0.95):
        yield f"the first {part}", png[: int(len(png) * part)]
    for number in range(4):
        yield f"a bit changed ({number})", changed_bytes(png, draw, 8, len(png))
    for width, height in ((65535, 65535), (2**31 - 1, 2**31 - 1), (0, 5), (100000, 1)):
        yield f"{width}x{height} in its header", png_of(width, height)
    for size in ((1, 1), (1, 600), (600, 1), (7, 5)):
        yield f"{size[0]}x{size[1]}", stored(good.resize(size))
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        yield f"in mode {mode}", stored(good.convert("L").convert("I").convert(mode) if mode == "I;16" else good.convert(mode))
    yield "wholly transparent", stored(Image.new("RGBA", (32, 32), (9, 9, 9, 0)))
    yield "CMYK", stored(good.convert("CMYK"), "JPEG")
    yield "a GIF of many sizes", stored(good.convert("P"), "GIF", save_all=True, append_images=[good.resize((9, 9)).convert("P")])
    yield "a TIFF of floats with NaN", stored(Image.fromarray(numpy.full((16, 16), numpy.nan, numpy.float32)), "TIFF")
    yield "a TIFF of infinity", stored(Image.fromarray(numpy.full((16, 16), numpy.inf, numpy.float32)), "TIFF")
    yield "a text in it that is long", stored(good, pnginfo=long_text())


def png_of(width: int, height: int) -> bytes:
    """A PNG that says this size and has no pixels."""
    import zlib

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def long_text():
    """A compressed text of a picture that takes 50 MB."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Comment", "a" * 50_000_000, zip=True)
    return info

"""Captions of BLIP-2, from a folder as published, with random weights."""

import os
import weakref

import pytest
import torch
from PIL import Image
from same_subject.nodes.synthesis.host import captioning
from same_subject.nodes.synthesis.host.captioning import BEAMS, MOST_TOKENS, Captioner
from same_subject.tests.tiny import captioner as tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.save_folder(tmp_path_factory.mktemp("blip2"))


def pictures(count):
    colours = torch.randint(256, (count, 3), generator=torch.Generator().manual_seed(0)).tolist()
    return [Image.new("RGB", (48, 40), tuple(colour)) for colour in colours]


def test_a_caption_is_what_transformers_generates_for_that_picture(folder):
    import transformers

    network = transformers.Blip2ForConditionalGeneration.from_pretrained(folder)
    processor = transformers.Blip2Processor.from_pretrained(folder)
    made = Captioner(folder)
    captions = set()
    for picture in pictures(6):
        seen = processor(images=picture, return_tensors="pt")
        tokens = network.eval().generate(**seen, max_new_tokens=MOST_TOKENS, num_beams=BEAMS, do_sample=False)
        wanted = processor.batch_decode(tokens, skip_special_tokens=True)[0]
        caption = made(picture)
        assert caption == " ".join(wanted.split()) and set(caption.split()) <= set(tiny.WORDS)
        captions.add(caption)
    assert len(captions) > 1, "the picture decides"


def test_a_folder_that_is_no_blip2_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="no config.json"):
        Captioner(tmp_path)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(ValueError, match="cannot be used as a BLIP-2: .*Download it again"):
        Captioner(tmp_path)


def test_a_model_is_read_once_until_its_files_change_or_none_is_wanted(folder, monkeypatch):
    read = []

    class Counted(Captioner):
        def __init__(self, folder):
            assert not any(one() for one in read), "one at a time"
            super().__init__(folder)
            read.append(weakref.ref(self))

    monkeypatch.setattr(captioning, "Captioner", Counted)
    shown = torch.rand((2, 40, 48, 3), generator=torch.Generator().manual_seed(1))
    first = captioning.captions(folder, shown)
    assert captioning.captions(folder, shown) == first and len(read) == 1
    time = (folder / "config.json").stat().st_mtime_ns + 10**9
    os.utime(folder / "config.json", ns=(time, time))
    assert captioning.captions(folder, shown) == first and len(read) == 2
    captioning.forget()
    assert not read[-1]()

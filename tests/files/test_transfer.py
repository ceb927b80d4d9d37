"""Downloads from a server on this machine: resumed, checked, refused."""

import errno
import hashlib
import os
import shutil
import sys
from collections import namedtuple

import pytest
from same_subject.nodes.files import transfer
from same_subject.nodes.files.transfer import Source, Stopped, Watch
from same_subject.tests.files import publisher as publishers

DATA = bytes(range(256)) * 4096  # one piece: 1 MiB
SIZE = len(DATA)
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def publisher(monkeypatch):
    monkeypatch.setattr(transfer, "PAUSES", 0)
    with publishers.publishing() as publisher:
        publisher.files["file"] = DATA
        yield publisher


def get(publisher, to, path="file", sha=SHA, size=SIZE, watch=None, hosts=()):
    transfer.fetch(Source("a file", publisher.url(path), sha, size), to, hosts, watch or Watch(), local=True)


def test_a_file_comes_whole_with_its_progress_and_nothing_is_left_beside_it(publisher, tmp_path):
    told = []
    get(publisher, tmp_path / "new" / "file.bin", watch=Watch(lambda *said: told.append(said)))
    assert (tmp_path / "new" / "file.bin").read_bytes() == DATA and os.listdir(tmp_path / "new") == ["file.bin"]
    assert told[-1] == ("checking", len(DATA), len(DATA)) and ("downloading", len(DATA), len(DATA)) in told
    assert [got for state, got, _ in told if state == "downloading"] == sorted(
        {got for state, got, _ in told if state == "downloading"}
    )
    assert publisher.asked == [("file", None, None)]


def test_what_is_cut_off_goes_on_where_it_ended_with_the_same_tag(publisher, tmp_path):
    publisher.cut = 100_000
    get(publisher, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == DATA
    rests = [("file", f"bytes={start}-", '"one"') for start in range(100_000, SIZE, 100_000)]
    assert publisher.asked == [("file", None, None), *rests] and len(rests) > transfer.ATTEMPTS


def test_a_later_try_goes_on_with_the_part_of_an_earlier_one(publisher, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(DATA[:1000])
    get(publisher, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == DATA and publisher.asked == [("file", "bytes=1000-", None)]


@pytest.mark.parametrize("part", [b"x" * 2_000_000, DATA], ids=["too long", "whole"])
def test_a_part_that_is_whole_is_only_checked_and_one_that_is_too_long_is_thrown_away(publisher, tmp_path, part):
    (tmp_path / "file.bin.part").write_bytes(part)
    get(publisher, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == DATA and len(publisher.asked) == (part is not DATA)


@pytest.mark.parametrize("change", ["no ranges", "other tag"])
def test_a_server_that_sends_the_whole_file_again_is_believed(publisher, tmp_path, change):
    if change == "no ranges":
        publisher.ranges = False
        (tmp_path / "file.bin.part").write_bytes(b"x" * 1000)
    else:
        publisher.cut = 500_000
        told = iter(["changed"])

        def tell(state, got, total):
            if got >= 500_000 and next(told, None):
                publisher.tag, publisher.cut = '"two"', None

        get(publisher, tmp_path / "file.bin", watch=Watch(tell))
        assert publisher.asked[1] == ("file", "bytes=500000-", '"one"') and len(publisher.asked) == 2
        assert (tmp_path / "file.bin").read_bytes() == DATA
        return
    get(publisher, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == DATA


def test_a_part_of_a_file_whose_size_is_not_known_can_be_whole(publisher, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(DATA)
    get(publisher, tmp_path / "file.bin", size=None)
    assert (tmp_path / "file.bin").read_bytes() == DATA
    assert [asked for _, asked, _ in publisher.asked] == [f"bytes={len(DATA)}-", None]


def test_a_wrong_hash_leaves_nothing_behind(publisher, tmp_path):
    publisher.files["file"] = DATA[::-1]
    with pytest.raises(ValueError, match=r"127\.0\.0\.1 sent for a file is not the published file: its sha256 is .*thrown away"):
        get(publisher, tmp_path / "file.bin")
    assert os.listdir(tmp_path) == []


def test_a_connection_that_never_brings_anything_is_given_up_and_the_part_is_kept(publisher, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(DATA[:1000])
    publisher.cut = 0
    with pytest.raises(ValueError, match="a file: the connection to 127.0.0.1 fails: it ended after 1000 of 1048576 bytes. See"):
        get(publisher, tmp_path / "file.bin")
    assert len(publisher.asked) == transfer.ATTEMPTS and os.listdir(tmp_path) == ["file.bin.part"]
    assert (tmp_path / "file.bin.part").read_bytes() == DATA[:1000]


def test_stopping_keeps_the_part(publisher, tmp_path):
    publisher.cut, told = 600_000, []
    watch = Watch(lambda *said: told.append(said), lambda: any(got >= 600_000 for _, got, _ in told))
    with pytest.raises(Stopped):
        get(publisher, tmp_path / "file.bin", watch=watch)
    assert (tmp_path / "file.bin.part").read_bytes() == DATA[:600_000]


def test_a_redirect_to_a_listed_host_is_followed_and_one_to_another_is_not_asked(publisher, tmp_path):
    publisher.redirects = {"old": "/file", "away": "https://evil.example/file", "loop": "/loop"}
    get(publisher, tmp_path / "file.bin", "old")
    assert [path for path, *_ in publisher.asked] == ["old", "file"]
    with pytest.raises(ValueError, match="leads to https://evil.example, which is none of the hosts that models.yaml lists"):
        get(publisher, tmp_path / "other.bin", "away")
    with pytest.raises(ValueError, match="redirects more than 6 times"):
        get(publisher, tmp_path / "other.bin", "loop")
    assert os.listdir(tmp_path) == ["file.bin"]


@pytest.mark.parametrize(
    "url",
    [
        "http://huggingface.co/file",
        "https://huggingface.co.evil.example/file",
        "https://huggingface.co@evil.example/file",
        "https://someone@huggingface.co/file",
        "https://huggingface.co:8443/file",
        "https://127.0.0.1/file",
        "https://HUGGINGFACE.co.:443/file",
        "https://[::1/file",
        "file:///etc/passwd",
        "ftp://huggingface.co/file",
    ],
)
def test_only_https_to_a_listed_host_is_asked(tmp_path, url, monkeypatch):
    monkeypatch.setattr(transfer.urllib.request, "build_opener", lambda *_: Opened())
    for local in (False, True):
        with pytest.raises(ValueError, match="The download leads to .*none of the hosts"):
            transfer.fetch(Source("x", url, SHA, 5), tmp_path / "x", {"huggingface.co"}, Watch(), local=local)


class Opened:
    """An opener that must not be used."""

    def open(self, *_, **__):
        raise AssertionError("something was asked")


def test_http_to_this_machine_is_refused_but_for_tests(publisher, tmp_path):
    with pytest.raises(ValueError, match="leads to http://127.0.0.1, which is none"):
        transfer.fetch(Source("x", publisher.url("file"), SHA, len(DATA)), tmp_path / "x", {"127.0.0.1"}, Watch())
    assert publisher.asked == []


def test_other_sizes_packed_answers_and_refusals_are_named(publisher, tmp_path):
    with pytest.raises(ValueError, match="announces 1048576 bytes .identity., but the published file has 99"):
        get(publisher, tmp_path / "x", size=99)
    publisher.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(ValueError, match="announces 1048576 bytes .gzip."):
        get(publisher, tmp_path / "x")
    publisher.status = 403
    with pytest.raises(ValueError, match="127.0.0.1 answers 403 Forbidden. Try again later"):
        get(publisher, tmp_path / "x")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("announced", [SIZE, None])
def test_an_endless_answer_is_read_no_further_than_the_file_is_long(publisher, tmp_path, announced):
    publisher.files["file"] = DATA + b"more" * 10_000
    publisher.headers = {"Content-Length": announced}
    get(publisher, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == DATA


def test_too_little_room_is_said_before_anything_is_written(publisher, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, transfer.SPARE + len(DATA) - 1))
    with pytest.raises(ValueError, match="The disk of .* has 0.07 GB free, but 0.07 GB are needed. Make room"):
        get(publisher, tmp_path / "file.bin")
    assert os.listdir(tmp_path) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, transfer.SPARE + len(DATA)))
    get(publisher, tmp_path / "file.bin")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full is Linux's")
def test_a_disk_that_is_full_is_said(publisher, tmp_path):
    """What /dev/full answers is the kernel's own ENOSPC."""
    (tmp_path / "file.bin.part").symlink_to("/dev/full")
    with pytest.raises(ValueError, match="a file: the disk of .* is full. Make room there and press Download again"):
        get(publisher, tmp_path / "file.bin")
    assert not (tmp_path / "file.bin").exists()


def test_a_folder_that_cannot_be_written_is_said(publisher, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ValueError, match="a file: .* cannot be written: "):
        get(publisher, tmp_path / "file" / "x.bin")
    assert "cannot be written: Read-only" in transfer.disk_problem(OSError(errno.EROFS, "Read-only file system"), tmp_path / "x")


def test_a_file_that_is_there_is_never_replaced(publisher, tmp_path):
    (tmp_path / "file.bin").write_text("mine")
    with pytest.raises(ValueError, match="is there already. Verify it, or move it away"):
        get(publisher, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_text() == "mine" and publisher.asked == []

"""The command: a run that is killed, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from same_subject.dev import host as hosts
from same_subject.dev import pack
from same_subject.research import label
from same_subject.research.labels import demo, shards, statistics, toy_words

SCENES = pack.ROOT / "demo" / "scenes.safetensors"
PICTURES, SIZE, WORKERS, KILLED = 30, 8, 2, 13


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("label")
    (made / "pictures").mkdir()
    demo.draw(made / "pictures", PICTURES)
    (made / "pictures" / "broken.png").write_bytes((made / "pictures" / "000003.png").read_bytes()[:400])
    toy_words.save(made / "tagger")
    return made


def started(*options):
    """The command in this Python, with a group of processes of its own."""
    environment = {**os.environ, hosts.CHILD: "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-u", str(pack.ROOT / "research" / "label.py"), *map(str, options)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def done(output):
    """How many pictures a folder of shards has on its books."""
    lines = [Path(output, "state", name) for name in ("done.jsonl", "open.jsonl")]
    closed, still = ([json.loads(line) for line in path.open() if line.endswith("\n")] if path.exists() else [] for path in lines)
    return len({one["key"] for line in closed for one in line["pictures"]} | {one["key"] for one in still})


def children(process):
    """Process ids below one, where the system tells."""
    told = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(number) for number in told.read_text().split()] if told.exists() else []


@pytest.mark.slow
def test_killed_at_any_moment_a_run_goes_on_with_the_next_picture(folder):
    output = folder / "shards"
    options = (
        folder / "pictures",
        "--output",
        output,
        "--detector",
        SCENES,
        "--tagger",
        folder / "tagger",
        "--pictures-a-shard",
        SIZE,
    )
    process = started(*options, "--workers", WORKERS)
    while done(output) < KILLED:
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    workers = children(process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    end = time.monotonic() + 20
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < end, "workers end with the run"
        time.sleep(0.05)
    before = done(output)
    text, _ = (process := started(*options, "--workers", WORKERS)).communicate(timeout=120)
    assert process.returncode == 0, text
    assert f"{before} pictures were done before, {PICTURES + 1 - before} now" in text
    assert "1  damaged" in text and "it cannot be read" in text
    sources = [example.source for example in shards.examples(output)]
    assert len(sources) == len(set(sources)) == json.loads((output / "statistics.json").read_text())["pictures"][statistics.KEPT]
    kept = {example.source: [entity.name for entity in example.entities] for example in shards.examples(output)}
    truth = demo.draw(folder, PICTURES)
    for name, toys in truth.items():
        assert sorted(kept.get(name, [])) == sorted(toy.shape for toy in toys if toy.shape != "star")
    assert sorted(path.name for path in output.iterdir()) == [
        *(shards.name(number) for number in range(-(-len(sources) // SIZE))), "state", "statistics.json",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ((), "FOLDER is missing"),
        (("F",), "--output is missing"),
        (("F", "--output", "O"), "--detector is missing"),
        (("F", "--output", "O", "--detector", "dino.pth"), "--segmenter is missing"),
        (("F", "--output", "O", "--detector", str(SCENES), "--recaption"), "--recaption needs --blip2"),
        (("F", "--output", "O", "--detector", "no.pth", "--segmenter", "no.pth"), "F is not there"),
        ((str(pack.ROOT), "--output", str(pack.ROOT / "x"), "--detector", str(SCENES)), "would be labelled again"),
        (("--demo", "--without", "8"), "takes numbers from 1 to 7"),
        (("--demo", "--without", "six"), "takes numbers from 1 to 7"),
        (("F", "--demo"), "--demo draws its own pictures"),
        (("--demo", "--pictures", "0"), "at least 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, wrong, capsys):
    with pytest.raises(SystemExit) as ended:
        label.main(list(options))
    assert ended.value.code == 2 and wrong in capsys.readouterr().err

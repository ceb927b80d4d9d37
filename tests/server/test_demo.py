"""The demo command as a newcomer runs it: from the command line to the pictures on disk."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from same_subject.dev import host as hosts
from same_subject.dev import pack
from same_subject.dev.showing import graphs as demo_graphs
from same_subject.tests.server import checkpoints

pytestmark = pytest.mark.server
COMMAND = [sys.executable, str(pack.ROOT / "dev" / "demo.py"), "--comfyui", os.environ["COMFYUI_PATH"]]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in (hosts.CHILD, "COMFYUI_PATH")}


def run(folder, *arguments):
    """Run the command in a folder; returns what it printed and its report."""
    result = subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=1200
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout, json.loads((folder / "same-subject-demo" / "report.json").read_text(encoding="utf-8"))


def picture(folder, name="toy.png", size=(90, 120)):
    """A picture of a red thing on blue."""
    from PIL import Image

    image = Image.new("RGB", size, "blue")
    image.paste("red", (20, 20, 60, 60))
    image.save(folder / name)
    return folder / name


def has_demo_model():
    return (
        pack.ROOT / "demo" / demo_graphs.node_of(demo_graphs.read_graph(demo_graphs.DEMO), "JediDemoLoader")["inputs"]["file"]
    ).is_file()


@pytest.mark.skipif(not has_demo_model(), reason="the demo model is not in this clone")
def test_without_arguments_it_shows_the_demos_own_subject(tmp_path):
    from PIL import Image

    printed, report = run(tmp_path)
    folder = tmp_path / "same-subject-demo"
    assert str(folder) in printed and "KSampler: step" in printed
    assert set(report) >= {"host_version", "seconds", "seed", "prompts", "files"}
    assert len(report["files"]) == len(report["prompts"]) and report["checkpoint"] == "demo"
    assert report["references"] == [str(pack.ROOT / "demo" / "reference_1.png")]
    for name in [*report["files"], "contact_sheet.png"]:
        with Image.open(folder / name) as shown:
            shown.load()


def test_the_demo_of_scenes_shows_two_subjects_in_one_picture(tmp_path):
    from PIL import Image

    printed, report = run(tmp_path, "--scene", "--seed", 4)
    assert "Base picture: step" in printed and "The scene: step" in printed
    assert report["seed"] == 4 and len(report["phrases"]) == 2 and len(report["files"]) == 1
    with Image.open(tmp_path / "same-subject-demo" / report["files"][0]) as shown:
        assert shown.size == (512, 256) and len(shown.getcolors(8192)) > 100
    with Image.open(tmp_path / "same-subject-demo" / "contact_sheet.png") as sheet:
        sheet.load()


def test_the_demo_of_subjects_shows_one_two_and_the_way_from_a_picture_to_a_word(tmp_path):
    from PIL import Image

    printed, report = run(tmp_path, "--subjects", "--seed", 4, "--steps", 2)
    folder = tmp_path / "same-subject-demo"
    assert report["seed"] == 4 and report["files"][:2] == ["one_subject.png", "two_subjects.png"]
    strip = [name for name in report["files"] if name.startswith("interpolation")]
    assert len(strip) == 6 and "interpolation_0.4:" in printed
    assert len({(folder / name).read_bytes() for name in strip}) >= 2, "with subjects, and without"
    for name, size in (("one_subject.png", (256, 256)), ("two_subjects.png", (512, 256))):
        with Image.open(folder / name) as shown:
            assert shown.size == size and len(shown.getcolors(1 << 18)) > 100
    assert sorted(path.name for path in folder.iterdir()) == sorted([*report["files"], "contact_sheet.png", "report.json"])


def test_a_checkpoint_of_the_users_own_runs_through_the_stock_loader(tmp_path):
    from PIL import Image

    checkpoint = checkpoints.save_sd15(tmp_path / "my model.safetensors")
    try:
        printed, report = run(
            tmp_path, "--checkpoint", checkpoint, "--reference", picture(tmp_path), "--size", 64, "--steps", 1,
            "--prompt", "a toy on the beach", "a toy in the snow", "--caption", "a toy", "--seed", 7,
        )  # fmt: skip
    finally:
        checkpoint.unlink()
    assert report["prompts"] == ["a toy on the beach", "a toy in the snow"] and report["captions"] == ["a toy"]
    assert report["seed"] == 7 and report["checkpoint"].endswith("my model.safetensors")
    for name in report["files"]:
        with Image.open(tmp_path / "same-subject-demo" / name) as shown:
            assert shown.size == (64, 64)


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.skipif(not has_demo_model(), reason="the demo model is not in this clone")
@pytest.mark.parametrize("which", ["SIGINT", "SIGTERM"])
def test_a_stopped_command_leaves_no_server_behind(tmp_path, which):
    import psutil

    process = subprocess.Popen(
        [*COMMAND, "--steps", "900"], cwd=tmp_path, env=ENVIRONMENT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )  # fmt: skip
    started = [psutil.Process(process.pid)]
    for line in process.stdout:
        if "KSampler" in line:
            started += started[0].children(recursive=True)
            break
    process.send_signal(getattr(signal, which))
    rest = process.communicate(timeout=60)[0]
    assert process.returncode not in (0, None) and "Traceback" not in rest
    deadline = time.monotonic() + 15
    while any(child.is_running() and child.status() != "zombie" for child in started) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert [child for child in started if child.is_running() and child.status() != "zombie"] == []
    assert len(started) > 1

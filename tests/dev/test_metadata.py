"""What the registry and a newcomer read about the pack is well formed."""

import json
import re
from pathlib import Path

import pytest
import same_subject
from same_subject.dev import pack
from same_subject.dev.setup import versions
from same_subject.nodes.host import version

ROOT = Path(same_subject.__file__).resolve().parent
PUBLISHED = (
    r"https://huggingface\.co/[^/]+/[^/]+/resolve/|https://github\.com/[^/]+/[^/]+/releases/download/|"
    r"https://dl\.fbaipublicfiles\.com/segment_anything/"
)
FOLDERS = {
    *("models/checkpoints", "models/diffusion_models", "models/grounding-dino", "models/scores", "models/sams"),
    *("models/instantid", "models/controlnet", "models/clip_vision", "models/insightface/models/antelopev2", "models/blip2"),
}


def listed():
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((ROOT / "models.yaml").read_text(encoding="utf-8"))


def weight_files():
    return listed()["models"]


def test_every_weight_file_states_the_same_seven_facts_and_its_archive_if_it_is_in_one():
    for entry in weight_files():
        assert [fact for fact in entry if fact != "archive"] == ["file", "url", "sha256", "bytes", "folder", "licence", "use"]
        assert re.match(PUBLISHED, entry["url"])
        assert entry["sha256"] is None or re.fullmatch("[0-9a-f]{64}", entry["sha256"])
        assert entry["bytes"] is None or entry["bytes"] > 10**5
        assert entry["folder"] in FOLDERS


def test_no_weight_file_is_listed_twice():
    entries = weight_files()
    assert len({entry["file"] for entry in entries}) == len(entries)
    hashes = [entry["sha256"] for entry in entries if entry["sha256"]]
    assert len(set(hashes)) == len(hashes)


def test_what_is_downloaded_comes_from_a_listed_host_and_gets_a_name_inside_its_folder():
    hosts = listed()["hosts"]
    assert len(set(hosts)) == len(hosts) and all(re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", host) for host in hosts)
    for entry in weight_files():
        assert entry["url"].split("/")[2] in hosts
        assert re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", entry["file"]) and ".." not in entry["file"]


def test_an_archive_comes_from_where_its_files_are_said_to_be_and_their_hashes_and_sizes_are_known():
    held = [entry for entry in weight_files() if "archive" in entry]
    (archive,) = [entry for entry in weight_files() if entry["file"] in {each["archive"] for each in held}]
    assert len(held) == 5 and all(entry["url"] == archive["url"] and entry["folder"] == archive["folder"] for entry in held)
    assert all(entry["sha256"] and entry["bytes"] and "/" not in entry["file"] for entry in (archive, *held))


def test_the_registry_metadata_registers_no_second_web_folder():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    comfy = text.split("[tool.comfy]")[1].split("\n[")[0]
    assert 'PublisherId = "same-subject"' in comfy
    assert not re.search(r"^web\s*=", comfy, flags=re.MULTILINE)  # the host would load every script twice
    assert re.search(r'^name = "comfyui-same-subject"$', text, flags=re.MULTILINE)


def test_the_registry_archive_holds_what_the_nodes_need_and_no_more():
    left_out = {line.rstrip("/") for line in (ROOT / ".comfyignore").read_text(encoding="utf-8").split()}
    assert {"tests", "research", "dev"} <= left_out
    assert not left_out & {"nodes", "js", "demo", "workflows", "subgraphs", "__init__.py", "models.yaml"}


def test_what_two_readers_need_is_stated_alike():
    """The registry reads pyproject.toml, an installer requirements.txt, and a user the node's own message and help page."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if not line.startswith("#")]
    assert f"dependencies = {json.dumps(wanted)}" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert pack.oldest("requires-comfyui") == version.OLDEST
    assert f"(ComfyUI {version.OLDEST} or newer)" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert version.numbers(versions.HOST_VERSION) >= version.numbers(version.OLDEST)
    (insightface,) = (oracle for oracle in versions.TEST_ORACLES if oracle.startswith("insightface"))
    for place in ("nodes/identity/host/face_analysis.py", "js/docs/IdentityFaceAnalysis.md"):
        assert f"`pip install {insightface}`" in (ROOT / place).read_text(encoding="utf-8")
    assert listed()["packages"]["insightface"]["install"] == f"pip install {insightface}"


def test_the_group_for_labelling_names_what_set_up_installs_for_it():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    named = re.findall('"([^"]+)"', re.search(r"^label = \[(.*)\]", text, flags=re.MULTILINE)[1])
    own = [wanted for wanted in named if not wanted.startswith("ray")]
    assert sorted(own) == sorted(versions.LABEL_TOOLS[:2]) and len(named) == 3

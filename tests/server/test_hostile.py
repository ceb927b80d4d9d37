"""Hostile prompts and files on the live server: all are refused with a sentence or do no harm, and the server goes on.

`python3 dev/test.py tests/server/test_hostile.py -s` prints what was tried, in figures. SAME_SUBJECT_SEED draws others, and
SAME_SUBJECT_HOSTILE=all tries every prompt that the tables of `tests/hostile/` make.
"""

import collections
import importlib.util
import os
import random
import shutil
import time

import pytest
from safetensors.torch import load_file
from same_subject.dev import pack, server
from same_subject.tests.hostile import homes, judging, planting, prompts, watching
from same_subject.tests.server import graphs
from same_subject.tests.tiny import face_models, grounding, identities

pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant")
SEED = int(os.environ.get("SAME_SUBJECT_SEED", "9"))
PROMPTS = 10**6 if os.environ.get("SAME_SUBJECT_HOSTILE") == "all" else 1050
SECONDS = 1200
"""At most, on a machine that is busy; README says how long it takes on one that is not."""
MOST_GROWTH = 0.45
"""GiB. Seen: 0.15; a file that is hostile in this claims 0.5 and more."""
MORE_MEMORY = 8 * 2**30


@pytest.fixture(scope="module")
def described(live):
    shutil.copy(pack.ROOT / "demo" / "toy_1.png", live.base / "input" / homes.PICTURE)
    for number in (1, 2):
        (live.base / "input" / "sets" / "toy").mkdir(parents=True, exist_ok=True)
        shutil.copy(pack.ROOT / "demo" / f"toy_{number}.png", live.base / "input" / "sets" / "toy")
        (live.base / "input" / "sets" / "toy" / f"toy_{number}.txt").write_text("a toy")
    return live.client.get("/object_info")


@pytest.fixture(scope="module")
def ours(described):
    return [name for name, node in described.items() if server.FOLDER in node["python_module"]]


@pytest.fixture
def names(described, ours):
    """Who may speak in a refusal."""
    return [described[name]["display_name"] for name in ours] + ["JeDi", "InstantID"]


@pytest.fixture(autouse=True)
def unharmed(live, request):
    """After each test the server still paints, and has done nothing but read, compute and write in its folder."""
    watched, started = watching.Watched(live), time.monotonic()
    with watching.limited(live, MORE_MEMORY):
        yield
        assert live.process.poll() is None, "the server has ended" + live.log_tail()
        assert len(graphs.pictures(live, graphs.basic(prompts="still here"))) == 1
    assert watched.acts() == [], "it did what it never should"
    assert not list(live.base.rglob("hostile_ran*")) and not (pack.ROOT / "hostile_ran").exists(), "code ran"
    print(f"  {time.monotonic() - started:.0f} s, {watched.grown():.2f} GiB more at most")
    assert watched.grown() < MOST_GROWTH
    shutil.rmtree(live.base / "output" / "hostile", ignore_errors=True)


def judged(live, verdicts, names):
    """Check that every refusal is a sentence and every picture finite; print and return the figures."""
    figures = collections.Counter(verdict.by for verdict in verdicts)
    print(f"\n{len(verdicts)} tried: " + ", ".join(f"{count} {by}" for by, count in sorted(figures.items())))
    raw = [str(verdict) for verdict in verdicts if verdict.by == judging.PACK and not judging.sentence(verdict.message, names)]
    assert not raw, f"{len(raw)} refusals are no sentences with node and remedy:\n" + "\n".join(raw)
    spoiled = [str(verdict) for verdict in verdicts if verdict.by == judging.RAN and not all(map(finite, latents(live, verdict)))]
    assert not spoiled, f"{len(spoiled)} runs gave NaN or infinity:\n" + "\n".join(spoiled)
    wrong = [str(verdict) for verdict in verdicts if verdict.attempt.must_fail and verdict.by == judging.RAN]
    assert not wrong, f"{len(wrong)} that must be refused ran:\n" + "\n".join(wrong)
    return figures


def latents(live, verdict):
    for output in verdict.outputs.values():
        for entry in output.get("latents", ()):
            yield load_file(live.base / "output" / entry["subfolder"] / entry["filename"])["latent_tensor"]


def finite(tensor):
    return bool(tensor.isfinite().all())


@pytest.fixture
def outside(live):
    """Good files beside the model folders, which no name may reach."""
    folder = live.base / "outside"
    folder.mkdir()
    shutil.copy(live.base / "models" / "jedi_demo" / "tiny.safetensors", folder / "good.safetensors")
    planting.torch_save(identities.adapter_state(width=32, channels=[32]), folder / "good.bin")
    grounding.save_folder(folder / "good_folder")
    yield [
        {"up": "../../outside/", "folder": str(folder), "name": name} for name in ("good.safetensors", "good.bin", "good_folder")
    ]
    shutil.rmtree(folder)


def test_the_graphs_that_prompts_are_made_of_are_good(live, described, ours, names):
    good = [prompts.Attempt(kind, "nothing wrong", graph) for kind, (graph, _) in homes.all_homes(described, ours).items()]
    verdicts = judging.tried(live, good, SECONDS)
    judged(live, verdicts, names)
    ran = {verdict.attempt.kind for verdict in verdicts if verdict.by == judging.RAN}
    files_needed = {  # other tests of this server may have left such files, good or bad ones
        "ConceptDetectorLoader",
        "ConceptSegmenterLoader",
        "IdentityLoader",
        "IdentityFaceAnalysis",
        "IdentityControl",
        *("IdentityApplyInstantID", "IdentityApplyInstantIDAdvanced", "IdentityInstantIDAttention"),
        "IdentityInstantIDControlNet",
    }
    assert ran | files_needed == set(ours), [str(verdict) for verdict in verdicts if verdict.by != judging.RAN]


def test_prompts_with_one_thing_wrong(live, described, ours, names, outside):
    attempts = prompts.drawn(described, ours, outside, SEED, PROMPTS)
    figures = judged(live, judging.tried(live, attempts, SECONDS), names)
    assert sum(figures.values()) >= 1000 and all(figures[by] > 50 for by in (judging.RAN, judging.PACK, judging.HOST)), figures


def test_damaged_and_hostile_files(live, described, names, tmp_path):
    draw = random.Random(SEED)
    tiny = (live.base / "models" / "jedi_demo" / "tiny.safetensors").read_bytes()
    planted = [
        *planting.demo_files(tiny, draw), *planting.adapters(draw), *planting.detectors(grounding.save_folder(tmp_path), draw),
        *planting.pictures(draw), *planting.subjects(draw), *planting.subject_adapters(tmp_path / "subjects", draw),
    ]  # fmt: skip
    if importlib.util.find_spec("segment_anything"):
        planted += planting.segmenters(draw)
    written = [one.write(live.base) for one in planted]
    try:
        started = time.monotonic()
        assert live.client.get("/object_info").keys() == described.keys(), "a file took a node away"
        print(f"\nthe list of nodes in {time.monotonic() - started:.1f} s")
        verdicts = judging.tried(live, [one.attempt for one in planted if one.attempt], SECONDS)
    finally:
        for path in written:
            path.unlink()
        planting.remove(live.base)
    figures = judged(live, verdicts, names)
    assert sum(figures.values()) >= 200 and figures[judging.PACK] >= 150, figures


def test_damaged_files_of_the_face_pack(live, described, names, tmp_path):
    pytest.importorskip("insightface", reason="insightface is a test tool of its own; `python3 dev/test.py` brings it")
    pytest.importorskip("onnx", reason="onnx makes the synthetic pack")
    good = face_models.save_pack(tmp_path / "antelopev2")
    folder = live.base / "models" / "insightface" / "models" / "antelopev2"
    verdicts = []
    for one in planting.faces(good, random.Random(SEED)):
        shutil.copytree(good, folder, dirs_exist_ok=True)
        one.write(live.base)
        verdicts += judging.tried(live, [one.attempt], SECONDS)
    shutil.rmtree(folder)
    figures = judged(live, verdicts, names)
    assert figures[judging.PACK] >= 15, figures

"""The command that makes sets with many servers: items by hash, resumed, filters counted; servers here only answer as one does.

Two real ones, one of them killed, are in tests/server/test_synthesis.py.
"""

import json
from collections import Counter
from types import SimpleNamespace

import pytest
from PIL import Image
from same_subject.dev.setup.errors import SetupError
from same_subject.nodes.data import opening, shards
from same_subject.nodes.data.examples import PictureSet
from same_subject.research import synthesize, texts
from same_subject.tests.research.fake_servers import FakeServer

GRAPH = {
    "1": {"class_type": "S3Prompts", "inputs": {"seed": 1, "subject": "", "instances": 3}},
    "2": {"class_type": "KSampler", "inputs": {"seed": ["1", 0], "noise_seed": 4}},
    "3": {"class_type": "S3Group", "inputs": {}},
    "4": {"class_type": "S3Save", "inputs": {"name": "", "folder": "output folder"}},
}


def options(tmp_path, *urls, **more):
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(GRAPH))
    given = {"graph": path, "demo": False, "subjects": None, "seed": 0, "language_model": False, "servers": list(urls)}
    return SimpleNamespace(**{**given, "output": tmp_path / "out", "collages": 9, "sets_a_shard": 4, "ray": "none", **more})


@pytest.fixture
def server(tmp_path):
    """Every third collage has no set; each other one has one of two pictures."""
    made = tmp_path / "made"
    made.mkdir()

    def does(graph):
        name, subject = graph["4"]["inputs"]["name"], graph["1"]["inputs"]["subject"]
        assert graph["4"]["inputs"]["folder"] == "temporary folder"
        sets = [] if len(running.queued) % 3 == 0 else [2]
        counted = {"instances": 3, "sets": sets, "affinities": [0.96, 0.5, 0.4]}
        outputs = {"3": {"counted": [json.dumps(counted)], "text": ["said"]}}
        if sets:
            pictures = (Image.new("RGB", (8, 8), "red"),) * 2
            shards.write(made / f"{name}.tar", [PictureSet(f"{name}-1", pictures, (subject, "b"), {"subject": subject})])
            outputs["4"] = {"sets": [{"filename": f"{name}.tar", "subfolder": "", "type": "temp"}]}
        return outputs

    running = FakeServer(does, folder=made)
    yield running
    running.end()


def test_a_run_makes_shards_that_training_reads_and_says_what_was_left_out(server, tmp_path):
    said = synthesize.synthesize(options(tmp_path, server.url))
    sets = list(opening.open_source(tmp_path / "out").sets(0, 0))
    assert len(sets) == len({one.name for one in sets}) == 6 and all(len(one) == 2 for one in sets)
    assert "0 collages were done before, 9 now" in said and "6 sets (0.667 a collage): 6 of 2; 12 pictures" in said
    assert "9 collages with 27 instances (3.00 each), 27 pairs, 33.3% of them alike" in said
    assert "66.7% of the collages have a set" in said
    assert "1.6 million sets, as the paper has, take " in said
    assert "the filter left out 55.6% of the instances" in said and f"{server.url}" in said
    assert len(set(server.queued)) == 9


def test_started_again_it_does_nothing_twice_and_more_collages_are_added(server, tmp_path):
    synthesize.synthesize(options(tmp_path, server.url, collages=4))
    said = synthesize.synthesize(options(tmp_path, server.url))
    assert "4 collages were done before, 5 now" in said and len(server.queued) == 9
    names = [one.name.rpartition("/")[2] for one in opening.open_source(tmp_path / "out").sets(0, 0)]
    assert len(names) == len(set(names)) == 6
    with pytest.raises(SetupError, match="begun with other settings"):
        synthesize.synthesize(options(tmp_path, server.url, seed=1))


def test_names_and_seeds_are_of_the_number_the_seed_and_the_graph():
    def items(seed=0, graph=GRAPH):
        return [synthesize.Plan(graph, ("cat", "dog"), seed, False).item(number) for number in range(4)]

    names = [name for name, _ in items()]
    assert names == [name for name, _ in items()] and len(set(names)) == 4
    assert not set(names) & {name for name, _ in items(seed=1)}
    assert not set(names) & {name for name, _ in items(graph={**GRAPH, "5": {"class_type": "Note", "inputs": {}}})}
    graphs = [graph for _, graph in items()]
    assert [graph["1"]["inputs"]["subject"] for graph in graphs] == ["cat", "dog", "cat", "dog"]
    assert len({graph["1"]["inputs"]["seed"] for graph in graphs}) == 4, "the same object is drawn another way"
    assert graphs[0]["2"]["inputs"]["seed"] == ["1", 0] and graphs[0]["2"]["inputs"]["noise_seed"] != 4
    assert GRAPH["4"]["inputs"]["name"] == "", "the graph itself stays"


def test_a_language_model_is_asked_once_a_collage_however_often_the_run_is_started(tmp_path, monkeypatch):
    from same_subject.nodes.synthesis import asking

    asked = []
    monkeypatch.setattr(asking, "texts", lambda *of: (asked.append(of), (f"a red {of[0]}", ("here", "there", "up")))[1])
    plan = synthesize.Plan(GRAPH, ("cat",), 0, True)

    def items():
        asks = texts.Texts(tmp_path / "texts.jsonl", {}, Counter())
        return sorted((one for one in plan.items(3, {}, asks) if one), key=lambda one: one[0])

    first, again = items(), items()
    assert first == again and len(asked) == 3
    assert first[0][1]["1"]["inputs"]["description"] == "a red cat" and first[0][1]["1"]["inputs"]["scenes"] == "here\nthere\nup"


def test_a_language_model_that_answers_nothing_costs_what_it_was_asked_for_and_ends_the_run_with_its_report(
    server, tmp_path, monkeypatch
):
    from same_subject.nodes.synthesis import asking

    monkeypatch.setattr(asking, "texts", lambda *of: (f"a red {of[0]}", ("here", "there", "up")))
    balls = tmp_path / "subjects.txt"
    balls.write_text("ball")
    synthesize.synthesize(options(tmp_path, server.url, language_model=True, collages=4, subjects=balls))

    def refused(*_):
        raise asking.Unanswered("it answered 401.", again=False)

    monkeypatch.setattr(asking, "texts", refused)
    with pytest.raises(SetupError) as caught:
        synthesize.synthesize(options(tmp_path, server.url, language_model=True, collages=1000, subjects=balls))
    said = str(caught.value)
    assert "4 collages were done before, 0 now" in said and "x it answered 401." in said
    assert "synthesize: it answered 401. Of the last " in said and "start again" in said
    sets = list(opening.open_source(tmp_path / "out").sets(0, 0))
    assert len(sets) == 3 and len(server.queued) == 4


def test_collages_that_fail_are_counted_and_tried_again_in_the_next_run(server, tmp_path):
    does, server.does = server.does, lambda graph: {"3": {"counted": ["no json"]}}
    said = synthesize.synthesize(options(tmp_path, server.url, collages=2))
    assert "2 collages failed" in said and "gave no count of instances" in said
    server.does, server.history = does, {}
    assert "0 collages were done before, 2 now" in synthesize.synthesize(options(tmp_path, server.url, collages=2))


def test_a_graph_that_lacks_a_node_is_refused(tmp_path):
    graph = {number: node for number, node in GRAPH.items() if number != "4"}
    with pytest.raises(SetupError, match="has 0 nodes S3Save, but needs 1"):
        synthesize.Plan(graph, ("cat",), 0, False)
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(SetupError, match="is no graph in API format"):
        synthesize.Plan.of(options(tmp_path, graph=tmp_path / "list.json"))


def test_the_shipped_graphs_fit_the_command():
    for path in (synthesize.GRAPH, synthesize.DEMO):
        graph = json.loads(path.read_text(encoding="utf-8"))
        assert len(synthesize.Plan(graph, ("cat",), 0, False).item(0)[0]) == 24

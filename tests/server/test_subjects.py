"""Saving and loading subjects on the live server, and their pictures."""

import json

import pytest
from same_subject.dev import client
from same_subject.tests.server import graphs
from same_subject.tests.tiny import subjects

FILE = "toy.safetensors"


@pytest.fixture
def folder(live):
    """The server's folder, afterwards as it was."""
    path = live.base / "models" / "subjects"
    before = set(path.rglob("*"))
    yield path
    for new in sorted(set(path.rglob("*")) - before, reverse=True):
        new.rmdir() if new.is_dir() else new.unlink()


def with_loader(graph, file=FILE, **inputs):
    """A graph whose set takes its references from Load Subject instead of Reference Pictures."""
    graph = {name: node for name, node in graph.items() if name != "references"}
    graph["subject"] = graphs.node("JediLoadSubject", file=file, **{"strength": 1.0, **inputs})
    return graphs.changed(graph, "set", references=graphs.link("subject"))


def saving(graph, name="rex"):
    return {**graph, "keep": graphs.node("JediSaveSubject", references=graphs.link("references"), name=name)}


def same(one, other):
    return [picture.tobytes() for picture in one] == [picture.tobytes() for picture in other]


def test_a_saved_subject_paints_what_its_references_painted(live, folder):
    direct = graphs.basic(("red.png", "green.png"), strength=2.0)
    direct = graphs.changed(direct, "references", captions="a red toy\na green one", strength=0.7, fit="pad")
    outputs = live.client.run(saving(direct, "toys/rex"))
    (file,) = folder.rglob("rex_*")
    assert file == folder / "toys" / "rex_00001_.safetensors" and len(outputs["keep"]["images"]) == 2
    loaded = with_loader(direct, "toys/rex_00001_.safetensors")
    painted = graphs.pictures(live, direct)
    assert same(graphs.pictures(live, loaded), painted)
    assert not same(graphs.pictures(live, with_loader(direct, FILE)), painted)
    assert not same(graphs.pictures(live, with_loader(direct, "toys/rex_00001_.safetensors", strength=0.0)), painted)


def test_a_rewritten_file_is_loaded_again_and_an_unchanged_one_is_not(live, folder):
    file = folder / "again.safetensors"
    graph = with_loader(graphs.basic(), file.name)
    subjects.save(file)
    first = graphs.pictures(live, graph)
    ran = []
    live.client.run(graph, lambda kind, data: ran.append(data.get("node")) if kind == "executing" else None)
    assert "subject" not in ran
    from same_subject.nodes.joint.host import subject_files

    file.write_bytes(subject_files.content(subjects.references()[1:], "again"))
    assert not same(graphs.pictures(live, graph), first)


def test_subjects_chain(live):
    graph = with_loader(graphs.basic())
    graph["more"] = graphs.node("JediLoadSubject", file=FILE, strength=1.0, previous=graphs.link("subject"))
    graph["references_again"] = graphs.node("JediPick", samples=graphs.link("sampler"), joint_set=graphs.link("set", 3),
                                            which="references", indices="0")  # fmt: skip
    graph = graphs.changed(
        graphs.changed(graph, "set", references=graphs.link("more")), "decode", samples=graphs.link("references_again")
    )
    assert len(graphs.pictures(live, graph)) == 4


def test_the_node_and_the_model_library_show_the_pictures(live):
    graph = with_loader(graphs.basic(), strength=0.9)  # not kept from another run, which would show nothing again
    images = live.client.run(graph)["subject"]["images"]
    first, second = (graphs.open_picture(live, entry) for entry in images)
    assert first.size == second.size == (256, 256)
    assert first.getpixel((128, 128)) == (255, 0, 0) and second.getpixel((128, 128)) == (0, 255, 0)
    said = live.client.get("/view_metadata/subjects", filename=FILE)
    assert said["modelspec.thumbnail"].startswith("data:image/jpeg;base64,") and said["modelspec.title"] == "toy"
    listed = live.client.get("/experiment/models/subjects")
    assert FILE in [one["name"] for one in listed]
    place = next(one["pathIndex"] for one in listed if one["name"] == FILE)
    assert live.client.request(f"/experiment/models/preview/subjects/{place}/toy.webp")[8:12] == b"WEBP"


@pytest.mark.parametrize("name", ("../rex", "/tmp/rex", "", "a\\..\\..\\b", "C:/rex"))
def test_a_name_that_leads_out_of_the_folder_is_refused_before_the_queue(live, folder, name):
    with pytest.raises(client.Refused, match="Save Subject: `name` is") as caught:
        live.client.run(saving(graphs.basic(), name))
    assert "stays in models/subjects" in str(caught.value) and not list(folder.rglob("*rex*"))


@pytest.mark.parametrize("file", ("gone.safetensors", "../jedi_demo/tiny.safetensors", "demo.safetensors"))
def test_a_missing_or_wrong_file_is_refused_before_the_queue_with_a_remedy(live, folder, file):
    (folder / "demo.safetensors").write_bytes((live.base / "models" / "jedi_demo" / "tiny.safetensors").read_bytes())
    with pytest.raises(client.Refused) as caught:
        live.client.run(with_loader(graphs.basic(), file))
    message = str(caught.value)
    assert "Load Subject" in message and "Save Subject" in message and ("subjects" in message or "no subject" in message)


def test_nothing_in_a_file_tells_who_made_it(live):
    said = json.dumps(live.client.get("/view_metadata/subjects", filename=FILE)).lower()
    assert "author" not in said and str(live.base).lower() not in said

"""Check Files on the live server: one look names all that is missing, in the API and in both renderers of the frontend."""

import json
import time
import urllib.error
import urllib.request

import pytest
from same_subject.dev import client as clients
from same_subject.dev import pack, server
from same_subject.tests.server import ui_format

TWO_PEOPLE = "Two People in One Picture - SDXL"
AT = "/same_subject/files"
FILES = {
    "sd_xl_base_1.0.safetensors", "groundingdino_swint_ogc.pth", "bert-base-uncased/vocab.txt", "sam_vit_b_01ec64.pth",
    "ip-adapter.bin", "instantid.safetensors", "antelopev2.zip",
}  # fmt: skip
PACKAGES = {"segment-anything", "insightface", "onnxruntime-gpu"}


@pytest.fixture(scope="module")
def two_people():
    return json.loads((ui_format.WORKFLOWS / "api" / f"{TWO_PEOPLE}.json").read_text(encoding="utf-8"))


def test_one_request_names_every_file_and_package_that_the_graph_of_two_people_needs(live, two_people):
    rows = {row["name"]: row for row in live.client.post(f"{AT}/check", {"prompt": two_people})["rows"]}
    pictures = {node["inputs"]["image"] for node in two_people.values() if node["class_type"] == "LoadImage"}
    assert set(rows) - pictures == FILES | PACKAGES
    assert {row["state"] for name, row in rows.items() if name in FILES} == {"missing"}
    assert {name for name, row in rows.items() if row["download"]} == FILES
    assert {row["kind"] for name, row in rows.items() if name in PACKAGES} == {"package"}
    assert all(row["licence"] and (row["bytes"] or name in PACKAGES) for name, row in rows.items() if name not in pictures)


def test_the_node_reports_while_all_other_nodes_are_refused(live, two_people):
    answer = live.client.post("/prompt", {"prompt": {**two_people, "files": {"class_type": "CheckFiles", "inputs": {}}}})
    assert answer["node_errors"], "the graph itself cannot run"
    history = wait(live, answer["prompt_id"])
    (said,) = history["outputs"]["files"]["text"]
    assert said.startswith("Check Files: ") and all(f"missing: {name}; for " in said for name in FILES)


def wait(live, prompt_id):
    for _ in range(600):
        if run := live.client.get(f"/history/{prompt_id}").get(prompt_id):
            return run
        time.sleep(0.1)
    raise AssertionError("the run did not end")


def asked(live, what, body, **headers):
    """(status, answer) of a POST with these headers."""
    request = urllib.request.Request(f"{live.client.url}{what}", data=body, headers=headers)
    try:
        with clients.NO_PROXY.open(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read()


@pytest.mark.parametrize("api", ["", "/api"])
@pytest.mark.parametrize("what", ["check", "download", "verify", "stop"])
def test_no_page_of_another_site_can_ask(live, two_people, what, api):
    body = json.dumps({"prompt": two_people, "name": "ip-adapter.bin"}).encode()
    kind = {"Content-Type": "application/json"}
    for headers in ({**kind, "Origin": "https://evil.example"}, {**kind, "Sec-Fetch-Site": "cross-site"}):
        assert asked(live, f"{api}{AT}/{what}", body, **headers)[0] == 403
    assert asked(live, f"{api}{AT}/{what}", body, **{"Content-Type": "text/plain"})[0] == 415
    assert asked(live, f"{api}{AT}/check", body, **kind)[0] == 200
    assert not list(live.base.rglob("*.part"))


def test_a_hash_is_verified_on_the_server(live, two_people):
    path = live.base / "models" / "instantid" / "ip-adapter.bin"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"other")
    try:
        sent = {"prompt": two_people, "name": "ip-adapter.bin"}
        assert live.client.post(f"{AT}/verify", sent)["job"]["name"] == "ip-adapter.bin"
        for _ in range(100):
            rows = live.client.post(f"{AT}/check", sent)["rows"]
            (row,) = [row for row in rows if row["name"] == "ip-adapter.bin"]
            if row["job"]["state"] in ("done", "failed"):
                break
        assert row["state"] == "other size" and "is not the published file: its sha256 is" in row["job"]["message"]
        assert asked(live, f"{AT}/download", json.dumps(sent).encode(), **{"Content-Type": "application/json"})[0] == 404
    finally:
        path.unlink()


def test_every_entry_of_the_list_is_offered_by_name_or_says_why_not(live):
    yaml = pytest.importorskip("yaml")
    entries = yaml.safe_load((pack.ROOT / "models.yaml").read_text(encoding="utf-8"))["models"]
    graph = {
        str(number): {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": entry["file"]}}
        for number, entry in enumerate(entries) if entry["folder"] == "models/checkpoints"
    }  # fmt: skip
    rows = live.client.post(f"{AT}/check", {"prompt": graph})["rows"]
    hashes = {entry["file"]: entry["sha256"] for entry in entries}
    assert len(rows) == len(graph)
    assert all(row["download"] == bool(hashes[row["name"]]) for row in rows)
    assert all("hash is not known" in row["remedy"] for row in rows if not row["download"])


ROWS = """[...document.querySelectorAll("dialog tbody tr")].map(line => ({
  name: line.dataset.name, cells: [...line.children].map(one => one.textContent),
  buttons: [...line.querySelectorAll("button")].map(one => one.textContent),
}))"""
PLACE = """(async () => {
  await app.loadGraphData(GRAPH, true, true, "files");
  const node = LiteGraph.createNode("CheckFiles");
  app.graph.add(node);
  const loader = LiteGraph.createNode("IdentityLoader");
  app.graph.add(loader);
  loader.widgets.forEach(widget => (widget.value = widget.name == "adapter" ? "ip-adapter.bin" : "none"));
  loader.title = "<img src=x onerror='window.ran = true'>";
  window.asked = [];
  window.fetched ??= api_of().fetchApi;
  api_of().fetchApi = function (path, options) {
    asked.push(path);
    return fetched.apply(this, arguments);
  };
  await new Promise(done => setTimeout(done, 500));
  return String(node.id);
})()""".replace("api_of()", "window.comfyAPI.api.api")
PRESS = "app.graph.nodes.find(one => one.type == 'CheckFiles').widgets.find(one => one.type == 'button').callback()"
SETTINGS = """(async () => {
  await app.extensionManager.command.execute("Comfy.ShowSettingsDialog");
  const wait = async (kind, text) => {
    for (let turn = 0; turn < 200; turn++, await new Promise(done => setTimeout(done, 50))) {
      const shown = [...document.querySelectorAll(`[role=dialog] ${kind}`)];
      const found = shown.find(one => !one.children.length && one.textContent.trim() == text);
      if (found) return found;
    }
  };
  (await wait("*", "Same Subject")).click();
  const button = await wait("button", "Check Files");
  button.click();
  return button.tagName;
})()"""


def key(page, name, code):
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code)


@pytest.fixture(scope="module")
def window(page):
    """The number of a Check Files node in the graph of two people, with the window opened by its button.

    One more node of the graph has a title that is no text where it is taken for HTML.
    """
    graph = ui_format.read(ui_format.WORKFLOWS / f"{TWO_PEOPLE}.json")
    number = page.evaluate(PLACE.replace("GRAPH", json.dumps(graph)))
    page.evaluate(PRESS)
    page.wait_for("document.querySelectorAll('dialog tbody tr').length", 30)
    return number


def test_one_press_lists_all_that_is_missing_first_as_text_and_downloads_nothing(page, window):
    rows = {row["name"]: row for row in page.evaluate(ROWS)}
    states = [row["cells"][4].startswith("missing") for row in rows.values()]
    assert FILES | PACKAGES <= set(rows) and states == sorted(states, reverse=True)
    assert {name for name, row in rows.items() if row["buttons"] == ["Download"]} == FILES
    assert rows["ip-adapter.bin"]["cells"][1].endswith(", <img src=x onerror='window.ran = true'>")
    assert rows["ip-adapter.bin"]["cells"][2:4] == ["1.69 GB", "Apache-2.0"]
    assert rows["antelopev2.zip"]["cells"][0].endswith("scrfd_10g_bnkps.onnx")
    said = page.evaluate("document.querySelector('dialog [role=status]').textContent")
    assert said == f"{sum(states)} of {len(rows)} are missing or wrong. 12.6 GB can be downloaded."
    assert page.evaluate("asked.filter(path => path.includes('files'))") == [f"{AT}/check"]
    assert not page.evaluate("window.ran") and page.evaluate("document.querySelectorAll('dialog').length") == 1


def test_the_window_is_reached_by_keys_and_keeps_them(page, window):
    nodes = page.evaluate("app.graph.nodes.length")
    page.evaluate("app.canvas.selectNodes(app.graph.nodes)")
    page.evaluate("document.querySelector('dialog button').focus()")
    seen = []
    for _ in range(3):
        key(page, "Tab", 9)
        seen.append(page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.textContent"))
    assert seen[0].startswith("Download ") and len(set(seen)) == 3
    key(page, "Delete", 46)
    assert page.evaluate("app.graph.nodes.length") == nodes, "keys are not for the graph behind it"
    key(page, "Escape", 27)
    page.wait_for("!document.querySelector('dialog')", 10)
    assert page.evaluate(SETTINGS) == "BUTTON"
    page.wait_for("document.querySelectorAll('dialog tbody tr').length", 30)
    assert page.evaluate("document.querySelector('dialog').contains(document.activeElement)")
    page.evaluate("app.canvas.deselectAll()")


EVENT = "window.comfyAPI.api.api.dispatchEvent(new CustomEvent('same_subject.files', {detail: DETAIL}))"


def test_progress_is_shown_stop_takes_the_place_of_download_and_what_has_come_is_found(page, window, live):
    line = "document.querySelector(\"tr[data-name='bert-base-uncased/vocab.txt']\")"
    page.evaluate("""window.comfyAPI.api.api.fetchApi = function (path, options) {
      if (!path.endsWith("download")) return fetched.apply(this, arguments);
      window.sent = JSON.parse(options.body);
      return new Response("{}");
    }; null""")
    page.evaluate(f"(() => {{ const button = {line}.querySelector('button'); button.focus(); button.click(); }})()")
    page.wait_for("window.sent", 10)
    assert page.evaluate("[Object.keys(sent).sort().join(), sent.name, sent.client_id == window.comfyAPI.api.api.clientId]") == [
        "client_id,name,prompt",
        "bert-base-uncased/vocab.txt",
        True,
    ]
    job = {"name": "bert-base-uncased/vocab.txt", "state": "downloading", "got": 115754, "total": 231508, "message": ""}
    page.evaluate(EVENT.replace("DETAIL", json.dumps(job)))
    assert page.evaluate(f"{line}.querySelector('progress').position") == 0.5
    assert page.evaluate(f"{line}.children[4].textContent") == "downloading 50 %"
    assert page.evaluate("document.activeElement.ariaLabel") == "Stop bert-base-uncased/vocab.txt"
    path = live.base / "models" / "grounding-dino" / "bert-base-uncased" / "vocab.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 231508)
    try:
        job |= {"state": "done", "message": "<b>It is there.</b>"}
        page.evaluate(EVENT.replace("DETAIL", json.dumps(job)))
        page.wait_for(f"{line}.children[4].textContent.startsWith('found<b>It is there.</b>')", 30)
        assert page.evaluate("document.activeElement.ariaLabel") == "Verify bert-base-uncased/vocab.txt"
        page.evaluate(f"{line}.querySelector('button').click()")  # the server itself says how this ends
        page.wait_for(f"{line}.textContent.includes('is not the published file: its sha256 is')", 30)
    finally:
        path.unlink()


def test_the_node_shows_its_report_when_it_ran(page, window, live):
    page.evaluate("document.querySelector('dialog')?.close()")
    page.evaluate("app.graph.nodes.filter(one => one.type != 'CheckFiles').forEach(one => app.graph.remove(one))")
    page.evaluate("app.queuePrompt(0, 1)")
    box = f"app.graph.getNodeById({window}).widgets.find(one => one.name == 'report').element.textContent"
    page.wait_for(f"{box}.startsWith('Check Files: no node of this graph')", 30)


def test_words_of_the_window_come_from_the_translations(page, window):
    """As locales/<language>/main.json gives them; a module of its own, so that nothing is loaded yet."""
    found = page.evaluate(
        """(async () => {
      const {api} = window.comfyAPI.api, real = api.getCustomNodesI18n;
      api.getCustomNodesI18n = async () => ({en: {sameSubject: {checkFiles: {title: "Dateien"}}}});
      const {translated} = await import("/extensions/FOLDER/words.js?again");
      const words = await translated("checkFiles", {title: "Files", close: "Close"});
      api.getCustomNodesI18n = real;
      return words;
    })()""".replace("FOLDER", server.FOLDER)
    )
    assert found == {"title": "Dateien", "close": "Close"}

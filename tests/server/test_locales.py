"""The translations as a server serves them, and as its frontend shows them."""

import json
import re

import pytest
from same_subject.dev import pack
from same_subject.tests.server import browser

LOCALES = pack.ROOT / "locales"
WARNINGS = """(() => {
  window.said = [];
  for (const kind of ["warn", "error"]) {
    const before = console[kind];
    console[kind] = (...parts) => { window.said.push(parts.map(String).join(" ")); before(...parts); };
  }
})()"""
SHOWN = """(() => {
  const node = LiteGraph.createNode("NODE");
  app.graph.add(node);
  return {
    title: node.title,
    description: node.constructor.nodeData.description,
    inputs: Object.fromEntries(node.inputs.map(one => [one.name, one.localized_name])),
    widgets: Object.fromEntries((node.widgets ?? []).map(one => [one.name, one.label])),
    outputs: node.outputs.map(one => one.localized_name),
    options: (node.widgets ?? []).flatMap(one => Array.isArray(one.options?.values) ? one.options.values : []),
  };
})()"""


def defined(language):
    return json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))


def test_every_language_is_served(live):
    served = live.client.get("/i18n")
    for folder in LOCALES.iterdir():
        assert defined(folder.name).items() <= served[folder.name]["nodeDefs"].items(), folder.name


@pytest.fixture(scope="module")
def page(live, request):
    if browser.program() is None:
        pytest.skip(browser.MISSING)
    live.client.post("/settings", {"Comfy.TutorialCompleted": True, "Comfy.Locale": "zh"})
    page = browser.Page()
    try:
        page.start()
    except browser.NoBrowser as problem:
        (pytest.fail if request.config.getoption("--require-browser") else pytest.skip)(str(problem))
    try:
        page.call("Page.enable")
        page.call("Page.addScriptToEvaluateOnNewDocument", source=WARNINGS)
        page.open(live.client.url)
        page.wait_for("window.app?.graph?.nodes.length && LiteGraph.registered_node_types.JediPick")
        yield page
    finally:
        page.stop()
        live.client.post("/settings", {"Comfy.Locale": "en"})


@pytest.mark.parametrize("name", ["JediReferences", "JediApply", "ConceptFind", "IdentityFromPictures"])
def test_a_chinese_frontend_shows_chinese(page, name):
    wanted, shown = defined("zh")[name], page.evaluate(SHOWN.replace("NODE", name))
    assert (shown["title"], shown["description"]) == (wanted["display_name"], wanted["description"])
    names = {key: one["name"] for key, one in wanted["inputs"].items() if "name" in one}
    assert shown["inputs"].items() <= names.items() | {(key, text) for key, text in shown["inputs"].items() if "." in key}
    assert shown["widgets"].items() <= names.items() | {(key, text) for key, text in shown["widgets"].items() if key not in names}
    assert [text for number, text in enumerate(shown["outputs"]) if "name" in wanted["outputs"][str(number)]] == [
        one["name"] for one in wanted["outputs"].values() if "name" in one
    ]
    assert all(str(option).isascii() for option in shown["options"]), "options stay English"


@pytest.mark.parametrize("name", ["JediReferences", "ConceptsFromMasks", "IdentityFromPictures"])
def test_sockets_that_grow_have_a_tooltip_under_the_name_they_have_there(page, name):
    grown = [socket for socket in page.evaluate(SHOWN.replace("NODE", name))["inputs"] if "." in socket]
    find = """document.querySelector("#vue-app").__vue_app__.config.globalProperties.$tm("nodeDefs.NODE.inputs.KEY.tooltip")"""
    assert grown
    for key in (socket.replace(".", "_") for socket in grown):
        assert page.evaluate(find.replace("NODE", name).replace("KEY", key)) == defined("zh")[name]["inputs"][key]["tooltip"]


def test_the_frontend_says_nothing_of_languages(page):
    """It does of one that it does not have, and of a message that it cannot read."""
    said = page.evaluate("window.said")
    assert [text for text in said if re.search("locale|i18n|intlify|syntax", text, re.IGNORECASE)] == []

"""The translations in `locales/`: one of each message of every schema in every language, under the frontend's keys.

The frontend looks a message up under the node's id, an input's id or an output's number; the sockets of an input that
grows are called `images.image0` there, and a dot in a key is written as an underscore. A socket of an output without a
name of its own shows its type, which the frontend translates itself; so does a socket that grew show its own id.
"""

import asyncio
import json
import re

import pytest
import same_subject
from same_subject.dev import pack
from same_subject.nodes import extension

LOCALES = pack.ROOT / "locales"
LANGUAGES = ("de", "es", "fr", "ja", "ko", "pt-BR", "ru", "zh", "zh-TW")
SYNTAX = "{}@|"
"""What the frontend's compiler of messages takes for syntax. It compiles names and shows tooltips as they are written, so that
an escape would be shown in one of them: no message has any."""
NAMES_OF_FILES = re.compile(r"[\w./-]+\.(?:pth|bin|safetensors)\b|models/[\w/-]+[\w]", re.ASCII)


def messages(found, path=()):
    """Every message under a tree of them, by its path of keys."""
    if isinstance(found, str):
        return {path: found}
    return {key: text for name, inner in found.items() for key, text in messages(inner, (*path, name)).items()}


@pytest.fixture(scope="module")
def described():
    """What the host tells the frontend of every node."""
    asyncio.run(same_subject.comfy_entrypoint())
    asyncio.run(extension.SameSubjectExtension().on_load())
    return {node.GET_SCHEMA().node_id: node.GET_NODE_INFO_V1() for node in extension.NODES}


def inputs_of(node):
    return {name: given for group in ("required", "optional") for name, given in node["input"].get(group, {}).items()}


@pytest.fixture(scope="module")
def english(described):
    """The English message that each key stands for."""
    wanted = {}
    for node_id, node in described.items():
        wanted[node_id, "display_name"], wanted[node_id, "description"] = node["display_name"], node["description"]
        for name, (_, given) in inputs_of(node).items():
            wanted[node_id, "inputs", name, "name"] = name
            wanted[node_id, "inputs", name, "tooltip"] = given["tooltip"]
            template = given.get("template", {})
            for inner in template.get("input", {}).values():
                for _, socket in inner.values():
                    for number in range(template["max"]):
                        wanted[node_id, "inputs", f"{name}_{template['prefix']}{number}", "tooltip"] = socket["tooltip"]
        for number, (name, kind, tooltip) in enumerate(
            zip(node["output_name"], node["output"], node["output_tooltips"], strict=True)
        ):
            if name != kind:
                wanted[node_id, "outputs", str(number), "name"] = name
            wanted[node_id, "outputs", str(number), "tooltip"] = tooltip
    return wanted


@pytest.fixture(scope="module", params=LANGUAGES)
def translated(request):
    return messages(json.loads((LOCALES / request.param / "nodeDefs.json").read_text(encoding="utf-8")))


def test_only_these_languages_are_there():
    assert {path.relative_to(LOCALES).as_posix() for path in LOCALES.rglob("*.*")} == {
        f"{language}/{name}.json" for language in LANGUAGES for name in ("nodeDefs", "main", "commands", "settings")
    }


def test_every_message_is_translated(translated, english):
    assert [key for key in english if not translated.get(key, "").strip()] == []


def test_nothing_is_left_over(translated, english):
    assert [key for key in translated if key not in english] == [], "no longer in a schema, or an option of a combo"


def test_no_description_or_tooltip_is_still_in_english(translated, english):
    assert [key for key, text in translated.items() if len(text) > 20 and text == english.get(key)] == []


def test_the_same_english_is_the_same_in_a_language(translated, english):
    said = {}
    for key, text in translated.items():
        said.setdefault(english.get(key), set()).add(text)
    assert {text: found for text, found in said.items() if len(found) > 1} == {}


def test_no_message_has_a_character_that_the_frontend_takes_for_syntax(translated):
    assert [(key, text) for key, text in translated.items() if set(text) & set(SYNTAX)] == []


def test_options_of_a_combo_that_a_tooltip_explains_keep_their_words(translated, described):
    """They are English in the widget and in saved graphs: one that a tooltip explains must be found there as it is."""
    for node_id, node in described.items():
        for name, (kind, given) in inputs_of(node).items():
            options = kind if isinstance(kind, list) else given.get("options", [])
            if (node_id, name) == ("ConceptFind", "order"):
                continue  # its tooltip says "left to right" of something else
            said = [option for option in options if re.search(rf"\b{re.escape(option)}\b", given["tooltip"], re.IGNORECASE)]
            text = translated[node_id, "inputs", name, "tooltip"].lower()
            assert [option for option in said if option not in text] == [], (node_id, name)


def test_names_of_files_are_those_of_the_english(translated, english):
    def names(text):
        return sorted(NAMES_OF_FILES.findall(text))

    assert [key for key, text in english.items() if names(translated[key]) != names(text)] == []


@pytest.fixture(scope="module")
def of_windows():
    """What the scripts say themselves, by the group that they look up and the name in it."""
    scripts = [path.read_text(encoding="utf-8") for path in (pack.ROOT / "js").glob("*.js")]
    said = {}
    for script in scripts:
        for group, table in re.findall(r'translated\("(\w+)", (\w+)\)', script):
            written = re.search(rf"(?:const|let) {table} = {{(.*?)\n?}};", script, re.DOTALL)[1]
            found = re.findall(r'(?:^|[\s,{])("[^"]+"|\w+): "((?:[^"\\]|\\.)*)"', written)
            said |= {(group, name.strip('"')): text for name, text in found}
    return said


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_scripts_say_is_translated_with_the_same_places_for_numbers(language, of_windows):
    told = messages(json.loads((LOCALES / language / "main.json").read_text(encoding="utf-8"))["sameSubject"])
    assert {group for group, _ in of_windows} == {"checkFiles", "correspondence", "rows", "strip"}
    assert set(told) == set(of_windows)
    for key, text in of_windows.items():
        assert told[key].strip() and sorted(re.findall(r"%\d", told[key])) == sorted(re.findall(r"%\d", text)), key
        assert not set(told[key]) & set(SYNTAX), key


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_command_and_the_setting_have_a_name(language):
    for name, key in (("commands", "label"), ("settings", "name")):
        found = json.loads((LOCALES / language / f"{name}.json").read_text(encoding="utf-8"))
        assert list(found) == ["SameSubject_CheckFiles"] and found["SameSubject_CheckFiles"][key].strip()

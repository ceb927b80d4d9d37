"""What the UI queues for a graph that it saved: workflows, and subgraph blueprints as they are when inserted."""

import json

from same_subject.dev import pack

WORKFLOWS = pack.ROOT / "workflows"
BLUEPRINTS = pack.ROOT / "subgraphs"
SEED_WIDGETS = {"seed", "noise_seed"}
"""The UI adds a second widget to these, what to do after a run; and to inputs that ask for it."""
BEFORE = {"JediApply": {"step_noise": "whole batch"}}
"""What `js/saved_graphs.js` gives widgets that a saved node does not have, instead of their defaults."""
INPUTS, OUTPUTS = -10, -20
"""Ids that links inside a subgraph have for its own inputs and outputs."""
NOTE = "MarkdownNote"


def read(path):
    """A graph's file."""
    return json.loads(path.read_text(encoding="utf-8"))


def widgets_of(node_class):
    """A node's widgets in the order in which the UI stores their values, each with what it shows before it is touched."""
    inputs = node_class.INPUT_TYPES()
    widgets = {}
    for group in ("required", "optional"):
        for name, definition in inputs.get(group, {}).items():
            options = definition[-1] if isinstance(definition[-1], dict) else {}
            kinds = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
            if (isinstance(definition[0], list) or definition[0] in kinds) and not options.get("forceInput"):
                after = name in SEED_WIDGETS or options.get("control_after_generate")
                widgets[name] = options.get("default")
                if after:
                    widgets[f"{name}: after a run"] = "randomize"
                if options.get("image_upload"):
                    widgets["upload"] = name
    return widgets


def as_api(workflow, classes):
    """The prompt of a workflow without subgraphs."""
    return prompt_of(workflow["nodes"], {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}, classes)


def prompt_of(nodes, origins, classes, prefix=""):
    """A prompt of nodes as the UI saves them. origins: what comes in by each link: [node id, output], or a value.

    A widget that a node got after it was saved has its default, or what stands in BEFORE.
    """
    prompt = {}
    for node in nodes:
        if node["type"] == NOTE:
            continue
        widgets = widgets_of(classes[node["type"]])
        given = node["widgets_values"] or []
        assert len(widgets) >= len(given), node["type"]
        values = {**widgets, **BEFORE.get(node["type"], {}), **dict(zip(widgets, given, strict=False))}
        inputs = {name: value for name, value in values.items() if ": after" not in name and name != "upload"}
        inputs |= {socket["name"]: origins[socket["link"]] for socket in node["inputs"] if socket["link"] is not None}
        prompt[f"{prefix}{node['id']}"] = {"class_type": node["type"], "inputs": inputs}
    return prompt


def definition_of(blueprint):
    """The subgraph that a blueprint's one node stands for."""
    (node,), (definition,) = blueprint["nodes"], blueprint["definitions"]["subgraphs"]
    assert node["type"] == definition["id"]
    return node, definition


def defaults_of(blueprint):
    """Values of a blueprint's widgets by name."""
    node, _ = definition_of(blueprint)
    names = [socket["name"] for socket in node["inputs"] if "widget" in socket]
    return dict(zip(names, node["widgets_values"], strict=True))


def unfold(blueprint, given, classes, prefix=""):
    """(prompt, outputs by name) of a blueprint's inner nodes. given: [node id, output] or a value, for each of its inputs."""
    _, definition = definition_of(blueprint)
    names = [socket["name"] for socket in definition["inputs"]]
    origins, outputs = {}, {}
    for link in definition["links"]:
        if link["origin_id"] == INPUTS:
            origins[link["id"]] = given[names[link["origin_slot"]]]
        elif link["target_id"] == OUTPUTS:
            source = [f"{prefix}{link['origin_id']}", link["origin_slot"]]
            outputs[definition["outputs"][link["target_slot"]]["name"]] = source
        else:
            origins[link["id"]] = [f"{prefix}{link['origin_id']}", link["origin_slot"]]
    return prompt_of(definition["nodes"], origins, classes, prefix), outputs


def described(prompt, link):
    """What an input comes from, without node ids: nodes with the same inputs all the way up have the same description."""
    if not (isinstance(link, list) and len(link) == 2 and link[0] in prompt):
        return repr(link)
    node = prompt[link[0]]
    inputs = ", ".join(f"{name}={described(prompt, value)}" for name, value in sorted(node["inputs"].items()))
    return f"{node['class_type']}({inputs})[{link[1]}]"

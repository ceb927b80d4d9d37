"""Good graphs in which each node of the pack stands, from the nodes' own descriptions.

What a graph paints ends in latents that are saved, so that NaN in a picture is seen. A node that none of the drawn graphs has
gets one of its own: its inputs from defaults, from whatever node gives the type that it takes.
"""

from __future__ import annotations

import copy

from same_subject.tests.server.graphs import changed, link, node, without

PICTURE, MODEL, SCENE = "hostile.png", "tiny.safetensors", "scenes.safetensors"
GOOD = {
    "JediDemoLoader": {"file": MODEL},
    "DemoToolsLoader": {"file": SCENE},
    "JediJointSet": {"prompts": "a\nb", "width": 64, "height": 64},
    "ConceptFind": {"phrases": "ball\nstar", "if_missing": "empty concept"},
    "IdentityFaceAnalysis": {"files": "any", "device": "cpu"},
    "SubjectAdapterLoader": {"file": "demo"},
    "TrainJointModel": {"data": "sets", "steps": 1, "side": 64, "rows": 2, "sheet_every": 0},
    "SceneToolsLoader": dict.fromkeys(("detector", "segmenter", "adapter", "face_analysis", "control_net"), "none"),
}
"""What a node's own defaults leave open."""
SOURCES = {
    "IMAGE": ("LoadImage", 0, {"image": PICTURE}),
    "MASK": ("SolidMask", 0, {"value": 1.0, "width": 64, "height": 64}),
    "IDENTITY_ADAPTER": ("DemoToolsLoader", 0, {}),
    "IDENTITY_FACE_ANALYSIS": ("DemoToolsLoader", 1, {}),
    "CONCEPT_DETECTOR": ("DemoToolsLoader", 2, {}),
    "SCENE_TOOLS": ("DemoToolsLoader", 4, {}),
    "CONDITIONING": ("CLIPTextEncode", 0, {"text": "a"}),
    "LATENT": ("EmptyLatentImage", 0, {"width": 64, "height": 64, "batch_size": 2}),
}
"""Where a type comes from, if not from the first node of the pack that gives it."""


def sampled(model, positive, negative, latent, vae):
    """Two steps, the picture, and the picture's latents, saved: NaN anywhere in it reaches the file."""
    return {
        "sampler": node(
            "KSampler", model=model, positive=positive, negative=negative, latent_image=latent, seed=1, steps=1, cfg=3.0,
            sampler_name="euler", scheduler="normal", denoise=1.0,
        ),
        "save": node("SaveLatent", samples=link("sampler"), filename_prefix="hostile/latent"),
        **seen("picture", link("decode"), vae),
        "decode": node("VAEDecode", samples=link("sampler"), vae=vae),
    }  # fmt: skip


def seen(name, picture, vae):
    """A picture's latents, saved."""
    return {
        f"{name}_again": node("VAEEncode", pixels=picture, vae=vae),
        f"{name}_save": node("SaveLatent", samples=link(f"{name}_again"), filename_prefix=f"hostile/{name}"),
    }


def joint():
    """References with a mask, a set of two pictures, options, JeDi, a recording and its view, the sampler, Pick Pictures."""
    graph = {
        "model": node("JediDemoLoader", file=MODEL),
        "photo": node("LoadImage", image=PICTURE),
        "white": node("SolidMask", value=1.0, width=64, height=64),
        "references": node(
            "JediReferences", captions="", fit="crop", background="grey", invert_masks=False,
            **{"images.image0": link("photo"), "masks.mask0": link("white")},
        ),
        "set": node(
            "JediJointSet", clip=link("model", 1), vae=link("model", 2), references=link("references"), prompts="a\nb",
            negative="", pictures=0, sets=1, width=64, height=64, reference_seed=0,
        ),
        "options": node(
            "JediOptions", coupling_start=0.0, coupling_end=1.0, full=True, half=True, quarter=True, eighth=True,
            reference_attention="all pictures", null_references="isolated", channel_order="auto",
        ),
        "jedi": node(
            "JediApply", model=link("model"), joint_set=link("set", 3), options=link("options"), guidance="text first",
            image_scale=5.0, start_percent=0.0, end_percent=1.0,
        ),
    }  # fmt: skip
    graph["record"] = node(
        "JediRecord", model=link("jedi"), full=False, half=True, quarter=True, eighth=True, start_percent=0.0, end_percent=1.0,
        memory=8,
    )  # fmt: skip
    graph |= sampled(link("record"), link("set", 0), link("set", 1), link("pick"), link("model", 2))
    graph["sampler"]["inputs"]["latent_image"] = link("set", 2)
    graph["show"] = node(
        "JediCorrespondence", recording=link("record", 1), samples=link("sampler"), vae=link("model", 2), picture=1, x=0.5, y=0.5,
        level="all",
    )  # fmt: skip
    graph |= seen("maps", link("show"), link("model", 2))
    graph["pick"] = node("JediPick", samples=link("sampler"), joint_set=link("set", 3), which="index", indices="0")
    return changed(graph, "save", samples=link("pick"))


def scene():
    """Toys found and masked, one with an identity of its own branch and one on the model, and the scene painted."""
    graph = {
        "model": node("JediDemoLoader", file=SCENE),
        "tools": node("DemoToolsLoader", file=SCENE),
        "photo": node("LoadImage", image=PICTURE),
        "words": node("CLIPTextEncode", clip=link("model", 1), text="a ball"),
        "null": node("CLIPTextEncode", clip=link("model", 1), text=""),
        "find": node(
            "ConceptFind", detector=link("tools", 2), image=link("photo"), phrases="ball", order="best score", index=0,
            box_threshold=0.35, text_threshold=0.25, if_missing="empty concept", x=0, y=0, duplicates=0.7,
        ),
        "masks": node("ConceptMasks", boxes=link("find"), grow=0, overlaps="best score first", feather=0.5),
        "person": node(
            "IdentityFromPictures", face_analysis=link("tools", 1), face="largest", number=0, x=0.5, y=0.5,
            **{"images.image0": link("photo")},
        ),
        "points": node(
            "IdentityKeypoints", face_analysis=link("tools", 1), image=link("photo"), face="largest", number=0, x=0.5, y=0.5,
            mask=link("masks", 1), concept=0,
        ),
        "apply": node(
            "IdentityApply", model=link("model"), adapter=link("tools"), identity=link("person"), weight=0.8, start_percent=0.0,
            end_percent=1.0,
        ),
        "black": node("SolidMask", value=0.0, width=64, height=64),
        "white": node("SolidMask", value=1.0, width=32, height=64),
        **{
            side: node("MaskComposite", destination=link("black"), source=link("white"), x=x, y=0, operation="add")
            for side, x in {"left": 0, "right": 32}.items()
        },
        "own": node(
            "ConceptsFromMasks", phrases="", grow=0, overlaps="best score first", feather=0.5,
            **{"masks.mask0": link("left"), "masks.mask1": link("right")},
        ),
        "branch": node(
            "ConceptBranch", positive=link("words"), negative=link("null"), adapter=link("tools"), identity=link("person"),
            weight=0.8,
        ),
        "plain": node("ConceptBranch", positive=link("words"), negative=link("null"), previous=link("branch")),
        "scene": node(
            "ConceptScene", model=link("apply"), branches=link("plain"), concepts=link("own"), continue_from="blend",
            last_steps=0,
            feather=0.5,
        ),
        "empty": node("EmptyLatentImage", width=64, height=64, batch_size=1),
    }  # fmt: skip
    graph |= sampled(link("scene"), link("words"), link("null"), link("empty"), link("model", 2))
    graph |= seen("preview", link("find", 3), link("model", 2)) | seen("points", link("points"), link("model", 2))
    return (
        graph
        | seen("masks", link("masks_picture"), link("model", 2))
        | {"masks_picture": node("MaskToImage", mask=link("masks", 1))}
    )


def composed():
    """A toy found, masked and painted in one node."""
    graph = {
        "model": node("JediDemoLoader", file=SCENE),
        "tools": node("DemoToolsLoader", file=SCENE),
        "photo": node("LoadImage", image=PICTURE),
        "words": node("CLIPTextEncode", clip=link("model", 1), text="a ball"),
        "null": node("CLIPTextEncode", clip=link("model", 1), text=""),
        "concept": node(
            "SceneConcept", phrase="ball", prompt="a ball", strength=0.8, control_strength=0.8, start_percent=0.0,
            end_percent=1.0, **{"images.image0": link("photo")},
        ),
        "compose": node(
            "SceneCompose", model=link("model"), clip=link("model", 1), tools=link("tools", 4), image=link("photo"),
            positive=link("words"), negative=link("null"), continue_from="auto", last_steps=0, grow=0, feather=0.5,
            overlaps="best score first", order="best score", box_threshold=0.35, text_threshold=0.25,
            if_missing="empty concept", **{"concepts.concept0": link("concept")},
        ),
        "empty": node("EmptyLatentImage", width=64, height=64, batch_size=1),
    }  # fmt: skip
    return graph | sampled(link("compose"), link("words"), link("null"), link("empty"), link("model", 2))


def subjects():
    """A subject cut out, its prompt, and the picture with it in its place."""
    graph = {
        "model": node("JediDemoLoader", file=SCENE),
        "adapter": node("SubjectAdapterLoader", file="demo", clip=link("model", 1)),
        "photo": node("LoadImage", image=PICTURE),
        "white": node("SolidMask", value=1.0, width=64, height=64),
        "subject": node(
            "SubjectPicture", adapter=link("adapter"), image=link("photo"), class_name="ball", place="box", x=0.25, y=0.25,
            width=0.5, height=0.5, place_seed=0, mask=link("white"),
        ),
        "prompt": node(
            "SubjectPrompt", adapter=link("adapter"), text="a ball in a meadow", negative="", subjects=link("subject")
        ),
        "apply": node("SubjectApply", model=link("model"), subjects=link("subject"), image_cfg=1.5, interpolation=0.0),
        "empty": node("EmptyLatentImage", width=64, height=64, batch_size=1),
    }  # fmt: skip
    return graph | sampled(link("apply"), link("prompt"), link("prompt", 1), link("empty"), link("model", 2))


def scores():
    """Two pictures scored against a reference, the better one kept, and the nearer one made a reference."""
    graph = {
        "model": node("JediDemoLoader", file=MODEL),
        "networks": node("ScoreModelsLoader", clip="clip-vit-base-patch32", dino="dino-vits16"),
        "photo": node("LoadImage", image=PICTURE),
        "both": node("RepeatImageBatch", image=link("photo"), amount=2),
        "white": node("SolidMask", value=1.0, width=64, height=64),
        "nearest": node(
            "NearestReferences", models=link("networks"), folder="none", prompt="a ball", count=1, diversity=0.0,
            image=link("both"),
        ),
        "score": node(
            "ScoreSubject", models=link("networks"), image=link("both"), references=link("nearest"), prompt="a ball",
            masks=link("white"),
        ),
        "best": node(
            "ScoreBestOf", image=link("both"), scores=link("score", 5), keep=1, clip_t=1.0, clip_i=0.0, mclip_i=0.0, dino=1.0,
            mdino=0.0,
        ),
    }  # fmt: skip
    return graph | seen("kept", link("best"), link("model", 2))


def sets():
    """Two halves of a picture as a set, in scenes, captioned and saved."""
    graph = {
        "model": node("JediDemoLoader", file=SCENE),
        "adapter": node("SubjectAdapterLoader", file="demo", clip=link("model", 1)),
        "photo": node("LoadImage", image=PICTURE),
        "black": node("SolidMask", value=0.0, width=64, height=64),
        "white": node("SolidMask", value=1.0, width=32, height=64),
        **{
            side: node("MaskComposite", destination=link("black"), source=link("white"), x=x, y=0, operation="add")
            for side, x in {"left": 0, "right": 32}.items()
        },
        "halves": node(
            "ConceptsFromMasks", phrases="", grow=0, overlaps="best score first", feather=0.0,
            **{"masks.mask0": link("left"), "masks.mask1": link("right")},
        ),
        "prompts": node("S3Prompts", seed=1, subject="ball", instances=2, texts="lists", description="", scenes=""),
        "group": node(
            "S3Group", image=link("photo"), masks=link("halves", 1), clip_vision=link("adapter", 2), subject=link("prompts", 3),
            affinity=-1.0, most=4, least_size=0.01,
        ),
        "paste": node(
            "S3Paste", sets=link("group"), scenes=link("prompts", 2), seed=1, width=64, height=64, smallest=0.4, largest=0.7,
            stylised=0.5, styles="",
        ),
        "caption": node("S3Caption", pictures=link("paste"), model="none: the prompts", prompt=link("paste", 3)),
        "save": node(
            "S3Save", sets=link("group"), pictures=link("paste"), captions=link("caption"), filename_prefix="hostile/sets",
            name="", folder="output folder", format="png", styles=link("paste", 6),
        ),
    }  # fmt: skip
    return graph


def upstream(graph, *ends):
    """The part of a graph that the nodes ``ends`` need."""
    wanted, todo = set(), list(ends)
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            todo += [value[0] for value in graph[name]["inputs"].values() if isinstance(value, list)]
    return {name: copy.deepcopy(graph[name]) for name in graph if name in wanted}


def outputs_of(graph):
    return [name for name in graph if graph[name]["class_type"] in ("SaveLatent", "PreviewAny", "S3Save")]


def all_homes(described, ours):
    """For each node class of ``ours``: a graph, and the name of the node in it. described: the server's `/object_info`.

    The graph has the one output, of those that the node leads to, that needs the fewest nodes.
    """
    drawn = (joint(), scene(), composed(), subjects(), scores(), sets())
    homes = {}
    for kind in ours:
        found = None
        for graph in drawn:
            parts = [upstream(graph, output) for output in outputs_of(graph)]
            for part in sorted(parts, key=len):
                places = [name for name in part if part[name]["class_type"] == kind]
                if places and found is None:
                    found = part, places[0]
        homes[kind] = found or alone(described, ours, kind)
    return homes


def alone(described, ours, kind):
    """A graph of a node's own, from defaults, and the node's name in it."""
    graph: dict = {}
    name = add(described, ours, graph, kind)
    graph["shown"] = node("PreviewAny", source=link(name))
    return graph, name


def add(described, ours, graph, kind, more=()):
    """Put a node into ``graph`` with all that it needs; returns its name."""
    name = f"{kind}_{len(graph)}"
    graph[name] = node(kind, **dict(more))
    for key, (type_of, options) in inputs_of(described[kind], required_only=True).items():
        if key in graph[name]["inputs"]:
            continue
        if key in GOOD.get(kind, {}):
            value = GOOD[kind][key]
        elif type_of == "COMBO":
            value = (options.get("options") or [""])[0]
        elif type_of in ("INT", "FLOAT", "STRING", "BOOLEAN"):
            value = options.get("default", {"INT": 1, "FLOAT": 1.0, "STRING": "a", "BOOLEAN": True}[type_of])
        else:
            value = link(*source(described, ours, graph, type_of))
        graph[name]["inputs"][key] = value
    return name


def source(described, ours, graph, type_of):
    """(node, output) that gives a type."""
    if type_of in SOURCES:
        kind, output, more = SOURCES[type_of]
    else:
        kind = next(kind for kind in ours if type_of in described[kind]["output"])
        output, more = described[kind]["output"].index(type_of), {}
    for name in graph:
        if graph[name]["class_type"] == kind:
            return name, output
    return add(described, ours, graph, kind, more), output


def inputs_of(description, required_only=False):
    """Each input's (type, options), by its name in a prompt; of a group that grows, its first."""
    found = {}
    for part in ("required", "optional"):
        for key, given in description["input"].get(part, {}).items():
            kind, options = given[0], given[1] if len(given) > 1 else {}
            if part == "optional" and required_only:
                continue
            if isinstance(kind, list):
                kind, options = "COMBO", {**options, "options": kind}
            if kind == "COMFY_AUTOGROW_V3":
                template = options["template"]
                ((name, (kind, options)),) = [(n, g) for p in template["input"].values() for n, g in p.items()]
                key = f"{key}.{template['prefix']}0"
            found[key] = kind, options
    return found


__all__ = ["all_homes", "inputs_of", "joint", "scene", "upstream", "without"]

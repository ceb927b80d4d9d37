"""See the subject of your pictures in new scenes: sets up a ComfyUI, runs a graph on it, shows the result.

    python3 dev/demo.py                                        the built-in demo, no download of weights
    python3 dev/demo.py --checkpoint sd15.safetensors --reference dog.png --prompt "a dog on the beach"
    python3 dev/demo.py --scene                                two subjects in one picture, each in its place

Writes the generated pictures, contact_sheet.png and report.json, and says where they are.
"""

if not __package__:
    from pack import load

    load()

import argparse
import copy
import json
import re
import signal
import struct
import sys
import time
from pathlib import Path

from same_subject.dev import host as hosts
from same_subject.dev import pack, server

GRAPHS = pack.ROOT / "workflows" / "api"
DEMO_PICTURES = pack.ROOT / "demo"
# Width of the text features that cross-attention takes -> family of the checkpoint.
FAMILIES = {768: "sd15", 1024: "sd2", 2048: "sdxl"}
SIZES = {"sd15": 512, "sd2": 512, "sdxl": 1024}
LARGEST_HEADER = 100 * 2**20


class DemoError(hosts.SetupError):
    """The demo cannot run as asked; the message is one sentence for the user."""


def main(arguments=None):
    """Run the command; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parse(arguments)
    with hosts.plain_errors():
        check(options)
        inside = hosts.inside()
        if inside is None:
            return hosts.continue_inside(hosts.find(options.comfyui), __file__, arguments)
        try:
            run(inside, options)
        except server.ServerError as error:
            raise DemoError(str(error)) from error
    return 0


def parse(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(prog="dev/demo.py", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--reference", nargs="+", action="extend", type=Path, metavar="PICTURE", default=[],
        help="pictures of one subject (default: those of the demo)")  # fmt: skip
    add("--caption", nargs="+", action="extend", metavar="TEXT", default=[],
        help="what each reference shows; one caption serves all")  # fmt: skip
    add("--prompt", nargs="+", action="extend", metavar="TEXT", default=[],
        help="what to paint; one picture a prompt")  # fmt: skip
    add("--checkpoint", type=Path, help="an SD1.5, SD2 or SDXL checkpoint (default: the small demo model)")
    add("--scene", action="store_true", help="the built-in demo of scenes: two subjects in one picture")
    add("--seed", type=int, help="seed of the noise (default: the graph's own)")
    add("--steps", type=int, help="sampling steps (default: the graph's own)")
    add("--size", type=int, help="width and height of the pictures (default: what the model was made for)")
    add("--output", type=Path, default=Path("same-subject-demo"), help="folder for the results (default: %(default)s)")
    add("--comfyui", type=Path, help="a ComfyUI to use, only read (default: the one around this folder, else a "
        "private one)")  # fmt: skip
    return parser.parse_args(arguments)


def check(options):
    """Refuse what cannot work before anything is installed or started."""
    if options.scene and (options.reference or options.caption or options.prompt or options.checkpoint or options.size):
        raise DemoError("--scene is a demo of its own: of the other options it takes --seed, --steps, --output and --comfyui.")
    for picture in options.reference:
        if not picture.is_file():
            raise DemoError(f"--reference {picture}: there is no such file.")
    if options.checkpoint:
        if not options.checkpoint.is_file():
            raise DemoError(f"--checkpoint {options.checkpoint}: there is no such file.")
        if not options.reference:
            raise DemoError("--checkpoint needs --reference: give at least one picture of your subject.")
        family_of(options.checkpoint)
    if len(options.caption) not in (0, 1, len(options.reference) or len(options.caption)):
        raise DemoError(
            f"{len(options.caption)} captions for {len(options.reference)} references: give one for all, or one each."
        )
    if options.size is not None and (options.size < 64 or options.size % 8):
        raise DemoError(f"--size {options.size}: give a multiple of 8, at least 64.")
    if options.seed is not None and not 0 <= options.seed < 2**64:
        raise DemoError(f"--seed {options.seed}: give a number from 0 to 2^64 - 1.")


def run(host, options):
    """Start the server, run the graph, write the results."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is ended too
    started = time.monotonic()
    options.output.mkdir(parents=True, exist_ok=True)
    if options.scene:
        run_scene(host, options, started)
        return
    family = family_of(options.checkpoint) if options.checkpoint else "demo"
    graph = read_graph({"demo": "demo", "sdxl": "checkpoint_sdxl"}.get(family, "checkpoint_sd15"))
    references = options.reference or pictures_in(graph)
    check_pictures(references)
    with server.Server(host) as live:
        graph = fill_graph(
            graph,
            references=[live.upload(path, f"{index}_{path.name}") for index, path in enumerate(options.reference)],
            captions=options.caption or ([] if options.reference else None),
            prompts=options.prompt,
            seed=options.seed,
            steps=options.steps,
            size=options.size or SIZES.get(family),
            checkpoint=offer_checkpoint(live, options.checkpoint),
        )
        files, run_seconds = paint(live, graph, options.output)
    write_results(host, options, graph, references, files, started, run_seconds)


def run_scene(host, options, started):
    """The same for the demo of scenes."""
    graph = read_graph("demo_scene")
    if options.seed is not None:
        node_of(graph, "PrimitiveInt")["inputs"]["value"] = options.seed
    if options.steps is not None:
        for node in graph.values():
            node["inputs"].update({"steps": options.steps} if node["class_type"] == "KSampler" else {})
    with server.Server(host) as live:
        files, run_seconds = paint(live, graph, options.output)
    phrases = node_of(graph, "ConceptFind")["inputs"]["phrases"].splitlines()
    prompts = [node["inputs"]["text"] for node in graph.values() if node["class_type"] == "CLIPTextEncode"]
    toys = sorted(DEMO_PICTURES.glob("toy_*.png"))
    sheet = options.output / "contact_sheet.png"
    captions = [*spread(phrases, len(toys)), *spread(prompts[:1], len(files))]
    draw_contact_sheet(sheet, [("Two subjects, and a scene with both", [*toys, *files], captions)])
    about = {"seed": node_of(graph, "PrimitiveInt")["inputs"]["value"], "prompts": prompts[:1], "phrases": phrases}
    write_report(host, options, about, files, started, run_seconds)


def paint(live, graph, folder):
    """Run the graph and save its pictures in ``folder``; returns their paths and the seconds of the run."""
    steps = server.StepPrinter(graph)
    queued = time.monotonic()
    try:
        outputs = live.run(graph, steps)
    finally:
        steps.close()
    return save_pictures(live, graph, outputs, folder), time.monotonic() - queued


def write_results(host, options, graph, references, files, started, run_seconds):
    """Write the contact sheet and the report."""
    joint_set = node_of(graph, "JediJointSet")["inputs"]
    prompts = spread(split_prompts(joint_set["prompts"]), len(files))
    captions = spread(node_of(graph, "JediReferences")["inputs"].get("captions", "").splitlines(), len(references))
    sheet = options.output / "contact_sheet.png"
    draw_contact_sheet(sheet, [("References", references, captions), ("Generated", files, prompts)])
    about = {
        "seed": node_of(graph, "KSampler")["inputs"]["seed"],
        "prompts": prompts,
        "negative": joint_set.get("negative", ""),
        "references": [str(path) for path in references],
        "captions": captions,
        "checkpoint": str(options.checkpoint) if options.checkpoint else "demo",
    }
    write_report(host, options, about, files, started, run_seconds)


def write_report(host, options, about, files, started, run_seconds):
    """Write the report with what is said ``about`` the run, and say where everything is."""
    seconds = time.monotonic() - started
    report = {
        "host_version": host.version,
        "seconds": round(seconds, 2),
        "run_seconds": round(run_seconds, 2),
        **about,
        "files": [path.name for path in files],
    }
    (options.output / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    names = ", ".join(report["files"])
    print(f"Done in {seconds:.0f} s: {names}, contact_sheet.png and report.json are in {options.output.resolve()}")


# -- the checkpoint -------------------------------------------------------------------------------


def family_of(path):
    """Which family (a value of `FAMILIES`) a checkpoint belongs to, from its safetensors header alone."""
    if path.suffix.lower() not in (".safetensors", ".sft"):
        return "sd15"
    header = read_header(path)
    widths = {header[key]["shape"][1] for key in header if re.fullmatch(r"model\.diffusion_model\..*attn2\.to_k\.weight", key)}
    if len(widths) != 1 or not widths <= set(FAMILIES):
        raise DemoError(
            f"--checkpoint {path} is no full Stable Diffusion 1.5, 2 or XL checkpoint (a single file with UNet, text "
            "encoder and VAE): give one of those."
        )
    return FAMILIES[widths.pop()]


def read_header(path):
    """The header of a safetensors file; refuses what is none, or is cut short."""
    size = path.stat().st_size
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(LARGEST_HEADER, size):
                raise ValueError("a header longer than the file")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        end = 8 + length + max(entry["data_offsets"][1] for entry in header.values())
    except (struct.error, ValueError, KeyError, TypeError, AttributeError):
        raise DemoError(f"--checkpoint {path} is not a safetensors file, or is damaged: download it again.") from None
    if size < end:
        raise DemoError(f"--checkpoint {path} has {size} bytes of {end}: the download was cut short, repeat it.")
    return header


def offer_checkpoint(live, path):
    """Make the checkpoint known to the server; returns the name the loader node knows it by, or None."""
    if path is None:
        return None
    server.link_file(path.resolve(), live.base / "models" / "checkpoints" / path.name)
    return path.name


# -- the graph ------------------------------------------------------------------------------------


def read_graph(name):
    """A graph of `workflows/api`, in API format."""
    path = GRAPHS / f"{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DemoError(f"{path} cannot be read ({error}): get the whole project again.") from error


def node_of(graph, class_type):
    """The one node of a class in a graph."""
    found = [node for node in graph.values() if node["class_type"] == class_type]
    if len(found) != 1:
        raise DemoError(f"The graph has {len(found)} nodes {class_type} where one is needed.")
    return found[0]


def picture_inputs(graph):
    """The names of the inputs of "Reference Pictures" that take a picture, in order."""
    inputs = node_of(graph, "JediReferences")["inputs"]
    return [name for name, value in inputs.items() if name.startswith("images") and isinstance(value, list)]


def pictures_in(graph):
    """The demo's own pictures that a graph takes out of the `pictures` of "Load Demo Model", in order."""
    shown = sorted(DEMO_PICTURES.glob("reference_*.png"))
    inputs = node_of(graph, "JediReferences")["inputs"]
    taken = []
    for source in (graph[inputs[name][0]] for name in picture_inputs(graph)):
        first, count = 0, len(shown)
        if source["class_type"] == "ImageFromBatch":
            first, count = source["inputs"]["batch_index"], source["inputs"]["length"]
        taken += shown[first : first + count]
    return taken


def fill_graph(graph, references=(), captions=None, prompts=(), seed=None, steps=None, size=None, checkpoint=None):
    """A copy of a graph with these references (names in the server's input folder) and values; what is not given stays."""
    graph = copy.deepcopy(graph)
    if references:
        wire_references(graph, references)
    chosen = node_of(graph, "JediReferences")["inputs"]
    joint_set = node_of(graph, "JediJointSet")["inputs"]
    sampler = node_of(graph, "KSampler")["inputs"]
    if captions is not None:
        chosen["captions"] = "\n".join(" ".join(caption.split()) for caption in captions)
    if prompts:
        joint_set.update(prompts=join_prompts(prompts), pictures=0)
    if size is not None:
        joint_set.update(width=size, height=size)
    if seed is not None:
        sampler["seed"] = joint_set["reference_seed"] = seed
    if steps is not None:
        sampler["steps"] = steps
    if checkpoint is not None:
        node_of(graph, "CheckpointLoaderSimple")["inputs"]["ckpt_name"] = checkpoint
    return graph


def wire_references(graph, references):
    """Give "Reference Pictures" one LoadImage a reference, in place of the pictures that the graph gives it."""
    inputs = node_of(graph, "JediReferences")["inputs"]
    names = picture_inputs(graph)
    prefix = re.sub(r"\d+$", "", names[0])
    first = int(names[0][len(prefix) :] or 0)
    for name in names:
        drop(graph, inputs.pop(name)[0])
    for index, reference in enumerate(references):
        node_id = f"9{index:02d}"
        graph[node_id] = {
            "class_type": "LoadImage",
            "inputs": {"image": reference},
            "_meta": {"title": f"Reference {index + 1}"},
        }
        inputs[f"{prefix}{first + index}"] = [node_id, 0]


def drop(graph, node_id):
    """Remove a node that gave a picture, and the previews of it; a node that others still need stays."""
    takers = {
        name: node for name, node in graph.items()
        if any(isinstance(value, list) and value[0] == node_id for value in node["inputs"].values())
    }  # fmt: skip
    if all(node["class_type"] == "PreviewImage" for node in takers.values()):
        for name in [*takers, node_id]:
            graph.pop(name, None)


def join_prompts(prompts):
    """Prompts as "Joint Set" reads them: one a line, or blocks between `---` where one has several lines."""
    several = any("\n" in prompt.strip() for prompt in prompts)
    return ("\n---\n" if several else "\n").join(prompt.strip() for prompt in prompts)


def split_prompts(text):
    """The prompts in the text of "Joint Set"."""
    if re.search(r"^---$", text, flags=re.MULTILINE):
        return [block.strip() for block in re.split(r"^---$", text, flags=re.MULTILINE) if block.strip()]
    return [line.strip() for line in text.splitlines() if line.strip()]


def spread(texts, count):
    """`count` texts: as they are, or the only one for all."""
    texts = list(texts) or [""]
    return [texts[0]] * count if len(texts) == 1 else (texts + [""] * count)[:count]


# -- pictures -------------------------------------------------------------------------------------


def check_pictures(paths):
    """Refuse files that are no pictures, before the server starts."""
    from PIL import Image

    for path in paths:
        try:
            with Image.open(path) as picture:
                picture.load()
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DemoError(f"--reference {path} cannot be read as a picture: {error}") from None


def save_pictures(live, graph, outputs, folder):
    """Write the pictures of the graph's SaveImage node; returns their paths."""
    saved = [outputs[node_id]["images"] for node_id in outputs if graph[node_id]["class_type"] == "SaveImage"]
    paths = []
    for number, entry in enumerate((entry for images in saved for entry in images), start=1):
        paths.append(folder / f"picture_{number}.png")
        paths[-1].write_bytes(live.picture(entry))
    if not paths:
        raise DemoError("The graph gave no picture.")
    return paths


def draw_contact_sheet(path, rows, cell=256, gap=16, text=16):
    """Draw rows of (title, picture paths, captions) as one picture, at most four pictures a line."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=text)
    columns = min(4, max(len(pictures) for _, pictures, _ in rows))
    width = gap + columns * (cell + gap)
    placed, y = [], gap
    for title, pictures, captions in rows:
        placed.append(("text", gap, y, title, "black"))
        y += int(text * 1.6)
        for start in range(0, len(pictures), columns):
            lines = 0
            for index in range(start, min(start + columns, len(pictures))):
                x = gap + (index - start) * (cell + gap)
                placed.append(("picture", x, y, pictures[index], None))
                caption = wrap(captions[index], font, cell)
                placed.extend(
                    ("text", x, y + cell + 4 + line * int(text * 1.25), words, "dimgrey") for line, words in enumerate(caption)
                )
                lines = max(lines, len(caption))
            y += cell + 4 + lines * int(text * 1.25) + gap
    sheet = Image.new("RGB", (width, y), "white")
    pen = ImageDraw.Draw(sheet)
    for kind, x, top, what, colour in placed:
        if kind == "text":
            pen.text((x, top), what, fill=colour, font=font)
        else:
            picture = fit(what, cell)
            sheet.paste(picture, (x + (cell - picture.width) // 2, top + (cell - picture.height) // 2))
    sheet.save(path)


def fit(path, cell):
    """A picture on white, scaled to fit a square cell; small ones in whole steps, so that they stay crisp."""
    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    picture = Image.alpha_composite(white, picture).convert("RGB")
    longest = max(picture.size)
    if longest <= cell:
        factor = cell // longest
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    return ImageOps.contain(picture, (cell, cell), Image.Resampling.LANCZOS)


def wrap(caption, font, width, most=4):
    """A caption as lines no wider than `width` pixels, at most `most` of them."""
    lines = []
    for word in caption.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines if len(lines) <= most else [*lines[: most - 1], f"{lines[most - 1]} …"]


if __name__ == "__main__":
    raise SystemExit(main())

"""See the subject of your pictures in new scenes: sets up a ComfyUI, runs a graph on it, shows the result.

    python3 dev/demo.py                                        the built-in demo, no download of weights
    python3 dev/demo.py --checkpoint sd15.safetensors --reference dog.png --prompt "a dog on the beach"
    python3 dev/demo.py --scene                                two subjects in one picture, each in its place
    python3 dev/demo.py --subjects                             one picture of each subject, in the boxes that you draw

Writes the generated pictures, contact_sheet.png and report.json, and says where they are.
"""

if not __package__:
    from pack import load

    load()

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from same_subject.dev import client, server
from same_subject.dev import host as hosts
from same_subject.dev.showing import checkpoints, graphs, pictures, reports, subjects
from same_subject.dev.showing.checks import check


def main(arguments: Sequence[str] | None = None) -> int:
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
        except client.ServerError as error:
            raise hosts.SetupError(str(error)) from error
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
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
    add("--subjects", action="store_true", help="the built-in demo of subjects: one, two, and from a picture to a word")
    add("--seed", type=int, help="seed of the noise (default: the graph's own)")
    add("--steps", type=int, help="sampling steps (default: the graph's own)")
    add("--size", type=int, help="width and height of the pictures (default: what the model was made for)")
    add("--output", type=Path, default=Path("same-subject-demo"), help="folder for the results (default: %(default)s)")
    add("--comfyui", type=Path, help="a ComfyUI to use, only read (default: the one around this folder, else a "
        "private one)")  # fmt: skip
    return parser.parse_args(arguments)


def size_of(options: argparse.Namespace, family: str) -> int | None:
    """Width and height of the pictures for a ``family`` of checkpoints or "demo"; None leaves the graph's own."""
    if options.size is None and family == "demo" and options.reference:
        size = checkpoints.DEMO_SIZE
        print(
            f"Your pictures are resized to {size}x{size}, which the small demo model paints; give --checkpoint for a model that "
            "can show your subject."
        )
        return size
    return options.size or checkpoints.SIZES.get(family)


def run(host: hosts.Host, options: argparse.Namespace) -> None:
    """Start the server, run the graph, write the results."""
    started = time.monotonic()
    options.output.mkdir(parents=True, exist_ok=True)
    if options.scene:
        run_scene(host, options, started)
        return
    if options.subjects:
        run_subjects(host, options, started)
        return
    family = checkpoints.family_of(options.checkpoint) if options.checkpoint else "demo"
    graph = graphs.read_graph(graphs.OF_FAMILY.get(family, graphs.OF_OTHERS))
    references = options.reference or graphs.pictures_in(graph)
    pictures.check_pictures(references)
    with server.Server(host) as live:
        graph = graphs.fill_graph(
            graph,
            references=[live.client.upload(path, f"{index}_{path.name}") for index, path in enumerate(options.reference)],
            captions=options.caption or ([] if options.reference else None),
            prompts=options.prompt,
            seed=options.seed,
            steps=options.steps,
            size=size_of(options, family),
            checkpoint=checkpoints.offer_checkpoint(live, options.checkpoint),
        )
        files, run_seconds = paint(live.client, graph, options.output)
    reports.write_results(host, options, graph, references, files, started, run_seconds)


def run_scene(host: hosts.Host, options: argparse.Namespace, started: float) -> None:
    """The same for the demo of scenes."""
    graph = graphs.read_graph(graphs.DEMO_SCENE)
    if options.seed is not None:
        graphs.node_of(graph, "PrimitiveInt")["inputs"]["value"] = options.seed
    if options.steps is not None:
        for node in graph.values():
            node["inputs"].update({"steps": options.steps} if node["class_type"] == "KSampler" else {})
    with server.Server(host) as live:
        files, run_seconds = paint(live.client, graph, options.output)
    reports.write_scene_results(host, options, graph, files, started, run_seconds)


def run_subjects(host: hosts.Host, options: argparse.Namespace, started: float) -> None:
    """The same for the demo of subjects: several runs, a picture each."""
    shown = list(subjects.showings(options.seed, options.steps))
    files, run_seconds = [], 0.0
    with server.Server(host) as live:
        for one in shown:
            print(f"{one.name}:")
            (painted,), seconds = paint(live.client, one.graph, options.output)
            files.append(painted.replace(options.output / f"{one.name}.png"))
            run_seconds += seconds
    reports.write_subject_results(host, options, shown, files, started, run_seconds)


def paint(live: client.Client, graph: client.Graph, folder: Path) -> tuple[list[Path], float]:
    """Run the graph and save its pictures in ``folder``; returns their paths and the seconds of the run."""
    from same_subject.dev.showing.steps import StepPrinter

    queued = time.monotonic()
    with StepPrinter(graph) as steps:
        outputs = live.run(graph, steps)
    return pictures.save_pictures(live, graph, outputs, folder), time.monotonic() - queued


if __name__ == "__main__":
    raise SystemExit(main())

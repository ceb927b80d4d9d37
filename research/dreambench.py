"""Run the protocol of the papers' tables on your model: make its pictures, score them, print the table with the published rows.

    python3 research/dreambench.py --checkpoint joint.safetensors --data dreambooth/dataset
    python3 research/dreambench.py --checkpoint joint.safetensors --data dreambooth/dataset --inputs 3
    python3 research/dreambench.py --checkpoint sd2.safetensors --data dreambooth/dataset --protocol pairs \\
        --method subject-diffusion --adapter my_adapter.safetensors
    python3 research/dreambench.py --data FOLDER --servers http://one:8188 http://two:8188 --checkpoint NAME-ON-THEM

JeDi, section 4 and supplement 6: 30 subjects, 25 prompts, 4 pictures each, compared with all real pictures of the subject, with
each of them as the input in turn (`--inputs 1`) or three at random (`--inputs 3`). A folder with one picture a subject is that of
its table 5. Subject-Diffusion, appendix D: 30 pairs of subjects and 6 pictures a prompt (`--protocol pairs`), and the likeness of
faces (`--protocol faces`). Stopped at any moment and started again, it goes on where it was. The page index.html shows all
pictures side by side.
"""

from __future__ import annotations

if not __package__:
    from pack import load

    load()

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from same_subject.dev import client, pack
from same_subject.dev import host as hosts
from same_subject.dev.setup.errors import SetupError
from same_subject.dev.setup.unpacking import sha256_of

DEMO = "demo"
OF_METHOD = {
    "jedi": {"steps": 50, "cfg": 7.5, "image": 7.5, "sampler": "ddim", "scheduler": "normal"},
    "subject-diffusion": {"steps": 50, "cfg": 3.0, "image": 1.5, "sampler": "ipndm", "scheduler": "normal"},
}
"""Settings that are not given: JeDi's paper names none for its tables; Subject-Diffusion's are those of its appendix D."""
PICTURES = {"jedi": 4, "subject-diffusion": 6}
"""Of each prompt: JeDi's as DreamBooth's, Subject-Diffusion's by its section 4.2; of pairs 6 in any case, by its table 2."""
CHOICE = {"jedi": "all", "subject-diffusion": "one"}
"""Of the input: JeDi's by its supplement 6, Subject-Diffusion's 4,500 pictures are of one a subject."""
OF_DEMO = {"steps": 8, "cfg": 3.0, "image": 3.0, "sampler": "dpmpp_2m", "scheduler": "karras", "size": 64}
DEMO_FILES = {"jedi": "demo.safetensors", "subject-diffusion": "scenes.safetensors"}


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parse(arguments)
    tools = [hosts.ray_tools] if options.ray == "local" else []
    host = hosts.enter(options.comfyui, __file__, arguments, *tools)
    with hosts.plain_errors():
        try:
            return run(options, host)
        except client.ServerError as problem:
            raise SetupError(f"dreambench: {problem}") from problem


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="research/dreambench.py", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--checkpoint", required=True, help="a checkpoint's file; with --servers its name on them; `demo` for the demo's model")
    add("--data", type=Path, required=True, help="a folder with a folder of pictures for each subject")
    add("--output", type=Path, default=Path("dreambench-results"), help="folder for pictures and scores (%(default)s)")
    add("--protocol", choices=("single", "pairs", "faces"), default="single", help="one subject, two, or people (%(default)s)")
    add("--method", choices=tuple(OF_METHOD), default="jedi", help="which nodes make the pictures (%(default)s)")
    add("--inputs", type=int, default=1, help="pictures that a subject is shown by (%(default)s)")
    add(
        "--choice",
        choices=("all", "one"),
        help="with one input: each picture in turn, or one at random; default all, of subject-diffusion one",
    )
    add("--compare", choices=("all", "inputs"), default="all", help="with all real pictures, or the inputs alone (ablations)")
    add("--pictures", type=int, help="of each prompt; default 4, with pairs or subject-diffusion 6")
    add("--subjects", type=int, default=0, help="how many subjects or pairs; default all")
    add("--prompts", type=int, default=0, help="how many prompts; default all")
    add("--pairs", type=Path, help="a file of pairs, a line each such as cat-dog; default those of Subject-Diffusion")
    add("--lora", default="", help="a LoRA on the checkpoint: a file; with --servers its name on them")
    add("--adapter", default="", help="of Subject-Diffusion: a file in models/subject_adapters; `demo` for the demo's")
    add("--clip-vision", default="", help="its image encoder, where the adapter brings none")
    add("--servers", nargs="+", metavar="URL", help="ComfyUI servers to use; default one that is started here")
    add(
        "--ray",
        metavar="ADDRESS",
        help="keep the servers busy through a Ray cluster (host:port, auto), or `local`: one of its own; default: threads",
    )
    add("--scores", type=Path, help="folder with clip-vit-base-patch32 and dino-vits16; default models/scores of the ComfyUI")
    add("--detector", type=Path, help="Grounding DINO, for MCLIP-I and MDINO: a .pth or a published folder")
    add("--segmenter", type=Path, help="Segment Anything, for the same: a .pth")
    add("--faces", type=Path, help="folder `insightface` with models/antelopev2, for --protocol faces")
    add("--size", type=int, help="width and height of the pictures; default 512")
    add("--steps", type=int)
    add("--cfg", type=float, help="scale of the text")
    add("--image", type=float, metavar="SCALE", help="scale of the references")
    add("--sampler")
    add("--scheduler")
    add("--guidance", default="joint", help="of the node JeDi (%(default)s)")
    add("--recipe", default="paper", help="of the node JeDi: paper, or auto for a model not trained on sets (%(default)s)")
    add("--seed", type=int, default=0)
    add("--comfyui", help="folder of a ComfyUI to use; default: found or installed")
    options = parser.parse_args(arguments)
    options.ray = None if options.ray == "none" else options.ray
    if min(options.inputs, options.pictures or 1, options.steps or 1) < 1 or min(options.subjects, options.prompts) < 0:
        parser.error("--inputs, --pictures and --steps must be at least 1, --subjects and --prompts at least 0")
    if options.method == "subject-diffusion" and (not options.adapter or options.inputs > 1):
        parser.error("--method subject-diffusion needs --adapter, and sees one picture of each subject (--inputs 1)")
    if bool(options.detector) != bool(options.segmenter) and not _of_demo(options.detector):
        parser.error("--detector and --segmenter go together: a subject is found, then cut out")
    if options.ray and not options.servers:
        parser.error("--ray keeps servers busy: name them with --servers")
    for path in (options.detector, options.segmenter, options.scores, options.pairs, options.faces):
        if path is not None and not path.exists():
            parser.error(f"{path} is not there")
    return options


def _of_demo(detector: Path | None) -> bool:
    return detector is not None and detector.is_file() and detector.suffix == ".safetensors"


def run(options: argparse.Namespace, host: hosts.Host) -> int:
    """Make what is not made, score what is not scored, print and write the rest."""
    pack.enter_host(host.root)
    from same_subject.research.bench import making, page, plan

    people = options.protocol == plan.FACES
    subjects, own = plan.read(options.data, people), plan.prompts_of(options.data)
    wanted = plan.Wanted(
        options.protocol, options.inputs, (options.choice or CHOICE[options.method]) == "all" and not people,
        options.pictures or (6 if options.protocol == plan.PAIRS else PICTURES[options.method]), options.subjects,
        options.prompts, options.seed,
    )  # fmt: skip
    cases, settings, made = plan.cases(subjects, wanted, own, options.pairs), settings_of(options), options.output / "pictures"
    told = {**asdict(settings), "seed": options.seed, "data": plan.fingerprint(subjects, own), "weights": hashes(options)}
    begin(options.output, told)
    judge = judge_of(options, host)
    print(*judge.notes, sep="\n", end="\n" * bool(judge.notes))
    file = options.output / f"scores-{judge.name}.jsonl"
    real = of_real(judge, cases, file)
    with serving(options, host, cases, made) as urls:
        failed = making.make(cases, settings, made, urls, options.ray) if urls else []
    scores, notes = scored(judge, cases, made, file), list(judge.notes)
    few = [one.name for one in subjects if len(one.pictures) < options.inputs]
    if few:
        notes.append(f"Shown by fewer than {options.inputs} pictures, as there are no more: {', '.join(few)}.")
    text = "\n".join((report(options, cases, scores, real), *notes, *(f"Not made: {line}" for line in failed)))
    (options.output / "table.txt").write_text(text + "\n", encoding="utf-8")
    page.write(options.output / "index.html", f"{_method(options)}, {options.protocol}", text, cases, made, scores)
    print(f"\n{text}\n\nPictures side by side: {options.output / 'index.html'}")
    return 1 if failed else 0


def settings_of(options: argparse.Namespace):
    """How pictures are made: as given, else as the method or the demo has it."""
    from same_subject.research.bench import graphs

    demo = options.checkpoint == DEMO
    chosen = {**OF_METHOD[options.method], "size": 512, **(OF_DEMO if demo else {})}
    chosen |= {name: getattr(options, name) for name in chosen if getattr(options, name) is not None}
    known = {name: given if options.servers else Path(given).name for name, _, given in files(options)}
    if demo:
        known["checkpoint"] = DEMO_FILES[options.method]
    return graphs.Settings(options.method, demo=demo, guidance=options.guidance, recipe=options.recipe, **known, **chosen)


def files(options: argparse.Namespace) -> list[tuple[str, str, str]]:
    """The weights that pictures are made with: name of the option, folder in the host's `models`, what was given or ""."""
    folders = {"checkpoint": "checkpoints", "lora": "loras", "adapter": "subject_adapters", "clip_vision": "clip_vision"}
    return [(name, folder, getattr(options, name)) for name, folder in folders.items()]


def hashes(options: argparse.Namespace) -> dict[str, str]:
    """sha256 of the weights that are files here, so that a file which was trained on is not taken for what it was."""
    found = {}
    for name, _, given in files(options):
        path = pack.ROOT / "demo" / DEMO_FILES[options.method] if name == "checkpoint" and given == DEMO else Path(given)
        if given and path.is_file():
            found[name] = sha256_of(path)
    return found


def report(options: argparse.Namespace, cases: list, scores: dict[str, dict], real: dict[str, dict]) -> str:
    """The published tables that belong to the protocol, with our row and that of the real pictures."""
    from same_subject.research.bench import plan, protocol, tables

    groups = tables.by_subject(cases, scores)
    if options.protocol == plan.FACES:
        return tables.faces(_method(options), groups, real, sum(not one["face"] for one in scores.values()), len(scores))
    if options.protocol == plan.PAIRS:
        shown = [("Subject-Diffusion, table 2", protocol.SUBJECT_DIFFUSION_2)]
    elif all(len(one.pictures) == 1 for case in cases for one in case.subjects):
        shown = [("JeDi, table 5 (one picture a subject)", protocol.TABLE_5)]
    else:
        shown = [("JeDi, table 2", protocol.TABLE_2)]
    if options.protocol == plan.SINGLE and options.method != "jedi":
        shown.append(("Subject-Diffusion, table 1", protocol.SUBJECT_DIFFUSION_1))
    text = "\n\n".join(tables.table(title, rows, _method(options), groups, real) for title, rows in shown)
    return "\n".join(filter(None, (text, tables.left_out(cases, scores))))


def _method(options: argparse.Namespace) -> str:
    return f"{Path(options.checkpoint).stem} ({options.method}, {options.inputs} input{'s' * (options.inputs > 1)})"


def begin(output: Path, told: dict) -> None:
    """Keep what pictures depend on beside them, and refuse to mix them with others."""
    path = output / "settings.json"
    told = json.loads(json.dumps(told))
    output.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        other = sorted(name for name in told.keys() | before.keys() if told.get(name) != before.get(name))
        if other:
            raise SetupError(
                f"dreambench: {output} holds pictures made with {other[0]} = {before.get(other[0])}, not {told.get(other[0])}. "
                "Give another --output, or the settings that it was begun with."
            )
    path.write_text(json.dumps(told, indent=1), encoding="utf-8")


@contextlib.contextmanager
def serving(options: argparse.Namespace, host: hosts.Host, cases: list, made: Path) -> Iterator[list[str]]:
    """Addresses of the servers: those given, or one that is started here; none where nothing is left to make."""
    from same_subject.dev import server

    if all((made / f"{case.name}.png").is_file() for case in cases):
        yield []
    elif options.servers:
        yield options.servers
    else:
        with server.Server(host) as live:
            for _, folder, given in files(options):
                if given and given != DEMO:
                    if not Path(given).is_file():
                        raise SetupError(f"dreambench: {given} is not there. Give the file, or --servers that know it by name.")
                    (live.base / "models" / folder).mkdir(parents=True, exist_ok=True)
                    server.link_file(Path(given).resolve(), live.base / "models" / folder / Path(given).name)
            yield [live.client.url]


def judge_of(options: argparse.Namespace, host: hosts.Host):
    """What scores the pictures of the protocol, a `judging.Scoring`."""
    from same_subject.research.bench import judging, plan

    folder = options.scores or host.root / "models" / "scores"
    if options.protocol == plan.FACES:
        return judging.of_faces(folder, options.faces, options.detector)
    several = options.protocol == plan.PAIRS
    return judging.of_subjects(folder, options.detector, options.segmenter, options.compare == "inputs", several)


def of_real(judge, cases: list, file: Path) -> dict[str, dict]:
    """Scores of each subject's real pictures with each other, by its name. Before any picture is made, so that what is wrong with
    networks or data is said then."""
    import comfy.model_management
    from same_subject.research.bench import scoring_files

    known, found = scoring_files.kept(file), {}
    for subject in {one.name: one for case in cases for one in case.subjects}.values() if judge.score else ():
        if (name := f"real/{subject.name}") not in known:
            known[name] = judge.real(subject)
            scoring_files.keep(file, name, known[name])
        found[subject.name] = {title: value for title, value in known[name].items() if value is not None}
    comfy.model_management.unload_all_models()  # a server may need the memory
    return found


def scored(judge, cases: list, made: Path, file: Path) -> dict[str, dict]:
    """Scores of all pictures that are there, by the case's name."""
    from same_subject.research.bench import scoring, scoring_files

    if not judge.score:
        return {}
    scores = scoring_files.kept(file)
    left = [case for case in cases if case.name not in scores and (made / f"{case.name}.png").is_file()]
    for number, case in enumerate(left, 1):
        scores[case.name] = judge.score(case, scoring.opened(made / f"{case.name}.png"))
        scoring_files.keep(file, case.name, scores[case.name])
        if number % 200 == 0:
            print(f"{number} of {len(left)} scored", flush=True)
    return {case.name: scores[case.name] for case in cases if case.name in scores}


if __name__ == "__main__":
    raise SystemExit(main())

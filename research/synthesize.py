"""Make sets of pictures of one subject to train on (JeDi, section 3.1, algorithm 1), with one or hundreds of ComfyUI servers.

    python3 research/synthesize.py --servers http://10.0.0.5:8188 http://10.0.0.6:8188 --output SHARDS --collages 1000
    python3 research/synthesize.py --servers http://127.0.0.1:8188 --output SHARDS --collages 20 --demo

Each collage is one run of a graph on one server: that of the workflow Sets of One Subject, or your own by --graph, exported in
API format with one Set Prompts, one Group Instances and one Save Sets in it. Servers need this pack and the graph's models.
Started again, it goes on where it was, however it ended. It ends with what was made, what the filter left out, and what each
server did.
"""

from __future__ import annotations

if not __package__:
    from pack import load

    load()

import argparse
import copy
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Container, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from same_subject.dev import host as hosts
from same_subject.dev import pack
from same_subject.dev.setup.errors import SetupError

if TYPE_CHECKING:
    from same_subject.research.texts import Texts

GRAPHS = pack.ROOT / "workflows" / "api"
GRAPH, DEMO = GRAPHS / "Sets of One Subject - SDXL.json", GRAPHS / "Demo - Sets of One Toy.json"
PROMPTS, GROUP, SAVE = "S3Prompts", "S3Group", "S3Save"
SEEDS = ("seed", "noise_seed")
TOYS = ("ball", "star", "box", "heart")
PAPER = {"CLIP-I": (0.849, 0.885), "DINO": (0.751, 0.774)}
"""Table 8 of the paper: of its own sets, and of the real pictures of DreamBooth's test set."""
PAPERS_SETS = 1_600_000


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="research/synthesize.py", description=__doc__.splitlines()[0])
    parser.add_argument("--servers", metavar="URL", nargs="+", default=[], help="addresses of ComfyUI servers")
    parser.add_argument("--output", type=Path, required=True, help="folder for the shards")
    parser.add_argument(
        "--collages", type=int, default=1000, help="how many to draw, those of earlier runs included (%(default)s)"
    )
    parser.add_argument("--graph", type=Path, help="a graph in API format; default: the one that ships with the pack")
    parser.add_argument("--demo", action="store_true", help="the demo's graph, which needs no download, and its four toys")
    parser.add_argument("--subjects", type=Path, help="a file with an object a line; default: the list that ships with the pack")
    parser.add_argument("--language-model", action="store_true", help="let one write looks and scenes (docs/data.md)")
    parser.add_argument("--seed", type=int, default=0, help="another one gives other collages (%(default)s)")
    parser.add_argument("--sets-a-shard", type=int, default=1000)
    parser.add_argument("--ray", metavar="ADDRESS", default="local", help="a Ray cluster (host:port, auto); local: one of its "
                        "own; none: threads, which do the same from this machine (%(default)s)")  # fmt: skip
    parser.add_argument("--clip", type=Path, help="folder of a CLIP, for identity similarity of what was made (table 8)")
    parser.add_argument("--dino", type=Path, help="folder of a DINO, for the same")
    parser.add_argument("--scored", type=int, default=1000, help="sets that --clip and --dino look at (%(default)s)")
    parser.add_argument("--comfyui", help="folder of a ComfyUI whose Python to use; default: found or installed")
    options = parser.parse_args(arguments)
    if min(options.collages, options.sets_a_shard, options.scored) < 1:
        parser.error("--collages, --sets-a-shard and --scored must be at least 1")
    if not options.servers and not (options.clip and options.dino):
        parser.error("--servers is missing; or give --clip and --dino to look at what is in --output")
    if bool(options.clip) != bool(options.dino):
        parser.error("--clip and --dino belong together")
    if options.demo and (options.graph or options.subjects):
        parser.error("--demo has a graph and subjects of its own: leave out --graph and --subjects")
    tools = [hosts.ray_tools] if options.servers and options.ray == "local" else []
    host = hosts.enter(options.comfyui, __file__, arguments, *tools)
    with hosts.plain_errors():
        if options.servers:
            print(synthesize(options))
        if options.clip:
            pack.enter_host(host.root)
            print(similarity(options.output, options.clip, options.dino, options.scored))
    return 0


def synthesize(options: argparse.Namespace) -> str:
    """Draw what is not drawn yet, and return the report."""
    from same_subject.research import servers
    from same_subject.research.set_shards import SetShards
    from same_subject.research.texts import Texts

    plan = Plan.of(options)
    pool = servers.Pool(options.servers, None if options.ray == "none" else options.ray)
    settings = {"graph": plan.hash, "seed": options.seed, "language_model": options.language_model}
    failures: Counter[str] = Counter()
    with SetShards(options.output, settings, options.sets_a_shard) as kept:
        before = len(kept.items)
        if kept.lost:
            print(f"{kept.lost} collages are done again, for their files are gone or damaged.", flush=True)
        file = options.output / "state" / "texts.jsonl"
        texts = Texts(file, kept.items, failures) if options.language_model else None
        with closing(plan.items(options.collages, kept.items, texts)) as items:
            for done in pool.run(items):
                try:
                    if done.failure:
                        raise ValueError(done.failure)
                    kept.add(done.name, *plan.made(done))
                except ValueError as problem:
                    failures[str(problem).splitlines()[0]] += 1
        kept.close()
        said = "\n".join((f"{before} collages were done before, {len(kept.items) - before} now.", "",
                          report(kept.counts, failures), "", pool.report()))  # fmt: skip
    if texts and texts.silence:
        raise SetupError(
            f"{said}\n\nsynthesize: {texts.silence} Of the last {texts.unanswered} collages it answered none, and is asked no "
            "more. See to it, and start again: the command goes on where it was."
        )
    return said


class Plan:
    """What is asked of servers: a graph with its collage's number filled in. Raises SetupError where the graph is another kind.

    subjects: taken in turn. bound: of affinity. hash: of all that decides but the number and the texts.
    """

    def __init__(self, graph: dict, subjects: tuple[str, ...], seed: int, language_model: bool):
        from same_subject.nodes.synthesis import grouping

        self.graph, self.subjects, self.seed, self.language_model = graph, subjects, seed, language_model
        self.prompts, self.group, self.save = (self._only(kind) for kind in (PROMPTS, GROUP, SAVE))
        said = self.graph[self.group]["inputs"].get("affinity")
        self.bound = said if isinstance(said, (int, float)) else grouping.SAME
        self.hash = hashlib.sha256(json.dumps([graph, subjects], sort_keys=True).encode()).hexdigest()[:16]

    @classmethod
    def of(cls, options: argparse.Namespace) -> Plan:
        from same_subject.nodes.synthesis import prompts

        path = options.graph or (DEMO if options.demo else GRAPH)
        try:
            graph = json.loads(path.read_text(encoding="utf-8"))
            listed = (
                prompts.lines(options.subjects.read_text(encoding="utf-8")) if options.subjects else prompts.listed("objects")
            )
        except (OSError, ValueError) as problem:
            raise SetupError(f"synthesize: {problem}. Give a graph in API format, and a text file of subjects.") from problem
        if not isinstance(graph, dict) or not all(isinstance(node, dict) and "class_type" in node for node in graph.values()):
            raise SetupError(f"synthesize: {path} is no graph in API format. Export it with Workflow > Export (API).")
        graph = {number: {"class_type": node["class_type"], "inputs": node["inputs"]} for number, node in graph.items()}
        return cls(graph, TOYS if options.demo else listed, options.seed, options.language_model)

    def items(self, count: int, done: Container[str], texts: Texts | None) -> Iterator[tuple[str, dict] | None]:
        """(name, graph) of the collages from 0 to ``count`` that are not done; None where the next has no text yet.

        texts: of the language model, where it is asked.
        """
        left = (self.item(number) for number in range(count) if self.name(number) not in done)
        yield from left if texts is None else texts.filled(left, self.prompts)

    def item(self, number: int) -> tuple[str, dict]:
        """Name and graph of a collage, without texts of a language model, which are not the same each time."""
        from same_subject.nodes.synthesis import chance

        graph = copy.deepcopy(self.graph)
        for node, each in graph.items():
            for widget in SEEDS:
                if isinstance(each["inputs"].get(widget), int):
                    each["inputs"][widget] = chance.number(self.seed, number, node)
        graph[self.prompts]["inputs"]["subject"] = self.subjects[number % len(self.subjects)]
        name = self.name(number)
        graph[self.save]["inputs"].update(name=name, folder="temporary folder")
        return name, graph

    def name(self, number: int) -> str:
        """Of a collage: a hash of all that decides about it."""
        said = json.dumps([self.hash, number, self.seed, self.language_model])
        return hashlib.sha256(said.encode()).hexdigest()[:24]

    def made(self, done: Any) -> tuple[bytes | None, dict[str, float]]:
        """The shard of a finished collage, None where it made no set, and what is counted of it. Raises ValueError for less."""
        from same_subject.research import runner

        listed = [one["filename"] for one in runner.named(done.outputs.get(self.save, {}))]
        files = [data for name, data in zip(listed, done.files.get(self.save, ()), strict=True) if name.endswith(".tar")]
        try:
            counted = json.loads(done.outputs[self.group]["counted"][0])
            sizes, pairs = Counter(counted["sets"]), counted["affinities"]
            about = {"instances": counted["instances"], "pairs": len(pairs), "seconds": done.seconds, "pictures": 0}
            about |= {f"of {size}": many for size, many in sizes.items()}
            about |= {"with a set": int(bool(sizes)), "alike": sum(pair > self.bound for pair in pairs)}
            about["pictures"] = sum(size * many for size, many in sizes.items())
            about["bytes"] = sum(map(len, files))
        except (KeyError, IndexError, TypeError, ValueError) as problem:
            raise ValueError(f"{done.server} gave no count of instances ({problem})") from problem
        if len(files) != bool(sizes):
            raise ValueError(f"{done.server} made {sizes.total()} sets, but gave {len(files)} shards")
        return (files[0] if files else None), about

    def _only(self, kind: str) -> str:
        found = [number for number, node in self.graph.items() if node["class_type"] == kind]
        if len(found) != 1:
            raise SetupError(f"synthesize: the graph has {len(found)} nodes {kind}, but needs 1. See workflows/api for one.")
        return found[0]


def report(counts: Counter[str], failures: Counter[str]) -> str:
    """What came of all collages so far, and why some failed now."""
    items, sets, pictures = counts["items"], counts["sets"], counts["pictures"]
    per = max(1, items)
    sizes = ", ".join(f"{counts[name]} {name}" for name in sorted(counts) if name.startswith("of "))
    lines = [
        f"{items} collages with {counts['instances']} instances ({counts['instances'] / per:.2f} each), {counts['pairs']} pairs, "
        f"{counts['alike'] / max(1, counts['pairs']):.1%} of them alike",
        f"{counts['with a set'] / per:.1%} of the collages have a set",
        f"{sets} sets ({sets / per:.3f} a collage): {sizes or 'none'}; {pictures} pictures",
        f"the filter left out {1 - pictures / max(1, counts['instances']):.1%} of the instances",
        f"{counts['seconds'] / per:.1f} s of a server a collage, {counts['seconds'] / max(1, sets):.1f} s a set",
        f"{failures.total()} collages failed, and are tried again in the next run",
    ]
    if sets:
        hours, disk = (PAPERS_SETS / sets * counts[name] for name in ("seconds", "bytes"))
        said = f"take {hours / 3600:,.0f} hours of such a server and {disk / 1e12:.2f} TB"
        lines.insert(-1, f"1.6 million sets, as the paper has, {said}")
    return "\n".join(lines + [f"  {many} x {reason}" for reason, many in failures.most_common(5)])


def similarity(output: Path, clip: Path, dino: Path, most: int) -> str:
    """How alike the pictures of a set are, on average over sets and pairs of each, beside the paper's (table 8)."""
    from same_subject.nodes.data.opening import open_source
    from same_subject.nodes.metrics.host import encoders
    from same_subject.nodes.metrics.similarity import among
    from same_subject.nodes.synthesis import grouping

    try:
        networks = {"CLIP-I": encoders.load_clip(clip), "DINO": encoders.load_dino(dino)}
        sets = open_source(output).sets(0, 0)
    except ValueError as problem:
        raise SetupError(f"synthesize: {problem}") from problem
    scores: dict[str, list[float]] = {name: [] for name in networks}
    for one in islice(sets, most):
        if len(one) < grouping.LEAST:
            continue
        for name, network in networks.items():
            scores[name].append(among(network.pictures(one.pictures, len(one))))
    if not scores["DINO"]:
        raise SetupError(f"synthesize: {output} holds no set of {grouping.LEAST} pictures or more to score.")
    heads = ("here", "paper's sets", "real pictures")
    rows = [(f"{sum(each) / len(each):.3f}", *(f"{of:.3f}" for of in PAPER[name])) for name, each in scores.items()]
    table = [
        f"{name:<8}" + "".join(f"{cell:>15}" for cell in row) for name, row in zip(("", *scores), (heads, *rows), strict=True)
    ]
    return "\n".join((f"Identity similarity of {len(scores['DINO'])} sets (table 8)", *table))


if __name__ == "__main__":
    raise SystemExit(main())

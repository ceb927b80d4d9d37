"""Speed and memory of joint sampling, scenes and subjects, as ratios measured side by side in one process.

    python3 dev/bench.py                          everything, about a quarter of an hour on two CPU cores
    python3 dev/bench.py --only coupling          what starts with a name: coupling, three_terms, references_only, bank,
                                                  scene, scene_identities, scene_own, subject, and on a GPU sdxl
    python3 dev/bench.py --output bench.json      the rows as JSON too

Models have random weights, so nothing is downloaded; they are full-size, but scenes run on Stable Diffusion XL's
layout at a fifth of its width, and on a GPU at its full width too. Variants take turns, and a ratio is
the median over the rounds of the ratio within a round. On one thread (OMP_NUM_THREADS=1) of a machine that others use, what is
counted are the process's own seconds. What is compared is in `dev/benchmark/`.
"""

if not __package__:
    from pack import load

    load()

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from same_subject.dev import host as hosts
from same_subject.dev import pack
from same_subject.dev.benchmark import bank, joint, measuring, scenes, subject
from same_subject.dev.benchmark.rows import headline, print_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="dev/bench.py", description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="NAME", default="", help="only comparisons whose name starts with this")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="write the rows as JSON")
    parser.add_argument("--size", type=int, default=512, help="width and height for SD1.5 (default: %(default)s)")
    parser.add_argument("--rounds", type=int, help="rounds a comparison (default: up to 5 on a CPU, 20 on a GPU)")
    parser.add_argument("--comfyui", type=Path, help="a ComfyUI to use, only read")
    options = parser.parse_args(arguments)
    host = hosts.enter(options.comfyui, __file__, arguments)
    with hosts.plain_errors():
        pack.enter_host(host.root)
        rows = []
        for entry in run(options.only, options.size, options.rounds, host.version):
            rows.append(entry)
            print(headline(entry), flush=True)
            if options.output:
                options.output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
        if not rows:
            raise hosts.SetupError(f"--only {options.only}: no comparison has a name that starts so, or it needs a GPU.")
    print_table(rows)
    return 0


def run(only: str = "", size: int = 512, rounds: int | None = None, host_version: str = "unknown") -> Iterator[dict]:
    """Yield the rows of every comparison whose name starts with `only`, each as soon as it is measured."""
    bench = measuring.Bench(size, rounds)
    for name, compare in planned(bench):
        if name.startswith(only):
            print(f"{name} …", flush=True)
            for measured in compare():
                yield {**measured, "device": bench.device_name, "host_version": host_version}


def planned(bench: measuring.Bench) -> list[tuple[str, Callable[[], list[dict]]]]:
    """(name, function that gives rows) of every comparison that this machine can run."""
    plan: list[tuple[str, Callable[[], list[dict]]]] = [(f"coupling_{n}", partial(joint.coupling, bench, n)) for n in (2, 3, 4)]
    plan.append(("three_terms", partial(joint.three_terms, bench)))
    plan.append(("references_only", partial(joint.references_only, bench)))
    plan += bank.planned(bench)
    plan += scenes.planned(bench, "sdxl_small", 256)
    plan += subject.planned(bench, "sd15", bench.size)
    if bench.device.type == "cuda":
        plan.append(("sdxl_coupling_2", partial(joint.sdxl, bench)))
        plan += scenes.planned(bench, "sdxl", 1024, prefix="sdxl_")
        plan += subject.planned(bench, "sdxl", 1024)
    else:
        plan += subject.planned(bench, "sdxl_small", 1024)
    return plan


if __name__ == "__main__":
    raise SystemExit(main())

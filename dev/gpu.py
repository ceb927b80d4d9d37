"""Everything that needs a GPU, in stages: is it right, how fast is it, how much memory does it take.

    python3 dev/gpu.py                      all stages, 30 minutes at most; the report is gpu.json
    python3 dev/gpu.py --list               the stages
    python3 dev/gpu.py --stage speed_sd15   only this one (may be given more than once)
    python3 dev/gpu.py --here --comfyui PATH   with this very Python and its torch; installs and fetches nothing

Each stage runs in a process of its own, and its result is in the report as soon as it ends. A stage that fails is noted
with its error, and the next goes on. Run the command again, on another machine of the same kind too if the report was
copied there: stages that finished are not run again, unless GPU, torch or ComfyUI are others. Models have random weights,
so nothing is downloaded. Where there is no GPU, all stages run on the CPU with tiny models, as a test of themselves.

A machine without network needs a copy of a ComfyUI's folder (models are not needed) and a Python with torch and what
ComfyUI imports. With --here nothing is installed; the command names the first package that is missing. Fetch such
packages elsewhere with `pip download --no-deps --only-binary=:all:` for that machine's Python and platform, copy the
wheels, and install them with `pip install --no-index --no-deps --target FOLDER *.whl`; then set PYTHONPATH=FOLDER.
Leave torch as it is. segment-anything, insightface, onnx and onnxruntime are optional: what needs them says that they are absent.
"""

if not __package__:
    from pack import load

    load()

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from same_subject.dev import host as hosts
from same_subject.dev.acceleration import processes
from same_subject.dev.acceleration.report import Report, broken
from same_subject.dev.acceleration.stages import BY_NAME

LOOKING = 120
"""Seconds that looking at the machine may take; a first import of torch is slow."""


def main(arguments=None, stages=BY_NAME):
    """Run the command; returns the exit code: 1 if a stage failed or was left for another run."""
    parser = argparse.ArgumentParser(prog="dev/gpu.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", action="append", choices=list(stages), help="run this stage (may be given more than once)")
    parser.add_argument("--list", action="store_true", help="list the stages")
    parser.add_argument("--report", type=Path, default=Path("gpu.json"), help="the JSON report (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=30, help="the most that this run may take (default: %(default)g)")
    parser.add_argument("--comfyui", type=Path, metavar="PATH", help="a ComfyUI to use, only read")
    parser.add_argument("--here", action="store_true", help="use this Python and its torch; install and fetch nothing")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        from same_subject.dev.acceleration import child

        return child.work(json.loads(options.child))
    if options.list:
        for stage in stages.values():
            print(f"{stage.name:<16}{stage.says}; {stage.seconds} s at most")
        return 0
    deadline = time.monotonic() + 60 * options.minutes
    with hosts.plain_errors():
        host = here(options.comfyui) if options.here else hosts.find(options.comfyui)
        report = Report(options.report, machine(host))
        wanted = [stages[name] for name in options.stage or stages]
        failed = run([stage for stage in wanted if not report.finished(stage.name)], host, report, deadline)
    report.print_table()
    return 1 if failed else 0


def here(path):
    """The `Host` of a ComfyUI's folder with this very Python."""
    root = path or os.environ.get("COMFYUI_PATH")
    if not root or not (Path(root) / "comfy" / "samplers.py").is_file():
        raise hosts.SetupError(f"--here needs --comfyui PATH, the folder that holds main.py and comfy/, but got {root}.")
    return hosts.Host(Path(root).resolve(), Path(sys.executable), private=False)


def machine(host):
    """What the report says of this machine. Raises `SetupError` if the host cannot be imported."""
    (error, log), said = ordered({"work": "machine", "flags": []}, LOOKING, host)
    if error:
        raise hosts.SetupError(f"{host.python} cannot use the ComfyUI in {host.root}: {error}")
    return {"comfyui": host.version, **said[0]}


def run(stages, host, report, deadline):
    """Run stages one after the other. Returns how many did not finish."""
    failed = 0
    for stage in stages:
        seconds = min(stage.seconds, processes.left(deadline))
        if seconds < min(stage.seconds, 30):
            print(f"{stage.name}: left for another run, because the time is up", flush=True)
            failed += 1
            continue
        print(f"{stage.name}: {stage.says} …", flush=True)
        started = time.monotonic()
        order = {"work": "stage", "function": stage.function, "flags": []}
        (error, log), rows = ordered(order, seconds, host)
        error = error or broken(rows)
        report.note(stage.name, error, rows, time.monotonic() - started, log)
        failed += bool(error)
        print(f"  failed: {error}" if error else f"  finished in {time.monotonic() - started:.0f} s", flush=True)
    return failed


def ordered(order, seconds, host):
    """((error, log), rows) of an order; the rows are those that were written before an error, too."""
    with tempfile.TemporaryDirectory(prefix="same-subject-") as folder:
        output = Path(folder) / "rows.json"
        said = processes.run({**order, "output": str(output)}, seconds, host.python, host.root)
        return said, json.loads(output.read_text(encoding="utf-8")) if output.exists() else []


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the stage that runs is ended, too
    raise SystemExit(main())

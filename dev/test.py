"""Run all tests: sets up a ComfyUI and pytest, then runs the tests with the ComfyUI's own Python.

python3 dev/test.py                     everything
python3 dev/test.py --fast              what needs no server, no browser and no patience: under three minutes
python3 dev/test.py --require-browser   an error, not a skip, where no Chromium runs for the frontend's tests
python3 dev/test.py tests/dev -k lock   any arguments of pytest, with paths from this project's root
python3 dev/test.py --processes 1       one test after another; else where no path is given two processes share the test files
python3 dev/test.py --comfyui PATH      against a ComfyUI of your own, which is only read
"""

if not __package__:
    from pack import load

    load()

import argparse
import os
import sys
from collections.abc import Sequence

from same_subject.dev import host as hosts
from same_subject.dev import pack

PROCESSES = 2
"""Each has a ComfyUI in it and starts a server of its own."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns pytest's exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="dev/test.py", description=__doc__.splitlines()[0], add_help=False)
    parser.add_argument("--comfyui")
    parser.add_argument("--processes", type=int)
    options, for_pytest = parser.parse_known_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for models this small, threads mostly wait for each other
    if hosts.inside():
        return run_pytest(for_pytest)
    whole = not any((pack.ROOT / argument.partition("::")[0]).exists() for argument in for_pytest)
    processes = options.processes or (min(PROCESSES, os.cpu_count() or 1) if whole else 1)
    if processes > 1:
        for_pytest += ["--numprocesses", str(processes), "--dist", "loadfile", "--no-loadscope-reorder"]
    with hosts.plain_errors():
        host = hosts.find(options.comfyui)
        tools = hosts.test_tools(host), hosts.label_tools(host), hosts.train_tools(host)
        print(f"Testing with ComfyUI {host.version} in {host.root}", flush=True)
        return hosts.continue_inside(host, __file__, for_pytest, *tools)


def run_pytest(arguments: list[str]) -> int:
    """Run pytest in this process, from the project's root but without that root on `sys.path`."""
    import pytest

    sys.path[:] = [entry for entry in sys.path if entry != str(pack.ROOT / "dev")]
    os.chdir(pack.ROOT)
    return int(pytest.main(arguments))


if __name__ == "__main__":
    raise SystemExit(main())

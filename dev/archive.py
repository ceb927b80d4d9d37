"""Pack what the registry would: `python3 dev/archive.py [FILE.zip]`.

As `comfy node pack` does: the files that git tracks, less those that `.comfyignore` names.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def members(root: Path = ROOT) -> list[str]:
    """Paths below ``root`` that go into the archive. Raises ValueError for a pattern that is no plain name."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True).stdout.decode().split("\0")
    return [path for path in tracked if path and not ignored(path, patterns(root)) and (root / path).exists()]


def patterns(root: Path = ROOT) -> list[str]:
    """The lines of `.comfyignore`: `name` or `name/`, each at any depth as git reads it."""
    lines = (root / ".comfyignore").read_text(encoding="utf-8").split()
    if odd := [line for line in lines if set("*?[!\\") & set(line) or "/" in line.rstrip("/")]:
        raise ValueError(f".comfyignore: {odd[0]!r} is no plain name. Write the name of a file, or of a folder and a slash.")
    return lines


def ignored(path: str, lines: list[str]) -> bool:
    """Whether a line names the file or a folder that it is in."""
    *folders, name = path.split("/")
    return any(line.rstrip("/") in folders or line == name for line in lines)


def write(file: Path, root: Path = ROOT) -> list[str]:
    """Write the archive ``file`` (zip); returns what is in it."""
    names = members(root)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.write(root / name, name)
    return names


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="dev/archive.py", description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=Path("node.zip"))
    file = parser.parse_args(arguments).file
    names = write(file)
    sizes: Counter[str] = Counter()
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            sizes[entry.filename.split("/")[0]] += entry.compress_size
    print(f"{file}: {len(names)} files, {file.stat().st_size / 1e6:.1f} MB")
    for name, size in sizes.most_common(8):
        print(f"  {size / 1e6:7.2f} MB  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The pictures that are not there yet, made by one or many ComfyUI servers."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from PIL import Image

from ...dev import client
from ...dev.setup.errors import SetupError
from ...nodes.data import pictures
from ...nodes.data.whole_files import whole
from .. import servers
from . import graphs
from .plan import Case


def make(
    cases: Sequence[Case], settings: graphs.Settings, folder: Path, urls: Sequence[str], ray: str | None = None,
    say: Callable[[str], object] = print,
) -> list[str]:  # fmt: skip
    """Make what ``folder`` has not of the cases' pictures, each whole or not at all; returns what failed, a line each.

    Raises SetupError where no server is there, or none can run the graph.
    """
    left = [case for case in cases if not (folder / f"{case.name}.png").is_file()]
    say(f"{len(cases) - len(left)} of {len(cases)} pictures are there, {len(left)} are to be made.")
    if not left:
        return []
    uploaded = upload(left, urls, say)

    def items() -> Iterator[tuple[str, client.Graph]]:
        return ((case.name, graphs.of(case, settings, uploaded)) for case in left)

    pool, failed = servers.Pool(urls, ray, say), []
    for done in pool.run(items()):
        made = done.files.get(graphs.PICTURE, [])
        if done.failure or len(made) != 1:
            failed.append(f"{done.name}: {done.failure or f'{len(made)} pictures came back in place of one'}")
            continue
        save(folder / f"{done.name}.png", made[0])
    say(pool.report())
    return failed


def upload(cases: Sequence[Case], urls: Sequence[str], say: Callable[[str], object] = print) -> dict[str, str]:
    """Give every server the inputs of the cases, as all readers show them; returns what they know them by, by their paths here.

    Names tell contents, so that servers which two runs share mix nothing up. A server that is away gets nothing. Raises
    SetupError for a picture that cannot be used, and where no server is there.
    """
    paths = {
        str(one.pictures[place])
        for case in cases
        for one, inputs in zip(case.subjects, case.inputs, strict=True)
        for place in inputs
    }
    reached, away = 0, ""
    with tempfile.TemporaryDirectory(prefix="same-subject-dreambench-") as folder:
        shown = {path: _shown(Path(path), Path(folder)) for path in paths}
        for url in dict.fromkeys(urls):
            try:
                for given in shown.values():
                    client.Client(url).upload(given)
                reached += 1
            except (client.ServerError, OSError) as problem:
                away = f"{url}: {problem}"
                say(f"{away}. It gets no work that needs pictures.")
    if not reached:
        raise SetupError(f"dreambench: no server takes pictures. {away}. Start one, or leave --servers out for one of its own.")
    return {path: given.name for path, given in shown.items()}


def _shown(path: Path, folder: Path) -> Path:
    """A picture in the folder as it is scored: a server's LoadImage shows what is transparent black, `decode` white."""
    try:
        data = path.read_bytes()
        pictures.decode(data)  # what cannot be scored is said before anything is made
        suffix, data = pictures.as_shown(data)
    except (pictures.Damaged, OSError) as problem:
        raise SetupError(f"dreambench: {path} cannot be used: {problem}. Take it out, or get it again.") from problem
    given = folder / f"dreambench_{hashlib.sha256(data).hexdigest()[:20]}{suffix}"
    given.write_bytes(data)
    return given


def save(path: Path, data: bytes) -> None:
    """Write a picture whole. Raises SetupError for what is none."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
    except OSError as problem:
        raise SetupError(f"dreambench: a server sent no picture for {path.name}: {problem}. See its log.") from problem
    with whole(path) as part:
        part.write_bytes(data)

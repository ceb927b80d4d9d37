"""A published file over https: resumed, from listed hosts only, and given its name when its hash is the published one."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

PART = ".part"
"""Ends the name of a file that is not whole, or not checked yet."""
PIECE = 2**20
SPARE = 2**26
"""Bytes of a disk that are left free."""
MOST = 2**35
"""The largest size that is believed where the list states none."""
SECONDS = 30
ATTEMPTS = 5
"""How often in a row nothing may come before it is given up."""
PAUSES = 10
"""Tenths of a second to wait, for each such time."""
MOST_REDIRECTS = 6


class Stopped(Exception):
    """The user asked to stop."""


class _Cut(Exception):
    """The connection ended early; what came is kept."""


@dataclass(frozen=True)
class Source:
    """Where a file is published. sha256: of the whole file, in lower-case hexadecimals; size: bytes, None if not known."""

    name: str
    url: str
    sha256: str
    size: int | None


@dataclass(frozen=True)
class Watch:
    """What goes on: `tell(state, got, total)` hears of it, bytes of it; `stopped()` says whether to stop."""

    tell: Callable[[str, int, int], object] = lambda state, got, total: None
    stopped: Callable[[], bool] = lambda: False

    def check(self) -> None:
        if self.stopped():
            raise Stopped


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects are followed by hand, so that each host is looked at."""

    def redirect_request(self, *_):
        return None


def fetch(source: Source, to: Path, hosts: Collection[str], watch: Watch, room: int = 0, local: bool = False) -> None:
    """Get a file, going on where an earlier try ended (`<to>.part`), and give it its name when its sha256 is right.

    hosts: the only ones that it may come from. room: bytes that will be needed on the disk beside it. local: for tests, http
    to 127.0.0.1 is fine, too. Raises ValueError, a sentence with a remedy, or Stopped; what came so far is kept, but for a file
    of the wrong hash.
    """
    part = to.with_name(to.name + PART)
    try:
        if to.exists():
            raise ValueError(f"{to} is there already. Verify it, or move it away and press Download again.")
        to.parent.mkdir(parents=True, exist_ok=True)
        _get(source, part, hosts, watch, room, local)
        found = digest(part, watch)
        if found != source.sha256:
            part.unlink()
            raise ValueError(
                f"What {urlsplit(source.url).hostname} sent for {source.name} is not the published file: its sha256 is {found}, "
                f"needs {source.sha256}. It was thrown away. Try again later, or get it by hand from {source.url}."
            )
        os.replace(part, to)
    except OSError as failure:
        raise ValueError(f"{source.name}: {disk_problem(failure, part)}") from failure


def disk_problem(failure: OSError, part: Path) -> str:
    """What went wrong with a file on this machine, in a sentence with the remedy."""
    if failure.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return f"the disk of {part.parent} is full. Make room there and press Download again: it goes on where it ended."
    return f"{part.parent} cannot be written: {failure.strerror or failure}. See to its permissions, or get the file by hand."


def digest(path: Path, watch: Watch) -> str:
    """sha256 of a file, in hexadecimals. Raises Stopped."""
    result, got, total = hashlib.sha256(), 0, path.stat().st_size
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            watch.check()
            result.update(piece)
            got += len(piece)
            watch.tell("checking", got, total)
    return result.hexdigest()


def _get(source: Source, part: Path, hosts: Collection[str], watch: Watch, room: int, local: bool) -> None:
    tag, failed = None, 0
    while True:
        have = part.stat().st_size if part.exists() else 0
        if source.size is not None and have >= source.size:
            if have == source.size:
                return
            part.unlink()
            have = 0
        try:
            with _ask(source, hosts, have, tag, local) as answer:
                tag = _strong(answer.headers.get("ETag"))
                have = have if answer.status == 206 else 0
                total = _total(source, answer, have)
                _check_room(part, total - have + room)
                _write(answer, part, have, total, watch)
                return
        except _Cut as cut:
            grown = part.exists() and part.stat().st_size > have
            failed = 0 if grown else failed + 1
            if failed == ATTEMPTS:
                raise ValueError(
                    f"{source.name}: the connection to {urlsplit(source.url).hostname} fails: {cut}. See to the network and "
                    "press Download again: it goes on where it ended."
                ) from cut
            for _ in range(1 + failed * PAUSES):
                watch.check()
                time.sleep(0.1)


def _write(answer: http.client.HTTPResponse, part: Path, have: int, total: int, watch: Watch) -> None:
    """Append what comes to the part; with `have` 0 it begins anew. Raises _Cut where less comes than announced."""
    with open(part, "ab" if have else "wb") as file:
        while have < total:
            watch.check()
            try:
                piece = answer.read1(min(PIECE, total - have))
            except (OSError, http.client.HTTPException) as failure:
                raise _Cut(_said(failure)) from failure
            if not piece:
                raise _Cut(f"it ended after {have} of {total} bytes")
            file.write(piece)
            have += len(piece)
            watch.tell("downloading", have, total)
        file.flush()
        os.fsync(file.fileno())


def _ask(source: Source, hosts: Collection[str], have: int, tag: str | None, local: bool) -> http.client.HTTPResponse:
    """The answer with the file, or with its rest from `have` on (status 206). Raises ValueError or _Cut."""
    headers = {"User-Agent": "comfyui-same-subject", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", **({"If-Range": tag} if tag else {})}
    proxies = [urllib.request.ProxyHandler({})] if local else []
    opener = urllib.request.build_opener(_NoRedirect, *proxies)
    url = source.url
    for _ in range(MOST_REDIRECTS):
        _check_address(url, hosts, local)
        try:
            answer = opener.open(urllib.request.Request(url, headers=headers), timeout=SECONDS)
        except urllib.error.HTTPError as refusal:
            with refusal:
                if refusal.code in (301, 302, 303, 307, 308) and refusal.headers.get("Location"):
                    url = urljoin(url, refusal.headers["Location"])
                    continue
                if refusal.code == 416 and have:
                    return _ask(source, hosts, 0, None, local)
                raise ValueError(
                    f"{source.name}: {urlsplit(url).hostname} answers {refusal.code} {refusal.reason}. Try again later, or get "
                    f"it by hand from {source.url}."
                ) from refusal
        except (OSError, http.client.HTTPException) as failure:  # URLError is an OSError
            raise _Cut(_said(failure)) from failure
        if answer.status == 206 and not (have and re.match(rf"bytes {have}-", answer.headers.get("Content-Range", ""))):
            answer.close()
            if not have:
                raise ValueError(f"{source.name}: {urlsplit(url).hostname} sends a part only. Get it by hand from {source.url}.")
            return _ask(source, hosts, 0, None, local)
        return answer
    raise ValueError(f"{source.name}: {source.url} redirects more than {MOST_REDIRECTS} times. Get it by hand.")


def _check_address(url: str, hosts: Collection[str], local: bool) -> None:
    try:
        at = urlsplit(url)
        host, port, plain = at.hostname, at.port, at.username is None and at.password is None
    except ValueError:
        host, port, plain, at = None, None, False, urlsplit("")
    if local and (at.scheme, host) == ("http", "127.0.0.1"):
        return
    if at.scheme != "https" or host not in hosts or port not in (None, 443) or not plain:
        raise ValueError(
            f"The download leads to {at.scheme}://{host}, which is none of the hosts that models.yaml lists. Nothing was asked "
            "of it. Get the file by hand if you trust it."
        )


def _total(source: Source, answer: http.client.HTTPResponse, have: int) -> int:
    """Bytes of the whole file, as announced. Raises ValueError where that is not what the list states."""
    packed = answer.headers.get("Content-Encoding", "identity")
    whole = re.fullmatch(r"bytes \d+-\d+/(\d+)", answer.headers.get("Content-Range", "")) if have else None
    length = answer.headers.get("Content-Length", "")
    total = int(whole[1]) if whole else have + int(length) if re.fullmatch(r"\d+", length) else source.size
    if packed != "identity" or total is None or total > MOST or source.size not in (None, total):
        raise ValueError(
            f"{source.name}: {urlsplit(source.url).hostname} announces {total} bytes ({packed}), but the published file has "
            f"{source.size or 'a size'}. Get it by hand from {source.url} and verify it."
        )
    return total


def _check_room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if free < needed + SPARE:
        raise ValueError(
            f"The disk of {part.parent} has {free / 1e9:.2f} GB free, but {(needed + SPARE) / 1e9:.2f} GB are needed. Make room "
            "there and press Download again."
        )


def _strong(tag: str | None) -> str | None:
    """An ETag that can stand in If-Range."""
    return tag if tag and not tag.startswith("W/") else None


def _said(failure: Exception) -> str:
    return str(getattr(failure, "reason", None) or failure or type(failure).__name__)

"""What the frontend asks of Check Files. Names of listed files come in, never an address or a path."""

from __future__ import annotations

import copy
import logging
from typing import Any

from aiohttp import web

from ...host import catalogue, replacing
from .. import wanted
from ..wanted import Need
from . import downloads, listing

AT = "/same_subject/files"
EVENT = "same_subject.files"
"""The event that tells a client of its downloads."""


class Refused(Exception):
    """A sentence for whoever asked, and a status."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


def register() -> None:
    """Add the routes to the host's server, where there is one."""
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    if server is not None:
        add(server.routes, downloads.Jobs(lambda client, said: client and server.send_sync(EVENT, said, client)))


def add(routes: web.RouteTableDef, jobs: downloads.Jobs, download=downloads.download) -> None:
    """Add the routes to a table. download: what gets a file; tests give one that asks a server on this machine."""

    @routes.post(f"{AT}/check")
    async def check(request: web.Request) -> web.Response:
        return await _answered(request, lambda asked: {"rows": _rows(asked, jobs)})

    @routes.post(f"{AT}/download")
    async def get(request: web.Request) -> web.Response:
        return await _answered(request, lambda asked: _started(asked, jobs, "download", download))

    @routes.post(f"{AT}/verify")
    async def verify(request: web.Request) -> web.Response:
        return await _answered(request, lambda asked: _started(asked, jobs, "verify", downloads.verify))

    @routes.post(f"{AT}/stop")
    async def stop(request: web.Request) -> web.Response:
        return await _answered(request, lambda asked: {"stopped": jobs.stop(_text(asked, "name"))})


async def _answered(request: web.Request, act) -> web.Response:
    """`act` on what was sent. Only JSON, which no page of another site can send unasked, and nothing from such a page."""
    try:
        if request.headers.get("Sec-Fetch-Site") == "cross-site":
            raise Refused(403, "Check Files: a page of another site asked. Open ComfyUI itself.")
        if request.content_type != "application/json":
            raise Refused(415, "Check Files: what is sent must be JSON, with Content-Type: application/json.")
        try:
            asked = await request.json()
        except (ValueError, RecursionError) as problem:
            raise Refused(400, "Check Files: what was sent is not JSON. Send an object with `prompt`.") from problem
        if not isinstance(asked, dict):
            raise Refused(400, "Check Files: what was sent is no object. Send one with `prompt`.")
        return web.json_response(act(asked))
    except Refused as refusal:
        return web.json_response({"error": str(refusal)}, status=refusal.status)


def _text(asked: dict, name: str) -> str:
    value = asked.get(name)
    if not isinstance(value, str) or len(value) > 1000:
        raise Refused(400, f"Check Files: `{name}` must be text. Send the name of a file that the check listed.")
    return value


def _prompt(asked: dict) -> dict:
    if problem := wanted.problem(asked.get("prompt")):
        raise Refused(400, problem)
    return _replaced(asked["prompt"])


def _replaced(prompt: dict) -> dict:
    """The graph as the host will run it, with its own nodes in place of those of packs that are not installed."""
    from server import PromptServer

    manager = getattr(getattr(PromptServer, "instance", None), "node_replace_manager", None)
    if manager is not None:
        changed = {number: {"_meta": {}, **copy.deepcopy(node)} for number, node in prompt.items()}
        try:
            manager.apply_replacements(replacing.completed({"prompt": changed})["prompt"])
            return changed
        except Exception:  # the host stops where another pack's node lacks an optional input; the graph is checked as it is
            logging.debug("Same Subject: nodes could not be replaced", exc_info=True)
    return prompt


def _rows(asked: dict, jobs: downloads.Jobs) -> list[dict[str, Any]]:
    return [row | {"job": jobs.of(row["name"]) if row["listed"] else None} for row in listing.rows(_prompt(asked))]


def _started(asked: dict, jobs: downloads.Jobs, offer: str, work) -> dict[str, Any]:
    """Start what the check offers for a file of this graph."""
    prompt, name = _prompt(asked), _text(asked, "name")
    client = asked.get("client_id")
    if not any(row["name"] == name and row[offer] for row in listing.rows(prompt)):
        raise Refused(
            404,
            f"Check Files: no {offer} of a file of this name is offered for this graph. Press Check, and take one of its list.",
        )
    job = jobs.start(_need(prompt, name), work, client if isinstance(client, str) else "")
    return {"job": job.said()}


def _need(prompt: dict, name: str) -> Need:
    return next(need for need in wanted.needs(prompt, catalogue.whole()) if need.name == name and need.entry and need.folder)

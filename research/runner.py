"""One graph at a time on one ComfyUI server: asked for what it has, else queued, waited for, and fetched.

A Ray cluster gets this module by value, so that it imports nothing of the pack but the client.
"""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from ..dev import client as clients

Graph = clients.Graph
DONE, FAILED, REFUSED, AWAY, LOST, SLOW = "done", "failed", "refused", "away", "lost", "slow"
"""AWAY: the server was not reached, which says nothing of the item. LOST: it was, and then nothing came of the item."""
UNREACHED = (clients.ServerError, OSError, http.client.HTTPException, ValueError)


class Runner:
    """Runs items on one server, in a thread here or as an actor of Ray, which gets this class by value."""

    def __init__(self, url: str):
        self.client = clients.Client(url)
        self.stopped = threading.Event()

    def __call__(self, name: str, graph: Graph, seconds: float) -> dict[str, Any]:
        """One item, as ``outcome`` with ``outputs``, ``files`` and whether the server ``had`` it, or with its ``reason``.

        seconds: that it may take.
        """
        try:
            self.client.get("/queue")
        except UNREACHED as problem:
            return {"outcome": AWAY, "reason": _said(problem)}
        try:
            return self._run(name, graph, time.monotonic() + seconds)
        except clients.Refused as problem:
            return {"outcome": REFUSED, "reason": str(problem)}
        except clients.NodeFailed as problem:
            return {"outcome": FAILED, "reason": str(problem)}
        except (*UNREACHED, LookupError, TypeError, AttributeError) as problem:
            return {"outcome": LOST, "reason": _said(problem)}

    def _run(self, name: str, graph: Graph, deadline: float) -> dict[str, Any]:
        number, done = self._asked(name, graph)
        if done:
            return {**done, "had": True}
        had = self._has(number)
        if not had:
            self.client.queue(graph, number)
        entry = None
        wait = 0.05
        while entry is None:
            if self.stopped.wait(wait):
                return {"outcome": AWAY, "reason": "the run ended"}
            if time.monotonic() > deadline:
                self.client.post("/queue", {"delete": [number]})
                self.client.post("/interrupt", {"prompt_id": number})
                return {"outcome": SLOW, "reason": "it took too long"}
            wait = min(1.0, wait * 1.3)
            known = self._has(number)
            entry = self.client.get(f"/history/{number}").get(number)
            if entry is None and not known:
                return {"outcome": LOST, "reason": "it started anew, without its queue"}
        if problem := _problem(entry):
            raise problem
        return {**self._fetched(entry), "had": had}

    def _fetched(self, entry: dict) -> dict[str, Any]:
        outputs = entry["outputs"]
        files = {node: [self.client.picture(one) for one in named(shown)] for node, shown in outputs.items()}
        return {"outcome": DONE, "outputs": outputs, "files": {node: each for node, each in files.items() if each}}

    def _asked(self, name: str, graph: Graph) -> tuple[str, dict[str, Any] | None]:
        """What this server knows the item by, and what it has of it; an id that failed, or whose files are gone, is not used
        again."""
        said = json.dumps([name, graph], sort_keys=True)
        for attempt in itertools.count():
            number = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{attempt} {said}"))
            entry = self.client.get(f"/history/{number}").get(number)
            if entry is None:
                return number, None
            if not _problem(entry):
                with suppress(clients.ServerError):
                    return number, self._fetched(entry)
        raise AssertionError

    def _has(self, number: str) -> bool:
        queue = self.client.get("/queue")
        return any(waiting[1] == number for waiting in (*queue["queue_running"], *queue["queue_pending"]))


def _said(problem: Exception) -> str:
    return str(problem).strip() or type(problem).__name__


def _problem(entry: dict) -> clients.ServerError | None:
    """What a history's entry says went wrong."""
    status = entry.get("status") or {}
    for kind, data in status.get("messages") or ():
        if problem := clients.failure_in(kind, data):
            return problem
    return None if status.get("status_str", "success") == "success" else clients.ServerError("it ended without a word")


def named(shown: dict) -> Iterator[dict]:
    """The files that a node's outputs name."""
    for listed in shown.values():
        for one in listed if isinstance(listed, list) else ():
            if isinstance(one, dict) and {"filename", "subfolder", "type"} <= one.keys():
                yield one

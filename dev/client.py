"""Talk to a running ComfyUI as any client would: its HTTP API, and its websocket while a graph runs.

Needs aiohttp only for `Client.run`, which watches the websocket.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

Graph = dict[str, dict[str, Any]]
"""A graph in API format: node id -> class_type, inputs, _meta."""
OnEvent = Callable[[str, dict[str, Any]], object]
"""What hears every message of a run: its type and its data."""
NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ServerError(Exception):
    """The server could not do what was asked; the message is for the user."""


class ServerDied(ServerError):
    """The server ended or never came up."""


class Refused(ServerError):
    """The server refused a graph before running it; `node_errors` as it gave them."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.node_errors = answer.get("node_errors") or {}
        super().__init__(describe_refusal(answer))


class NodeFailed(ServerError):
    """A node raised while the graph ran."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.node_id, self.node_type = data.get("node_id"), data.get("node_type")
        self.reason = (data.get("exception_message") or data.get("exception_type") or "no message").strip()
        super().__init__(f"{self.node_type} (node {self.node_id}): {self.reason}")


class Interrupted(ServerError):
    """The run was interrupted."""


class Client:
    """One client of the ComfyUI at ``url`` (such as "http://127.0.0.1:8188").

    ``last_words`` gives what to add to the message where the server ends during a run.
    """

    def __init__(self, url: str, last_words: Callable[[], str] = str) -> None:
        self.url, self.last_words = url.rstrip("/"), last_words
        self.client_id = uuid.uuid4().hex

    def get(self, path: str, **query: str) -> Any:
        """GET; returns the JSON it answers, or bytes where it answers something else."""
        return self.request(path + ("?" + urllib.parse.urlencode(query) if query else ""))

    def post(self, path: str, content: Any = None) -> Any:
        """POST JSON; returns the JSON it answers."""
        return self.request(path, json.dumps(content or {}).encode(), {"Content-Type": "application/json"})

    def request(self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
        """One HTTP request; an error answer raises `Refused` (a graph) or `ServerError`."""
        request = urllib.request.Request(self.url + path, data=body, headers=headers or {})
        try:
            with NO_PROXY.open(request, timeout=60) as answer:
                content, kind = answer.read(), answer.headers.get_content_type()
        except urllib.error.HTTPError as error:
            raise answer_error(path, error.code, error.read()) from None
        return json.loads(content or b"null") if kind == "application/json" else content

    def upload(self, path: str | Path, name: str | None = None) -> str:
        """Put a picture into the server's input folder; returns the name that LoadImage knows it by."""
        path = Path(path)
        boundary = uuid.uuid4().hex
        name = (name or path.name).replace('"', "_")
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        body = head.encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        answer = self.request("/upload/image", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
        return "/".join(filter(None, [answer["subfolder"], answer["name"]]))

    def queue(self, graph: Graph, prompt_id: str | None = None) -> str:
        """Queue a graph in API format; returns its prompt id, which may be given (a UUID).

        Raises `Refused`, also where a part of the graph was.
        """
        own = {"prompt_id": prompt_id} if prompt_id else {}
        answer = self.post("/prompt", {"prompt": graph, "client_id": self.client_id, **own})
        if answer.get("node_errors"):  # the server would run the outputs that it can
            self.post("/queue", {"delete": [answer["prompt_id"]]})
            raise Refused(answer)
        return answer["prompt_id"]

    def interrupt(self) -> None:
        """Ask the server to stop what it is running."""
        self.post("/interrupt")

    def picture(self, entry: dict[str, str]) -> bytes:
        """The bytes of one picture that a run's outputs name."""
        return self.get("/view", **{key: entry[key] for key in ("filename", "subfolder", "type")})

    def run(self, graph: Graph, on_event: OnEvent = lambda kind, data: None, timeout: float = 1800) -> dict[str, Any]:
        """Queue a graph, watch it over the websocket to its end, and return its outputs by node id.

        `on_event(type, data)` sees every message of the run. Raises `Refused` before it starts,
        `NodeFailed`, `Interrupted` or `ServerDied` while it runs.
        """
        return asyncio.run(self.watch(graph, on_event, timeout))

    async def watch(self, graph: Graph, on_event: OnEvent, timeout: float) -> dict[str, Any]:
        """The websocket side of `run`."""
        import aiohttp

        failure = None
        async with aiohttp.ClientSession() as session:
            address = f"{self.url}/ws?clientId={self.client_id}"
            async with session.ws_connect(address, max_msg_size=0) as socket:
                prompt_id = self.queue(graph)
                deadline = time.monotonic() + timeout
                while True:
                    message = await receive(socket, deadline, timeout)
                    if message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE,
                                        aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.ERROR):  # fmt: skip
                        raise ServerDied(f"ComfyUI ended during the run.{self.last_words()}")
                    if message.type != aiohttp.WSMsgType.TEXT:
                        continue
                    event = json.loads(message.data)
                    data = event.get("data") or {}
                    if data.get("prompt_id") != prompt_id:
                        continue
                    on_event(event["type"], data)
                    failure = failure_in(event["type"], data) or failure
                    if event["type"] == "executing" and data.get("node") is None:
                        break
        if failure:
            raise failure
        return self.get(f"/history/{prompt_id}")[prompt_id]["outputs"]


async def receive(socket: Any, deadline: float, timeout: float) -> Any:
    """The next websocket message; raises `ServerError` after the deadline."""
    try:
        return await asyncio.wait_for(socket.receive(), max(0.0, deadline - time.monotonic()))
    except asyncio.TimeoutError:
        raise ServerError(f"The run did not end within {timeout} s.") from None


def failure_in(kind: str, data: dict[str, Any]) -> ServerError | None:
    """The exception that a websocket message stands for, or None."""
    if kind == "execution_error":
        return NodeFailed(data)
    if kind == "execution_interrupted":
        return Interrupted("The run was interrupted.")
    return None


def answer_error(path: str, code: int, body: bytes) -> ServerError:
    """The exception for an error answer of the server."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if path == "/prompt" and isinstance(answer, dict):
        return Refused(answer)
    return ServerError(f"{path} answered {code}: {body[:300].decode(errors='replace')}")


def describe_refusal(answer: dict[str, Any]) -> str:
    """One message for a refused graph: each node, its input, what is wrong."""
    lines = []
    for node_id, node in (answer.get("node_errors") or {}).items():
        for error in node.get("errors", []):
            detail = ": ".join(filter(None, [error.get("message"), error.get("details")]))
            lines.append(f"{node.get('class_type')} (node {node_id}): {detail}")
    if lines:
        return "\n".join(lines)
    error = answer.get("error") or {}
    if isinstance(error, str):
        return error
    return ": ".join(filter(None, [error.get("message"), error.get("details")])) or "The graph was refused."

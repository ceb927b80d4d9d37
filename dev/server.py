"""Run a ComfyUI server with this pack in it, and talk to it as any client would.

The server works from a temporary base directory of its own, so a user's ComfyUI folder is never
written to. Needs the host's Python only for `Server.run`, which watches the websocket.
"""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path

from same_subject.dev import host as hosts
from same_subject.dev import pack

FOLDER = "comfyui-same-subject"  # the pack's folder name inside custom_nodes
START_SECONDS = 600  # a machine may be slow or busy; a server that ends is noticed at once


class ServerError(Exception):
    """The server could not do what was asked; the message is for the user."""


class ServerDied(ServerError):
    """The server ended or never came up."""


class Refused(ServerError):
    """The server refused a graph before running it; `node_errors` as it gave them."""

    def __init__(self, answer):
        self.node_errors = answer.get("node_errors") or {}
        super().__init__(describe_refusal(answer))


class NodeFailed(ServerError):
    """A node raised while the graph ran."""

    def __init__(self, data):
        self.node_id, self.node_type = data.get("node_id"), data.get("node_type")
        self.reason = (data.get("exception_message") or data.get("exception_type") or "no message").strip()
        super().__init__(f"{self.node_type} (node {self.node_id}): {self.reason}")


class Interrupted(ServerError):
    """The run was interrupted."""


class Server:
    """A ComfyUI server with this pack, as a context manager.

    What it prints goes to a log file, which is kept (and its place is said) where something fails.
    """

    def __init__(self, host, extra_arguments=(), cpu=None, say=print, variables=None):
        self.host, self.extra_arguments, self.cpu, self.say = host, tuple(extra_arguments), cpu, say
        self.variables = variables or {}
        self.process = None
        self.client_id = uuid.uuid4().hex

    def __enter__(self):
        self.base = Path(tempfile.mkdtemp(prefix="same-subject-"))
        for name in ("custom_nodes", "input", "output", "models/checkpoints", "models/jedi_demo"):
            (self.base / name).mkdir(parents=True)
        self.log = self.base / "server.log"
        try:
            link_folder(pack.ROOT, self.base / "custom_nodes" / FOLDER)
            self.start()
        except BaseException:
            self.stop(failed=True)
            raise
        return self

    def __exit__(self, kind, error, traceback):
        self.stop(failed=kind is not None and issubclass(kind, (ServerError, OSError)))

    def start(self):
        """Start the process and wait until it answers."""
        started = time.monotonic()
        cpu = needs_cpu(self.host.python) if self.cpu is None else self.cpu
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [
            str(self.host.python), "-u", str(self.host.root / "main.py"),
            "--listen", "127.0.0.1", "--port", str(self.port), "--base-directory", str(self.base),
            "--database-url", "sqlite:///:memory:", "--disable-auto-launch", "--disable-api-nodes",
            "--disable-all-custom-nodes", "--whitelist-custom-nodes", FOLDER,
            *(["--cpu", "--use-pytorch-cross-attention"] if cpu else []), *self.extra_arguments,
        ]  # fmt: skip
        own_group = {"start_new_session": True} if os.name != "nt" else {
            "creationflags": subprocess.CREATE_NEW_PROCESS_GROUP
        }  # fmt: skip
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=self.base,
                env={**server_environment(self.host), **self.variables}, **own_group,
            )  # fmt: skip
        self.wait_until_ready(started)
        if any("IMPORT FAILED" in line and FOLDER in line for line in self.log_text().splitlines()):
            raise ServerDied(f"ComfyUI could not import this pack.{self.log_tail(40)}")
        self.say(
            f"ComfyUI {self.host.version} is up on {'the CPU' if cpu else 'its accelerator'} ({time.monotonic() - started:.0f} s)"
        )

    def wait_until_ready(self, started):
        """Poll until the server answers; raises `ServerDied` where it ends or takes too long."""
        while time.monotonic() - started < START_SECONDS:
            if self.process.poll() is not None:
                raise ServerDied(f"ComfyUI ended while starting.{self.log_tail()}")
            try:
                self.get("/system_stats")
                return
            except (ServerError, OSError):
                time.sleep(0.2)
        raise ServerDied(f"ComfyUI did not answer within {START_SECONDS} s.{self.log_tail()}")

    def stop(self, failed=False):
        """End the process whatever its state, and remove the base directory; a log is kept on failure."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if failed and self.log.exists():
            kept = Path(tempfile.gettempdir()) / f"{self.base.name}.log"
            shutil.copyfile(self.log, kept)
            self.say(f"The server's log is kept: {kept}")
        unlink_folder(self.base / "custom_nodes" / FOLDER)
        shutil.rmtree(self.base, ignore_errors=True)

    def log_text(self):
        """Everything that the server has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def log_tail(self, lines=15):
        """The end of the log, on lines of its own, for an error message."""
        tail = self.log_text().splitlines()[-lines:]
        return "".join(f"\n    {line}" for line in tail)

    # -- the HTTP API -------------------------------------------------------------------------

    def get(self, path, **query):
        """GET; returns the JSON it answers, or bytes where it answers something else."""
        return self.request(path + ("?" + urllib.parse.urlencode(query) if query else ""))

    def post(self, path, content=None):
        """POST JSON; returns the JSON it answers."""
        return self.request(path, json.dumps(content or {}).encode(), {"Content-Type": "application/json"})

    def request(self, path, body=None, headers=None):
        """One HTTP request; an error answer raises `Refused` (a graph) or `ServerError`."""
        request = urllib.request.Request(self.url + path, data=body, headers=headers or {})
        try:
            with NO_PROXY.open(request, timeout=60) as answer:
                content, kind = answer.read(), answer.headers.get_content_type()
        except urllib.error.HTTPError as error:
            raise answer_error(path, error.code, error.read()) from None
        return json.loads(content or b"null") if kind == "application/json" else content

    def upload(self, path, name=None):
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

    def queue(self, graph):
        """Queue a graph in API format; returns its prompt id. Raises `Refused`."""
        return self.post("/prompt", {"prompt": graph, "client_id": self.client_id})["prompt_id"]

    def interrupt(self):
        """Ask the server to stop what it is running."""
        self.post("/interrupt")

    def picture(self, entry):
        """The bytes of one picture that a run's outputs name."""
        return self.get("/view", **{key: entry[key] for key in ("filename", "subfolder", "type")})

    # -- running a graph ----------------------------------------------------------------------

    def run(self, graph, on_event=None, timeout=1800):
        """Queue a graph, watch it over the websocket to its end, and return its outputs by node id.

        `on_event(type, data)` sees every message of the run. Raises `Refused` before it starts,
        `NodeFailed`, `Interrupted` or `ServerDied` while it runs.
        """
        return asyncio.run(self.watch(graph, on_event or (lambda kind, data: None), timeout))

    async def watch(self, graph, on_event, timeout):
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
                        raise ServerDied(f"ComfyUI ended during the run.{self.log_tail()}")
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


async def receive(socket, deadline, timeout):
    """The next websocket message; raises `ServerError` after the deadline."""
    try:
        return await asyncio.wait_for(socket.receive(), max(0.0, deadline - time.monotonic()))
    except asyncio.TimeoutError:
        raise ServerError(f"The run did not end within {timeout} s.") from None


def failure_in(kind, data):
    """The exception that a websocket message stands for, or None."""
    if kind == "execution_error":
        return NodeFailed(data)
    if kind == "execution_interrupted":
        return Interrupted("The run was interrupted.")
    return None


def answer_error(path, code, body):
    """The exception for an error answer of the server."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if path == "/prompt" and isinstance(answer, dict):
        return Refused(answer)
    return ServerError(f"{path} answered {code}: {body[:300].decode(errors='replace')}")


def describe_refusal(answer):
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


# -- around the process ---------------------------------------------------------------------------

NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def server_environment(host):
    """Variables for the server: this process's, without those that would change its imports."""
    environment = {**os.environ, **hosts.bytecode_elsewhere(host)}
    for name in ("PYTHONHOME", "PYTHONPATH", hosts.CHILD):
        environment.pop(name, None)
    return environment


def needs_cpu(python):
    """Whether the host must be told to use the CPU, because its torch sees no accelerator."""
    devices = ("/dev/nvidiactl", "/dev/kfd", "/dev/dri", "/dev/dxg", "/dev/davinci_manager")
    if sys.platform.startswith("linux") and not any(map(os.path.exists, devices)):
        return True
    probe = (
        "import torch; a = getattr(torch, 'accelerator', None); "
        "print(bool(torch.cuda.is_available() or torch.backends.mps.is_available() or (a and a.is_available())))"
    )
    answer = subprocess.run([str(python), "-c", probe], capture_output=True, text=True)
    return "True" not in answer.stdout


def free_port():
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def link_folder(source, link):
    """Make the folder `source` appear at `link`: a link (on Windows a junction), else a copy."""
    try:
        if os.name == "nt":
            import _winapi

            _winapi.CreateJunction(str(source), str(link))
        else:
            os.symlink(source, link, target_is_directory=True)
    except OSError:
        shutil.copytree(source, link, ignore=shutil.ignore_patterns(".git", "__pycache__", "runs", "output"))


def unlink_folder(link):
    """Remove what `link_folder` made, never what it points to."""
    try:
        if os.path.islink(link):
            os.unlink(link)
        elif os.name == "nt":
            os.rmdir(link)  # a junction; a copy is not empty and stays for rmtree
    except OSError:
        pass


def link_file(source, link):
    """Make a (large) file appear at `link`: a link, else a hard link, else a copy."""
    for way in (os.symlink, os.link, shutil.copyfile):
        try:
            way(source, link)
            return
        except OSError as error:
            failure = error
    raise ServerError(f"{source} cannot be put into the server's folder: {failure}")


class StepPrinter:
    """Prints which node runs and its steps: one moving line on a terminal, some lines elsewhere."""

    def __init__(self, graph, stream=None):
        self.graph, self.stream = graph, stream or sys.stdout
        self.moving = self.stream.isatty()
        self.last = None

    def __call__(self, kind, data):
        if kind == "executing" and data.get("node"):
            self.show(self.title(data["node"]), None)
        elif kind == "progress" and data.get("node") and data["max"] > 1:
            self.show(self.title(data["node"]), (int(data["value"]), int(data["max"])))

    def title(self, node_id):
        """The name of a node as a user sees it."""
        node = self.graph.get(node_id.split(":")[0].split(".")[0], {})
        return node.get("_meta", {}).get("title") or node.get("class_type", f"node {node_id}")

    def show(self, title, steps):
        """Show one state; away from a terminal, a line for each tenth of a sampler's steps."""
        line = f"  {title}" + (f": step {steps[0]} of {steps[1]}" if steps else "")
        state = line if self.moving or steps is None else (title, 10 * steps[0] // max(1, steps[1]))
        if state == self.last:
            return
        self.last = state
        self.stream.write(f"\r\x1b[2K{line}" if self.moving else line + "\n")
        self.stream.flush()

    def close(self):
        """End the moving line."""
        if self.moving and self.last:
            self.stream.write("\n")

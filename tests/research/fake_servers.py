"""Servers that answer as a ComfyUI does and run nothing: what they do to an item is said by a function."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class FakeServer:
    """``does(graph)`` gives an item's outputs, raises ValueError (a node fails), returns None (it never ends), or ANEW (the
    server is started anew by it).

    folder: of the files that outputs name; without one a file holds its own name. queued: ids in the order they came. graphs: by
    id. refuses: what is said of every graph, or "".
    """

    ANEW = object()

    def __init__(self, does, refuses="", folder=None):
        self.does, self.refuses, self.folder, self.queued, self.graphs = does, refuses, folder, [], {}
        self.history, self.running = {}, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                address = urlsplit(self.path)
                kind, _, rest = address.path[1:].partition("/")
                if kind == "history":
                    self.say({rest: outer.history[rest]} if rest in outer.history else {})
                elif kind == "queue":
                    self.say({"queue_running": [[0, each] for each in outer.running], "queue_pending": []})
                elif kind == "view":
                    name = parse_qs(address.query)["filename"][0]
                    if outer.folder and not (outer.folder / name).is_file():
                        return self.say(b"404: Not Found", 404)
                    self.say((outer.folder / name).read_bytes() if outer.folder else name.encode())

            def do_POST(self):
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path == "/prompt":
                    if outer.refuses:
                        errors = {"1": {"class_type": "Loader", "errors": [{"message": outer.refuses, "details": ""}]}}
                        return self.say({"error": {"message": "no"}, "node_errors": errors}, 400)
                    outer.take(said["prompt_id"], said["prompt"])
                    return self.say({"prompt_id": said["prompt_id"], "node_errors": {}})
                if self.path == "/interrupt":
                    outer.running = [each for each in outer.running if each != said["prompt_id"]]
                return self.say({})

            def say(self, content, status=200):
                body = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "image/png" if isinstance(content, bytes) else "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def take(self, number, graph):
        self.queued.append(number)
        self.graphs[number] = graph
        try:
            outputs = self.does(graph)
        except ValueError as problem:
            failed = {"node_id": "1", "node_type": "Sampler", "exception_message": str(problem)}
            self.history[number] = {"outputs": {}, "status": {"status_str": "error", "messages": [["execution_error", failed]]}}
            return
        if outputs is self.ANEW:
            self.history, self.running = {}, []
        elif outputs is None:
            self.running.append(number)
        else:
            self.history[number] = {"outputs": outputs, "status": {"status_str": "success", "messages": []}}

    def end(self):
        self.http.shutdown()
        self.http.server_close()

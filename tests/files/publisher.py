"""A server on this machine that publishes files as others do: whole, in parts, cut off, redirected, wrongly."""

import contextlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Publisher:
    """Serves `files` by path; `asked` lists (path, Range, If-Range) of every request.

    cut: bytes after which each answer ends. ranges: whether it sends rests. redirects: path -> address. tag: its ETag.
    headers: sent, too.
    """

    def __init__(self):
        self.files, self.redirects, self.headers, self.asked = {}, {}, {}, []
        self.cut, self.ranges, self.tag, self.status = None, True, '"one"', 200

    def url(self, path):
        return f"http://127.0.0.1:{self.port}/{path}"


@contextlib.contextmanager
def publishing():
    """A `Publisher` that serves until the block ends."""
    publisher = Publisher()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answer(self, publisher)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    publisher.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield publisher
    finally:
        server.shutdown()
        server.server_close()


def answer(handler, publisher):
    path = handler.path.removeprefix("/")
    asked, tag = handler.headers.get("Range"), handler.headers.get("If-Range")
    publisher.asked.append((path, asked, tag))
    if path in publisher.redirects:
        handler.send_response(302)
        handler.send_header("Location", publisher.redirects[path])
        handler.end_headers()
        return
    if path not in publisher.files or publisher.status != 200:
        handler.send_error(404 if publisher.status == 200 else publisher.status)
        return
    whole, start, status = publisher.files[path], 0, 200
    if asked and publisher.ranges and tag in (None, publisher.tag):
        start, status = int(re.match(r"bytes=(\d+)-", asked)[1]), 206
        if start >= len(whole):
            handler.send_error(416)
            return
    rest = whole[start:]
    handler.send_response(status)
    given = {"Content-Length": len(rest), "ETag": publisher.tag, **publisher.headers}
    if status == 206:
        given["Content-Range"] = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
    for name, value in given.items():
        if value is not None:
            handler.send_header(name, str(value))
    handler.end_headers()
    handler.wfile.write(rest[: publisher.cut])

"""A page of a Chromium that is installed here, over its debugging protocol: no package beyond the host's own."""

import asyncio
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from same_subject.dev import host as hosts

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MISSING = "no Chromium is here: on Debian `apt install chromium`, elsewhere put Chrome or Chromium on the PATH"
START_SECONDS = 300  # a machine may be slow or busy; a browser that ends is noticed at once


def program():
    """The first Chromium on the path, or None."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class NoBrowser(Exception):
    """The browser that is installed does not start."""


class Page:
    """One page of a headless Chromium; its profile is a temporary folder."""

    def start(self):
        """Start the browser; raises `NoBrowser` with the reason."""
        self.loop = asyncio.new_event_loop()
        self.profile = Path(tempfile.mkdtemp(prefix="same-subject-browser-"))
        self.last, self.session, self.socket = 0, None, None
        self.process = subprocess.Popen(
            [
                program(), "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--no-proxy-server",
                "--disable-dev-shm-usage", "--window-size=1920,1080", "--remote-debugging-port=0",
                f"--user-data-dir={self.profile}", "about:blank",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            self.loop.run_until_complete(self.connect())
        except BaseException:
            self.stop()
            raise

    def stop(self):
        """End the browser and remove its profile."""
        if self.session:
            self.loop.run_until_complete(self.session.close())
        hosts.end(self.process)
        self.loop.close()
        shutil.rmtree(self.profile, ignore_errors=True)

    async def connect(self):
        """Wait for the browser and open the line to its page."""
        import aiohttp

        said = self.profile / "DevToolsActivePort"
        deadline = time.monotonic() + START_SECONDS
        while not said.is_file() or not said.read_text():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise NoBrowser(f"{program()} did not start (exit code {self.process.poll()})")
            await asyncio.sleep(0.1)
        self.session = aiohttp.ClientSession()
        async with self.session.get(f"http://127.0.0.1:{said.read_text().split()[0]}/json/list") as answer:
            pages = [target for target in await answer.json() if target["type"] == "page"]
        self.socket = await self.session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0)

    def call(self, method, timeout=300, **parameters):
        """One command of the protocol; returns its result."""
        return self.loop.run_until_complete(asyncio.wait_for(self.answer(method, parameters), timeout))

    async def answer(self, method, parameters):
        """Send a command and skip everything but its answer."""
        self.last += 1
        await self.socket.send_json({"id": self.last, "method": method, "params": parameters})
        while True:
            message = json.loads((await self.socket.receive()).data)
            if message.get("id") == self.last:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]

    def open(self, url):
        """Go to an address."""
        self.call("Page.navigate", url=url)

    def evaluate(self, expression, timeout=300):
        """The value of a JavaScript expression, awaited where it is a promise."""
        said = self.call("Runtime.evaluate", timeout, expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in said, said["exceptionDetails"].get("exception", said["exceptionDetails"])
        return said["result"].get("value")

    def wait_for(self, expression, timeout=300):
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + timeout
        while not self.evaluate(f"Boolean({expression})"):
            assert time.monotonic() < deadline, f"not true within {timeout} s: {expression}"
            time.sleep(0.5)

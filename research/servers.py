"""Many ComfyUI servers at work on one list of graphs: through Ray, or, by the same way, from threads of this process.

An item is a name and a graph in API format. Its name and graph make the id that a server knows it by, so that a server that has
done it, or is at it, is asked for what came out and not to do it again, whoever asked first. A server that is away, too slow, or
refuses graphs that others take is put aside and tried again, ever more rarely, and its item goes to another one. An item that a
server had when it ended may be what ended it, so it waits until all others were tried.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

from ..dev import client as clients
from ..dev.setup.errors import SetupError
from . import runner as runners
from .runner import AWAY, DONE, FAILED, LOST, REFUSED, SLOW, Graph, Runner

TRIES = 3
"""Times that an item may fail, be lost or take too long until it is given up, and failures in a row until a server is put
aside."""
ASIDE, LONGEST_ASIDE = 5.0, 300.0
"""Seconds that a server is put aside at first; twice as long each further time."""
LONGEST, TIMES_THE_LONGEST, QUICKEST = 1800.0, 10, 60.0
"""Seconds that an item may take at first: until some are done; as a multiple of what the longest of these took, because those of
one list differ by much; and at least. Twice as long each further time."""
KNOWN_AFTER = 20
"""Items after which it is known what one takes."""
GIVEN_UP = 600.0
"""Seconds without an item done after which a run ends where all servers are put aside."""
REPORTED = 20.0
"""Seconds between two lines of a run."""


@dataclass(frozen=True)
class Done:
    """An item that needs no more work. outputs: by node id, as the server's history has them.

    files: by node id what those outputs name, in their order, as bytes. failure: why there is nothing, in a sentence; or "".
    """

    name: str
    outputs: dict[str, Any] = field(default_factory=dict)
    files: dict[str, list[bytes]] = field(default_factory=dict)
    server: str = ""
    seconds: float = 0.0
    failure: str = ""


class Threads:
    """A thread of this process for each server."""

    def __init__(self, urls: Sequence[str]):
        self.runners = [Runner(url) for url in urls]
        self.pool = futures.ThreadPoolExecutor(len(urls))

    def start(self, server: int, *item) -> futures.Future:
        return self.pool.submit(self.runners[server], *item)

    def close(self) -> None:
        for runner in self.runners:
            runner.stopped.set()
        self.pool.shutdown(wait=False, cancel_futures=True)


class Actors:
    """An actor of a Ray cluster for each server; Ray starts it again when it ends. address: "local" for a cluster of its own."""

    def __init__(self, urls: Sequence[str], address: str):
        try:
            import ray
        except ImportError as problem:
            raise SetupError(
                f"`--ray` needs the Python package of the cluster's version, which cannot be imported ({problem}). Install it "
                f"with `{sys.executable} -m pip install ray`, or leave `--ray` out: threads do the same on one machine."
            ) from problem
        self.ray = ray
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would send its maker what it counts
        try:
            ray.init(address=address, log_to_driver=False, logging_level="error")
        except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as problem:
            raise SetupError(
                f"no Ray cluster lets us in at {address}: {str(problem).splitlines()[0]}. Check the address, and that Ray's "
                "version and its authentication (RAY_AUTH_MODE) are the same here and there."
            ) from problem
        for module in (runners, clients):
            ray.cloudpickle.register_pickle_by_value(module)
        remote = ray.remote(Runner).options(num_cpus=0, max_restarts=-1, scheduling_strategy="SPREAD")
        self.actors = [remote.remote(url) for url in urls]

    def start(self, server: int, *item) -> futures.Future:
        return self.actors[server].__call__.remote(*item).future()

    def close(self) -> None:
        self.ray.shutdown()


@dataclass
class Server:
    """What a run knows of one server. again: when it is tried again; reason: why it was put aside; both 0 and "" if it is not."""

    url: str
    number: int
    done: int = 0
    failed: int = 0
    asides: int = 0
    again: float = 0.0
    reason: str = ""
    in_a_row: int = 0


@dataclass
class Item:
    """An item with what has become of it so far. slow: times that it took too long. lost: whether a server lost it."""

    name: str
    graph: Graph
    failures: list[str] = field(default_factory=list)
    slow: int = 0
    lost: bool = False
    refused: dict[int, str] = field(default_factory=dict)
    tried: set[int] = field(default_factory=set)
    started: float = 0.0


class Pool:
    """Servers by their addresses. ray: address of a cluster; "local" for one of its own; None for threads. say: hears of the run.

    `run` may be called again; `report` says what each server did.
    """

    def __init__(
        self, urls: Iterable[str], ray: str | None = None, say: Callable[[str], object] = print, aside: float = ASIDE,
        longest: float = LONGEST, given_up: float = GIVEN_UP,
    ) -> None:  # fmt: skip
        self.servers = [Server(url, number) for number, url in enumerate(dict.fromkeys(url.rstrip("/") for url in urls))]
        if not self.servers:
            raise SetupError("no server was named. Give the address of one or more, such as http://127.0.0.1:8188.")
        if wrong := [server.url for server in self.servers if not server.url.startswith(("http://", "https://"))]:
            raise SetupError(f"`{wrong[0]}` is no server's address. Write it as in http://127.0.0.1:8188.")
        self.ray, self.say, self.aside, self.longest, self.given_up = ray, say, aside, longest, given_up
        self.taken: deque[float] = deque(maxlen=101)
        self.started = time.monotonic()

    def run(self, items: Iterable[tuple[str, Graph] | None]) -> Iterator[Done]:
        """Each item once, as it is done or given up. Items are drawn as servers are free; None where the next is still to come.
        Raises SetupError where no server can run a graph, or none has been at work for long."""
        urls = [server.url for server in self.servers]
        hands = Actors(urls, self.ray) if self.ray else Threads(urls)
        try:
            yield from self._run(iter(items), hands)
        finally:
            hands.close()

    def _run(self, fresh: Iterator[tuple[str, Graph] | None], hands: Threads | Actors) -> Iterator[Done]:
        back: deque[Item] = deque()
        running: dict[futures.Future, tuple[Server, Item]] = {}
        alive = told = self.started = time.monotonic()
        more, done, given_up = True, 0, 0
        while more or back or running:
            now = time.monotonic()
            silent = now - alive > self.given_up and all(server.reason for server in self.servers)
            if silent and not running:
                raise SetupError(
                    f"no server has done anything for {self.given_up:.0f} s. {self._asides()} See to them, and start again: it "
                    "goes on where it was."
                )
            busy = {server.number for server, _ in running.values()}
            for server in self.servers:
                if silent or server.number in busy or server.again > now:
                    continue
                item = _next(back, server, self.servers, lost=False)
                if item is None and more:
                    try:
                        drawn = next(fresh)
                    except StopIteration:
                        drawn, more = None, False
                    if drawn:
                        item = Item(*drawn)
                    elif more:
                        alive = now  # it is not the servers that are waited for
                if item is None and not more:
                    item = _next(back, server, self.servers, lost=True)
                if item is not None:
                    item.started = now
                    running[hands.start(server.number, item.name, item.graph, self._limit() * 2**item.slow)] = server, item
            finished, _ = futures.wait(running, 0.2, futures.FIRST_COMPLETED)
            if not running:
                time.sleep(0.05)
            for one in finished:
                server, item = running.pop(one)
                settled = self._settle(server, item, _result(one))
                if settled is None:
                    back.append(item)
                    continue
                if settled.failure:
                    given_up += 1
                else:
                    alive, done = time.monotonic(), done + 1
                yield settled
            if time.monotonic() - told > REPORTED:
                told = time.monotonic()
                pace = 60 * done / (told - self.started)
                self.say(f"{done} done, {given_up} given up, {pace:.1f} a minute. {self._asides()}".rstrip())

    def _settle(self, server: Server, item: Item, result: dict) -> Done | None:
        """What an attempt came to; None where the item must be tried again."""
        seconds, outcome = time.monotonic() - item.started, result["outcome"]
        if outcome != AWAY:
            item.tried.add(server.number)
        if outcome == DONE:
            server.done, server.in_a_row, server.asides, server.reason = server.done + 1, 0, 0, ""
            if not result["had"]:
                self.taken.append(seconds)
            return Done(item.name, result["outputs"], result["files"], server.url, seconds)
        reason = result["reason"]
        server.failed, server.in_a_row = server.failed + 1, server.in_a_row + 1
        if outcome == REFUSED:
            item.refused[server.number] = reason
            if len(item.refused) == len(self.servers):
                raise SetupError(f"no server can run this graph. {server.url}: {reason}")
        if outcome in (FAILED, LOST, SLOW):
            item.failures.append(reason)
            item.slow, item.lost = item.slow + (outcome == SLOW), item.lost or outcome == LOST
        if outcome != FAILED or server.in_a_row >= TRIES:
            self._put_aside(server, reason)
        if len(item.failures) >= TRIES:
            return Done(item.name, server=server.url, seconds=seconds, failure=item.failures[-1])
        return None

    def _put_aside(self, server: Server, reason: str) -> None:
        seconds = min(LONGEST_ASIDE, self.aside * 2**server.asides)
        server.asides, server.reason = server.asides + 1, reason.splitlines()[0]
        server.again = time.monotonic() + seconds
        self.say(f"{server.url} is put aside for {seconds:.0f} s: {server.reason}")

    def _limit(self) -> float:
        """Seconds that the next item may take the first time."""
        if len(self.taken) < KNOWN_AFTER:
            return self.longest
        return min(self.longest, max(QUICKEST, TIMES_THE_LONGEST * max(self.taken)))

    def _asides(self) -> str:
        said = [f"{server.url}: {server.reason}" for server in self.servers if server.reason]
        return f"Put aside: {'; '.join(said)}." if said else ""

    def report(self) -> str:
        """A line for each server, and one for all."""
        hours = max(1e-9, time.monotonic() - self.started) / 3600
        lines = [f"{'server':<40}{'done':>8}{'failed':>8}"]
        lines += [f"{server.url:<40}{server.done:>8}{server.failed:>8}" for server in self.servers]
        done = sum(server.done for server in self.servers)
        failed = sum(server.failed for server in self.servers)
        lines.append(f"{'all, ' + format(done / hours, '.0f') + ' an hour':<40}{done:>8}{failed:>8}")
        return "\n".join(lines)


def _next(back: deque[Item], server: Server, servers: Sequence[Server], lost: bool) -> Item | None:
    """The first item given back that this server has not tried, or that every server has which is not put aside.

    lost: of those that a server lost, or of the others.
    """
    some = [item for item in back if item.lost == lost]
    fresh = (item for item in some if server.number not in item.tried)
    again = (item for item in some if all(other.number in item.tried or other.reason for other in servers))
    item = next(fresh, None) or next(again, None)
    if item is not None:
        back.remove(item)
    return item


def _result(one: futures.Future) -> dict:
    """What a runner said; one that ended without a word, as an actor that was killed, lost its item."""
    try:
        return one.result()
    except Exception as problem:
        said = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        return {"outcome": LOST, "reason": f"its worker ended: {said}"}

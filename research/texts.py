"""Looks and scenes by a language model for many collages: asked for ahead, kept as they come, asked for again where none came.

A model that answers late, too little, or not at all costs a collage, not the run, and no server waits for it.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Container, Iterator
from concurrent import futures
from pathlib import Path

from ..nodes.synthesis import asking
from .labels import journal

AT_ONCE = 8
"""Collages that a model is asked about at a time; as many again wait for their turn."""
TRIES = 5
"""Times that it is asked about a collage until that is given up."""
PAUSE, LONGEST_PAUSE = 4.0, 300.0
"""Seconds until it is asked again: at first, and twice as long each further time, or as long as it says; and at most."""
SILENT = 600.0
"""Seconds without an answer after which it is asked no more."""


class Texts:
    """What a model writes. file: keeps it, a line a collage, so that a run that goes on has the same. done: names that need none.

    failures: why collages were given up, and how many. silence: what the model last said where nothing came of it for long.
    """

    def __init__(self, file: Path, done: Container[str], failures: Counter[str]):
        self.file, self.failures = file, failures
        self.known = {line["name"]: line for line in journal.lines(file, "synthesize") if line["name"] not in done}
        self.silence: asking.Unanswered | None = None
        self.unanswered, self.answered = 0, -math.inf
        """Collages since the last answer, and when that came."""
        self.writing, self.ending = threading.Lock(), threading.Event()

    def filled(self, items: Iterator[tuple[str, dict]], node: str) -> Iterator[tuple[str, dict] | None]:
        """(name, graph) of ``items`` with texts in the graph's ``node``, a Set Prompts, as they come; None where the next is to
        come yet.

        Where the model falls silent only those come that it has answered. Close it to leave: what is being answered is kept, and
        nothing more is asked.
        """
        pool = futures.ThreadPoolExecutor(AT_ONCE)
        waiting: deque[tuple[futures.Future[dict], str, dict]] = deque()
        more, came = True, False
        try:
            while more or waiting:
                while more and len(waiting) < 2 * AT_ONCE:
                    name, graph = next(items, ("", {}))
                    more = bool(name) and (self.silence is None or bool(self.known))
                    if name in self.known:
                        came = True
                        yield name, _with(graph, node, self.known.pop(name))
                    elif more and self.silence is None:
                        waiting.append((pool.submit(self._written, name, graph[node]["inputs"]), name, graph))
                ready = next((one for one in waiting if one[0].done()), None)
                if ready is None:
                    if waiting:
                        yield None
                    continue
                waiting.remove(ready)
                written, name, graph = ready
                try:
                    line = written.result()
                except asking.Unanswered as problem:
                    self._note(problem, not (more or waiting or came))
                else:
                    came = True
                    yield name, _with(graph, node, line)
        finally:
            self.ending.set()
            pool.shutdown(cancel_futures=True)

    def _note(self, problem: asking.Unanswered, all_of_them: bool) -> None:
        """A collage that was given up. all_of_them: whether it is the last, and none came."""
        self.failures[str(problem)] += 1
        if all_of_them or (self.unanswered >= AT_ONCE and time.monotonic() - self.answered > SILENT):
            self.silence = problem
            self.ending.set()

    def _written(self, name: str, inputs: dict) -> dict:
        """The line of a collage; written already. Raises Unanswered."""
        for number in range(TRIES):
            try:
                if self.silence:
                    raise self.silence
                looks, scenes = asking.texts(inputs["subject"], inputs["instances"], inputs["seed"])
            except asking.Unanswered as problem:
                pause = min(LONGEST_PAUSE, max(problem.after, PAUSE * 2**number))
                if not problem.again or number == TRIES - 1 or self.ending.wait(pause):
                    with self.writing:
                        self.unanswered += 1
                    raise
            else:
                line = {"name": name, "looks": looks, "scenes": list(scenes)}
                with self.writing:
                    journal.append(self.file, line)
                    self.unanswered, self.answered = 0, time.monotonic()
                return line
        raise AssertionError


def _with(graph: dict, node: str, line: dict) -> dict:
    own = {"texts": "lists", "description": line["looks"], "scenes": "\n".join(line["scenes"])}
    graph[node]["inputs"].update(own)
    return graph

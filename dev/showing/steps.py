"""Which node runs, and its steps: a moving bar on a terminal, some lines elsewhere."""

from __future__ import annotations

import sys
from typing import IO, Any

from same_subject.dev.client import Graph
from tqdm import tqdm


class StepPrinter:
    """Hears the messages of a run, as a context manager; away from a terminal, a line for each tenth of a node's steps."""

    def __init__(self, graph: Graph, stream: IO[str] | None = None) -> None:
        self.graph, self.stream = graph, stream or sys.stdout
        self.moving = self.stream.isatty()
        self.last: Any = None

    def __enter__(self) -> StepPrinter:
        self.bar = tqdm(file=self.stream, disable=not self.moving, bar_format="  {desc}", mininterval=0)
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def __call__(self, kind: str, data: dict[str, Any]) -> None:
        if kind == "executing" and data.get("node"):
            self.show(self.title(data["node"]), 0, 0)
        elif kind == "progress" and data.get("node") and data["max"] > 1:
            self.show(self.title(data["node"]), int(data["value"]), int(data["max"]))

    def title(self, node_id: str) -> str:
        """The name of a node as a user sees it."""
        node = self.graph.get(node_id.split(":")[0].split(".")[0], {})
        return node.get("_meta", {}).get("title") or node.get("class_type", f"node {node_id}")

    def show(self, title: str, step: int, steps: int) -> None:
        """Show that a node runs, and where it has several ``steps``, which one."""
        if self.moving:
            self.bar.bar_format = "  {desc}: step {n_fmt} of {total_fmt} |{bar:30}| {remaining} left" if steps else "  {desc}"
            if (title, steps) != self.last:
                self.bar.reset(steps)
            self.bar.set_description_str(title, refresh=False)
            self.bar.n = step
            self.bar.refresh()
            self.last = title, steps
            return
        state = (title, 10 * step // steps if steps else None)
        if state != self.last:
            print(f"  {title}" + (f": step {step} of {steps}" if steps else ""), file=self.stream, flush=True)
        self.last = state

"""A call of the UNet: on every row, or on those that something looks at, with references from where they are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from .attention import Padding, SetCall
from .bank import Page, Run, copied, is_possible
from .rows import Inputs, Rows


@dataclass(frozen=True, eq=False)
class Call:
    """What a call is given. executor: the next of the host's wrappers around it. inputs: of every row, B rows a chunk.

    own: each row's own tokens of text. about: what the call is about, with every row. blocks: those that have attention.
    """

    executor: Any
    inputs: Inputs
    own: Sequence[int]
    about: SetCall
    options: dict
    blocks: tuple[tuple[str, int], ...]

    def on_every_row(self, control) -> torch.Tensor:
        """The result with the residuals of ControlNets."""
        return self._result(self.inputs, self.own, self.about, self.options, control)

    def on_seen_rows(self, run: Run | None, sigma: float, clean: torch.Tensor) -> torch.Tensor:
        """The same, but rows of references that no generated row of their chunk looks at come back as ``clean`` [S * R, ...].

        With a ``run`` that keeps pages, nothing looks at references but what makes their page. sigma: theirs in this step.
        """
        layout, views = self.about.layouts[0], self.about.views
        seen = tuple(view.references and bool(self.about.levels) for view in views)
        pages: tuple[Page | None, ...] = (None,) * len(views)
        if run is not None and not any(view.generated for view in views) and is_possible(self.executor.class_obj):
            pages = self._pages(run, sigma, [number for number, flag in enumerate(seen) if flag])
        rows = Rows(layout, tuple(flag and page is None for flag, page in zip(seen, pages, strict=True)))
        about = replace(self.about, layouts=rows.layouts, pages=pages)
        out = self._result(self.inputs.map(rows.cut), [self.own[row] for row in rows.kept], about, self.options)
        return rows.back(out, clean)

    def _pages(self, run: Run, sigma: float, chunks: Sequence[int]) -> tuple[Page | None, ...]:
        """Of each chunk that is named, the page of its references; one that is not kept is made in a call of its own.

        So pictures do not depend on what was kept, not by rounding either.
        """
        model, about, layout = self.executor.class_obj, self.about, self.about.layouts[0]
        rows, alone = Rows(layout, (True,) * len(about.views)), replace(layout, pictures=0)
        shown = None if about.sharing is None else about.sharing.name
        pages: list[Page | None] = [None] * len(about.views)
        for chunk in chunks:
            inputs = self.inputs.map(partial(rows.references, chunk=chunk))
            own = [self.own[chunk * layout.rows + row] for row in layout.reference_rows]
            given = [*inputs.as_the_network_gets_it(model), own]
            name = (sigma, alone, about.views[chunk].alone, tuple(sorted(about.levels)), tuple(inputs.x.shape), shown)
            page = run.find(model, name, given)
            if page is None:
                needed = model.memory_required(list(self.inputs.x.shape))
                page, this = Page(copied(given)), slice(chunk, chunk + 1)
                views, terms = about.views[this], about.terms[this]
                of_page = replace(about, layouts=(alone,), views=views, terms=terms, pages=(page,), words=(), take=None)
                lists = {key: self.options[key][this] for key in ("cond_or_uncond", "uuids") if key in self.options}
                self._result(inputs, own, of_page, {**self.options, **lists})
                run.keep(model, name, page, needed)
            pages[chunk] = page
        return tuple(pages)

    def _result(self, inputs: Inputs, own: Sequence[int], about: SetCall, options: dict, control=None) -> torch.Tensor:
        about = replace(about, padding=Padding.of(own, inputs.c_crossattn), waiting=set())
        options = about.installed(options, self.blocks)
        out = self.executor(inputs.x, inputs.t, inputs.c_concat, inputs.c_crossattn, control, options, **inputs.others)
        about.check()
        return out

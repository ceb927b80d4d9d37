"""Several sources as one endless stream, each as likely as the others, that goes on where it was stopped (JeDi, section 4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .examples import PictureSet
from .sources import Entry, Source, drawing, shuffled

NEAR, TRIES = 32, 1000
"""How often another set is tried in the place of a damaged one: first of the same part, then of any."""


@dataclass
class Place:
    """How far one source was read: this epoch, so many parts of its order, so many sets of the part."""

    epoch: int = 0
    part: int = 0
    entry: int = 0


class Mixture:
    """An endless iterator of sets from several sources with equal probability, each shuffled anew in every epoch.

    Of ``ranks`` processes each gets every ranks-th set of one common order, so that together they see what one process alone
    would see; a damaged set is replaced by another, without moving the others. Raises ValueError where there is no source, a
    source has no set, or none that can be used is found.
    """

    def __init__(self, sources: Sequence[Source], seed: int, rank: int = 0, ranks: int = 1):
        if not sources:
            raise ValueError("Data: no source was given, but training needs one. Give a folder of sets, for one.")
        if not 0 <= rank < ranks:
            raise ValueError(f"Data: process {rank + 1} of {ranks} was asked for. Give a rank from 0 to {ranks - 1}.")
        self.sources, self.seed, self.rank, self.ranks = tuple(sources), seed, rank, ranks
        self.drawn = 0
        self.places = [Place() for _ in self.sources]
        self._known: list[list[str]] = []
        self._parts: dict[tuple[int, int], list[str]] = {}
        self._entries: dict[tuple[int, int, int], list[Entry]] = {}

    def __iter__(self) -> Iterator[PictureSet]:
        return self

    def __next__(self) -> PictureSet:
        mine = None
        for rank in range(self.ranks):
            number = self.drawn + rank
            which = drawing("source", self.seed, number).randrange(len(self.sources))
            place, entry = self._next(which)
            if rank == self.rank:
                mine = which, number, place, entry
        self.drawn += self.ranks
        assert mine is not None
        return self._read(*mine)

    def state_dict(self) -> dict[str, Any]:
        """Where it is, for JSON; the same in all processes."""
        places = [asdict(place) for place in self.places]
        self._known = self._known or [[source.kind, source.fingerprint()] for source in self.sources]
        return {"seed": self.seed, "drawn": self.drawn, "places": places, "sources": self._known}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there. Raises ValueError where seed or sources are other ones, or their files changed."""
        now = self.state_dict()
        if state["seed"] != now["seed"]:
            raise ValueError(
                f"Data: the run was begun with seed {state['seed']}, but seed {now['seed']} was given. Give the same."
            )
        if len(state["sources"]) != len(self.sources):
            raise ValueError(
                f"Data: the run was begun with {len(state['sources'])} sources, but {len(self.sources)} were given. Give those."
            )
        for before, after, source in zip(state["sources"], now["sources"], self.sources, strict=True):
            if list(before) != after:
                what = "holds other files now" if before[0] == after[0] else f"stands where a source of kind {before[0]} was"
                raise ValueError(
                    f"Data: the run cannot go on as if it had not stopped, for {source.name} {what}. Give what the run was begun "
                    "with, or begin anew."
                )
        self.drawn = state["drawn"]
        self.places = [Place(**place) for place in state["places"]]

    def _next(self, which: int) -> tuple[Place, Entry]:
        """The next set of a source, which moves on, and where it stands."""
        place = self.places[which]
        empty = 0
        while place.entry >= len(entries := self._listed(which, place)):
            empty += not entries
            if empty > len(self._order(which, place.epoch)):
                raise ValueError(
                    f"Data: {self.sources[which].name} holds no set.{self._why(self.sources[which])} Give another source; "
                    "`python3 research/data.py` says what one holds."
                )
            place.part, place.entry = place.part + 1, 0
            if place.part >= len(self._order(which, place.epoch)):
                place.epoch, place.part = place.epoch + 1, 0
        at = Place(**asdict(place))
        place.entry += 1
        return at, entries[at.entry]

    def _read(self, which: int, number: int, place: Place, entry: Entry) -> PictureSet:
        source, draw = self.sources[which], drawing("set", self.seed, number)
        for attempt in range(TRIES):
            if taken := source.take(entry, draw):
                return taken
            entries = self._listed(which, place)
            if attempt >= NEAR:
                parts = source.parts()
                entries = source.entries(parts[draw.randrange(len(parts))]) or entries
            entry = entries[draw.randrange(len(entries))]
        raise ValueError(f"Data: {source.name} holds no set that can be used, as far as {TRIES} tries go.{self._why(source)}")

    def _order(self, which: int, epoch: int) -> list[str]:
        if (which, epoch) not in self._parts:
            source = self.sources[which]
            self._parts = {key: parts for key, parts in self._parts.items() if key[0] != which}
            self._parts[which, epoch] = shuffled(source.parts(), self.seed, which, epoch)
        return self._parts[which, epoch]

    def _listed(self, which: int, place: Place) -> list[Entry]:
        key = which, place.epoch, place.part
        if key not in self._entries:
            parts = self._order(which, place.epoch)
            self._entries = {other: entries for other, entries in self._entries.items() if other[0] != which}
            part = parts[place.part] if place.part < len(parts) else None
            listed = shuffled(self.sources[which].entries(part), self.seed, which, place.epoch, part) if part is not None else []
            self._entries[key] = listed
        return self._entries[key]

    @staticmethod
    def _why(source: Source) -> str:
        counts = Counter({reason: len(names) for reason, names in source.skipped.items()})
        said = "; ".join(f"{count} times: {reason}" for reason, count in counts.most_common(3))
        return f" Left out were {said}." if said else ""

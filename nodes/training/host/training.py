"""The callable layer: a base, settings and a source become a file that stock loaders take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import comfy.model_management
import torch

from .. import processes as running
from ..cache import Cache
from ..loop import SAID, Loop, say
from ..settings import FULL, Settings
from . import files, memory
from .base import Base
from .batches import Batches, Stream
from .encoding import Encoder
from .network import Network
from .step import step

Watcher = Callable[[Network, Loop], object]


def train(
    base: Base,
    settings: Settings,
    source: Stream,
    output: Path,
    *,
    folder: Path,
    progress: Callable[[int, dict], object] = say,
    stop: Callable[[], bool] = lambda: False,
    processes: running.Processes | None = None,
    cache: Path | None = None,
    watchers: tuple[tuple[int, Watcher], ...] = (),
    write: Callable[[Network, Path, int, Mapping[str, torch.Tensor] | None], object] = files.save,
) -> Network:
    """Train ``base``, which is changed, on an endless ``source``, and write the running average of what is trained to ``output``.

    folder: of the state of the run, `<output's name>.pt`: started again with the same choices, it goes on from there. progress:
    gets the log, see `Loop`. stop: asked before each round; where it says so, training ends, and what there is is written; so it
    does where the host was told to stop, or at Ctrl+C, whose exception then goes on its way. cache: a folder for latents and
    texts. watchers: called after each so many steps. write: a network after so many steps, to a path; of all weights it gets
    those of the UNet, which its own may be shards of.
    Returns the network, with what was written. Raises ValueError before the first step where memory will not do.
    """
    processes = processes or running.launched()
    processes.check(settings)
    with _training():
        found = memory.check_before(base, settings, processes)
        network = Network(base, settings)
        encoder = Encoder(base, settings, Cache(cache) if cache else None)
        batches = Batches(source, encoder, settings, processes.seed(settings.seed))
        kept, nets, chosen = {"batches": batches}, {"network": network}, settings
        loop = Loop(
            folder, output.stem, nets, chosen.rate, chosen.steps, chosen.seed, chosen.every, chosen.decay,
            warm_up=min(chosen.warm_up, chosen.steps // 10), optimiser=chosen.optimiser, processes=processes, kept=kept,
            log=progress, said=min(SAID, max(1, chosen.steps // 10)),
        )  # fmt: skip
        for every, watcher in watchers:
            loop.watch(every, partial(watcher, network))
        interrupted = None
        try:
            _rounds(loop, network, batches, stop, partial(memory.make_room, found, network, processes.device))
        except (comfy.model_management.InterruptProcessingException, KeyboardInterrupt) as problem:  # any layer may raise it
            if processes.ranks > 1:  # others do not stand where this one does
                raise
            interrupted = problem
            loop.save()
        if loop.average:
            network.load_state_dict(loop.average["network"])
        weights = processes.whole(network.unet.state_dict()) if settings.method == FULL else None
        if processes.rank == 0 and (loop.done or not interrupted):
            write(network, output, loop.done, weights)
        processes.wait()
    if interrupted:
        raise interrupted
    return network


def _rounds(loop: Loop, network: Network, batches: Batches, stop: Callable[[], bool], make_room: Callable[[bool], None]) -> None:
    schedule, begun = network.base.schedule, loop.done
    for _ in loop:
        if stop():
            loop.save()
            return
        sets = next(batches)
        make_room(loop.done == begun)
        outcome = step(network, sets, schedule, loop.generator, loop.processes.autocast)
        missing = outcome.missing > 0
        figures = {"loss": outcome.loss.item()}
        if network.settings.references and missing.any():
            figures["missing"] = outcome.rows[missing].mean().item()
        loop.learn(outcome.loss, figures)


@contextmanager
def _training() -> Iterator[None]:
    """The host's state of a training: gradients are possible, and it says so to what it loads."""
    before = getattr(comfy.model_management, "in_training", False)
    comfy.model_management.in_training = True
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        comfy.model_management.in_training = before

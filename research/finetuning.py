"""What `research/finetune.py` does: a training from a checkpoint, and one on the demo world with its figures before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import comfy.sd
import comfy.utils
import torch

from ..nodes.data.mixing import Mixture
from ..nodes.data.opening import open_source
from ..nodes.data.sources import Source
from ..nodes.demo.host import model as demo_model
from ..nodes.training import logs
from ..nodes.training import loop as loops
from ..nodes.training import processes as running
from ..nodes.training.host import base as bases
from ..nodes.training.host import files, memory, sheets, training
from ..nodes.training.host.encoding import Encoder
from ..nodes.training.host.network import Network
from ..nodes.training.settings import FULL, Settings
from . import export, measure, memory_table, train_denoiser, world
from . import judge as judges
from .drawn_sets import KINDS, SUBJECTS
from .evaluate import Setting

CHOSEN = ("rank", "layers", "steps", "rate", "rows", "side")
"""What a user may ask for by an option of the same name; else a training has what `Settings` says."""
DEMO = {"rank": 8, "steps": 400, "rate": 2e-3, "rows": 32}
"""What --demo has where nothing else is asked for."""
PAIRS = 64
"""Held-out pairs of the measure of copying."""
RESAMPLES, STEPS = 2000, 8
STRONG = Setting(cfg=5.0, masks="given", recipe="strong")
BEFORE = {"before, as trained on sets": Setting(), "before, recipe strong": STRONG}
AFTER = {"after": Setting(), "after, recipe strong": STRONG}


def run(options) -> int:
    """Train from a user's checkpoint on a user's data; 130 where Ctrl+C stopped it."""
    check_output(options)
    processes = running.launched(options.accumulate)
    settings = settings_of(options)
    processes.check(settings)
    log = logs.tensorboard(options.tensorboard) if options.tensorboard else ignored
    source = Mixture(sources_of(options), options.seed, processes.rank, processes.ranks)
    halves = processes.mixed and processes.device.type == "cuda"
    base = bases.open_checkpoint(options.checkpoint, memory_table.kept_in(options.method, halves))
    progress, stopped, first = logs.Progress(say), False, processes.rank == 0
    if first:
        print(begun(options, settings, processes), flush=True)
    watchers: list[tuple[int, training.Watcher]] = [(1, lambda _, loop: progress(loop))]
    if options.sheets and options.sheet_every:
        watchers.append((min(options.sheet_every, settings.steps), sheet_into(options.sheets, base, options, settings)))
    try:
        training.train(
            base, settings, source, options.output, folder=options.folder, processes=processes, cache=options.cache, progress=log,
            watchers=tuple(watchers),
        )  # fmt: skip
    except KeyboardInterrupt:
        if processes.ranks > 1:
            raise
        stopped = True
    if first:
        print(ended(options, settings, progress.done, stopped), flush=True)
        for one in source.sources:
            for reason, names in one.skipped.items():
                print(f"{one.name}: {len(names)} left out, {reason} (such as {names[0]})")
    return 130 if stopped else 0


def ignored(step: int, line: dict) -> None:
    """No log but what `Progress` prints."""


def check_output(options) -> None:
    """Raises ValueError for an --output that no loader lists, or that is a file of somebody else's; makes its folder."""
    output = options.output
    if output.suffix != ".safetensors" or output.is_dir():
        raise ValueError(
            f"Training: --output is {output}, but needs to be a file's name that ends in .safetensors, as ComfyUI's loaders list "
            "them. Give one, such as my_lora.safetensors."
        )
    if output.exists() and not state_of(options).is_file():
        raise ValueError(
            f"Training: {output} is there, and {options.folder} has no state of a run that wrote it. Give another --output, or "
            "move that file away."
        )
    output.parent.mkdir(parents=True, exist_ok=True)


def state_of(options) -> Path:
    """The file that keeps a run's state."""
    return options.folder / f"{options.output.stem}.pt"


def begun(options, settings: Settings, processes: running.Processes) -> str:
    """What a run is going to do, for people."""
    what = "all weights" if settings.method == FULL else f"a {settings.method} of rank {settings.rank}"
    where = {"cuda": "a GPU", "cpu": "the CPU, which takes long"}.get(processes.device.type, processes.device.type)
    many = f", in each of {processes.ranks} processes" if processes.ranks > 1 else ""
    rounds = f", {processes.accumulate} times" if processes.accumulate > 1 else ""
    state = state_of(options)
    known = f"It goes on from {state}." if state.is_file() else f"It can be stopped and started again: {state} keeps its state."
    return (
        f"Training {what} for {options.checkpoint.name} on {where}: {settings.steps} steps of about "
        f"{settings.rows} pictures{rounds}{many}, {settings.side} x {settings.side}, from {', '.join(options.data)}.\n{known}"
    )


def ended(options, settings: Settings, done: int, stopped: bool) -> str:
    """What has become of it."""
    output = options.output
    if stopped and not done:
        return "\nStopped before a step was done."
    size = f"{output.stat().st_size / 2**20:.1f} MiB"
    if stopped:
        return f"\nStopped after {done} of {settings.steps} steps. {output} ({size}) has what was learned so far."
    way = "models/checkpoints, for Load Checkpoint" if settings.method == FULL else (
        "models/loras, for Load LoRA between Load Checkpoint and JeDi"
    )  # fmt: skip
    before = "" if done else f" All {settings.steps} steps had been done before; more are asked for by --steps."
    return f"{output} is written ({size}). Put it into ComfyUI's {way}.{before}"


def sources_of(options) -> list[Source]:
    return [open_source(spec, more=KINDS) for spec in options.data]


def sheet_into(folder: Path, base: bases.Base, options, settings: Settings):
    """A watcher that writes a sample sheet of the data's first sets."""
    sets = sheets.first_sets(base, sources_of(options), settings, options.cache)

    def write(network: Network, loop: loops.Loop) -> None:
        shown = sheets.drawn(network, loop, sets)
        if loop.processes.rank == 0:
            folder.mkdir(parents=True, exist_ok=True)
            shown.save(folder / f"{options.output.stem}-{loop.done:06}.png")

    return write


def estimate(options) -> int:
    """Print what a step takes: of a user's checkpoint with a user's choices, or of usual ones; or take one and time it."""
    if options.measure:
        memory_table.show_measured(options.measure, settings_of(options, rows=2, side=memory_table.LAYOUTS[options.measure][1]))
        return 0
    if not options.checkpoint:
        memory_table.show()
        return 0
    base = bases.open_checkpoint(options.checkpoint)
    settings = settings_of(options)
    dtype = memory_table.kept_in(options.method)
    found = memory.estimate(base.patcher.model.model_config.unet_config, settings, dtype, base.vae.spacial_compression_encode())
    print(f"{options.checkpoint.name}, counted: {found.text()}")
    return 0


@dataclass(frozen=True, eq=False)
class Pairs:
    """latents: scaled, [2 * P, 4, h, w]. states: of captions, [C, T, D]. captions: number of each picture's, [2 * P]."""

    latents: torch.Tensor
    states: torch.Tensor
    captions: torch.Tensor


def settings_of(options, **usual) -> Settings:
    """What a user chose of a training. usual: what it has, in place of what `Settings` says, where nothing was chosen."""
    asked = {name: getattr(options, name) for name in CHOSEN}
    chosen = usual | {name: value for name, value in asked.items() if value is not None}
    return Settings(
        options.method, references=not options.without_references, seed=options.seed, sizes=Settings.sizes[: options.largest_set],
        buckets=options.buckets, snr=options.snr, head_start=options.head_start, saving=options.save_memory,
        optimiser=options.optimiser, data=", ".join(options.data or ()), **chosen,
    )  # fmt: skip


def demo(options) -> int:
    """Train on the demo world, and print how its model did before, and with what was trained."""
    settings = replace(
        settings_of(options, **DEMO), side=world.SIZE, sizes=train_denoiser.SIZES, every=100, decay=0.98, warm_up=20,
        head_start=True, data="the demo world",
    )  # fmt: skip
    output = options.output or options.folder / "demo_lora.safetensors"
    base, held_out, full = single(), pairs(single()), settings.method == FULL
    progress = logs.Progress(say)
    watchers: list[tuple[int, training.Watcher]] = [(1, lambda _, loop: progress(loop))]
    if settings.references:
        watchers.append((50, lambda network, loop: say(f"step {loop.done}: copying {copying(network.base, held_out)[1]:.3f}")))
    say(f"Training: {settings.method}, {settings.steps} steps of {settings.rows} drawn pictures")
    network = training.train(
        base, settings, Mixture([open_source("demo:", more=KINDS)], settings.seed), output, folder=options.folder,
        progress=ignored, watchers=tuple(watchers), write=save_demo if full else files.save,
    )  # fmt: skip
    if settings.references:
        low, middle, high = copying(network.base, held_out)
        print(f"copying: {middle:.3f} [{low:.3f}, {high:.3f}] of {PAIRS} held-out pairs")
    print_figures(output, full, options.subjects)
    say(f"{output} is written.")
    return 0


def single() -> bases.Base:
    """The demo's model of single pictures, this training's own."""
    path = export.FILES["single"]
    return bases.base_of(*demo_model.load(path), path)


def say(line: str) -> None:
    print(line, flush=True)


def pairs(base: bases.Base, side: int = world.SIZE) -> Pairs:
    """Held-out pairs of pictures of the drawn world, as ``base`` encodes them at ``side`` x ``side`` pixels."""
    encoder = Encoder(base, Settings(side=side))
    source = open_source(f"demo:{SUBJECTS + PAIRS}", more=KINDS)
    drawn = [source.read(entry) for entry in source.entries(source.parts()[0])[SUBJECTS:]]
    both = [replace(one, pictures=one.pictures[:2], captions=one.captions[:2]) for one in drawn]
    texts = [text for one in both for text in one.captions]
    captions = sorted(set(texts))
    states = torch.cat([encoder.states(text)["states"] for text in captions])
    numbers = torch.tensor([captions.index(text) for text in texts])
    return Pairs(torch.cat([encoder.encode(one).latents for one in both]), states, numbers)


def copying(base: bases.Base, pairs: Pairs, bounds: float = 0.95) -> tuple[float, float, float]:
    """How much the right reference helps a ``base`` of 9 channels, `train_denoiser.copying`: between its bootstrap ``bounds``
    over pairs (low, itself, high).
    """
    errors = train_denoiser.reference_errors(
        base.unet, pairs.states.to(loops.device()), (pairs.latents, pairs.captions), base.schedule
    )
    picks = torch.randint(errors.shape[1], (RESAMPLES, errors.shape[1]), generator=torch.Generator().manual_seed(0))
    own, others = errors[:, picks].mean(dim=2)
    low, high = torch.quantile(others / own - 1, torch.tensor([(1 - bounds) / 2, (1 + bounds) / 2])).tolist()
    own, others = errors.mean(dim=1)
    return low, float(others / own - 1), high


def save_demo(network: Network, path: Path, steps: int, trained: Mapping[str, torch.Tensor]) -> None:
    """Write all weights as a demo model's file."""
    export.save_whole(export.FILES["single"], trained, path, files.about(network, steps).metadata())


@torch.inference_mode()
def print_figures(output: Path, full: bool, count: int) -> None:
    """A table of the judges' means on ``count`` held-out subjects, before and after, through JeDi's own code.

    output: a demo model's file, if ``full``, else a LoRA's, which the host's own loader puts on the model of before.
    """
    judge = judges.load()
    subjects = [measure.held_out(number) for number in range(count)]
    scorers = [measure.Scorer(judge, subject) for subject in subjects]
    print(f"{'on held-out subjects':28}{'top1':>8}{'simil.':>8}{'masked':>8}{'scene':>8}")
    for name, setting in (BEFORE | AFTER).items():
        model, clip, vae = demo_model.load(output if full and name in AFTER else export.FILES["single"])
        if name in AFTER and not full:
            lora = comfy.utils.load_torch_file(str(output), safe_load=True)
            model, _ = comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0.0)
        sampler = measure.Sampler((model, clip, vae), STEPS)
        found = measure.scored(sampler, setting, subjects, scorers)
        means = [sum(row[figure] for row in found) / count for figure in list(found[0])[:4]]
        print(f"{name:28}" + "".join(f"{value:8.3f}" for value in means), flush=True)

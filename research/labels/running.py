"""Labelling many pictures at once: by processes of this machine, or by actors of a Ray cluster, with the same worker in each."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import runpy
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from ...dev.setup.errors import SetupError
from .sources import Item

WAITING = 2
"""Pictures handed out for each worker: one that it labels and the next."""
BLOCK = 16
"""Pictures that an actor takes at a time."""

_worker: Any = None


class Worker:
    """What a process holds: the pack under its name, the host, and the models, all made with the first picture.

    root: the pack's folder. comfyui: the host's. settings: of `worker.Settings`. Ray hands this class over by value, for neither
    folder is on the `sys.path` of its actors.
    """

    def __init__(self, root: str, comfyui: str, settings: dict):
        self.made = root, comfyui, settings
        self.labeller: Any = None

    def __call__(self, row: dict) -> dict:
        """A picture's item, as a row, to its ``record`` as JSON, or to the ``error`` that ends the run; the other is ""."""
        root, comfyui, settings = self.made
        runpy.run_path(os.path.join(root, "dev", "pack.py"))["load"]()
        from same_subject.dev import pack
        from same_subject.dev.setup import errors
        from same_subject.research.labels import sources

        try:
            if self.labeller is None:
                pack.enter_host(comfyui)
                from same_subject.research.labels import worker

                self.labeller = worker.Labeller(worker.Settings(**settings))
            return {"record": json.dumps(self.labeller.label(sources.Item(**row))), "error": ""}
        except errors.SetupError as problem:
            return {"record": "", "error": str(problem)}


def locally(items: Iterable[Item], root: str, comfyui: str, settings: dict, workers: int) -> Iterator[dict]:
    """The records of pictures, as they are done, from so many processes of this machine; a GPU each where there are some."""
    spawn = multiprocessing.get_context("spawn")
    places: Any = spawn.Queue()
    for place in _places(workers):
        places.put(place)
    threads = max(1, cores() // workers)
    items = iter(items)
    with futures.ProcessPoolExecutor(workers, spawn, _start, (places, threads)) as pool:
        try:
            made = (root, comfyui, settings)
            waiting = {pool.submit(_label, made, asdict(item)) for item in islice(items, WAITING * workers)}
            while waiting:
                done, waiting = futures.wait(waiting, return_when=futures.FIRST_COMPLETED)
                waiting |= {pool.submit(_label, made, asdict(item)) for item in islice(items, len(done))}
                for one in done:
                    yield _record(one.result())
        except BrokenProcessPool as problem:
            raise SetupError(
                "label: a worker ended without a word, which is what the system does where memory runs out. Run the command "
                f"again with fewer than {workers} `--workers`: it goes on where it was."
            ) from problem
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def on_ray(items: Iterable[Item], root: str, comfyui: str, settings: dict, address: str, workers: int) -> Iterator[dict]:
    """The same from actors of a Ray cluster, through Ray Data. Pack, host, models and pictures must be at these paths there.

    workers: 0 for one a GPU, or a CPU where the cluster has none. Raises SetupError where Ray is not there.
    """
    try:
        import ray
        import ray.data
    except ImportError as problem:
        raise SetupError(
            f"label: `--ray` needs the Python package of the cluster's version, which cannot be imported ({problem}). Install "
            f'it with `{sys.executable} -m pip install "ray[data]"`.'
        ) from problem
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would send its maker what it counts
    try:
        paths = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        ray.init(address=address, runtime_env={"env_vars": paths}, log_to_driver=False, logging_level="error")
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as problem:
        raise SetupError(
            f"label: no Ray cluster lets us in at {address}: {str(problem).splitlines()[0]}. Check the address, and that Ray's "
            "version and its authentication (RAY_AUTH_MODE) are the same here and there."
        ) from problem
    try:
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        listed = [asdict(item) for item in items]
        if not listed:
            return
        there = ray.cluster_resources()
        gpus = int(there.get("GPU", 0))
        size = max(1, min(workers or gpus or int(there.get("CPU", 1)), -(-len(listed) // BLOCK)))
        rows = ray.data.from_items(listed, override_num_blocks=-(-len(listed) // BLOCK)).map(
            Worker,
            fn_constructor_args=(root, comfyui, settings),
            compute=ray.data.ActorPoolStrategy(size=size),
            num_gpus=1 if gpus else 0,
        )
        for row in rows.iter_rows():
            yield _record(row)
    finally:
        ray.shutdown()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers_that_fit(files: Iterable[Path], beside: int) -> int:
    """A worker for each GPU, or as many as cores and memory allow. beside: bytes that one needs beside its files."""
    import psutil
    import torch

    if torch.cuda.is_available():
        return torch.cuda.device_count()
    weights = sum(
        part.stat().st_size for file in files for part in (file.rglob("*") if file.is_dir() else [file]) if part.is_file()
    )
    return max(1, min(cores(), psutil.virtual_memory().available // (weights + beside)))


def _places(workers: int) -> list[str | None]:
    """For each worker the GPU that it shall see, in turn; None where there are none."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]
    return [gpus[number % len(gpus)] if gpus and torch.cuda.is_available() else None for number in range(workers)]


def _start(places: Any, threads: int) -> None:
    """In a new process: take a GPU, and end with the process that started it, however that ends."""
    place = places.get()
    if place is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = place
    import torch

    torch.set_num_threads(threads)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _record(row: dict) -> dict:
    """What a worker gave. Raises SetupError where that was an error."""
    if row["error"]:
        raise SetupError(row["error"])
    return json.loads(row["record"])


def _label(made: tuple[str, str, dict], row: dict) -> dict:
    """In a worker's process: what its worker makes of a picture."""
    global _worker
    if _worker is None:
        _worker = Worker(*made)
    return _worker(row)

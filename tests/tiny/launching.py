"""Processes as accelerate's launcher starts them, forked, so that they are there at once."""

import multiprocessing
import os
import socket


def together(work, ranks: int, settings: dict[str, str], *given) -> None:
    """``work(rank, *given)`` in each of ``ranks`` processes on the CPU, with accelerate's ``settings`` in the environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=_one_of, args=(work, rank, ranks, port, settings, given)) for rank in range(ranks)]
    for process in started:
        process.start()
    for process in started:
        process.join(150)
        if process.exitcode is None:
            process.kill()
    assert [process.exitcode for process in started] == [0] * ranks


def _one_of(work, rank: int, ranks: int, port: int, settings: dict[str, str], given: tuple) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_WORLD_SIZE=str(ranks), MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port), ACCELERATE_MIXED_PRECISION="no",
    )  # fmt: skip
    os.environ.update(settings)
    work(rank, *given)

"""Queue prompts, wait for them all, and say of each who refused it, and how."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass

from same_subject.dev import client, server

from .prompts import Attempt

RAN, PACK, HOST = "ran", "refused by the pack", "refused by the host"
SENTENCES = re.compile(r"\S.{15,}\. \S.{5,}[.`)]", re.DOTALL)
"""What is wrong, and then what to do."""
RAW = re.compile(r"Traceback|<class '|object at 0x|\b[A-Z]\w+Error\(|\n\s+File ")


@dataclass(frozen=True, eq=False)
class Verdict:
    """attempt: what was tried. by: RAN, PACK or HOST. message: the words of the refusal. outputs: of a run, by node."""

    attempt: Attempt
    by: str
    message: str
    outputs: dict

    def __str__(self) -> str:
        return f"{self.attempt.kind}: {self.attempt.what}: {self.by}: {ascii(self.message)[:700]}"


def tried(live, attempts: Iterable[Attempt], seconds: float) -> list[Verdict]:
    """Every attempt's verdict, in order. Raises where the server ends, or has not done with them in time."""
    deadline, refused, queued = time.monotonic() + seconds, {}, {}
    attempts = list(attempts)
    for number, attempt in enumerate(attempts):
        try:
            answer = live.client.post("/prompt", {"prompt": attempt.graph})
            queued[number] = answer["prompt_id"]
            if answer.get("node_errors"):
                refused[number] = answer
        except client.ServerError as problem:
            refused[number] = getattr(problem, "node_errors", None) or str(problem)
    while live.client.get("/prompt")["exec_info"]["queue_remaining"]:
        assert time.monotonic() < deadline, f"{seconds} s are over; it is at {running(live, attempts, queued)}"
        assert live.process.poll() is None, "the server has ended" + live.log_tail()
        time.sleep(0.05)
    return [
        refusal(attempt, refused[number]) if number in refused else result(live, attempt, queued[number])
        for number, attempt in enumerate(attempts)
    ]


def running(live, attempts, queued) -> str:
    ids = {one: number for number, one in queued.items()}
    at = [ids[item[1]] for item in live.client.get("/queue")["queue_running"] if item[1] in ids]
    return "; ".join(f"{attempts[number].kind}: {attempts[number].what}" for number in at)


def refusal(attempt: Attempt, said) -> Verdict:
    """The verdict on a prompt that did not start: the pack's own words, if it spoke."""
    if isinstance(said, str):
        return Verdict(attempt, HOST, said, {})
    ours = []
    for node in said.values():
        for error in node.get("errors", ()) if isinstance(node, dict) else ():
            if error["type"] == "custom_validation_failed" and " - " in error["details"]:
                ours.append(error["details"].partition(" - ")[2])
            elif server.FOLDER in str(error.get("extra_info", {}).get("traceback")):
                ours.append(f"{error['extra_info'].get('exception_type')}: {error['details']}")
    return Verdict(attempt, PACK if ours else HOST, ours[0] if ours else json.dumps(said)[:500], {})


def result(live, attempt: Attempt, prompt_id: str) -> Verdict:
    """The verdict on a prompt that started."""
    entry = live.client.get(f"/history/{prompt_id}")[prompt_id]
    failures = [data for kind, data in entry["status"]["messages"] if kind == "execution_error"]
    if not failures:
        return Verdict(attempt, RAN, "", entry["outputs"])
    (data,) = failures
    ours = any(server.FOLDER in line for line in data["traceback"])
    said = data["exception_message"].strip()
    return Verdict(attempt, PACK if ours else HOST, said if sentence(said) else f"{data['exception_type']}: {said}", {})


def sentence(message: str, names: Iterable[str] = ("",)) -> bool:
    """Whether a refusal is said by one of ``names``, says what is wrong and what to do, and shows nothing raw."""
    spoken = any(message.startswith(f"{name}:" if name else "") for name in names)
    return spoken and bool(SENTENCES.search(message)) and not RAW.search(message)

"""The report of `dev/gpu.py`: a JSON file that is written whenever a stage ends, and a table. Standard library only."""

import json
import os
from pathlib import Path

SAME = ("device", "torch", "comfyui", "rehearsal")
"""What must be the same for a report to be continued; the machine itself may be another of its kind."""
PAPER_STEP_MS = 56.4
REHEARSAL = "No GPU was found: this was a rehearsal on the CPU with tiny models, and its figures say nothing about speed."


class Report:
    """What was found. said: `machine`, a dict, and `stages`, a dict of results by name."""

    def __init__(self, path, machine):
        self.path, self.fresh = Path(path), True
        self.said = {"machine": machine, "paper_step_ms_on_an_a100": PAPER_STEP_MS, "stages": {}}
        if machine["rehearsal"]:
            self.said["note"] = REHEARSAL
        before = read(self.path)
        if before and all(before["machine"].get(key) == machine.get(key) for key in SAME):
            self.fresh, self.said["stages"] = False, before["stages"]

    def finished(self, name):
        """Whether a stage needs no further run."""
        return self.said["stages"].get(name, {}).get("state") == "finished"

    def note(self, name, error, rows, seconds, log):
        """Keep a stage's result, and write the file so that it is never half written."""
        result = {"state": "failed" if error else "finished", "seconds": round(seconds, 1), "rows": rows}
        if error:
            result |= {"error": error, "log": log}
        self.said["stages"][name] = result
        partial = self.path.with_name(self.path.name + ".partial")
        partial.write_text(json.dumps(self.said, indent=2) + "\n", encoding="utf-8")
        os.replace(partial, self.path)

    def print_table(self):
        """All results, a line for each row."""
        machine = self.said["machine"]
        print(f"\n{machine['device']}, torch {machine['torch']}, ComfyUI {machine['comfyui']}, Python {machine['python']}")
        for name, result in self.said["stages"].items():
            print(f"\n{name}: {result['state']} in {result['seconds']:g} s")
            for row in result["rows"]:
                print(f"  {row['name']:<40}{described(row)}")
            if "error" in result:
                print(f"  Error: {result['error']}")
        print(f"\nFor comparison, the paper's table 10: {PAPER_STEP_MS} ms a step on an A100.")
        if "note" in self.said:
            print(self.said["note"])


def read(path):
    """A report that was written before, or None where there is none that can be used."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        usable = isinstance(said["machine"], dict) and isinstance(said["stages"], dict)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return said if usable else None


def described(row):
    """A row of any stage in words: a time, a difference, or a fact."""
    if "ms" in row:
        memory = f", peak {row['peak_mib']:.0f} MiB above the weights" if "peak_mib" in row else ""
        share = f", {row['tflops']:.3g} TFLOP/s = {row['share']:.0%} of matmul" if "share" in row else ""
        return f"{row['ms']:.2f} ms ({row['lowest_ms']:.2f} to {row['highest_ms']:.2f}){share}{memory}"
    if "difference" in row:
        effect = f", a mistake makes {row['effect']:.2g}" if "effect" in row else ""
        return f"{row['difference']:.2g} (bound {row['bound']:.2g}{effect})"
    return str(row["value"])


def broken(rows):
    """The rows whose difference is over its bound, in one line; None if there are none. Not-a-numbers are over it."""
    wrong = [row for row in rows if "difference" in row and not row["difference"] <= row["bound"]]
    return "; ".join(f"{row['name']}: {row['difference']:.3g} is over {row['bound']:.3g}" for row in wrong) or None

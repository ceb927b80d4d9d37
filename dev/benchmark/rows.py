"""Lines of the benchmark's table."""

import statistics

PAPER_STEP_MS = 56.4  # JeDi, table 10: one step on an A100


def row(name, ratios, bound, seconds):
    """A ratio of times, the median over the rounds. seconds: (ours, against) of every round."""
    ours, other = (statistics.median(column) for column in zip(*seconds))
    return {
        "name": name,
        "ratio": round(statistics.median(ratios), 4),
        "bound": bound,
        "ms": round(1000 * ours, 2),
        "against_ms": round(1000 * other, 2),
        "rounds": len(ratios),
        "lowest_ratio": round(min(ratios), 4),
        "highest_ratio": round(max(ratios), 4),
    }


def memory_row(name, against, ours):
    """A ratio of peak memory, in bytes above what the weights take."""
    return {
        "name": f"{name}_memory",
        "ratio": round(ours / max(against, 1), 4),
        "bound": None,
        "mib": round(ours / 2**20, 1),
        "against_mib": round(against / 2**20, 1),
    }


def print_table(rows):
    """The rows as a table."""
    print(f"\n{'name':<28}{'ratio':>8}{'bound':>8}{'ours':>14}{'against':>14}")
    for entry in rows:
        unit, ours, against = ("ms", entry["ms"], entry["against_ms"]) if "ms" in entry else (
            "MiB", entry["mib"], entry["against_mib"])  # fmt: skip
        bound = "-" if entry["bound"] is None else f"{entry['bound']:.2f}"
        print(f"{entry['name']:<28}{entry['ratio']:>8.3f}{bound:>8}{ours:>10.1f} {unit:<3}{against:>10.1f} {unit:<3}")
    print(f"\n{rows[0]['device']}, ComfyUI {rows[0]['host_version']}. For comparison, the paper's table 10: "
          f"{PAPER_STEP_MS} ms a step on an A100.")  # fmt: skip

"""Lines of the benchmark's table."""

import statistics

PAPER_STEP_MS = 56.4  # JeDi, table 10: one step on an A100


def row(name, ratios, bound, seconds):
    """A ratio of times, the median over the rounds. seconds: (ours, against) of every round."""
    ours, other = (statistics.median(column) for column in zip(*seconds, strict=True))
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


def kept_row(name, size):
    """What a bank takes for one step, in bytes."""
    return {"name": f"{name}_kept", "kept_mib": round(size / 2**20, 1), "bound": None}


def count_row(name, count, host):
    """How many of something this pack adds to a call of the UNet, which must be none. host: what the host does of it."""
    return {"name": name, "count": round(count, 2), "bound": 0, "host_count": round(host, 2)}


def headline(entry):
    """A row in a few words."""
    if "count" in entry:
        return f"{entry['name']}: {entry['count']:g} a UNet call"
    if "kept_mib" in entry:
        return f"{entry['name']}: {entry['kept_mib']:g} MiB a step"
    said = f", by arithmetic {entry['predicted']:.3f}" if "predicted" in entry else ""
    return f"{entry['name']}: {entry['ratio']:.3f}{said}"


def print_table(rows):
    """The rows as a table; those that count something stand below it."""
    print(f"\n{'name':<28}{'ratio':>8}{'lowest':>8}{'highest':>8}{'bound':>8}{'predicted':>10}{'ours':>14}{'against':>14}")
    for entry in rows:
        if "count" in entry:
            continue
        if "kept_mib" in entry:
            print(f"{entry['name']:<28}{'kept for a step':>42}{entry['kept_mib']:>10.1f} MiB")
            continue
        unit, ours, against = ("ms", entry["ms"], entry["against_ms"]) if "ms" in entry else (
            "MiB", entry["mib"], entry["against_mib"])  # fmt: skip
        lowest, highest, bound = (number(entry.get(key)) for key in ("lowest_ratio", "highest_ratio", "bound"))
        print(
            f"{entry['name']:<28}{entry['ratio']:>8.3f}{lowest:>8}{highest:>8}{bound:>8}{number(entry.get('predicted')):>10}"
            f"{ours:>10.1f} {unit:<3}{against:>10.1f} {unit:<3}"
        )
    print_counts([entry for entry in rows if "count" in entry], [entry for entry in rows if "unet_calls" in entry])
    print(f"\n{rows[0]['device']}, ComfyUI {rows[0]['host_version']}. For comparison, the paper's table 10: "
          f"{PAPER_STEP_MS} ms a step on an A100.")  # fmt: skip


def print_counts(counts, calls):
    """What this pack adds to a call of the UNet, and how many calls a step has."""
    if counts:
        print(f"\n{'added to a UNet call':<36}{'count':>8}{'bound':>8}{'host':>8}")
    for entry in counts:
        print(f"{entry['name']:<36}{entry['count']:>8g}{entry['bound']:>8}{entry['host_count']:>8g}")
    if calls:
        print(f"\n{'calls a step, with their rows':<28}{'UNet':>18}{'ControlNet':>18}{'against: UNet':>18}{'ControlNet':>18}")
    for entry in calls:
        columns = (entry[key] for key in ("unet_calls", "control_calls", "against_unet_calls", "against_control_calls"))
        print(f"{entry['name']:<28}" + "".join(f"{' + '.join(map(str, rows)) or '-':>18}" for rows in columns))


def number(value):
    """A figure of the table, or a dash."""
    return "-" if value is None else f"{value:.3f}"

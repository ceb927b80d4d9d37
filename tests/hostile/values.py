"""Values that no widget gives but an API prompt can, by the type of the input that gets them."""

from __future__ import annotations

import math

WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
NOT_FINITE = (math.nan, math.inf, -math.inf)
OF_NO_TYPE = (None, True, "", "x", {}, {"__value__": [1, 2]}, {"__type__": "INT", "__value__": {}}, [], [1], [1, 2, 3], [[], {}])
INTEGERS = (
    -1,
    2**31,
    2**63,
    2**64,
    -(2**63) - 1,
    10**30,
    1e308,
    *NOT_FINITE,
    1.9,
    "12",
    " 7 ",
    "１２",
    "0x10",
    "1e3",
    "9" * 5000,
)
FLOATS = (1e308, -1e308, 5e-324, *NOT_FINITE, "nan", "inf", "-Infinity", "１.5", "1_0", "0x1p3", 10**400, -0.0, 2**53 + 1)
BOOLEANS = ("false", math.nan, 2, -1, "\0")
TEXTS = (
    5, 1.5, " ", "\n", "\n---\n", "---", "---\n---", "\0", "a\0b", "\ud800", "a\udfffb", "\u202eb", "🧸" * 50,
    "Z̴̡̢͎a͕l̛g̨o" * 20,
    "ﬃ İ ẞ", "a\u2028b", "a\rb", "\ufeffa", "((((((((((a", "a" * 20000, "a b " * 2000, "x\n" * 2000, "\\" * 99, "%s%n{0}{a[0]}",
    "embedding:../../../../etc/passwd", "__import__('os').system('touch hostile_ran')", "${jndi:ldap://127.0.0.1/a}",
    "<b>a</b>",
)  # fmt: skip
INDICES = (
    "0-100000000", "0-99999999999999999999", "5-1", "-5", "1,,2", ",", "--", "0-", "９", "²", "1e9", "0x1", "0 - 1", "9" * 5000,
    "0," * 5000, "1;2", "0-1-2", "NaN", "0-0-", "+1", "1_0", "٣",
)  # fmt: skip
PLACES = (
    "..", ".", "/", "//", "~", "~/.bashrc", "../", "../../../../../../etc/passwd", "/etc/passwd", "..\\..\\secret",
    "C:\\secret",
    "\\\\host\\share\\a.safetensors", "file:///etc/passwd", "http://127.0.0.1:9/a.safetensors", "a\0.safetensors", "\0",
    "\ud800.safetensors", "../" * 2000 + "a", "a" * 5000 + ".pth", "a/" * 3000 + "b.bin", "con", "nul", "*", "?", "", " ",
    "a\nb",
    "%2e%2e%2fa", "..%c0%af", "．．/a", "./././.", "instantid/", "instantid/../../secret", "{}", "$HOME", "`id`",
    "; touch hostile_ran",
)  # fmt: skip
OUTSIDE = ("{up}{name}", "{folder}/{name}", "./{up}{name}", "x/../{up}{name}", "{up}outside/../{name}", "//{folder}/{name}")
"""Ways to name a good file that stands outside of the model folders. up: as many `../` as lead there; folder: where it is."""
LINKS = (["nobody", 0], ["{self}", 0], ["{any}", 99], ["{any}", -1], ["{any}", "0"], ["{any}", 0.5], ["{any}", None],
["{any}", True],
         ["{any}", [0]], [None, 0], [0, 0], [[], 0], [{}, 0], ["{any}"], ["{any}", 0, 0], ["", ""], ["{other}", 0])  # fmt: skip
"""any: a node of the graph. other: one whose first output is of another type. self: the node that gets the link."""
NAMES = (
    "{group}.{name}99",
    "{group}.{name}-1",
    "{group}.",
    "{group}",
    "{group}.{name}0.{name}0",
    "{group}.\0",
    "{group}.{name}０",
    ".",
)
"""Names of inputs that a group which grows (Autogrow) does not have."""


def for_input(kind: str, options: dict, name: str) -> list:
    """Hostile values for an input of a type, of its own limits too; those that are merely large and slow are left out."""
    given = list(OF_NO_TYPE)
    if kind in ("INT", "FLOAT"):
        given += INTEGERS if kind == "INT" else FLOATS
        step = 1 if kind == "INT" else 1e-6
        given += [options[end] + by for end, by in (("min", -step), ("max", step), ("min", 0)) if end in options]
    elif kind == "BOOLEAN":
        given += BOOLEANS
    elif kind == "STRING":
        given += [*TEXTS, *(INDICES if name == "indices" else ())]
    elif kind == "COMBO":
        known = [str(choice) for choice in options.get("options", ())][:1]
        given += [*PLACES, *(change for one in known for change in (one.upper() + "!", one + "\0", one + " ", "./" + one))]
    else:
        given += LINKS
    return given

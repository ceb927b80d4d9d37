"""What watches the server in the tests of hostile inputs does see what it is there for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from same_subject.tests.hostile import judging

WATCH = Path(__file__).parent / "watch"
CODE = {
    "a program": ("import os; os.system('true')", "os.system"),
    "a process": ("import subprocess; subprocess.run(['true'])", "subprocess.Popen"),
    "a connection": ("import socket; socket.socket().connect_ex(('127.0.0.1', 9))", "socket.connect"),
    "a look-up": ("import socket; socket.getaddrinfo('127.0.0.1', 9)", "socket.getaddrinfo"),
    "a pickle": ("import io, pickle; pickle.loads(b'cos\\ngetpid\\n.')", "pickle.find_class"),
    "a file elsewhere": ("open('/etc/passwd').read()", "open to read '/etc/passwd'"),
    "a way out": ("open('inside/../../outside.txt')", "open to read 'inside/../../outside.txt'"),
    "a file made elsewhere": ("open('../made.txt', 'w')", "open to write '../made.txt'"),
    "a folder made elsewhere": ("import os; os.mkdir('../made')", "os.mkdir"),
}


@pytest.mark.skipif(os.name == "nt", reason="the paths are those of POSIX")
@pytest.mark.parametrize("what", CODE)
def test_what_should_never_be_done_is_seen(tmp_path, what):
    (tmp_path / "work" / "inside").mkdir(parents=True)
    (tmp_path / "outside.txt").touch()
    code, line = CODE[what]
    places = os.pathsep.join([".", "/dev", "/usr", "/lib", "/proc", sys.prefix, sys.base_prefix, str(WATCH)])
    variables = {
        "PYTHONPATH": str(WATCH),
        "SAME_SUBJECT_WATCH": "log",
        "SAME_SUBJECT_FOLDERS": places,
        "SAME_SUBJECT_WRITABLE": ".",
    }
    quiet = "open('inside/a.txt', 'w').close(); open('inside/a.txt').close(); import json; "
    for given, expected in ((quiet, []), (quiet + code, [line])):
        (tmp_path / "work" / "log").unlink(missing_ok=True)
        subprocess.run([sys.executable, "-B", "-c", given], cwd=tmp_path / "work", env=variables, check=True)
        seen = (tmp_path / "work" / "log").read_text().splitlines()
        assert [one.startswith(start) for one, start in zip(seen, expected, strict=False)] == [True] * len(expected), seen
        assert bool(seen) == bool(expected), seen


@pytest.mark.parametrize(
    ("said", "good"),
    (
        ("Joint Set: `sets` is 70, but needs at most 64. Type less.", True),
        ("Joint Set: `sets` is 70, but needs at most 64.", False),
        ("`sets` is 70, but needs at most 64. Type less.", False),
        ("Joint Set: it cannot be read: TypeError('a'). Try another.", False),
        ("Joint Set: it is <class 'int'>, but needs text. Type it.", False),
        ("AttributeError: 'str' object has no attribute 'ndim'", False),
        ("", False),
    ),
)
def test_a_sentence_names_who_speaks_and_what_to_do_and_shows_nothing_raw(said, good):
    assert judging.sentence(said, ("Joint Set", "JeDi")) is good

"""Write down what a Python process does that reading a picture or a weight file never should.

Python imports this at its start where its folder is on PYTHONPATH. With SAME_SUBJECT_WATCH=<file> it appends a line for each
kind of: a program started, a socket connected or a name looked up, a pickle's global from a module that can act, a file opened
outside of the folders of SAME_SUBJECT_FOLDERS, a file made or removed outside of SAME_SUBJECT_WRITABLE. Nothing is prevented.
It sees what goes through Python: libraries in C or Rust that open files by themselves are not seen.
"""

import os
import sys

ACTS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "os.startfile", "subprocess.Popen",
        "pty.spawn", "socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname",
        "urllib.Request", "webbrowser.open", "ftplib.connect", "smtplib.connect")  # fmt: skip
CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.chown", "shutil.rmtree")
MODULES = ("os", "posix", "nt", "subprocess", "builtins", "__builtin__", "sys", "shutil", "socket", "importlib", "runpy", "pty")


def watch(file, readable, writable):
    """Start to watch. file: gets the lines. readable, writable: folders, with all that is in them."""
    readable, writable = ([os.path.abspath(folder) for folder in folders] for folders in (readable, writable))
    out = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    said = set()

    def note(line):
        if line not in said:
            said.add(line)
            os.write(out, (line[:500].replace("\n", " ") + "\n").encode("utf-8", "backslashreplace"))

    def inside(path, folders):
        path = os.path.abspath(os.fsdecode(path))
        return any(path == folder or path.startswith(folder + os.sep) for folder in folders)

    def hook(event, arguments):
        if event == "open":
            path, mode, flags = arguments
            if isinstance(path, (str, bytes)):
                writes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
                if not inside(path, writable if writes else readable):
                    note(f"open {'to write' if writes else 'to read'} {path!r}")
        elif event in CHANGES:
            if isinstance(arguments[0], (str, bytes)) and not inside(arguments[0], writable):
                note(f"{event} {arguments!r}")
        elif event in ACTS:
            note(f"{event} {arguments!r}")
        elif event == "pickle.find_class" and arguments[0].split(".")[0] in MODULES:
            note(f"{event} {arguments!r}")

    sys.addaudithook(hook)


if "SAME_SUBJECT_WATCH" in os.environ:
    watch(
        os.environ["SAME_SUBJECT_WATCH"],
        os.environ["SAME_SUBJECT_FOLDERS"].split(os.pathsep),
        os.environ["SAME_SUBJECT_WRITABLE"].split(os.pathsep),
    )

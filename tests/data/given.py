"""Picture files and shards for the tests of data."""

import io
import tarfile
from pathlib import Path

from PIL import Image


def picture(kind="PNG", colour=(200, 30, 40), size=(20, 12), **more):
    """The bytes of a picture of one colour."""
    return bytes_of(Image.new("RGB", size, colour), kind, **more)


def bytes_of(picture, kind="PNG", **more):
    """A picture as a file's bytes."""
    written = io.BytesIO()
    picture.save(written, kind, **more)
    return written.getvalue()


def stack(*pictures, side=12):
    """Files of pictures as one, one below the other, all square."""
    whole = Image.new("RGB", (side, side * len(pictures)))
    for row, data in enumerate(pictures):
        whole.paste(Image.open(io.BytesIO(data)).resize((side, side)), (0, row * side))
    return bytes_of(whole)


def shard(path, members):
    """A tar of (name, bytes)."""
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def write(folder, files):
    """A folder with these files: path -> text or bytes."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return folder


def snapshot(repository, files):
    """A commit's folder in a Hugging Face cache, whose files are links to blobs: path -> text or bytes."""
    folder = repository / "snapshots" / ("0123456789" * 4)
    write(repository, {f"blobs/{number:064x}": data for number, data in enumerate(files.values())})
    for number, name in enumerate(files):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(Path(*[".."] * (name.count("/") + 2), "blobs", f"{number:064x}"))
    return folder


def colours(one):
    """The colour of each picture of a set, from its middle."""
    return [picture.getpixel((picture.width // 2, picture.height // 2)) for picture in one.pictures]

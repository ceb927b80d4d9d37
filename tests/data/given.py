"""Picture files and shards for the tests of data."""

import io
import tarfile

from PIL import Image


def picture(kind="PNG", colour=(200, 30, 40), size=(20, 12), **more):
    """The bytes of a picture of one colour."""
    written = io.BytesIO()
    Image.new("RGB", size, colour).save(written, kind, **more)
    return written.getvalue()


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


def colours(one):
    """The colour of each picture of a set, from its middle."""
    return [picture.getpixel((picture.width // 2, picture.height // 2)) for picture in one.pictures]

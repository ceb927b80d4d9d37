"""Which kind a source is: found out where that is plain, refused where it could be two, taken at its word where it is said."""

import pytest
from same_subject.nodes.data.opening import open_source
from same_subject.tests.data import given

RED = given.picture()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "holds no pictures"),
        ({"notes.txt": "x"}, "holds no pictures"),
        ({"a.png": RED, "car/1.png": RED}, "itself .such as a.png. and in folders .such as car.*`sets:"),
        ({"a.tar": b"", "car/1.png": RED}, "sets .such as car/1.png. and shards .such as a.tar.*`sets:.* or `shards:"),
        ({"a.mp4": b"", "b.parquet": b""}, "Say which is meant: `subjects200k:.* or `videos:"),
        ({f"all/{n}.png": RED for n in range(65)}, "65 pictures, which is much for a set.*`pictures:"),
    ],
)
def test_what_could_be_two_kinds_or_none_is_refused_with_what_to_say(tmp_path, files, said):
    with pytest.raises(ValueError, match=said):
        open_source(given.write(tmp_path, files))


def test_a_kind_that_is_said_is_taken(tmp_path):
    given.write(tmp_path, {"a.png": RED, "car/1.png": RED})
    assert len(list(open_source(f"pictures:{tmp_path}").sets(0, 0))) == 2
    assert {one.name for one in open_source(f"sets:{tmp_path}").sets(0, 0)} == {tmp_path.name, "car"}


def test_a_path_that_is_not_there_and_a_file_of_another_kind_are_refused(tmp_path):
    given.write(tmp_path, {"a.png": RED, "b.tar.gz": b""})
    for spec in (tmp_path / "nowhere", f"sets:{tmp_path}/nowhere"):
        with pytest.raises(ValueError, match="nowhere is not there.*kinds are sets, views, stacked.*joined"):
            open_source(spec)
    for kind in ("sets", "views"):
        with pytest.raises(ValueError, match=f"is no folder, but `{kind}:` needs one"):
            open_source(f"{kind}:{tmp_path}/a.png")
    for name in ("a.png", "b.tar.gz"):
        with pytest.raises(ValueError, match="no video, shard"):
            open_source(tmp_path / name)


def test_the_caller_s_own_kinds_are_called_with_what_follows_the_colon(tmp_path):
    assert open_source("drawn:7", 2, 64, {"drawn": lambda *given: given}) == ("7", 2, 64)

"""Sets of two subjects from two sets."""

import pytest
from same_subject.nodes.data.joined import joined
from same_subject.nodes.data.opening import open_source
from same_subject.tests.data import given


@pytest.fixture
def folder(tmp_path):
    for n in range(4):
        small = given.picture(colour=(50 * n, 0, 0), size=(10, 6))
        given.write(
            tmp_path, {f"{n}/1.png": given.picture(colour=(50 * n, 0, 0)), f"{n}/2.png": small, f"{n}/caption.txt": f"toy {n}"}
        )
    return tmp_path


def test_each_set_is_joined_with_another_side_by_side(folder):
    source = open_source(f"joined:{folder}")
    assert source.name == f"joined:views:{folder}"
    found = list(source.sets(0, 0))
    assert len(found) == 4
    for one in found:
        first, second = one.name.split(" + ")
        assert first != second and one.captions == (f"toy {first} and toy {second}",) * 2
        for picture in one.pictures:
            quarters = [picture.getpixel((picture.width * quarter // 4, 3))[0] for quarter in (1, 3)]
            assert quarters == [50 * int(first), 50 * int(second)]
    assert {one.name for one in found} != {one.name for one in source.sets(0, 1)}


def test_pictures_are_as_high_as_the_lower_and_as_wide_as_both(folder):
    big, small = open_source(f"sets:{folder}", most=None).sets(0, 0), open_source(f"sets:{folder}").sets(1, 0)
    one = joined(next(big), next(small))
    assert [picture.size for picture in one.pictures] == [(40, 12), (20, 6)]


def test_a_set_alone_is_counted(tmp_path):
    source = open_source("joined:sets:" + str(given.write(tmp_path, {"a/1.png": given.picture()})))
    assert list(source.sets(0, 0)) == [] and source.skipped == {"there is no second set to join it with": ["a"]}

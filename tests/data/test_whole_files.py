"""What is written is there whole, or what was there before is."""

import pytest
from same_subject.nodes.data.whole_files import whole


def test_a_file_appears_when_it_is_written(tmp_path):
    path = tmp_path / "new" / "a.json"
    with whole(path) as part:
        part.write_text("half")
        assert not path.exists() and part.parent == path.parent
        with whole(path, ".2") as other:
            other.write_text("another's")
        assert path.read_text() == "another's"
    assert path.read_text() == "half" and [each.name for each in path.parent.iterdir()] == ["a.json"]


@pytest.mark.parametrize("problem", (ValueError, KeyboardInterrupt))
def test_what_fails_leaves_what_was_there(tmp_path, problem):
    path = tmp_path / "a.json"
    path.write_text("before")
    with pytest.raises(problem), whole(path) as part:
        part.write_text("half")
        raise problem
    assert path.read_text() == "before" and [each.name for each in tmp_path.iterdir()] == ["a.json"]

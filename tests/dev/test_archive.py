"""What the registry would pack: all that an install needs, nothing that only a clone needs, and no link to what is left out."""

import re
import shutil
import subprocess

import pytest
from same_subject.dev import archive

pytestmark = pytest.mark.skipif(not shutil.which("git") or not (archive.ROOT / ".git").exists(), reason="needs a clone and git")

LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


@pytest.fixture(scope="module")
def packed():
    return archive.members()


def test_every_file_that_the_nodes_or_the_frontend_read_is_packed(packed):
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=archive.ROOT, check=True, capture_output=True, text=True)
    needed = ("__init__.py", "models.yaml", "pyproject.toml", "requirements.txt", "LICENSE", "README.md", "CHANGELOG.md")
    folders = ("nodes/", "js/", "demo/", "workflows/", "subgraphs/", "locales/", "docs/")
    wanted = {path for path in listed.stdout.split("\0") if path in needed or path.startswith(folders)}
    assert wanted == set(packed)
    assert {path.split("/")[0] for path in wanted} == {*needed, *(folder.rstrip("/") for folder in folders)}


def test_no_link_of_what_is_read_in_an_install_leads_to_what_is_not_in_it(packed):
    pages = [path for path in packed if path == "README.md" or path.startswith(("js/docs/", "docs/")) and path.endswith(".md")]
    assert len(pages) > 20
    for page in pages:
        home = (archive.ROOT / page).parent
        for link in LINK.findall((archive.ROOT / page).read_text(encoding="utf-8")):
            target = (home / link).resolve().relative_to(archive.ROOT).as_posix()
            inside = any(path == target or path.startswith(f"{target.rstrip('/')}/") for path in packed)
            only_in_a_clone = page.startswith("docs/") and archive.ignored(f"{target}/", archive.patterns())
            assert inside or only_in_a_clone or target == "CONTRIBUTING.md" and page.startswith("docs/"), (page, link)


def test_patterns_that_this_reading_would_misread_are_refused(tmp_path):
    (tmp_path / ".comfyignore").write_text("tests/\n*.log\n")
    with pytest.raises(ValueError, match=r"`?'\*\.log'`? is no plain name"):
        archive.patterns(tmp_path)
    assert archive.ignored("a/tests/b.py", ["tests/"]) and archive.ignored("a/b.log", ["b.log"])
    assert not archive.ignored("tests.py", ["tests/"]) and not archive.ignored("a/b.log", ["b.log/"])

import os
from pathlib import Path

import pytest

from bullpen.errors import DirectoryMissing
from bullpen.places import check_directory, measure, worktree_path


def test_a_folder_is_returned_as_it_really_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = tmp_path / "réal folder"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for path in (real, tmp_path / "link", Path("~/link"), Path("link"), real / ".." / "link"):
        assert check_directory(path) == real


def test_a_missing_folder_and_a_file_are_told_apart(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, is_file in (
        ("missing", False),
        ("file", True),
        ("file/inside", True),
        ("loop", False),
        ("a\0b", False),
    ):
        with pytest.raises(DirectoryMissing) as caught:
            check_directory(tmp_path / name)
        assert caught.value.is_file == is_file


def test_a_worktree_has_one_place_for_ever_outside_of_the_repository(tmp_path: Path):
    one, other = tmp_path / "a" / "my repo.git", tmp_path / "b" / "my repo.git"
    one.mkdir(parents=True)
    (tmp_path / "link").symlink_to(one)
    path = worktree_path(tmp_path / "state", one, "brisk-otter")
    assert path == worktree_path(tmp_path / "state", tmp_path / "link", "brisk-otter")
    assert path.name == "brisk-otter"
    assert path.parent.name.startswith("my-repo-")
    assert path.parent.parent == tmp_path / "state" / "worktrees"
    assert path != worktree_path(tmp_path / "state", other, "brisk-otter")


@pytest.mark.parametrize("name", ["...", "-", "ü☃", "x" * 200, "new\nline"])
def test_a_repository_of_any_name_has_a_usable_place(tmp_path: Path, name: str):
    path = worktree_path(tmp_path, tmp_path / name, "s1")
    path.mkdir(parents=True)
    assert path.parent.name.isascii()
    assert not path.parent.name.startswith(("-", "."))


async def test_what_a_folder_takes_counts_each_file_once_and_follows_no_link(tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "big").write_bytes(os.urandom(1_000_000))
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "one").write_bytes(os.urandom(300_000))
    (folder / "second-name").hardlink_to(folder / "inner" / "one")
    (folder / "link").symlink_to(outside)
    (folder / "file-link").symlink_to(outside / "big")
    with (folder / "sparse").open("wb") as sparse:
        sparse.truncate(500_000_000)
    assert 300_000 <= await measure(folder) < 500_000


async def test_what_is_not_there_takes_nothing(tmp_path: Path):
    assert await measure(tmp_path / "missing") == 0

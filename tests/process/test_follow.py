"""Every line once, whole, and exactly as it was written."""

import struct
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskGroup
from hypothesis import given, settings
from hypothesis import strategies as st

from bullpen.errors import JournalDamaged
from bullpen.process import Batch, Follower, Watcher
from bullpen.process.follow import LINE_LIMIT_BYTES

LINE = st.one_of(
    st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"\0")),
    st.sampled_from([b"", b"\0", b"\xff\xfe", b"\r", b'{"a":1}', b"x" * 300_000]),
)


@asynccontextmanager
async def following(path: Path, offset: int = 0, *, poll: bool = False) -> AsyncGenerator[Follower]:
    """Follow `path`, for ten seconds at most."""
    with anyio.fail_after(10):
        async with Watcher.open(poll=poll) as watcher:
            with closing(Follower(path, offset, watcher=watcher)) as follower:
                yield follower


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as out:
        out.write(data)


@given(data=st.data())
@settings(max_examples=150, deadline=None, database=None)
def test_wherever_the_stream_is_cut_every_line_arrives_once(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
):
    lines = data.draw(st.lists(LINE, max_size=12), label="lines")
    torn = data.draw(LINE, label="unfinished last line")
    stream = b"".join(line + b"\n" for line in lines) + torn
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8), label="cuts")
    dies = data.draw(st.lists(st.booleans(), min_size=len(cuts) + 1), label="dies after the piece")
    path = tmp_path_factory.mktemp("cut") / "out.jsonl"
    path.touch()

    async def follow() -> tuple[list[bytes], int, bytes]:
        got: list[bytes] = []
        offset = 0
        rest = b""
        async with Watcher.open() as watcher:
            follower = Follower(path, 0, watcher=watcher)
            ends = [*sorted(cuts), len(stream)]
            for begin, end, is_killed in zip([0, *ends], ends, dies, strict=False):
                append(path, stream[begin:end])
                batch = follower.drain()
                got += batch.lines
                offset = batch.offset
                if is_killed:
                    follower.close()
                    follower = Follower(path, offset, watcher=watcher)
            assert follower.drain().offset == offset
            rest = follower.torn
            follower.close()
        return got, offset, rest

    got, offset, rest = anyio.run(follow)
    assert got == lines
    assert offset == len(stream) - len(torn)
    assert rest == torn


@pytest.mark.parametrize("poll", [False, True], ids=["told", "polling"])
async def test_a_reader_waits_for_the_newline_and_no_longer(tmp_path: Path, poll: bool):
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"skipped\n")
    got: list[Batch] = []
    async with following(path, 8, poll=poll) as follower:

        async def read() -> None:
            got.append(await follower.read())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            append(path, b"ha")
            while follower.torn != b"ha":
                await anyio.lowlevel.checkpoint()
            assert got == []
            append(path, b"lf\nmore\nand")
        assert got == [Batch([b"half", b"more"], 8 + 10)]
        assert follower.drain() == Batch([], 18)
        assert follower.torn == b"and"


async def test_a_line_of_twenty_megabytes_arrives_whole_and_others_get_their_turn(tmp_path: Path):
    path = tmp_path / "out.jsonl"
    line = b"\0\xff" * 10_000_000
    path.write_bytes(b"a\n" + line + b"\nb\n")
    turns: list[int] = []
    is_over = anyio.Event()

    async def other() -> None:
        while not is_over.is_set():
            turns.append(1)
            await anyio.lowlevel.checkpoint()

    async with following(path) as follower:
        assert await follower.read() == Batch([b"a"], 2)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            assert await follower.read() == Batch([line, b"b"], path.stat().st_size)
            is_over.set()
    assert len(turns) >= 20_000_000 // 262_144 - 2


async def test_one_call_returns_about_a_quarter_of_a_megabyte(tmp_path: Path):
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"x" * 99 + b"\n" + (b"y" * 99 + b"\n") * 49_999)
    sizes: list[int] = []
    async with following(path) as follower:
        while sum(sizes) < 50_000:
            sizes.append(len((await follower.read()).lines))
    assert sum(sizes) == 50_000
    assert max(sizes) <= 2_622


async def test_giving_up_a_read_loses_nothing(tmp_path: Path):
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"be")
    async with following(path) as follower:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follower.read)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        append(path, b"gin\n")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await follower.read()
        assert await follower.read() == Batch([b"begin"], 6)


async def test_a_file_that_became_shorter_is_not_read_on(tmp_path: Path):
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"one\ntwo\n")
    async with following(path) as follower:
        await follower.read()
        path.write_bytes(b"one\n")
        with pytest.raises(JournalDamaged, match="became shorter"):
            await follower.read()


async def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path: Path):
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"ok\n" + b"x" * 1_000_000)
    assert LINE_LIMIT_BYTES > 20_000_000
    async with Watcher.open() as watcher:
        follower = Follower(path, 0, watcher=watcher, line_limit_bytes=600_000)
        with closing(follower), anyio.fail_after(10):
            assert (await follower.read()).lines == [b"ok"]
            with pytest.raises(JournalDamaged, match="longer than 600000 bytes"):
                await follower.read()
            assert len(follower.torn) < 900_000


async def test_two_followers_of_one_file_are_told_and_closing_one_leaves_the_other(tmp_path: Path):
    path = tmp_path / "out.jsonl"
    path.touch()
    async with Watcher.open() as watcher:
        first = Follower(path, 0, watcher=watcher)
        with closing(Follower(path, 0, watcher=watcher)) as second, anyio.fail_after(10):
            first.close()
            first.close()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(second.read)
                await anyio.wait_all_tasks_blocked()
                append(path, b"line\n")


async def test_when_the_kernel_threw_notices_away_everybody_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if sys.platform != "linux":
        pytest.skip("only inotify has a queue that overflows")
    paths = [tmp_path / "a", tmp_path / "b"]
    got: list[Batch] = []
    async with Watcher.open() as watcher:
        tell = watcher._ring
        monkeypatch.setattr(watcher, "_ring", lose)
        for path in paths:
            path.touch()
        followers = [Follower(path, 0, watcher=watcher) for path in paths]

        async def read(follower: Follower) -> None:
            got.append(await follower.read())

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read, followers[0])
                tasks.start_soon(read, followers[1])
                await anyio.wait_all_tasks_blocked()
                append(paths[0], b"line\n")
                append(paths[1], b"line\n")
                await anyio.wait_all_tasks_blocked()
                assert got == []
                tell(struct.pack("iIII", -1, 0x4000, 0, 0))
        for follower in followers:
            follower.close()
    assert [batch.lines for batch in got] == [[b"line"], [b"line"]]


async def test_a_file_for_which_no_watch_is_left_is_polled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "out.jsonl"
    path.touch()
    async with Watcher.open() as watcher:
        if watcher._inotify is not None:
            monkeypatch.setattr(watcher._inotify, "add_watch", refuse)
        with closing(Follower(path, 0, watcher=watcher)) as follower, anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(follower.read)
                await anyio.wait_all_tasks_blocked()
                path.write_bytes(b"line\n")


def lose(events: bytes) -> None:
    """Take notices and tell nobody."""


def refuse(*_: object) -> int:
    raise OSError(28, "no space left on device")


async def test_a_reader_is_woken_when_the_watcher_ends_and_failures_come_out_bare(tmp_path: Path):
    path = tmp_path / "out.jsonl"
    path.touch()
    woken: list[str] = []
    followers: list[Follower] = []

    async def read(follower: Follower) -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await follower.read()
        woken.append("reader")

    async def fail(tasks: TaskGroup) -> None:
        async with Watcher.open() as watcher:
            followers.append(Follower(path, 0, watcher=watcher))
            tasks.start_soon(read, followers[0])
            await anyio.wait_all_tasks_blocked()
            raise JournalDamaged(tmp_path, "as an example")

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            with pytest.raises(JournalDamaged):
                await fail(tasks)
    followers[0].close()
    assert woken == ["reader"]

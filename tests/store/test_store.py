import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec
import pytest
import sqlalchemy as sa

from bullpen.errors import StoreDamaged, StoreLocked, StoreRefused, StoreTooNew
from bullpen.model.fact import AnyFact, Event, MessageStreamed, SessionCreated, TurnQueued
from bullpen.model.session import SessionRecord
from bullpen.model.story import apply
from bullpen.store import Batch, NewIntent, Progress, Store, migrate
from bullpen.store.engine import HEADS
from bullpen.store.schema import EVENTS, STATE


@asynccontextmanager
async def opened(folder: Path, *, url: str | None = None) -> AsyncGenerator[Store]:
    async with Store.open(folder, lock=folder / "service.lock", url=url) as store:
        yield store


class Story:
    """Writes a session's events in order."""

    def __init__(self, store: Store, session: str) -> None:
        self.store = store
        self.session = session
        self.record: SessionRecord | None = None
        self.seq = 0

    async def tell(self, *facts: AnyFact, **rest: object) -> None:
        events: list[Event] = []
        for fact in facts:
            self.seq += 1
            events.append(Event(self.session, self.seq, float(self.seq), fact))
            self.record = apply(self.record, events[-1])
        record = msgspec.json.encode(self.record) if facts else None
        batch = Batch(session=self.session, events=events, record=record, **rest)  # pyright: ignore[reportArgumentType]
        await self.store.add(batch).wait()


WISH = SessionCreated(agent="demo", directory="/repo", key="once")


async def test_what_was_committed_is_there_after_opening_again(tmp_path: Path):
    async with opened(tmp_path) as store:
        story = Story(store, "calm-otter")
        await story.tell(WISH, TurnQueued(turn=1, text="ä\u0000"), progress=Progress(1, 10, b"s"))
        await story.tell(MessageStreamed(text="hi"), progress=Progress(1, 20))
    async with opened(tmp_path) as store:
        events = await store.events("calm-otter")
        assert [event.seq for event in events] == [1, 2, 3]
        assert events[1].fact == TurnQueued(turn=1, text="ä\u0000")
        progress = await store.progress("calm-otter")
        assert progress is not None
        assert (progress.offset, progress.snapshot_offset, progress.snapshot) == (20, 10, b"s")
        assert [record.id for record in await store.records(key="once")] == ["calm-otter"]


async def test_an_intent_is_open_until_it_is_written(tmp_path: Path):
    async with opened(tmp_path) as store:
        story = Story(store, "calm-otter")
        prompt = NewIntent(1, 1, "prompt", 1, None)
        reply = NewIntent(2, 1, "reply", None, b"{}\n")
        await story.tell(WISH, intents=[prompt, reply])
        await story.tell(written=[1])
        left = await store.unwritten("calm-otter")
        assert [(one.number, one.kind, one.body) for one in left] == [(2, "reply", b"{}\n")]


async def test_state_rows_that_fell_behind_are_caught_up_from_the_events(tmp_path: Path):
    async with opened(tmp_path) as store:
        await Story(store, "calm-otter").tell(WISH, TurnQueued(turn=1, text="go"))
        await Story(store, "bold-wren").tell(SessionCreated(agent="demo", directory="/x"))
    with sqlite3.connect(tmp_path / "state.db") as behind:
        behind.execute("DELETE FROM sessions WHERE id = 'bold-wren'")
        row = behind.execute("SELECT record FROM sessions").fetchone()[0]
        older = (
            row.replace('"seq":2', '"seq":1')
            .replace('"turns":1,', "")
            .replace('"queue":[1]', '"queue":[]')
        )
        behind.execute("UPDATE sessions SET record = ?, seq = 1", (older,))
    behind.close()
    async with opened(tmp_path) as store:
        records = {record.id: record for record in await store.records()}
        assert records["calm-otter"].queue == [1]
        assert records["bold-wren"].directory == "/x"


async def test_rebuilding_gives_the_same_records(tmp_path: Path):
    async with opened(tmp_path) as store:
        story = Story(store, "calm-otter")
        await story.tell(WISH, *(TurnQueued(turn=n, text=f"turn {n}") for n in range(1, 40)))
        before = await store.records()
        assert store.rebuild() == 1
        assert await store.records() == before


async def test_a_purge_leaves_nothing_and_the_id_is_free_again(tmp_path: Path):
    async with opened(tmp_path) as store:
        story = Story(store, "calm-otter")
        await story.tell(
            WISH, progress=Progress(1, 5, b"x"), intents=[NewIntent(1, 1, "r", None, b"")]
        )
        await store.add(Batch(session="calm-otter", is_purge=True)).wait()
        assert await store.events("calm-otter") == []
        assert await store.records(ids=["calm-otter"]) == []
        assert await store.unwritten("calm-otter") == []
        await Story(store, "calm-otter").tell(WISH)
        assert len(await store.events("calm-otter")) == 1


async def test_a_purge_in_the_same_commit_as_its_story_still_wins(tmp_path: Path):
    async with opened(tmp_path) as store:
        event = Event("calm-otter", 1, 1.0, WISH)
        record = msgspec.json.encode(apply(None, event))
        store.add(Batch(session="calm-otter", events=[event], record=record))
        await store.add(Batch(session="calm-otter", is_purge=True)).wait()
        assert await store.events("calm-otter") == []
        assert await store.records(ids=["calm-otter"]) == []


async def test_the_writers_callbacks_come_in_the_order_of_the_batches(tmp_path: Path):
    order: list[int] = []
    async with opened(tmp_path) as store:
        story = Story(store, "calm-otter")
        await story.tell(WISH)
        tickets = [
            store.add(Batch(session="calm-otter"), after=partial(order.append, n))
            for n in range(50)
        ]
        await tickets[-1].wait()
    assert order == list(range(50))


async def test_a_second_event_with_the_same_number_is_refused_and_stops_the_writer(tmp_path: Path):
    faults: list[BaseException] = []
    async with opened(tmp_path) as store:
        store.on_fault(faults.append)
        await Story(store, "calm-otter").tell(WISH)
        with pytest.raises(StoreRefused, match="UNIQUE"):
            await Story(store, "calm-otter").tell(WISH)
        with pytest.raises(StoreRefused, match="UNIQUE"):
            await Story(store, "other-wren").tell(WISH)
        assert len(faults) == 1
    async with opened(tmp_path) as store:
        assert len(await store.events("calm-otter")) == 1


async def test_a_gap_in_the_events_is_found(tmp_path: Path):
    async with opened(tmp_path) as store:
        await Story(store, "calm-otter").tell(WISH, *(TurnQueued(turn=n, text="x") for n in (1, 2)))
        assert store.check() == []
    with sqlite3.connect(tmp_path / "events.db") as events:
        events.execute("DELETE FROM events WHERE seq = 2")
    events.close()
    async with opened(tmp_path) as store:
        assert [type(fault) for fault in store.check()] == [StoreDamaged]


async def test_a_second_service_is_kept_out_and_told_who_is_in(tmp_path: Path):
    async with opened(tmp_path):
        with pytest.raises(StoreLocked) as kept_out:
            async with opened(tmp_path):
                pass
        assert kept_out.value.pid == os.getpid()


async def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path):
    async with opened(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "events.db") as newer:
        newer.execute("UPDATE alembic_events SET version_num = '9999'")
    newer.close()
    with pytest.raises(StoreTooNew):
        async with opened(tmp_path):
            pass


async def test_a_file_that_is_no_database_is_named(tmp_path: Path):
    (tmp_path / "state.db").write_bytes(b"not a database, and longer than a header " * 10)
    with pytest.raises(StoreDamaged, match=r"state\.db"):
        async with opened(tmp_path):
            pass


async def test_the_migrations_make_the_tables_the_code_works_with(tmp_path: Path):
    async with opened(tmp_path):
        pass
    for name, metadata in (("events", EVENTS), ("state", STATE)):
        engine = sa.create_engine(f"sqlite:///{tmp_path / name}.db")
        found = sa.inspect(engine)
        for table in metadata.sorted_tables:
            columns = {one["name"]: one["nullable"] for one in found.get_columns(table.name)}
            assert columns == {one.name: bool(one.nullable) for one in table.columns}
            indexes = {one["name"] for one in found.get_indexes(table.name)}
            assert {str(one.name) for one in table.indexes} == {
                one for one in indexes if not str(one).startswith("sqlite_autoindex")
            }
        engine.dispose()


@pytest.mark.parametrize("group", ["events", "state"])
def test_the_newest_migration_is_the_one_the_code_expects(group: str):
    folder = Path(migrate.__file__).parent / "migrations" / group / "versions"
    assert max(file.name for file in folder.glob("0*.py")).startswith(HEADS[group])


WRITE_FOR_EVER = """
import sys, anyio, msgspec
from pathlib import Path
from bullpen.model.fact import Event, MessageStreamed, SessionCreated
from bullpen.model.story import apply
from bullpen.store import migrate
from bullpen.store import Batch, Progress, Store

async def main(folder):
    async with Store.open(folder, lock=folder / "service.lock") as store:
        event = Event("calm-otter", 1, 1.0, SessionCreated(agent="demo", directory="/x"))
        record = apply(None, event)
        seq = 1
        while True:
            batch = Batch(
                session="calm-otter", events=[event], record=msgspec.json.encode(record),
                progress=Progress(1, seq * 10),
            )
            ticket = store.add(batch)
            if seq % 7 == 0:
                await ticket.wait()
                print(seq, flush=True)
            seq += 1
            event = Event("calm-otter", seq, float(seq), MessageStreamed(text=f"piece {seq}"))
            record = apply(record, event)

anyio.run(main, Path(sys.argv[1]))
"""


def written_until_killed(folder: Path) -> int:
    """Run a writer, kill it in the middle, and return the last number it said was committed."""
    argv = [sys.executable, "-c", WRITE_FOR_EVER, str(folder)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = 0
        while said < 300:
            said = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    return said


@pytest.mark.torture
@pytest.mark.parametrize("attempt", range(3))
async def test_events_and_offset_agree_however_the_writer_is_killed(tmp_path: Path, attempt: int):
    said = await anyio.to_thread.run_sync(written_until_killed, tmp_path)
    with anyio.fail_after(20):
        async with opened(tmp_path) as store:
            events = await store.events("calm-otter", limit=10**9)
            progress = await store.progress("calm-otter")
            assert progress is not None
            assert len(events) >= said
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
            assert progress.offset == len(events) * 10
            assert (await store.records())[0].seq == len(events)


async def test_postgres_holds_both_groups_and_behaves_alike(tmp_path: Path, postgres: str):
    async with opened(tmp_path, url=postgres) as store:
        story = Story(store, "calm-otter")
        await story.tell(
            WISH, progress=Progress(1, 10, b"s"), intents=[NewIntent(1, 1, "p", 1, b"b")]
        )
        await story.tell(TurnQueued(turn=1, text="ä\u0000"), written=[1], progress=Progress(1, 20))
        await Story(store, "gone-wren").tell(SessionCreated(agent="demo", directory="/x"))
        await store.add(Batch(session="gone-wren", is_purge=True)).wait()
    async with opened(tmp_path, url=postgres) as store:
        assert [event.seq for event in await store.events("calm-otter")] == [1, 2]
        assert (await store.events("calm-otter"))[1].fact == TurnQueued(turn=1, text="ä\u0000")
        progress = await store.progress("calm-otter")
        assert progress is not None
        assert (progress.offset, progress.snapshot) == (20, b"s")
        assert await store.unwritten("calm-otter") == []
        assert [one.id for one in await store.records()] == ["calm-otter"]
        before = await store.records()
        store.rebuild()
        assert await store.records() == before
        assert store.check() == []

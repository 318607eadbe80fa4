"""What is measured of ours."""

import sqlite3
import sys
import time
from collections.abc import Mapping
from contextlib import closing

from arena import machine
from arena.contender import Slice
from arena.figures import Figure, Trouble, median, seconds, tails, typical
from arena.host import Effort, at_once, clean_environment, scratch, timed
from arena.ours import COMMAND, BareAgent, Service, Stage, running, version

_STREAMS = 20
_RATE = 50
"""Pieces of text a second from each streaming session: about what a fast model writes."""
_FLOOD = 800_000


class Ours:
    """Bullpen, through its service's socket and through its shell command."""

    name = "Bullpen"

    def prepare(self) -> str:
        """See `Contender.prepare`."""
        return version()

    @property
    def slices(self) -> Mapping[str, Slice]:
        """See `Contender.slices`."""
        return {
            "cold": cold,
            "verb": verb,
            "create": create,
            "turns": turns,
            "shell": shell,
            "busy": busy,
            "noisy": noisy,
            "storm": storm,
            "live": live,
            "ingest": ingest,
        }


def cold(effort: Effort) -> dict[str, Figure]:
    """Service start to first answer."""
    fresh: list[float] = []
    again: list[float] = []
    for _ in range(effort.times(6)):
        with scratch("ours") as folder:
            stage = Stage(folder)
            with stage.serving() as service:
                fresh.append(service.start)
            with stage.serving() as service:
                again.append(service.start)
    return {"cold-new": typical(fresh), "cold": typical(again)}


def verb(effort: Effort) -> dict[str, Figure]:
    """`bullpen status ID` beside the interpreter alone, in turn so that both meet the same load."""
    plain: list[float] = []
    ours: list[float] = []
    with running() as service:
        session = service.create()["id"]
        env, work = service.stage.environment, service.stage.work
        for _ in range(effort.times(30)):
            begun, ended, _ = timed([sys.executable, "-c", "pass"], env=env, cwd=work)
            plain.append(ended - begun)
            begun, ended, _ = timed([COMMAND, "status", session], env=env, cwd=work)
            ours.append(ended - begun)
    return {"floor-verb": typical(plain), "verb": typical(ours)}


def create(effort: Effort) -> dict[str, Figure]:
    """One session after the other with the demo agent, beside the agent alone."""
    alone: list[float] = []
    ours: list[float] = []
    by_shell: list[float] = []
    with running() as service:
        env, work = service.stage.environment, service.stage.work
        for _ in range(effort.times(20)):
            alone.append(_agents_alone(1))
            begun = time.monotonic()
            record = service.create("demo")
            ours.append(time.monotonic() - begun)
            _must_be(record, "idle")
        for _ in range(effort.times(10)):
            argv = [COMMAND, "create", "--agent", "demo", "--path", work, "--quiet"]
            begun, ended, _ = timed(argv, env=env, cwd=work)
            by_shell.append(ended - begun)
    return {
        "floor-create": typical(alone),
        "create": typical(ours),
        "create-shell": typical(by_shell),
    }


def turns(effort: Effort) -> dict[str, Figure]:
    """Prompts to one idle session through HTTP."""
    with running() as service:
        session = service.create()["id"]
        sent, told = _converse(service, session, effort.times(300))
    return {
        "send": typical(sent),
        "told-50": tails(told, p99=False),
        "told-99": tails(told, p99=True),
    }


def shell(effort: Effort) -> dict[str, Figure]:
    """The same through the shell: `send` and `ask` as processes of their own."""
    sent: list[float] = []
    with running() as service:
        session = service.create()["id"]
        env, work = service.stage.environment, service.stage.work
        for number in range(effort.times(15)):
            argv = [COMMAND, "send", session, f"WORK=0.02 TAG=s{number}"]
            begun, _, _ = timed(argv, env=env, cwd=work)
            sent.append(service.marks.at("recv", f"s{number}") - begun)
            service.marks.at("done", f"s{number}")
        told = _ask_by_shell(service, session, effort.times(15))
    return {"send-shell": typical(sent), "told-shell": typical(told)}


def busy(effort: Effort) -> dict[str, Figure]:
    """Prompts to an idle session while 20 others stream text."""
    with running() as service:
        session = service.create()["id"]
        for _ in range(_STREAMS):
            service.send(service.create()["id"], f"WORK=600 STREAM={_RATE} TAG=stream")
        service.marks.at("recv", "stream")
        share = machine.share([service.pid], over=effort.pick(10, 3))
        sent, told = _converse(service, session, effort.times(300))
        by_shell = _ask_by_shell(service, session, effort.times(10))
    return {
        "busy-send": typical(sent),
        "busy-50": tails(told, p99=False),
        "busy-99": tails(told, p99=True),
        "busy-shell": typical(by_shell),
        "busy-cpu": Figure(f"{share:.0f} % of a core ({_STREAMS * _RATE:,} updates/s)", share),
    }


def noisy(effort: Effort) -> dict[str, Figure]:
    """Prompts to an idle session while another agent's flood is read, as fast as that goes."""
    with running() as service:
        session, other = service.create()["id"], service.create()["id"]
        service.send(other, f"FLOOD={_FLOOD} KIND=tool TAG=f")
        service.marks.at("flood", "tool")
        sent, told = _converse(service, session, effort.times(100))
        if service.http.ask("GET", f"/v1/sessions/{other}")["state"] != "working":
            raise Trouble("the flood was over before the last turn")
    return {
        "noisy-send": typical(sent),
        "noisy-50": tails(told, p99=False),
        "noisy-99": tails(told, p99=True),
    }


def storm(effort: Effort) -> dict[str, Figure]:
    """Many sessions at once, beside as many agents that nobody supervises."""
    figures: dict[str, Figure] = {}
    for count in (16, 64):
        alone = [_agents_alone(count) for _ in range(effort.pick(3, 1))]
        ours = [_created_at_once(count) for _ in range(effort.pick(3, 1))]
        figures |= {f"floor-{count}": typical(alone), f"storm-{count}": typical(ours)}
    return figures


def _agents_alone(count: int) -> float:
    with scratch("floor") as folder:
        env = clean_environment(HOME=str(folder), BULLPEN_DEMO_HOME=str(folder / "demo"))
        agents: list[BareAgent] = []

        def one(_: int) -> None:
            agent = BareAgent(env, folder)
            agents.append(agent)
            agent.shake_hands()

        try:
            return at_once(count, one)[0]
        finally:
            for agent in agents:
                agent.end()


def _created_at_once(count: int) -> float:
    with running() as service:
        took, records = at_once(count, lambda _: service.create("demo"))
        for record in records:
            _must_be(record, "idle")
    return took


def live(effort: Effort) -> dict[str, Figure]:
    """What 200 live sessions cost: memory from a line through two counts, CPU while all idle."""
    few, many = effort.pick((20, 200), (5, 40))
    with running() as service:
        _seat(service, few)
        low = machine.memory_bytes(service.pid)
        _seat(service, many - few)
        high = machine.memory_bytes(service.pid)
        wrappers = [machine.memory_bytes(pid) for pid in service.wrappers()]
        slope = (high - low) / (many - few) / 2**20
        shells = sum(wrappers) / len(wrappers) / 2**20
        time.sleep(2)
        share = machine.share([service.pid, *service.wrappers()], over=effort.pick(30, 5))
    total = slope + shells
    parts = f"service {slope:.2f}, wrapper {shells:.2f}; service {high / 2**20:.0f} MB at {many}"
    return {
        "memory": Figure(f"{total:.2f} MB ({parts})", total),
        "idle": Figure(f"{many} sessions: {share:.2f} %", share),
    }


def ingest(effort: Effort) -> dict[str, Figure]:
    """From the first byte a flooding agent writes until the last update stands in events.db."""
    count = effort.pick(500_000, 100_000)
    return {
        "ingest": _ingest("text", count, effort),
        "ingest-tool": _ingest("tool", count // 5, effort),
    }


def _ingest(kind: str, count: int, effort: Effort) -> Figure:
    rates: list[float] = []
    for _ in range(effort.pick(3, 1)):
        with running() as service:
            session = service.create()["id"]
            turn = service.send(session, f"FLOOD={count} KIND={kind} TAG=f")
            service.wait(session, turn, timeout=300)
            told = time.monotonic()
            first = service.marks.at("flood", kind)
            _must_be_stored(service, session, kind, count)
        rates.append(count / (told - first))
    best, worst = max(rates), min(rates)
    middle = median(rates)
    return Figure(f"{middle:,.0f}/s ({worst:,.0f} to {best:,.0f}, {count:,} updates)", middle)


def _must_be_stored(service: Service, session: str, kind: str, count: int) -> None:
    """Look into the database past the service: the waiter was told, so all must stand there."""
    events = service.stage.home.folder / "events.db"
    with closing(sqlite3.connect(f"file:{events}?mode=ro", uri=True)) as database:
        query = "SELECT body FROM events WHERE session = ? AND kind = ?"
        wanted = "message-streamed" if kind == "text" else "tool-called"
        bodies = [row[0] for row in database.execute(query, (session, wanted))]
        if kind == "tool":
            bodies += [row[0] for row in database.execute(query, (session, "tool-changed"))]
    last = f"{count - 1} hello world, tokens here, ok "
    found = sum(body.count(" hello world, tokens here, ok ") for body in bodies)
    if found != count or not any(last in body for body in bodies):
        raise Trouble(f"{found} of {count} updates stood in events.db when the waiter was told")


def _converse(service: Service, session: str, times: int) -> tuple[list[float], list[float]]:
    """Send prompts one after the other; return how long each took to reach the agent, and how
    long the end of each turn took to reach the waiter."""
    sent: list[float] = []
    told: list[float] = []
    for number in range(times + 1):
        begun = time.monotonic()
        turn = service.send(session, f"WORK=0.03 TAG=t{number}")
        service.wait(session, turn)
        ended = time.monotonic()
        sent.append(service.marks.at("recv", f"t{number}") - begun)
        told.append(ended - service.marks.at("done", f"t{number}"))
    # The first one meets cold caches in the service, the agent and here.
    return sent[1:], told[1:]


def _ask_by_shell(service: Service, session: str, times: int) -> list[float]:
    env, work = service.stage.environment, service.stage.work
    told: list[float] = []
    for number in range(times):
        argv = [COMMAND, "ask", session, f"WORK=0.5 TAG=a{number}"]
        _, ended, _ = timed(argv, env=env, cwd=work)
        told.append(ended - service.marks.at("done", f"a{number}"))
    return told


def _seat(service: Service, count: int) -> None:
    """Create `count` sessions that have one turn behind them."""

    def one(_: int) -> None:
        session = service.create("demo")["id"]
        service.wait(session, service.send(session, "Say hello."))

    for start in range(0, count, 10):
        at_once(min(10, count - start), one)


def _must_be(record: Mapping[str, object], state: str) -> None:
    if record["state"] != state:
        raise Trouble(f"session {record['id']} is {record['state']}: {record.get('reason')}")


def verb_target(python: float) -> tuple[float, str]:
    """Return the target of a shell verb where `python -c pass` takes `python` seconds."""
    target = 1.2 * python + 0.060
    return target, f"1.2 x python + 60 ms = {seconds(target)}"

"""Updates per second through the ACP dialect, on one core: `python bench/dialect.py [COUNT]`."""

import sys
from time import perf_counter

import msgspec

from bullpen.agents.acp import AcpDialect
from bullpen.agents.dialect import Open
from bullpen.model.fact import encode_fact

TARGET = 150_000


def opened() -> AcpDialect:
    """Return a dialect whose conversation `s1` is open."""
    dialect = AcpDialect()
    dialect.order(Open(directory="/w"))
    dialect.feed(b'{"jsonrpc":"2.0","id":32,"result":{"protocolVersion":1}}')
    dialect.feed(b'{"jsonrpc":"2.0","id":67,"result":{"sessionId":"s1"}}')
    return dialect


def update(**fields: object) -> bytes:
    """Return the line of one `session/update`."""
    params = {"sessionId": "s1", "update": fields}
    return msgspec.json.encode({"jsonrpc": "2.0", "method": "session/update", "params": params})


def chunk(number: int, kind: str = "agent_message_chunk") -> bytes:
    """Return a piece of text, about as long as agents stream it."""
    text = f"{number} hello world, tokens here, ok "
    return update(sessionUpdate=kind, messageId="m1", content={"type": "text", "text": text})


def diff(number: int) -> bytes:
    """Return a finished tool call with a diff of two times 200 bytes."""
    return update(
        sessionUpdate="tool_call_update",
        toolCallId=f"c{number % 50}",
        status="completed",
        title="Edit file",
        kind="edit",
        content=[{"type": "diff", "path": "/a/b.py", "oldText": "x" * 200, "newText": "y" * 200}],
        locations=[{"path": "/a/b.py", "line": 3}],
        rawInput={"path": "/a/b.py", "old": "x"},
    )


def rate(lines: list[bytes], *, stored: bool) -> float:
    """Return lines per second through `feed`, with each fact encoded for the store if `stored`."""
    feed = opened().feed
    before = perf_counter()
    for line in lines:
        facts = feed(line).facts
        if stored:
            encode_fact(facts[0])
    return len(lines) / (perf_counter() - before)


def main(count: int) -> None:
    """Print the table."""
    kinds = {
        "agent_message_chunk": [chunk(number) for number in range(count)],
        "agent_thought_chunk": [chunk(number, "agent_thought_chunk") for number in range(count)],
        "tool_call_update with a diff": [diff(number) for number in range(count)],
    }
    print(f"{'update':30} {'bytes':>6} {'updates/s':>12} {'encoded too':>12}")
    for name, lines in kinds.items():
        plain = max(rate(lines, stored=False) for _ in range(3))
        stored = max(rate(lines, stored=True) for _ in range(3))
        print(f"{name:30} {len(lines[0]):6} {plain:12,.0f} {stored:12,.0f}")
    print(f"target: {TARGET:,} agent_message_chunk/s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000)

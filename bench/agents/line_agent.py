"""A stand-in for the `mock_cli` program of CAO's own mock provider: a prompt, a line, an answer.

It understands TAG and WORK as `acp_agent.py` does, and leaves the same marks. The environment
names their file: BENCH_MARKS.
"""

import json
import os
import re
import sys
import time

_PROMPT = "\u276f "
_BRACKETS = re.compile(r"\x1b\[20[01]~")


def _mark(what: str, tag: str, at: float) -> None:
    line = json.dumps({"at": at, "what": what, "tag": tag, "pid": os.getpid()})
    with open(os.environ["BENCH_MARKS"], "a") as file:  # noqa: PTH123 - starts faster
        file.write(line + "\n")


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def main() -> None:
    """Answer lines until /exit."""
    _say(f"MockCli ready.\n{_PROMPT}")
    _mark("ready", os.environ.get("CAO_TERMINAL_ID", ""), time.monotonic())
    for line in sys.stdin:
        text = _BRACKETS.sub("", line).strip()
        if text in ("/exit", "/quit"):
            return
        words = dict(re.findall(r"([A-Z]+)=(\S+)", text))
        if words:
            _mark("recv", words.get("TAG", ""), time.monotonic())
            time.sleep(float(words.get("WORK", 0)))
            done = time.monotonic()
            _say(f"> MOCK: OK {words.get('TAG', '')} done\n")
            _mark("done", words.get("TAG", ""), done)
        _say(_PROMPT)


if __name__ == "__main__":
    main()

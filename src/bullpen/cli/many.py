"""Doing the same to several sessions: at once, and a failure keeps no other from being done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

from bullpen.cli.exits import DONE, Refusal
from bullpen.cli.main import report
from bullpen.cli.show import say, say_json

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every verb 5 ms
    from typing import Any


_AT_ONCE = 16
"""Requests under way at the same time; the service answers many more."""


def each(
    sessions: Iterable[str],
    act: Callable[[str], Any],
    *,
    done: str,
    as_json: bool,
    counted: bool = False,
) -> int:
    """Call `act` with each session and report; return the first failure's exit code, else 0.

    Args:
        done: The word for success, as in `Stopped session brisk-otter`.
        as_json: Print one document `{"done": {id: answer}, "failed": {id: error}}` at the end.
        counted: Add a line with the number of sessions done.
    """
    named = list(dict.fromkeys(sessions))
    results: dict[str, Any] = {}
    failures: dict[str, Refusal] = {}
    for session, answer in zip(named, _answers(named, act), strict=True):
        if isinstance(answer, Refusal):
            failures[session] = answer
            if not as_json:
                report(answer, as_json=False)
            continue
        results[session] = answer
        if not as_json:
            say(f"{done} session {session}")
    if as_json:
        say_json({"done": results, "failed": {name: _error(why) for name, why in failures.items()}})
    elif counted:
        say(f"{done} {len(results)} session(s)")
    return next((refusal.exit_code for refusal in failures.values()), DONE)


def _answers(sessions: Sequence[str], act: Callable[[str], Any]) -> list[Any]:
    """Return what `act` returns or refuses for each session, in the order of `sessions`."""
    answers: list[Any] = [None] * len(sessions)
    indexes = iter(range(len(sessions)))

    def work() -> None:
        for index in indexes:
            try:
                answers[index] = act(sessions[index])
            except Refusal as refusal:
                answers[index] = refusal

    # An agent may take its whole grace to end; ten of them must not take ten times as long.
    # Daemons, so that Ctrl-C ends the verb and not only its first thread.
    threads = [threading.Thread(target=work, daemon=True) for _ in sessions[1:_AT_ONCE]]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    return answers


def _error(refusal: Refusal) -> dict[str, str]:
    return {"code": refusal.code, "message": refusal.message, "hint": refusal.hint}

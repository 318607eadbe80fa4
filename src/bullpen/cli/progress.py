"""What `bullpen run` shows while it runs and when it is over."""

from __future__ import annotations

from typing import Any

from bullpen.cli.exits import Refusal
from bullpen.cli.screen import Screen, clip, pad, tame, wrap
from bullpen.cli.show import columns_of
from bullpen.cli.team import Member, Team, listed_changes

Line = tuple[str, str]

_STYLES = {
    "completed": "green",
    "working": "cyan",
    "starting": "cyan",
    "queued": "dim",
    "asking": "alarm",
    "waiting": "alarm",
    "idle": "",
}
_MARKS = {
    "completed": "✓",
    "working": "●",
    "starting": "○",
    "queued": "·",
    "asking": "?",
    "waiting": "?",
}
_MOST_FILES = 12


def clock(seconds: float) -> str:
    """Return seconds as `0:07` or `1:02:09`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def counted(member: Member) -> str:
    """Return `2 files +41 -3`, or nothing when nothing is known."""
    found = member.changes
    if not found or not found.get("files"):
        return ""
    files = _many(found["files"], "file")
    return f"{files} +{found.get('insertions', 0)} -{found.get('deletions', 0)}"


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def last_line(member: Member) -> str:
    """Return the latest thing worth knowing of a member as one tamed line."""
    if member.error is not None:
        return tame(member.error.message)
    record = member.record
    if member.outcome in ("queued", "starting", "stopped", "failed", "lost"):
        return tame(record.get("reason") or member.brief.title)
    return tame(member.turn.get("error") or record.get("last_line") or member.brief.title).strip()


class Progress:
    """Shows a team at work. Draws in place where the screen can, else one line per change."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._said: dict[int, tuple[str, ...]] = {}

    def show(self, team: Team) -> None:
        """Show how the team stands."""
        if self._screen.is_live:
            columns, rows = self._screen.size()
            self._screen.draw(table(team, columns, rows))
            return
        for member in team.members:
            self._tell_change(member)

    def close(self, team: Team) -> None:
        """Show the last state, for good."""
        self.show(team)
        if self._screen.is_live:
            columns, rows = self._screen.size()
            self._screen.draw(table(team, columns, rows, final=True))
            self._screen.settle(keep=True)

    def say(self, text: str, style: str = "") -> None:
        """Print lines of ours, tamed, below what was shown before."""
        for line in tame(text, lines=True).split("\n"):
            self._screen.say(line, style)

    def landed(self, member: Member) -> None:
        """Tell how the landing of one member went."""
        self.say(*landing(member))

    def _tell_change(self, member: Member) -> None:
        asks = tuple(ask["request"] for ask in member.asks)
        shown = (member.session, member.word, *asks)
        if self._said.get(member.number) == shown or not (member.session or member.error):
            return
        self._said[member.number] = shown
        name = member.session or f"brief {member.number}"
        parts = [clock(member.elapsed), name, member.word, counted(member), last_line(member)]
        self._screen.say("  ".join(part for part in parts if part))
        for text, _ in questions(member, 10_000):
            self._screen.say(text)


def table(team: Team, columns: int, rows: int, *, final: bool = False) -> list[Line]:
    """Return the lines of the progress table; at most `rows` of them, no wider than `columns`."""
    below = [line for one in team.members for line in questions(one, columns)]
    below = below[: max(0, rows - 4)]
    room = max(1, rows - len(below) - 3)
    members = team.members
    if len(members) > room:
        # Whoever is done says so at the end; the ones to look at are those that are not.
        members = sorted(members, key=lambda one: (one.is_over, one.number))[:room]
    done = sum(one.is_over for one in team.members)
    elapsed = clock(max((one.elapsed for one in team.members), default=0.0))
    head = f"{done} of {len(team.members)} done  {elapsed}"
    name_width = max([len("session"), *(columns_of(_name(one)) for one in members)])
    lines: list[Line] = [(head, "bold")]
    lines += [_row(one, min(name_width, columns // 2), columns) for one in members]
    if len(members) < len(team.members):
        lines.append((f"  and {len(team.members) - len(members)} more", "dim"))
    return lines if final else lines + below


def _row(member: Member, name_width: int, columns: int) -> Line:
    word = member.word
    parts = [
        _MARKS.get(word, "✗") + " " + pad(_name(member), name_width),
        pad(word, 11 if word == "not started" else 9),
    ]
    if columns >= 44:
        parts.append(f"{clock(member.elapsed):>5}")
    if columns >= 72:
        parts.append(pad(counted(member), 17))
    used = sum(map(columns_of, parts)) + 2 * len(parts)
    if columns - used > 8:
        parts.append(clip(last_line(member), columns - used - 1))
    return clip("  ".join(parts).rstrip(), columns - 1), _STYLES.get(word, "red")


def _name(member: Member) -> str:
    return tame(member.session) or f"brief {member.number}"


def questions(member: Member, columns: int) -> list[Line]:
    """Return what an open ask is about and how to answer it; nothing when there is none."""
    if not member.needs_user:
        return []
    found: list[Line] = []
    for ask in member.asks:
        verb = "wants leave" if ask.get("kind") == "permission" else "asks"
        title = tame(ask.get("title") or "(it does not say what for)")
        wrapped = wrap(f"? {member.session} {verb}: {title}", columns - 1)[:3]
        found += [(line, "alarm") for line in wrapped]
        commands = wrap(answering(member.session, ask), columns - 5)
        found += [("    " + line.strip(), "bold") for line in commands]
    return found


def answering(session: str, ask: dict[str, Any]) -> str:
    """Return the command that answers `ask`."""
    verb = f"bullpen answer {session}"
    if ask.get("kind") == "permission":
        return f"{verb} allow    or    {verb} deny"
    values = " ".join(f"{tame(name)}=..." for name in fields_of(ask))
    return f"{verb} fill {values}".rstrip() + f"    or    {verb} decline"


def fields_of(ask: dict[str, Any]) -> list[str]:
    """Return the names of the fields a question's form has."""
    schema: dict[str, Any] = ask.get("schema") or {}
    return [str(name) for name in schema.get("properties", {})]


def landing(member: Member) -> Line:
    """Return one line on how a landing went."""
    if member.landed is not None:
        commit = str(member.landed.get("commit", ""))[:10]
        return f"landed {member.session} in {member.landed.get('target')} ({commit})", "green"
    error = member.landing_error
    if error is None:
        return f"{member.session} is not landed: its outcome is {member.word}", "yellow"
    if error.code == "nothing-to-land":
        return f"{member.session} has nothing to land", "yellow"
    return f"not landed: {_told(error)}", "red"


def _told(error: Refusal) -> str:
    return error.message + (f"\n  hint: {error.hint}" if error.hint else "")


def summary(team: Team, *, diffs: bool, lands: bool) -> list[Line]:
    """Return the report on a run that is over: what each session did, and how to go on."""
    elapsed = clock(max((one.elapsed for one in team.members), default=0.0))
    lines: list[Line] = [("", ""), (f"{_many(len(team.members), 'brief')}, {elapsed}", "bold")]
    for member in team.members:
        lines += _report(member, lands=lands)
        if diffs and member.diff:
            lines += _diff_lines(member.diff)
    return [*lines, ("", ""), *_next(team)]


def _report(member: Member, *, lands: bool) -> list[Line]:
    style = _STYLES.get(member.word, "red")
    title = tame(member.brief.title)
    lines: list[Line] = [("", ""), (f"{_name(member)}: {member.word}  {title}", style)]
    if member.error is not None:
        return lines + [(f"  {line}", "") for line in _tamed_lines(_told(member.error))]
    branch = member.record.get("branch")
    where = f"branch {branch}" if branch else f"in {member.record.get('path', '')}"
    unchanged = "nothing changed" if member.changes is not None else ""
    lines.append((f"  {tame(where)}  {counted(member) or unchanged}".rstrip(), "dim"))
    lines += _files(member)
    if member.outcome != "completed":
        reason = member.turn.get("error") or member.record.get("reason")
        lines += [(f"  {line}", "red") for line in _tamed_lines(str(reason or ""))]
    if lands:
        text, style = landing(member)
        lines += [(f"  {line}", style) for line in _tamed_lines(text)]
    return lines


def _tamed_lines(text: str) -> list[str]:
    return [line for line in tame(text, lines=True).split("\n") if line]


def _files(member: Member) -> list[Line]:
    files = listed_changes(member.diff)
    width = max((columns_of(tame(name)) for name, _, _ in files), default=0)
    shown = [
        (f"    {pad(tame(name), min(width, 60))}  +{plus} -{minus}", "")
        for name, plus, minus in files[:_MOST_FILES]
    ]
    more = len(files) - len(shown)
    return shown + ([(f"    and {more} more", "dim")] if more > 0 else [])


def _diff_lines(diff: bytes) -> list[Line]:
    styles = {"+": "green", "-": "red", "@": "cyan", "d": "bold"}
    text = tame(diff.decode("utf-8", "replace"), lines=True).rstrip("\n")
    return [("", ""), *((line, styles.get(line[:1], "")) for line in text.split("\n"))]


def _next(team: Team) -> list[Line]:
    there = [one for one in team.members if one.session and one.error is None]
    lines: list[Line] = []
    for member in there:
        asks = member.asks if member.needs_user else []
        lines += [(f"  {answering(member.session, ask)}", "alarm") for ask in asks]
    ready = [one for one in there if one.outcome == "completed" and one.landed is None]
    ready = [one for one in ready if one.record.get("branch") and counted(one)]
    lines += [
        (f"  bullpen diff {one.session}    then    bullpen land {one.session}", "")
        for one in ready[:1]
    ]
    stopped = [one for one in there if one.ending is not None]
    going = [one for one in there if one.ending is None]
    lines += [(f"  bullpen attach {one.session}", "") for one in going[:1]]
    lines += [
        (f"  bullpen resume {one.session}    then    bullpen attach {one.session}", "")
        for one in stopped[:1]
    ]
    return [("how to go on:", "bold"), *lines, ("  bullpen list --all", "")] if there else []

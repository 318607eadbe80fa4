"""Policy files: TOML with `[[rule]]` tables, read strictly, changed without losing a comment."""

import os
import re
import secrets
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final, cast

import tomlkit
import tomlkit.exceptions
import tomlkit.items

from bullpen.errors import PolicyInvalid
from bullpen.policy.rule import KINDS, Effect, Rule, Scope

_KEYS: Final = frozenset(
    {
        *("id", "effect", "kind", "command", "exact", "path", "mcp", "host", "workspace"),
        *("expires", "reason", "by", "added_at"),
    }
)
_CONDITIONS: Final = ("kind", "command", "path", "mcp", "host")
_MOST_RULES: Final = 5000


def read_rules(file: Path, *, scope: Scope, tightens_only: bool = False) -> list[Rule]:
    """Return the rules in `file`, none when it does not exist.

    A rule with `workspace` has that scope in a global file.

    Raises:
        PolicyInvalid: it is no TOML, or a rule does not say what it must. Nobody may go on as if
            there were no rules.
    """
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as fault:
        raise PolicyInvalid(file, str(fault)) from fault
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as fault:
        raise PolicyInvalid(file, " ".join(str(fault).split())) from fault
    if odd := [key for key in data if key != "rule"]:
        raise PolicyInvalid(file, f"there is no key {odd[0]!r}; rules are `[[rule]]` tables")
    listed = data.get("rule", [])
    if not isinstance(listed, list):
        raise PolicyInvalid(file, "`rule` must be a list of tables: `[[rule]]`")
    tables = cast("list[Any]", listed)
    if len(tables) > _MOST_RULES:
        raise PolicyInvalid(file, f"more than {_MOST_RULES} rules")
    rules = [
        _rule(file, number, table, scope, tightens_only=tightens_only)
        for number, table in enumerate(tables, 1)
    ]
    seen = [rule.id for rule in rules]
    if twice := [one for one in seen if seen.count(one) > 1]:
        raise PolicyInvalid(file, f"two rules are called {twice[0]!r}")
    return rules


def _rule(file: Path, number: int, table: Any, scope: Scope, *, tightens_only: bool) -> Rule:
    where = f"rule {number}"
    if not isinstance(table, dict):
        raise PolicyInvalid(file, f"{where} is no table")
    fields = cast("dict[str, Any]", table)
    if odd := [key for key in fields if key not in _KEYS]:
        raise PolicyInvalid(
            file, f"{where} has no key {odd[0]!r}; it has {', '.join(sorted(_KEYS))}"
        )
    try:
        return make_rule(fields, scope=scope, tightens_only=tightens_only, number=number)
    except ValueError as fault:
        raise PolicyInvalid(file, f"{where}: {fault}") from fault


def make_rule(
    fields: dict[str, Any], *, scope: Scope, tightens_only: bool = False, number: int = 0
) -> Rule:
    """Return the rule `fields` describe.

    Raises:
        ValueError: they do not; the text says why.
    """
    words = [effect.value for effect in Effect]
    if fields.get("effect") not in words:
        raise ValueError(f"`effect` must be one of {', '.join(words)}")
    texts = {key: _text(fields, key) for key in (*_CONDITIONS, "workspace", "reason", "by", "id")}
    if not any(texts[key] for key in _CONDITIONS):
        raise ValueError(f"it needs one of {', '.join(_CONDITIONS)}")
    if texts["kind"] is not None and texts["kind"] not in KINDS:
        raise ValueError(f"`kind` must be one of {', '.join(KINDS)}")
    if tightens_only and fields["effect"] == "allow":
        raise ValueError("a file in a repository may forbid and ask, but allow nothing")
    _check_command(texts["command"], exact=fields.get("exact"))
    if texts["workspace"] is not None:
        if not texts["workspace"].startswith("/"):
            raise ValueError("`workspace` must be an absolute path")
        scope = Scope.WORKSPACE if scope is Scope.GLOBAL else scope
    return Rule(
        id=texts["id"] or f"{scope.value[0]}{number}",
        effect=Effect(fields["effect"]),
        scope=scope,
        kind=texts["kind"],
        command=texts["command"],
        exact=fields.get("exact") is True,
        path=texts["path"],
        mcp=texts["mcp"],
        host=texts["host"],
        workspace=texts["workspace"],
        expires=_moment(fields.get("expires")),
        reason=texts["reason"] or "",
        by=texts["by"] or "user",
        added_at=float(fields.get("added_at", 0.0)),
        tightens_only=tightens_only,
    )


def _text(fields: dict[str, Any], key: str) -> str | None:
    value = fields.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError(f"`{key}` must be a text that is not empty")
    return value.strip()


def _check_command(command: str | None, *, exact: Any) -> None:
    if exact is not None and not isinstance(exact, bool):
        raise ValueError("`exact` must be true or false")
    if exact and command is None:
        raise ValueError("`exact` is about `command`")
    if command is None or exact:
        return
    # A rule is no shell line; what looks like one would not do what it seems to say.
    if re.search(r"[;&|<>`$()'\"\\\n]", command):
        raise ValueError(
            "`command` is a program with words and options, without quotes or operators"
        )


def _moment(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as fault:
            raise ValueError(f"`expires` is no date: {value!r}") from fault
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise ValueError("`expires` must be a date or a number of seconds")


def fresh_id(taken: set[str]) -> str:
    """Return an id no rule has."""
    while (name := secrets.token_hex(3)) in taken:
        pass
    return name


def add_rule(file: Path, rule: Rule) -> None:
    """Write `rule` behind the others; comments and order stay.

    Raises:
        PolicyInvalid: the file is not whole; nothing was written.
    """
    read_rules(file, scope=rule.scope)
    document = _document(file)
    if "rule" not in document:
        document["rule"] = tomlkit.aot()
    tables: Any = document["rule"]
    tables.append(_table(rule))
    _write(file, tomlkit.dumps(document))  # pyright: ignore[reportUnknownMemberType]


def remove_rule(file: Path, name: str, *, scope: Scope) -> bool:
    """Take a rule out; return whether it was there.

    Raises:
        PolicyInvalid: the file is not whole; nothing was written.
    """
    rules = read_rules(file, scope=scope)
    found = [index for index, rule in enumerate(rules) if rule.id == name]
    if not found:
        return False
    document = _document(file)
    tables: Any = document["rule"]
    del tables[found[0]]
    if not tables:
        del document["rule"]
    _write(file, tomlkit.dumps(document))  # pyright: ignore[reportUnknownMemberType]
    return True


def _document(file: Path) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(file.read_text("utf-8"))
    except FileNotFoundError:
        return tomlkit.document()
    except tomlkit.exceptions.TOMLKitError as fault:
        raise PolicyInvalid(file, str(fault)) from fault


def _table(rule: Rule) -> tomlkit.items.Table:
    table = tomlkit.table()
    values: dict[str, Any] = {
        "id": rule.id,
        "effect": rule.effect.value,
        "kind": rule.kind,
        "command": rule.command,
        "exact": rule.exact or None,
        "path": rule.path,
        "mcp": rule.mcp,
        "host": rule.host,
        "workspace": rule.workspace,
        "expires": rule.expires,
        "reason": rule.reason or None,
        "by": rule.by,
        "added_at": rule.added_at,
    }
    for key, value in values.items():
        if value is not None:
            table.add(key, value)  # pyright: ignore[reportUnknownMemberType]
    return table


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = file.with_name(f".{file.name}.{os.getpid()}.new")
    with draft.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    draft.chmod(0o600)
    draft.replace(file)

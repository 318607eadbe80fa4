"""Names of branches, from a template."""

import re
import string
import unicodedata

from bullpen.errors import TemplateInvalid

DEFAULT_TEMPLATE = "bullpen/{session}"

_LONGEST_FIELD_BYTES = 60
"""A title can be a whole brief; this much of it still tells branches apart."""
_LONGEST_BYTES = 200
"""A branch is also a file below `.git`, whose name with `.lock` may have 255 bytes at most."""
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]+|@\{|\.{2,}")


def branch_name(template: str, *, session: str, agent: str, title: str, user: str) -> str:
    """Return the branch for a session: `template` with its fields, made fit for git.

    The fields `{session}`, `{agent}`, `{title}` and `{user}` become lower-case words joined by
    dashes; letters of any script stay. What git does not allow in the template's own text becomes
    a dash, empty parts go. The result is always a valid branch name of at most 200 bytes;
    whether it is free is not known here.

    Raises:
        TemplateInvalid: a field is unknown, or a brace has no partner.
    """
    fields = {"session": session, "agent": agent, "title": title, "user": user}
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise TemplateInvalid(template, str(error)) from error
    filled = ""
    for literal, field, form, conversion in parts:
        filled += literal
        if field is None:
            continue
        if field not in fields or form or conversion:
            known = ", ".join(f"{{{name}}}" for name in fields)
            raise TemplateInvalid(template, f"the fields are {known}, not {{{field}}}")
        filled += _words(fields[field])
    return _valid(filled) or _valid(_words(session)) or "session"


def _words(value: str) -> str:
    # Accents go, so that a name can be typed; letters without a plain form stay.
    plain = unicodedata.normalize("NFKD", value)
    kept = "".join(sign for sign in plain if unicodedata.category(sign) != "Mn")
    lower = unicodedata.normalize("NFC", kept).lower()
    words = "".join(sign if sign.isalnum() else "-" for sign in lower)
    return _shortened(re.sub("-+", "-", words).strip("-"), _LONGEST_FIELD_BYTES).rstrip("-")


def _valid(name: str) -> str:
    encodable = name.encode("utf-8", "ignore").decode()
    clean = _FORBIDDEN.sub("-", _shortened(encodable, _LONGEST_BYTES))
    parts = [_valid_part(part) for part in clean.split("/")]
    joined = "/".join(part for part in parts if part).lstrip("-").strip("/")
    return "" if joined in {"@", "HEAD"} else joined


def _valid_part(part: str) -> str:
    before = None
    while before != part:
        before = part
        part = part.strip(".").strip("-").removesuffix(".lock")
    return part


def _shortened(text: str, limit_bytes: int) -> str:
    return text.encode()[:limit_bytes].decode(errors="ignore")

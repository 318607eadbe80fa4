"""Makes a rehearsal script of the demo's briefs: the same work, as answers of a model.

    python examples/rehearsal.py examples/briefs/*.md

Each brief holds a script for the demo agent; what it writes, edits and runs becomes what the model
tells a real agent to do with its own tools.
"""

import itertools
import json
import shlex
import sys
from pathlib import Path


def script_of(briefs) -> str:
    """Return the YAML of one script that answers all `briefs`."""
    replies = [{"when": headline(brief), "steps": steps_of(brief)} for brief in briefs]
    # JSON is YAML.
    return json.dumps({"final": "Done.", "replies": replies}, indent=1, ensure_ascii=False)


def headline(brief: Path) -> str:
    return brief.read_text().splitlines()[0]


def steps_of(brief: Path) -> list:
    block = brief.read_text().split("```demo\n")[1].split("\n```")[0]
    steps, seen = [], set()
    for verb, rest, body in commands(block.splitlines()):
        if verb == "edit":
            path = rest.partition(":")[0].split()[0]
            if path not in seen:
                # A careful agent edits nothing that it did not read.
                steps.append({"read": path})
                seen.add(path)
        step = made(verb, rest, body)
        steps += [] if step is None else [step]
    return steps


def commands(lines):
    """Yield each command of a demo script with its body."""
    rows = iter(lines)
    for row in rows:
        verb, _, rest = row.partition(" ")
        body = []
        if rest.endswith("<<END"):
            rest = rest.removesuffix("<<END").strip()
            body = [f"{line}\n" for line in itertools.takewhile(lambda line: line != "END", rows)]
        yield verb, rest, "".join(body)


def made(verb, rest, body):
    if verb == "write":
        return {"write": {"path": rest, "content": body}}
    if verb == "edit" and body:
        old, _, new = body.partition("====\n")
        return {"edit": {"path": rest.rstrip(":"), "old": old, "new": new}}
    if verb == "edit":
        path, _, change = rest.partition(": ")
        old, _, new = change.partition(" => ")
        return {"edit": {"path": path, "old": old, "new": new}}
    if verb == "append":
        return {"run": f"cat >> {shlex.quote(rest)} <<'END'\n{body}END"}
    if verb in ("run", "check"):
        return {"run": rest}
    if verb == "commit":
        return {"run": f"git add -A && git commit -q -m {shlex.quote(rest)}"}
    if verb == "say":
        words = [word for word in rest.split() if not word.startswith(("delay=", "chunk="))]
        return {"text": " ".join(words)}
    return None


if __name__ == "__main__":
    print(script_of([Path(name) for name in sys.argv[1:]]))

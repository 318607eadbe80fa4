"""Rules in a short form, and the ground the tests stand on."""

import posixpath

from bullpen.model.fact import Deed
from bullpen.policy.judge import Verdict, judge
from bullpen.policy.protect import Ground
from bullpen.policy.rule import Effect, Rule

HOME = "/home/ada"
CONFIG = f"{HOME}/.config/bullpen"
STATE = f"{HOME}/.local/state/bullpen"
PLACE = f"{STATE}/worktrees/shop/calm-otter"

GROUND = Ground(
    place=PLACE,
    home=HOME,
    hidden=(CONFIG, STATE),
    open=(f"{STATE}/worktrees",),
    fixed=(f"{PLACE}/.git/hooks", f"{PLACE}/.git/config"),
    resolve=posixpath.normpath,
)


def rules(*lines: str) -> list[Rule]:
    """Make rules of lines such as `deny git push` or `exact npm run build`."""
    made: list[Rule] = []
    for number, line in enumerate(lines):
        effect, _, command = line.partition(" ")
        exact = effect == "exact"
        kind = Effect.ALLOW if exact else Effect(effect)
        made.append(Rule(id=f"r{number}", effect=kind, command=command, exact=exact))
    return made


def judged(line: str, given: list[Rule], *, ground: Ground = GROUND) -> Verdict:
    """Judge a shell line."""
    return judge(Deed(kind="execute", command=line), given, ground, now=1000.0)

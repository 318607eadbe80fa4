"""Start the model, make the private home, run the agent, end with it.

The model and the agent are in this process's group, so whoever ends the group ends all of it. The
agent has our standard streams; nothing stands between it and whoever speaks to it.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from bullpen.testing.rehearsal.alone import cut_off

_MODEL = Path(__file__).parents[1] / "scripted_model.py"
_NOWHERE = "http://127.0.0.1:9"
# Nobody listens there: a program that asks a proxy is refused at once.
_GRACE = 5.0
_WITHHELD = (
    # the user's own folders, which may hold a login
    "XDG_",
    "GNUPGHOME",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    # ways to the user's own keys that no network closes
    "SSH_AUTH_SOCK",
    "SSH_AGENT_PID",
    "DBUS_SESSION_BUS_ADDRESS",
    "GIT_SSH",
    # ways out of a network that holds nobody else
    "DOCKER_HOST",
    "CONTAINER_HOST",
)
# Beginnings of names. Variables that only the agent knows are withheld by `sessions/launch.py`.


class Plan:
    """What `sessions/rehearsing.py` wrote down."""

    def __init__(self, file: Path) -> None:
        raw: dict[str, Any] = json.loads(file.read_text("utf-8"))
        self.script = Path(raw["script"])
        self.home = Path(raw["home"])
        self.log = Path(raw["log"])
        self.directory: str = raw["directory"]
        self.files: dict[str, str] = raw["files"]
        self.environment: dict[str, str] = raw["environment"]


def main(argv: Sequence[str]) -> int:
    """Run a rehearsal; return how the agent ended. 127 when it or the model cannot be started."""
    if len(argv) < 3 or argv[1] != "--":
        _complain("usage: rehearse.py PLAN -- AGENT ARGUMENT...")
        return 2
    plan, command = Plan(Path(argv[0])), list(argv[2:])
    signals = _Signals()
    why = cut_off()
    if why is not None:
        _complain(f"rehearsal: other hosts stay reachable: {why}")
    plan.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write_git_identity(plan)
    model = _start_model(plan)
    try:
        url = _address(model)
        if url is None:
            return 127
        return _run(command, _environment(plan, url), signals=signals)
    finally:
        _end(model)


class _Signals:
    """Passes on what tells us to end: to the agent, once there is one."""

    def __init__(self) -> None:
        self.agent: subprocess.Popen[bytes] | None = None
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._pass_on)

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        if self.agent is None:
            sys.exit(128 + number)
        self.agent.send_signal(number)


def _complain(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _write_git_identity(plan: Plan) -> None:
    """Let the agent commit as the user, and leave everything else of the user's git out."""
    file = plan.home / ".gitconfig"
    if file.exists():
        return
    for name, otherwise in (("user.name", "Rehearsal"), ("user.email", "rehearsal@localhost")):
        value = _git("config", "--get", name) or otherwise
        _git("config", "--file", str(file), name, value)


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
    except OSError:
        # No git: nothing to commit with.
        return ""
    return done.stdout.strip()


def _start_model(plan: Plan) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-I", str(_MODEL), "--script", str(plan.script)]
    words += ["--log", str(plan.log), "--owner", str(os.getpid())]
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)


def _address(model: subprocess.Popen[bytes]) -> str | None:
    assert model.stdout is not None, "asked for"
    line = model.stdout.readline()
    if not line:
        # It has said on stderr what is wrong with the script.
        model.wait()
        return None
    return json.loads(line)["url"]


def _environment(plan: Plan, url: str) -> dict[str, str]:
    parts = {"{url}": url, "{home}": str(plan.home), "{directory}": plan.directory}
    for place, content in plan.files.items():
        file = plan.home / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_filled(content, parts), "utf-8")
    own = {name: _filled(value, parts) for name, value in plan.environment.items()}
    proxies = {"HTTP_PROXY": _NOWHERE, "HTTPS_PROXY": _NOWHERE, "ALL_PROXY": _NOWHERE}
    proxies |= {name.lower(): value for name, value in proxies.items()}
    free = {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_WITHHELD)}
    return kept | proxies | free | own | {"HOME": str(plan.home)}


def _filled(text: str, parts: Mapping[str, str]) -> str:
    for mark, value in parts.items():
        text = text.replace(mark, value)
    return text


def _run(command: list[str], environment: dict[str, str], *, signals: _Signals) -> int:
    try:
        agent = signals.agent = subprocess.Popen(command, env=environment)
    except OSError as fault:
        _complain(f"rehearsal: {command[0]}: {fault.strerror}")
        return 127
    code = agent.wait()
    return code if code >= 0 else 128 - code


def _end(model: subprocess.Popen[bytes]) -> None:
    model.terminate()
    try:
        model.wait(_GRACE)
    except subprocess.TimeoutExpired:
        model.kill()
        model.wait()

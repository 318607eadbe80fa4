"""What `make demo` runs: three briefs, three agents side by side, and their work landed.

    python examples/demo.py [--keep]

Copies `examples/shop` to a temporary folder, makes it a git repository, gives each brief of
`examples/briefs` to an agent in a worktree of its own, lands the three branches and runs the
repository's tests on the result. AGENT=claude (or any other name that `bullpen agents` shows as
found) uses the real program in a rehearsal: its model is a script made of the same briefs, so it
costs nothing and reaches no other host. MODEL=real asks its real model, with your login and at your
cost; MODE=ask makes it ask first.

Repositories, configuration and sessions of yours are not touched: the demo has a service and a
state folder of its own, and ends and removes both. `--keep` leaves the folder for you to look at.
"""

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import rehearsal

from bullpen.testing import install

EXAMPLES = Path(__file__).resolve().parent
GIT_SETTINGS = {
    "user.name": "Bullpen demo",
    "user.email": "demo@example.invalid",
    "commit.gpgsign": "false",
    "core.hooksPath": os.devnull,
}


class Failed(Exception):
    """A step of the demo did not work; says which."""


class Demo:
    def __init__(self, folder: Path, *, agent: str, mode: str):
        self.folder = folder
        self.repo = folder / "shop"
        self.agent = agent
        self.mode = mode
        self.is_rehearsed = agent not in ("demo", "shell") and os.environ.get("MODEL") != "real"
        self.environment = environment(folder, agent)
        beside = Path(sys.executable).with_name("bullpen")
        self.bullpen = [str(beside)] if beside.exists() else [sys.executable, "-m", "bullpen"]

    def play(self) -> None:
        heading("A small repository, three things wanted in it")
        self.make_repository()
        briefs = sorted((EXAMPLES / "briefs").glob("*.md"))
        for brief in briefs:
            print(f"  {brief.stem:<18} {brief.read_text().splitlines()[0].lstrip('# ')}")

        heading(f"Three sessions of the agent {self.agent!r}, each in a git worktree of its own")
        words = ["run", *map(str, briefs), "--agent", self.agent, "--mode", self.mode]
        words += ["--in", "worktree", "--land"]
        if self.is_rehearsed:
            script = self.folder / "rehearsal.yaml"
            script.write_text(rehearsal.script_of(briefs))
            words += ["--rehearse", str(script)]
        self.call(
            [*self.bullpen, *words],
            say=f"bullpen run examples/briefs/*.md {' '.join(words[len(briefs) + 1 :])}",
        )

        heading("The repository's tests, on what was landed")
        self.call([sys.executable, "-B", "-m", "unittest"], say="python -m unittest")
        self.call(["git", "status", "--porcelain", "--untracked-files=all"], quiet=True, want="")

        heading("Its history")
        log = ["git", "log", "--graph", "--oneline", "--decorate"]
        self.call([*log, "--decorate-refs-exclude=refs/bullpen/*"], say="git log --graph")

    def make_repository(self) -> None:
        ignore = shutil.ignore_patterns("__pycache__", ".ruff_cache")
        shutil.copytree(EXAMPLES / "shop", self.repo, ignore=ignore)
        (self.repo / ".gitignore").write_text("__pycache__/\n")
        self.git("init", "--quiet", "--initial-branch=main")
        for name, value in GIT_SETTINGS.items():
            self.git("config", name, value)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "A shop without vouchers")
        files = sum(1 for path in self.repo.rglob("*.py"))
        print(f"  {self.repo}: {files} Python files, one commit\n")

    def git(self, *words: str) -> None:
        self.call(["git", *words], quiet=True)

    def call(self, argv, *, say="", quiet=False, want=None) -> None:
        if say:
            print(f"$ {say}\n", flush=True)
        output = subprocess.PIPE if quiet else None
        done = subprocess.run(
            argv,
            cwd=self.repo,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if quiet else None,
            text=True,
            check=False,
        )
        said = f": {done.stdout.strip()}" if quiet and done.stdout else ""
        if done.returncode:
            name = " ".join((say or shlex.join(argv)).split()[:3])
            raise Failed(f"`{name}` ended with code {done.returncode}{said}")
        if want is not None and done.stdout != want:
            raise Failed(f"`{shlex.join(argv[:2])}` was to say {want!r}, not{said}")

    def end(self) -> list[str]:
        """End every session and the service; return what went wrong on the way."""
        if not (self.folder / "state").exists():
            return []
        wrong = []
        for words in (["kill", "--all"], ["serve", "--stop"]):
            done = subprocess.run(
                [*self.bullpen, *words],
                env={**self.environment, "BULLPEN_NO_AUTOSTART": "1"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            # 255: no service is there, so there is nothing to end.
            if done.returncode not in (0, 255):
                wrong.append(f"`bullpen {' '.join(words)}`: {done.stderr.strip()}")
        return wrong


def environment(folder: Path, agent: str) -> dict[str, str]:
    """The demo's own world: state below `folder`, and for the demo agent a home there too.

    A real agent needs the real home, because its login is there.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BULLPEN_")}
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        kept.pop(name, None)
    kept["BULLPEN_HOME"] = str(folder / "state")
    if agent in install.pins() and shutil.which(agent, path=kept.get("PATH")) is None:
        print(f"{agent} is not on PATH: fetching a copy for rehearsals, once", flush=True)
        found = install.install(agent)
        kept |= found.environment
        kept["PATH"] = os.pathsep.join([*map(str, found.path), kept.get("PATH", os.defpath)])
    if agent == "demo":
        home = folder / "home"
        home.mkdir()
        kept["HOME"] = str(home)
        for name in ("CONFIG", "STATE", "DATA", "CACHE"):
            kept[f"XDG_{name}_HOME"] = str(home / name.lower())
        kept["GIT_CONFIG_NOSYSTEM"] = "1"
    return kept


def heading(text: str) -> None:
    print(f"\n== {text}\n", flush=True)


def closing(demo: Demo, *, kept: bool, seconds: float) -> None:
    heading(f"Done in {seconds:.0f} s")
    print(
        "Three agents worked at the same time, in three worktrees; none saw the others' changes.\n"
        "Their branches were merged one after the other, and the tests pass on the result.\n"
    )
    if kept:
        print(f"Kept for you: {demo.folder}")
        print(f"  export BULLPEN_HOME={shlex.quote(demo.environment['BULLPEN_HOME'])}")
        print("  bullpen list --all\n")
    else:
        print("The demo's sessions and its folder are gone; `--keep` would keep them.\n")
    print(
        "Next, in a repository of yours (. .venv/bin/activate puts `bullpen` on your PATH):\n"
        "  bullpen agents                                   which agents you can use\n"
        '  bullpen run "mend the flaky test" "add a --version flag" --agent claude\n'
        "  bullpen attach ID                                watch one and talk to it\n"
        "  AGENT=claude make demo                           this, with a real agent\n"
        "docs/tutorial.md goes on from here."
    )


def on_signals() -> None:
    """Have the cleaning up done too when the terminal is closed or somebody ends us."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))


def report(failure: Failed, log: Path) -> None:
    print(f"\nthe demo failed: {failure}", file=sys.stderr)
    if log.exists():
        lines = log.read_text().splitlines()[-10:]
        print("the end of the service's log:", *lines, sep="\n  ", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="leave the folder for a look")
    args = parser.parse_args()
    on_signals()
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="bullpen-demo-")).resolve()
    agent, mode = os.environ.get("AGENT") or "demo", os.environ.get("MODE") or "bypass"
    demo = Demo(folder, agent=agent, mode=mode)
    code = 1
    try:
        demo.play()
        code = 0
    except Failed as failure:
        report(failure, folder / "state" / "service.log")
    except KeyboardInterrupt:
        print("\ninterrupted; cleaning up", file=sys.stderr)
        code = 130
    finally:
        # A second Ctrl-C must not stop the cleaning up half way.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        wrong = demo.end()
        if not args.keep:
            shutil.rmtree(folder, ignore_errors=True)
        for line in wrong:
            print(f"while cleaning up: {line}", file=sys.stderr)
        code = code or int(bool(wrong))
    if code == 0:
        closing(demo, kept=args.keep, seconds=time.monotonic() - began)
    return code


if __name__ == "__main__":
    sys.exit(main())

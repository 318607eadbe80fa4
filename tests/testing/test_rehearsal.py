"""The launcher of rehearsals, with small programs in the agent's place."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psutil
import pytest

import bullpen.testing

PROGRAM = Path(bullpen.testing.__file__).with_name("rehearse.py")
PATIENCE = 30
SHOW = "import json, os; print(json.dumps(dict(os.environ)), flush=True)"
ASK = (
    "import json, os, urllib.request as web\n"
    "body = {'messages': [{'role': 'user', 'content': 'hi'}], 'tools': [{'name': 'x'}]}\n"
    "request = web.Request(os.environ['MODEL'] + '/v1/messages', json.dumps(body).encode())\n"
    "print(json.load(web.urlopen(request))['content'][0]['text'], flush=True)\n"
)
WAIT = "import signal, sys\nprint('ready', flush=True)\nsignal.pause()\n"


class Scene:
    """A plan in a folder, and launchers started from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.script = folder / "script.yaml"
        self.script.write_text("final: scripted\nreplies: [{when: never, steps: [x]}]\n")
        self.environment = {
            "PATH": os.environ["PATH"],
            "TMPDIR": os.environ["TMPDIR"],
            "HOME": str(folder / "user"),
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        (folder / "user").mkdir()
        self._begun: list[subprocess.Popen[str]] = []

    def argv(self, *command: str) -> list[str]:
        plan = {
            "script": str(self.script),
            "home": str(self.home),
            "log": str(self.folder / "asked"),
            "directory": "/some/place",
            "files": {".agent/config.json": '{"url": "{url}/v1", "home": "{home}"}'},
            "environment": {"MODEL": "{url}", "KEY": "dummy", "WHERE": "{directory}"},
        }
        file = self.folder / "plan.json"
        file.write_text(json.dumps(plan))
        return [sys.executable, "-I", str(PROGRAM), str(file), "--", *command]

    def run(self, program: str, *, command: list[str] | None = None, **more: str) -> Any:
        words = self.argv(*(command or [sys.executable, "-c", program]))
        return subprocess.run(
            words,
            env=self.environment | more,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def begin(self, program: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.argv(sys.executable, "-c", program),
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._begun.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def end(self) -> None:
        for process in self._begun:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture
def scene(tmp_path: Path) -> Generator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.end()


def test_the_agent_talks_to_the_model_and_what_it_asks_is_kept(scene: Scene):
    done = scene.run(ASK)
    assert (done.returncode, done.stdout) == (0, "scripted\n"), done.stderr
    assert (scene.folder / "asked" / "access.log").read_text().endswith("/v1/messages final\n")


def test_the_agent_gets_a_private_home_with_its_files_and_dummy_keys(scene: Scene):
    shown = json.loads(scene.run(SHOW).stdout)
    assert (shown["HOME"], shown["KEY"], shown["WHERE"]) == (
        str(scene.home),
        "dummy",
        "/some/place",
    )
    config = json.loads((scene.home / ".agent" / "config.json").read_text())
    assert config == {"url": f"{shown['MODEL']}/v1", "home": str(scene.home)}
    assert scene.home.stat().st_mode & 0o777 == 0o700


def test_the_home_outlives_a_run_and_its_files_follow_the_new_model(scene: Scene):
    first = json.loads(scene.run(SHOW).stdout)
    (scene.home / "memory").write_text("kept")
    second = json.loads(scene.run(SHOW).stdout)
    assert (scene.home / "memory").read_text() == "kept"
    assert second["MODEL"] in (scene.home / ".agent" / "config.json").read_text()
    assert first["HOME"] == second["HOME"]


def test_sockets_and_folders_by_which_the_users_keys_are_reached_are_withheld(scene: Scene):
    named = ("SSH_AUTH_SOCK", "DBUS_SESSION_BUS_ADDRESS", "GNUPGHOME", "DOCKER_HOST")
    named += ("XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_SSH_COMMAND")
    shown = json.loads(scene.run(SHOW, **dict.fromkeys(named, "/user/own")).stdout)
    assert [name for name in named if name in shown] == []
    assert shown["HTTPS_PROXY"] == shown["https_proxy"] == "http://127.0.0.1:9"


def test_the_agent_commits_as_the_user(scene: Scene):
    user = scene.folder / "user" / ".gitconfig"
    quoted = '"Ada \\"L\\" O\'Hara"'
    user.write_text(f"[user]\n\tname = {quoted}\n[http]\n\textraHeader = secret\n")
    shown = scene.run("", command=["git", "config", "--global", "--list"])
    assert shown.stdout.splitlines() == [
        'user.name=Ada "L" O\'Hara',
        "user.email=rehearsal@localhost",
    ]


def test_no_other_network_is_reached(scene: Scene):
    with socket.create_server(("127.0.0.1", 0)) as outside:
        port = outside.getsockname()[1]
        program = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"
        with socket.create_connection(("127.0.0.1", port)):
            pass
        done = scene.run(program)
    if "other hosts stay reachable" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 1
    assert "ConnectionRefusedError" in done.stderr


def test_sockets_in_the_file_system_are_reached(scene: Scene, tmp_path_factory: Any):
    path = tmp_path_factory.getbasetemp() / "s"
    with socket.socket(socket.AF_UNIX) as outside:
        outside.bind(str(path))
        outside.listen()
        done = scene.run(f"import socket; socket.socket(socket.AF_UNIX).connect({str(path)!r})")
    path.unlink()
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("import sys; sys.exit(7)", 7),
        ("import os; os.kill(os.getpid(), 9)", 137),
        ("import os; os.kill(os.getpid(), 15)", 143),
    ],
)
def test_it_ends_as_the_agent_ends(scene: Scene, program: str, code: int):
    assert scene.run(program).returncode == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_passed_on_to_the_agent(scene: Scene, number: signal.Signals):
    program = f"import signal, sys\nsignal.signal({int(number)}, lambda *_: sys.exit(9))\n{WAIT}"
    process = scene.begin(program)
    process.send_signal(number)
    assert process.wait(PATIENCE) == 9


def test_the_agent_the_model_and_the_launcher_are_one_group_and_end_together(scene: Scene):
    process = scene.begin(WAIT)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) == 2
    assert {os.getpgid(one.pid) for one in family} == {process.pid}
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(PATIENCE) == 143
    _, alive = psutil.wait_procs(family, timeout=PATIENCE)
    assert alive == []


def test_the_model_ends_when_the_launcher_is_killed(scene: Scene):
    process = scene.begin(WAIT)
    family = psutil.Process(process.pid).children(recursive=True)
    (model,) = [one for one in family if any("scripted_model" in word for word in one.cmdline())]
    process.kill()
    _, alive = psutil.wait_procs([model], timeout=PATIENCE)
    assert alive == []
    os.killpg(process.pid, signal.SIGKILL)


def test_a_wrong_script_starts_no_agent_and_says_why(scene: Scene):
    scene.script.write_text("replies:\n- steps:\n  - sing: la\n")
    done = scene.run("print('started')")
    assert (done.returncode, done.stdout) == (127, "")
    assert "line 3: no step is called 'sing'" in done.stderr


def test_an_agent_that_cannot_be_started_is_told(scene: Scene):
    done = scene.run("", command=["/no/such/agent"])
    assert done.returncode == 127
    assert "/no/such/agent: No such file" in done.stderr


def test_input_and_output_are_the_agents_own(scene: Scene):
    words = scene.argv(sys.executable, "-c", "print(input()[::-1])")
    done = subprocess.run(
        words, env=scene.environment, input="abc\n", capture_output=True, text=True, check=False
    )
    assert done.stdout == "cba\n"

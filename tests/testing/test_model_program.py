"""The scripted model as a program."""

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bullpen.testing.model.log import Log
from kit.model import PROGRAM

ARGV = [sys.executable, "-I", str(PROGRAM)]
PATIENCE = 20
SLOW = {"model": "m", "messages": [{"role": "user", "content": "%%slow 60"}], "stream": True}


@contextmanager
def begun(*words: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen([*ARGV, *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, json.loads(process.stdout.readline())["url"]
    finally:
        process.kill()
        process.wait(PATIENCE)
        process.stdout.close()


def asked(url: str, prompt: str) -> Any:
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
    body["tools"] = [{"name": "Bash", "input_schema": {}}]
    answer = httpx.post(f"{url}/v1/messages", json=body, trust_env=False)
    return answer.json()["content"][0]


def test_it_says_where_it_listens_and_answers_from_its_file(tmp_path: Path):
    script = tmp_path / "script.yaml"
    script.write_text("final: bye\nreplies: [{when: hello, steps: [hi]}]\n")
    with begun("--script", str(script)) as (_, url):
        assert url.startswith("http://127.0.0.1:")
        assert asked(url, "say hello")["text"] == "hi"
        assert asked(url, "sing")["text"] == "bye"


def test_it_ends_when_told_to_also_in_the_middle_of_an_answer():
    with (
        begun() as (process, url),
        httpx.stream("POST", f"{url}/v1/messages", json=SLOW, trust_env=False) as answer,
    ):
        assert "message_start" in next(answer.iter_lines())
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_it_ends_with_its_owner(tmp_path: Path):
    said = tmp_path / "said"
    program = (
        "import os, subprocess, sys\n"
        f"out = open({str(said)!r}, 'w')\n"
        "words = [*sys.argv[1:], '--owner', str(os.getpid())]\n"
        "model = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)\n"
        "print(model.stdout.readline(), model.pid, file=out)\n"
    )
    # The pipe ends when its last holder has ended, which is the model.
    owner = subprocess.Popen([sys.executable, "-c", program, *ARGV], stderr=subprocess.PIPE)
    _, err = owner.communicate(timeout=PATIENCE)
    url = json.loads(said.read_text().splitlines()[0])["url"]
    assert (owner.returncode, err) == (0, b"")
    with pytest.raises(httpx.ConnectError):
        asked(url, "anybody there?")


def test_a_wrong_script_is_told_and_nothing_listens(tmp_path: Path):
    script = tmp_path / "script.yaml"
    script.write_text("replies:\n- steps:\n  - sing: la\n")
    for words in ([], ["--check"]):
        done = subprocess.run(
            [*ARGV, "--script", str(script), *words],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{script}: line 3: no step is called 'sing'" in done.stderr


def test_a_sound_script_is_checked_and_its_prompt_printed(tmp_path: Path):
    script = tmp_path / "script.yaml"
    script.write_text("prompt: Say hello.\nreplies: [{steps: [hi]}]\n")
    words = [*ARGV, "--check", "--prompt", "--script", str(script)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Say hello.\n", "")


def test_what_is_kept_of_requests_is_bounded(tmp_path: Path):
    log = Log(tmp_path)
    for number in range(2005):
        log.take("anthropic", "/v1/messages", {"number": number}, "final")
    assert len(list(tmp_path.iterdir())) == 2001
    again = Log(tmp_path)
    again.take("anthropic", "/v1/messages", {}, "final")
    assert len(list(tmp_path.iterdir())) == 2001

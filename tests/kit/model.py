"""The scripted model as a process of its own, for tests with real agents."""

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bullpen

PROGRAM = Path(bullpen.__file__).parent / "testing" / "scripted_model.py"


class Model:
    """A running model: where it listens, and what it was asked."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self.log = log

    def requests(self, api: str = "") -> list[dict[str, Any]]:
        """Return every request so far, in order."""
        found = sorted(self.log.glob(f"*-{api}*.json" if api else "*-*.json"))
        return [json.loads(file.read_text()) for file in found]

    def said_to(self, text: str) -> int:
        """Return in how many requests `text` stands."""
        return sum(text in json.dumps(one["body"]) for one in self.requests())


@contextmanager
def running_model(folder: Path, *, script: Path | None = None) -> Generator[Model]:
    """Run a model until the block is left; `folder` gets its log."""
    words = [sys.executable, "-I", str(PROGRAM), "--log", str(folder / "asked")]
    words += ["--owner", str(os.getpid())]
    words += ["--script", str(script)] if script else []
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "model.err").open("wb") as err:
        process = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=err,
            env={"PATH": os.environ["PATH"], "TMPDIR": os.environ.get("TMPDIR", "/tmp")},
        )
    assert process.stdout is not None
    try:
        said = process.stdout.readline()
        assert said, (folder / "model.err").read_text()
        yield Model(json.loads(said)["url"], folder / "asked")
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()

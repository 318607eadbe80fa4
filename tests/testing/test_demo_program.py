"""The demo agent as a program one starts by hand."""

import json
import subprocess
import sys
from pathlib import Path


def test_a_check_of_a_file_lists_its_steps_or_names_the_line(
    argv: list[str], tmp_path: Path
) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("say one\n")
    bad.write_text("say one\nsing\n")
    shown = subprocess.run([*argv, "--check", good], capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stdout.split(":")[0]) == (0, "line 1")
    shown = subprocess.run([*argv, "--check", bad], capture_output=True, text=True, check=False)
    assert (shown.returncode, "line 2: there is no step" in shown.stderr) == (1, True)


def test_help_and_version_need_no_client(argv: list[str]) -> None:
    shown = subprocess.run([*argv, "--help"], capture_output=True, text=True, check=True)
    assert "die-mid-line" in shown.stdout
    shown = subprocess.run([*argv, "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("bullpen-demo ")
    shown = subprocess.run([*argv, "--nonsense"], capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stderr[:6]) == (2, "usage:")


def test_nothing_outside_of_the_standard_library_is_imported(argv: list[str]) -> None:
    program = (
        "import runpy, sys; sys.argv[1:] = ['--version'];"
        f"\ntry: runpy.run_path({argv[-1]!r}, run_name='__main__')\nexcept SystemExit: pass"
        "\nimport json; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    before = "import sys, json; print(json.dumps(sorted({n.split('.')[0] for n in sys.modules})))"

    def modules(code: str) -> set[str]:
        run = subprocess.run([*argv[:-1], "-c", code], capture_output=True, text=True, check=True)
        return set(json.loads(run.stdout.splitlines()[-1]))

    extra = modules(program) - modules(before)
    assert {name for name in extra if name not in _STANDARD} == {"bullpen"}


_STANDARD = sys.stdlib_module_names

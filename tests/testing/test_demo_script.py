"""How a brief is read into steps."""

import pytest

from bullpen.testing.demo.script import VERBS, ScriptError, parse, parse_file
from bullpen.testing.demo.steps import described


def steps(text: str) -> list[tuple[int, str]]:
    return [(each.line, each.verb.usage.split()[0]) for each in parse(text)]


def test_prose_is_not_read_and_steps_keep_their_line_numbers() -> None:
    brief = "# Title\nPlease run the tests.\n%% run make\n  %% say done\nsay no\n%%say no\n"
    assert steps(brief) == [(3, "run"), (4, "say")]


def test_a_block_holds_bare_steps_and_comments() -> None:
    assert steps("say no\n```demo\n# why\n\nsay yes\n%% think a\u2028x\n```\nsay no\n") == [
        (5, "say"),
        (6, "think"),
    ]


def test_another_block_is_prose() -> None:
    assert steps("```sh\nrun me\n```\n") == []


def test_a_body_is_kept_to_the_letter_whatever_stands_in_it() -> None:
    body = "  indented\n\n%% say no step\n```\n<<X\n\ttab"
    (step,) = parse(f"````demo\nwrite a/b.txt <<END\n{body}\n  END\n````")
    assert step.arguments == {"path": "a/b.txt", "text": body}


def test_an_empty_body_is_an_empty_text() -> None:
    (step,) = parse("%% write a <<E\nE\n")
    assert step.arguments["text"] == ""


def test_windows_line_ends_are_line_ends() -> None:
    (step,) = parse("%% write a <<E\r\none\r\nE\r\n")
    assert step.arguments["text"] == "one"


def test_options_come_before_the_text_and_only_known_names_are_options() -> None:
    (step,) = parse("%% say delay=0.5 x=1 delay=2")
    assert step.arguments == {"delay": 0.5, "text": "x=1 delay=2"}


def test_an_edit_on_one_line_may_hold_an_arrow_of_python() -> None:
    (step,) = parse("%% edit a.py: f() -> int => f() -> str")
    assert (step.arguments["old"], step.arguments["new"]) == ("f() -> int", "f() -> str")


def test_an_edit_with_a_body_replaces_whole_lines() -> None:
    (step,) = parse("%% edit a.py <<E\nold\n\n====\nnew\nE")
    assert (step.arguments["old"], step.arguments["new"]) == ("old\n\n", "new\n")
    (step,) = parse("%% edit a.py <<E\nold\n====\nE")
    assert (step.arguments["old"], step.arguments["new"]) == ("old\n", "")


@pytest.mark.parametrize(
    ("script", "line", "why"),
    [
        ("prose\n%% sing a song", 2, "there is no step 'sing'"),
        ("%% sleep soon", 1, "SECONDS must be a number, not 'soon'"),
        ("%% sleep nan", 1, "SECONDS must not be 'nan'"),
        ("%% flood -3", 1, "N must not be '-3'"),
        ("%% say", 1, "TEXT is missing"),
        ("%% write a.txt", 1, "TEXT is missing"),
        ("%% invalid whatever", 1, "nothing may follow"),
        ("%% run ls <<E\nls\nE", 1, "COMMAND is given twice"),
        ("%% write a <<E\nnever", 1, "never closed by a line 'E'"),
        ("\n```demo\nsay x", 2, "block is never closed"),
        ("%% edit a.py: no arrow", 1, "the change must be"),
        ("%% mode yolo", 1, "MODE must be one of"),
        ("%% ask kinds=perhaps Really?", 1, "KINDS are"),
        ("%% repeat 2 sing", 1, "there is no step 'sing'"),
        ("%% request x {bad", 1, "the step is: request METHOD"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_reason(script: str, line: int, why: str) -> None:
    with pytest.raises(ScriptError, match=rf"^line {line}: ") as caught:
        parse(script)
    assert why in str(caught.value)


def test_a_script_file_without_marks_is_read_line_by_line() -> None:
    assert [step.line for step in parse_file("# a comment\nsay one\n\nsay two\n")] == [2, 4]


def test_a_script_file_with_marks_is_read_as_a_brief() -> None:
    assert [step.line for step in parse_file("Some prose\n%% say one\n")] == [2]


def test_the_help_tells_of_every_step() -> None:
    for verb in VERBS.values():
        assert f"  {verb.usage}\n      " in described()

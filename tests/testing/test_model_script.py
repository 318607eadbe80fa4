"""Scripts of the model: what is read, and how what is wrong is told."""

import pytest

from bullpen.testing.model.script import VERBS, ScriptInvalid, Step, read_inline, read_script


def steps(*lines: str) -> list[Step]:
    text = "replies:\n- steps:\n" + "".join(f"  - {line}\n" for line in lines)
    return read_script(text).replies[0].steps


def test_a_script_is_read_whole():
    script = read_script(
        "final: bye\nmodel: big-1\nprompt: Go.\nusage: {input: 5, output: 7}\n"
        "replies:\n- when: /^fix/\n  final: fixed\n  steps: [one]\n- steps: [{run: ls}]\n"
    )
    assert (script.final, script.model, script.prompt) == ("bye", "big-1", "Go.")
    assert (script.input_tokens, script.output_tokens) == (5, 7)
    first, second = script.replies
    assert (first.when, first.final, first.steps[0].argument) == ("/^fix/", "fixed", "one")
    assert (second.when, second.final, second.steps[0].verb) == ("", None, "run")


@pytest.mark.parametrize(
    ("line", "verb", "argument"),
    [
        ("just words", "text", "just words"),
        ("text: words", "text", "words"),
        ("write: a.txt", "write", {"path": "a.txt"}),
        ("slow: 2s", "slow", {"seconds": 2.0}),
        ("slow: {seconds: 0.5, words: 3}", "slow", {"seconds": 0.5, "words": 3}),
        ("stall: 1.5", "stall", 1.5),
        ("error: 429", "error", {"status": 429}),
        ("error: {status: 529, retry_after: 9s}", "error", {"status": 529, "retry_after": 9.0}),
        ("ask: Which colour?", "ask", {"question": "Which colour?"}),
        ("usage: {input: 3}", "usage", {"input": 3}),
        ("mcp: echo", "mcp", {"tool": "echo"}),
        (
            "together: [{read: a}, {run: ls}]",
            "together",
            [Step(verb="read", argument="a"), Step(verb="run", argument="ls")],
        ),
    ],
)
def test_a_step_is_read(line: str, verb: str, argument: object):
    (step,) = steps(line)
    assert (step.verb, step.argument) == (verb, argument)


def test_words_before_a_tool_are_said_together_with_it():
    first, second = steps("one", "text: two", "run: ls", "three")
    assert (first.verb, first.say) == ("run", "one\n\ntwo")
    assert (second.verb, second.argument) == ("text", "three")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("replies: [", "line 1: no YAML"),
        ("- a", "the script must be a mapping"),
        ("replies: []", "`replies` must be a list"),
        ("final: x", "`replies` must be a list"),
        ("reples: []", "line 1: the script has no key 'reples'"),
        ("replies:\n- when: x\n", "line 2: a reply needs `steps`"),
        ("replies:\n- when: /(/\n  steps: [a]\n", "line 2: `when` is no regular expression"),
        ("replies:\n- steps:\n  - sing: la\n", "line 3: no step is called 'sing'"),
        ("replies:\n- steps:\n  - a\n  - edit: {path: x}\n", "line 4: edit: `old` is missing"),
        ("replies:\n- steps:\n  - error: 200\n", "line 3: error: status 200 is no error"),
        ("replies:\n- steps:\n  - slow: -1\n", "line 3: slow: -1 is no number of seconds"),
        ("replies:\n- steps:\n  - slow: .inf\n", "line 3: slow: inf is no number of seconds"),
        ("replies:\n- steps:\n  - run: [a]\n", "line 3: run: expected a text"),
        (
            "replies:\n- steps:\n  - tool: {name: a, arguments: 3}\n",
            "`arguments` must be a mapping",
        ),
        ("replies:\n- steps:\n  - together: [{text: a}]\n", "together: text uses no tool"),
        ("replies:\n- steps:\n  - usage: {input: -1}\n", "line 3: usage: tokens are counted"),
        ("replies:\n- steps: [a]\nusage: {input: x}\n", "tokens are counted in whole numbers"),
        ("replies:\n- steps:\n  - {run: a, read: b}\n", "line 3: a step has one key"),
        ("replies:\n- steps:\n  - run: !!python/object:os.system ls\n", "line 3: no YAML"),
    ],
)
def test_a_wrong_script_is_refused_with_the_line(text: str, words: str):
    with pytest.raises(ScriptInvalid) as caught:
        read_script(text)
    assert words in str(caught.value)


def test_a_prompt_carries_a_script_in_its_first_line_with_the_mark():
    text = "Please.\n%%write path=a.txt content=two\\nlines;;bash cat a.txt;;text well done\nrest"
    assert read_inline(text) == [
        Step(verb="write", argument={"path": "a.txt", "content": "two\nlines"}),
        Step(verb="run", argument="cat a.txt"),
        Step(verb="text", argument="well done"),
    ]
    assert read_inline("100%% sure, 5 %% 3") is None


@pytest.mark.parametrize("verb", VERBS)
def test_no_words_behind_a_verb_in_a_prompt_break_the_model(verb: str):
    for rest in ("", "x", "{", "[]", '{"a": 1}', "-1", "path="):
        (step,) = read_inline(f"%%{verb} {rest}") or []
        assert step.verb in (verb, "text")


def test_an_unknown_verb_in_a_prompt_becomes_words_that_say_so():
    (step,) = read_inline("%%dance") or []
    assert step.verb == "text"
    assert "no step is called 'dance'" in step.argument

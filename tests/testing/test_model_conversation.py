"""What the model says next is read from the conversation alone."""

from typing import Any

from bullpen.testing.model.conversation import Answer, Item, filled, next_answer
from bullpen.testing.model.script import Script, read_script
from bullpen.testing.model.tools import Offer, Tools

SCRIPT = read_script("""
final: the end
replies:
- when: build
  steps: [{think: hm}, {write: a.txt}, {run: make}, built]
- when: /^two/
  steps: [{together: [{run: one}, {run: two}]}, both]
""")
TOOLS = Tools({"Write": Offer(), "Bash": Offer()}, directory="/w")


def user(text: str) -> Item:
    return Item("user", text)


CALL, RESULT = Item("call", ""), Item("tool", "ok")


def said(*items: Item, script: Script = SCRIPT, tools: Tools = TOOLS) -> Answer:
    return next_answer(script, items, tools)


def test_each_result_of_a_tool_leads_to_the_next_step():
    talk = [user("build it")]
    notes: list[str] = []
    for _ in range(3):
        notes.append(said(*talk).note)
        talk += [CALL, RESULT]
    assert notes == ["1:write", "2:run", "3:text"]


def test_a_thought_is_thought_once():
    assert said(user("build it")).thought == "hm"
    assert said(user("build it"), CALL, RESULT).thought == ""


def test_the_texts_an_agent_adds_of_its_own_are_no_prompts():
    context = [user("<environment_context>build</environment_context>"), user("build it")]
    reminder = user("<system-reminder>be nice</system-reminder>")
    assert said(*context).note == "1:write"
    assert said(*context, CALL, RESULT, reminder).note == "2:run"
    always = read_script("replies: [{steps: [{run: a}, b]}]")
    assert said(user("x"), CALL, RESULT, reminder, script=always).text == "b"


def test_words_that_come_in_the_middle_of_a_turn_do_not_disturb_the_script():
    assert said(user("build it"), CALL, RESULT, user("and hurry")).note == "2:run"


def test_a_prompt_that_fits_no_reply_is_answered_by_the_last_text():
    assert said(user("sing")).text == "the end"
    talk = [user("build it"), CALL, RESULT, CALL, RESULT, Item("assistant", "built")]
    assert said(*talk, user("thanks")).text == "the end"
    assert said(*talk, user("build it")).note == "1:write"


def test_tools_used_together_count_a_result_each():
    talk = [user("two things")]
    assert [call.arguments["command"] for call in said(*talk).calls] == ["one", "two"]
    assert said(*talk, CALL, CALL, RESULT, RESULT).text == "both"


def test_a_step_no_offered_tool_can_do_is_told_and_ends_the_turn():
    answer = said(user("%%ask Which?"))
    assert (answer.text, answer.calls) == ("no tool for ask", ())
    assert said(user("build it"), tools=Tools({})).text == "no tool for write"


def test_tokens_hold_from_the_step_that_says_so():
    script = read_script("replies: [{steps: [{run: a}, {usage: {input: 7, output: 8}}, b]}]")
    first = said(user("x"), script=script)
    second = said(user("x"), CALL, RESULT, script=script)
    assert (first.input_tokens, first.output_tokens) == (100, 10)
    assert (second.input_tokens, second.output_tokens) == (7, 8)


def test_relative_paths_are_those_of_the_place_where_the_agent_works():
    (call,) = said(user("%%write path=sub/a.txt")).calls
    assert call.arguments["file_path"] == "/w/sub/a.txt"
    (call,) = said(user("%%write path=/x/a.txt")).calls
    assert call.arguments["file_path"] == "/x/a.txt"


def test_each_step_uses_the_names_of_the_tool_it_finds():
    edit: dict[str, Any] = {"path": {}, "edits": {}}
    tools = Tools({"edit": Offer(properties=edit), "shell": Offer()})
    (call,) = said(user('%%edit {"path": "a", "old": "x", "new": "y"}'), tools=tools).calls
    assert call.arguments == {"path": "a", "edits": [{"oldText": "x", "newText": "y"}]}
    (call,) = said(user("%%write path=a.txt"), tools=tools).calls
    assert call.name == "shell"
    assert call.arguments["command"][:2] == ["bash", "-lc"]


def test_a_question_has_the_fields_its_tool_knows():
    fields: dict[str, Any] = {"question": {}, "header": {}, "options": {}, "multiSelect": {}}
    schema: dict[str, Any] = {"questions": {"items": {"properties": fields}}}
    tools = Tools({"AskUserQuestion": Offer(properties=schema)})
    (call,) = said(user('%%ask {"question": "Which?", "options": ["a", "b"]}'), tools=tools).calls
    (question,) = call.arguments["questions"]
    assert set(question) == set(fields)
    assert [one["label"] for one in question["options"]] == ["a", "b"]


def test_a_schema_is_filled_with_the_least_that_fits():
    schema: dict[str, Any] = {
        "type": "OBJECT",
        "properties": {
            "title": {"type": "string"},
            "kind": {"enum": ["b", "a"]},
            "score": {"type": ["integer", "null"]},
            "tags": {"type": "array"},
            "ok": {"type": "boolean"},
            "either": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        },
    }
    assert filled(schema) == {
        "title": "x", "kind": "b", "score": 1, "tags": [], "ok": False, "either": 1,
    }  # fmt: skip
    assert filled("nonsense") is None

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bullpen.errors import TemplateInvalid
from bullpen.places import DEFAULT_TEMPLATE, branch_name


def name_of(template: str = DEFAULT_TEMPLATE, title: str = "", user: str = "ann") -> str:
    return branch_name(template, session="brisk-otter", agent="demo", title=title, user=user)


@pytest.mark.parametrize(
    ("template", "title", "expected"),
    [
        (DEFAULT_TEMPLATE, "", "bullpen/brisk-otter"),
        (
            "{user}/{agent}/{title}-{session}",
            "Fix  the Parser!",
            "ann/demo/fix-the-parser-brisk-otter",
        ),
        ("{title}", "Größe: naïve café", "grosse-naive-cafe"),
        ("{title}", "修正 the テスト", "修正-the-テスト"),
        ("x/{title}", "../../etc/passwd", "x/etc-passwd"),
        ("x/{title}/y", "", "x/y"),
        ("{title}", "", "brisk-otter"),
        ("{title}", "☃", "brisk-otter"),
        ("HEAD", "", "brisk-otter"),
        ("@", "", "brisk-otter"),
        ("-x y~1^{{a}}.lock.lock", "", "x-y-1-{a}"),
        (".hidden/..//a@{{b", "", "hidden/a-b"),
        ("{title}", "a" * 50 + " " + "b" * 50, "a" * 50 + "-" + "b" * 9),
    ],
)
def test_a_template_becomes_a_branch(template: str, title: str, expected: str):
    assert name_of(template, title) == expected.replace("grosse", "große")


@pytest.mark.parametrize(
    "template", ["{branch}", "{}", "{session!r}", "{session:>5}", "{session", "}"]
)
def test_a_template_with_unknown_fields_is_refused(template: str):
    with pytest.raises(TemplateInvalid):
        name_of(template)


@settings(deadline=None, max_examples=80)
@given(
    literal=st.lists(
        st.sampled_from([*"/.-@{}~^:?*[\\ a\x7f\n", "..", ".lock", "@{", "//", "{title}", "ü"]),
        max_size=30,
    ),
    title=st.text(max_size=300),
)
def test_git_takes_every_name_we_make(literal: list[str], title: str):
    template = "".join(
        part.replace("{", "{{").replace("}", "}}") if part != "{title}" else part
        for part in literal
    )
    name = name_of(template, title)
    assert len(name.encode()) <= 200
    subprocess.run(["git", "check-ref-format", "--branch", name], check=True, capture_output=True)
    assert Path(name).parts[0] != "/"

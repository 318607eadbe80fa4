import pytest

from bullpen.agents.permission import choose
from bullpen.model.fact import PermissionOption

ALL = [
    PermissionOption(id="1", kind="reject_always"),
    PermissionOption(id="2", kind="allow_always"),
    PermissionOption(id="3", kind="reject_once"),
    PermissionOption(id="4", kind="allow_once"),
    PermissionOption(id="5", kind="allow_all_of_it"),
]


@pytest.mark.parametrize(
    ("allow", "always", "chosen"),
    [(True, False, "4"), (True, True, "2"), (False, False, "3"), (False, True, "1")],
)
def test_the_kind_decides_and_not_the_place(allow: bool, always: bool, chosen: str):
    assert choose(ALL, allow=allow, always=always) == chosen
    assert choose(ALL[::-1], allow=allow, always=always) == chosen


def test_the_wider_answer_is_taken_where_the_narrow_one_is_missing():
    assert choose(ALL[:2], allow=True) == "2"
    assert choose(ALL[:2], allow=False) == "1"
    assert choose(ALL[2:4], allow=True, always=True) == "4"


def test_nothing_is_chosen_where_no_option_has_the_kind():
    assert choose([], allow=True) is None
    assert choose([ALL[4], ALL[0]], allow=True) is None
    assert choose([ALL[3]], allow=False) is None

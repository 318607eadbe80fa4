import random

import pytest

from bullpen.sessions.names import is_valid, propose


def test_a_name_is_two_words_and_a_valid_id():
    for seed in range(500):
        name = propose((), chance=random.Random(seed))
        assert is_valid(name)
        assert name.count("-") == 1


def test_a_taken_name_is_never_proposed_even_when_many_are():
    taken: set[str] = set()
    chance = random.Random(1)
    for _ in range(12_000):
        name = propose(taken, chance=chance)
        assert name not in taken
        assert is_valid(name)
        taken.add(name)


@pytest.mark.parametrize(
    "name", ["ab", "brisk-otter", "a1-b2", "fizz-top", "x" * 64, "master-yi-jg"]
)
def test_a_good_id_is_taken(name: str):
    assert is_valid(name)


@pytest.mark.parametrize(
    "name",
    ["", "a", "x" * 65, "-a", "a-", "a--b", "A-b", "a b", "a/b", "..", "a.b", "ä-b", "1-a", "a\n"],
)
def test_an_id_that_could_be_mistaken_for_something_else_is_not(name: str):
    assert not is_valid(name)

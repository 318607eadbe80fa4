"""Lines an agent may come up with: none of them may slip through."""

import tomllib
from pathlib import Path

import pytest

from policy.scene import CONFIG, HOME, PLACE, STATE, judged, rules

_FILE = Path(__file__).with_name("corpus.toml")
_CORPUS = tomllib.loads(_FILE.read_text("utf-8"))
_PROTECTED = ["allow cat", "allow ls", "allow cp", "allow tee", "allow curl", "allow bullpen"]
CASES = [
    (case["rules"], line, wanted) for case in _CORPUS["case"] for line, wanted in case["lines"]
]


def test_the_corpus_is_as_large_as_it_must_be():
    assert len({line for _, line, _ in CASES}) >= 150


@pytest.mark.parametrize(("named", "line", "wanted"), CASES)
def test_a_line_gets_what_it_must(named: str, line: str, wanted: str):
    given = rules(*(_CORPUS["rules"].get(named) or (_PROTECTED if named == "protected" else ())))
    for mark, path in (("{config}", CONFIG), ("{state}", STATE), ("{home}", HOME)):
        line = line.replace(mark, path)
    verdict = judged(line, given)
    found = verdict.effect.value if verdict.effect else "none"
    if wanted == "not-allow":
        assert found != "allow", (line, verdict.findings)
    else:
        assert found == wanted, (line, verdict.findings, PLACE)

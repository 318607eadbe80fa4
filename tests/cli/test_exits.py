"""Exit codes are a contract."""

from bullpen.cli import exits
from bullpen.model import story


def test_every_code_is_documented_once():
    codes = [code for code, _, _ in exits.EXITS]
    assert codes == [0, 1, 2, 3, 4, 124, 130, 255]


def test_every_outcome_a_session_can_have_has_a_code():
    words = {*story._OUTCOMES.values(), *story._STATE_WORDS.values()}
    words |= {"idle", "truncated", "withdrawn", "failed", "completed", "doubted"}
    assert words == set(exits.OUTCOMES)


def test_an_outcome_of_a_newer_service_is_an_error_and_not_a_success():
    assert exits.of_outcome("transcended") == exits.ERROR


def test_a_timeout_outranks_a_failure_outranks_a_need_outranks_success():
    assert exits.worst([0, 4]) == 4
    assert exits.worst([4, 3, 0]) == 3
    assert exits.worst([3, 124]) == 124
    assert exits.worst([]) == 0
    assert exits.worst([124, 1]) == 1

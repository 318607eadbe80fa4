from datetime import UTC, datetime, timedelta, timezone

import pytest

from bullpen.sessions.clocks import moment_of

NOW = datetime(2026, 11, 26, 14, 30, tzinfo=UTC)


def at(*words: int) -> float:
    return datetime(*words, tzinfo=UTC).timestamp()  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("clock", "wanted"),
    [
        ("3pm", at(2026, 11, 26, 15)),
        ("3:45 PM", at(2026, 11, 26, 15, 45)),
        ("10am", at(2026, 11, 27, 10)),
        ("12am", at(2026, 11, 27)),
        ("12pm", at(2026, 11, 27, 12)),
        ("15:10", at(2026, 11, 26, 15, 10)),
        ("4pm (Europe/Berlin)", at(2026, 11, 26, 15)),
        ("9am UTC", at(2026, 11, 27, 9)),
        ("Oct 5, 9am", at(2027, 10, 5, 9)),
        ("Dec 1 at 9:30am", at(2026, 12, 1, 9, 30)),
        ("Nov 26, 2026, 6pm", at(2026, 11, 26, 18)),
    ],
)
def test_a_time_of_day_is_the_next_such_moment(clock: str, wanted: float):
    assert moment_of(clock, now=NOW) == wanted


@pytest.mark.parametrize(
    "clock", ["", "soon", "25:00", "13pm", "Foo 5, 9am", "Feb 30, 9am", "4pm (No/Where)"]
)
def test_what_is_no_time_gives_none(clock: str):
    assert moment_of(clock, now=NOW) is None


def test_without_a_zone_it_is_in_the_zone_of_now():
    zone = timezone(timedelta(hours=2))
    assert moment_of("17:00", now=NOW.astimezone(zone)) == at(2026, 11, 26, 15)

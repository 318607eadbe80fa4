"""Limits as agents tell them in words."""

import pytest

from bullpen.agents.limit_text import LimitText, read_final, read_limit

KNOWN = [
    ("Claude AI usage limit reached|1712345678", LimitText(limit="usage", resets_at=1712345678.0)),
    (
        "You've hit your limit · resets 3pm (Europe/Berlin)",
        LimitText(limit="usage", clock="3pm (Europe/Berlin)"),
    ),
    ("5-hour limit reached ∙ resets 10pm", LimitText(limit="usage", clock="10pm")),
    (
        "You've hit your weekly limit · resets Oct 5, 9am",
        LimitText(limit="usage", clock="Oct 5, 9am"),
    ),
    ("Credit balance is too low", LimitText(limit="credit")),
    (
        "You've hit your usage limit. Upgrade to Pro or try again at 3:24 PM.",
        LimitText(limit="usage", clock="3:24 PM"),
    ),
    (
        "You've hit your usage limit. Try again in 2 hours 5 minutes.",
        LimitText(limit="usage", resets_in=7500.0),
    ),
    (
        "You've hit your usage limit. Try again in 4 days 2 hours 1 minute.",
        LimitText(limit="usage", resets_in=4 * 86400.0 + 7260.0),
    ),
    (
        "Quota exceeded for quota metric 'Requests per minute'. Please retry in 34.07s.",
        LimitText(limit="rate", resets_in=34.07),
    ),
    ("RESOURCE_EXHAUSTED: daily quota", LimitText(limit="usage")),
    (
        "You exceeded your current quota, please check your plan and billing",
        LimitText(limit="credit"),
    ),
    ("Internal error: API Error: Request rejected (429) · busy", LimitText(limit="rate")),
    ("insufficient_quota", LimitText(limit="credit")),
    ("rate_limit_error: too many tokens", LimitText(limit="rate")),
    (
        "Rate limit reached for gpt-5 on tokens per min. Please try again in 20s.",
        LimitText(limit="rate", resets_in=20.0),
    ),
    ("429 Too Many Requests", LimitText(limit="rate")),
    ("This request requires more credits, or fewer max_tokens", LimitText(limit="credit")),
    ("insufficient credits", LimitText(limit="credit")),
]
NONE = [
    "",
    "Internal server error",
    "invalid_request_error: scripted",
    "API Error: 500 scripted",
    "connection refused",
    "maximum context length exceeded",
    "the file was not found",
    "Overloaded",
]


@pytest.mark.parametrize(("text", "wanted"), KNOWN)
def test_a_known_text_is_read(text: str, wanted: LimitText):
    assert read_limit(text) == wanted


@pytest.mark.parametrize("text", NONE)
def test_another_error_is_no_limit(text: str):
    assert read_limit(text) is None


def test_the_status_alone_tells_of_a_limit():
    assert read_limit("scripted", status=429) == LimitText(limit="rate")
    assert read_limit("scripted", status=402) == LimitText(limit="credit")
    assert read_limit("scripted", status=500) is None


@pytest.mark.parametrize(
    "text",
    [
        "I added a rate limit to the API: too many requests now give 429.",
        "The function retries until the usage limit reached by the account is reset, as you asked.",
        "Done.\n\nThe 5-hour limit reached message is shown to users now.",
        "x" * 500 + " usage limit reached",
        "",
    ],
)
def test_an_answer_that_talks_about_limits_is_none(text: str):
    assert read_final(text) is None


def test_a_final_message_that_is_nothing_else_is_one():
    found = read_final("Claude AI usage limit reached|1712345678")
    assert found == LimitText(limit="usage", resets_at=1712345678.0)

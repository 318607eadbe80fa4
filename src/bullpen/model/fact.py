"""Every fact that may be stored about a session, as one tagged union.

A fact is named in the past tense. `heard` holds what agents tell us (a dialect makes those),
`done` what we did ourselves; everybody imports them from here. On the wire a fact is a JSON object
whose `kind` is the class name in kebab-case, such as
`{"kind": "turn-ended", "turn": 1, "stop": "end_turn"}`. Fields that hold their default are left
out.
"""

from typing import Any

import msgspec

from bullpen.model.done import (
    AgentAdopted,
    AgentEnded,
    AgentLaunched,
    AskAnswered,
    BudgetChanged,
    BudgetReached,
    CostReckoned,
    DeliveryDoubted,
    GoalChanged,
    GoalSet,
    InterfaceChanged,
    InterruptRequested,
    LandingRefused,
    LaunchIntended,
    LimitEntered,
    LimitLeft,
    PlacePrepared,
    PlaceRemoved,
    SessionCreated,
    SessionRemoved,
    SessionRenamed,
    SetupEnded,
    SetupPrinted,
    StateChanged,
    TurnDelivered,
    TurnQueued,
    TurnStarted,
    TurnSteered,
    TurnWithdrawn,
    WorkCommitted,
    WorkLanded,
)
from bullpen.model.heard import (
    AskWithdrawn,
    Choice,
    CommandsOffered,
    ContentShown,
    ConversationClosed,
    ConversationNamed,
    ConversationOpened,
    ConversationsListed,
    Deed,
    Fact,
    Faulted,
    GoalReported,
    LimitReached,
    LoginRequired,
    MessageStreamed,
    ModeChanged,
    OpeningFailed,
    OptionsChanged,
    OrderDone,
    OrderRefused,
    PermissionAsked,
    PermissionOption,
    PlanEntry,
    PlanShown,
    QuestionAsked,
    ThoughtStreamed,
    TitleChanged,
    TokensCounted,
    ToolCalled,
    ToolChanged,
    TurnEnded,
    TurnFailed,
    TurnTyped,
    Unrecognised,
    UsageReported,
    UserEchoed,
    kebab,
)

__all__ = [
    "AgentAdopted",
    "AgentEnded",
    "AgentFact",
    "AgentLaunched",
    "AnyFact",
    "AskAnswered",
    "AskWithdrawn",
    "BudgetChanged",
    "BudgetReached",
    "Choice",
    "CommandsOffered",
    "ContentShown",
    "ConversationClosed",
    "ConversationNamed",
    "ConversationOpened",
    "ConversationsListed",
    "CostReckoned",
    "Deed",
    "DeliveryDoubted",
    "Event",
    "Fact",
    "Faulted",
    "GoalChanged",
    "GoalReported",
    "GoalSet",
    "InterfaceChanged",
    "InterruptRequested",
    "LandingRefused",
    "LaunchIntended",
    "LimitEntered",
    "LimitLeft",
    "LimitReached",
    "LoginRequired",
    "MessageStreamed",
    "ModeChanged",
    "OpeningFailed",
    "OptionsChanged",
    "OrderDone",
    "OrderRefused",
    "OwnFact",
    "PermissionAsked",
    "PermissionOption",
    "PlacePrepared",
    "PlaceRemoved",
    "PlanEntry",
    "PlanShown",
    "QuestionAsked",
    "SessionCreated",
    "SessionRemoved",
    "SessionRenamed",
    "SetupEnded",
    "SetupPrinted",
    "StateChanged",
    "ThoughtStreamed",
    "TitleChanged",
    "TokensCounted",
    "ToolCalled",
    "ToolChanged",
    "TurnDelivered",
    "TurnEnded",
    "TurnFailed",
    "TurnQueued",
    "TurnStarted",
    "TurnSteered",
    "TurnTyped",
    "TurnWithdrawn",
    "Unrecognised",
    "UsageReported",
    "UserEchoed",
    "WorkCommitted",
    "WorkLanded",
    "decode_fact",
    "encode_fact",
    "kebab",
]

AgentFact = (
    ConversationOpened
    | ConversationNamed
    | LoginRequired
    | OpeningFailed
    | MessageStreamed
    | ThoughtStreamed
    | UserEchoed
    | ContentShown
    | ToolCalled
    | ToolChanged
    | PlanShown
    | CommandsOffered
    | ModeChanged
    | OptionsChanged
    | TitleChanged
    | UsageReported
    | TokensCounted
    | LimitReached
    | TurnTyped
    | GoalReported
    | PermissionAsked
    | QuestionAsked
    | AskWithdrawn
    | TurnEnded
    | TurnFailed
    | OrderDone
    | OrderRefused
    | ConversationsListed
    | ConversationClosed
    | Unrecognised
    | Faulted
)
"""What a dialect may say."""

OwnFact = (
    SessionCreated
    | StateChanged
    | PlacePrepared
    | PlaceRemoved
    | SetupPrinted
    | SetupEnded
    | LaunchIntended
    | AgentLaunched
    | AgentAdopted
    | AgentEnded
    | TurnQueued
    | TurnStarted
    | TurnDelivered
    | TurnWithdrawn
    | DeliveryDoubted
    | InterfaceChanged
    | InterruptRequested
    | TurnSteered
    | LimitEntered
    | LimitLeft
    | GoalSet
    | GoalChanged
    | BudgetChanged
    | BudgetReached
    | CostReckoned
    | AskAnswered
    | SessionRenamed
    | WorkCommitted
    | WorkLanded
    | LandingRefused
    | SessionRemoved
)
"""What we say of our own deeds."""

AnyFact = AgentFact | OwnFact


class Event(msgspec.Struct, frozen=True):
    """One stored fact: `seq` counts from 1 within a session and has no gaps."""

    session: str
    seq: int
    at: float
    """Seconds since the epoch, UTC, when the fact was heard or done."""
    fact: AnyFact


_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(AnyFact)


def encode_fact(fact: Fact) -> bytes:
    """Return `fact` as UTF-8 JSON."""
    return _encoder.encode(fact)


def decode_fact(raw: bytes | str) -> AnyFact:
    """Return the fact `encode_fact` made `raw` of.

    Raises:
        msgspec.ValidationError: written by a version that knows other facts.
    """
    return _decoder.decode(raw)

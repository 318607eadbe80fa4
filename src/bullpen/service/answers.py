"""How the service answers: JSON bodies, and errors with one shape."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bullpen import errors
from bullpen.errors import BullpenError
from bullpen.model.session import SessionRecord
from bullpen.model.story import outcome

STATUSES: dict[type[BullpenError], int] = {
    BullpenError: 500,
    errors.AgentUnknown: 404,
    errors.AskNotFound: 404,
    errors.RefUnknown: 404,
    errors.SessionNotFound: 404,
    errors.BranchTaken: 409,
    errors.CheckoutDirty: 409,
    errors.IllegalMove: 409,
    errors.LandingConflict: 409,
    errors.NothingToLand: 409,
    errors.SessionBusy: 409,
    errors.SessionIdTaken: 409,
    errors.SessionOver: 409,
    errors.SteerUnsupported: 409,
    errors.StoreLocked: 409,
    errors.WorkUnsaved: 409,
    errors.ResumeUnsupported: 409,
    errors.ChoiceInvalid: 422,
    errors.DirectoryMissing: 422,
    errors.InvalidSessionId: 422,
    errors.MessageInvalid: 422,
    errors.ModeUnsupported: 422,
    errors.ModelRefused: 422,
    errors.NotARepository: 422,
    errors.RequestInvalid: 422,
    errors.BudgetSpent: 409,
    errors.GoalMissing: 404,
    errors.InterfaceUnsupported: 422,
    errors.PolicyInvalid: 422,
    errors.RehearsalInvalid: 422,
    errors.RehearsalUnsupported: 422,
    errors.RuleUnknown: 404,
    errors.ConfigInvalid: 500,
    errors.CatalogInvalid: 500,
    errors.CommandFailed: 500,
    errors.CommandTimedOut: 504,
    errors.JournalDamaged: 500,
    errors.StoreDamaged: 500,
    errors.StoreTooNew: 500,
    errors.AgentDied: 502,
    errors.HandshakeRefused: 502,
    errors.HandshakeTimedOut: 504,
    errors.LoginNeeded: 424,
    errors.ProgramNotFound: 424,
    errors.SetupFailed: 424,
    errors.ServiceStopping: 503,
    errors.ServiceUnreachable: 503,
    errors.BranchBusy: 409,
    errors.BranchInvalid: 422,
    errors.BranchMoved: 409,
    errors.CommitUnreachable: 409,
    errors.OperationUnfinished: 409,
    errors.PlaceTaken: 409,
    errors.ProcessGone: 409,
    errors.RemovalFailed: 500,
    errors.RepositoryBusy: 503,
    errors.StoreRefused: 500,
    errors.StoreUnavailable: 503,
    errors.TargetMissing: 409,
    errors.TemplateInvalid: 500,
    errors.WorktreeDirty: 409,
    errors.WorktreeGone: 409,
    errors.RepositoryMoved: 409,
    errors.WorktreeUnknown: 404,
}
"""The status of each error; one that is not listed has its nearest base's."""


def status_of(error: BullpenError) -> int:
    """Return the HTTP status of `error`."""
    for kind in type(error).__mro__:
        if kind in STATUSES:
            return STATUSES[kind]
    return 500


def refused(_request: Request, error: Exception) -> Response:
    """Answer with what an error says of itself."""
    assert isinstance(error, BullpenError), "registered for it"
    said = {"code": error.code, "message": str(error), "hint": error.hint}
    return JSONResponse({"error": said}, status_code=status_of(error))


class Json(Response):
    """A body encoded by msgspec; structs leave fields out that hold their default."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """See `Response.render`."""
        return _encoder.encode(content)


_encoder = msgspec.json.Encoder()


def view(record: SessionRecord) -> dict[str, Any]:
    """Return a record as doors show it, with its outcome in one word."""
    shown: dict[str, Any] = msgspec.to_builtins(record)
    shown.pop("open_line", None)
    shown["state"] = record.state.value
    shown["outcome"] = outcome(record)
    return shown

"""The web application: routes and the answers to errors."""

import logging
from collections.abc import Callable

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bullpen.api import Bullpen
from bullpen.errors import BullpenError
from bullpen.service import conversations, hosts, leave, money, sessions
from bullpen.service.answers import refused
from bullpen.sessions.launch import VERSION

log = logging.getLogger("bullpen.service")


def make_app(bullpen: Bullpen, *, shut_down: Callable[[], None]) -> FastAPI:
    """Return the application that serves `bullpen`."""
    app = FastAPI(
        title="Bullpen",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        # The socket is the user's own; a plain `curl -d` may leave the header out.
        strict_content_type=False,
    )
    app.state.bullpen = bullpen
    app.state.shut_down = shut_down
    for one in (sessions, conversations, hosts, leave, money):
        app.include_router(one.router)
    app.add_exception_handler(BullpenError, refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ValidationError, _invalid)
    app.add_exception_handler(HTTPException, _unknown)
    app.add_exception_handler(Exception, _bug)
    return app


def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, (RequestValidationError, ValidationError)), "registered for them"
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    why = f"invalid request: {where + ': ' if where else ''}{first['msg']}"
    return _said(422, "request-invalid", why, "")


def _unknown(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for it"
    code = {404: "route-not-found", 405: "method-not-allowed"}.get(error.status_code, "http-error")
    return _said(error.status_code, code, str(error.detail).lower(), "see GET /openapi.json")


def _bug(request: Request, error: Exception) -> Response:
    log.error("bug in %s %s", request.method, request.url.path, exc_info=error)
    why = f"a bug in the service: {type(error).__name__}"
    return _said(500, "internal", why, "the traceback is in service.log")


def _said(status: int, code: str, message: str, hint: str) -> Response:
    body = {"error": {"code": code, "message": message, "hint": hint}}
    return JSONResponse(body, status_code=status)

"""The model as a program: `python -I scripted_model.py --script FILE --port 0`.

Listens on 127.0.0.1 and prints one JSON line with its address once it does.
"""

import argparse
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from bullpen.testing.model import anthropic, chat, gemini, responses
from bullpen.testing.model.conversation import Answer
from bullpen.testing.model.log import Log
from bullpen.testing.model.script import Script, ScriptInvalid, read_script


class Model:
    """The routes of one script."""

    def __init__(self, script: Script, *, log: Log) -> None:
        self._script = script
        self._log = log

    def app(self) -> Starlette:
        """Return the application."""
        post = {"methods": ["POST"]}
        return Starlette(
            routes=[
                Route("/v1/messages", self.messages, **post),  # pyright: ignore
                Route("/v1/messages/count_tokens", self.count, **post),  # pyright: ignore
                Route("/v1/responses", self.responses, **post),  # pyright: ignore
                Route("/v1/chat/completions", self.chat, **post),  # pyright: ignore
                Route("/{version}/models/{model}:{verb}", self.gemini, **post),  # pyright: ignore
                Route("/v1/models", self.models),
                Route("/{rest:path}", self.unknown, methods=["GET", "POST", "HEAD", "PUT"]),
            ]
        )

    async def messages(self, request: Request) -> Response:
        """Anthropic Messages."""
        body = await _object(request)
        answer = anthropic.answer_to(self._script, body)
        await self._heard("anthropic", request, body, answer)
        if answer.error is not None:
            return _refused(answer.error, anthropic.refusal(answer.error))
        if body.get("stream"):
            return _events(_named(anthropic.stream(body, answer)))
        await anyio.sleep(answer.seconds)
        return JSONResponse(anthropic.message_of(body, answer))

    async def count(self, request: Request) -> Response:
        """Anthropic's counting of tokens."""
        await request.body()
        return JSONResponse({"input_tokens": self._script.input_tokens})

    async def responses(self, request: Request) -> Response:
        """OpenAI Responses."""
        body = await _object(request)
        answer = responses.answer_to(self._script, body)
        await self._heard("responses", request, body, answer)
        if answer.error is not None:
            return _refused(answer.error, responses.refusal(answer.error))
        told = responses.stream(body, answer)
        if body.get("stream"):
            return _events(_named(_numbered(told)))
        return JSONResponse([event async for event in told][-1]["response"])

    async def chat(self, request: Request) -> Response:
        """OpenAI Chat Completions."""
        body = await _object(request)
        answer = chat.answer_to(self._script, body)
        await self._heard("chat", request, body, answer)
        if answer.error is not None:
            return _refused(answer.error, responses.refusal(answer.error))
        if body.get("stream"):
            return _events(_finished(chat.stream(body, answer)))
        await anyio.sleep(answer.seconds)
        return JSONResponse(chat.completion(body, answer))

    async def gemini(self, request: Request) -> Response:
        """Gemini, streamed or not, and its counting of tokens."""
        body = await _object(request)
        verb, model = request.path_params["verb"], request.path_params["model"]
        if verb == "countTokens":
            return JSONResponse({"totalTokens": self._script.input_tokens})
        answer = gemini.answer_to(self._script, body)
        await self._heard("gemini", request, body, answer)
        if answer.error is not None:
            return _refused(answer.error, gemini.refusal(answer.error))
        told = gemini.stream(model, answer)
        if verb == "streamGenerateContent":
            return _events(_plain(told, end="\r\n\r\n"))
        return JSONResponse(gemini.whole([event async for event in told]))

    async def models(self, request: Request) -> Response:
        """List the one model there is, in the words of all who ask."""
        name = self._script.model
        one: dict[str, Any] = {"id": name, "object": "model", "type": "model", "created": 0}
        one |= {"display_name": name, "created_at": "2026-01-01T00:00:00Z", "owned_by": "us"}
        self._log.take("models", request.url.path, None, "")
        return JSONResponse({"object": "list", "data": [one], "has_more": False, "models": []})

    async def unknown(self, request: Request) -> Response:
        """Refuse what no agent needs, and log that somebody asked."""
        raw = (await request.body())[:4000].decode("utf-8", "replace")
        self._log.take("other", request.url.path, raw, "404")
        return JSONResponse(
            {"error": {"message": "not here", "type": "not_found_error"}}, status_code=404
        )

    async def _heard(self, api: str, request: Request, body: Any, answer: Answer) -> None:
        self._log.take(api, request.url.path, body, answer.note)
        await anyio.sleep(answer.delay)


async def _object(request: Request) -> dict[str, Any]:
    """Return the body; whatever is no JSON object says nothing."""
    try:
        body = json.loads(await request.body())
    except ValueError:
        return {}
    return cast("dict[str, Any]", body) if isinstance(body, dict) else {}


def _refused(error: dict[str, Any], body: dict[str, Any]) -> Response:
    headers = {str(name): str(value) for name, value in error.get("headers", {}).items()}
    if error.get("retry_after") is not None:
        headers["retry-after"] = str(int(error["retry_after"]))
    return JSONResponse(body, status_code=int(error["status"]), headers=headers)


def _events(lines: AsyncIterable[str]) -> Response:
    headers = {"cache-control": "no-cache"}
    return StreamingResponse(lines, media_type="text/event-stream", headers=headers)


async def _numbered(events: AsyncIterable[dict[str, Any]]) -> AsyncGenerator[dict[str, Any]]:
    number = 0
    async for event in events:
        yield event | {"sequence_number": number}
        number += 1


async def _named(events: AsyncIterable[dict[str, Any]]) -> AsyncGenerator[str]:
    async for event in events:
        yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"


async def _plain(events: AsyncIterable[dict[str, Any]], *, end: str) -> AsyncGenerator[str]:
    async for event in events:
        yield f"data: {json.dumps(event)}{end}"


async def _finished(events: AsyncIterable[dict[str, Any]]) -> AsyncGenerator[str]:
    async for line in _plain(events, end="\n\n"):
        yield line
    yield "data: [DONE]\n\n"


class _Server(uvicorn.Server):
    """Says where it listens once it does, and ends with its owner."""

    def __init__(self, config: uvicorn.Config, *, owner: int | None) -> None:
        super().__init__(config)
        self._owner = owner

    async def on_tick(self, counter: int) -> bool:
        """Say whether it is time to end; asked ten times a second."""
        is_orphan = self._owner is not None and os.getppid() != self._owner
        return is_orphan or await super().on_tick(counter)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, then tell the address."""
        await super().startup(sockets)
        assert sockets is not None, "made by main"
        port = sockets[0].getsockname()[1]
        sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{port}", "port": port}) + "\n")
        sys.stdout.flush()


def main(argv: Sequence[str]) -> int:
    """Serve until SIGTERM; 2 when the script is wrong."""
    parser = argparse.ArgumentParser(prog="scripted_model.py", description=__doc__)
    parser.add_argument("--script", type=Path, help="YAML; without one only prompts carry scripts")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path, help="folder for what is asked")
    parser.add_argument("--owner", type=int, metavar="PID", help="end when this parent has ended")
    parser.add_argument("--check", action="store_true", help="read the script and do nothing else")
    parser.add_argument("--prompt", action="store_true", help="with --check: print its prompt")
    args = parser.parse_args(argv)
    try:
        script = read_script(args.script.read_text("utf-8")) if args.script else Script()
    except (ScriptInvalid, OSError, UnicodeDecodeError) as fault:
        print(f"{args.script}: {fault}", file=sys.stderr)  # noqa: T201 - a program's error
        return 2
    if args.check and args.prompt:
        print(script.prompt)  # noqa: T201 - what was asked for
    if not args.check:
        serve(script, port=args.port, log=Log(args.log), owner=args.owner)
    return 0


def serve(script: Script, *, port: int, log: Log, owner: int | None = None) -> None:
    """Serve `script` on loopback until SIGTERM or SIGINT, or until `owner`, our parent, is gone."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    config = uvicorn.Config(
        Model(script, log=log).app(),
        log_level="critical",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=0,
    )
    server = _Server(config, owner=owner)
    signal.signal(signal.SIGTERM, partial(_stop, server))
    anyio.run(partial(server.serve, sockets=[listener]))


def _stop(server: uvicorn.Server, _number: int, _frame: object) -> None:
    server.should_exit = True

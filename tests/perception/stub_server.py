"""A local OpenAI-compatible endpoint that answers by a script, and misbehaves where it says so.

with StubServer([reply('{"mark": 3}'), status(429), HANG]) as server: …   # then the last one for ever
"""

import json
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Answer = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


def reply(content: str | None, *, finish: str = "stop", refusal: str | None = None) -> Answer:
    """A completion with this text."""
    message = {"role": "assistant", "content": content, "refusal": refusal}
    body = {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "stub",
        "choices": [{"index": 0, "finish_reason": finish, "message": message}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107},
    }
    return raw(json.dumps(body))


def raw(text: str, code: int = 200, length: int | None = None) -> Answer:
    """These bytes; `length` is what the head claims, for a body that breaks off."""

    def answer(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        content = text.encode()
        handler.send_response(code)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(length or len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def status(code: int) -> Answer:
    return raw(json.dumps({"error": {"message": f"no, {code}"}}), code)


def hang(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
    time.sleep(3)


class StubServer:
    """Answers request n with answer n, then with the last; keeps what it was asked."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.requests: list[dict[str, Any]] = []
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler) -> None:
                request = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
                with lock:
                    self.requests.append(request)
                    answer = answers[min(len(self.requests), len(answers)) - 1]
                with suppress(BrokenPipeError, ConnectionResetError):
                    answer(handler, request)

            def log_message(handler, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

"""What every answer of the server says, and what it never does: fetch for others, send the browser away."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# the page draws itself from this server alone; gradio builds its templates from strings, hence unsafe-eval
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; media-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
ELSEWHERE = re.compile(r"/(file|proxy)=/*[a-z][a-z0-9+.-]*:/", re.IGNORECASE)


class Guard:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse to fetch another address; else answer with the headers."""
        if scope["type"] == "http" and ELSEWHERE.search(scope["path"]):
            await send(
                {"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]}
            )
            await send({"type": "http.response.body", "body": b"The Studio fetches nothing from elsewhere."})
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        await self.app(scope, receive, told)


def guard() -> list[Any]:
    """For FastAPI's `middleware`."""
    from starlette.middleware import Middleware

    return [Middleware(Guard)]

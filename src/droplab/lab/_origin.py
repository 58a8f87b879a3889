"""Who may ask, and what every answer says about itself.

Each measure with what it is against: the Host check with DNS rebinding (Jackson et al., 2007), port
and repeated headers included, which Starlette's TrustedHostMiddleware leaves out; Origin and
Sec-Fetch-Site with cross-site request forgery (OWASP's prevention cheat sheet; W3C, Fetch Metadata
Request Headers); the content type with posts that a form may send unasked (WHATWG Fetch, safelisted
headers); the policies with injected scripts (W3C, Content Security Policy 3); frame-ancestors and
X-Frame-Options with clickjacking (RFC 7034); nosniff and the two cross-origin policies with foreign
pages that load an answer as something else (WHATWG Fetch; WHATWG HTML).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from droplab.lab._limits import Refusal
from droplab.lab._log import dumps

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What a page of the lab may load: its own files, no inline script or style, nothing foreign."""

REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""The same for a report, which has its style within and no script at all."""

HEADERS = {
    "content-security-policy": PAGE_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}
"""On every answer that does not say otherwise."""


def secure(headers: MutableHeaders) -> None:
    """Add the headers that every answer has."""
    for name, value in HEADERS.items():
        headers.setdefault(name, value)


def error(status: int, message: str) -> Response:
    """Return the answer to a request that is refused."""
    response = answer({"error": message}, status)
    secure(response.headers)
    return response


def answer(content: Any, status: int = 200) -> Response:
    """Return JSON, which is ASCII, as a request may have carried text that UTF-8 cannot hold."""
    return Response(dumps(content), status, media_type="application/json")


def own_hosts(port: int) -> frozenset[str]:
    """Return the values that the Host header may have.

    A foreign name that resolves to this machine (DNS rebinding) is not among them.

    Example:
        >>> "localhost:8765" in own_hosts(8765), "evil.example:8765" in own_hosts(8765)
        (True, False)
    """
    names = ("127.0.0.1", "localhost", "[::1]")
    return frozenset(f"{name}:{port}" for name in names) | (
        frozenset(names) if port == 80 else frozenset()
    )


class OriginCheck:
    """Refuses requests from elsewhere before anything else sees them.

    Args:
        app: What it guards.
        hosts: What `own_hosts` returned.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                secure(MutableHeaders(raw=message.setdefault("headers", [])))
            await send(message)

        try:
            check(scope["method"], Headers(scope=scope), self._hosts)
        except Refusal as refusal:
            await error(refusal.status, refusal.message)(scope, receive, send_secured)
            return
        await self._app(scope, receive, send_secured)


def check(method: str, headers: Headers, hosts: Collection[str]) -> None:
    """Raise a Refusal unless a request comes from a page of the lab or from this machine's user.

    Args:
        method: The request's method.
        headers: Its headers.
        hosts: What `own_hosts` returned.
    """
    named = headers.getlist("host")
    if len(named) != 1 or named[0].lower() not in hosts:
        raise Refusal(421, "Host: expected this machine's own address, got another one")
    origin = f"http://{named[0].lower()}"
    origins, sites = headers.getlist("origin"), headers.getlist("sec-fetch-site")
    if any(given.lower() != origin for given in origins):
        raise Refusal(403, "Origin: expected a page of this lab, got another site")
    if method in ("GET", "HEAD"):
        navigating = headers.get("sec-fetch-mode") == "navigate"
        if any(site not in ("same-origin", "none") for site in sites) and not navigating:
            raise Refusal(403, "Sec-Fetch-Site: expected a page of this lab, got another site")
        return
    if method != "POST":
        raise Refusal(405, f"expected GET or POST, got {method[:20]}")
    if any(site != "same-origin" for site in sites) or not (origins or sites):
        raise Refusal(403, "a POST must come from a page of this lab, and say so in Origin")
    if content_type(headers) != "application/json":
        raise Refusal(415, "Content-Type: expected application/json")


def content_type(headers: Headers) -> str:
    """Return the media type of a request's body; empty if it is not said, or said twice."""
    given: list[Any] = headers.getlist("content-type")
    return given[0].partition(";")[0].strip().lower() if len(given) == 1 else ""

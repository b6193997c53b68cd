"""Where the service meets the HTTP server that Ray Serve runs in each replica.

Serve wraps that server in the Starlette middlewares that `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH` names. Ours
answers requests right there, in the replica's process and on its event loop, before Serve's bookkeeping of each request
(a task and a queue for disconnects, metadata, log, metrics), which costs several times what a policy does. What is left
to Serve is its own: its health checks, and draining, for which the HTTP server itself counts what is in flight.
"""

from __future__ import annotations

from starlette.middleware import Middleware

from serve.asgi import App
from serve.body import Receive, Scope, Send

_app: App | None = None


def install(app: App) -> None:
    """Makes an app the one that answers in this process."""
    global _app
    _app = app


def middlewares() -> list[Middleware]:
    """What Serve is to wrap its HTTP servers in."""
    return [Middleware(ShortCut)]


class ShortCut:
    """Passes requests to the service in this process; Serve's own, and all where there is no service, go on to Serve.

    Args:
        app: Serve's app.
    """

    def __init__(self, app: App) -> None:
        self._serve = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes one request on."""
        app = _app
        if app is None or (scope["type"] == "http" and scope["path"].startswith("/-/")):
            app = self._serve
        await app(scope, receive, send)

"""The local web page: see a run, make one, learn, in the browser.

Needs the extra `lab` (Starlette and uvicorn); nothing else in droplab imports them.
"""

from __future__ import annotations

from droplab.lab._app import create_app
from droplab.lab._server import serve

__all__ = ["create_app", "serve"]

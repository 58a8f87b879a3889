"""The files of the page, as Starlette serves them."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

PAGE = Path(__file__).parent / "page"
INDEX = "index.html"

# Windows may have another type for it, with which no browser runs it.
mimetypes.add_type("text/javascript", ".js")


class PageFiles(StaticFiles):
    """The page's files; a browser keeps them, and asks each time whether they are the newest."""

    def __init__(self) -> None:
        super().__init__(directory=PAGE)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the answer to a request for a file."""
        if "\0" in path:  # Starlette 0.46 fails on it
            raise HTTPException(404)
        return await super().get_response(path, scope)

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Return the answer that has the file, or says that it has not changed."""
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response

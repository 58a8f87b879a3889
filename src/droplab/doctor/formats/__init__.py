"""How findings are printed: one file a format."""

from __future__ import annotations

from droplab.doctor.formats.github import github
from droplab.doctor.formats.json import json_document
from droplab.doctor.formats.sarif import sarif
from droplab.doctor.formats.text import text

FORMATS = ("text", "json", "sarif", "github")

__all__ = ["FORMATS", "github", "json_document", "sarif", "text"]

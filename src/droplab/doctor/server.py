"""The doctor in an editor: a language server over stdin and stdout, made with pygls.

Source: Microsoft, Language Server Protocol Specification 3.17.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.uris import to_fs_path
from pygls.workspace import PositionCodec

from droplab.doctor._codes import CODES
from droplab.doctor._edit import apply
from droplab.doctor._finding import Edit, Finding
from droplab.doctor._settings import Settings, load_settings
from droplab.doctor._source import Source, package_of
from droplab.doctor._suppress import silenced_line
from droplab.doctor._text import check_source, quiet
from droplab.errors import ArgumentError

_SEVERITIES = {
    "error": types.DiagnosticSeverity.Error,
    "warning": types.DiagnosticSeverity.Warning,
    "note": types.DiagnosticSeverity.Information,
}
_FIX = types.CodeActionKind.QuickFix


class Document:
    """An open file as the editor has it, with what is wrong in it.

    Args:
        uri: Its name in the protocol.
        text: Its text, saved or not.
        settings: What to look for.
        codec: How the editor counts the characters of a line.
        version: Its version in the protocol.
    """

    def __init__(
        self,
        uri: str,
        text: str,
        settings: Settings,
        codec: PositionCodec,
        version: int | None = None,
    ) -> None:
        path = to_fs_path(uri) or uri
        self.uri = uri
        self.version = version
        self.source = Source(text, path, package_of(Path(path)))
        self.settings = settings
        self._codec = codec
        self.findings = [] if settings.excludes(path) else self._check(self.source)

    def _check(self, source: Source) -> list[Finding]:
        with quiet():
            return check_source(source, self.settings).findings

    def diagnostics(self) -> list[types.Diagnostic]:
        """Return the findings as the editor marks them."""
        return [self._diagnostic(finding) for finding in self.findings]

    def _diagnostic(self, finding: Finding) -> types.Diagnostic:
        return types.Diagnostic(
            range=self._range(finding),
            message=f"{finding.message}; {finding.advice}",
            severity=_SEVERITIES[finding.severity],
            code=finding.code,
            source="droplab",
        )

    def hover(self, at: types.Position) -> types.Hover | None:
        """Return the page of the check whose finding is at a position."""
        for finding in self.findings:
            if _meet(self._range(finding), types.Range(at, at)):
                text = CODES[finding.code].explanation
                content = types.MarkupContent(types.MarkupKind.Markdown, text)
                return types.Hover(content, self._range(finding))
        return None

    def actions(self, where: types.Range) -> list[types.CodeAction]:
        """Return the quick fixes of the findings that a range touches."""
        return [
            action
            for finding in self.findings
            if _meet(self._range(finding), where)
            for action in self._of(finding)
        ]

    def _of(self, finding: Finding) -> Iterator[types.CodeAction]:
        if finding.edits:
            kind = " (unsafe: it changes what training computes)" if finding.unsafe else ""
            title = f"droplab: {finding.advice}{kind}"
            yield self._action(title, finding, finding.edits, preferred=not finding.unsafe)
        quiet_edit = self._silence(finding)
        if quiet_edit is not None:
            title = f"droplab: silence {finding.code} in this line"
            yield self._action(title, finding, (quiet_edit,), preferred=False)

    def _silence(self, finding: Finding) -> Edit | None:
        """Return the comment that silences a finding: in its first line, or in its last one."""
        same = [item for item in self.findings if item.code == finding.code]
        for number in dict.fromkeys((finding.line, finding.end_line)):
            line = self.source.line(number)
            start = self.source.offset(number, 0)
            edit = Edit(start, start + len(line), silenced_line(line, finding.code))
            text = apply(self.source.text, [edit])
            after = self._check(Source(text, self.source.path, self.source.package))
            # Inside a string, or after a backslash, it would be no comment.
            if "DRP000" in (finding.code, *(item.code for item in after)):
                continue
            if sum(item.code == finding.code for item in after) < len(same):
                return edit
        return None

    def _action(
        self, title: str, finding: Finding, edits: tuple[Edit, ...], *, preferred: bool
    ) -> types.CodeAction:
        changes = [
            types.TextEdit(
                types.Range(self._position(edit.start), self._position(edit.end)), edit.text
            )
            for edit in edits
        ]
        return types.CodeAction(
            title=title,
            kind=_FIX,
            diagnostics=[self._diagnostic(finding)],
            is_preferred=preferred,
            edit=types.WorkspaceEdit(changes={self.uri: changes}),
        )

    def _range(self, finding: Finding) -> types.Range:
        return types.Range(
            self._place(finding.line, finding.column),
            self._place(max(finding.end_line, finding.line), finding.end_column),
        )

    def _place(self, line: int, column: int) -> types.Position:
        """Return a line and a column, both from 1, as the editor counts them."""
        before = self.source.line(line)[: max(column - 1, 0)]
        return types.Position(max(line - 1, 0), self._codec.client_num_units(before))

    def _position(self, offset: int) -> types.Position:
        return self._place(*self.source.place(offset))


class _Server(LanguageServer):
    def __init__(self, version: str) -> None:
        # Whole texts: pygls splits lines at form feeds, too, where an editor does not.
        kind = types.TextDocumentSyncKind.Full
        super().__init__("droplab", version, text_document_sync_kind=kind)
        self.open: dict[str, Document] = {}

    def document(self, uri: str) -> Document:
        """Return an open file; it is checked once for each of its versions."""
        given = self.workspace.get_text_document(uri)
        known = self.open.get(uri)
        if known is None or known.version != given.version:
            known = Document(
                uri, given.source, self._settings(uri), given.position_codec, given.version
            )
            self.open[uri] = known
        return known

    def publish(self, uri: str) -> None:
        """Tell the editor what is wrong in a file."""
        self._tell(uri, self.document(uri).diagnostics())

    def close(self, uri: str) -> None:
        """Forget a file, and take its marks away."""
        self.open.pop(uri, None)
        self._tell(uri, [])

    def _tell(self, uri: str, found: list[types.Diagnostic]) -> None:
        self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, found))

    def _settings(self, uri: str) -> Settings:
        path = to_fs_path(uri)
        try:
            return load_settings(Path(path).parent) if path else Settings()
        except ArgumentError as error:
            self.window_show_message(types.ShowMessageParams(types.MessageType.Error, str(error)))
            return Settings()


def serve(version: str) -> None:
    """Speak with an editor over stdin and stdout until it says that it is done.

    Args:
        version: The version of droplab, for the editor to show.
    """
    make_server(version).start_io()


def make_server(version: str) -> LanguageServer:
    """Return the server with what it answers to."""
    server = _Server(version)

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def _opened(params: types.DidOpenTextDocumentParams) -> None:
        server.publish(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def _changed(params: types.DidChangeTextDocumentParams) -> None:
        server.publish(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    def _saved(params: types.DidSaveTextDocumentParams) -> None:
        # The settings may be what was saved, so nothing known is taken.
        server.open.clear()
        server.publish(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def _closed(params: types.DidCloseTextDocumentParams) -> None:
        server.close(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    def _hover(params: types.HoverParams) -> types.Hover | None:
        return server.document(params.text_document.uri).hover(params.position)

    @server.feature(
        types.TEXT_DOCUMENT_CODE_ACTION, types.CodeActionOptions(code_action_kinds=[_FIX])
    )
    def _actions(params: types.CodeActionParams) -> list[types.CodeAction]:
        only = params.context.only
        if only is not None and _FIX not in only:
            return []
        return server.document(params.text_document.uri).actions(params.range)

    return server


def _meet(one: types.Range, other: types.Range) -> bool:
    return one.start <= other.end and other.start <= one.end

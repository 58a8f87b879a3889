"""The changes to a file, and the transformer that makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import libcst as cst


@dataclass
class Changes:
    """What to change, by node of the original tree."""

    wrap: dict[cst.Call, dict[int, str]] = field(default_factory=dict)
    """Calls whose argument at an index goes through another call ("self.fc2_dropout")."""
    rate: dict[cst.Call, tuple[int, float]] = field(default_factory=dict)
    """Calls whose rate, at an index among the arguments, changes."""
    after: dict[cst.CSTNode, list[str]] = field(default_factory=dict)
    """Lines that get new lines after them."""
    before: dict[cst.CSTNode, list[str]] = field(default_factory=dict)
    """Lines that get new lines before them."""
    insert: dict[cst.CSTNode, list[tuple[int, str]]] = field(default_factory=dict)
    """Argument lists and lists that get new elements before an index."""
    named: dict[cst.Call, str] = field(default_factory=dict)
    """Sequentials that become an OrderedDict, with what the file calls that."""

    swap: dict[cst.BaseExpression, tuple[cst.Call, float]] = field(default_factory=dict)
    """Expressions that become a call, with its rate changed."""

    def __bool__(self) -> bool:
        return any(
            (self.swap, self.wrap, self.rate, self.after, self.before, self.insert, self.named)
        )


class Rewrite(cst.CSTTransformer):
    """Makes the changes and touches nothing else."""

    def __init__(self, changes: Changes) -> None:
        super().__init__()
        self.changes = changes

    def on_leave(self, original_node: Any, updated_node: Any) -> Any:
        """Swap whole expressions, and change the others as they are."""
        if original_node in self.changes.swap:
            call, p = self.changes.swap[original_node]
            return _with_rate(call, 0, p)
        return super().on_leave(original_node, updated_node)

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        if original_node in self.changes.rate:
            updated_node = _with_rate(updated_node, *self.changes.rate[original_node])
        for index, wrapper in self.changes.wrap.get(original_node, {}).items():
            args = list(updated_node.args)
            inside = cst.Call(
                func=cst.parse_expression(wrapper),
                args=[cst.Arg(_bare(args[index].value))],
            )
            args[index] = args[index].with_changes(value=inside)
            updated_node = updated_node.with_changes(args=args)
        insertions = self.changes.insert.get(original_node, [])
        if original_node in self.changes.named:
            ordered = self.changes.named[original_node]
            return _as_ordered(updated_node, insertions, ordered)
        for index, text in sorted(insertions, reverse=True):
            args = _inserted(updated_node.args, index, cst.Arg(cst.parse_expression(text)))
            updated_node = updated_node.with_changes(args=args)
        return updated_node

    def leave_List(self, original_node: cst.List, updated_node: cst.List) -> cst.List:
        for index, text in sorted(self.changes.insert.get(original_node, []), reverse=True):
            new = cst.Element(cst.parse_expression(text))
            elements = _inserted(updated_node.elements, index, new)
            updated_node = updated_node.with_changes(elements=elements)
        return updated_node

    def leave_SimpleStatementLine(
        self,
        original_node: cst.SimpleStatementLine,
        updated_node: cst.SimpleStatementLine,
    ) -> Any:
        after = [_line(text) for text in self.changes.after.get(original_node, ())]
        before = [_line(text) for text in self.changes.before.get(original_node, ())]
        if not after and not before:
            return updated_node
        if before:  # comments and empty lines stay above the line they are about
            before[0] = before[0].with_changes(leading_lines=updated_node.leading_lines)
            updated_node = updated_node.with_changes(leading_lines=())
        return cst.FlattenSentinel([*before, updated_node, *after])


def _line(text: str) -> cst.SimpleStatementLine:
    line = cst.parse_statement(text)
    assert isinstance(line, cst.SimpleStatementLine)
    return line


def _bare(value: cst.BaseExpression) -> cst.BaseExpression:
    """Return an argument as an argument of its own: a generator needs parentheses then."""
    if isinstance(value, cst.GeneratorExp) and not value.lpar:
        return value.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    return value


def _with_rate(call: cst.Call, at: int, p: float) -> cst.Call:
    value = cst.parse_expression(repr(p))
    args = list(call.args)
    for index, arg in enumerate(args):
        name = arg.keyword.value if arg.keyword else None
        if name == "p" or (name is None and index == at):
            args[index] = arg.with_changes(value=value)
            return call.with_changes(args=args)
    new = cst.Arg(
        value,
        keyword=cst.Name("p"),
        equal=cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace("")),
    )
    return call.with_changes(args=_inserted(args, len(args), new))


def _inserted(items: Sequence[Any], index: int, new: Any) -> list[Any]:
    """Return `items` with one more, set as its neighbours are."""
    result = list(items)
    space = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    if index == len(result):
        if result and isinstance(result[-1].comma, cst.MaybeSentinel):
            result[-1] = result[-1].with_changes(comma=space)
        return [*result, new]
    neighbour = result[index - 1] if index else result[0]
    comma = neighbour.comma if isinstance(neighbour.comma, cst.Comma) else space
    return [*result[:index], new.with_changes(comma=_clean(comma)), *result[index:]]


def _clean(comma: cst.Comma) -> cst.Comma:
    """Return a comma with its line break, but without the comments that belong to another."""
    after = comma.whitespace_after
    if not isinstance(after, cst.ParenthesizedWhitespace):
        return comma
    first = after.first_line.with_changes(comment=None, whitespace=cst.SimpleWhitespace(""))
    return comma.with_changes(whitespace_after=after.with_changes(first_line=first, empty_lines=[]))


def _as_ordered(call: cst.Call, insertions: list[tuple[int, str]], ordered: str) -> cst.Call:
    """Return a Sequential with its elements named by the indices that they had."""
    elements: list[cst.Element] = []
    for index, arg in enumerate(call.args):
        pair = _pair(f'"{index}"', arg.value)
        elements.append(cst.Element(pair, comma=arg.comma))
    for index, text in sorted(insertions, reverse=True):
        pair = _pair(f'"dropout_{index}"', cst.parse_expression(text))
        elements = _inserted(elements, index, cst.Element(pair))
    inner = cst.List(
        elements,
        lbracket=cst.LeftSquareBracket(whitespace_after=call.whitespace_before_args),
    )
    wrapped = cst.Call(cst.parse_expression(ordered), args=[cst.Arg(inner)])
    return call.with_changes(
        args=[cst.Arg(wrapped)], whitespace_before_args=cst.SimpleWhitespace("")
    )


def _pair(name: str, value: cst.BaseExpression) -> cst.Tuple:
    return cst.Tuple([cst.Element(cst.SimpleString(name)), cst.Element(value)])

"""Is the evidence about a model's mode complete? Then a finding of an optional check is shown.

The model is made by one call on the way that was followed, its class was read, it learns there, and
every call of the file that sets a mode lies on that way. Where something says that the mode is
meant, as in a part that is frozen or an attack on the model, the evidence is not complete.
"""

from __future__ import annotations

import ast
import re

from droplab.doctor._certain import certain
from droplab.doctor._depends import Layers
from droplab.doctor._events import Events, text_of
from droplab.doctor._module import Module
from droplab.doctor._names import argument
from droplab.doctor._order import Entry
from droplab.doctor._states import Mode, Visit
from droplab.doctor._validation import SURELY, names_in, says_so

_MEANT = re.compile(
    r"(?:^|_)(?:adv|adversar\w*|attack\w*|pgd|fgsm|maml|meta|meta_?learn\w*|inner_?loop|tta|tent|"
    r"test_?time\w*|disc|discriminator\w*|critic|net_?[gd]|gan|(?:dc|w|cycle|style|info)gan|replay\w*|rollout\w*|"
    r"policy_?net|actor|agent|teacher(?!_?forc)\w*|distill\w*|ema|mc_?drop\w*|monte\w*|bayes\w*|"
    r"uncertain\w*|freez\w*|frozen|linear_?prob\w*)(?:_|$)",
    re.IGNORECASE | re.MULTILINE,
)
_REMARK = re.compile(
    r"#.*(?:freez|frozen|\bfix|keep|on purpose|deliberat|intention|\.eval\(\)|\.train\(\))",
    re.IGNORECASE,
)
_MEASURES = re.compile(r"estimate|accuracy", re.IGNORECASE)


def may_prove(module: Module) -> bool:
    """Return whether evidence may be complete in a file, before anything of it is followed."""
    return (
        {"backward", "step"} <= module.attributes
        and bool({"parameters", "named_parameters"} & module.attributes)
        and not _meant(module)
    )


def learns(module: Module, entry: Entry, visit: Visit) -> Layers:
    """Return the layers that a model surely has, if it surely learns on the way to a visit."""
    trained = [item for item in entry.visits if item.key == visit.key and item.stepped]
    if visit.built is None or not trained or visit.key not in entry.learnt:
        return frozenset()
    if not _all_followed(module, entry) or _meant(module):
        return frozenset()
    return certain(module, visit.built)


def undone(module: Module, entry: Entry, visit: Visit, mode: Mode) -> bool:
    """Return whether an eval mode in which a model is trained was surely set to validate it."""
    if not visit.stepped or mode.once or mode.by is None:
        return False
    validated = any(
        item.key == visit.key and not item.trained and mode.by in {each.by for each in item.modes}
        for item in entry.visits
    )
    if not validated or "requires_grad" in module.attributes or _remarked(module, mode.by):
        return False
    return not any(_switched(module, call) for call in entry.modes if call is not mode.by)


def validates(module: Module, call: ast.Call) -> bool:
    """Return whether a pass is surely validation: its data or its function are named so."""
    if _remarked(module, call):
        return False
    given = [*call.args, *(item.value for item in call.keywords)]
    if any(says_so(item) for item in given):
        return True
    for above in module.ancestors(call):
        if isinstance(above, ast.For | ast.AsyncFor | ast.comprehension):
            if _trains(above):
                return False
            if says_so(above.iter) or _passed(module, above.iter):
                return True
        elif isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef):
            said = SURELY.search(above.name) or _MEASURES.search(above.name)
            return said is not None and not _trains(above)
    return False


def _passed(module: Module, data: ast.expr) -> bool:
    """Whether a loop's data is an argument of its function that is passed validation data."""
    around = module.function(data)
    if around is None or not isinstance(data, ast.Name):
        return False
    spec = [item.arg for item in [*around.args.posonlyargs, *around.args.args]]
    if data.id not in spec or _trains(around):
        return False
    calls = [item for item in module.calls if text_of(item.func) == around.name]
    given = [argument(item, data.id, spec.index(data.id)) for item in calls]
    return any(item is not None and says_so(item) for item in given)


def _trains(node: ast.AST) -> bool:
    return any(
        isinstance(item, ast.Attribute) and item.attr == "backward" for item in ast.walk(node)
    )


def _meant(module: Module) -> bool:
    """Whether names of the file say that a mode may be what the authors want."""
    if "meant" not in module.cache:
        # All nodes are in the table of parents: walking the tree again takes five times as long.
        names = {node.id for node in module.parents if node.__class__ is ast.Name}  # pyright: ignore[reportAttributeAccessIssue]
        names |= module.attributes | {item.name for item in module.functions}
        stores = "training" in module.attributes and any(
            isinstance(node, ast.Attribute)
            and node.attr == "training"
            and isinstance(node.ctx, ast.Store)
            for node in module.parents
        )
        module.cache["meant"] = stores or _MEANT.search("\n".join(names)) is not None
    return module.cache["meant"]


def _all_followed(module: Module, entry: Entry) -> bool:
    """Whether every call that sets a mode is of a known model, and was met on the way.

    A function that the file neither calls nor passes on has no part in it.
    """
    events = Events(module)
    for call in module.calls:
        if events.mode(call) is None:
            continue
        if call in entry.modes:
            if entry.modes[call] is None:
                return False
            continue
        around = module.function(call)
        if around is None or around.name in names_in(module.tree):
            return False
    return True


def _switched(module: Module, call: ast.Call) -> bool:
    """Whether a call that sets a mode stands under a condition which the training itself does not.

    Then the mode is a choice that is made elsewhere.
    """
    for above in module.ancestors(call):
        if isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef):
            return False
        if isinstance(above, ast.If) and "__name__" not in names_in(above.test):
            mod = any(isinstance(item, ast.Mod) for item in ast.walk(above.test))
            if not _trains(above) and not mod:
                return True
    return False


def _remarked(module: Module, node: ast.AST) -> bool:
    """Whether a comment beside a line speaks of modes or of what stays as it is."""
    line = getattr(node, "lineno", 1)
    return any(
        _REMARK.search(module.source.line(at))
        for at in range(max(line - 3, 1), min(line + 1, len(module.source.lines)) + 1)
    )

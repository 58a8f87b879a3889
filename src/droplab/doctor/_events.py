"""What single calls of training code mean: train(), eval(), step(), a model built or loaded."""

from __future__ import annotations

import ast
import re
from typing import Literal

from droplab.doctor import _names
from droplab.doctor._classes import ClassInfo, Function, self_name
from droplab.doctor._module import Module

_NO_GRAD = frozenset({"torch.no_grad", "torch.inference_mode", "torch.autograd.no_grad"})
_WRAPPERS = frozenset({"DataParallel", "DistributedDataParallel", "compile", "unwrap_model"})
_HARMLESS = frozenset(
    [
        "abs",
        "all",
        "any",
        "append",
        "bool",
        "callable",
        "deepcopy",
        "dict",
        "dir",
        "enumerate",
        "float",
        "getattr",
        "hasattr",
        "id",
        "int",
        "isinstance",
        "issubclass",
        "iter",
        "len",
        "list",
        "max",
        "min",
        "next",
        "print",
        "range",
        "repr",
        "round",
        "set",
        "setattr",
        "sorted",
        "str",
        "sum",
        "super",
        "tuple",
        "type",
        "vars",
        "zip",
        "watch",
        "update",
        "extend",
        "summary",
        "info",
        "debug",
    ]
)
_QUIET = re.compile(
    r"^(?:_*)(?:save|count|log|print|plot|load|get|num|init|build|create|make|register|add|"
    r"set_seed|seed|convert|resume|write|weight|check|optim|adam|sgd|ema|clip|add|is_|has_)|"
    r"(?:Optimizer|Scheduler|EMA|Logger|Writer|Checkpoint|Saver)$",
    re.IGNORECASE,
)
_TOUCHES = re.compile(
    r"acc(?:_|$|u)|train|eval|valid|(?:^|_)val(?:_|$)|test|fit|epoch|(?:^|_)run|mode|freeze|infer|"
    r"predict|score|metric",
    re.IGNORECASE,
)
_DATA = re.compile(r"loader|data|iter|size|state|log|model|step|loss", re.IGNORECASE)
_BUILDERS = ("torch.nn.", "torchvision.models.", "timm.create_model", "timm.models.")
_HOLDS = re.compile(
    r"Sequential|Module|Transformer|LSTM|GRU|RNN|Dropout|BatchNorm|parallel|Parallel"
)
"""What of torch.nn is or may hold a model; single layers are the same in either mode."""
_NO_MODEL = re.compile(
    r"Tokenizer|Config|Processor|Extractor|Scheduler|Pipeline|Dataset|Collator|Generation"
)

ModeSet = Literal["train", "eval", "mode"]


class Events:
    """Facts of one file that do not depend on the order in which it runs."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.by_name: dict[str, Function] = {}
        for function in module.functions:
            self.by_name.setdefault(function.name, function)
        self.known = {info.name: info for info in module.classes}
        self.models = self._models()
        self.calls: dict[ast.AST, list[ast.Call]] = {}
        self.locals: dict[ast.AST, frozenset[str]] = {}

    def _models(self) -> frozenset[str]:
        """Return texts of expressions that are surely models, by what is done to them."""
        found: set[str] = set()
        for call in self.module.calls:
            if not isinstance(call.func, ast.Attribute):
                continue
            does = call.func.attr in ("parameters", "state_dict", "load_state_dict")
            if does or self.mode(call) is not None:
                found.add(text_of(self.bare(call.func.value)).replace(".module", ""))
        return frozenset(
            text for text in found if text and text != "self" and not re.search("crit|loss", text)
        )

    def mode(self, call: ast.Call) -> ModeSet | None:
        """Return which mode a call sets: "mode" is one that only running can tell."""
        function = call.func
        if not isinstance(function, ast.Attribute) or function.attr not in ("train", "eval"):
            return None
        if self.imported(function.value):
            return None
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        if not given:
            return "train" if function.attr == "train" else "eval"
        if function.attr == "eval" or len(given) > 1:
            return None
        if isinstance(given[0], ast.Constant):
            if not isinstance(given[0].value, bool):
                return None
            return "train" if given[0].value else "eval"
        if text_of(given[0]) and not re.search("train|mode|was|flag", text_of(given[0])):
            return None
        return "mode"

    def imported(self, node: ast.expr) -> bool:
        """Return whether a name stands for what was imported, and no assignment shadows it."""
        head = text_of(node).partition(".")[0]
        return bool(self.module.resolve(node)) and head not in self.module.assigned

    def bare(self, node: ast.AST) -> ast.AST:
        """Return the model behind `.to(...)`, `.cuda()` and the wrappers of parallel training."""
        while True:
            if isinstance(node, ast.Await):
                node = node.value
                continue
            if not isinstance(node, ast.Call):
                return node
            function = node.func
            name = getattr(function, "attr", getattr(function, "id", ""))
            if name in _WRAPPERS and node.args:
                node = node.args[0]
            elif isinstance(function, ast.Attribute) and name in _names.SELF_METHODS:
                node = function.value
            else:
                return node

    def function(self, call: ast.Call) -> Function | None:
        """Return the function of this file that a call runs, if it is one."""
        function = call.func
        if isinstance(function, ast.Name):
            found = self.by_name.get(function.id)
            return None if found is None or self.is_method(found) else found
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            owner = self.module.method(call)
            if owner is not None and function.value.id == self_name(owner[1]):
                return owner[0].find_method(function.attr)
        return None

    def is_method(self, function: ast.AST) -> bool:
        """Return whether a function stands directly in a class."""
        return isinstance(self.module.parents.get(function), ast.ClassDef)

    def instance(self, call: ast.Call) -> ClassInfo | None:
        """Return the class of this file that a call makes an object of."""
        return self.module.class_at(call.func.id, call) if isinstance(call.func, ast.Name) else None

    def called(self) -> set[Function]:
        """Return the functions that some call of the file runs."""
        names = {
            call.func.attr for call in self.module.calls if isinstance(call.func, ast.Attribute)
        }
        made = {info.name for call in self.module.calls if (info := self.instance(call))}
        found = {inner for call in self.module.calls if (inner := self.function(call))}
        for info in self.module.classes:
            if info.name in made and not info.is_module:
                found |= {method for name, method in info.methods.items() if name in names}
        return found

    def halves(self, function: Function) -> tuple[list[ast.stmt], list[ast.stmt]] | None:
        """Return what a context manager does on entry and on exit, if it is one with a `yield`."""
        names = {text_of(item).rpartition(".")[2] for item in function.decorator_list}
        if "contextmanager" not in names:
            return None
        before: list[ast.stmt] = []
        for at, statement in enumerate(function.body):
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Yield):
                return before, function.body[at + 1 :]
            if isinstance(statement, ast.Try) and any(
                isinstance(item, ast.Yield) for item in ast.walk(statement)
            ):
                return before, [*statement.finalbody, *function.body[at + 1 :]]
            before.append(statement)
        return None

    def is_no_grad(self, node: ast.expr) -> bool:
        """Return whether an expression is torch.no_grad(), inference_mode() or their like."""
        if isinstance(node, ast.Call):
            name = self.module.resolve(node.func)
            if name in ("torch.set_grad_enabled", "torch.autograd.set_grad_enabled"):
                # Switched by a condition, it is not known; what follows is then no proof.
                first = node.args[0] if node.args else None
                return not (isinstance(first, ast.Constant) and first.value is True)
            return name in _NO_GRAD
        return self.module.resolve(node) in _NO_GRAD

    def is_step(self, call: ast.Call) -> bool:
        """Return whether a call is the step of an optimizer."""
        function = call.func
        if not isinstance(function, ast.Attribute) or function.attr != "step":
            return False
        texts = [text_of(function.value), *(text_of(item) for item in call.args)]
        return any(re.search("opt|solver|adam|sgd|scaler", text, re.IGNORECASE) for text in texts)

    def pretrained(self, call: ast.Call) -> bool:
        """Return whether a call loads a model that its library leaves in eval mode."""
        function = call.func
        if not isinstance(function, ast.Attribute) or function.attr != "from_pretrained":
            return False
        names = [self.module.resolve(function.value)]
        own = self.known.get(text_of(function.value))
        if own is not None:
            names = [base for item in own.family for base in item.bases]
        return any(
            name.partition(".")[0] in ("transformers", "diffusers") and not _NO_MODEL.search(name)
            for name in names
        )

    def builds(self, call: ast.Call) -> bool:
        """Return whether a call makes a new model, which is in train mode."""
        made = self.instance(call)
        if made is not None:
            return made.is_module
        name = self.module.resolve(call.func)
        if name.startswith("torch.nn."):
            return bool(_HOLDS.search(name))
        return name.startswith(_BUILDERS)

    def loads(self, call: ast.Call) -> bool:
        """Return whether a call loads a whole model, in the mode in which it was saved."""
        return self.module.resolve(call.func) in ("torch.load", "torch.jit.load", "torch.hub.load")

    def harmless(self, call: ast.Call) -> bool:
        """Return whether a call that gets a model surely leaves its mode alone, by its name."""
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        if self.module.resolve(call.func).startswith("torch.") or name in _HARMLESS:
            return True
        return bool(_QUIET.search(name)) and not _TOUCHES.search(name)

    def touches(self, call: ast.Call) -> bool:
        """Return whether a method out of sight may change the mode of its object, by its name."""
        name = getattr(call.func, "attr", "")
        if name == "apply":
            return not any("init" in text_of(item) for item in call.args)
        return bool(_TOUCHES.search(name)) and not _DATA.search(name)


def assigned_names(function: ast.AST) -> frozenset[str]:
    """Return the names that are local to a function: its arguments, and what it assigns."""
    if isinstance(function, ast.Module):
        return frozenset()
    found: set[str] = set()
    outside: set[str] = set()
    stack: list[ast.AST] = [function]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Global | ast.Nonlocal):
            outside.update(node.names)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        inner = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda)
        if not inner or node is function:
            stack.extend(ast.iter_child_nodes(node))
    return frozenset(found - outside)


def text_of(node: ast.AST) -> str:
    """Return a plain dotted expression as text, or ""."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])


_NESTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def calls_of(region: ast.AST) -> list[ast.Call]:
    """Return calls in evaluation order: what is inside an argument comes first."""
    # Asked for every function, and again where it is called: written for speed.
    found: list[ast.Call] = []
    stack: list[ast.AST | tuple[ast.Call]] = [region]
    while stack:
        node = stack.pop()
        if isinstance(node, tuple):
            found.append(node[0])
            continue
        if isinstance(node, _NESTED) and node is not region:
            continue
        if isinstance(node, ast.Call):
            stack.append((node,))
        children: list[ast.AST] = []
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, ast.AST):
                children.append(value)
            elif value.__class__ is list:
                children += [item for item in value if isinstance(item, ast.AST)]  # pyright: ignore[reportOptionalIterable]
        children.reverse()
        stack += children
    return found

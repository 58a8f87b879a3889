"""Does a model do something else in eval mode? Only what is shown counts.

The class of the model shows it, in the file or in one that can be found; so do the calls that build
it, and the models that the file itself defines. What the file merely mentions, or what is built
somewhere in the files that it imports, shows nothing: a check that asks here is then silent.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from droplab.doctor import _names
from droplab.doctor._classes import ClassInfo, Function
from droplab.doctor._elsewhere import defined, lineage, load
from droplab.doctor._events import text_of
from droplab.doctor._module import Module

DROPOUT, BATCHNORM = "dropout", "BatchNorm"
Layers = frozenset[str]
"""Which of the two layers were found."""

NOTHING: Layers = frozenset()
_DROPS = frozenset({DROPOUT})
_NORMS = frozenset({BATCHNORM})
_TORCHVISION = re.compile(
    r"torchvision\.models\.(?:\w+\.)*(?:alexnet|vgg|googlenet|inception|squeezenet|mobilenet|mnasnet|"
    r"efficientnet|convnext|swin|maxvit)",
    re.IGNORECASE,
)
_PRETRAINED = re.compile(
    r"(?:Auto(?:Adapter)?Model(?!ForCausalLM|ForVision|ForImageText|ForSeq2SeqLM\b)|(?:TF)?Bert|Roberta|"
    r"XLM|DistilBert|Electra|Albert|Deberta|XLNet|GPT2|OpenAIGPT|M?Bart|M?T5|Longformer|BigBird|"
    r"Wav2Vec2|Hubert|WavLM|Camembert|Pegasus|Marian|LayoutLM|Vilt|Lxmert|VisualBert|MPNet)(?!\w*"
    r"(?:Tokenizer|Config|Processor|Extractor|Adam|Scheduler))"
)
"""Models of `transformers` and its forerunners whose own settings have dropout."""
_HUGGING = ("transformers.", "pytorch_transformers.", "pytorch_pretrained_bert.")
_DROP_NAME = re.compile(r"drop_?(?:out|path|block|connect)|stochastic_?depth", re.IGNORECASE)
_NORM_NAME = re.compile(r"batch_?norm", re.IGNORECASE)
_RATE = re.compile(r"dropout|^(?:attn|proj|ff|emb)_drop$|^drop_(?:rate|prob|path\w*)$|^drop$")
_NORMED = ("segmentation_models_pytorch.", "efficientnet_pytorch.", "pretrainedmodels.")
_NO_MODEL = re.compile(
    r"loss|criterion|(?:^|_)ema|attack|metric|augment|transform|dataset|hook|wrapper|head|embed",
    re.IGNORECASE,
)
_CHAIN = re.compile(r"(?:^|_)(?:transforms?|tfms?|augment\w*)(?:_|$)", re.IGNORECASE)
"""Names of what changes the data before a model gets them."""
_HOLDS = re.compile(r"Sequential|Module|parallel|Parallel")
_FILES = 40


def layers_of(module: Module, text: str, made: ClassInfo | None = None) -> Layers:
    """Return which layers a model has that do something else in eval mode.

    Args:
        module: The file.
        text: The expression that names the model.
        made: Its class, if it is known.
    """
    if made is not None:
        calls = [call for call in module.calls if text_of(call.func) == made.name]
        return _of_class(module, made, calls)
    known = module.cache.setdefault("layers_of", {})
    if text not in known:
        built = _built(module, text, set())
        if built is None:
            built = NOTHING if _CHAIN.search(text) else in_file(module)
        known[text] = built
    return known[text]


def in_file(module: Module) -> Layers:
    """Return which such layers the models have that a file itself builds or defines."""
    if "in_file" not in module.cache:
        models = _models(module)
        each = [_in_class(module, info, set()) for info in models]
        # Of several models, with such layers and without, it is not known which is meant.
        found = _direct(module, module.calls).union(*each) if all(each) else NOTHING
        if not models and any(_of_transformers(name) for name in module.imported):
            # MODELS = {"bert": BertModel}: chosen later.
            found |= _DROPS
        module.cache["in_file"] = found
    return module.cache["in_file"]


def _models(module: Module) -> list[ClassInfo]:
    """Return the classes of whole models: those that no other class of the file is made of."""
    own = [info for info in module.classes if info.is_module]
    parts: set[str] = set()
    for info in own:
        for node in ast.walk(info.node):
            if isinstance(node, ast.Name) and node.id != info.name:
                parts.add(node.id)
    return [info for info in own if info.name not in parts and not _NO_MODEL.search(info.name)]


def may_drop(module: Module) -> bool:
    """Return whether the file itself builds a layer that draws masks; BatchNorm draws none."""
    return DROPOUT in _direct(module, module.calls)


def builds(module: Module) -> bool:
    """Return whether the file itself builds a layer that does something else in eval mode."""
    return bool(_direct(module, module.calls))


def _direct(module: Module, calls: list[ast.Call]) -> Layers:
    """Return what calls build by themselves, by their full names and their arguments."""
    found = NOTHING
    for call in calls:
        name = module.resolve(call.func)
        found |= named(name, call)
        if name.startswith("torch.") and not name.startswith("torch.nn."):
            continue
        for item in call.keywords:
            if item.arg and _RATE.search(item.arg) and _names.number(item.value) != 0.0:
                library = not name or name.startswith(("torch.nn.", "torch_geometric", "timm."))
                found |= _DROPS if library else NOTHING
    return found


def named(name: str, call: ast.Call) -> Layers:
    """Return what a call builds by its full name alone, with the rate that it gives."""
    if not name:
        return NOTHING
    if name in _names.MODULES or name in _names.FUNCTIONS:
        rate = _names.argument(call, "p", 1 if name in _names.FUNCTIONS else 0)
        return NOTHING if _names.number(rate) == 0.0 else _DROPS
    if name.startswith("torch.nn.Transformer"):
        return _DROPS
    if name in _names.BATCHNORM or name.startswith(_NORMED):
        return _NORMS
    if name.startswith("torchvision.models."):
        if ".vit_" in name or name.rpartition(".")[2].endswith("Weights"):
            return NOTHING
        return _NORMS | _DROPS if _TORCHVISION.match(name) else _NORMS
    if name == "timm.create_model":
        first = call.args[0] if call.args else None
        literal = first.value if isinstance(first, ast.Constant) else ""
        return (
            _NORMS if re.search("resn|efficientnet|densenet|mobilenet", str(literal)) else NOTHING
        )
    return _DROPS if _of_transformers(name.removesuffix(".from_pretrained")) else NOTHING


def _of_transformers(name: str) -> bool:
    """Whether a full name is that of a model of `transformers` which has dropout."""
    return name.startswith(_HUGGING) and bool(_PRETRAINED.match(name.rpartition(".")[2]))


def _built(module: Module, text: str, seen: set[str]) -> Layers | None:
    """Return what the expressions that a model is assigned build; None if nothing tells."""
    if text in seen:
        return None
    seen.add(text)
    found: Layers | None = None
    for node in _assigned(module, text):
        for item in ast.walk(node.value):
            if isinstance(item, ast.Attribute) and item.attr in ("children", "features"):
                # A part of another model, cut out by number.
                return NOTHING
            if not isinstance(item, ast.Call):
                continue
            more = _of_call(module, item, node)
            if more is None and module.resolve(item.func) == "torch.nn.Sequential":
                more = NOTHING
                for part in (text_of(argument) for argument in item.args):
                    more |= (_built(module, part, seen) if part else None) or NOTHING
            if more is not None:
                found = more | (found or NOTHING)
    return found


def _assigned(module: Module, text: str) -> Iterator[ast.Assign]:
    """Yield what is assigned to a plain name or an attribute anywhere in the file."""
    if "by_target" not in module.cache:
        table: dict[str, list[ast.Assign]] = {}
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                for target in node.targets:
                    table.setdefault(text_of(target), []).append(node)
        module.cache["by_target"] = table
    yield from module.cache["by_target"].get(text, ())


def _of_call(module: Module, call: ast.Call, at: ast.AST) -> Layers | None:
    """Return what a call builds, if it is of a class that can be read or of a known library."""
    own = module.class_at(call.func.id, at) if isinstance(call.func, ast.Name) else None
    if own is not None:
        return _of_class(module, own, [call]) if own.is_module else None
    name = module.resolve(call.func)
    direct = _direct(module, [call])
    if direct or (name.startswith("torch.nn.") and not _HOLDS.search(name)):
        # A single layer of torch is known either way.
        return direct
    other = class_elsewhere(module, name)
    return _of_class(*other, [call]) if other is not None else None


def _of_class(module: Module, info: ClassInfo, calls: list[ast.Call]) -> Layers:
    """Return what a class builds when these calls make its objects."""
    found = _in_class(module, info, set())
    return found if _has_rate(module, info, calls) else found - _DROPS


def _has_rate(module: Module, info: ClassInfo, calls: list[ast.Call]) -> bool:
    """Whether dropout may be on: its rates are not all 0 by default and left so by the calls."""
    start = info.methods.get("__init__")
    rates = _defaults(start) if start is not None else {}
    if not rates or any(_names.number(default) != 0.0 for _, default in rates.values()):
        return True
    for call in ast.walk(info.node):
        if isinstance(call, ast.Call) and module.resolve(call.func) in _names.MODULES:
            rate = _names.argument(call, "p", 0)
            if rate is None or _names.number(rate):
                return True
    for call in calls:
        given = [(_names.argument(call, name, at)) for name, (at, _) in rates.items()]
        if _names.has_unpacking(call) or any(
            rate is not None and _names.number(rate) != 0.0 for rate in given
        ):
            return True
    return False


def _defaults(function: Function) -> dict[str, tuple[int, ast.expr | None]]:
    """Return the rates among a method's arguments: where a call gives them, and their defaults."""
    plain = [*function.args.posonlyargs, *function.args.args]
    first = len(plain) - len(function.args.defaults)
    every: list[tuple[str, int, ast.expr | None]] = [
        (item.arg, at - 1, function.args.defaults[at - first] if at >= first else None)
        for at, item in enumerate(plain)
    ]
    named = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    every += [(item.arg, 1000, default) for item, default in named]
    return {name: (at, default) for name, at, default in every if _RATE.search(name)}


def _in_class(module: Module, info: ClassInfo, seen: set[ast.AST]) -> Layers:
    """Return what a class builds, in itself, in the classes above it and in its parts."""
    found = NOTHING
    above = [(module, item) for item in info.family] + lineage(module, info).found
    for file, item in above:
        if item.node in seen or len(seen) > _FILES:
            continue
        seen.add(item.node)
        calls = [node for node in ast.walk(item.node) if isinstance(node, ast.Call)]
        found |= _direct(file, calls)
        for node in ast.walk(item.node):
            if not isinstance(node, ast.Name | ast.Attribute) or not isinstance(node.ctx, ast.Load):
                continue
            name = file.resolve(node)
            if name in _names.BATCHNORM:
                # norm_layer=nn.BatchNorm2d
                found |= _NORMS
            last = node.id if isinstance(node, ast.Name) else name.rpartition(".")[2]
            if not last[:1].isupper():
                continue
            if _DROP_NAME.search(last):
                found |= _DROPS
            if _NORM_NAME.search(last):
                found |= _NORMS
            inner = file.class_at(last, node) if isinstance(node, ast.Name) else None
            if inner is not None and inner.node not in seen:
                found |= _in_class(file, inner, seen)
            elif name and not name.startswith("torch."):
                other = class_elsewhere(file, name)
                if other is not None and other[1].node not in seen:
                    found |= _in_class(*other, seen)
    return found


def class_elsewhere(module: Module, name: str) -> tuple[Module, ClassInfo] | None:
    """Return a class of another file by its full name, and that file."""
    if not name or name.startswith("torch."):
        return None
    place = defined(module, name)
    other = load(place[0]) if place is not None else None
    info = other.class_named(place[1]) if other is not None and place is not None else None
    return (other, info) if other is not None and info is not None else None

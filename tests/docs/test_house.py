"""The rules of the house that a machine can check."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import subprocess
import sys
from pathlib import Path

import grimp
import networkx
import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch._dynamo", "torch._inductor", "numba", "matplotlib", "starlette", "optuna", "triton")


def code_files():
    for folder in ("src", "tests", "benchmarks"):
        yield from (ROOT / folder).rglob("*.py")


def test_no_file_passes_400_lines():
    long = {
        str(path.relative_to(ROOT)): count
        for path in code_files()
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long


def test_there_is_no_drawer_for_everything():
    names = {path.stem for path in code_files()}
    assert not names & {"utils", "util", "helpers", "misc", "common"}


def test_no_room_has_a_circle_of_imports():
    """Within a room, too, imports go one way, those for type checking counted."""
    graph = grimp.build_graph("droplab", cache_dir=None)
    arrows = networkx.DiGraph(
        (module, other)
        for module in graph.modules
        for other in graph.find_modules_directly_imported_by(module)
    )
    assert [c for c in networkx.strongly_connected_components(arrows) if len(c) > 1] == []


parse = functools.cache(ast.parse)  # of all files, which two tests look through


def private_imports(source, room):
    """Yield what code of a room takes from another one by a private name."""
    known = {}
    tree = parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            known |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
        elif isinstance(node, ast.Import):
            known |= {a.asname or a.name: a.name for a in node.names}
    inner = [
        f"{known[node.value.id]}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in known
    ]
    for name in (*known.values(), *inner):
        package, *parts = name.split(".")
        private = any(part.startswith("_") and not part.endswith("__") for part in parts)
        if package == "droplab" and parts[:1] != [room] and private:
            yield name


def test_no_room_reaches_into_another():
    """What a room needs of another is exported there, or stands in a file with a public name."""
    assert [*private_imports("from droplab.ops._x import y", "nn")] == ["droplab.ops._x.y"]
    assert [*private_imports("from droplab import ops\nops._x.y()", "nn")] == ["droplab.ops._x"]
    assert not [*private_imports("from droplab.ops import _x\n_x.y()", "ops")]
    rooms = ROOT / "src" / "droplab"
    found = {
        (str(path), name)
        for path in rooms.rglob("*.py")
        for name in private_imports(
            path.read_text(encoding="utf-8"), path.relative_to(rooms).parts[0].removesuffix(".py")
        )
    }
    assert not found


def taken(source):
    """Yield what code imports from the package, and the attributes of what it imports."""
    known = {}
    tree = parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            known |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    yield from known.values()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{known.get(node.value.id)}.{node.attr}"


def test_what_a_room_exports_is_wanted_outside():
    """Functions and constants: by another room, or the docs; types are there for annotations."""
    rooms = ROOT / "src" / "droplab"
    docs = "".join(path.read_text("utf-8") for path in [*(ROOT / "docs").rglob("*.md")])
    documented = set(re.findall(r"\w+", docs))
    users = {}
    for path in rooms.rglob("*.py"):
        for name in taken(path.read_text("utf-8")):
            users.setdefault(name, set()).add(path.relative_to(rooms).parts[0])
    idle = set()
    for path in rooms.glob("*/__init__.py"):
        room = importlib.import_module(f"droplab.{path.parent.name}")
        for name in getattr(room, "__all__", ()):
            outside = users.get(f"{room.__name__}.{name}", set()) - {path.parent.name}
            if not outside and name not in documented and not isinstance(getattr(room, name), type):
                idle.add(f"{room.__name__}.{name}")
    assert idle == {"droplab.testing.LAYERS"}  # which is for tests


def loaded_after(code):
    """Return the modules that a fresh interpreter has loaded after running `code`."""
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import droplab", ("torch", *HEAVY)),
        ("import droplab.ops, droplab.nn, droplab.placement, droplab.train", HEAVY),
        ("import droplab.recipe, droplab.results, droplab.verdict, droplab.report", ("torch",)),
        ("import droplab.cli", ("torch", "numpy", "rich")),
    ],
)
def test_imports_stay_light(code, absent):
    modules = loaded_after(code)
    assert not [name for name in absent if name in modules]


def test_every_public_name_of_the_package_is_there():
    import droplab

    assert set(droplab.__all__) <= set(dir(droplab))
    for name in droplab.__all__:
        assert getattr(droplab, name) is not None
    with pytest.raises(AttributeError, match=r"plam.*did you mean 'plan'"):
        droplab.plam  # noqa: B018


def test_the_rooms_that_texts_name_need_no_import_of_their_own():
    """`import droplab` is enough for droplab.nn.Dropout, as it is for torch.nn with torch."""
    rooms = ("data", "doctor", "nn", "ops", "placement", "recipe", "testing", "train", "verdict")
    named = " and ".join(f"droplab.{room}.__all__" for room in rooms)
    done = subprocess.run([sys.executable, "-c", f"import droplab; {named}"], capture_output=True)
    assert not done.stderr

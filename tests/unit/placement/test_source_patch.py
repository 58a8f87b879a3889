"""The diff that writes dropout into a user's file, proved against the plan in memory."""

from __future__ import annotations

import difflib
import importlib.util
import re
import subprocess
import textwrap

import pytest
import torch
from torch import nn

import droplab.nn
from droplab.placement import patch_file, plan, source_patch

HEADER = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n\n"

TUTORIAL = '''
class Net(nn.Module):
    """The tutorial's network."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(20, 16)  # from pixels
        self.fc2 = nn.Linear(16, 12)  # the middle
        self.fc3 = nn.Linear(12, 10)

    def forward(self, x):
        # flatten first
        x = F.relu(self.fc1(x.flatten(1)))

        x = F.relu(self.fc2(x))  # keep me
        return self.fc3( x )
'''

NESTED = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.scale = nn.Linear(20, 16), 2
        self.fc2 = torch.nn.Linear(
            16,
            12,
        )
        self.fc3 = nn.Linear(12, 10)

    def forward(self, x):
        return self.fc3(F.relu(self.fc2(input=F.relu(self.fc1(x)) * self.scale)))
"""

TWICE = """
class Net(nn.Module):
    def __init__(me):
        super().__init__()
        me.fc1 = nn.Linear(20, 12)
        me.fc2: nn.Linear = nn.Linear(12, 12)
        me.fc3 = nn.Linear(12, 10)

    def body(this, x):
        return torch.relu(this.fc2(x))

    def forward(me, x):
        x = me.fc1(x)
        x = me.body(x) + me.fc2(x + 1)
        return me.fc3([me.fc2(y) for y in (x, x)][0])
"""

SEQUENTIAL = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(20, 16),  # first
            nn.ReLU(),
            # the middle
            nn.Linear(16, 12),  # second

            nn.ReLU(),
            nn.Linear(12, 10),
        )

    def forward(self, x):
        return self.net(x)
"""

ONE_LINE = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(20, 16), nn.Sequential(nn.ReLU(), nn.Linear(16, 10)))

    def forward(self, x):
        for layer in self.net:
            x = layer(x)
        return x
"""

NAMED = """
from collections import OrderedDict


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            OrderedDict(
                [
                    ("fc1", nn.Linear(20, 16)),
                    ("act", nn.ReLU()),
                    ("fc2", nn.Linear(16, 10)),
                ]
            )
        )

    def forward(self, x):
        return self.net(x)
"""

CONV = """
class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3)
        self.conv2 = nn.Conv2d(width, width, 2)
        if width > 3:
            self.head = nn.Linear(2 * width, 10)
        else:
            self.head = nn.Linear(2 * width, 10, bias=False)

    def forward(self, x):
        x = F.selu(self.conv2(F.relu(self.conv1(x.reshape(-1, 1, 4, 5)))))
        return self.head(x.flatten(1))
"""

TWO_INPUTS = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(20, 6), nn.Linear(20, 7)
        self.both = nn.Bilinear(6, 7, 10)

    def forward(self, x):
        return self.both(self.fc1(x), input2=F.relu(self.fc2(x)))
"""

CASES = {
    "two inputs": (TWO_INPUTS, {"both": 0.5}),
    "tutorial": (TUTORIAL, {"fc2": 0.3, "fc3": 0.3}),
    "nested": (NESTED, {"fc2": 0.5, "fc3": 0.25}),
    "twice": (TWICE, {"fc2": 0.5, "fc3": 0.25}),
    "sequential": (SEQUENTIAL, {"net.0": 0.1, "net.2": 0.5, "net.4": 0.25}),
    "one line": (ONE_LINE, {"net.0": 0.5, "net.1.1": 0.5}),
    "named": (NAMED, {"net.fc1": 0.5, "net.fc2": 0.25}),
    "conv": (CONV, {"conv2": 0.5, "head": 0.25}),
}


def load(path, name="Net"):
    spec = importlib.util.spec_from_file_location(f"user_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


@pytest.fixture
def write(tmp_path):
    def make(body, name="net.py", header=HEADER):
        path = tmp_path / name
        path.write_text(header + textwrap.dedent(body).lstrip("\n"))
        return path

    return make


def same_keys(model, old_keys):
    """Return the state under the keys it had before the indices moved."""
    return dict(zip(old_keys, model.state_dict().values(), strict=True))


def swapped(model):
    """Put our layers, each with a seed, in the place of torch's; return their stream keys."""
    ours = {
        nn.Dropout: droplab.nn.Dropout,
        nn.Dropout2d: droplab.nn.Dropout2d,
        nn.AlphaDropout: droplab.nn.AlphaDropout,
    }
    keys = []
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) in ours:
                layer = ours[type(child)](child.p, seed=7 + len(keys))
                keys.append(int(layer.stream[0]))
                setattr(parent, name, layer)
    return keys


@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("keep_names", [False, True])
def test_the_patched_class_and_the_plan_give_the_same_outputs(write, tmp_path, case, keep_names):
    body, rates = CASES[case]
    path = write(body)
    patch = patch_file(path, "Net", rates, keep_names=keep_names)
    patched_path = tmp_path / "patched.py"
    patched_path.write_bytes(patch.after)
    torch.manual_seed(0)
    original = load(path)()
    torch.manual_seed(0)
    patched = load(patched_path)()
    old = list(original.state_dict())
    assert all(map(torch.equal, original.state_dict().values(), patched.state_dict().values()))
    if keep_names or "Sequential(" not in body or "OrderedDict" in body:
        assert list(patched.state_dict()) == old
    x = torch.randn(8, 20)
    # In both, masks are a function of a key for each site and of the number of the call.
    keys = swapped(patched)
    assert len(keys) == len(rates)
    applied = plan(original, rates, kind={"head": "alpha"} if case == "conv" else None).apply()
    applied.seed(dict(zip(applied.names, keys, strict=True)))
    out, want = patched(x), original(x)
    assert torch.equal(out, want)
    assert not torch.equal(out, original.eval()(x))
    assert torch.equal(patched.eval()(x), original(x))


def without_dropout(line):
    """Return a changed line with the dropout calls around arguments taken off again."""
    while match := re.search(r"\w+\.\w+_dropout\(", line):
        depth, end = 1, match.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(line[end], 0)
            end += 1
        line = line[: match.start()] + line[match.end() : end - 1] + line[end:]
    return re.sub(r"nn\.Dropout\(p=[0-9.]+\), ", "", line)


@pytest.mark.parametrize("case", list(CASES))
def test_only_dropout_lines_differ(write, case):
    body, rates = CASES[case]
    path = write(body)
    patch = patch_file(path, "Net", rates)
    lines = difflib.ndiff(path.read_text().splitlines(), patch.after.decode().splitlines())
    changed = [line for line in lines if line[0] in "+-"]
    new = re.compile(
        r"\s*(\w+\.\w+_dropout = [\w.]*nn\.\w*Dropout\w*\(p=[0-9.]+\)"
        r"|(\(\"\w+\", )?nn\.Dropout\(p=[0-9.]+\)\)?,)"
    )
    added = [line[2:] for line in changed if line[0] == "+" and not new.fullmatch(line[2:])]
    assert [without_dropout(line) for line in added] == [
        line[2:] for line in changed if line[0] == "-"
    ]
    assert len(changed) > 0


def test_the_tutorial_diff_to_the_letter(write, monkeypatch, tmp_path):
    path = write(TUTORIAL)
    monkeypatch.chdir(tmp_path)
    patch = patch_file(path.relative_to(tmp_path), "Net", {"fc2": 0.3, "fc3": 0.3})
    assert patch.diff == textwrap.dedent(
        """\
        --- a/net.py
        +++ b/net.py
        @@ -10,11 +10,13 @@
                 super().__init__()
                 self.fc1 = nn.Linear(20, 16)  # from pixels
                 self.fc2 = nn.Linear(16, 12)  # the middle
        +        self.fc2_dropout = nn.Dropout(p=0.3)
                 self.fc3 = nn.Linear(12, 10)
        +        self.fc3_dropout = nn.Dropout(p=0.3)
        ~
             def forward(self, x):
                 # flatten first
                 x = F.relu(self.fc1(x.flatten(1)))
        ~
        -        x = F.relu(self.fc2(x))  # keep me
        -        return self.fc3( x )
        +        x = F.relu(self.fc2(self.fc2_dropout(x)))  # keep me
        +        return self.fc3( self.fc3_dropout(x) )
        """
    ).replace("~", " ")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("ending", ["", "\n"])
def test_the_diff_applies(tmp_path, monkeypatch, newline, ending):
    text = (HEADER + TUTORIAL).rstrip("\n") + ending
    path = tmp_path / "net.py"
    path.write_bytes(text.replace("\n", newline).encode())
    monkeypatch.chdir(tmp_path)
    patch = patch_file(path.relative_to(tmp_path), "Net", {"fc2": 0.3, "fc3": 0.3})
    subprocess.run(["git", "apply", "-"], input=patch.diff.encode(), check=True, cwd=tmp_path)
    assert path.read_bytes() == patch.after
    assert (b"\r\n" in patch.after) == (newline == "\r\n")


def test_writing_and_running_again_changes_rates_in_place(write):
    path = write(TUTORIAL)
    patch_file(path, "Net", {"fc2": 0.3, "fc3": 0.3}).write()
    again = patch_file(path, "Net", {"fc2": 0.3, "fc3": 0.3})
    assert again.diff == ""
    changed = patch_file(path, "Net", {"fc2": 0.1})
    assert [line for line in changed.diff.splitlines() if line.startswith("+ ")] == [
        "+        self.fc2_dropout = nn.Dropout(p=0.1)"
    ]
    changed.write()
    assert load(path)().fc2_dropout.p == 0.1


def test_source_patch_of_a_model_and_of_its_class(write, monkeypatch, tmp_path):
    path = write(TUTORIAL, "user_net.py")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    import user_net

    diff = source_patch(user_net.Net(), {"fc[23]": 0.3})
    assert diff == source_patch(user_net.Net, {"fc2": 0.3, "fc3": 0.3})
    assert diff.startswith("--- a/user_net.py\n")
    assert path.read_text() == HEADER + TUTORIAL.lstrip("\n")


def test_kinds_become_the_layers_of_torch(write):
    patch = patch_file(write(CONV), "Net", {"conv2": 0.5, "head": 0.25})
    assert "self.conv2_dropout = nn.Dropout2d(p=0.5)" in patch.diff
    assert patch.diff.count("self.head_dropout = nn.AlphaDropout(p=0.25)") == 2
    plain = patch_file(write(CONV), "Net", {"conv2": 0.5, "head": 0.25}, "element")
    assert "self.conv2_dropout = nn.Dropout(p=0.5)" in plain.diff


def test_the_input_may_be_any_keyword(write):
    body = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.GRUCell(3, 3)

        def forward(self, x, h):
            return self.cell(hx=h, input=x + 1)
    """
    patch = patch_file(write(body), "Net", {"cell": 0.5})
    assert "+        return self.cell(hx=h, input=self.cell_dropout(x + 1))" in patch.diff


def test_names_in_use_are_not_taken(write):
    body = TUTORIAL.replace(
        "super().__init__()", "super().__init__()\n        self.fc2_dropout = 0"
    )
    patch = patch_file(write(body), "Net", {"fc2": 0.3})
    assert "self.fc2_dropout2 = nn.Dropout(p=0.3)" in patch.diff


@pytest.mark.parametrize(
    ("imports", "layer", "written"),
    [
        ("from torch.nn import Linear, Module\n", "Linear", "Dropout"),
        ("import torch\nfrom torch.nn import Linear, Module\n", "Linear", "torch.nn.Dropout"),
        ("from torch import nn as N\nfrom torch.nn import Linear, Module\n", "Linear", "N.Dropout"),
        ("import torch.nn as tnn\nfrom torch.nn import Module\n", "tnn.Linear", "tnn.Dropout"),
        ("from torch.nn import Dropout as D, Linear, Module\n", "Linear", "D"),
    ],
)
def test_torch_is_named_as_the_file_names_it(write, imports, layer, written):
    path = write(
        f"""
        class Net(Module):
            def __init__(self):
                super().__init__()
                self.fc = {layer}(3, 3)

            def forward(self, x):
                return self.fc(x)
        """,
        header=imports,
    )
    patch = patch_file(path, "Net", {"fc": 0.5})
    assert f"self.fc_dropout = {written}(p=0.5)" in patch.diff
    assert ("+from torch.nn import Dropout" in patch.diff) == (written == "Dropout")
    patch.write()
    assert load(path)().fc_dropout.p == 0.5


def test_moving_indices_are_told_and_names_keep_them(write):
    moved = patch_file(write(SEQUENTIAL), "Net", {"net.2": 0.5})
    assert "state_dict keys change from 'net.2' on" in moved.notes[0]
    assert "--names" in moved.notes[0]
    kept = patch_file(write(SEQUENTIAL), "Net", {"net.2": 0.5}, keep_names=True)
    assert kept.notes == ()
    assert '+            ("dropout_2", nn.Dropout(p=0.5)),' in kept.diff
    assert "# the middle" in kept.after.decode()
    assert "from collections import OrderedDict" in kept.diff


def test_a_rate_of_zero_adds_nothing(write):
    patch = patch_file(write(TUTORIAL), "Net", {"fc2": 0.0, "fc3": 0.3})
    assert patch.notes == ("fc2: p = 0 adds nothing",)
    assert "fc2_dropout" not in patch.diff

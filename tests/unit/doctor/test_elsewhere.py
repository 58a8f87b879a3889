"""Classes of other files: bases are read, and who imports a class may use what it builds."""

from __future__ import annotations

import pytest

from droplab.doctor import CODES, Settings, check

EVERY = Settings(select=frozenset(CODES))

BASE = (
    "from torch import nn\nclass Block(nn.Module):\n    def __init__(self):\n"
    "        super().__init__()\n        self.drop = nn.Dropout(0.5)\n{}"
    "    def forward(self, x):\n        return x\n"
)
CHILD = "{}class Child({}):\n    def forward(self, x):\n        return self.drop(x)\n"


def write(folder, **files):
    """Write files, by their paths with __ for a slash."""
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_findings_of_one_file_refuted_by_another_are_dropped(tmp_path):
    write(tmp_path, base=BASE.format(""))
    assert [f.code for f in check([tmp_path]).findings] == ["DRP022"]
    write(tmp_path, child=CHILD.format("from torch import nn\nfrom base import Block\n", "Block"))
    assert check([tmp_path]).findings == ()


@pytest.mark.parametrize(
    ("file", "imports", "base"),
    [
        ("child", "from models.block import Block\n", "Block"),
        ("child", "from models import Block as B\n", "B"),
        ("models__child", "from .block import *\n", "Block"),
        ("tools__child", "import models.block\n", "models.block.Block"),
        ("tools__child", "from models import block\n", "block.Block"),
    ],
)
def test_a_class_is_known_by_its_import_not_by_its_name(tmp_path, file, imports, base):
    """Of two projects in one call, each has its own class of the name."""
    for project in ("one", "two"):
        write(tmp_path / project, models__block=BASE.format(""))
        (tmp_path / project / "models" / "__init__.py").write_text("from .block import Block\n")
    assert len(check([tmp_path]).findings) == 2
    # No torch in it, and still a reader.
    write(tmp_path / "one", **{file: CHILD.format(imports, base)})
    (finding,) = check([tmp_path]).findings
    assert finding.path == str(tmp_path / "two" / "models" / "block.py")
    together = check([tmp_path / "one", tmp_path / "two"]).findings
    alone = [f for project in ("one", "two") for f in check([tmp_path / project]).findings]
    assert list(together) == alone == [finding]


def test_a_grandchild_in_a_third_file_may_use_it(tmp_path):
    write(
        tmp_path,
        block=BASE.format(""),
        middle="from block import Block\n"
        "class Middle(Block):\n    def forward(self, x):\n        return x  # not dropped\n",
        child="from middle import Middle\n" + CHILD.format("", "Middle"),
    )
    assert check([tmp_path]).findings == ()


def test_a_file_with_the_name_of_its_package_hides_nothing(tmp_path):
    write(
        tmp_path,
        nets__models__block=BASE.format(""),
        nets__models__nets="x = 1\n",
        nets__models__child=CHILD.format("from .block import Block\n", "Block"),
    )
    for folder in (tmp_path / "nets", tmp_path / "nets" / "models"):
        (folder / "__init__.py").touch()
    assert check([tmp_path]).findings == ()


def test_a_base_in_another_file_is_read(tmp_path):
    """It may use what the class builds; if it does not, nothing does."""
    net = "from torch import nn\nfrom block import Block\nclass Net(Block):\n" + (
        "    def __init__(self):\n        super().__init__()\n        self.late = nn.Dropout(0.5)\n"
        "    def forward(self, x):\n        return self.drop(x)\n"
    )
    write(tmp_path, net=net)
    assert check([tmp_path / "net.py"]).findings == ()
    write(tmp_path, block=BASE.format(""))
    (finding,) = check([tmp_path / "net.py"]).findings
    assert (finding.code, finding.line) == ("DRP022", 6)
    write(tmp_path, block=BASE.format("    def end(self, x):\n        return self.late(x)\n"))
    assert check([tmp_path / "net.py"]).findings == ()


def test_dropout_that_a_base_in_another_file_builds_is_known(tmp_path):
    write(
        tmp_path,
        block=BASE.format("        self.p = 0.3\n        self.spatial = nn.Dropout2d(0.5)\n"),
        net="import torch.nn.functional as F\nfrom torch import nn\nfrom block import Block\n"
        "class Net(Block):\n    def __init__(self):\n        super().__init__()\n"
        "        self.norm = nn.BatchNorm1d(8)\n    def forward(self, x):\n"
        "        x = F.dropout(x, self.p)\n        x = self.spatial(x.flatten(1))\n"
        "        return self.norm(self.drop(x))\n",
    )
    found = [(f.code, f.line) for f in check([tmp_path / "net.py"]).findings]
    assert found == [("DRP001", 9), ("DRP034", 10), ("DRP032", 11)]


def test_a_model_is_no_plain_one_whose_base_in_another_file_has_dropout(tmp_path):
    loop = (
        "import torch\nfrom torch import nn\nfrom block import Block\n"
        "class Net(Block):\n    def forward(self, x):\n        return self.head(x)\n"
        "torch.manual_seed(0)\nmodel = Net()\n"
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
        "for epoch in range(3):\n    for x, y in loader:\n        loss = (model(x) - y).mean()\n"
        "        loss.backward()\n        optimizer.step()\n"
        "    val_loss = 0\n    with torch.no_grad():\n        for x, y in valid:\n"
        "            val_loss += (model(x) - y).mean().item()\n    model.train()\n"
    )
    write(tmp_path, block="from torch import nn\nclass Block(nn.Module):\n    pass\n", train=loop)
    assert check([tmp_path / "train.py"], settings=EVERY).findings == ()
    write(tmp_path, block=BASE.format(""))
    assert [f.code for f in check([tmp_path / "train.py"], settings=EVERY).findings] == ["DRP008"]


LOOP = (
    "import torch\n{}\n"
    "def fit(model, optimizer, loader, valid):\n    model.train()\n    for epoch in range(3):\n"
    "        for x, y in loader:\n            loss = (model(x) - y).mean()\n"
    "            loss.backward()\n            optimizer.step()\n"
    "        model.eval()\n        print((model(valid) > 0).sum())\n"
)


@pytest.mark.parametrize(
    ("head", "layer", "codes"),
    [
        ("from models import Net\nmodel = Net()", "nn.Dropout(0.5)", ["DRP006"]),
        ("from models import Net\nmodel = Net()", "nn.BatchNorm1d(8)", ["DRP006"]),
        ("import models\nmodel = models.Net()", "nn.Dropout(0.5)", ["DRP006"]),
        ("from models import Net\nmodel = Net()", "nn.LayerNorm(8)", []),
        ("from other import Net\nmodel = Net()", "nn.Dropout(0.5)", []),
        # What builds it there, and what it may be, is not followed.
        ("from models import build\nmodel = build()", "nn.Dropout(0.5)", []),
        ("from models import Net", "nn.Dropout(0.5)", []),
    ],
)
def test_the_class_that_is_imported_shows_whether_the_mode_matters(tmp_path, head, layer, codes):
    write(
        tmp_path,
        models__nets="from torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n"
        f"        super().__init__()\n        self.part = {layer}\n"
        "def build():\n    return Net()\n",
        train=LOOP.format(head),
    )
    package = tmp_path / "models" / "__init__.py"
    package.write_text("from .nets import Net, build\n")
    assert [f.code for f in check([tmp_path / "train.py"], settings=EVERY).findings] == codes


@pytest.mark.parametrize(
    ("part", "codes"),
    [("nn.BatchNorm1d(8)", ["DRP006"]), ("nn.LayerNorm(8)", []), ("Unknown(8)", [])],
)
def test_the_parts_of_a_model_are_read_in_the_files_that_they_stand_in(tmp_path, part, codes):
    write(
        tmp_path,
        cell="from torch import nn\nfrom somewhere import Unknown\nclass Cell(nn.Module):\n"
        f"    def __init__(self):\n        super().__init__()\n        self.part = {part}\n",
        train=LOOP.format(
            "from cell import Cell\nclass Net(torch.nn.Module):\n    def __init__(self):\n"
            "        super().__init__()\n        self.cell = Cell()\n"
        ),
    )
    assert [f.code for f in check([tmp_path / "train.py"], settings=EVERY).findings] == codes


@pytest.mark.parametrize(
    ("quiet", "layer", "words"),
    [
        (True, "nn.Dropout(0.5)", "does not stop dropout"),
        (True, "nn.BatchNorm1d(8)", "does not stop BatchNorm from learning"),
        (False, "nn.Dropout(0.5)", "runs with dropout on"),
        (False, "nn.BatchNorm1d(8)", "runs with BatchNorm in train mode"),
    ],
)
def test_the_finding_names_the_layer_that_the_model_has(tmp_path, quiet, layer, words):
    head = "    if 1:\n" if not quiet else "    with torch.no_grad():\n"
    write(
        tmp_path,
        train="import torch\nfrom torch import nn\n"
        f"net = nn.Sequential(nn.Linear(8, 8), {layer})\n"
        "optimizer = torch.optim.Adam(net.parameters())\n"
        "for epoch in range(3):\n    for x, y in train_loader:\n        loss = net(x).mean()\n"
        f"        loss.backward()\n        optimizer.step()\n{head}"
        "        for x, y in val_loader:\n            hits += (net(x) > 0).sum().item()\n",
    )
    (finding,) = check([tmp_path / "train.py"], settings=EVERY).findings
    assert words in finding.message


@pytest.mark.parametrize(
    ("body", "codes"),
    [("", ["DRP008"]), ("    def start(self):\n        self.net.eval()\n", [])],
)
def test_a_base_that_may_set_the_mode_silences(tmp_path, body, codes):
    write(
        tmp_path,
        base=f"class Base:\n    def __init__(self):\n        self.data = []\n{body}",
        train="import torch\nfrom torch import nn\nfrom base import Base\nclass Run(Base):\n"
        "    def prepare(self):\n"
        "        self.net = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5))\n"
        "        self.optimizer = torch.optim.Adam(self.net.parameters())\n"
        "    def learn(self):\n        self.net(x).sum().backward()\n"
        "        self.optimizer.step()\n"
        "    def evaluate(self):\n        with torch.no_grad():\n"
        "            return self.net(x).argmax(1)\n",
    )
    assert [f.code for f in check([tmp_path / "train.py"], settings=EVERY).findings] == codes


TRAINS = """
import torch
from nets import Net
model = Net()
optimizer = torch.optim.Adam(model.parameters())
for epoch in range(3):
    model(x).sum().backward()
    optimizer.step()
    model.eval()
    print(model(x_val).mean())
"""
NET = """
from torch import nn
class Net(nn.Module):
    def __init__(self, rate=0.5):
        super().__init__()
        self.fc, self.drop = nn.Linear(8, 2), nn.Dropout(rate)
    def forward(self, x):
        return self.drop(self.fc(x))
"""


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        (NET, ["DRP006"]),
        (NET.replace("rate=0.5", "rate=0.0"), []),
        (NET + "    def train(self, mode=True):\n        return super().train(mode)\n", []),
        (NET.replace("(nn.Module)", "(framework.Model)"), []),
    ],
)
def test_a_model_of_another_file_is_proven_by_its_class(tmp_path, text, codes):
    (tmp_path / "nets.py").write_text(text)
    (tmp_path / "train.py").write_text(TRAINS)
    assert [item.code for item in check([tmp_path / "train.py"]).findings] == codes

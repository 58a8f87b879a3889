"""The small distribution: the files that it names are enough, without torch and the rest."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CHECK = ROOT / "packages" / "check"
RUN = (
    "import sys\n"
    "class Refuse:\n"
    "    def find_spec(self, name, path=None, target=None):\n"
    "        if name.partition('.')[0] in {names}:\n"
    "            raise ImportError(name + ' is not installed')\n"
    "sys.meta_path.insert(0, Refuse())\n"
    "sys.path.insert(0, sys.argv.pop(1))\n"
    "import droplab_check\n"
    "droplab_check.main()\n"
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with what the wheel holds."""
    table = tomllib.loads((CHECK / "pyproject.toml").read_text())
    wheel = table["tool"]["hatch"]["build"]["targets"]["wheel"]
    home = tmp_path_factory.mktemp("site")
    for package in wheel["packages"]:
        shutil.copytree(CHECK / package, home / Path(package).name)
    for source, target in wheel["force-include"].items():
        place = home / target
        place.parent.mkdir(parents=True, exist_ok=True)
        whole = CHECK / source
        (shutil.copytree if whole.is_dir() else shutil.copy)(whole, place)
    return home


@pytest.fixture
def run(installed, tmp_path):
    """Run droplab-check where only its own dependencies can be imported."""
    library = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    own = tomllib.loads((CHECK / "pyproject.toml").read_text())["project"]["dependencies"]
    names = sorted(
        {item.partition(">")[0] for item in library} - {i.partition(">")[0] for i in own}
    )

    def call(*arguments):
        code = RUN.replace("{names}", repr(names))
        command = [sys.executable, "-c", code, str(installed), *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)

    return call


def test_it_finds_without_torch_what_the_library_finds(run, tmp_path):
    (tmp_path / "net.py").write_text("from torch import nn\nrnn = nn.LSTM(8, 16, dropout=0.5)\n")
    done = run("net.py")
    assert (done.returncode, done.stderr) == (1, "")
    assert "net.py:2:30: DRP015" in done.stdout
    explained = run("--explain", "DRP015")
    assert explained.stdout.startswith("# DRP015 single-layer-recurrent")


def test_a_model_that_would_be_run_is_refused(run):
    done = run("net.py:Net", "--example", "1x2")
    assert (done.returncode, done.stdout) == (2, "")
    assert "install droplab to run a model" in done.stderr

"""The page on studies: its scripts run in a study with the few lines that it changes."""

from __future__ import annotations

import re
import runpy
import sys
import tomllib
import warnings
from pathlib import Path

import pytest

import droplab
from droplab.studies import study
from tests.docs.test_projects import usable_torchvision

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "studies.md").read_text(encoding="utf-8")
PARTS = re.findall(
    r"`studies/(\w+\.py)`\].*?```diff\n(.*?)```.*?```toml\n(.*?)```.*?"
    r"    droplab study (\S+) --arms arms.toml (.*?)\n",
    PAGE,
    re.S,
)
SMALL = {
    "image.py": ["--epochs", "2", "--train", "64"],
    "folds.py": ["--steps", "2"],
    "packed.py": ["--epochs", "1"],
    "gpt.py": ["--epochs", "2", "--steps", "2"],
    "gan.py": ["--epochs", "2"],
    "siamese.py": ["--epochs", "2"],
    "bert.py": ["--epochs", "1", "--train", "40"],
    "resnet.py": ["--epochs", "1", "--train", "64"],
    "lightning_module.py": ["--epochs", "1", "--train", "40"],
    "skorch_net.py": ["--epochs", "1", "--train", "100"],
}
NEEDS = {
    "resnet.py": "timm",
    "bert.py": "transformers",
    "lightning_module.py": "lightning",
    "skorch_net.py": "skorch",
}
MOST = 6


def changed(script: str, diff: str) -> str:
    """Return a script with a diff applied whose hunks have one line around them."""
    for hunk in filter(None, diff.split("@@\n")):
        lines = hunk.splitlines()
        old = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
        new = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
        assert script.count(old) == 1, old
        script = script.replace(old, new)
    return script


def test_every_script_is_on_the_page():
    scripts = sorted(path.name for path in (DOCS / "studies").glob("*.py"))
    assert scripts == sorted(name for name, *_ in PARTS) == sorted(SMALL)
    assert all(name == asked for name, _, _, asked, _ in PARTS)


@pytest.mark.parametrize(("name", "diff"), [part[:2] for part in PARTS])
def test_few_lines_change(name: str, diff: str):
    added = [line for line in diff.splitlines() if line.startswith("+") and line != "+"]
    assert 0 < len(added) <= MOST
    script = (DOCS / "studies" / name).read_text(encoding="utf-8")
    assert "droplab" not in script


@pytest.mark.parametrize(("name", "diff", "arms", "asked", "metrics"), PARTS, ids=SMALL)
def test_scripts_run_in_a_study(
    name: str, diff: str, arms: str, asked: str, metrics: str, tmp_path: Path, monkeypatch
):
    if name in NEEDS:
        if name != "skorch_net.py":
            usable_torchvision()
        pytest.importorskip(NEEDS[name])
    script = tmp_path / name
    script.write_text(changed((DOCS / "studies" / name).read_text(encoding="utf-8"), diff))
    declared = dict(re.findall(r"--metric (\w+)=(\w+)", metrics))

    def train(trial) -> None:
        monkeypatch.setattr(droplab, "trial", lambda: trial)
        monkeypatch.setattr(sys, "argv", [name, *SMALL[name]])
        with warnings.catch_warnings():
            if name in NEEDS:  # other people's
                warnings.simplefilter("ignore")
            runpy.run_path(str(script))

    found = study(
        tmp_path / "study", arms=tomllib.loads(arms), seeds=2, metrics=declared, quiet=True
    )
    verdict = found.run(train)
    assert {member.state for member in found.result().members} == {"done"}, verdict.caveats
    said = " ".join([verdict.headline, *verdict.caveats])
    for word in ("Not paired", "Not dropout alone", "could not be seen", "without gradients"):
        assert word not in said
    # and the arms are not all the same
    last = {
        arm.name: [r.values[verdict.primary] for r in found.result().rows if r.arm == arm.name]
        for arm in verdict.arms
    }
    assert len({tuple(each) for each in last.values()}) == len(last)


def test_the_examples_run():
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(blocks) == 2
    space: dict[str, object] = {}
    for block in blocks:
        exec(block, space)

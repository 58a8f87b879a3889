"""The pages on trainers of other libraries: every example runs, from the top of its section on."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest

from droplab import judge, load_run
from tests.docs.test_projects import usable_torchvision

DOCS = Path(__file__).parents[2] / "docs"
NEEDS = {
    "Lightning": ["lightning"],
    "The Trainer of Hugging Face": ["transformers", "peft"],
    "skorch and scikit-learn": ["skorch"],
    "TensorBoard and MLflow": ["tensorboard", "mlflow"],
    "An agent": ["stable_baselines3"],
}
SECTIONS = [
    (page, title, code)
    for page in ("integrations.md", "unbuilt.md")
    for title, text in re.findall(
        r"^##? (.*?)\n(.*?)(?=^##? |\Z)", (DOCS / page).read_text(encoding="utf-8"), re.S | re.M
    )
    if (code := re.findall(r"```python\n(.*?)```", text, re.S))
]


@pytest.mark.filterwarnings("default")  # of the libraries, which are not ours
@pytest.mark.parametrize(("page", "title", "code"), SECTIONS, ids=[each[1] for each in SECTIONS])
def test_the_examples_run(page: str, title: str, code: list[str], capsys):
    if title in ("Lightning", "The Trainer of Hugging Face"):
        usable_torchvision()
    for name in NEEDS.get(title, []):
        pytest.importorskip(name)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    names: dict[str, Any] = {}
    for block in code:
        exec(block, names)
    for folder in Path("runs").iterdir() if Path("runs").exists() else ():
        result = load_run(folder)
        assert {member.state for member in result.members} == {"done"}
        said = " ".join([(verdict := judge(result)).headline, *verdict.caveats])
        assert "Not dropout alone" not in said
        assert "Not paired" not in said
    if title.startswith("Ratios"):
        assert "off: 0.00" in capsys.readouterr().out
        assert names["noise"].std() > 0.1


def test_every_section_has_been_run():
    assert set(NEEDS) <= {title for _, title, _ in SECTIONS}

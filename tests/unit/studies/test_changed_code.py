"""A run goes on with what it began with, or says what is not the same."""

from __future__ import annotations

import dataclasses
import functools
import json
import linecache
import runpy
import sys
import textwrap

import pytest
import torch
from torch import nn

import droplab
from droplab import results
from droplab.cli import main
from droplab.errors import ArgumentError, RunError
from droplab.recipe import ModelSpec, load, override
from droplab.studies import resolve, run
from droplab.studies._code import Code, code_of
from droplab.train import ExecutionPlan
from droplab.verdict import judge
from tests.forks import fork, needs_forks
from tests.unit.studies.people import Stop

PLAN = ExecutionPlan(1, captured=False)

FILES = {
    "mynets.py": """
        import torch
        from torch import nn
        from parts.blocks import Block

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc1, self.block, self.fc2 = nn.Linear(64, 8), Block(), nn.Linear(8, 10)

            def forward(self, x):
                from lazy import scaled
                return self.fc2(self.block(scaled(torch.relu(self.fc1(x.flatten(1))))))
        """,
    "parts/__init__.py": "",
    "parts/blocks.py": """
        from torch import nn
        from . import activations
        from .deep.er import something

        class Block(nn.Module):
            def forward(self, x):
                return activations.act(x)
        """,
    "parts/activations.py": "import torch\nact = torch.relu\n",
    "parts/deep/er.py": "something = 1\n",
    "lazy.py": "def scaled(x): return x\n",
    "mydata.py": """
        import torch

        def both():
            generator = torch.Generator().manual_seed(0)
            x = torch.randn(80, 64, generator=generator)
            return [(item, int(item[0] > 0)) for item in x]
        """,
    "unrelated.py": "x = 1\n",
}
USED = sorted(set(FILES) - {"unrelated.py"})


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text))
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    tops = {name.partition(".")[0].partition("/")[0] for name in FILES}
    for name in [n for n in sys.modules if n.partition(".")[0] in tops]:
        del sys.modules[name]


def recipe(**changes):
    small = override(
        load("digits"),
        {"epochs": 2, "seeds": [0], "data.function": "mydata:both", "data.train": 60, **changes},
    )
    small = dataclasses.replace(small, arms=small.arms[:2])
    data = dataclasses.replace(small.data, validation=20)
    arms = (small.arms[0], dataclasses.replace(small.arms[1], rates={"fc2": 0.5}))
    return dataclasses.replace(small, data=data, arms=arms, model=ModelSpec("mynets:Net"))


def begin(folder):
    with pytest.raises(KeyboardInterrupt):
        run(recipe(), folder, plan=PLAN, observer=Stop())


@pytest.mark.parametrize("name", USED)
def test_a_change_to_any_file_behind_the_model_or_the_data_is_refused_by_name(project, name):
    begin("run")
    before = results.load("run").rows
    (project / name).write_text((project / name).read_text() + "# edited\n")
    with pytest.raises(RunError, match="the code is not what the run began with") as caught:
        run(recipe(), "run", resume=True)
    assert f"{project / name} was changed." in str(caught.value)
    assert str(caught.value).count(" was changed") == 1
    assert "--changed-code" in str(caught.value)
    assert results.load("run").rows == before


def test_an_unrelated_file_may_change(project):
    begin("run")
    for name in ("unrelated.py", "new.py"):
        (project / name).write_text("x = 2\n")
    assert len(run(recipe(), "run", resume=True).rows) == 4
    kept = json.loads(results.load("run").notes["code"])
    names = {name.removesuffix(".py").replace("/", ".") for name in USED}
    assert set(kept["sources"]) == {name.removesuffix(".__init__") for name in names}
    assert kept["versions"] == {"torch": torch.__version__, "droplab": droplab.__version__}


def test_who_insists_gets_both_and_the_verdict_says_so(project):
    begin("run")
    (project / "lazy.py").write_text("def scaled(x): return 2 * x\n")
    result = run(recipe(), "run", resume=True, changed_code=True)
    assert len(result.rows) == 4
    assert "lazy.py was changed" in result.notes["changed code"]
    assert any("not all of one model" in caveat for caveat in judge(result).caveats)
    again = run(recipe(), "run", resume=True)  # with the same code from now on
    assert again.notes["changed code"] == result.notes["changed code"]


def test_other_versions_are_refused_with_old_and_new(project, monkeypatch):
    begin("run")
    monkeypatch.setattr(droplab, "__version__", "99.1")
    with pytest.raises(RunError, match=r"droplab was .*, is 99\.1"):
        run(recipe(), "run", resume=True)


def test_a_run_without_digests_resumes_as_before(project):
    begin("run")
    with results.RunStore.open_for_resume("run") as store:
        store._connection.execute("DELETE FROM notes WHERE name = 'code'")
    (project / "lazy.py").write_text("def scaled(x): return 2 * x\n")
    result = run(recipe(), "run", resume=True)
    assert len(result.rows) == 4
    assert "code" in result.notes  # from now on it is compared
    assert "changed code" not in result.notes


def test_new_and_vanished_files_are_named():
    one = Code({"a": "1", "b": "2", "c": ""}, {"torch": "2"})
    two = Code({"a": "1", "c": "3", "d": "4"}, {"torch": "2", "numpy": "1"})
    assert two.changes_since(one) == ["b is not used any more", "d is new"]
    assert Code.from_json(two.to_json()) == two


def test_only_a_resumed_run_can_insist(project):
    with pytest.raises(ArgumentError, match=r"--changed-code.*--resume"):
        run(recipe(), "run", changed_code=True)


def test_the_command_line_refuses_and_insists(project, capsys):
    begin("run")
    (project / "mine.toml").write_text((project / "run" / "recipe.toml").read_text())
    (project / "lazy.py").write_text("def scaled(x): return 2 * x\n")
    options = ["run", "mine.toml", "--out", "run", "--resume", "--json"]
    with pytest.raises(SystemExit) as stop:
        main(options)
    assert stop.value.code == 2
    assert "lazy.py was changed" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main([*options, "--changed-code"])
    assert stop.value.code == 0


def test_a_factory_and_an_optimizer_function_are_followed(project):
    import mynets

    def small(factory, optimizer="Adam", **options):
        x = torch.randn(60, 64, generator=torch.Generator().manual_seed(0))
        y = (x[:, 0] > 0).long()
        return droplab.sweep(
            factory, (x, y), (x, y), rates=[0.5], seeds=1, epochs=1, optimizer=optimizer,
            batch_size=20, execution=PLAN, sites=["fc2"], **options,
        )  # fmt: skip

    first = small(functools.partial(mynets.Net), out="a")
    sources = json.loads(first.run.notes["code"])["sources"]
    assert {"mynets", "parts.activations", "lazy"} <= set(sources)
    (project / "parts" / "activations.py").write_text("import torch\nact = torch.tanh\n")
    with pytest.raises(RunError, match=r"activations\.py was changed"):
        small(functools.partial(mynets.Net), out="a", resume=True)


SCRIPT = """
import sys, torch, droplab
from torch import nn
from droplab.train import ExecutionPlan
WIDTH = 8
def act(x):
    return torch.{act}(x)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, WIDTH), nn.Linear(WIDTH, 2)
    def forward(self, x):
        return self.fc2(act(self.fc1(x)))
x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
y = (x[:, 0] > 0).long()
found = droplab.sweep(
    lambda: Net(), (x, y), (x, y), rates=[0.5], seeds=1, epochs=1, out="run", batch_size=20,
    optimizer=lambda p: torch.optim.SGD(p, lr={lr}), execution=ExecutionPlan(1, captured=False),
    {more}
)
"""


def run_script():
    runpy.run_path("script.py", run_name="__main__")


@needs_forks
def test_in_a_script_the_call_may_change_and_the_model_may_not(tmp_path, monkeypatch):
    """The first is a process of its own, the others are `__main__` of this one."""
    file = tmp_path / "script.py"
    monkeypatch.chdir(tmp_path)

    def script(act="relu", lr=0.1):
        file.write_text(SCRIPT.format(act=act, lr=lr, more="resume=True,"))
        linecache.checkcache(str(file))
        run_script()

    file.write_text(SCRIPT.format(act="relu", lr=0.1, more=""))
    first = fork(run_script)
    first.join()
    assert first.exitcode == 0
    script()
    with pytest.raises(RunError, match=r"__main__\.act was changed\."):
        script(act="tanh")
    with pytest.raises(RunError, match=r"optimizer\.lr: the run has 0\.1, asked for 0\.2"):
        script(lr=0.2)


def test_what_has_no_source_is_not_guessed(tmp_path):
    namespace = {"__name__": "__main__", "nn": nn}
    exec("class Net(nn.Module):\n    def forward(self, x): return x\n", namespace)
    experiment = dataclasses.replace(resolve(load("digits")), build=lambda: namespace["Net"]())
    code = code_of(experiment)
    assert code.sources["__main__.Net"] == ""


ASKED = {
    "seeds": ({"seeds": [0, 1]}, "seeds: the run has [0], asked for [0, 1]"),
    "fewer": ({"seeds": [1]}, "seeds: the run has [0], asked for [1]"),
    "epochs": ({"epochs": 5}, "epochs: the run has 2, asked for 5"),
    "set": ({"optimizer.lr": 0.5}, "optimizer.lr: the run has"),
    "argument": ({"optimizer.amsgrad": True}, "the run has nothing, asked for true"),
}


@pytest.mark.parametrize("case", ASKED)
def test_another_recipe_is_refused_with_what_differs(case, project):
    changes, words = ASKED[case]
    run(recipe(), "run", plan=PLAN)
    with pytest.raises(RunError) as caught:
        run(recipe(**changes), "run", resume=True)
    assert words in str(caught.value)


def test_other_arms_and_another_device_are_refused(project):
    name = recipe().arms[0].name
    run(recipe(), "run", arms=[name], plan=PLAN)
    with pytest.raises(RunError, match=rf"the run has the arms '{name}', asked for"):
        run(recipe(), "run", arms=[arm.name for arm in recipe().arms], resume=True)
    with pytest.raises(RunError, match="began on the device cpu, asked for cuda"):
        run(recipe(), "run", resume=True, device="cuda")
    for arms in ([name], None):
        assert len(run(recipe(), "run", arms=arms, resume=True).rows) == 2


def test_a_budgets_seeds_are_known_and_others_are_refused(project):
    run(recipe(seeds=[3, 4, 5]), "run", budget=1e-9, plan=PLAN)
    assert len(run(recipe(seeds=[3, 4, 5]), "run", resume=True).rows) == 4
    said = (
        r"seeds: the run has \[3\], asked for \[3, 4\].*beside the first ones with droplab compare"
    )
    with pytest.raises(RunError, match=said):
        run(recipe(seeds=[3, 4]), "run", resume=True)


def test_very_long_differences_stay_short(project):
    run(recipe(), "run", plan=PLAN)
    with pytest.raises(RunError) as caught:
        run(recipe(seeds=list(range(5000))), "run", resume=True)
    assert len(str(caught.value)) < 1000

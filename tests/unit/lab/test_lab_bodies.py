"""Whatever a body says, the answer is a result or one sentence, and never a defect."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from droplab.lab import _limits as limits
from droplab.lab._body import parse
from droplab.lab._limits import Refusal
from droplab.lab._request import RunRequest, requested_recipe

MANY = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
JSON = {"content-type": "application/json"}
ALL_KEYS = tuple(RunRequest.model_fields)

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)  # fmt: skip
rate = st.floats(0, 1) | st.sampled_from([0, 1, 0.3, -0.1, 1.5, 30, "0.3", None])
site = st.sampled_from(["fc1", "fc2", "fc3", "fc4", "../fc2", ""])
arm = st.fixed_dictionaries(
    {}, optional={"name": st.sampled_from(["a", "b", "none", "", "../x", 3]) | st.text(max_size=5),
                  "rates": st.dictionaries(site, rate, max_size=3) | plain, "model": plain},
)  # fmt: skip
near = st.fixed_dictionaries(
    {"kind": st.sampled_from(["experiment", "sweep", "other"]),
     "recipe": st.sampled_from(["digits", "fashion-overfit", "./digits", "/etc/passwd", "x\ny"])},
    optional={"arms": st.lists(arm, max_size=4) | plain, "seeds": st.integers(-2, 80) | plain,
              "epochs": st.integers(-2, 1200) | plain, "rates": st.lists(rate, max_size=5) | plain,
              "sites": st.lists(site, max_size=3) | plain, "independent": st.booleans() | plain},
)  # fmt: skip


def check_answer(answer, *fine):
    assert answer.status_code in fine or 400 <= answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        said = answer.json()
        assert list(said) == ["error"]
        assert said["error"]
        assert "\n" not in said["error"]
        assert len(said["error"]) < 1500


def as_json(value):
    return json.dumps(value).encode()


@given(st.one_of(near, plain, st.dictionaries(st.sampled_from(ALL_KEYS), plain)))
@MANY
def test_a_request_for_a_run(lab, body):
    answer = lab.post("/api/runs", content=as_json(body), headers=JSON)
    check_answer(answer, 201)


@given(st.one_of(near, st.dictionaries(st.sampled_from(ALL_KEYS), plain)))
@settings(MANY, max_examples=400)
def test_what_is_accepted_is_a_built_in_recipe_with_other_arms(body):
    from droplab.recipe import builtin_names, load

    try:
        recipe = requested_recipe(body)
    except Refusal:
        return
    own = load(recipe.name.removesuffix("-sweep"))
    assert recipe.name.removesuffix("-sweep") in builtin_names()
    for part in ("model", "data", "optimizer", "batch_size", "primary"):
        assert getattr(recipe, part) == getattr(own, part)
    assert len(recipe.arms) <= limits.ARMS
    assert len(recipe.seeds) <= limits.SEEDS
    assert recipe.epochs <= limits.EPOCHS
    assert len(recipe.arms) * recipe.epochs <= limits.POINTS
    assert len(recipe.arms) * len(recipe.seeds) * recipe.epochs <= limits.REPLICA_EPOCHS
    assert all(arm.kind is None for arm in recipe.arms)


@given(st.binary(max_size=200))
@MANY
@example(b"\xff\xfe")
@example(b"[" * 60_000)
@example(b'{"a":' * 9_000)
@example(b"1" * 5000)
@example(b'{"seeds": NaN}')
@example(b'{"seeds": 1e999}')
@example(b'{"recipe": "\\ud800"}')
def test_bytes(lab, body):
    for path in ("/api/runs", "/api/doctor", "/api/practice/1"):
        check_answer(lab.post(path, content=body, headers=JSON), 200)


@given(plain)
@MANY
def test_stop_and_resume(lab, body):
    for change in ("stop", "resume"):
        answer = lab.post(f"/api/runs/nobody/{change}", content=as_json(body), headers=JSON)
        check_answer(answer)


SOURCE = st.sampled_from(
    ["import torch", "from torch import nn", "x = nn.Dropout(0.5)", "F.dropout(x, 1.5)",
     "class A:", "    def forward(self, x):", "        return F.dropout(x)", "lambda: 0", "(((",
     '"""', "\t", "\x00", "é = nn.LSTM(8, 8, dropout=0.5)", "\ud800", "exit()", "1/0"]
)  # fmt: skip


@given(st.lists(SOURCE, max_size=12).map("\n".join) | st.text(max_size=80) | plain)
@MANY
@example("import torch\nnn.Dropout(0.1)\nx = " + "(" * 5000)
@example("import torch\nnn.Dropout(0.1)\nx = " + "-" * 50_000 + "1")
@example("import torch\nnn.Dropout(0.1)\nx = a" + ".b" * 20_000)
@example("import torch\nnn.Dropout(0.1)\nx = a" + "()" * 20_000)
@example("import torch\nnn.Dropout(0.1)\nx = 1" + " + 1" * 20_000)
@example("import torch\nnn.Dropout(0.1)\n" + "if x:\n" * 3)
def test_source_for_the_doctor(lab, text):
    answer = lab.post("/api/doctor", content=as_json({"text": text}), headers=JSON)
    check_answer(answer, 200)
    if answer.status_code == 200:
        assert answer.json()["checked"].endswith(".")


@given(st.text(max_size=6) | plain, st.text(max_size=6) | st.integers().map(str))
@MANY
def test_an_answer_to_an_exercise(lab, answer, number):
    from urllib.parse import quote

    from droplab.practice import exercises

    letters = {f"{item.number}{letter}" for item in exercises() for letter in item.letters}
    if isinstance(answer, str) and any(each[-1:] in answer.upper() for each in letters):
        return  # that one is run, in another test
    path = f"/api/practice/{quote(number, safe='')}"
    check_answer(lab.post(path, content=as_json({"answer": answer}), headers=JSON))


def test_a_body_that_is_too_large(lab):
    large = as_json({"recipe": "x" * limits.BODY})
    assert lab.post("/api/runs", content=large, headers=JSON).status_code == 413
    source = as_json({"text": "#" * 2 * limits.BODY})
    assert lab.post("/api/doctor", content=source, headers=JSON).status_code == 200
    source = as_json({"text": "#" * limits.DOCTOR_BODY})
    assert lab.post("/api/doctor", content=source, headers=JSON).status_code == 413


def test_a_body_that_does_not_say_how_large_it_is(lab):
    parts = (b" " * 1024 for _ in range(limits.BODY // 1024 + 1))
    assert lab.post("/api/runs", content=parts, headers=JSON).status_code == 413


def test_source_is_never_run(lab, tmp_path):
    trace = tmp_path / "trace"
    text = f"import torch\nfrom torch import nn\nopen({str(trace)!r}, 'w')\nnn.Dropout(2)\n"
    answer = lab.post("/api/doctor", json={"text": text})
    assert [item["code"] for item in answer.json()["findings"]] == ["DRP011"]
    assert not trace.exists()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "kind"),
        ({"kind": "experiment", "recipe": "digit"}, "did you mean 'digits'"),
        ({"kind": "experiment", "recipe": "digits", "rates": [0.3]}, "rates is no part"),
        ({"kind": "experiment", "recipe": "digits", "arms": [{"name": "a", "rates": {"fc9": 0.3}}]},
         "arms.a.rates: no site 'fc9'"),
        ({"kind": "experiment", "recipe": "digits", "arms": [{"name": "a", "rates": {"fc2": 30}}]},
         "did you mean 0.3"),
        ({"kind": "experiment", "recipe": "digits", "arms": [{"name": "a", "kind": "x"}]}, "arms"),
        ({"kind": "experiment", "recipe": "digits", "seeds": 65}, "1 to 64, got 65"),
        ({"kind": "experiment", "recipe": "digits", "epochs": 1001}, "1 to 1000, got 1001"),
        ({"kind": "experiment", "recipe": "digits", "epochs": True}, "1 to 1000, got True"),
        ({"kind": "experiment", "recipe": "digits", "seeds": 64, "epochs": 1000}, "= 256000"),
        ({"kind": "sweep", "recipe": "digits", "rates": [0.0]}, "above 0"),
        ({"kind": "sweep", "recipe": "digits", "rates": []}, "1 to 100 rates"),
        ({"kind": "sweep", "recipe": "digits", "rates": [i / 100 for i in range(100)],
          "epochs": 300}, "arms x epochs"),
        ({"kind": "sweep", "recipe": "digits", "rates": [i / 100 for i in range(1, 20)],
          "independent": True}, "combinations"),
        ({"kind": "sweep", "recipe": "digits", "rates": [0.3], "sites": ["*"]}, "fc1, fc2, fc3"),
    ],
)  # fmt: skip
def test_the_sentence_says_what_to_do(body, words):
    with pytest.raises(Refusal) as caught:
        requested_recipe(body)
    assert words in caught.value.message


@pytest.mark.parametrize(
    "path", ["/api/runs", "/api/doctor", "/api/practice/1", "/api/runs/x/stop"]
)
def test_an_unknown_key_is_named(lab, path):
    answer = lab.post(path, json={"modle": "x"})
    assert answer.status_code == 400
    assert "modle: unknown key" in answer.json()["error"]


def test_problems_are_told_together_each_in_its_place(lab):
    arms = [{"name": "a", "rates": {"fc2": 30}}, {"name": "b", "kind": 3, "modle": "x" * 9000}]
    body = {"kind": "experiment", "recipe": "digits", "seeds": 0, "arms": arms, "y" * 9000: 1}
    answer = lab.post("/api/runs", json=body)
    check_answer(answer)
    said = answer.json()["error"]
    for words in ("problems", "seeds: expected a whole number from 1 to 64, got 0",
                  "arms.a.rates.fc2: expected a drop probability", "more"):  # fmt: skip
        assert words in said


def test_text_that_utf_8_cannot_hold(lab):
    """Half of a surrogate pair is sound JSON, and must not break the answer that quotes it."""
    bodies = {
        "/api/practice/1": b'{"answer": "\\ud800"}',
        "/api/runs": b'{"kind": "experiment", "recipe": "digits", "arms": [{"name": "\\ud800"}]}',
        "/api/doctor": b'{"text": "import torch\\nx = nn.Dropout(2) # \\ud800"}',
    }
    for path, body in bodies.items():
        check_answer(lab.post(path, content=body, headers=JSON), 200)


def test_what_json_does_not_have():
    for body in (b'{"a": NaN}', b'{"a": Infinity}', b"{"):
        with pytest.raises(Refusal):
            parse(body)
    assert parse(b"") == {}


def test_the_recipe_of_a_request():
    """The arms, with the baseline where it is missing, and the seeds that are counted."""
    recipe = requested_recipe(
        {"kind": "experiment", "recipe": "digits", "arms": [{"name": "a", "rates": {"fc2": 0.3}}],
         "seeds": 10, "epochs": 4}
    )  # fmt: skip
    assert [arm.name for arm in recipe.arms] == ["none", "a"]
    assert recipe.seeds == tuple(range(10))
    assert recipe.epochs == 4
    sweep = requested_recipe(
        {"kind": "sweep", "recipe": "digits", "rates": [0.5, 0, 0.2], "sites": ["fc2"]}
    )
    assert [(arm.name, dict(arm.rates)) for arm in sweep.arms] == [
        ("none", {}), ("0.2", {"fc2": 0.2}), ("0.5", {"fc2": 0.5})
    ]  # fmt: skip
    grid = requested_recipe(
        {"kind": "sweep", "recipe": "digits", "rates": [0.5], "independent": True}
    )
    assert [arm.name for arm in grid.arms] == ["none", "0-0.5", "0.5-0", "0.5-0.5"]

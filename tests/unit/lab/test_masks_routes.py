"""`/api/see` answers what is asked in its limits, and refuses everything else in one sentence."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.testclient import TestClient

from droplab import studies
from droplab.lab._masks import routes
from droplab.recipe import load, override


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder with one run; what lies beside it is none of the page's business."""
    place = tmp_path_factory.mktemp("lab")
    recipe = override(load("digits"), {"epochs": 2, "seeds": [0]})
    studies.run(recipe, place / "runs" / "digits-1")
    studies.run(recipe, place / "secret", arms=["none"])
    (place / "runs" / "digits-2").mkdir()
    return place / "runs"


@pytest.fixture(scope="module")
def client(runs) -> TestClient:
    return TestClient(Starlette(routes=routes(runs)))


@pytest.fixture(scope="module")
def get(client):
    def ask(path: str, **query: object):
        return client.get(f"/api/see{path}?{urlencode(query)}")

    return ask


def test_masks_come_by_step(get):
    found = get("", recipe="digits", rates="fc2:0.3,fc3:0.5", step=4, steps=3).json()
    assert [layer["site"] for layer in found["layers"]] == ["fc1", "fc2", "fc3", None]
    assert [len(mask) for mask in found["layers"][1]["masks"]] == [128 // 4] * 3
    assert (found["step"], found["steps_an_epoch"]) == (4, 10)


def test_the_answer_is_small(get):
    rates = "fc1:0.2,fc2:0.5,fc3:0.5"
    assert len(get("", recipe="fashion-overfit", rates=rates, steps=16).content) < 8192
    assert len(get("/outputs", recipe="digits", rates="fc2:0.5", masks=16).content) < 1024


@pytest.mark.parametrize(
    ("path", "query", "said"),
    [
        ("", {}, "recipe: expected one of digits"),
        ("", {"recipe": "other"}, "recipe: expected one of digits"),
        ("", {"recipe": "../digits"}, "recipe: expected one of digits"),
        ("", {"recipe": "mlp.toml"}, "recipe: expected one of digits"),
        ("", {"recipe": "digits", "model": "os:system"}, "model: unknown key"),
        ("", {"recipe": "digits", "rates": "fc9:0.3"}, "expected each of fc1, fc2, fc3"),
        ("", {"recipe": "digits", "rates": "fc2:0.3,fc2:0.4"}, "at most once"),
        ("", {"recipe": "digits", "rates": "fc2:1.5"}, "expected a drop probability in [0, 1]"),
        ("", {"recipe": "digits", "rates": "fc2:-0.1"}, "expected a rate such as fc2:0.3"),
        ("", {"recipe": "digits", "rates": "fc2:nan"}, "expected a rate such as fc2:0.3"),
        ("", {"recipe": "digits", "rates": "fc2:1e-9"}, "expected a rate such as fc2:0.3"),
        ("", {"recipe": "digits", "rates": "fc2:0.000001"}, "would round to 0"),
        ("", {"recipe": "digits", "seed": "-1"}, "seed: expected a whole number from 0"),
        ("", {"recipe": "digits", "seed": 2**31}, "seed: expected a whole number from 0"),
        ("", {"recipe": "digits", "seed": "٣"}, "seed: expected a whole number from 0"),
        ("", {"recipe": "digits", "step": 10**7}, "step: expected a whole number from 0"),
        ("", {"recipe": "digits", "steps": 0}, "steps: expected a whole number from 1 to 32"),
        ("", {"recipe": "digits", "steps": 33}, "steps: expected a whole number from 1 to 32"),
        ("", {"recipe": "digits", "example": 20}, "example: expected a whole number from 0 to 19"),
        ("/outputs", {"recipe": "digits", "layer": "fc4"}, "layer: expected one of fc1, fc2, fc3"),
        ("/outputs", {"recipe": "digits", "layer": "fc3", "unit": 10}, "unit: expected a whole"),
        ("/outputs", {"recipe": "digits", "masks": 1001}, "masks: expected a whole number from 16"),
        ("/outputs", {"recipe": "digits", "arm": "0.3"}, "arm: expected it together with run"),
        ("/outputs", {"recipe": "digits", "run": "../secret"}, "run: expected one of the runs"),
        ("/outputs", {"recipe": "digits", "run": "/etc"}, "run: expected one of the runs"),
        ("/outputs", {"recipe": "digits", "run": "."}, "run: expected one of the runs"),
        ("/outputs", {"recipe": "digits", "run": "digits-9"}, "run: expected one of the runs"),
        ("/outputs", {"recipe": "digits", "run": "digits-2"}, "expected the folder of a run"),
        ("/outputs", {"recipe": "mnist-mlp", "run": "digits-1"}, "the network of mnist-mlp"),
        ("/outputs", {"recipe": "digits", "run": "digits-1", "seed": 5}, "has finished seed 5"),
        ("/outputs", {"recipe": "digits", "run": "digits-1", "arm": "x"}, "arm: expected one of"),
    ],
)
def test_what_is_out_of_range_is_refused(get, path, query, said):
    answer = get(path, **query)
    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_a_parameter_given_twice_is_refused(client):
    answer = client.get("/api/see?recipe=digits&seed=1&seed=2")
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("seed: expected it once")


def test_nothing_but_get_is_answered(client):
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert client.request(method, "/api/see?recipe=digits").status_code == 405


def test_trained_weights_are_used_and_named(get):
    query = {"recipe": "digits", "rates": "fc2:0.3", "masks": 32}
    first = get("/outputs", **query).json()
    found = get("/outputs", **query, run="digits-1", arm="0.3").json()
    other = get("/outputs", **query, run="digits-1", arm="0.5").json()
    assert first["weights"] == "initial weights of seed 0, untrained"
    assert found["weights"] == "weights of '0.3', seed 0, after 2 epochs (digits-1)"
    assert len({first["eval"], found["eval"], other["eval"]}) == 3


def test_without_a_folder_of_runs_there_are_none():
    client = TestClient(Starlette(routes=routes()))
    answer = client.get("/api/see/outputs?recipe=digits&run=digits-1")
    assert answer.status_code == 400


NAMES = (
    "recipe",
    "rates",
    "seed",
    "step",
    "steps",
    "example",
    "layer",
    "unit",
    "masks",
    "run",
    "arm",
)
VALUES = st.one_of(
    st.sampled_from(["digits", "fc2:0.3", "fc3", "0", "16", "digits-1", "none", "../digits-1"]),
    st.text(max_size=30),
    st.integers(-(2**70), 2**70).map(str),
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    path=st.sampled_from(["", "/outputs"]),
    query=st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=8)), VALUES),
)
def test_any_query_has_an_answer_or_a_sentence(client, path, query):
    answer = client.get(f"/api/see{path}?{urlencode({'recipe': 'digits', **query})}")
    assert answer.status_code in (200, 400)
    if answer.status_code == 400:
        error = answer.json()["error"]
        assert error
        assert "Traceback" not in error
        assert len(error) < 500
    else:
        assert "layers" in answer.json() or "counts" in answer.json()

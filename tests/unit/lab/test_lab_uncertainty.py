"""The page of many passes: made once for an arm of a run that is done, and shown."""

from __future__ import annotations

import threading
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from droplab import studies
from droplab.lab import create_app
from droplab.recipe import load, override
from tests.unit.lab.conftest import HOME, PORT


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    recipe = override(load("digits"), {"epochs": 1, "seeds": [0, 1]})
    studies.run(recipe, folder / "digits-1", arms=["none", "0.5"])
    return folder


@pytest.fixture
def shown(runs):
    with TestClient(create_app(runs, port=PORT), base_url=HOME, headers={"origin": HOME}) as client:
        yield client


def post(client, arm="0.5", run="digits-1"):
    return client.post(f"/api/runs/{run}/uncertainty", json={"arm": arm})


def test_a_page_is_made_once_and_shown(shown, monkeypatch):
    address = "/runs/digits-1/uncertainty?arm=0.5"
    assert shown.get(address).status_code == 404
    made = post(shown)
    assert (made.status_code, made.json()) == (201, {"page": address})
    page = shown.get(address)
    assert "Models of arm &#39;0.5&#39;" in page.text
    assert "script" not in page.headers["content-security-policy"]
    kept = shown.get(f"{address}&download=1").headers["content-disposition"]
    assert kept == 'attachment; filename="digits-1-uncertainty.html"'
    monkeypatch.setattr(studies, "compare_averaging", None)  # not called a second time
    assert post(shown).json() == {"page": address}


@pytest.mark.parametrize(
    ("arm", "run", "status", "words"),
    [
        ("half", "digits-1", 404, "the run has no arm 'half'"),
        ("0.5", "digits-2", 404, "there is no such run"),
        ("none", "digits-1", 409, "without any dropout"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_sentence(shown, arm, run, status, words):
    found = post(shown, arm, run)
    assert found.status_code == status
    assert words in found.json()["error"]
    assert shown.get(f"/runs/{run}/uncertainty?arm={quote(arm)}").status_code == 404


def test_one_page_at_a_time(shown, runs, monkeypatch):
    for page in (runs / "digits-1").glob("uncertainty-*.html"):
        page.unlink()
    begun, go_on = threading.Event(), threading.Event()
    ran = studies.compare_averaging

    def slow(*args, **options):
        begun.set()
        assert go_on.wait(60)
        return ran(*args, **options)

    monkeypatch.setattr(studies, "compare_averaging", slow)
    found = []
    first = threading.Thread(target=lambda: found.append(post(shown).status_code))
    first.start()
    assert begun.wait(60)
    assert post(shown).status_code == 429
    go_on.set()
    first.join()
    assert found == [201]


def test_own_code_is_not_loaded(shown, monkeypatch):
    from droplab.lab import _uncertainty
    from droplab.lab._limits import Refusal

    def refuse(recipe, instead):
        raise Refusal(409, f"own; {instead}")

    monkeypatch.setattr(_uncertainty, "check_own", refuse)
    assert post(shown).json() == {"error": "own; use droplab uncertainty RUN --out PAGE"}

"""Runs on disk: listed, opened, reported; and nothing else on disk can be reached."""

from __future__ import annotations

import dataclasses
import os
import shutil
from urllib.parse import quote, unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from droplab import results
from droplab.lab import _disk
from droplab.lab._disk import RunsOnDisk, state_on_disk
from droplab.lab._limits import Refusal
from droplab.lab._origin import REPORT_POLICY
from droplab.recipe import METRICS


def test_a_finished_run_is_listed_and_opened(lab, real_run, runs):
    (found,) = lab.get("/api/runs").json()["runs"]
    assert found["id"] == real_run
    assert (found["state"], found["kind"], found["recipe"]) == ("done", "experiment", "digits")
    assert (found["arms"], found["seeds"], found["epochs"]) == (4, 2, 2)
    assert found["steps"] == found["steps_done"] == 4 * 2 * 2 * 10
    assert "seeds are too few" in found["headline"]
    shown = lab.get(f"/api/runs/{real_run}").json()
    assert shown["run"] == found
    rows = [row for row in results.load(runs / real_run).rows if row.arm == "0.5"]
    for name in METRICS:
        for epoch in (1, 2):
            values = [getattr(row, name) for row in rows if row.epoch == epoch]
            mean = sum(values) / len(values)
            assert shown["curves"]["0.5"][name][epoch - 1] == pytest.approx(mean, rel=1e-5)
    assert shown["counts"]["0.5"] == [2, 2]
    assert {item["state"] for item in shown["members"]} == {"done"}
    assert shown["verdict"]["headline"] == found["headline"]
    assert "nn.Dropout(p=" in shown["patch"]


def test_the_report_is_that_of_the_command_line(lab, real_run, runs, tmp_path):
    from droplab.cli.report import write_report

    write_report(runs / real_run, tmp_path / "report.html")
    answer = lab.get(f"/runs/{real_run}/report")
    assert answer.text == (tmp_path / "report.html").read_text(encoding="utf-8")
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-security-policy"] == REPORT_POLICY
    assert "content-disposition" not in answer.headers
    kept = lab.get(f"/runs/{real_run}/report?download=1")
    assert kept.headers["content-disposition"] == f'attachment; filename="{real_run}.html"'


def test_an_interrupted_run_can_be_resumed(lab, real_run, runs, workers):
    with results.RunStore.open_for_resume(runs / real_run) as store:
        store.set_member_state("none", 1, "waiting")
    assert lab.get(f"/api/runs/{real_run}").json()["run"]["state"] == "stopped"
    answer = lab.post(f"/api/runs/{real_run}/resume", json={})
    assert (answer.status_code, answer.json()["state"]) == (202, "running")
    assert workers[0].got_job.wait(60)
    recipe, folder, resume = workers[0].job
    assert (recipe, folder, resume) == (results.load(folder).recipe, runs / real_run, True)
    shown = lab.get(f"/api/runs/{real_run}").json()
    assert shown["counts"]["0.5"] == [2, 2], "what it had stays on the page"


def test_a_run_that_was_ended_before_its_test_can_be_resumed(real_run, runs):
    found = results.load(runs / real_run)
    assert found.tests
    assert state_on_disk(found) == "done"
    untested = dataclasses.replace(found, tests=())
    assert state_on_disk(untested) == "stopped"
    assert state_on_disk(dataclasses.replace(untested, notes={})) == "done"  # there is no split
    assert state_on_disk(dataclasses.replace(untested, notes={"data": "[]"})) == "done"
    nan = tuple(
        dataclasses.replace(m, state="done" if m.arm == "none" else "nan") for m in found.members
    )
    assert state_on_disk(dataclasses.replace(untested, members=nan)) == "done"  # nothing to choose


def test_a_finished_run_is_not_resumed(lab, real_run, workers):
    answer = lab.post(f"/api/runs/{real_run}/resume", json={})
    assert answer.status_code == 409
    assert not workers


def test_a_run_with_a_model_of_ones_own_is_shown_and_not_run(lab, runs, workers):
    """Its recipe names code: opening the page must never import it."""
    recipe = (
        'name = "mine"\nepochs = 2\nbatch_size = 20\nseeds = [0]\n[data]\nname = "digits"\n'
        'train = 200\nvalidation = 300\n[model]\npath = "nets:Net"\n[optimizer]\nname = "SGD"\n'
        '[[arms]]\nname = "none"\n[[arms]]\nname = "half"\nrates = { head = 0.5 }\n'
    )
    runs.mkdir()
    results.RunStore.create(runs / "mine", recipe, "0" * 64, {}, [("none", 0), ("half", 0)]).close()
    assert lab.get("/api/runs/mine").json()["run"]["state"] == "stopped"
    answer = lab.post("/api/runs/mine/resume", json={})
    assert answer.status_code == 409
    assert "model or data of your own" in answer.json()["error"]
    assert not workers
    assert lab.get("/runs/mine/report").status_code == 409  # there is no row yet


def test_what_cannot_be_read_is_named(lab, real_run, runs):
    shutil.copytree(runs / real_run, runs / "damaged")
    (runs / "damaged" / "run.sqlite").write_bytes(b"no database at all" * 500)
    found = lab.get("/api/runs").json()
    assert [item["id"] for item in found["runs"]] == [real_run]
    assert [item["id"] for item in found["unreadable"]] == ["damaged"]
    assert lab.get("/api/runs/damaged").status_code == 409
    page = lab.get("/runs/damaged/report")
    assert page.status_code == 409
    assert page.headers["content-type"].startswith("text/html")
    assert 'data-problem="/' in page.text
    assert "damaged or foreign file" in page.text


def test_a_run_that_is_too_large_to_show(lab, real_run, monkeypatch):
    monkeypatch.setattr(_disk, "READABLE", 10)
    assert lab.get(f"/api/runs/{real_run}").status_code == 409


def test_only_folders_with_a_run_are_runs(runs, real_run, tmp_path):
    outside = tmp_path / "outside"
    shutil.copytree(runs / real_run, outside)
    (runs / "empty").mkdir()
    (runs / "file").write_text("")
    (runs / ".hidden").mkdir()
    shutil.copy(runs / real_run / "run.sqlite", runs / ".hidden")
    (runs / "link").symlink_to(outside, target_is_directory=True)
    (runs / "linked").mkdir()
    (runs / "linked" / "run.sqlite").symlink_to(outside / "run.sqlite")
    assert RunsOnDisk(runs).ids() == [real_run]
    assert RunsOnDisk(tmp_path / "nowhere").ids() == []


STRANGE = ["..", "../outside", "..%2foutside", "%2e%2e%2foutside", "x%00", "x%0a", "/etc",
           "%2f", "digits-made%2f..%2f..%2foutside", "digits-made%00", "digits-made%0a",
           "digits-made.", "DIGITS-MADE", "-rf", "a" * 101, "C:%5cx", "made%20", "~"]  # fmt: skip


@pytest.mark.parametrize("id", STRANGE)
def test_no_id_leads_out_of_the_folder(lab, real_run, runs, tmp_path, id):
    shutil.copytree(runs / real_run, tmp_path / "outside")
    for path in (f"/api/runs/{id}", f"/api/runs/{id}/events", f"/runs/{id}/report"):
        assert lab.get(path).status_code in (404, 405), path
    for change in ("stop", "resume"):
        assert lab.post(f"/api/runs/{id}/{change}", json={}).status_code in (404, 405)
    for name in (id, unquote(id), ".", ""):  # a client tidies some of them away before it asks
        with pytest.raises(Refusal):
            RunsOnDisk(runs).folder(name)


@given(st.text(max_size=30))
@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_request_never_becomes_a_path(lab, runs, text):
    """With an id that is no run, nothing on disk is opened but the listing of the folder."""
    opened = []
    real = os.stat
    id = quote(text, safe="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "stat", lambda path, **more: opened.append(path) or real(path, **more))
        answer = lab.get(f"/api/runs/{id}")
    assert answer.status_code in ((200, 404) if not text else (404,))
    assert not [path for path in opened if text and text in str(path) and str(runs) in str(path)]


def test_no_other_file_is_served(lab):
    index = lab.get("/")
    assert index.status_code == 200
    assert index.headers["content-type"].startswith("text/html")
    for view in ("/experiment", "/sweep", "/see", "/doctor", "/practice", "/runs", "/runs/an-id"):
        assert lab.get(view).content == index.content
    for name in ("../_app.py", "..%2f_app.py", "%2e%2e/_app.py", "/etc/passwd", "nothing.js", "",
                 "vendor", "app.js/x", "vendor/../index.html%00", "x" * 5000):  # fmt: skip
        assert lab.get(f"/static/{name}").status_code == 404, name


def test_people_who_go_astray_see_the_page(lab):
    """With the status that says so; what asks for data gets a sentence."""
    index = lab.get("/").content
    for path in ("/nowhere", "/runs/..%2f", "/runs/nobody/report", "/runs/"):
        answer = lab.get(path, headers={"if-none-match": lab.get("/").headers["etag"]})
        assert (answer.status_code, answer.content) == (404, index), path
    for path in ("/api/nowhere", "/static/nowhere", "/api/runs/nobody"):
        answer = lab.get(path)
        assert (answer.status_code, list(answer.json())) == (404, ["error"])


def test_static_files_are_sent_small_and_once(lab):
    first = lab.get("/", headers={"accept-encoding": "gzip"})
    assert first.headers["content-encoding"] == "gzip"
    plain = lab.get("/", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == first.content  # the client unpacks
    again = lab.get("/", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert lab.get("/", headers={"if-none-match": '"other"'}).status_code == 200
    script = lab.get("/static/app.js")
    assert script.headers["cache-control"] == "no-cache"  # kept, and asked for again each time
    assert script.headers["content-type"].startswith("text/javascript")

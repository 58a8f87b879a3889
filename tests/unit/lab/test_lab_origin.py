"""Requests from elsewhere are refused, and every answer says what it may load."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers

from droplab.lab._limits import Refusal
from droplab.lab._origin import PAGE_POLICY, REPORT_POLICY, check, own_hosts

HOME = "http://127.0.0.1:8765"
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1", "127.0.0.1:80", "localhost:8766",
             "127.0.0.1:8765.evil.example", "localhost.evil.example:8765", "0.0.0.0:8765", "",
             "127.0.0.1:8765@evil.example", "[::1]", "2130706433:8765"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/api/runs", "/static/app.js", "/nothing"])
def test_a_foreign_host_is_refused(lab, host, path):
    answer = lab.get(path, headers={"host": host})
    assert answer.status_code == 421
    assert "Host" in answer.json()["error"]


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8765", "localhost:8765", "[::1]:8765", "LOCALHOST:8765"]
)
def test_this_machine_is_not(lab, host):
    answer = lab.get("/api/recipes", headers={"host": host, "origin": f"http://{host}"})
    assert answer.status_code == 200


POSTS = ["/api/runs", "/api/runs/x/stop", "/api/runs/x/resume", "/api/doctor", "/api/practice/1"]


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "foreign",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "https://127.0.0.1:8765"},
        {"origin": "http://localhost:8765"},  # another origin than the Host names
        {"origin": HOME, "sec-fetch-site": "cross-site"},
        {"origin": HOME, "sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {},
    ],
)
def test_a_post_from_another_site_is_refused(lab, path, foreign):
    del lab.headers["origin"]
    answer = lab.post(path, content=b"{}", headers={**JSON, **foreign})
    assert answer.status_code == 403
    assert answer.json()["error"]


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "json"]
)
def test_a_post_of_another_kind_is_refused(lab, path, kind):
    """What a form, or a script of another site, can send without being asked."""
    answer = lab.post(path, content=b"{}", headers={"content-type": kind})
    assert answer.status_code == 415


def test_a_frame_or_script_of_another_site_gets_nothing(lab):
    foreign = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    del lab.headers["origin"]
    assert lab.get("/api/runs", headers=foreign).status_code == 403
    assert lab.get("/static/app.js", headers=foreign).status_code == 403
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert lab.get("/api/recipes", headers=link).status_code == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(lab, method):
    assert lab.request(method, "/api/runs").status_code == 405


PATHS = ["/", "/runs/x", "/nothing", "/static/app.js", "/static/nothing", "/api/recipes",
         "/api/runs", "/api/runs/x", "/api/runs/x/events", "/runs/x/report",
         "/api/practice", "/api/see?recipe=x", "/favicon.ico"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_the_policy(lab, path):
    for headers in ({}, {"host": "evil.example"}):
        answer = lab.get(path, headers=headers)
        assert answer.headers["content-security-policy"] == PAGE_POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in answer.headers


def test_the_policy_allows_no_inline_script():
    for policy in (PAGE_POLICY, REPORT_POLICY):
        rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
        assert rules["default-src"] == "'none'"
        assert "unsafe" not in rules.get("script-src", "")
    assert "script-src" not in REPORT_POLICY
    assert "unsafe-inline" not in PAGE_POLICY


def test_a_defect_is_told_with_the_policy_too(runs, start_worker, monkeypatch):
    from starlette.testclient import TestClient

    from droplab.lab import _app, create_app

    def broken():
        raise RuntimeError("secret")

    monkeypatch.setattr(_app, "listing", broken)
    app = create_app(runs, start=start_worker)
    with TestClient(app, base_url=HOME, raise_server_exceptions=False) as client:
        answer = client.get("/api/recipes")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.headers["content-security-policy"] == PAGE_POLICY


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_no_other_host_gets_through(host):
    hosts = own_hosts(8765)
    headers = Headers(raw=[(b"host", host.encode())])
    if host.lower() not in hosts:
        with pytest.raises(Refusal) as caught:
            check("GET", headers, hosts)
        assert caught.value.status == 421


def test_two_hosts_are_none():
    headers = Headers(raw=[(b"host", b"127.0.0.1:8765"), (b"host", b"evil.example")])
    with pytest.raises(Refusal):
        check("GET", headers, own_hosts(8765))

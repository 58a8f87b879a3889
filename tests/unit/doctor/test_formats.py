"""Text, JSON, SARIF and workflow commands."""

from __future__ import annotations

import json

import pytest

from droplab.doctor import CODES, Finding, formats
from droplab.doctor.formats import github, json_document, sarif, text

STATIC = Finding(
    "DRP001",
    "it drops, 100% of the time:\nalways",
    "pass it",
    "error",
    path="src/a b,c.py",
    line=3,
    column=5,
    end_line=4,
    end_column=9,
    source="F.dropout(x)",
)
LIVE = Finding("DRP032", "m", "a", module="net.0", found_by="running", evidence={"ratio": 1.234567})
CELL = Finding("DRP014", "m", "a", "note", path="n.ipynb", line=2, column=1, cell=7)


def test_text_shows_place_code_name_line_evidence_and_fix():
    shown = str(text([STATIC, LIVE, CELL]))
    assert "src/a b,c.py:3:5: DRP001 [untied-functional]" in shown
    assert "    F.dropout(x)\n" in shown
    assert "measured: ratio 1.235" in shown
    assert "net.0: DRP032" in shown
    assert "n.ipynb:cell 7:2:1: DRP014" in shown


def test_text_marks_what_can_be_fixed():
    from droplab.doctor import Edit

    fixable = Finding("DRP015", "m", "a", path="a.py", line=1, column=1, edits=(Edit(0, 1, ""),))
    assert "(--fix does it)" in str(text([fixable]))
    assert "(--fix does it)" not in str(text([STATIC]))


def test_json_round_trips():
    document = json.loads(json_document([STATIC, LIVE, CELL], files=2))
    assert document["files"] == 2
    first, second, third = document["findings"]
    assert (first["line"], first["path"], first["fixable"]) == (3, "src/a b,c.py", False)
    assert (second["line"], second["module"], second["evidence"]) == (
        None,
        "net.0",
        {"ratio": 1.234567},
    )
    assert third["cell"] == 7


def test_workflow_commands_escape():
    line, live, cell = github([STATIC, LIVE, CELL]).splitlines()
    assert line == (
        "::error file=src/a b%2Cc.py,line=3,endLine=4,col=5,title=DRP001::"
        "it drops, 100%25 of the time:%0Aalways; pass it"
    )
    assert live == "::warning title=DRP032::m; a"
    assert cell == "::notice file=n.ipynb,line=1,title=DRP014::cell 7, line 2: m; a"


# The parts of the published schema (SARIF 2.1.0, OASIS) that a log of ours touches: required
# members, allowed members where others are forbidden, enumerations and minima.
_SCHEMA = {
    "log": ({"version", "runs"}, {"$schema", "version", "runs", "properties"}),
    "run": ({"tool"}, {"tool", "results", "columnKind", "artifacts", "invocations"}),
    "tool": ({"driver"}, {"driver", "extensions"}),
    "driver": ({"name"}, {"name", "version", "rules", "informationUri", "semanticVersion"}),
    "rule": ({"id"}, {"id", "name", "shortDescription", "defaultConfiguration", "helpUri"}),
    "result": (
        {"message"},
        {"ruleId", "ruleIndex", "level", "message", "locations", "properties"},
    ),
    "location": (set(), {"physicalLocation", "logicalLocations", "id", "message"}),
    "physical": (set(), {"artifactLocation", "region"}),
    "artifact": (set(), {"uri", "uriBaseId", "index"}),
    "region": (set(), {"startLine", "startColumn", "endLine", "endColumn", "snippet"}),
    "logical": (set(), {"fullyQualifiedName", "name", "kind"}),
}


def conforms(kind, value):
    required, allowed = _SCHEMA[kind]
    assert required <= set(value) <= allowed, (kind, value)
    return value


def test_sarif_conforms_to_the_published_schema():
    log = conforms("log", json.loads(sarif([STATIC, LIVE, CELL], version="0.1.0")))
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    conforms("run", run)
    assert run["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")
    driver = conforms("driver", conforms("tool", run["tool"])["driver"])
    for rule in driver["rules"]:
        conforms("rule", rule)
        assert set(rule["shortDescription"]) == {"text"}
        assert rule["defaultConfiguration"]["level"] in ("none", "note", "warning", "error")
    ids = [rule["id"] for rule in driver["rules"]]
    assert ids == list(CODES)
    for result in run["results"]:
        conforms("result", result)
        assert ids[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["message"]["text"]
        for location in result["locations"]:
            conforms("location", location)
            for logical in location.get("logicalLocations", []):
                conforms("logical", logical)
            if "physicalLocation" in location:
                physical = conforms("physical", location["physicalLocation"])
                uri = conforms("artifact", physical["artifactLocation"])["uri"]
                assert " " not in uri
                region = conforms("region", physical["region"])
                assert all(isinstance(v, int) and v >= 1 for v in region.values())


def test_sarif_names_cells_of_notebooks_and_no_lines_of_their_json():
    (result,) = json.loads(sarif([CELL], version="0"))["runs"][0]["results"]
    assert result["message"]["text"] == "cell 7, line 2: m; a"
    (location,) = result["locations"]
    assert set(location["physicalLocation"]["region"].values()) == {1}
    assert location["logicalLocations"] == [{"fullyQualifiedName": "cell 7, line 2"}]


def test_sarif_uris_are_absolute_for_absolute_paths():
    log = json.loads(sarif([Finding("DRP001", "m", "a", path="/x/y z.py", line=1)], version="0"))
    location = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert location["artifactLocation"]["uri"] == "file:///x/y%20z.py"


@pytest.mark.parametrize("form", [json_document, github])
def test_nothing_is_a_valid_document(form):
    assert json.loads(form([])) == {"findings": []} if form is json_document else form([]) == ""
    assert json.loads(sarif([], version="0"))["runs"][0]["results"] == []


def test_the_formats_are_listed():
    assert formats.FORMATS == ("text", "json", "sarif", "github")

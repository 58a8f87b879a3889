"""Plans as files."""

from __future__ import annotations

import pytest

from droplab.errors import PlacementError
from droplab.placement import Ramp, load_plan, plan


def test_a_plan_outlives_its_rules(build, tmp_path):
    made = plan(
        build("residual"), {"blocks.*": Ramp(0.1, 0.2), "stem": 0.5}, kind={"stem": "channel"}
    )
    made.save(tmp_path / "plan.toml")
    again = load_plan(build("residual"), tmp_path / "plan.toml")
    assert again.rates == made.rates
    assert [e.kind for e in again.edits] == [e.kind for e in made.edits]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sites = [", "syntax error"),
        ("", "expected a table 'sites' with at least one site"),
        ("[sites]", "expected a table 'sites' with at least one site"),
        ("[site.fc2]\np = 0.1", "unknown key 'site'; did you mean 'sites'"),
        ("format = 2\n[sites]\nfc2 = 0.1", "expected format 1, got 2"),
        ("[sites.fc2]\nrate = 0.1", "sites.fc2: expected p and perhaps kind, got the keys rate"),
        ("[sites.blocks.a]\np = 0.1", "dots in a site's name need quotes"),
        ("[sites.fc2]", "an empty table"),
        ("[sites]\nfc2 = 30", "percentage"),
        ("[sites]\nfc9 = 0.1", "'fc9' matches no site; did you mean"),
        ("[sites.fc2]\np = 0.1\nkind = 'lokced'", "did you mean 'locked'"),
    ],
)
def test_bad_files_are_refused(net, tmp_path, text, message):
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(PlacementError, match=message):
        load_plan(net, path)


def test_a_missing_file_is_refused(net):
    with pytest.raises(PlacementError, match=r"gone.toml: expected a plan file, got .*No such"):
        load_plan(net, "gone.toml")


def test_short_form(net, tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text('[sites]\nfc2 = 0.1\n"fc[3]" = 0.2\n')
    assert load_plan(net, path).rates == {"fc2": 0.1, "fc3": 0.2}


def test_printed_plans_have_path_kind_rate_and_reason(build, batch):
    text = " ".join(str(plan(build("net"), {"fc1": 0.1, "fc3": 0.3})).split())
    for word in (
        "fc3",
        "element",
        "0.3",
        "linear layer",
        "asked for (else left out",
        "no rate given",
    ):
        assert word in text
    assert "assumed" in text
    assert "the model's own input" in text
    recorded = str(plan(build("conv"), {"fc": 0.3}, example=batch("conv")))
    assert "assumed" not in recorded

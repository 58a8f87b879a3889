"""The report as GitHub Markdown."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from markdown_it import MarkdownIt

from droplab.recipe import Arm
from droplab.report import render_markdown
from droplab.verdict import judge

EVIL = "<script>alert(1)</script>|a_b_c*d*`e`[x](y)~~z~~ $q$ ![i](j)\n# h\n- l"


@pytest.fixture(scope="module")
def text(fashion) -> str:
    return render_markdown(fashion, judge(fashion))


def html(text: str) -> str:
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text)


def tables(text: str) -> list[list[list[str]]]:
    found = re.findall(r"(?:^\|.*\|\n)+", text, re.M)
    return [
        [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()]
        for table in found
    ]


def test_it_opens_with_the_verdict_and_the_differences(text):
    assert text.startswith("## Dropout helps after 50 epochs\n\n**fashion-overfit**: ")
    order = [
        "## Dropout helps",
        "0.826 without dropout and 0.481 with",
        "### Paired differences",
        "| arm |",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_every_sentence_of_the_verdict_is_there(text, fashion):
    verdict = judge(fashion)
    shown = re.sub(r"\\(.)", r"\1", text).replace("&lt;", "<").replace("&gt;", ">")
    sentences = [verdict.also, verdict.diagnosis.sentence, verdict.target.sentence]
    sentences += [verdict.test.sentence, verdict.best.sentence, *verdict.caveats]
    for sentence in sentences:
        assert sentence in shown


def test_the_tables_are_whole_and_have_the_numbers_of_the_verdict(text, fashion):
    found = tables(text)
    assert len(found) == html(text).count("<table>") == 5
    for table in found:
        assert len({len(line) for line in table}) == 1
    differences = {line[0]: line for line in found[0][2:]}
    for arm in judge(fashion).arms[1:]:
        name = f"{arm.name} (chosen)" if arm.name == "input" else arm.name
        mean = arm.differences["val_loss"].mean
        assert differences[name][1].startswith(f"−{abs(mean):.3f} (−")
        assert differences[name][-1] == "helps"
    assert [line[1:] for line in found[-1][2:]] == [
        ["0", "0", "0"],
        ["0", "0.3", "0.3"],
        ["0", "0.5", "0.2"],
        ["0.2", "0.3", "0.2"],
    ]


def test_command_digests_and_patch_are_in_full(text, fashion):
    assert "```sh\ndroplab run fashion-overfit\n```" in text
    assert f"`sha256:{fashion.recipe.digest}`" in text
    assert f"```diff\n{fashion.notes['patch']}```" in text
    assert "### Recipe" not in text, "a built-in recipe is named, not repeated"


def test_a_recipe_of_the_users_is_there_to_be_saved(fashion):
    other = replace(fashion, recipe=replace(fashion.recipe, batch_size=32), tests=(), notes={})
    text = render_markdown(other, judge(other))
    assert "droplab run recipe.toml" in text
    assert "batch_size = 32" in text.partition("```toml\n")[2].partition("```")[0]


def test_nothing_from_outside_is_read_as_markdown_or_html(fashion):
    arms = (*fashion.recipe.arms[:3], Arm("input", {"fc1": 0.2, "re:fc2|<b>fc3": 0.3}))
    story = "So it goes.\n```\n# no heading\n"
    result = replace(
        fashion,
        recipe=replace(fashion.recipe, title=EVIL, story=story, arms=arms, batch_size=32),
        tests=(),
        environment={"cpu": EVIL, EVIL: EVIL, "packages": {EVIL: EVIL}},
        notes={"patch": "@@ -1 +1 @@\n ```\n+" + EVIL, "data": '{"checksum": "`<b>"}'},
        plan={EVIL: EVIL},
        created=EVIL,
    )
    text = render_markdown(result, judge(result))
    page = html(text)
    assert not re.search(r"<(script|em|img|a|s|b|h1)\b", page)
    # The only code is that of digests and of the fenced blocks, which hold text as it is.
    assert all(
        re.fullmatch(r"sha256:[0-9a-f]+", c) for c in re.findall(r"<code>(.*?)</code>", page)
    )
    assert page.count("alert(1)") >= 5
    for table in tables(text):
        assert len({len(line) for line in table}) == 1


def test_a_run_with_little_to_show_has_its_markdown_too(fashion):
    rows = tuple(r for r in fashion.rows if r.arm == "none" and r.epoch == 1)
    bare = replace(fashion, rows=rows, tests=(), environment={}, notes={}, plan={}, members=())
    text = render_markdown(bare, judge(bare))
    assert "### Paired differences" not in text
    assert "### Before and after" in text

"""Networks trained side by side for the UCI experiments, against plain torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from droplab.ops import dropout, make_key
from tools import uci


@pytest.fixture
def data():
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(60, 3))
    target = 5 + 2 * inputs[:, 0] + generator.normal(size=60)
    order = np.stack([generator.permutation(60) for _ in range(6)])
    published = {"rmse": np.full(6, 1.0), "log_likelihood": np.full(6, -1.5)}
    return uci.Data(
        "made", inputs, target, order, np.full(6, 50), np.array([0.05, 0.1]),
        np.array([0.5, 1.0]), 2, 8, published,
    )  # fmt: skip


def jobs_of(data):
    rows = data.order[0]
    return [
        uci.Job(split, p, tau, rows[:50], rows[50:], "final")
        for split, p, tau in ((0, 0.05, 1.0), (1, 0.1, 0.5), (2, 0.3, 1.0))
    ]


def test_a_network_among_others_is_what_it_is_alone(data):
    jobs = jobs_of(data)
    together = uci.train(data, jobs, 5)
    alone = uci.train(data, jobs[1:2], 5)[0]
    for one, two in zip(together[1].parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)
    assert not torch.equal(together[0][1].weight, together[1][1].weight)


def test_training_is_that_of_plain_torch_with_weight_decay_and_the_same_masks(data):
    job = jobs_of(data)[1]
    x, y = (each[job.train] for each in uci._standardised(data, job)[:2])
    weights = [each[0].clone().requires_grad_() for each in uci._stacked(data, [job])[0]]
    optimizer = torch.optim.Adam(weights)
    decay = 1e-4 * (1 - job.p) / (2 * 50 * job.tau)
    for epoch in range(5):  # one batch holds all rows, in whatever order
        generator = torch.Generator().manual_seed(uci.stream_key(job.split, "final/order"))
        for _ in range(epoch + 1):
            order = torch.randperm(50, generator=generator)
        keys = [make_key(job.split, epoch, site=f"final/{at}") for at in range(2)]
        hidden = (dropout(x[order], job.p, key=keys[0]) @ weights[0] + weights[1]).relu()
        out = dropout(hidden, job.p, key=keys[1]) @ weights[2] + weights[3]
        loss = nn.functional.mse_loss(out.squeeze(-1), y[order])
        loss = loss + decay * (weights[0].square().sum() + weights[2].square().sum())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = uci.train(data, [job], 5)[0]
    torch.testing.assert_close(found[1].weight, weights[0].T, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found[4].bias, weights[3][0], rtol=1e-4, atol=1e-6)


def test_scores_are_those_of_the_target_s_own_unit(data):
    drawn, truth = torch.tensor([[1.0, 2.0], [3.0, 2.0]]), torch.tensor([2.0, 4.0])
    found = uci._scored(drawn.double(), truth.double(), 2.0)
    normal = torch.distributions.Normal(drawn.double(), math.sqrt(0.5))
    expected = normal.log_prob(truth.double()).exp().mean(0).log().mean()
    assert found["log_likelihood"] == pytest.approx(float(expected))
    assert found["rmse"] == pytest.approx(math.sqrt(2.0))


def test_figures_that_agree_and_that_do_not(data):
    table = uci.experiment(data, range(6), 1, 10, 20)
    assert [row["source"] for row in table] == ["plain", "Monte Carlo", "published"] * 6
    ours = [row for row in table if row["source"] == "Monte Carlo"]
    for row, shift, word in ((0, 0.0, "agrees"), (1, -3.0, "differs")):
        published = [{**each, "source": "published"} for each in ours]
        for each in published:
            each["rmse"] *= 1 + 0.001 * each["split"]
            each["log_likelihood"] += shift + 0.001 * each["split"]
        metric = list(uci.METRICS)[row]
        assert uci.agreement("made", [*ours, *published], metric).endswith(f"| {word} |")


def test_stored_splits_are_not_done_again_and_the_others_are(data, tmp_path, monkeypatch):
    path = tmp_path / "made.jsonl"
    whole = uci.continued(data, path, 1, 5, 10)
    assert [row["split"] for row in whole] == [k for k in range(6) for _ in range(3)]
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:12]), encoding="utf-8")  # splits 0 to 3
    asked = []
    ran = uci.experiment
    monkeypatch.setattr(uci, "experiment", lambda *a: asked.append(list(a[1])) or ran(*a))
    again = uci.continued(data, path, 1, 5, 10)
    assert asked == [[4, 5]]
    metrics = [[row[name] for name in uci.METRICS] for row in whole]
    assert [[row[name] for name in uci.METRICS] for row in again] == [
        pytest.approx(row, rel=1e-3) for row in metrics
    ]
    uci.continued(data, path, 1, 5, 11)  # other passes, other rows
    assert asked[1:] == [[0, 1, 2, 3], [4, 5]]


def test_rows_of_other_data_sets_stay_on_the_page():
    first = uci.tables(["| yacht | a |", "| energy | b |"], ["| yacht | c |", "| energy | d |"])
    page = f"before\n{uci.BEGIN}\n{first}\n{uci.END}\nafter"
    assert uci.others(page, ["energy"]) == (["| yacht | a |"], ["| yacht | c |"])
    assert uci.others(page, []) == (
        ["| yacht | a |", "| energy | b |"],
        ["| yacht | c |", "| energy | d |"],
    )
    assert uci.others(f"{uci.BEGIN}\n{uci.END}", ["energy"]) == ([], [])

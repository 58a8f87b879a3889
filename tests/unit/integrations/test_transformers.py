"""The Trainer of Hugging Face under a study, and rates by the names of a configuration."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from droplab import rates
from droplab.errors import ArgumentError, PlacementError
from droplab.studies import study as own_study

pytest.importorskip("transformers")
pytest.importorskip("accelerate")
pytestmark = pytest.mark.filterwarnings("ignore")  # of accelerate and of the Trainer

from transformers import (  # noqa: E402
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainingArguments,
)

from droplab.integrations import transformers  # noqa: E402

CONFIG = BertConfig(
    vocab_size=21, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
)


def made(count: int, seed: int):
    words = torch.randint(1, 21, (count, 8), generator=torch.Generator().manual_seed(seed))
    labels = ((words <= 10).sum(1) > 4).long()
    return [{"input_ids": w, "labels": y} for w, y in zip(words, labels, strict=True)]


DATA = {"train_dataset": made(40, 0), "eval_dataset": made(20, 1)}
ARMS = {
    "built": {},
    "more": {"existing": {"*dropout": 0.4}},
}


def model_init() -> nn.Module:
    return BertForSequenceClassification(CONFIG)


def begin(folder: Path, make=model_init, settings=None, **changes):
    how = {"arms": ARMS, "seeds": 2, "metrics": {"eval_loss": "lower"}, "quiet": True}
    settings = {"num_train_epochs": 2, "per_device_train_batch_size": 8, **(settings or {})}
    how |= {"training_arguments": settings, "trainer_arguments": DATA}
    return transformers.study(make, folder / "study", **{**how, **changes})


def test_arms_differ_in_dropout_alone(tmp_path: Path):
    study = begin(tmp_path, metrics={"eval_loss": "lower", "loss": "lower"})
    verdict = study.run()
    said = " ".join([verdict.headline, *verdict.caveats])
    for word in ("Not paired", "Not dropout alone", "could not be seen", "without gradients"):
        assert word not in said
    result = study.result()
    assert len(result.rows) == 2 * 2 * 2
    last = {(row.arm, row.seed): row.eval_loss for row in result.rows if row.epoch == 2}
    assert len(set(last.values())) == 4
    assert not list((tmp_path / "study" / "trainer").rglob("*.safetensors"))


def test_the_model_is_built_twice_and_only_the_last_one_has_to_fire(tmp_path: Path):
    study = begin(tmp_path, seeds=1)
    study.run()
    seen = json.loads(study.result().notes["trial/more/0"])
    assert len(seen["weights"]) == 2
    assert seen["weights"][0] == seen["weights"][1]
    assert seen["drawn"]
    assert seen["drawn"]["bert.embeddings.dropout"] == 2 * 5  # of steps, and of one model alone


def test_a_trainer_of_ones_own_gives_the_same_rows(tmp_path: Path):
    def train(trial):
        settings = TrainingArguments(
            output_dir=str(tmp_path / trial.name),
            num_train_epochs=2,
            per_device_train_batch_size=8,
            eval_strategy="epoch",
            eval_on_start=True,  # is not reported: nothing has dropped before the first step
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=trial.seed,
            data_seed=trial.seed,
        )
        trainer = Trainer(
            model_init=lambda: trial.place(model_init()),
            args=settings,
            callbacks=[transformers.report(trial)],
            **DATA,
        )
        trainer.train()
        trainer.evaluate()  # is not reported either

    metrics = {"eval_loss": "lower"}
    own = own_study(tmp_path / "own", arms=ARMS, seeds=1, metrics=metrics, quiet=True)
    own.run(train)
    ready = begin(tmp_path, seeds=1)
    ready.run()
    assert [r.values for r in own.result().rows] == [r.values for r in ready.result().rows]


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"settings": {"seed": 42}}, "training_arguments: seed is the trial's"),
        ({"metrics": {"eval_los": "lower"}}, "eval_los: expected .*did you mean 'eval_loss'"),
        ({"arms": {"built": {}, "x": {"existing": {"*atn*": 0.0}}}}, r"arms.x.existing: .*atn"),
    ],
)
def test_mistakes_are_said_in_a_sentence(tmp_path: Path, changes, wanted: str):
    study = begin(tmp_path, seeds=1, **changes)
    with pytest.raises(Exception, match=r"every trial failed|no trial can be run") as error:
        study.run()
    assert re.search(wanted, str(error.value))


def test_fields_of_a_configuration_mean_the_rates_that_they_set():
    model = model_init()
    hidden = transformers.existing(model, hidden_dropout_prob=0.3)
    attention = transformers.existing(model, attention_probs_dropout_prob=0.2)
    both = transformers.existing(model, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.2)
    assert both == hidden | attention
    assert set(hidden.values()) == {0.3}
    config = BertConfig(**{**CONFIG.to_dict(), "hidden_dropout_prob": 0.3})
    built = rates(BertForSequenceClassification(config))
    assert hidden == {name: p for name, p in built.items() if p == 0.3}
    assert rates(model) == rates(model_init())


@pytest.mark.parametrize(
    ("model", "fields", "error", "wanted"),
    [
        (model_init, {"hiden_dropout_prob": 0.3}, ArgumentError, "mean 'hidden_dropout_prob'"),
        (model_init, {"hidden_size": 0.3}, ArgumentError, "a field of BertConfig that drops"),
        (model_init, {"hidden_dropout_prob": "x"}, ArgumentError, "and a rate"),
        (nn.Identity, {"dropout": 0.3}, ArgumentError, "a model of transformers"),
    ],
)
def test_other_fields_are_refused(model, fields, error, wanted: str):
    with pytest.raises(error, match=wanted):
        transformers.existing(model(), **fields)


def test_a_field_that_nothing_follows_is_refused():
    config = BertConfig(**{**CONFIG.to_dict(), "my_dropout": 0.1})
    with pytest.raises(PlacementError, match=r"no rate of Bert.* follows my_dropout"):
        transformers.existing(BertForSequenceClassification(config), my_dropout=0.3)


def test_the_dropout_of_an_adapter_is_an_arm(tmp_path: Path):
    peft = pytest.importorskip("peft")

    def with_adapter():
        wanted = peft.LoraConfig(task_type=peft.TaskType.SEQ_CLS, r=2, lora_dropout=0.05)
        return peft.get_peft_model(model_init(), wanted)

    arms = {"built": {}, "none": {"existing": {"*lora_dropout*": 0.0}}}
    study = begin(tmp_path, with_adapter, {"num_train_epochs": 1}, arms=arms, seeds=1)
    study.run()
    seen = json.loads(study.result().notes["trial/none/0"])
    assert seen["existing"]
    assert all("lora_dropout" in name for name in seen["existing"])

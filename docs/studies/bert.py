"""A small BERT and the Trainer of Hugging Face, on sentences that are made."""

import argparse
import tempfile

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=4)
parser.add_argument("--train", type=int, default=400)
args = parser.parse_args()


def made(count, seed):
    """Twelve words each; the label is whether more than half of them are of the first ten."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(1, 21, (count, 12), generator=generator)
    labels = ((words <= 10).sum(1) > 6).long()
    return [{"input_ids": w, "labels": y} for w, y in zip(words, labels, strict=True)]


class Printer(TrainerCallback):
    """Shows the loss after each epoch."""

    def on_evaluate(self, args, state, control, metrics, **more):
        print(f"{metrics['eval_loss']:.3f}")


config = BertConfig(
    vocab_size=21, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
)
model = BertForSequenceClassification(config)
trainer = Trainer(
    model=model,
    args=TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        num_train_epochs=args.epochs,
        per_device_train_batch_size=20,
        learning_rate=1e-3,
        eval_strategy="epoch",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=42,
    ),
    train_dataset=made(args.train, 0),
    eval_dataset=made(200, 1),
    callbacks=[Printer()],
)
trainer.train()

"""Train a tiny BERT to tell even sums from odd ones, and look at the run."""

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import cirron as ci

torch.manual_seed(0)
rows = torch.randint(1, 10, (64, 8))
data = [{"input_ids": row, "labels": row.sum() % 2} for row in rows]
model = BertForSequenceClassification(
    BertConfig(vocab_size=10, hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
)

ci.profile()
trainer = Trainer(
    model,
    TrainingArguments(
        "checkpoints",
        num_train_epochs=2,
        per_device_train_batch_size=16,
        logging_steps=2,
        eval_strategy="epoch",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    ),
    train_dataset=data[:48],
    eval_dataset=data[48:],
)
trainer.train()
ci.trace()

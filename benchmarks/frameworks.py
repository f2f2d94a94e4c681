"""What recording adds to a step of other frameworks: `python benchmarks/frameworks.py`.

Each trains the same MLP of 2,372 parameters with its own loop, in a process of its own. The
time added is what the training waits; sessions are warm, without snapshots.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.table import Table
from timing import Took, Training, against_bare, step_us

import cirron as ci

ROUNDS = 15
ROWS, BATCH, EPOCHS = 1600, 16, 2
STEPS = EPOCHS * ROWS // BATCH


def _torch_data() -> tuple[Any, Any, Any]:
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 4))
    x, y = torch.randn(ROWS, 32), torch.randint(0, 4, (ROWS,))
    return model, x, y


def transformers() -> Training:
    import torch
    from transformers import Trainer, TrainingArguments

    layers, x, y = _torch_data()

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            logits = self.layers(x)
            return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

    arguments = TrainingArguments(
        tempfile.mkdtemp(),
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=BATCH,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    data = [{"x": row, "labels": label} for row, label in zip(x, y, strict=True)]
    trainer = Trainer(Classifier(), arguments, train_dataset=data)
    return Training(trainer.train, STEPS)


def lightning() -> Training:
    import lightning
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    layers, x, y = _torch_data()

    class Classifier(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers

        def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(self.layers(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.01)

    model = Classifier()
    loader = DataLoader(TensorDataset(x, y), batch_size=BATCH)

    def fit() -> None:
        lightning.Trainer(
            max_epochs=EPOCHS,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(model, loader)

    return Training(fit, STEPS)


def accelerate() -> Training:
    import torch
    from accelerate import Accelerator
    from torch.utils.data import DataLoader, TensorDataset

    model, x, y = _torch_data()
    accelerator = Accelerator(cpu=True)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    loader = DataLoader(TensorDataset(x, y), batch_size=BATCH)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)

    def loop() -> None:
        for _ in range(EPOCHS):
            for x, y in loader:
                optimizer.zero_grad()
                accelerator.backward(torch.nn.functional.cross_entropy(model(x), y))
                optimizer.step()

    return Training(loop, STEPS)


def keras() -> Training:
    import keras
    import numpy as np

    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(1)
    random = np.random.default_rng(0)
    x, y = random.normal(size=(ROWS, 32)), random.integers(0, 4, ROWS)
    layers = [keras.layers.Dense(64, activation="relu"), keras.layers.Dense(4)]
    model = keras.Sequential(layers)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    return Training(lambda: model.fit(x, y, epochs=EPOCHS, batch_size=BATCH, verbose=0), STEPS)


def sklearn_predict() -> Training:
    estimator, x, y = _estimator()
    estimator.fit(x, y)

    def predict() -> None:
        for _ in range(STEPS):
            estimator.predict(x)

    return Training(predict, STEPS, lambda: ci.wrap(estimator))


def sklearn_fit() -> Training:
    estimator, x, y = _estimator()

    def fit() -> None:
        for _ in range(STEPS):
            estimator.fit(x, y)

    return Training(fit, STEPS, lambda: ci.wrap(estimator))


def _estimator() -> tuple[Any, Any, Any]:
    import numpy as np
    from sklearn.linear_model import LinearRegression

    random = np.random.default_rng(0)
    return LinearRegression(), random.normal(size=(20, 4)), random.normal(size=20)


# name: (package, what trains, environment)
CASES: dict[str, tuple[str, Callable[[], Training], dict[str, str]]] = {
    "transformers' Trainer": ("transformers", transformers, {}),
    "Lightning's Trainer": ("lightning", lightning, {}),
    "a loop with accelerate": ("accelerate", accelerate, {}),
    "Keras' fit on TensorFlow": ("keras", keras, {"KERAS_BACKEND": "tensorflow"}),
    "Keras' fit on torch": ("keras", keras, {"KERAS_BACKEND": "torch"}),
    "a wrapped estimator's predict": ("scikit-learn", sklearn_predict, {}),
    "a wrapped estimator's fit": ("scikit-learn", sklearn_fit, {}),
}


def measure(make: Callable[[], Training]) -> tuple[Took, Took]:
    """(what a recorded step has more, a bare one), in this process."""
    warnings.simplefilter("ignore")
    bare = make()
    with tempfile.TemporaryDirectory() as path:

        def recorded() -> Took:
            with ci.profile(path=path, snapshots="none"):
                bare.begin()
                bare.run()
                return step_us(bare)

        return against_bare(bare, 1, recorded, ROUNDS)


def measure_apart(name: str) -> tuple[Took, Took]:
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    environment = {**os.environ, **quiet, **CASES[name][2]}
    output = subprocess.run(
        [sys.executable, __file__, name],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ).stdout
    more, bare = json.loads(output.splitlines()[-1])
    return Took(*more), Took(*bare)


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(measure(CASES[sys.argv[1]][1])))
        return
    console = Console(width=None if os.isatty(1) else 120)
    table = Table("a step of", "version", "added", "ratio", "added CPU", "bare", title="Frameworks")
    for name, (package, _, _) in CASES.items():
        with console.status(name):
            more, bare = measure_apart(name)
        table.add_row(
            name,
            version(package),
            f"{more.wall:+.1f} us",
            f"{more.wall / bare.wall:+.2%}",
            f"{more.cpu:+.1f} us",
            f"{bare.wall:.0f} us",
        )
    console.print(table)
    console.print(f"CPython {platform.python_version()}, {os.cpu_count()} cores.")


if __name__ == "__main__":
    main()

"""Train a line with Lightning, and look at the run."""

import lightning
import torch
from torch.utils.data import DataLoader, TensorDataset

import cirron as ci


class Line(lightning.LightningModule):
    """y = a x + b."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, index):
        """Returns the loss of a batch."""
        loss = torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        """Returns the optimizer."""
        return torch.optim.SGD(self.parameters(), 0.1)


x = torch.linspace(0, 1, 64).reshape(-1, 1)
loader = DataLoader(TensorDataset(x, 3 * x + 1), batch_size=32, num_workers=0)

ci.profile()
trainer = lightning.Trainer(max_epochs=2, accelerator="cpu", logger=False)
trainer.fit(Line(), loader)
ci.trace()

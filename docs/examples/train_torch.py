"""Train a small network with PyTorch, as anybody would, and look at the run."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import cirron as ci

ci.profile()  # the only line for the recording

torch.manual_seed(0)
torch.set_num_threads(1)  # the fastest for so small a network
points = torch.randn(512, 2)
inside = (points.norm(dim=1) < 1).long()  # which points lie in a circle
train = DataLoader(TensorDataset(points[:384], inside[:384]), batch_size=64, shuffle=True)
test = DataLoader(TensorDataset(points[384:], inside[384:]), batch_size=64)

model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
loss_of = nn.CrossEntropyLoss()

for _epoch in range(3):
    model.train()
    for x, y in train:
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        ci.mark("loss", loss.item())

    model.eval()
    with torch.no_grad(), ci.scope("validation"):
        right = sum(int((model(x).argmax(1) == y).sum()) for x, y in test)
        ci.mark("accuracy", right / 128, kind="summary")

ci.trace()

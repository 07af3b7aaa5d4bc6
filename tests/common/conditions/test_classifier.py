import torch
from torch import nn

from common.conditions.classifier import train


class Everything(nn.Module):
    """A judge of many kinds of layers."""

    def __init__(self):
        super().__init__()
        self.words, self.norm, self.batch = nn.Embedding(5, 4), nn.LayerNorm(4), nn.BatchNorm1d(4)
        self.memory, self.last = nn.GRU(4, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, x):
        h = self.batch(self.norm(self.words(x)).transpose(1, 2)).transpose(1, 2)
        return self.last(self.memory(h)[0][:, -1])


def trained(shift):
    """Weights after a short training of a judge whose weights were shifted before."""
    judge = Everything()
    with torch.no_grad():
        for weight in judge.parameters():
            weight.add_(shift)
    train(judge, lambda: judge(torch.randint(5, (6, 7))).square().mean(), steps=3, seed=1, weight_decay=0.01)
    return judge.state_dict()


def test_a_judge_is_trained_from_fresh_weights_whatever_it_was():
    one, other = trained(0.0), trained(3.0)
    assert all(torch.equal(one[name], other[name]) for name in one)

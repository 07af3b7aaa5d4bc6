import os

import pytest
import torch
from torch import nn

from common.conditions.classifier import load_or_train, train


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


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 8
    file.write_bytes(content)


def test_a_trained_judge_is_loaded_and_frozen(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path))
    first, second = nn.Linear(3, 2), nn.Linear(3, 2)
    load_or_train(first, "linear", lambda: nn.init.ones_(first.weight))
    load_or_train(second, "linear", lambda: pytest.fail("trained twice"))
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)
    assert not second.training
    assert not second.weight.requires_grad


@pytest.mark.parametrize("damage", [flip, lambda file: os.truncate(file, 200), lambda file: os.truncate(file, 0)])
def test_a_damaged_judge_is_named_and_trained_again_and_never_read(tmp_path, monkeypatch, damage):
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path))
    judge = nn.Linear(3, 2)
    load_or_train(judge, "linear", lambda: nn.init.ones_(judge.weight))
    stored = (tmp_path / "judges" / "linear.pt").read_bytes()
    damage(tmp_path / "judges" / "linear.pt")
    read, load = [], torch.load
    monkeypatch.setattr(torch, "load", lambda path, **options: read.append(path.read_bytes()) or load(path, **options))
    with pytest.warns(UserWarning, match=r"judges/linear\.pt is damaged .*, and is made again"):
        load_or_train(judge, "linear", lambda: nn.init.ones_(judge.weight))
    assert read == [stored]
    assert judge.weight.eq(1).all()


def test_a_cache_that_cannot_be_written_is_named_before_a_judge_is_trained(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match=r"linear\.pt is not there, and .*set \$SUITE_CACHE"):
        load_or_train(nn.Linear(3, 2), "linear", lambda: pytest.fail("trained in vain"))

import pytest
import torch
from torch.optim import SGD, Adagrad, Adam, AdamW, RMSprop

from common.training.optimizers import Factories, fused


def parameters(count=3):
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(4, 3)) for _ in range(count)]


def stepped(optimizer, weights):
    torch.manual_seed(1)
    for _ in range(5):
        for weight in weights:
            weight.grad = torch.randn_like(weight)
        optimizer.step()
    return torch.stack([weight.detach().clone() for weight in weights])


@pytest.mark.parametrize("kind", [Adam, AdamW, SGD, Adagrad])
def test_steps_in_one_kernel_are_those_of_the_optimiser(kind):
    plain, one = parameters(), parameters()
    groups = [{"params": one[:1], "lr": 0.3}, {"params": one[1:]}]
    kernel = fused(kind(groups, lr=0.01, weight_decay=0.1))
    assert type(kernel) is kind
    assert [(group["fused"], group["lr"]) for group in kernel.param_groups] == [(True, 0.3), (True, 0.01)]
    expected = stepped(
        kind([{"params": plain[:1], "lr": 0.3}, {"params": plain[1:]}], lr=0.01, weight_decay=0.1), plain
    )
    assert torch.allclose(stepped(kernel, one), expected, atol=1e-6)


def test_what_a_person_has_chosen_and_what_has_no_kernel_stays():
    for optimizer in (Adam(parameters(), foreach=True), Adam(parameters(), fused=False), RMSprop(parameters())):
        assert fused(optimizer) is optimizer


def test_a_class_of_ones_own_keeps_its_steps():
    class Own(AdamW):
        def __init__(self, params, needed):
            super().__init__(params)

    optimizer = Own(parameters(), 1)
    assert fused(optimizer) is optimizer


def test_gradients_that_a_scaler_clips_need_steps_of_several_kernels():
    for fuse in (True, None):
        made = Factories(AdamW, None).make(iter(parameters()), lambda: 1, bool(fuse))
        assert made.param_groups[0]["fused"] is fuse

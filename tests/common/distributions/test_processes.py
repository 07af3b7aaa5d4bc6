"""Running averages of a training in two processes are those of one that sees the whole batch."""

import pytest
import torch
import torch.distributed
from torch.distributions import Independent, Normal

from common.conditions.attributes import Categorical
from common.distributions.likelihoods import Gaussian, log_prob
from common.distributions.processes import mean_over_processes
from common.objectives.invariance import InformationPenalty

ROWS = 12


def averages(rows):
    """Two steps on some rows of the data: sigma of each value, averages of the penalty, its values and its gradient."""
    generator = torch.Generator().manual_seed(0)
    x, scale = torch.randn(ROWS, 3, generator=generator), torch.rand(ROWS, 2, generator=generator) + 0.1
    mask = torch.rand(ROWS, 3, generator=generator) < 0.7
    weight = torch.randn(3, 2, generator=generator).requires_grad_()
    kind = torch.tensor([0] * 4 + [-1] * 2 + [0] * 2 + [1] * 3 + [-1])  # the second kind is in the second half alone
    sigma = Gaussian("optimal", momentum=0.25, shape=[3]).train()
    penalty = InformationPenalty(momentum=0.25)
    penalty.build(2, {"kind": Categorical(["a", "b", "c"])})
    values = []
    for step in range(2):
        log_prob(sigma(torch.full((len(x[rows]), 3), float(step)), 1), x[rows], mask[rows])
        mean = x[rows] @ weight
        value = penalty(mean, Independent(Normal(mean, scale[rows]), 1), {"kind": kind[rows]})
        value.backward()
        values.append(value.item())
    return {
        "sigma": sigma.log_sigma, "first": penalty.first, "second": penalty.second, "share": penalty.share,
        "values": torch.tensor(values), "gradient": weight.grad,
    }  # fmt: skip


def work(rank, folder):
    meeting = f"file://{folder}/meeting"
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    half = ROWS // 2
    found = averages(slice(rank * half, (rank + 1) * half))
    found["gradient"] = found["gradient"].clone()
    torch.distributed.all_reduce(found["gradient"])  # as training does
    found["gradient"] /= 2
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_keep_the_averages_of_one(tmp_path):
    torch.multiprocessing.spawn(work, (tmp_path,), nprocs=2)
    one = averages(slice(None))
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found.keys() == one.keys()
        for name, value in one.items():
            assert torch.allclose(found[name], value, rtol=1e-4, atol=1e-6), name


def test_the_mean_over_one_process_is_the_tensor_itself():
    values = torch.randn(3, requires_grad=True)
    assert mean_over_processes(values) is values
    mean_over_processes(values).sum().backward()
    assert values.grad.tolist() == pytest.approx([1.0] * 3)

"""Unobserved values: whatever stands in their place changes nothing."""

import torch

from common.batch import Batch
from tests.common.models import PointCVAE


def test_hidden_values_change_neither_the_elbo_nor_the_likelihood_nor_imputations():
    model = PointCVAE().eval()
    mask = torch.tensor([[True, False, True], [False, True, True], [True, True, True]])
    x = torch.randn(3, 3)
    found = []
    for hidden in (0.0, 1e3, float("nan")):
        batch = Batch(torch.where(mask, x, hidden), {}, mask)
        torch.manual_seed(1)
        filled = model.impute(batch, 2)
        results = [model.elbo(batch).kl, model.log_likelihood(batch, 20), model.reconstruct(batch), filled]
        found.append([result.detach() for result in results])
    for other in found[1:]:
        for first, second in zip(found[0], other, strict=True):
            assert torch.equal(first, second)


def test_shown_fills_in_what_is_hidden():
    batch = Batch(torch.ones(1, 2), {}, torch.tensor([[True, False]]))
    assert batch.shown(7.0).x.tolist() == [[1, 7]]
    assert Batch(torch.ones(1, 2), {}).shown(7.0).x.tolist() == [[1, 1]]

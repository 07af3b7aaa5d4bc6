"""Frechet distance between two sets of features."""

import torch
from torch import Tensor, nn


class _Features(nn.Module):
    """Takes the place of torchmetrics' feature network and returns the given features unchanged."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distance(real: Tensor, generated: Tensor) -> float:
    """|m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)) of features [N, F] and [M, F].

    In the features of the suite's own judges: comparable within one data set and judge, never with an Inception FID.
    Source: Heusel et al. 2017, equation 6.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance  # which imports every metric there is

    # Every process has all features already: a sum over processes would count them twice.
    metric = FrechetInceptionDistance(feature=_Features(real.shape[1]), sync_on_compute=False)
    metric.set_dtype(torch.float64)
    metric.update(real.double(), real=True)
    metric.update(generated.double(), real=False)
    return float(metric.compute())

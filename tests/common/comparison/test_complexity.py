"""Costs of models whose size is known."""

import sys

import pytest
import torch

from common.batch import Batch
from common.comparison.complexity import cost, random_conditions, with_conditions
from common.conditions.attributes import Categorical
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.networks import MLP

DIM, HIDDEN, LATENT, PIXELS = 6, 10, 3, 64


@pytest.fixture
def model():
    encoder = AttributeEncoder({"digit": Categorical(("0", "1"))}, dim=DIM)
    return ImageCVAE(encoder, (1, 8, 8), LATENT, architecture=MLP([HIDDEN]))


@pytest.fixture
def batch():
    return Batch(torch.rand(4, 1, 8, 8).round(), {"digit": torch.zeros(4, dtype=torch.int64)})


def test_conditions_add_their_embeddings_and_nothing_else(model):
    sizes = {count: sum(p.numel() for p in with_conditions(model, count).parameters()) for count in (1, 2, 5)}
    # 10 values and none; each widens the first layer of the mixing network.
    each = 11 * DIM + DIM * DIM
    assert sizes[2] - sizes[1] == each
    assert sizes[5] - sizes[1] == 4 * each


def test_a_forward_pass_has_the_flops_of_its_matrices(model, batch):
    counted = cost(with_conditions(model, 1), batch, [1], steps=3)
    matrices = [(DIM, DIM), (DIM, DIM), (PIXELS + DIM, HIDDEN), (HIDDEN, 2 * LATENT)]
    matrices += [(LATENT + DIM, HIDDEN), (HIDDEN, PIXELS)]
    assert counted.flops == 2 * sum(inputs * outputs for inputs, outputs in matrices)
    assert counted.conditions == 1
    assert counted.step > 0
    assert counted.evaluation.keys() == {1}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can set the peak back")
def test_the_peak_of_a_training_is_not_what_the_process_took_before(model, batch):
    del (before := [torch.ones(256 * 2**18)])[:]  # 256 MB, given back at once
    assert before == []
    assert -50 < cost(with_conditions(model, 1), batch, [1], steps=3).peak_memory < 100


def test_random_conditions_are_read_by_the_model(model, batch):
    three = with_conditions(model, 3)
    fields = random_conditions(batch, three).condition
    assert {"condition0", "condition1", "condition2"} <= set(fields)
    assert three.condition(fields).vector.shape == (4, DIM)
    assert with_conditions(model, 0).condition.attributes == {}

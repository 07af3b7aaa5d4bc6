"""Weights in another network: by name of weight, category and column."""

import torch
from torch import nn

from common.conditions.attributes import Categorical, Continuous
from common.conditions.encoders import FieldEncoder
from common.nn.transplant import taken, transplant

OLD = {"pet": Categorical(["bird", "cat"]), "age": Continuous(40.0, 10.0)}
FIELDS = {"pet": torch.tensor([0, 1, -1]), "age": torch.tensor([30.0, float("nan"), 50.0])}


def encoder(attributes, **options):
    return FieldEncoder(attributes, dim=6, **options)


def test_equal_networks_become_equal():
    old, new = encoder(OLD), encoder(OLD)
    report = transplant(new, old)
    assert not report.fresh + report.resized + report.unused
    assert torch.equal(new(FIELDS).vector, old(FIELDS).vector)


def test_known_categories_keep_their_embeddings_in_whatever_order():
    old, new = encoder(OLD), encoder({"age": OLD["age"], "pet": Categorical(["dog", "cat", "bird"])})
    report = transplant(new, old)
    moved = {"pet": torch.tensor([2, 1, -1]), "age": FIELDS["age"]}
    torch.testing.assert_close(new(moved).vector, old(FIELDS).vector)
    assert [name.split()[0] for name in report.resized] == ["mix.0.weight", "embeddings.embeddings.1.table.weight"]
    assert not report.fresh


def test_a_further_condition_starts_fresh_and_a_lost_one_is_left_out():
    old = encoder(OLD)
    more = encoder({**OLD, "size": Categorical(["s", "l"])})
    before = more.embeddings.embeddings[2].table.weight.clone()
    report = transplant(more, old)
    assert torch.equal(more.embeddings.embeddings[2].table.weight, before)
    assert [name.split()[0] for name in report.fresh] == ["embeddings.embeddings.2.table.weight"]
    fewer = encoder({"age": OLD["age"]})
    report = transplant(fewer, old)
    assert torch.equal(fewer.mix[0].weight, old.mix[0].weight[:, 6:])
    assert any(name.startswith("embeddings.embeddings.1") for name in report.unused)


def test_an_unconditional_network_lends_no_mixture_to_a_conditional_one():
    new = encoder({"pet": OLD["pet"]})
    before = new.mix[0].weight.clone()
    transplant(new, encoder(OLD, use=[]))
    assert torch.equal(new.mix[0].weight, before)


def test_a_weight_of_another_shape_stays_fresh_and_positions_are_taken_as_far_as_they_go():
    old = nn.ModuleDict({"head": nn.Linear(3, 4), "position": nn.Embedding(5, 2)})
    new = nn.ModuleDict({"head": nn.Linear(6, 4), "position": nn.Embedding(8, 2)})
    weight = new["head"].weight.clone()
    report = transplant(new, old)
    assert torch.equal(new["head"].weight, weight)
    assert torch.equal(new["head"].bias, old["head"].bias)
    assert torch.equal(new["position"].weight[:5], old["position"].weight)
    assert report.fresh == ["head.weight 4x6: the checkpoint's is 4x3"]
    assert report.resized == ["position.weight 8x2 of 5x2: the first 5 rows"]


def test_entries_are_taken_along_a_dimension():
    old, new = torch.arange(6.0).view(2, 3), torch.zeros(2, 4)
    assert taken(new, old, {3: 0, 0: 2}, dim=1).tolist() == [[2, 0, 0, 0], [5, 0, 0, 3]]
    assert torch.equal(taken(new, torch.ones(3, 3), {0: 0}, dim=1), new)

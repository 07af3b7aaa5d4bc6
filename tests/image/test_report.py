import numpy as np
import pytest
import torch

from common.batch import Batch
from common.conditions.attributes import Categorical, Continuous
from common.distributions.likelihoods import Gaussian
from common.distributions.priors import ConditionalNormal
from common.evaluation.media import labelled
from modalities.image import AttributeEncoder, ImageCVAE, ObservedPixelsEncoder, report
from modalities.image.completion import Completion, Hole
from modalities.image.data import Digits
from modalities.image.networks import MLP
from modalities.image.report import ImageReport


def encoder(**options):
    return AttributeEncoder({"digit": Categorical(range(10))}, dim=8, **options)


def test_media_show_reconstructions_conditions_and_a_traversal(digits):
    model = ImageCVAE(encoder(), architecture=MLP([16])).eval()
    pictures = ImageReport().media(model, digits.batch("val", 20)).pictures
    assert pictures.keys() == {"reconstructions", "samples", "traversal"}
    width, height = pictures["samples"].size
    assert width > 10 * 56
    assert height > 10 * 56  # ten digits, ten samples each
    assert np.asarray(pictures["samples"]).std() > 10  # not a blank page


def test_a_continuous_attribute_is_swept_from_left_to_right():
    attributes = {"age": Continuous(30.0, 15.0, 1.0, 90.0), "gender": Categorical(("male", "female"))}
    model = ImageCVAE(AttributeEncoder(attributes), (3, 16, 16), architecture=MLP([16]), likelihood=Gaussian()).eval()
    batch = Batch(torch.rand(4, 3, 16, 16), {"age": torch.rand(4) * 50, "gender": torch.tensor([0, 1, 0, 1])})
    picture = ImageReport().media(model, batch).pictures["samples"]
    assert picture.size[0] > picture.size[1]  # ten ages, two rows for each gender


@pytest.mark.parametrize(
    ("attributes", "title", "columns"),
    [
        ({"digit": Categorical(range(10))}, "samples by digit, the same noise in each column", []),
        ({}, "samples, no condition", []),
        (
            {"smile": Continuous(0.5, 1.0, 0.0, 0.9)},
            "samples, smile from left to right, the same noise in each row",
            ["0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9"],
        ),
        (
            {"year": Continuous(1990.0, 20.0, 1980.0, 1998.0)},
            "samples, year from left to right, the same noise in each row",
            ["1980", "1982", "1984", "1986", "1988", "1990", "1992", "1994", "1996", "1998"],
        ),
    ],
)
def test_a_grid_says_what_its_rows_share_and_what_its_columns_are(monkeypatch, attributes, title, columns):
    seen = []
    monkeypatch.setattr(report, "labelled", lambda *parts: seen.append(parts) or labelled(*parts))
    model = ImageCVAE(AttributeEncoder(attributes), (1, 8, 8), 4, architecture=MLP([16])).eval()
    report.conditions_picture(model)
    assert seen[0][2:] == (title, columns)


def test_samples_without_a_condition_are_all_different():
    model = ImageCVAE(AttributeEncoder({}), (1, 8, 8), 4, architecture=MLP([16])).eval()
    noise = report._noise(4, 4, by_row=False, by_column=False, seed=0)
    assert len(noise.flatten(0, 1).unique(dim=0)) == 40
    assert report.conditions_picture(model).size[0] > 10 * 56


def test_media_show_completions():
    digits = Completion(Digits(50, "dynamic"), Hole())
    model = ImageCVAE(
        ObservedPixelsEncoder(digits.attributes), latent_dim=4, architecture=MLP([16]), prior=ConditionalNormal(8)
    )
    assert set(ImageReport().media(model, digits.batch("val", 8)).pictures) == {"reconstructions", "completions"}

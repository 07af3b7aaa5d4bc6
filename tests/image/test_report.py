import numpy as np
import torch

from common.batch import Batch
from common.conditions.attributes import Categorical, Continuous
from common.distributions.likelihoods import Gaussian
from common.distributions.priors import ConditionalNormal
from modalities.image import AttributeEncoder, ImageCVAE, ObservedPixelsEncoder
from modalities.image.completion import Completion, Hole
from modalities.image.data import Digits
from modalities.image.networks import MLP
from modalities.image.report import ImageReport


def encoder(**options):
    return AttributeEncoder({"digit": Categorical(range(10))}, dim=8, **options)


def test_media_show_reconstructions_conditions_and_a_traversal(digits):
    model = ImageCVAE(encoder(), architecture=MLP([16])).eval()
    pictures = ImageReport().media(model, digits.batch("val", 20)).pictures
    assert pictures.keys() == {"reconstructions", "conditions", "traversal"}
    width, height = pictures["conditions"].size
    assert width > 10 * 56
    assert height > 10 * 56  # ten digits, ten samples each
    assert np.asarray(pictures["conditions"]).std() > 10  # not a blank page


def test_a_continuous_attribute_is_swept_from_left_to_right():
    attributes = {"age": Continuous(30.0, 15.0, 1.0, 90.0), "gender": Categorical(("male", "female"))}
    model = ImageCVAE(AttributeEncoder(attributes), (3, 16, 16), architecture=MLP([16]), likelihood=Gaussian()).eval()
    batch = Batch(torch.rand(4, 3, 16, 16), {"age": torch.rand(4) * 50, "gender": torch.tensor([0, 1, 0, 1])})
    picture = ImageReport().media(model, batch).pictures["conditions"]
    assert picture.size[0] > picture.size[1]  # ten ages, two rows for each gender


def test_media_show_completions():
    digits = Completion(Digits(50, "dynamic"), Hole())
    model = ImageCVAE(
        ObservedPixelsEncoder(digits.attributes), latent_dim=4, architecture=MLP([16]), prior=ConditionalNormal(8)
    )
    assert set(ImageReport().media(model, digits.batch("val", 8)).pictures) == {"reconstructions", "completions"}

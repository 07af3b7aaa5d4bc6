import numpy as np
import pytest
import torch
from PIL import Image

from common.conditions.attributes import Categorical
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.files import ImageFormat
from modalities.image.networks import MLP


def encoder(**options):
    return AttributeEncoder({"digit": Categorical(range(10))}, dim=8, **options)


def test_samples_are_written_as_a_grid_or_an_array_and_nothing_else(tmp_path):
    model = ImageCVAE(encoder(), architecture=MLP([16])).eval()
    samples = model.sample({"digit": 1}, num_samples=9)[:, 0]
    ImageFormat().write(model, samples, tmp_path / "new" / "grid.png")
    assert Image.open(tmp_path / "new" / "grid.png").size == (4 * 58 + 2, 3 * 58 + 2)  # doubled, two pixels apart
    ImageFormat().write(model, samples, tmp_path / "array.npz")
    assert np.allclose(np.load(tmp_path / "array.npz")["samples"], samples)
    with pytest.raises(ValueError, match=r"\.png .* or \.npz"):
        ImageFormat().write(model, samples, tmp_path / "samples.txt")


def test_samples_by_name_are_written_as_they_are(tmp_path):
    model = ImageCVAE(encoder(), architecture=MLP([16])).eval()
    samples = model.sample({"digit": ["3", "5"]}, num_samples=4)
    assert samples.shape == (4, 2, 1, 28, 28)
    ImageFormat().write(model, samples, tmp_path / "array.npz")
    assert np.allclose(np.load(tmp_path / "array.npz")["samples"], samples.flatten(0, 1))
    ImageFormat().write(model, samples, tmp_path / "grid.png")
    assert Image.open(tmp_path / "grid.png").size == (4 * 58 + 2, 2 * 58 + 2)
    ImageFormat().write(model, samples[0, 0], tmp_path / "one.npz")
    assert np.load(tmp_path / "one.npz")["samples"].shape == (1, 1, 28, 28)
    with pytest.raises(ValueError, match="condition digit: 12 is no position"):
        model.sample({"digit": 12})


def test_a_scored_image_is_its_file(digits, tmp_path):
    model = ImageCVAE(encoder(), architecture=MLP([16])).eval()
    Image.fromarray((digits.examples.x[0, 0] * 255).byte().numpy()).save(tmp_path / "digit.png")
    batch = ImageFormat().read_batch(model, [tmp_path / "digit.png"], model.condition.parse({"digit": "0"}))
    table = ImageFormat().score_table(model, tmp_path / "digit.png", batch, torch.tensor([91.5]), {"digit": "0"})
    assert table == {"file": [str(tmp_path / "digit.png")], "digit": ["0"], "nll_nats": [91.5]}


def test_a_file_is_read_at_the_size_and_channels_of_the_model(tmp_path):
    Image.new("RGB", (50, 40), (255, 0, 0)).save(tmp_path / "red.png")
    model = ImageCVAE(encoder(), shape=(3, 16, 16), architecture=MLP([16]))
    image = ImageFormat().read(model, tmp_path / "red.png")
    assert image.shape == (1, 3, 16, 16)
    assert image.mean(dim=(0, 2, 3)).tolist() == [1.0, 0.0, 0.0]
    (tmp_path / "broken.png").write_text("no image")
    with pytest.raises(ValueError, match=r"broken\.png cannot be read"):
        ImageFormat().read(model, tmp_path / "broken.png")

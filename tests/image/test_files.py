import numpy as np
import pytest
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


def test_a_file_is_read_at_the_size_and_channels_of_the_model(tmp_path):
    Image.new("RGB", (50, 40), (255, 0, 0)).save(tmp_path / "red.png")
    model = ImageCVAE(encoder(), shape=(3, 16, 16), architecture=MLP([16]))
    image = ImageFormat().read(model, tmp_path / "red.png")
    assert image.shape == (1, 3, 16, 16)
    assert image.mean(dim=(0, 2, 3)).tolist() == [1.0, 0.0, 0.0]
    (tmp_path / "broken.png").write_text("no image")
    with pytest.raises(ValueError, match=r"broken\.png cannot be read"):
        ImageFormat().read(model, tmp_path / "broken.png")

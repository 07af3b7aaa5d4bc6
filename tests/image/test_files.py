import numpy as np
import pytest
import torch
from PIL import Image

from common.conditions.attributes import Categorical
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.collections import decode_images
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


def test_a_scored_image_has_the_pixels_of_its_training(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    pixels = np.random.default_rng(0).integers(0, 256, (20, 50, 4), dtype=np.uint8)
    exif = Image.Exif()
    exif[274] = 6  # turned by a quarter
    Image.fromarray(pixels).save(tmp_path / "photo.png", exif=exif)
    deep = pixels[..., 0].astype(np.uint16) * 250
    Image.fromarray(deep).save(tmp_path / "deep.png")
    for channels in (1, 3):
        model = ImageCVAE(encoder(), shape=(channels, 16, 16), architecture=MLP([16]))
        for name in ("photo.png", "deep.png"):
            trained = decode_images([tmp_path / name], 16, channels).x.float() / 255
            assert torch.equal(ImageFormat().read(model, tmp_path / name), trained)


def test_a_missing_image_is_said_to_be_missing(tmp_path):
    model = ImageCVAE(encoder(), shape=(3, 16, 16), architecture=MLP([16]))
    with pytest.raises(FileNotFoundError, match=r"a\.png does not exist"):
        ImageFormat().read(model, tmp_path / "a.png")


def test_values_beyond_black_and_white_are_clipped_in_a_picture_and_kept_in_an_array(tmp_path):
    model = ImageCVAE(encoder(), shape=(1, 56, 56), architecture=MLP([16]))
    samples = torch.tensor([-0.5, 0.5, 1.5]).view(3, 1, 1, 1).expand(3, 1, 56, 56)
    ImageFormat().write(model, samples, tmp_path / "a.png")
    grid = np.asarray(Image.open(tmp_path / "a.png").convert("L"))
    assert [grid[30, 30], grid[30, 88], grid[30, 146]] == [0, 128, 255]
    ImageFormat().write(model, samples, tmp_path / "a.npz")
    assert np.load(tmp_path / "a.npz")["samples"][:, 0, 0, 0].tolist() == [-0.5, 0.5, 1.5]

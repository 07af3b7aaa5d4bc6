"""Run folders made of real files, and a browser that opens pages."""

import base64
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from common.dashboard.page import Content, write_page
from common.dashboard.runs import Problems, read_runs, run_folders
from common.evaluation.media import Sound
from common.evaluation.media_files import MediaFile, append_media
from common.results import Measurement, Results, RunInfo

INFO = RunInfo("id", "digits", "image", 0, "abc", "h0", "d0", "2026-01-01T00:00:00", 61.5, "cpu", 900.0, 1_894_625)
CHROMIUM = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--autoplay-policy=no-user-gesture-required"]  # fmt: skip
HOSTILE = "<script>window.broken = 1</script>\"'&"


def metrics_csv(epochs=3, offset=0.0):
    """A metrics.csv as Lightning writes it: rows of learning rates, of training and of validation."""
    lines = ["epoch,lr-AdamW,step,train/loss,val/elbo,val/kl"]
    for epoch in range(epochs):
        step = 10 * epoch + 9
        lines.append(f",{0.01 / (epoch + 1)},{step},,,")
        lines.append(f"{epoch},,{step},{200 / (epoch + 1) + offset},,")
        lines.append(f"{epoch},,{step},,{-150 / (epoch + 1) - offset},{epoch + offset}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def write_run():
    """Writes the folder of a run: figures, curves, configuration and media."""

    def write(root, identity, nll=90.0, epochs=(1, 2, 3), latent_dim=8, offset=0.0, **info):
        name, modality = info.get("name", INFO.name), info.get("modality", INFO.modality)
        folder = root / modality / name / identity
        samples = folder / "samples"
        samples.mkdir(parents=True)
        figures = {
            "test/nll": Measurement(nll, 1.25, 500, "nats", "importance sampling, 200 samples"),
            "test/kl": Measurement(12345.6, 2.0, 500, "nats", "closed form"),
            "test/rewrite/accuracy": Measurement(0.75, None, 40, "accuracy", "frozen judge"),
        }
        described = RunInfo(**{**INFO.__dict__, "id": identity, "name": name, **info})
        Results(described, figures, {"control": "no judge"}).write(folder / "results.json")
        (folder / "metrics.csv").write_text(metrics_csv(offset=offset))
        (folder / "config.yaml").write_text(yaml.safe_dump({"model": {"latent_dim": latent_dim, "free_bits": 0.0}}))
        for when, epoch in [*((f"epoch-{epoch:04d}", epoch) for epoch in epochs), ("test", epochs[-1])]:
            colour = (255, 0, 0) if when == "test" else (0, 0, 40 * epoch)
            Image.new("RGB", (200, 100), colour).save(samples / f"{when}-conditions.png")
            Image.new("RGB", (120, 60), colour).save(samples / f"{when}-sample-0-mel.png")
            wave = 0.3 * torch.sin(torch.arange(16_000) * 0.1 * (1 + epoch))
            Sound(wave, 16_000).save(samples / f"{when}-sample-0.wav")
            (samples / f"{when}-rewritings.csv").write_text(f"style,text\nkjv,thou art {when}\nweb,you are {when}\n")
            step = 10 * epoch
            caption = f"digits 0 to 9 at {when}"
            mel = f"{when}-sample-0-mel.png"
            append_media(samples, [
                MediaFile(f"{when}-conditions.png", when, epoch, step, "picture", "conditions", caption),
                MediaFile(mel, when, epoch, step, "picture", "sample-0-mel", "mel"),
                MediaFile(f"{when}-sample-0.wav", when, epoch, step, "sound", "sample-0", "genre=reel", mel),
                MediaFile(f"{when}-rewritings.csv", when, epoch, step, "table", "rewritings"),
            ])  # fmt: skip
        return folder

    return write


@pytest.fixture(scope="session")
def ten_runs(tmp_path_factory, write_run):
    """The page of ten runs with ten curves of 2,000 points each, sounds, and pictures that cannot be compressed."""
    root, noise = tmp_path_factory.mktemp("ten"), np.random.default_rng(0)
    for number in range(10):
        folder = write_run(root, str(number), seed=number)
        pixels = noise.integers(0, 255, (600, 600, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "samples/test-noise.png", compress_level=0)
        Sound(torch.rand(16_000 * 5) - 0.5, 16_000).save(folder / "samples/test-long.wav")
        append_media(folder / "samples", [
            MediaFile("test-noise.png", "test", 9, 9, "picture", "noise"),
            MediaFile("test-long.wav", "test", 9, 9, "sound", "long"),
        ])  # fmt: skip
        columns = [f"train/metric-{number}" for number in range(10)]
        table = pd.DataFrame(noise.normal(size=(2000, 10)), columns=columns).rename_axis("step")
        table.assign(epoch=0).to_csv(folder / "metrics.csv")
    problems = Problems()
    return write_page(Content("ten runs", read_runs(run_folders([root]), problems)), root / "out", problems)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Chromium without a window, for the whole session."""
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        pytest.skip("chromium and chromedriver are not installed (Debian: apt install chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in [*CHROMIUM, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"]:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def data_of(uri):
    """The bytes of a data URI."""
    return base64.b64decode(uri.partition(",")[2])

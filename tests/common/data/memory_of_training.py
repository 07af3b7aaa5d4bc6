"""Trains a small model on a folder for an epoch, and prints the memory of the process that is no file's, in MB.

`python memory_of_training.py image|audio FOLDER`
"""

import sys
from pathlib import Path

import lightning.pytorch as pl

from common.data.overview import overview
from common.distributions.likelihoods import Gaussian
from common.process_memory import private_memory_mb
from modalities.audio import AudioGenreCVAE, GenreEncoder
from modalities.audio.data import AudioFiles
from modalities.audio.networks.convolutions import SpectrogramConv
from modalities.audio.signal.features import LogMel
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.data import ImageFolder
from modalities.image.networks import MLP

SMALL = SpectrogramConv(channels=4, width=16, depth=1)
FEATURES = LogMel(sample_rate=8000, samples=2048, n_fft=512, hop=256, mels=16, high=4000.0)


def main(kind, root):
    if kind == "image":
        data = ImageFolder(root, size=16, batch_size=100)
        model = ImageCVAE(AttributeEncoder(data.attributes), data.shape, 4, MLP([16]), Gaussian(0.3))
    else:
        data = AudioFiles(root, features=FEATURES, batch_size=100)
        model = AudioGenreCVAE(GenreEncoder(data.attributes), data.features, latent_dim=4, architecture=SMALL)
    overview(data)
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", limit_val_batches=0, enable_model_summary=False, **options)
    trainer.fit(model, data)
    print(private_memory_mb())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

"""Sessions of small, untrained models of every modality."""

import pytest

from common.conditions.attributes import Categorical, Continuous
from common.demo.session import Session
from common.training.restore import restore
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.networks import MLP
from tests.audio.models import perturb, small_model
from tests.every_model import text
from tests.tabular.models import conditional


def pictures():
    attributes = {"kind": Categorical(["a", "b", "c"], untrained=["c"]), "age": Continuous(30.0, 10.0, 1.0, 90.0)}
    return perturb(ImageCVAE(AttributeEncoder(attributes, dim=4, dropout=0.1), (1, 8, 8), 8, MLP([16])))


FORMATS = {
    "pictures": (pictures, "modalities.image.files.ImageFormat"),
    "text": (text, "modalities.text.files.TextFormat"),
    "audio": (small_model, "modalities.audio.files.SoundFormat"),
    "table": (conditional, "modalities.tabular.files.TableFormat"),
}


@pytest.fixture(scope="session")
def sessions(tmp_path_factory):
    """A session of each modality, as scripts/demo.py makes it."""
    import torch

    from scripts.demo import session

    made = {}
    for name, (make, files) in FORMATS.items():
        folder = tmp_path_factory.mktemp(name)
        torch.manual_seed(0)
        make().save_pretrained(folder / name)
        restored = restore(folder / name)
        restored.parts["files"] = files
        made[name] = session(folder / name, restored, [])
    return made


__all__ = ["Session"]

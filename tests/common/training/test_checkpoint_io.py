"""Checkpoints are whole or not there, checked when they are read, and never run code."""

import http.server
import pickle
import threading
import zipfile

import pytest
import torch
from lightning.pytorch import Trainer

from common.configurable import import_class
from common.training.checkpoint import description, read_checkpoint
from common.training.checkpoint_io import WholeCheckpointIO
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.networks import MLP
from tests.room import little_room


class Mark:
    """Leaves a mark where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture
def contents():
    model = ImageCVAE(AttributeEncoder({}), (1, 8, 8), 2, architecture=MLP([4]))
    return {"state_dict": model.state_dict(), **description(model)}


def test_a_file_takes_its_place_when_it_is_whole_and_leaves_nothing_behind(tmp_path, contents, monkeypatch):
    target = tmp_path / "last.ckpt"
    WholeCheckpointIO().save_checkpoint(contents, target)
    before = target.read_bytes()

    def fail(value, file):
        file.write(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="the disk is full"):
        WholeCheckpointIO().save_checkpoint(contents, target)
    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("size", [10, 1000, 4000, "all but a byte"])  # in its first record, later, and at its end
def test_a_full_disk_is_named_and_leaves_the_former_file(tmp_path, contents, size):
    target = tmp_path / "last.ckpt"
    WholeCheckpointIO().save_checkpoint(contents, target)
    before = target.read_bytes()
    size = len(before) - 1 if isinstance(size, str) else size
    with (
        pytest.raises(
            OSError, match=r"last\.ckpt cannot be written \(file too large\): make room.*former one is whole"
        ),
        little_room(size),
    ):
        WholeCheckpointIO().save_checkpoint(contents, target)
    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]
    assert read_checkpoint(target).keys() == contents.keys()


def test_a_flipped_byte_names_the_record(tmp_path, contents):
    path = tmp_path / "x.ckpt"
    torch.save(contents, path)
    with zipfile.ZipFile(path) as archive:
        record = max(archive.infolist(), key=lambda info: info.file_size)
    content = bytearray(path.read_bytes())
    content[record.header_offset + 200] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.ckpt is damaged: the checksum of .*data/\d+ is wrong"):
        read_checkpoint(path)


def test_code_in_a_checkpoint_is_not_run(tmp_path, contents):
    path, mark = tmp_path / "x.ckpt", tmp_path / "mark"
    torch.save({**contents, "more": Mark(mark)}, path)
    with pytest.raises(ValueError, match="holds more than a checkpoint of the suite"):
        read_checkpoint(path)
    with pytest.raises(pickle.UnpicklingError):
        WholeCheckpointIO().load_checkpoint(path, weights_only=False)
    assert not mark.exists()


def test_a_remote_checkpoint_is_refused_by_the_command_line_and_by_a_trainer(tmp_path, contents, train_image):
    mark = tmp_path / "mark"
    torch.save({**contents, "more": Mark(mark)}, tmp_path / "x.ckpt")
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(tmp_path))

        def log_message(self, *arguments):
            asked.append(arguments)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}/x.ckpt"
    try:
        for verb in ("fit", "test", "predict", "validate"):
            with pytest.raises(FileNotFoundError, match="there is no checkpoint http"):
                train_image(
                    verb, "--config", "configs/image/digits.yaml", "--ckpt_path", address, "--run.root", tmp_path
                )
        model = ImageCVAE(AttributeEncoder({}), (1, 8, 8), 2, architecture=MLP([4]))
        trainer = Trainer(plugins=[WholeCheckpointIO()], logger=False, accelerator="cpu", enable_progress_bar=False)
        with pytest.raises(FileNotFoundError, match="there is no checkpoint http"):
            trainer.test(model, [torch.zeros(1, 1, 8, 8)], ckpt_path=address)
    finally:
        server.shutdown()
    assert not mark.exists()
    assert not asked


def test_a_class_outside_of_the_suite_is_not_imported(tmp_path, monkeypatch):
    mark = tmp_path / "mark"
    (tmp_path / "stranger.py").write_text(f"open({str(mark)!r}, 'w')\nclass Model: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"stranger.Model is not part of the suite: .* set SUITE_ALLOW=stranger"):
        import_class("stranger.Model")
    assert not mark.exists()
    monkeypatch.setenv("SUITE_ALLOW", "stranger")
    with pytest.raises(TypeError, match="is not a Configurable class"):
        import_class("stranger.Model")
    assert mark.exists()

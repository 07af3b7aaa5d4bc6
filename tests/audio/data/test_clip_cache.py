"""Cached features are those that were computed, or are computed again."""

import os

import pytest
import torch

from modalities.audio.data.clip_cache import COLUMNS, FEATURES, cached_clips


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path))
    return tmp_path


def compute(writer):
    writer.append(torch.arange(96.0).view(6, 1, 4, 4))
    return {"genre": torch.arange(6)}


def refuse(writer):
    pytest.fail("computed twice")


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [flip, lambda file: os.truncate(file, 10), lambda file: os.truncate(file, 0)])
@pytest.mark.parametrize("name", [FEATURES, COLUMNS])
def test_damaged_features_are_named_and_computed_again(cache, damage, name):
    cached_clips(["s"], compute)
    (file,) = cache.rglob(name)
    damage(file)
    with pytest.warns(UserWarning, match=f"{name} is damaged .*, and is made again"):
        clips = cached_clips(["s"], compute)
    assert torch.equal(clips.x, torch.arange(96.0).view(6, 1, 4, 4).half())
    assert clips.columns["genre"].tolist() == list(range(6))
    cached_clips(["s"], refuse)


def test_clips_in_use_keep_their_values_while_others_are_made_in_their_place(cache):
    clips = cached_clips(["s"], compute)
    (file,) = cache.rglob(COLUMNS)
    flip(file)
    with pytest.warns(UserWarning, match="is damaged"):
        cached_clips(["s"], lambda writer: writer.append(torch.zeros(6, 1, 4, 4)) or {})
    assert clips.x.flatten().tolist() == list(range(96))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is always full")
def test_a_disk_that_fills_up_is_named_and_leaves_no_half_of_the_clips(cache):
    def fill(writer):
        with open("/dev/full", "wb") as full:
            os.dup2(full.fileno(), writer.handle.fileno())
        return compute(writer)

    with pytest.raises(OSError, match=r"no space left.*set \$SUITE_CACHE"):
        cached_clips(["s"], fill)
    assert [path.suffix for path in (cache / "audio").iterdir()] == [".lock"]
    assert len(cached_clips(["s"], compute).x) == 6

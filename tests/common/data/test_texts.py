"""Names and paths in one block of memory, and what training on many files takes."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from common.data.folders import files_below
from common.data.texts import Files, Texts, names_of

MEASURED = Path(__file__).with_name("memory_of_training.py")


def test_texts_are_a_sequence_of_what_was_given():
    given = ["a/b.png", "", "ü.png", os.fsdecode(b"\xff.png"), "a/b.png"]
    texts = Texts(given, start="root/")
    whole = [f"root/{text}" for text in given]
    assert list(texts) == whole
    assert len(texts) == 5
    assert texts[-1] == whole[-1]
    assert list(texts[1:3]) == whole[1:3]
    assert list(texts[::-2]) == whole[::-2]
    assert list(texts.take([3, 0, 0])) == [whole[3], whole[0], whole[0]]
    assert list(texts.take([4, 3, 2, 1, 0])) == whole[::-1]
    assert list(texts.rests()) == given
    with pytest.raises(IndexError):
        texts[5]


def test_files_are_found_in_the_order_of_their_paths(tmp_path):
    names = ["a/x.png", "a-b/y.png", "a.png", "a/x/z.png", "b.PNG", "a b/1.png", "B/2.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files = files_below(tmp_path, (".png",), "image").files
    assert list(files) == sorted(tmp_path / name for name in names)
    assert names_of(files, tmp_path) == [path.relative_to(tmp_path).as_posix() for path in files]
    assert names_of(list(files), tmp_path) == names_of(files, tmp_path)
    assert Files.of(files) is files


def test_a_file_that_was_found_takes_a_few_bytes_more_than_its_name(tmp_path):
    (tmp_path / "class").mkdir()
    for number in range(5000):
        (tmp_path / "class" / f"{number:06d}.png").touch()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        found = files_below(tmp_path, (".png",), "image")
        assert tracemalloc.get_traced_memory()[0] - before < 5000 * (len("class/000000.png") + 12)
    finally:
        tracemalloc.stop()
    assert len(found.files) == 5000


def write_image(path, number):
    Image.fromarray(np.full((16, 16, 3), number % 256, np.uint8)).save(path)


def write_sound(path, number):
    soundfile.write(path, 0.3 * np.sin(np.arange(2048) * (0.1 + number / 50_000)), 8000)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "suffix", "write"), [("image", "png", write_image), ("audio", "wav", write_sound)])
def test_ten_times_as_many_files_take_no_more_memory(tmp_path, run_script, kind, suffix, write):
    taken = {}
    for count in (1000, 10_000):
        for number in range(count):
            path = tmp_path / str(count) / "ab"[number % 2] / f"{number:06d}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, number)
        for cache in ("cold", "warm"):
            environment = {"SUITE_CACHE": str(tmp_path / f"cache-{count}"), "PYTHONPATH": os.getcwd()}
            result = run_script(MEASURED, kind, tmp_path / str(count), environment=environment)
            taken[count, cache] = float(result.stdout.split()[-1])
    assert min(taken.values()) > 100
    for cache in ("cold", "warm"):
        assert taken[10_000, cache] < 1.1 * taken[1000, cache]

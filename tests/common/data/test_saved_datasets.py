"""Data sets that Hugging Face's `datasets` has saved to disk train every modality by `--data.root` alone."""

import io
import json

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import soundfile
from datasets.table import InMemoryTable
from PIL import Image

from common.data.containers.unpacking import unpacked
from common.table_files import read_table
from modalities.audio.data import AudioFiles
from modalities.audio.signal.features import LogMel
from modalities.image.data import IMAGES, ImageFolder
from modalities.tabular.data import TableFile
from modalities.text.data import TextFiles

TONES = datasets.ClassLabel(names=["calm", "wild"])


def rows(count, start=0):
    return [number % 2 for number in range(start, start + count)]


def sentences(count, start=0):
    words = ["the sea is still", "the storm breaks all"]
    return [f"{words[number % 2]} on day {number}" for number in range(start, start + count)]


def test_texts_keep_their_splits_and_the_names_of_their_classes(tmp_path):
    features = datasets.Features({"text": datasets.Value("string"), "tone": TONES})
    parts = {
        name: datasets.Dataset.from_dict({"text": sentences(count, start), "tone": rows(count, start)}, features)
        for name, count, start in (("train", 40, 0), ("validation", 10, 40), ("test", 10, 50))
    }
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    data = TextFiles(tmp_path / "saved", vocabulary=300, batch_tokens=100)
    assert data.attributes["tone"].values == ("calm", "wild")
    assert {name: len(part) for name, part in data.examples.splits.items()} == {"train": 40, "val": 10, "test": 10}
    tested = data.examples.splits["test"]
    assert set(data.tokenizer.decode(data.examples.x[tested].long())) == set(sentences(10, 50))
    calm = data.examples.fields["tone"] == 0
    assert all("the sea is still" in text for text in data.tokenizer.decode(data.examples.x[calm].long()))


def test_tables_are_read_with_their_gaps(tmp_path):
    frame = pd.DataFrame({"age": [30.0, None, 50.0] * 20, "kind": ["a", "b", None] * 20, "count": range(60)})
    datasets.Dataset.from_pandas(frame).save_to_disk(tmp_path / "saved", num_shards=2)
    read = read_table(tmp_path / "saved")
    pd.testing.assert_frame_equal(read.reset_index(drop=True).astype(object).where(read.notna().to_numpy(), None),
                                  frame.astype(object).where(frame.notna(), None), check_dtype=False)  # fmt: skip
    data = TableFile(tmp_path / "saved", batch_size=10)
    assert [column.name for column in data.columns] == ["age", "kind", "count"]


def test_images_come_with_all_their_attributes(tmp_path):
    pictures = [Image.new("RGB", (12, 10), (shade, 0, 0)) for shade in range(60)]
    columns = {"image": pictures, "tone": rows(60), "age": [float(number) for number in range(60)]}
    features = datasets.Features({"image": datasets.Image(), "tone": TONES, "age": datasets.Value("float32")})
    datasets.Dataset.from_dict(columns, features).save_to_disk(tmp_path / "saved")
    data = ImageFolder(tmp_path / "saved", size=8, batch_size=4)
    examples = data.examples
    assert examples.x.shape == (60, 3, 8, 8)
    assert list(data.attributes) == ["tone", "age"]
    order = examples.fields["age"].argsort()
    assert examples.x[order][:, 0, 0, 0].tolist() == list(range(60))
    assert examples.fields["tone"][order].tolist() == rows(60)
    assert unpacked(tmp_path / "saved", IMAGES) == unpacked(tmp_path / "saved", IMAGES)


def test_sounds_come_with_their_conditions(tmp_path):
    features = datasets.Features({"audio": datasets.Audio(decode=False), "genre": TONES})
    sounds = []
    for number in range(30):
        content = io.BytesIO()
        tone = 0.3 * np.sin(np.arange(16000) * (0.05 + 0.1 * (number % 2)) + number)
        soundfile.write(content, tone, 8000, format="WAV")
        sounds.append({"bytes": content.getvalue(), "path": f"{number}.wav"})
    # As from_dict would, which needs torchcodec even for sounds that are encoded already.
    columns = {"audio": pa.array(sounds, features["audio"].pa_type), "genre": pa.array(rows(30))}
    info = datasets.DatasetInfo(features=features)
    datasets.Dataset(InMemoryTable(pa.table(columns)), info).save_to_disk(tmp_path / "saved")
    features = LogMel(sample_rate=8000, samples=8192, n_fft=512, hop=256, mels=16, high=4000.0)
    data = AudioFiles(tmp_path / "saved", features=features, batch_size=4)
    assert data.attributes["genre"].values == ("calm", "wild")
    assert len(data.examples.x) >= 30
    loud = data.examples.x.float().mean((0, 1, 3))
    assert loud.argmax() < 8


def test_what_is_damaged_or_missing_is_named(tmp_path):
    datasets.Dataset.from_dict({"a": [1, 2, 3]}).save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match=r"has no column of the kind Image; it has a \(Value\)"):
        unpacked(tmp_path / "saved", IMAGES)
    state = json.loads((tmp_path / "saved/state.json").read_text())
    file = tmp_path / "saved" / state["_data_files"][0]["filename"]
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ValueError, match=rf"{file.name} cannot be read: .*Save the data anew"):
        read_table(tmp_path / "saved")
    (tmp_path / "saved/state.json").write_text("{")
    with pytest.raises(ValueError, match=r"state\.json cannot be read"):
        read_table(tmp_path / "saved")


def test_classes_may_be_missing_and_columns_may_have_any_name(tmp_path):
    pictures = [Image.new("L", (8, 8), shade) for shade in range(30)]
    columns = {"file": [f"{n % 3}" for n in range(30)], "tone": [*rows(29), None], "image": pictures}
    features = datasets.Features({"file": datasets.Value("string"), "tone": TONES, "image": datasets.Image()})
    datasets.Dataset.from_dict(columns, features).save_to_disk(tmp_path / "saved")
    data = ImageFolder(tmp_path / "saved", size=8, channels=1, batch_size=4)
    assert set(data.attributes) == {"file", "tone"}
    shade = data.examples.x[:, 0, 0, 0]
    assert data.examples.fields["tone"][shade == 29].tolist() == [-1]
    assert all(data.examples.fields["tone"][shade == n].tolist() == [n % 2] for n in range(29))


def test_a_column_that_says_another_split_is_refused(tmp_path):
    part = datasets.Dataset.from_dict({"a": [1, 2], "split": ["test", "test"]})
    datasets.DatasetDict({"train": part}).save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match="has splits and a column split as well"):
        read_table(tmp_path / "saved")


def test_a_file_that_the_data_set_names_is_not_read(tmp_path):
    features = datasets.Features({"image": datasets.Image()})
    datasets.Dataset.from_dict({"image": [Image.new("L", (8, 8))]}, features).save_to_disk(tmp_path / "saved")
    (file,) = (tmp_path / "saved").glob("*.arrow")
    named = pa.table({"image": pa.array([{"bytes": None, "path": str(file)}], datasets.Image().pa_type)})
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, named.schema) as writer:
        writer.write_table(named)
    with pytest.raises(ValueError, match="row 1: image holds no bytes"):
        unpacked(tmp_path / "saved", IMAGES)

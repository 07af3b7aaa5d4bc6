import warnings

import numpy as np
import pandas as pd

from common.evaluation.media import table_picture
from common.evaluation.media_files import LIST, MediaFile, append_media, read_media


def test_a_table_of_texts_with_control_characters_is_drawn_without_a_missing_glyph():
    table = pd.DataFrame(
        {"source": ["a\x1a\x08b", "plain, and long enough for a second line of the cell"], "model": ["$x", ""]}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = table_picture(table, "texts")
    assert picture.mode == "RGB"
    assert np.asarray(picture).std() > 1  # something is written


def test_the_picture_of_a_table_is_higher_with_more_lines():
    short = table_picture(pd.DataFrame({"text": ["a"]}))
    long = table_picture(pd.DataFrame({"text": ["a long text " * 10]}))
    assert long.width == short.width
    assert long.height > short.height


def test_a_list_of_files_goes_on_after_a_line_that_was_never_finished(tmp_path):
    files = [MediaFile(f"{number}.png", "val", number, number, "picture", "samples") for number in range(3)]
    for file in files:
        (tmp_path / file.file).touch()
    append_media(tmp_path, files[:1])
    with (tmp_path / LIST).open("a") as lines:
        lines.write('{"file": "half')
    assert read_media(tmp_path) == files[:1]
    append_media(tmp_path, files[1:])
    assert read_media(tmp_path) == files

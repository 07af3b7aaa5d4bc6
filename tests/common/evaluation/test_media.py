import warnings

import numpy as np
import pandas as pd

from common.evaluation.media import table_picture


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

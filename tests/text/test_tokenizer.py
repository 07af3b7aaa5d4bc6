import copy
import pickle

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from common.configurable import from_config, to_config
from modalities.text.tokenizer import BOS, EOS, MASK, PAD, Tokenizer, pad_rows

VERSE = "In the beginning God created the heaven and the earth."
TOKENIZER = Tokenizer.train([VERSE] * 2, vocabulary=300)


def assert_same(first, second):
    assert len(first) == len(second)
    texts = [VERSE, "", "</s> <pad>", "naïve 日本 🙂"]
    assert first.encode(texts) == second.encode(texts)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(), min_size=1, max_size=4))
@example([""])
@example(["<s>", "a</s>b", "<pad><mask>", " <mask> "])
@example(["\x00", "\r\n", "  two  spaces  ", "e\u0301", "👩‍👩‍👧"])
def test_every_text_survives_the_round_trip(texts):
    assert TOKENIZER.decode(TOKENIZER.rows(texts)) == texts


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="<>/pads mk"))
def test_a_text_never_encodes_to_a_special_token_but_its_own_end(text):
    *tokens, end = TOKENIZER.encode([text + "</s><pad><s><mask>"])[0]
    assert end == TOKENIZER.eos
    assert not {TOKENIZER.pad, TOKENIZER.bos, TOKENIZER.eos, TOKENIZER.mask} & set(tokens)


def test_frequent_words_become_single_tokens_and_others_bytes():
    small, large = Tokenizer.train([VERSE], vocabulary=260), TOKENIZER
    assert len(small) == 260  # four special tokens and the bytes
    assert len(small.encode([VERSE])[0]) == len(VERSE) + 1
    assert len(large.encode([VERSE])[0]) < len(VERSE) // 2


def test_decoding_stops_at_the_first_end_and_skips_padding():
    row = [TOKENIZER.bos, *TOKENIZER.encode(["good"])[0], *TOKENIZER.encode(["bad"])[0], TOKENIZER.pad]
    assert TOKENIZER.decode(torch.tensor([row])) == ["good"]
    assert TOKENIZER.decode(torch.tensor([row[:3], row[:3]])) == [TOKENIZER.decode(torch.tensor([row[1:3]]))[0]] * 2


def test_rows_are_filled_up_with_padding_to_the_longest_or_to_a_length():
    assert pad_rows([[5], [6, 7]], pad=0).tolist() == [[5, 0], [6, 7]]
    assert pad_rows([[5], []], pad=9, length=3).tolist() == [[5, 9, 9], [9, 9, 9]]
    assert pad_rows([], pad=0, length=3).shape == (0, 3)
    assert TOKENIZER.rows(["a", "abc"], length=6).shape == (2, 6)


def test_a_text_that_does_not_fit_is_refused_with_its_length():
    with pytest.raises(ValueError, match="a text of 4 tokens does not fit into 3; shorten it"):
        TOKENIZER.rows(["xyz"], length=3)


def test_a_configuration_rebuilds_the_tokenizer():
    assert_same(from_config(to_config(TOKENIZER)), TOKENIZER)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_tokenize_alike(duplicate):
    assert_same(duplicate(TOKENIZER), TOKENIZER)


def test_a_saved_file_and_a_saved_folder_give_the_tokenizer_back(tmp_path):
    TOKENIZER.backend.save(str(tmp_path / "tokenizer.json"))
    assert_same(Tokenizer.pretrained(tmp_path / "tokenizer.json"), TOKENIZER)
    PreTrainedTokenizerFast(tokenizer_object=TOKENIZER.backend).save_pretrained(tmp_path / "folder")
    assert_same(Tokenizer.pretrained(tmp_path / "folder"), TOKENIZER)


def test_a_pretrained_tokenizer_gets_the_special_tokens_it_lacks_and_neither_pads_nor_truncates(tmp_path):
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers

    backend = Backend(models.BPE({"a": 0, "b": 1}, [], unk_token="a"))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    backend.enable_padding(length=10)
    backend.enable_truncation(2)
    backend.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"lacks the token <pad>: make it with Tokenizer\.train or \.pretrained"):
        Tokenizer(backend.to_str())
    tokenizer = Tokenizer.pretrained(tmp_path / "tokenizer.json")
    assert len(tokenizer) == 6
    assert tokenizer.encode(["abba"]) == [[0, 1, 1, 0, tokenizer.eos]]
    assert [tokenizer.backend.token_to_id(name) for name in (PAD, BOS, EOS, MASK)] == [2, 3, 4, 5]


def test_a_place_without_a_tokenizer_is_named(tmp_path):
    for place in (tmp_path, tmp_path / "tokenizer.json"):
        with pytest.raises(ValueError, match=r"no tokenizer at .*: give a folder, a tokenizer\.json or a hub name"):
            Tokenizer.pretrained(place)

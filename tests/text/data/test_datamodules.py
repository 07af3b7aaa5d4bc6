import gzip
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.conditions.attributes import Categorical, Continuous
from common.data.examples import Examples
from common.data.subset import Subset
from common.paths import data_root
from modalities.text.data.bucket_loader import BucketLoader
from modalities.text.data.corpus import Corpus
from modalities.text.data.datamodules import Bible, TextData, TextFiles, Yelp

# Batches of like length


def loaders(lengths, tokens, world, shuffle):
    count = len(lengths)
    splits = {"train": torch.arange(count)}
    table = Examples(
        torch.arange(count).unsqueeze(1), {"k": torch.arange(count) % 3}, {"k": Categorical("abc")}, splits
    )
    sizes = torch.tensor(lengths)
    return [BucketLoader(table, splits["train"], sizes, tokens, shuffle, 0, rank, world) for rank in range(world)]


lengths_of = st.lists(st.integers(1, 40), min_size=9, max_size=150)


@settings(max_examples=80, deadline=None)
@given(lengths_of, st.integers(40, 300), st.sampled_from([1, 3]))
def test_evaluation_gives_each_sentence_to_one_process_once(lengths, tokens, world):
    processes = loaders(lengths, tokens, world, False)
    parts = [list(loader) for loader in processes]
    assert {len(part) for part in parts} == {len(processes[0])}
    assert min(len(batch) for part in parts for batch in part) >= 1
    seen = torch.cat([batch.index for part in parts for batch in part])
    assert torch.equal(seen.sort().values, torch.arange(len(lengths)))


def test_the_share_of_padding_is_counted():
    (loader,) = loaders([2, 5, 5, 9, 10], 20, 1, True)
    assert sorted(len(batch) for batch in loader) == [2, 3]
    assert loader.padding == pytest.approx(1 - 31 / (3 * 5 + 2 * 10))


@settings(max_examples=80, deadline=None)
@given(lengths_of, st.integers(40, 300), st.sampled_from([1, 2]))
def test_an_epoch_gives_each_sentence_at_most_once_in_batches_of_the_same_sizes(lengths, tokens, world):
    if world > len(loaders(lengths, tokens, 1, True)[0]):
        return
    sizes = []
    for epoch in (0, 1):
        parts = []
        for loader in loaders(lengths, tokens, world, True):
            loader.set_epoch(epoch)
            parts.append([batch.index for batch in loader])
            assert len(parts[-1]) == len(loader)
        seen = torch.cat([index for part in parts for index in part])
        assert len(seen.unique()) == len(seen)
        assert max(len(index) * max(lengths[i] for i in index.tolist()) for part in parts for index in part) <= tokens
        sizes.append(sorted(len(index) for part in parts for index in part))
    if world == 1:
        assert sizes[0] == sizes[1]
        assert sum(sizes[0]) == len(lengths)


@settings(max_examples=40, deadline=None)
@given(lengths_of, st.integers(40, 300))
def test_an_evaluation_batch_of_one_process_keeps_to_its_tokens(lengths, tokens):
    for batch in loaders(lengths, tokens, 1, False)[0]:
        assert len(batch) * max(lengths[i] for i in batch.index.tolist()) <= tokens


def test_the_first_batches_of_an_evaluation_hold_sentences_of_every_length_in_the_same_order_every_time():
    lengths = [1 + n % 20 for n in range(2000)]
    first, second = (loaders(lengths, 200, 1, False)[0] for _ in range(2))
    order = [batch.index.tolist() for batch in first]
    assert order == [batch.index.tolist() for batch in second]
    half = [lengths[i] for part in order[: len(order) // 2] for i in part]
    assert sum(half) / len(half) == pytest.approx(10.5, abs=2)
    assert min(half) < 5
    assert max(half) == 20


def test_epochs_differ_and_the_seed_repeats_them():
    first, second = (loaders([1 + n % 7 for n in range(100)], 40, 1, True)[0] for _ in range(2))
    order = [batch.index.tolist() for batch in first]
    assert order == [batch.index.tolist() for batch in second]
    second.set_epoch(1)
    assert order != [batch.index.tolist() for batch in second]


def test_too_few_sentences_for_the_processes_are_refused():
    with pytest.raises(ValueError, match="3 sentences in batches of 100 tokens are too few for 4 processes"):
        loaders([5, 5, 5], 100, 4, False)
    with pytest.raises(ValueError, match="are too few for 2 processes"):
        loaders([5, 5, 5], 100, 2, True)


def test_little_of_a_batch_is_padding_and_none_is_longer_than_asked(bible):
    padding = []
    for batch in bible.loader("train", shuffle=True):
        x = bible.transform(batch, training=True).x
        assert x.numel() <= 512
        padding.append((x == bible.tokenizer.pad).float().mean())
    assert torch.stack(padding).mean() < 0.05


# The Bible


def test_no_verse_of_the_test_split_is_trained_on_in_any_version(verses):
    splits = Bible().split(list(verses.groups), (0.05, 0.05))
    groups = {name: {verses.groups[row] for row in rows.tolist()} for name, rows in splits.items()}
    assert not groups["train"] & groups["test"]
    assert not groups["train"] & groups["val"]
    assert not groups["val"] & groups["test"]
    assert {name: len(rows) for name, rows in splits.items()} == {name: 3 * len(own) for name, own in groups.items()}
    assert sum(map(len, splits.values())) == len(verses.texts)
    assert 0.045 < len(splits["test"]) / len(verses.texts) < 0.055


def test_what_is_left_out_is_counted(bible, verses):
    kept, words = len(bible.examples.x), [len(text.split()) for text in verses.texts]
    short = [text for text, count in zip(verses.texts, words, strict=True) if 0 < count <= 12]
    assert bible.left_out == {
        "empty": words.count(0),
        "of more than 12 words": sum(count > 12 for count in words),
        "of more than 48 tokens": sum(len(row) > 48 for row in bible.tokenizer.encode(short)),
    }
    assert kept + sum(bible.left_out.values()) == len(verses.texts)
    assert len(torch.cat(list(bible.examples.splits.values())).unique()) == len(bible.examples.x)


def test_rows_hold_their_verses_styles_and_groups(bible, verses):
    short = [row for row, text in enumerate(verses.texts) if 0 < len(text.split()) <= 12]
    encoded = bible.tokenizer.encode([verses.texts[row] for row in short])
    kept = [row for row, tokens in zip(short, encoded, strict=True) if len(tokens) <= 48]
    assert bible.tokenizer.decode(bible.examples.x) == [verses.texts[row] for row in kept]
    values = bible.attributes["style"].values
    assert values == ("bbe", "kjv", "web")
    assert [values[number] for number in bible.examples.fields["style"]] == verses.conditions["style"][kept].tolist()
    assert len(bible.whole.groups.unique()) == len({verses.groups[row] for row in kept})
    assert torch.equal(bible.lengths, (bible.examples.x != bible.tokenizer.pad).sum(1))


def test_hidden_tokens_give_the_style_away(bible):
    hidden = {bible.tokenizer.backend.decode([token]) for token in bible.hidden_tokens}
    assert {" unto", " thou", " thy", " Yahweh"} <= hidden
    assert not {" the", " and", " God", " of", ","} & hidden
    assert bible.tokenizer.eos not in bible.hidden_tokens


def test_what_is_hidden_does_not_depend_on_the_part_that_is_trained_on():
    options = {"vocabulary": 400, "words": 7, "hide": 4.0}
    before, after = Bible(**options), Bible(**options)
    hidden = before.hidden_tokens
    for data in (before, after):
        Subset(examples=5, shuffle=["style"]).take_from(data)
        assert data.hidden_tokens == hidden != []


def test_nothing_is_hidden_unless_asked_for():
    assert TextData().hidden_tokens == []


# Versions, exemplars


class SomeVerses(TextData):
    """Genesis and a little more, in versions that are drawn at random to be missing."""

    def __init__(self, verses, **arguments):
        super().__init__(vocabulary=400, words=12, shares=(0.2, 0.2), **arguments)
        self.verses = verses

    def corpus(self):
        full, rows = self.verses, [row for row in range(6000) if row % 7]
        conditions = full.conditions.iloc[rows].reset_index(drop=True)
        groups = [full.groups[r] for r in rows]
        return Corpus([full.texts[r] for r in rows], conditions, groups, full.file, aligned=True)


def verse_names(data, verses):
    """Whose version each text is; a text that several verses share names all of them."""
    names = {}
    for text, group in zip(verses.texts, verses.groups, strict=True):
        names.setdefault(text, set()).add(group)
    return lambda tokens: [names[text] for text in data.tokenizer.decode(tokens)]


def versions(data):
    """The other version of each row: tokens, and its style where the data says it."""
    examples = data.examples
    if data.pairs == "sources":
        return examples.fields["source"], None
    return examples.x[examples.views], examples.fields["style"][examples.views]


@pytest.mark.parametrize("condition", [None, ["style"]])
@pytest.mark.parametrize("pairs", ["views", "sources"])
def test_pairs_are_versions_of_one_verse_with_their_own_styles(verses, pairs, condition):
    data = SomeVerses(verses, pairs=pairs, condition=condition)
    name = verse_names(data, verses)
    other, styles = versions(data)
    for own, another in zip(name(data.examples.x), name(other), strict=True):
        assert own & another
    assert list(data.examples.fields) == (["style", "source"] if pairs == "sources" else ["style"])
    assert (data.examples.views is None) == (pairs == "sources")
    plain = SomeVerses(verses).examples
    style = dict(zip(map(tuple, plain.x.tolist()), plain.fields["style"].tolist(), strict=True))
    of_other = torch.tensor([style[tuple(row)] for row in other.tolist()])
    as_told = of_other == styles if pairs == "views" else of_other != data.examples.fields["style"]
    assert as_told.float().mean() > 0.97  # some verses are the same in two versions
    groups = {split: set(data.whole.groups[rows].tolist()) for split, rows in data.examples.splits.items()}
    assert not groups["train"] & groups["test"]


def test_views_and_sources_are_other_versions_and_views_are_for_training(verses):
    views, sources, plain = (SomeVerses(verses, pairs=pairs) for pairs in ("views", "sources", "none"))
    style, rows_of = views.examples.fields["style"], views.examples.views
    for name, rows in views.examples.splits.items():
        own = plain.examples.splits[name]
        members = plain.whole.groups[own].bincount()
        assert torch.equal(views.whole.groups[rows_of[rows]], views.whole.groups[rows])
        if name == "train":
            assert len(rows) == (members * (members - 1)).clamp_min(members).sum()
            alone = members[views.whole.groups[rows]] == 1
            assert 0 < alone.sum() < len(rows)
            assert torch.equal(style[rows] == style[rows_of[rows]], alone)
        else:
            assert torch.equal(views.examples.x[rows_of[rows]], views.examples.x[rows])
            assert torch.equal(style[rows_of[rows]], style[rows])
        assert len(sources.examples.splits[name]) == (members * (members - 1)).sum()


def test_sources_are_all_ordered_pairs_of_the_versions_of_a_verse(verses):
    sources, plain = SomeVerses(verses, pairs="sources"), SomeVerses(verses)
    found, alone = sources.examples, plain.examples
    members, expected = {}, []
    parts = (plain.whole.groups, alone.fields["style"], alone.x)
    for group, *version in zip(*(part.tolist() for part in parts), strict=True):
        members.setdefault(group, []).append(version)
    for group, own in members.items():
        expected += [(group, style, x, source) for (style, x), (_, source) in itertools.permutations(own, 2)]
        assert len({style for style, _ in own}) == len(own)  # so that no source is of its sentence's own style
    parts = (sources.whole.groups, found.fields["style"], found.x, found.fields["source"])
    assert sorted(zip(*(part.tolist() for part in parts), strict=True)) == sorted(expected)


def test_batches_hold_a_view_in_training_alone(verses):
    data = SomeVerses(verses, pairs="views")
    rows, examples, pad = data.examples.splits["train"], data.examples, data.tokenizer.pad
    alone = data.whole.groups.bincount()[data.whole.groups[rows]] == 1  # verses of which there is one version
    for batch in data.loader("train", shuffle=True):
        chosen = examples.views[rows[batch.index]]
        assert torch.equal(batch.view.x, examples.x[chosen])
        assert torch.equal(batch.view.condition["style"], examples.fields["style"][chosen])
        view = data.transform(batch, training=True).view
        assert view.x.shape == (len(batch), (batch.view.x != pad).sum(1).max())
        assert torch.equal(view.condition["style"] == batch.condition["style"], alone[batch.index])
    for split in ("val", "test"):
        assert all(batch.view is None for batch in data.loader(split))


@pytest.mark.parametrize("pairs", ["views", "sources"])
def test_pairs_need_versions(tmp_path, pairs):
    rows = "".join(f"number {n},{'ab'[n % 2]},{n}\n" for n in range(60))
    (tmp_path / "t.csv").write_text("text,tone,id\n" + rows + rows)  # what is there twice is no version of itself
    options = {"vocabulary": 300, "pairs": pairs, "shares": (0.2, 0.2)}
    with pytest.raises(
        ValueError, match=r"t\.csv: data\.pairs needs versions of one text: name their column with data"
    ):
        _ = TextFiles(tmp_path / "t.csv", **options).examples
    (tmp_path / "t.csv").write_text("text,tone,id\n" + rows)
    if pairs == "sources":
        with pytest.raises(ValueError, match="no two versions of one thing in train: pairs need data with groups"):
            _ = TextFiles(tmp_path / "t.csv", group="id", **options).examples


@pytest.mark.parametrize("pairs", ["none", "views", "sources"])
def test_a_sentence_that_pairs_repeat_can_be_read_once(verses, pairs):
    data, plain = SomeVerses(verses, pairs=pairs), SomeVerses(verses)
    for split in ("train", "test"):
        once = data.once(split)
        assert torch.isin(once, data.examples.splits[split]).all()
        own = plain.examples.splits[split]
        several = plain.whole.groups[own].bincount()[plain.whole.groups[own]] > 1
        expected = plain.examples.x[own[several] if pairs == "sources" else own]
        assert torch.equal(data.examples.x[once], expected)


@pytest.mark.parametrize("training", [False, True])
def test_exemplars_are_training_sentences_of_the_same_style(verses, training):
    data = SomeVerses(verses, exemplars=True)
    train = data.examples.splits["train"]
    styles = {tuple(row): set() for row in data.examples.x[train].tolist()}
    for row, style in zip(data.examples.x[train].tolist(), data.examples.fields["style"][train].tolist(), strict=True):
        styles[tuple(row)].add(style)
    batch = next(iter(data.loader("test")))
    found, again = (data.transform(batch, training).condition["exemplar"] for _ in range(2))
    assert torch.equal(found, again) == (not training)
    full = torch.nn.functional.pad(found, (0, data.length - found.shape[1]), value=data.tokenizer.pad)
    for row, style in zip(full.tolist(), batch.condition["style"].tolist(), strict=True):
        assert style in styles[tuple(row)]


def test_the_conditions_that_control_is_measured_with_hold_exemplars(verses):
    assert "exemplar" in SomeVerses(verses, exemplars=True).conditions("test")


def test_a_view_has_an_exemplar_of_its_own_style(verses):
    data = SomeVerses(verses, exemplars=True, pairs="views")
    train, pad = data.examples.splits["train"], data.tokenizer.pad
    styles = {}
    for row, style in zip(data.examples.x[train].tolist(), data.examples.fields["style"][train].tolist(), strict=True):
        styles.setdefault(tuple(row), set()).add(style)
    batch = data.transform(next(iter(data.loader("train", shuffle=True))), training=True)
    for part in (batch, batch.view):
        exemplars = part.condition["exemplar"]
        full = torch.nn.functional.pad(exemplars, (0, data.length - exemplars.shape[1]), value=pad)
        for row, style in zip(full.tolist(), part.condition["style"].tolist(), strict=True):
            assert style in styles[tuple(row)]
    assert not torch.equal(batch.condition["style"], batch.view.condition["style"])


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("repeats", [1, 3])
def test_no_training_sentence_is_its_own_exemplar_where_there_is_another(tmp_path, training, repeats):
    for style, count in (("few", 2), ("one", 1)):
        (tmp_path / f"train.{style}.txt").write_text("".join(f"{style} {n}\n" for n in range(count)) * repeats)
        for split in ("dev", "test"):
            (tmp_path / f"{split}.{style}.txt").write_text(f"{style} 0\n")
    data = TextFiles(tmp_path, vocabulary=300, exemplars=True)
    for _ in range(5):
        batch = data.transform(next(iter(data.loader("train"))), training)
        texts, exemplars = (data.tokenizer.decode(x) for x in (batch.x, batch.condition["exemplar"]))
        assert dict(zip(texts, exemplars, strict=True)) == {"few 0": "few 1", "few 1": "few 0", "one 0": "one 0"}
    assert data.tokenizer.decode(data.conditions("test")["exemplar"]) == ["few 1", "one 0"]


def test_sentences_without_categories_have_exemplars_too(tmp_path):
    (tmp_path / "t.csv").write_text("text,age\n" + "".join(f"number {n},{n + 0.5}\n" for n in range(60)))
    data = TextFiles(tmp_path / "t.csv", vocabulary=300, exemplars=True, shares=(0.2, 0.2))
    texts = {name: set(data.tokenizer.decode(data.examples.x[rows])) for name, rows in data.examples.splits.items()}
    assert set(data.tokenizer.decode(data.conditions("test")["exemplar"])) <= texts["train"]


def test_a_sentence_whose_categories_training_never_saw_gets_an_exemplar_all_the_same(tmp_path):
    for split, styles in (("train", "ab"), ("test", "abc")):
        for style in styles:
            (tmp_path / f"{split}.{style}.txt").write_text("".join(f"{style} {split} {n}\n" for n in range(60)))
    data = TextFiles(tmp_path, vocabulary=300, exemplars=True, shares=(0.2, 0.2))
    assert data.batch("test", 180).condition["exemplar"].shape[0] == 180


def test_batches_are_cut_to_their_longest_sentence(verses):
    data = SomeVerses(verses, pairs="sources")
    batch = data.batch("val", 5)
    assert batch.x.shape[1] == (batch.x != data.tokenizer.pad).sum(1).max()
    source = batch.condition["source"]
    assert source.shape[1] == (source != data.tokenizer.pad).sum(1).max()


# A person's own text


def test_style_files_become_data(tmp_path):
    for style, end in (("formal", "."), ("casual", "!")):
        lines = "".join(f"this is number {n}{end}\n" for n in range(50))
        (tmp_path / f"{style}.txt").write_text(lines + "\n" + "word " * 30 + "\n")
    data = TextFiles(tmp_path, vocabulary=300, words=20)
    assert data.attributes == {"style": Categorical(("casual", "formal"))}
    assert len(data.examples.x) == 100
    assert data.left_out == {"empty": 2, "of more than 20 words": 2, "of more than 48 tokens": 0}
    for text, style in zip(data.tokenizer.decode(data.examples.x), data.examples.fields["style"], strict=True):
        assert text[-1] == "!."[style]


def test_sentences_of_too_many_tokens_are_left_out(tmp_path):
    lines = [f"{n} " + "x" * (n % 12) for n in range(90)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    data = TextFiles(tmp_path, vocabulary=260, length=9)  # bytes alone: one token a letter
    long = sum(len(line) + 1 > 9 for line in lines)
    assert data.examples.x.shape == (90 - long, 9)
    assert data.left_out["of more than 9 tokens"] == long
    with pytest.raises(ValueError, match=r"no sentence is left; raise data\.words or data\.length"):
        _ = TextFiles(tmp_path, vocabulary=260, length=2).examples


@pytest.mark.parametrize(("given", "cut"), [("dev", "test"), ("test", "val")])
def test_a_split_that_files_give_is_theirs_and_the_missing_one_is_cut_from_train(tmp_path, given, cut):
    for split, count in (("train", 200), (given, 20)):
        for style in "ab":
            text = "".join(f"{split} {style} {n}\n" for n in range(count))
            (tmp_path / f"{split}.{style}.txt.gz").write_bytes(gzip.compress(text.encode()))
    data = TextFiles(tmp_path, vocabulary=300)
    texts = {name: data.tokenizer.decode(data.examples.x[rows]) for name, rows in data.examples.splits.items()}
    own = "val" if given == "dev" else given
    assert len(texts[own]) == 40
    assert all(text.startswith(given) for text in texts[own])
    assert all(text.startswith("train") for text in texts["train"] + texts[cut])
    assert len(texts["train"]) + len(texts[cut]) == 400
    assert 5 <= len(texts[cut]) <= 40


def test_the_dev_split_of_yelp_is_its_test_split_as_in_published_work(tmp_path):
    for split, count in (("train", 200), ("dev", 20)):
        for style in "01":
            (tmp_path / f"{split}.{style}.txt").write_text("".join(f"{split} {style} {n}\n" for n in range(count)))
    data = Yelp(tmp_path, vocabulary=300)
    texts = {name: data.tokenizer.decode(data.examples.x[rows]) for name, rows in data.examples.splits.items()}
    assert len(texts["test"]) == 40
    assert {text.split()[0] for text in texts["test"]} == {"dev"}
    assert {text.split()[0] for text in texts["val"] + texts["train"]} == {"train"}


def test_files_need_a_training_split_and_enough_sentences(tmp_path):
    (tmp_path / "train.a.txt").write_text("text\n")
    with pytest.raises(ValueError, match=rf"{tmp_path}: 1 examples leave none for val: give more data"):
        _ = TextFiles(tmp_path).examples
    (tmp_path / "train.a.txt").rename(tmp_path / "test.a.txt")
    with pytest.raises(ValueError, match="the splits test, and none is for training"):
        _ = TextFiles(tmp_path).examples


def test_a_table_gives_categories_numbers_and_missing_cells(tmp_path):
    rows = [f"sentence {n},{'formal' if n % 2 else ''},{n + 0.5}" for n in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["text,tone,age", *rows]))
    data = TextFiles(tmp_path / "t.csv", vocabulary=300, shares=(0.2, 0.2))
    assert data.attributes["tone"] == Categorical(("formal",))
    assert data.examples.fields["tone"].tolist() == [-1, 0] * 30
    age = data.attributes["age"]
    assert isinstance(age, Continuous)
    assert age.mean == pytest.approx(data.examples.fields["age"][data.examples.splits["train"]].mean().item())
    fewer = TextFiles(tmp_path / "t.csv", vocabulary=300, shares=(0.2, 0.2), condition=["tone"])
    assert list(fewer.attributes) == ["tone"]


def test_texts_that_are_equal_share_a_split(tmp_path):
    (tmp_path / "a.txt").write_text("".join(f"line {n % 40}\n" for n in range(200)))
    data = TextFiles(tmp_path, vocabulary=300, shares=(0.2, 0.2))
    texts = {name: set(data.tokenizer.decode(data.examples.x[rows])) for name, rows in data.examples.splits.items()}
    assert not texts["train"] & texts["test"]
    assert not texts["train"] & texts["val"]


def test_a_pretrained_tokenizer_takes_the_place_of_a_new_one(tmp_path, bible):
    bible.tokenizer.backend.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "a.txt").write_text("".join(f"unto us {n}\n" for n in range(60)))
    data = TextFiles(tmp_path, tokenizer=str(tmp_path / "tokenizer.json"))
    assert data.tokenizer.encode(["unto us"]) == bible.tokenizer.encode(["unto us"])


@pytest.mark.extras
@pytest.mark.skipif(not (data_root() / "yelp").exists(), reason="Yelp is not in the data root")
def test_yelp_is_read_from_the_data_root():
    data = Yelp(words=3, vocabulary=500)
    assert data.attributes == {"style": Categorical(("negative", "positive"))}
    assert len(data.examples.splits["train"]) > 1000

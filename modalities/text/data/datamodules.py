"""Text DataModules. Sentences are tokens [N, T], int32, padded; batches hold sentences of similar length."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_info
from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import SOURCE, Categorical, Fields
from common.conditions.columns import condition_columns, fit_continuous
from common.data.containers.shards import is_sharded
from common.data.containers.unpacking import unpacked
from common.data.datamodule import ConditionalDataModule
from common.data.examples import Examples
from common.data.loader import TensorLoader
from common.data.splits import Split, check_shares, numbered
from common.data.terms import Terms
from common.paths import data_root
from common.table_files import TABLE_SUFFIXES, is_saved_dataset
from modalities.text.condition import EXEMPLAR
from modalities.text.data.bucket_loader import BucketLoader
from modalities.text.data.corpus import Corpus, bible, style_files, table_file
from modalities.text.data.pairs import Pairs, paired
from modalities.text.data.segmentation import Segmentation, segmentation_of, words_of
from modalities.text.data.style_words import style_tokens
from modalities.text.tokenizer import Tokenizer, in_range, pad_rows, trimmed


class TextData(ConditionalDataModule):
    """Base of the text DataModules.

    Args:
        vocabulary: number of tokens of the byte-level BPE, which is trained on the training split.
        tokenizer: a pretrained tokenizer instead: a folder, a `tokenizer.json`, or a hub name.
        length: longest sentence in tokens, its end included; longer ones are counted and left out.
        words: longest sentence in words (characters, where a script has no spaces); longer ones are counted and left
            out. None sets no limit.
        batch_tokens: tokens per batch and process, padding included.
        pairs: "none" trains on each sentence alone; "views" pairs it with another version of the same text, from which
            z is encoded in training; "sources" makes every two versions a source sentence and its translation.
        exemplars: gives each sentence another training sentence with the same conditions as an exemplar.
        hide: masks tokens in the encoder's input that are at least so many times likelier in one style than in the
            others; None masks none.
        shares: shares of validation and test, where the data defines no splits.
        base: as in `ConditionalDataModule`.
    """

    batch_unit = "tokens"
    batch_option = "batch_tokens"
    limits_itself = True
    learned = ("attributes", "tokenizer", "length", "hidden_tokens", "segmentation")

    def __init__(
        self,
        vocabulary: int = 4096,
        tokenizer: str | None = None,
        length: int = 48,
        words: int | None = None,
        batch_tokens: int = 1024,
        pairs: Pairs = "none",
        exemplars: bool = False,
        hide: float | None = None,
        shares: tuple[float, float] = (0.05, 0.05),
        **base: Any,
    ) -> None:
        in_range("data.batch_tokens", batch_tokens, 1)
        super().__init__(batch_size=batch_tokens, **base)
        in_range("data.vocabulary", vocabulary, 260, why="the 256 bytes and 4 special tokens")
        in_range("data.length", length, 2, why="a token and the end of the sentence")
        in_range("data.words", words, 1)
        in_range("data.hide", hide, 1, above=True)
        check_shares(shares)
        self.vocabulary, self.pretrained, self.length, self.words = vocabulary, tokenizer, length, words
        self.pairs, self.exemplars, self.hide, self.shares = pairs, exemplars, hide, shares

    def adopt(self, terms: Terms) -> None:
        """As in the base; the longest sentence is that of the checkpoint's model."""
        super().adopt(terms)
        if "tokenizer" in terms.learned:
            rank_zero_info(f"sentences are read with the {len(terms.learned['tokenizer']):,} tokens of the checkpoint")
        length = int(terms.learned.get("length", self.length))
        if length != self.length:
            rank_zero_info(f"sentences have at most {length} tokens, as in the checkpoint's model")
        self.length = length

    def corpus(self) -> Corpus:
        """The sentences and their conditions."""
        raise NotImplementedError

    def load(self) -> Examples:
        """Splits, tokenizes and pairs the corpus, and logs what was left out."""
        corpus = self.corpus().few(self.limit)
        if self.pairs != "none" and not corpus.aligned:
            raise ValueError(
                f"{corpus.file}: data.pairs needs versions of one text: name their column with data.group, or set "
                "data.pairs none"
            )
        columns = condition_columns(corpus.conditions, corpus.file, wanted=self.wanted(corpus.conditions.columns))
        fields, attributes = columns.fields, columns.attributes
        splits = self.split(list(corpus.groups), self.shares, fields, corpus.splits)
        words = [len(words_of(text)) for text in corpus.texts]
        fits = torch.tensor([0 < count <= (self.words or count) for count in words])
        train = [corpus.texts[row] for row in splits["train"].tolist() if fits[row]]
        tokenizer: Tokenizer = self.known("tokenizer") or self._new_tokenizer(train)
        fitting = fits.nonzero()[:, 0]
        encoded = tokenizer.encode([corpus.texts[row] for row in fitting.tolist()])
        short = torch.tensor([len(row) <= self.length for row in encoded], dtype=torch.bool)
        self.left_out = {
            "empty": sum(count == 0 for count in words),
            f"of more than {self.words} words": int((~fits).sum()) - sum(count == 0 for count in words),
            f"of more than {self.length} tokens": int((~short).sum()),
        }
        counts = ", ".join(f"{count:,} {why}" for why, count in self.left_out.items() if count)
        notes = [f"{corpus.file.name}: {len(words):,} sentences; left out: {counts or 'none'}", *corpus.notes]
        self._segmentation: Segmentation = self.known("segmentation") or segmentation_of(train)
        if self._segmentation != "spaces":
            kind = {"chinese": "Chinese", "japanese": "Japanese"}.get(self._segmentation, "in a script")
            notes.append(f"the text is {kind} without spaces between words: characters count as words")
        retained = fitting[short]
        if len(retained) == 0:
            raise ValueError(f"{corpus.file}: no sentence is left; raise data.words or data.length")
        x = pad_rows([row for row in encoded if len(row) <= self.length], tokenizer.pad, self.length)
        position = torch.full((len(words),), -1)
        position[retained] = torch.arange(len(retained))
        examples = Examples(
            x,
            {name: field[retained] for name, field in fields.items()},
            attributes,
            {name: moved[moved >= 0] for name, moved in ((name, position[rows]) for name, rows in splits.items())},
            origin={name: [column[row] for row in retained.tolist()] for name, column in corpus.origin.items()},
            notes=[*notes, *columns.notes],
        )
        for name, rows in examples.splits.items():
            if len(rows) == 0 and not self.scores_all:
                raise ValueError(f"{corpus.file}: no sentence is left for {name}; raise data.words or data.length")
        examples = replace(examples, attributes=fit_continuous(attributes, examples.fields, examples.splits["train"]))
        groups = numbered([corpus.groups[row] for row in retained.tolist()])
        self.sentences = torch.arange(len(groups))
        if self.pairs != "none":
            examples, self.sentences = paired(examples, groups, self.pairs)
        self._tokenizer, self.aligned = tokenizer, corpus.aligned
        examples = replace(examples, groups=groups[self.sentences])
        self.lengths = (examples.x != tokenizer.pad).sum(1)
        return examples

    def _new_tokenizer(self, texts: list[str]) -> Tokenizer:
        """The configured pretrained tokenizer, or one that is trained on some texts."""
        return Tokenizer.pretrained(self.pretrained) if self.pretrained else Tokenizer.train(texts, self.vocabulary)

    def details(self) -> list[str]:
        """The tokens, the padding of training batches, and what was left out."""
        _ = self.whole
        tokens = f"{len(self.tokenizer):,} tokens, sentences of {self.lengths.float().mean():.1f} on average"
        loader = None if self.scores_all else self.loader("train", shuffle=True)
        padded = f"; {loader.padding:.1%} of training batches is padding" if isinstance(loader, BucketLoader) else ""
        return [*super().details(), f"{tokens}, at most {self.length}{padded}"]

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, which the model is built with."""
        _ = self.whole
        return self._tokenizer

    @property
    def segmentation(self) -> Segmentation:
        """How the training sentences are taken apart into words, in the figures of text."""
        _ = self.whole
        return self._segmentation

    def repeated(self, split: Split) -> int:
        """How many sentences of a split are in the training split as well; those that pairs repeat count once."""
        once: dict[Split, Tensor] = {name: self.once(name) for name in self.examples.splits}
        return replace(self.examples, splits=once).repeated(split)

    def once(self, split: Split) -> Tensor:
        """Rows of a split with each sentence once: pairs repeat a sentence for each of its other versions."""
        rows = self.examples.splits[split]
        first: dict[int, int] = {}
        for row, sentence in zip(rows.tolist(), self.sentences[rows].tolist(), strict=True):
            first.setdefault(sentence, row)
        return torch.tensor(list(first.values()), dtype=torch.int64)

    @cached_property
    def exemplar_pools(self) -> dict[tuple[int, ...], Tensor]:
        """Rows of training sentences by their categories; none stands twice in a pool."""
        rows = self.examples.splits["train"]
        keys = self._keys({name: field[rows] for name, field in self.examples.fields.items()})
        pools: dict[tuple[int, ...], dict[bytes, int]] = {}
        for key, row, sentence in zip(keys, rows.tolist(), self.examples.x[rows].numpy(), strict=True):
            pools.setdefault(key, {}).setdefault(sentence.tobytes(), row)
        return {key: torch.tensor(list(pool.values())) for key, pool in pools.items()}

    @property
    def hidden_tokens(self) -> list[int]:
        """Tokens that reveal the style, by `hide`; they are masked in the encoder's input.

        They come from the training split of the whole data, as attributes do, whatever part of it is trained on.
        """
        known: list[int] | None = self.known("hidden_tokens")
        if known is not None:
            return known
        if self.hide is None:
            return []
        rows = self.whole.splits["train"]
        categories = {
            name: (self.whole.fields[name][rows], len(attribute.values))
            for name, attribute in self.whole.attributes.items()
            if isinstance(attribute, Categorical)
        }
        visible = [self.tokenizer.pad, self.tokenizer.eos]
        return style_tokens(self.whole.x[rows], categories, len(self.tokenizer), self.hide, visible)

    def transform(self, batch: Batch, training: bool) -> Batch:
        """Trims padding to the longest sentence, and adds exemplars."""
        view = None if batch.view is None else self._completed(batch.view, batch.positions, training)
        return self._completed(batch, batch.positions, training).replace(view=view)

    def _completed(self, batch: Batch, positions: Tensor, training: bool) -> Batch:
        condition, pad = dict(batch.condition), self.tokenizer.pad
        if SOURCE in condition:
            condition[SOURCE] = trimmed(condition[SOURCE], pad)
        if self.exemplars:
            condition[EXEMPLAR] = trimmed(self.exemplars_of(batch, positions, training), pad)
        return batch.replace(x=trimmed(batch.x, pad), condition=condition)

    def conditions(self, split: Split) -> Fields:
        """Raw condition fields of a split, exemplars included."""
        fields, rows = super().conditions(split), self.examples.splits[split]
        if self.exemplars:
            fields[EXEMPLAR] = self.exemplars_of(Batch(self.examples.x[rows], fields), torch.arange(len(rows)))
        return fields

    def exemplars_of(self, batch: Batch, positions: Tensor, training: bool = False) -> Tensor:
        """Another training sentence of the same categories for each of B sentences, [B, length].

        Where no training sentence has the same categories, any may be chosen; where none but the sentence itself has
        them, it is its own exemplar.

        Args:
            batch: sentences with their categories.
            positions: [B], fix the choice.
            training: chooses at random.
        """
        pools = [self.exemplar_pools.get(key, self.examples.splits["train"]) for key in self._keys(batch.condition)]
        if training:
            numbers = [int(torch.randint(len(pool), ())) for pool in pools]
        else:
            numbers = [position * 7919 % len(pool) for position, pool in zip(positions.tolist(), pools, strict=True)]
        rows = torch.tensor([int(pool[number]) for pool, number in zip(pools, numbers, strict=True)], dtype=torch.int64)
        itself = (self.examples.x[rows, : batch.x.shape[1]] == batch.x.cpu()).all(1)
        for place in itself.nonzero()[:, 0].tolist():
            rows[place] = pools[place][(numbers[place] + 1) % len(pools[place])]
        return self.examples.x[rows].to(batch.x.device)

    @property
    def whole_batch(self) -> int:
        """As in the base, with padding."""
        rows = self.examples.splits["train"]
        return len(rows) * int(self.lengths[rows].max())

    def _keys(self, fields: Fields) -> list[tuple[int, ...]]:
        """The categories of each of B sentences."""
        names = [name for name, attribute in self.attributes.items() if isinstance(attribute, Categorical)]
        count = len(next(iter(fields.values())))
        return list(zip(*(fields[name].tolist() for name in names), strict=True)) if names else [()] * count

    def loader(self, split: Split, shuffle: bool = False) -> TensorLoader:
        """Batches of a split for this process."""
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        rows, tokens = self.examples.splits[split], self.batch_size * (1 if shuffle else 4)
        return BucketLoader(self.examples, rows, self.lengths, tokens, shuffle, self.seed, rank, world)

    def predict_dataloader(self) -> TensorLoader:
        """Batches of all sentences."""
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        tokens = 4 * self.batch_size
        return BucketLoader(self.examples, self.scored, self.lengths, tokens, False, self.seed, rank, world)


class Bible(TextData):
    """The embedded verses in three versions (kjv, bbe, web), split by verse."""

    def corpus(self) -> Corpus:
        """Reads the installed package's file."""
        return bible()


class Yelp(TextData):
    """Yelp's sentences, negative and positive, one file per split and style: `train.0.txt.gz`, ... Where there is
    no test file, the dev split is the test split, as in published work; validation is cut from train.

    Args:
        root: folder of the files; None is `yelp` below the data root.
        base: as in `TextData`.
    """

    def __init__(self, root: Path | None = None, **base: Any) -> None:
        super().__init__(**base)
        self.root = root

    @property
    def sources(self) -> list[Path]:
        """The folder."""
        return [Path(self.root or data_root() / "yelp")]

    def corpus(self) -> Corpus:
        """Reads the files."""
        found = style_files(self.sources[0], {"0": "negative", "1": "positive"})
        if found.splits is None or "test" in found.splits:
            return found
        return replace(found, splits=["test" if split == "val" else split for split in found.splits])


class TextFiles(TextData):
    """The user's own text: a folder with one file per style, a table (CSV, TSV, JSONL, Parquet, Excel), shards of
    WebDataset, or a data set that `datasets` has saved to disk.

    Args:
        root: the folder (`<style>.txt`, `<split>.<style>.txt` or `<split>/<style>.txt`), table or saved folder; or
            shards, a folder of `.tar` files or their names as a pattern, whose `.txt` are texts and `.json` conditions.
        text: name of the text column of a table.
        group: column of group names of a table: texts of one group are versions of the same text.
        base: as in `TextData`.
    """

    def __init__(self, root: Path, text: str = "text", group: str | None = None, **base: Any) -> None:
        super().__init__(**base)
        self.root, self.text, self.group = Path(root), text, group

    @property
    def sources(self) -> list[Path]:
        """The folder or the table."""
        return [self.root]

    def corpus(self) -> Corpus:
        """Reads the folder or the table."""
        conditions = None if self.names else self.condition
        if is_sharded(self.root, (".txt", ".txt.gz")):
            content = unpacked(self.root, None)
            if content.table is None:
                raise ValueError(f"{self.root}: the shards hold no text")
            corpus = table_file(content.table, self.text, conditions, self.group)
            origin = {**corpus.origin, "file": [str(self.root)] * len(corpus.texts)}
            return replace(corpus, file=self.root, origin=origin, notes=[*content.notes, *corpus.notes])
        if self.root.name.lower().endswith(TABLE_SUFFIXES) or is_saved_dataset(self.root):
            return table_file(self.root, self.text, conditions, self.group)
        return style_files(self.root)

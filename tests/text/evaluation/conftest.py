"""A judge of made-up sentences, and a small model after its test."""

from typing import NamedTuple

import pytest
import torch
from lightning.pytorch import Trainer

from common.conditions.attributes import Categorical, Continuous
from common.data.examples import Examples
from common.evaluation.evaluation import Evaluation
from common.results import Measurement
from common.training.evaluator import Evaluator
from modalities.text import StyleEncoder, TextStyleCVAE
from modalities.text.data import TextFiles
from modalities.text.evaluation.judge import TextJudge
from modalities.text.evaluation.report import TextReport
from modalities.text.networks.architectures import Compact
from tests.text.models import word_tokenizer

WORDS = word_tokenizer("thou", "you", "god", "made", "light", "unto", "to")
STYLES = {"style": Categorical(("old", "new")), "age": Continuous()}
PARTS = ["god", "light", "heaven", "earth", "the sea", "a man", "the king", "bread"]


@pytest.fixture(scope="package")
def table():
    """Sentences whose style one word gives away, at a random place; one in ten has no label."""
    generator = torch.Generator().manual_seed(0)
    style = torch.randint(0, 2, (400,), generator=generator)
    words = torch.randint(6, 9, (400, 6), generator=generator)
    words[torch.arange(400), torch.randint(0, 5, (400,), generator=generator)] = 4 + style
    words[:, 5] = WORDS.eos
    label = torch.where(torch.arange(400) % 10 == 0, -1, style)
    splits = {"train": torch.arange(300), "val": torch.arange(300, 320), "test": torch.arange(320, 400)}
    return Examples(words.int(), {"style": label, "age": torch.zeros(400)}, STYLES, splits)


@pytest.fixture(scope="package")
def judge(table):
    return TextJudge.of(table, WORDS)


class AfterTest(NamedTuple):
    model: TextStyleCVAE
    data: TextFiles
    judge: TextJudge
    results: dict[str, Measurement]


@pytest.fixture(scope="package")
def tested(tmp_path_factory):
    """A model after its test, on sentences in two versions, the data, the judge, and the figures."""
    file = tmp_path_factory.mktemp("figures") / "t.csv"
    sentences = [f"{first} and {second}" for first in PARTS for second in PARTS]
    lines = [f"unto {text},old,{n}\nto {text},new,{n}" for n, text in enumerate(sentences)]
    file.write_text("text,style,number\n" + "\n".join(lines) + "\n")
    data = TextFiles(file, group="number", vocabulary=300, length=24, shares=(0.2, 0.2))
    condition = StyleEncoder(data.attributes, data.tokenizer, dim=6, length=24)
    model = TextStyleCVAE(
        condition, data.tokenizer, 24, latent_dim=4, rewrites=5,
        architecture=Compact(width=16, heads=2, encoder_layers=1, decoder_layers=1),
        evaluation=Evaluation(num_samples=4, gain_samples=2, gain_examples=2, control_samples=20),
    )  # fmt: skip
    trainer = Trainer(
        accelerator="cpu", max_steps=2, limit_val_batches=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[Evaluator(model.evaluation, TextReport())],
    )  # fmt: skip
    trainer.fit(model, data)
    trainer.test(model, data, verbose=False)
    evaluator = Evaluator.of(trainer)
    return AfterTest(model, data, evaluator.report.judge(data), evaluator.results)

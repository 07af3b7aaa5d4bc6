"""The largest batch that fits: the search, the trial steps, and a training that is that of the size found."""

import random
import re
from typing import ClassVar

import numpy as np
import pytest
import torch
import yaml

from common.batch import Batch
from common.command_line import one_line
from common.data.datamodule import ConditionalDataModule
from common.data.examples import Examples
from common.data.splits import random_split
from common.objectives.objectives import ELBO, IWAE, Staged
from common.process_memory import release_memory, resident_memory_mb, restart_peak_memory
from common.training.batch_finder import BatchFinder
from common.training.trial_step import TrialStep, out_of_memory
from modalities.image import ImageCVAE
from modalities.text import TextStyleCVAE
from modalities.text.data import Bible
from tests.common.models import PointCVAE
from tests.scripts.own_data import OWN, slow_but
from tests.scripts.resume import Runs, differences, rows_of


class Points(ConditionalDataModule):
    """1,000 training points."""

    def load(self):
        x = torch.randn(1200, 3, generator=torch.Generator().manual_seed(0))
        return Examples(x, {}, {}, random_split(1200, (100 / 1200, 100 / 1200), 0))


# The search.


@pytest.mark.parametrize(
    ("mode", "first", "most", "capacity", "size", "tried", "said"),
    [
        ("power", 50, None, 230, 200, [50, 100, 200, 400], "200; with 400, too large"),
        ("power", 200, None, 30, 25, [200, 100, 50, 25], "25; with 50, too large"),
        ("power", 300, None, 10**6, 1000, [300, 600, 1000], "1,000: the whole training data are one batch"),
        ("power", 50, 300, 10**6, 300, [50, 100, 200, 300], "300, as batch_finder.most says"),
        ("power", 5000, None, 10**6, 1000, [1000], "1,000: the whole training data are one batch"),
        ("bisect", 50, None, 318, 312, [50, 100, 200, 400, 300, 350, 325, 312], "312; with 325, too large"),
        ("bisect", 8, None, 5, 5, [8, 4, 6, 5], "5; with 6, too large"),
        ("power", 8, None, 1, 1, [8, 4, 2, 1], "1; with 2, too large"),
    ],
)
def test_the_search_tries_few_sizes_and_says_why_it_ended(mode, first, most, capacity, size, tried, said):
    asked = []

    def fails(number):
        asked.append(number)
        return "too large" if number > capacity else None

    found, line = BatchFinder(mode, most).find(Points(first), fails)
    assert found == size
    assert asked == tried
    assert line == f"batch_finder: data.batch_size is {said}"


def test_where_nothing_fits_one_line_says_so():
    with pytest.raises(ValueError, match=r"batch_finder: not even data\.batch_size 1 fits \(too large\)"):
        BatchFinder("power").find(Points(4), lambda size: "too large")


@pytest.mark.parametrize("option", ["most", "memory_mb"])
def test_limits_below_one_are_refused(option):
    with pytest.raises(ValueError, match=rf"batch_finder\.{option} must be at least 1; got 0"):
        BatchFinder(**{option: 0})


# The trial steps.


class Hungry(PointCVAE):
    """Keeps a MB for each example, and notes the batches and steps that it sees."""

    megabytes = 1.0
    seen: ClassVar = []  # (samples, examples, step, whether it trains)

    def __init__(self, **arguments):
        super().__init__(latent_dim=2, **arguments)
        self.seen.clear()

    def decode(self, z, c):
        self.seen.append((len(z), z.shape[1], self.global_step if self._trainer else None, self.training))
        wide = torch.ones(*z.shape[:2], round(self.megabytes * 2**18)) * self.decoder.bias[0]
        return self.likelihood(self.decoder(z) + wide.sigmoid().mean(-1, keepdim=True), event_ndim=1)


def trial(model, data, memory_mb=10**6, **options):
    return TrialStep(model, data, {"accelerator": "cpu", "devices": 1, **options}, 0.9, memory_mb)


def test_a_trial_leaves_model_data_and_generators_as_they_were():
    model, data = Hungry(objective=Staged(ELBO(), IWAE(num_samples=3), 40)), Points(4)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    for capacity in (10**6, 1):  # a step that fits, and one that does not
        if capacity == 1:
            model.megabytes = 2.0**30
        assert (trial(model, data)(8) is None) == (capacity > 1)
        assert torch.equal(torch.get_rng_state(), states[0])
        assert np.random.get_state()[1].tolist() == states[1]
        assert random.getstate() == states[2]
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert [weight.grad for weight in model.parameters()] == [None] * 4
    assert (data.batch_size, data.trainer, model._trainer) == (4, None, None)


def test_a_trial_takes_two_steps_of_every_stage_and_a_validation_step():
    model = Hungry(objective=Staged(ELBO(), IWAE(num_samples=3), 40))
    model.megabytes = 0.01
    assert trial(model, Points(4))(16) is None
    steps = [(samples, step) for samples, rows, step, training in model.seen if training and step is not None]
    assert {rows for _, rows, _, training in model.seen if training} == {16}
    assert [samples for samples, step in steps if step >= 40] == [3, 3, 3, 3]
    assert {step for _, step in steps} == {0, 1, 40, 41, 10**9, 10**9 + 1}
    assert [training for *_, training in model.seen].count(False) == 1


def test_on_a_cpu_the_memory_of_the_process_is_limited():
    model = Hungry()
    tried = []

    def fails(size):
        reason = step(size)
        tried.append((size, reason))
        return reason

    release_memory()
    step = trial(model, Points(4), memory_mb=resident_memory_mb() + 150)
    found, line = BatchFinder("power").find(Points(4), fails)
    assert 8 <= found <= 64  # an example takes some MB, of its numbers and their gradients
    assert re.fullmatch(r"batch_finder: .* it takes more than batch_finder\.memory_mb [\d,]+", line)
    assert [size for size, reason in tried if reason] == [2 * found]
    release_memory()
    assert restart_peak_memory()
    assert resident_memory_mb() < step.memory_mb  # nothing of the trials is left


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"), True),
        (torch.OutOfMemoryError("too large"), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
            True,
        ),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error, expected):
    assert out_of_memory(error) == expected


def test_the_allocator_of_the_cpu_is_understood():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert out_of_memory(caught.value)


def test_another_error_of_a_step_is_no_lack_of_memory(monkeypatch):
    monkeypatch.setattr(Hungry, "decode", lambda *_: torch.ones(2, 3) @ torch.ones(2, 3))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        trial(Hungry(), Points(4))(8)


def test_several_processes_and_an_unlimited_cpu_are_refused():
    with pytest.raises(ValueError, match=r"one device: find the size with --trainer\.devices 1"):
        trial(Hungry(), Points(4), devices=2)
    with pytest.raises(ValueError, match=r"on a CPU .* batch_finder\.memory_mb \(it takes [\d,]+ now\)"):
        trial(Hungry(), Points(4), memory_mb=None)


def test_the_heaviest_batches_of_text_are_the_longest_and_those_of_most_tokens_and_sentences():
    data = Bible(vocabulary=600, limit=600, batch_tokens=300)
    loader = data.train_dataloader()
    whole = [data.transform(batch, training=True).x for batch in loader]
    heavy = [data.transform(batch, training=True).x for batch in loader.heaviest()]
    for measure in (len, lambda x: x.shape[1], torch.Tensor.numel):
        assert max(map(measure, heavy)) == max(map(measure, whole))
    assert len(heavy) <= 3 < len(whole)
    data.batch_size = data.whole_batch
    (everything,) = data.train_dataloader()
    assert len(everything) == data.train_size
    data.batch_size -= 1
    assert len(data.train_dataloader()) == 2


# The command line.


def limited(monkeypatch, kind, capacity, count):
    """Training steps of a model with larger batches find no memory; the sizes that were tried."""
    encode, seen = kind.encode, []

    def encodes(self, x, c):
        seen.append(count(x))
        if torch.is_grad_enabled() and count(x) > capacity:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return encode(self, x, c)

    monkeypatch.setattr(kind, "encode", encodes)
    return seen


CASES = {
    "image": (OWN[0], ImageCVAE, len, 20, "--data.batch_size", 16, 32),
    "text": (OWN[1], TextStyleCVAE, torch.Tensor.numel, 150, "--data.batch_tokens", 120, 240),
}


@pytest.mark.parametrize("own", slow_but("tabular")[2:])
def test_sound_and_tables_are_searched_too(own, tmp_path, caplog):
    search = ["--batch_finder.mode", "power", "--batch_finder.memory_mb", "1000000", "--batch_finder.most", "16"]
    folder = Runs(own, tmp_path, "--trainer.max_epochs", "1").fit("run", *search)
    assert "batch_finder: data.batch_size is 16, as batch_finder.most says" in caplog.text
    assert yaml.safe_load((folder / "config.yaml").read_text())["data"]["init_args"]["batch_size"] == 16


@pytest.mark.parametrize("name", CASES)
def test_a_training_is_that_of_the_size_found_and_a_resumed_one_keeps_it(name, tmp_path, monkeypatch, caplog):
    own, kind, count, capacity, option, size, beyond = CASES[name]
    runs = Runs(own, tmp_path, "--averaging", "0.9")
    limited(monkeypatch, kind, capacity, count)
    given = runs.fit("given", option, str(size))
    search = ["--batch_finder.mode", "power", "--batch_finder.memory_mb", "1000000"]
    found = runs.fit("found", option, str(size // 4), *search)
    said = [record.getMessage() for record in caplog.records if "batch_finder" in record.getMessage()]
    name = option.removeprefix("--")
    assert said == [f"batch_finder: {name} is {size}; with {beyond}, the memory does not suffice"]
    assert differences(given, found) == []
    configurations = [yaml.safe_load((folder / "config.yaml").read_text()) for folder in (given, found)]
    for configuration in configurations:
        configuration["run"].pop("id")
    assert configurations[0] == configurations[1]
    assert configurations[1]["data"]["init_args"][name.partition(".")[2]] == size
    before = len(rows_of(found))
    resumed = ["fit", "--config", str(found / "config.yaml"), "--ckpt_path", str(found / "checkpoints" / "last.ckpt")]
    runs.main([*resumed, "--trainer.max_epochs", "4"])
    assert len(rows_of(found)) > before
    with pytest.raises(ValueError, match=r"a resumed training keeps its size\. Leave batch_finder\.mode bisect out"):
        runs.main([*resumed, "--trainer.max_epochs", "5", "--batch_finder.mode", "bisect"])
    with pytest.raises(ValueError, match="test trains nothing"):
        runs.main(["test", *resumed[1:], "--batch_finder.mode", "power"])


def test_a_job_that_slurm_repeats_goes_on_with_the_size_that_it_found(tmp_path, monkeypatch):
    own, kind, count, capacity, *_ = CASES["image"]
    runs = Runs(own, tmp_path)
    search = ["--batch_finder.mode", "power", "--batch_finder.memory_mb", "1000000"]
    limited(monkeypatch, kind, capacity, count)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    folder = runs.fit("job", *search, "--trainer.max_epochs", "2")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    rows = len(rows_of(folder))
    monkeypatch.setattr("common.training.cli.TrialStep", lambda *_: pytest.fail("it searches again"))
    assert runs.fit("job", *search, "--trainer.max_epochs", "4") == folder
    assert len(rows_of(folder)) > rows
    assert yaml.safe_load((folder / "config.yaml").read_text())["data"]["init_args"]["batch_size"] == 16


def test_lightnings_own_finder_is_refused_in_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"BatchSizeFinder, .*give --batch_finder\.mode power instead") as caught:
        Runs(OWN[0], tmp_path).fit("run", "--trainer.callbacks", "lightning.pytorch.callbacks.BatchSizeFinder")
    assert "\n" not in one_line(caught.value)


def test_the_size_of_a_completion_is_that_of_its_images(digits):
    from modalities.image.completion import Completion

    data = Completion(digits)
    assert (data.batch_option, data.batch_size, data.whole_batch) == ("data.init_args.batch_size", 50, 4000)
    data.batch_size = 70
    (batch,) = data.train_dataloader().heaviest()
    assert isinstance(batch, Batch)
    assert len(batch) == 70

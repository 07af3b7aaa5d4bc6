"""Benchmarks on this machine: speed, and the errors of table imputation."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from common.benchmark.training import Work

# Heavy packages are imported where they are used, so that the command line is parsed before torch is imported.

WORKS = ("digits", "bible", "tunes", "breast_cancer")  # a training of each modality, whose data the suite has

EPILOG = """examples:
  benchmark.py decoding --sentences 64 --tokens 32 --rounds 5
  benchmark.py sound --rounds 50
  benchmark.py training --works digits bible --rounds 5
  benchmark.py generation --works digits tunes
  benchmark.py imputation --tables breast_cancer iris --masks 5
  benchmark.py imputation --tables abalone --masks 3 --mechanism mnar --rate 0.3
The comparison table with published results is made by: compare.py run imputation"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = result.add_subparsers(dest="command", required=True)
    decoding_ = commands.add_parser("decoding", help="sentences per second, with and without the key-value cache")
    decoding_.add_argument("--sentences", type=int, default=64, help="sentences decoded at once (default: 64)")
    decoding_.add_argument("--tokens", type=int, default=32, help="tokens of each sentence (default: 32)")
    decoding_.add_argument("--width", type=int, default=160, help="width of the decoder (default: 160)")
    decoding_.add_argument("--layers", type=int, default=2, help="blocks of the decoder (default: 2)")
    decoding_.add_argument("--vocabulary", type=int, default=4096, help="size of the vocabulary (default: 4096)")
    decoding_.add_argument("--rounds", type=int, default=5, help="timed runs of each variant, in turns (default: 5)")
    decoding_.set_defaults(run=decoding)

    training_ = commands.add_parser("training", help="examples per second of trainings, beside hand-written loops and "
                                                     "other trainers, in turn; writes docs/performance.md")  # fmt: skip
    training_.add_argument("--works", nargs="+", metavar="WORK",
                           help="mlp digits mnist bible tunes breast_cancer (default: all without MNIST)")  # fmt: skip
    training_.add_argument("--rounds", type=int, default=10, help="runs of each contender (default: 10)")
    training_.add_argument("--mnist", type=Path, metavar="FOLDER", help="folder of MNIST (default: in the data root)")
    training_.add_argument("--compiled", action="store_true", help="compiled steps compete as well")
    training_.set_defaults(run=training)

    for name, does, run in (
        ("startup", "seconds until a command line has printed its help, beside the imports that it cannot do without",
         startup),
        ("generation", "seconds of whole commands that generate or impute, beside the imports alone", generation),
        ("evaluation", "examples per second whose likelihood is estimated, beside a plain loop and the products of "
                       "matrices that it consists of", evaluation),
        ("profile", "milliseconds of a training step beside its floors, its longest operations, its growth", profile),
        ("preparation", "seconds until data are ready, with and without their cache, and examples per second of "
                        "batches, beside torch's DataLoader", preparation),
        ("scaling", "examples per second of two processes that train one model, pinned to a core each, beside two "
                    "trainings at the same time", scaling),
    ):  # fmt: skip
        command = commands.add_parser(name, help=f"{does}; writes docs/performance.md")
        if name != "startup":
            command.add_argument("--works", nargs="+", metavar="WORK", choices=WORKS, default=WORKS,
                                 help=f"{' '.join(WORKS)} (default: all)")  # fmt: skip
        if name != "profile":
            command.add_argument("--rounds", type=int, default=10, help="runs of each contender (default: 10)")
        command.set_defaults(run=run)

    sound_ = commands.add_parser("sound", help="seconds to turn the features of one clip into sound")
    sound_.add_argument("--iterations", type=int, default=16, help="iterations of Griffin-Lim (default: 16)")
    sound_.add_argument("--rounds", type=int, default=50, help="timed runs (default: 50)")
    sound_.set_defaults(run=sound)

    imputation_ = commands.add_parser("imputation", help="errors of imputers on tables with hidden cells")
    imputation_.add_argument("--tables", nargs="+", default=["breast_cancer", "wine", "diabetes", "iris"],
                             metavar="TABLE", help="tables (default: breast_cancer wine diabetes iris)")  # fmt: skip
    imputation_.add_argument("--methods", nargs="+", metavar="METHOD",
                             help="imputers (default: all; an unknown name lists them)")  # fmt: skip
    imputation_.add_argument("--masks", type=int, default=5, help="number of masks for each table (default: 5)")
    imputation_.add_argument("--first-mask", type=int, default=0, help="seed of the first mask (default: 0)")
    imputation_.add_argument("--mechanism", default="mcar", choices=["mcar", "mar", "mnar"],
                             help="missing completely at random, missing at random, or missing not at random "
                                  "(default: mcar)")  # fmt: skip
    imputation_.add_argument("--rate", type=float, default=0.5, help="share of cells to hide (default: 0.5)")
    imputation_.add_argument("--results", type=Path, metavar="PATH",
                             help="results.json to write for compare.py; requires a single method")  # fmt: skip
    imputation_.set_defaults(run=imputation)
    return result


def decoding(arguments: argparse.Namespace) -> None:
    """Prints sentences per second with and without the cache: medians, ranges, and the ratio of the medians."""
    import torch
    from tqdm import trange

    from modalities.text import StyleEncoder, TextStyleCVAE
    from modalities.text.data.corpus import bible
    from modalities.text.networks.architectures import Compact
    from modalities.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.train(bible().texts[:5000], arguments.vocabulary)
    architecture = Compact(width=arguments.width, decoder_layers=arguments.layers)
    model = TextStyleCVAE(StyleEncoder({}), tokenizer, arguments.tokens, architecture=architecture).eval()
    with torch.no_grad():
        model.decoder.bias[tokenizer.eos] = -1e9  # so that no sentence ends before its last token
    z = torch.randn(arguments.sentences, 32)
    likelihood = model.decode(z, model.condition({}).expand(arguments.sentences))
    writers: dict[str, Callable[[], Any]] = {
        "cached": lambda: likelihood.sample(),
        "uncached": lambda: likelihood.sample(cached=False),
    }
    for write in writers.values():
        write()
    seconds: dict[str, list[float]] = {name: [] for name in writers}
    for _ in trange(arguments.rounds, desc="timing", unit="round", leave=False, disable=None):
        for name, write in writers.items():
            start = time.perf_counter()
            write()
            seconds[name].append(time.perf_counter() - start)
    print(f"{arguments.sentences} sentences of {arguments.tokens} tokens, {torch.get_num_threads()} threads")
    for name, times in seconds.items():
        rates = sorted(arguments.sentences / taken for taken in times)
        spread = f"{rates[0]:.1f} to {rates[-1]:.1f}"
        print(f"{name:>9}: {statistics.median(rates):.1f} sentences a second (from {spread}, {len(rates)} rounds)")
    ratio = statistics.median(seconds["uncached"]) / statistics.median(seconds["cached"])
    print(f"    ratio: {ratio:.2f}")


def works(names: list[str] | None, mnist: Path | None = None) -> dict[str, Work]:
    """Trainings by name; None names those whose data the suite has.

    Raises:
        ValueError: for an unknown name.
    """
    from common.benchmark.training import Work
    from common.paths import data_root

    image, text, audio, tabular = (f"scripts/train_{name}.py" for name in ("image", "text", "audio", "tabular"))
    mnist = mnist or data_root() / "mnist"
    known = {
        "mlp": Work(image, "configs/benchmark/mlp.yaml", batches=150, root=mnist, peers=mnist),
        "digits": Work(image, "configs/image/digits.yaml"),
        "mnist": Work(image, "configs/image/mnist.yaml", batches=80, root=mnist),
        "bible": Work(
            text, "configs/text/bible.yaml", ("--data.limit", "5000"), epochs=3, size="batch_tokens", varying=True
        ),
        "tunes": Work(audio, "configs/audio/tunes.yaml", batches=20, epochs=3),
        "breast_cancer": Work(tabular, "configs/tabular/breast_cancer.yaml", epochs=40),
    }
    names = names or [name for name, work in known.items() if work.root is None]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"there is no work {unknown[0]!r}; there are: {', '.join(known)}")
    return {name: known[name] for name in names}


def training(arguments: argparse.Namespace) -> None:
    """Times trainings, and writes docs/performance.md."""
    from common.benchmark.training import measure

    for name, work in works(arguments.works, arguments.mnist).items():
        measure(name, work, arguments.rounds, arguments.compiled)


IMPORTS = "import torch, lightning.pytorch, jsonargparse"


def startup(arguments: argparse.Namespace) -> None:
    """Times the help of scripts, and writes docs/performance.md."""
    from common.benchmark.page import store
    from common.benchmark.trials import Contender, measured, whole_command

    def timed(name: str, *words: str) -> Contender:
        return Contender(name, [sys.executable, *words], whole_command)

    light = [timed(f"{name}.py --help", f"scripts/{name}.py", "--help")
             for name in ("generate", "evaluate", "impute", "compare", "report")]  # fmt: skip
    store("startup", "scripts", measured(light, arguments.rounds))
    heavy = [timed(f"train_{name}.py fit --help", f"scripts/train_{name}.py", "fit", "--help")
             for name in ("image", "text", "audio", "tabular")]  # fmt: skip
    store("startup", "training", measured([timed(IMPORTS, "-c", IMPORTS), *heavy], arguments.rounds))


def generation(arguments: argparse.Namespace) -> None:
    """Times commands that generate or impute with a checkpoint of one step, and writes docs/performance.md."""
    import tempfile

    from common.benchmark.page import store
    from common.benchmark.training import begun
    from common.benchmark.trials import Contender, measured, whole_command

    commands = {
        "digits": ("16 digits", ["generate.py", "--condition", "digit=3", "--num", "16", "--out", "samples.png"]),
        "bible": ("16 verses", ["generate.py", "--condition", "style=kjv", "--num", "16", "--out", "verses.txt"]),
        "tunes": ("4 clips", ["generate.py", "--condition", "genre=jig", "--num", "4", "--out", "clips/"]),
        "breast_cancer": ("569 rows", ["impute.py", "--in", "table.csv", "--out", "filled.csv"]),
    }
    for name, work in works(arguments.works).items():
        title, (script, *words) = commands[name]
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            if name == "breast_cancer":
                words[1] = str(_with_gaps(Path(folder) / "table.csv"))
            words[-1] = f"{folder}/{words[-1]}"
            command = [sys.executable, f"scripts/{script}", "--ckpt", str(begun(work, Path(folder) / "run")), *words]
            contenders = [Contender(f"{script}, {title}", command, whole_command)]
            for floor in ("import torch, lightning.pytorch", "import torch"):
                contenders.append(Contender(floor, [sys.executable, "-c", floor], whole_command))
            store("generation", name, measured(contenders, arguments.rounds))


def _with_gaps(path: Path) -> Path:
    """The table of breast_cancer with a quarter of its cells empty, in a file."""
    from sklearn.datasets import load_breast_cancer

    table = load_breast_cancer(as_frame=True).data
    table.iloc[::2, ::2] = None
    table.to_csv(path, index=False)
    return path


def evaluation(arguments: argparse.Namespace) -> None:
    """Times estimates of likelihoods with a checkpoint of one step, and writes docs/performance.md."""
    import tempfile

    from common.benchmark.page import store
    from common.benchmark.training import begun
    from common.benchmark.trials import Contender, measured, printed_object, printed_rates

    sizes = {"digits": (500, 1000), "bible": (50, 50), "tunes": (20, 20), "breast_cancer": (100, 1000)}
    for name, work in works(arguments.works).items():
        examples, samples = sizes[name]
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            checkpoint = str(begun(work, Path(folder) / "run"))
            command = [sys.executable, "-m", "common.benchmark.estimates", checkpoint]
            command += ["--examples", str(examples), "--samples", str(samples)]
            contenders = [
                Contender(f"the suite, {samples} samples", command, printed_rates),
                Contender("plain loop, example by example", [*command, "--plain"], printed_rates),
                Contender(
                    "evaluate.py nll, the whole command",
                    [sys.executable, "scripts/evaluate.py", "nll", "--ckpt", checkpoint, "--limit", str(examples),
                     "--num-samples", str(samples)],
                    partial(_rate_of, examples),
                ),
            ]  # fmt: skip
            row = measured(contenders, arguments.rounds)
            store("evaluation", name, {**row, "arithmetic": printed_object([*command, "--arithmetic"])})


def _rate_of(examples: int, text: str, seconds: float) -> float:
    return examples / seconds


def preparation(arguments: argparse.Namespace) -> None:
    """Times how data are read and batches come, and writes docs/performance.md."""
    from common.benchmark.page import store
    from common.benchmark.trials import Contender, measured, printed_rates

    for name, work in works(arguments.works).items():
        command = [sys.executable, "-m", "common.benchmark.preparation", work.config]
        pairs = {
            "preparation": {"from the cache": [], "with an empty cache": ["--cold"]},
            "batches": {"the suite's batches": ["--batches"], "torch's DataLoader": ["--torch-batches"]},
        }
        for kind, contenders in pairs.items():
            commands = [Contender(title, [*command, *more], printed_rates) for title, more in contenders.items()]
            store(kind, name, measured(commands, arguments.rounds))


def scaling(arguments: argparse.Namespace) -> None:
    """Times trainings in two processes, and writes docs/performance.md."""
    import tempfile

    from common.benchmark.page import store
    from common.benchmark.training import fit
    from common.benchmark.trials import Contender, measured, printed_rates

    for name, work in works(arguments.works).items():
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            # Weak scaling: as many batches of a process in an epoch, of which each ends with the same saving.
            words = fit(work, Path(folder), "--wandb.mode", "disabled", epochs=work.epochs + 2)[1:]
            together, apart = ("1.0", "0.5") if work.batches is None else (str(work.batches),) * 2
            pair = [sys.executable, "-m", "common.benchmark.scaling"]
            where, limit = ["--root", folder], "--trainer.limit_train_batches"
            contenders = [
                Contender("two processes, one training", [*pair, *where, *words, limit, together], printed_rates),
                Contender("two trainings at once", [*pair, "--apart", *where, *words, limit, apart], printed_rates),
            ]
            store("scaling", name, measured(contenders, arguments.rounds))


def profile(arguments: argparse.Namespace) -> None:
    """Profiles training steps, and writes docs/performance.md."""
    import tempfile

    from common.benchmark.page import store_profile
    from common.benchmark.training import begun
    from common.benchmark.trials import printed_object

    for name, work in works(arguments.works).items():
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            checkpoint = str(begun(work, Path(folder) / "run"))
            command = [sys.executable, "-m", "common.benchmark.profile", checkpoint, "--size", work.size]
            store_profile(name, printed_object(command))


def sound(arguments: argparse.Namespace) -> None:
    """Prints the median time to turn the features of a rendered clip into sound, and its range."""
    import torch
    from tqdm import trange

    from modalities.audio.data.rendering import Performance, render
    from modalities.audio.data.tunes import read_tunes, tune_files
    from modalities.audio.signal.features import LogMel
    from modalities.audio.signal.vocoder import GriffinLim

    features, vocoder = LogMel(), GriffinLim(iterations=arguments.iterations)
    tunes, _ = read_tunes(tune_files()[:5])
    clip = render(tunes[0], "fiddle", Performance(), 0.0, features.samples, features.sample_rate)
    log_mel = features.log_mel(clip)[None]
    vocoder(log_mel, features)
    seconds = []
    for _ in trange(arguments.rounds, desc="timing", unit="clip", leave=False, disable=None):
        start = time.perf_counter()
        vocoder(log_mel, features)
        seconds.append(time.perf_counter() - start)
    print(
        f"one clip of {features.seconds:.2f} s to sound, {torch.get_num_threads()} threads: median "
        f"{statistics.median(seconds):.3f} s (from {min(seconds):.3f} to {max(seconds):.3f}, {len(seconds)} clips)"
    )


def imputation(arguments: argparse.Namespace) -> None:
    """Prints the figures of every method on each table, averaged over masks.

    Raises:
        ValueError: for an unknown table or method, or `--results` with several methods.
    """
    from common.training.run_report import print_rows
    from modalities.tabular.data.tables import TABLES
    from modalities.tabular.evaluation.baselines import METHODS
    from modalities.tabular.evaluation.benchmark import results, run_protocol
    from modalities.tabular.evaluation.peers import FORESTS, PYTHON

    methods = arguments.methods or [name for name in METHODS if PYTHON.exists() or name not in FORESTS]
    if not PYTHON.exists():
        if asked := [name for name in methods if name in FORESTS]:
            raise ModuleNotFoundError(f"{asked[0]} needs an environment of its own: make forests")
        if not arguments.methods:
            print(f"left out, because they need an environment of their own (make forests): {', '.join(FORESTS)}")
    for kind, requested, known in (("table", arguments.tables, TABLES), ("method", methods, METHODS)):
        unknown = [name for name in requested if name not in known]
        if unknown:
            raise ValueError(f"there is no {kind} {unknown[0]!r}; there are: {'; '.join(known)}")
    if arguments.results and len(methods) > 1:
        raise ValueError("--results keeps one method: name it with --methods")
    masks = range(arguments.first_mask, arguments.first_mask + arguments.masks)
    started = datetime.now(UTC)
    measured = {}
    for name in arguments.tables:
        rows = run_protocol(name, methods, masks, arguments.mechanism, arguments.rate)
        print_rows(f"{name}, {arguments.rate:.0%} {arguments.mechanism.upper()}, {len(masks)} masks", rows)
        measured[name] = rows[methods[0]]
    if arguments.results:
        options = {"mechanism": arguments.mechanism, "rate": arguments.rate, "masks": arguments.masks}
        results(measured, methods[0], arguments.first_mask, started, options).write(arguments.results)


if __name__ == "__main__":
    arguments = parser().parse_args()
    try:
        arguments.run(arguments)
    except (ValueError, ModuleNotFoundError, RuntimeError) as error:
        sys.exit(f"benchmark.py: {error}")

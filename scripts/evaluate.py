"""Evaluates a checkpoint (its likelihood, or the rewriting of text) or a baseline without a network."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from common.command_line import (
    Parser,
    device,
    file_to_read,
    file_to_write,
    input_to_read,
    not_an_input,
    real,
    run_script,
    whole,
)

# Heavy packages are imported where they are used, so that the command line is parsed before torch is imported.
if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from common.batch import Batch
    from common.conditions.attributes import Fields
    from common.model.files import FileFormat, Scores, Work
    from common.model.latent_model import LatentModel

SAMPLES = 1000  # importance samples, where nobody says how many
SHOWN = 5  # rows of a table that are printed
SCORED = 20  # examples that are scored at once
PART = 50  # examples of annealed importance sampling at once, for its bar to move
PATH = ("chains", "temperatures", "leapfrog", "start")  # options of annealed importance sampling
REFINED = ("refine", "covariance", "starts", "prior")  # of a q that is refined for each example
PROPOSAL = (*REFINED, "modes", "degrees")  # of what importance samples are drawn from

EPILOG = """examples:
  evaluate.py nll --ckpt runs/image/digits/ID/checkpoints/best.ckpt --num-samples 1000 --limit 500
  evaluate.py nll --ckpt runs/image/digits/ID/checkpoints/best.ckpt --num-samples 200 --refine 100 --limit 500
  evaluate.py nll --ckpt runs/audio/tunes/ID/checkpoints/best.ckpt --method ais --gap --gain --limit 50
  evaluate.py score --ckpt runs/text/bible/ID/checkpoints/best.ckpt --in mine.txt --condition style=kjv --out scores.csv
  evaluate.py transfer --ckpt P --inputs kjv.txt --source-style kjv --target-style bbe --references bbe.txt
  evaluate.py baseline --config configs/text/bible.yaml --system copy --results runs/copy/results.json
  evaluate.py baseline --config configs/audio/tunes.yaml --system gaussian --results runs/gaussian/results.json"""


def parser() -> Parser:
    """The command line."""
    raw = argparse.RawDescriptionHelpFormatter
    result = Parser("evaluate.py", description=__doc__, epilog=EPILOG, formatter_class=raw)
    shared = Parser(add_help=False)
    shared.add_argument("--ckpt", type=Path, required=True, help="checkpoint inside its run folder")
    shared.add_argument("--seed", type=whole(), default=0, help="seed of all noise (default: 0)")
    shared.add_argument("--device", type=device, default="cpu", help="cpu, cuda ... (default: cpu)")
    config = Parser(add_help=False)
    config.add_argument(
        "--config", type=file_to_read, help="configuration of the data (default: that of the run folder)"
    )
    samples = Parser(add_help=False)
    samples.add_argument("--num-samples", type=whole(1), help=f"importance samples (default: {SAMPLES:,})")
    samples.add_argument("--at-once", type=whole(1), metavar="N",
                         help="examples x samples decoded at once: less needs less memory, and the NLL stays the same "
                         "(default: evaluation.decodes of the run, 1000)")  # fmt: skip
    commands = result.add_subparsers(dest="command", required=True)

    nll_ = commands.add_parser("nll", parents=[shared, config, samples], help="NLL of the run's data")
    nll_.add_argument("--split", default="test", choices=["train", "val", "test"], help="split (default: test)")
    nll_.add_argument(
        "--limit",
        type=whole(1),
        metavar="N",
        help="only N examples, drawn at random: those of a test with nll_examples N",
    )
    nll_.add_argument("--method", default="is", choices=["is", "ais"],
                      help="importance sampling, or annealed importance sampling, which is slow and does not rest on "
                           "the encoder: for NLL with few effective samples (default: is)")  # fmt: skip
    nll_.add_argument("--gain", action="store_true",
                      help="also what knowing the condition is worth: log p(x | c) - log p(x), the latter a mixture "
                           "over conditions, each of which costs one more NLL")  # fmt: skip
    nll_.add_argument("--gap", action="store_true",
                      help="also bounds the NLL from both sides, of as many examples that the model simulates under "
                           "the same conditions: what the method misses")  # fmt: skip
    nll_.add_argument("--conditions", type=whole(1), metavar="N",
                      help="most conditions that --gain compares with; where the data have more, N are drawn, and the "
                           "gain is a bound of at most log (N + 1) (default: 32)")  # fmt: skip
    drawn = nll_.add_argument_group(
        "with --method is", "what samples are drawn from; without any of these, from the encoder's q as it is"
    )
    drawn.add_argument("--refine", type=whole(), metavar="N",
                       help="gradient steps that fit q to each example by itself; 100 are recommended, and 300 with "
                            "--starts 16 where z has hundreds of units (default with another option: 100)")  # fmt: skip
    drawn.add_argument("--covariance", choices=["laplace", "full", "diagonal"],
                       help="of what is refined: by the curvature at the mode, or fitted to the ELBO "
                            "(default: laplace)")  # fmt: skip
    drawn.add_argument("--starts", type=whole(1), metavar="N",
                       help="with --covariance laplace: ways by which a mode is searched, of which the highest is "
                            "crossed with the others (default: 1)")  # fmt: skip
    drawn.add_argument("--modes", type=whole(1), metavar="M",
                       help="Gaussians, of which all but the first are refined from draws of the prior "
                            "(default: 1)")  # fmt: skip
    drawn.add_argument("--degrees", type=whole(1), metavar="NU",
                       help="degrees of freedom of a t-distribution, which has heavier tails (default: "
                            "a Gaussian)")  # fmt: skip
    drawn.add_argument("--prior", type=real(0, 1), metavar="SHARE",
                       help="share of the samples that the prior gives, which bounds their weights, and with ais "
                            "what a posterior elsewhere costs (default: 0)")  # fmt: skip
    annealed = nll_.add_argument_group("with --method ais")
    annealed.add_argument("--chains", type=whole(1), help="chains of each example (default: 10)")
    annealed.add_argument("--temperatures", type=whole(2),
                          help="distributions between the first one and the posterior (default: 100)")  # fmt: skip
    annealed.add_argument("--leapfrog", type=whole(1),
                          help="steps of a Hamiltonian trajectory at each temperature (default: 5)")  # fmt: skip
    annealed.add_argument("--start", choices=["posterior", "refined", "prior"],
                          help="first distribution: the encoder's; the encoder's refined by --refine gradient steps "
                               "for each example, which needs the fewest temperatures; or the prior, which misses no "
                               "mode but needs the most (default: posterior)")  # fmt: skip
    nll_.set_defaults(run=nll)

    score_ = commands.add_parser("score", parents=[shared, samples], help="NLL of each example in your own files")
    score_.add_argument("--in", dest="inputs", nargs="+", type=input_to_read, required=True, metavar="FILE",
                        help="input files; of images and sound also folders of them")  # fmt: skip
    score_.add_argument(
        "--condition", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="condition of the files"
    )
    score_.add_argument("--text-column", metavar="NAME", help="column of a table of texts (default: text)")
    score_.add_argument("--on-long", choices=["error", "truncate", "skip"],
                        help="what to do with texts that are too long for the model (default: error)")  # fmt: skip
    score_.add_argument("--out", type=file_to_write,
                        help="CSV to write, one row an example (default: the first rows are printed)")  # fmt: skip
    score_.set_defaults(run=score)

    transfer_ = commands.add_parser("transfer", parents=[shared, config], help="rewrite sentences and evaluate them")
    transfer_.add_argument("--inputs", type=file_to_read, required=True,
                           help="text file, one sentence per line, or a table")  # fmt: skip
    transfer_.add_argument("--text-column", metavar="NAME", help="column of texts in tables (default: text)")
    transfer_.add_argument("--on-long", choices=["error", "truncate"], default="error",
                           help="what to do with texts that are too long for the model (default: error)")  # fmt: skip
    transfer_.add_argument("--source-style", required=True, help="style of the inputs, a value of --label")
    transfer_.add_argument("--target-style", required=True, help="style of the rewritten sentences")
    transfer_.add_argument("--label", default="style", help="condition that is changed (default: style)")
    transfer_.add_argument("--references", nargs="+", type=file_to_read, default=[],
                           help="text files of reference sentences, parallel to the inputs")  # fmt: skip
    transfer_.add_argument("--guidance", type=real(0),
                           help="above 1 trades content for style (default: decoding.guidance)")  # fmt: skip
    transfer_.add_argument("--out", type=file_to_write, help="file of sentences to write, .txt or .jsonl")
    transfer_.set_defaults(run=transfer)

    baseline_ = commands.add_parser("baseline", help="evaluate a text or audio baseline without a network")
    baseline_.add_argument("--config", type=file_to_read, required=True, help="configuration of the data")
    baseline_.add_argument("--system", required=True, help="for text: copy, retrieve; for audio: gaussian, nearest")
    baseline_.add_argument("--label", default="style", help="for text: condition that is changed (default: style)")
    baseline_.add_argument("--count", type=whole(1), default=200,
                           help="test sentences of each pair of styles, or test clips (default: 200)")  # fmt: skip
    baseline_.add_argument("--seed", type=whole(), default=0, help="seed of the random draws (default: 0)")
    baseline_.add_argument("--results", type=file_to_write, required=True, help="results.json to write")
    baseline_.set_defaults(run=baseline)
    return result


def nll(arguments: argparse.Namespace) -> None:
    """Prints the negative log-likelihood with its error and effective sample size, and the gap of its bounds."""
    given = {
        method: {name: value for name in names if (value := getattr(arguments, name)) is not None}
        for method, names in (("is", PROPOSAL), ("ais", PATH))
    }
    if arguments.method == "ais" and arguments.start == "refined":
        given["ais"] |= {name: given["is"].pop(name) for name in REFINED if name in given["is"]}
    if arguments.method == "is" and given["ais"]:
        raise ValueError(f"--{next(iter(given['ais']))} is of annealed importance sampling: give --method ais as well")
    if arguments.conditions and not arguments.gain:
        raise ValueError("--conditions is of --gain: give it as well")
    if arguments.method == "ais" and (arguments.num_samples is not None or given["is"]):
        option = "num-samples" if arguments.num_samples is not None else next(iter(given["is"]))
        raise ValueError(f"--{option} is of importance sampling: with --method ais, give --chains")
    import torch
    from tqdm import tqdm

    from common.data.splits import some_rows
    from common.eval_mode import eval_mode
    from common.evaluation.annealing import Annealing
    from common.evaluation.bounds import Estimate, gain_of
    from common.evaluation.evaluation import Evaluation, candidates_of
    from common.evaluation.proposals import Proposal
    from common.results import Measurement
    from common.training.restore import restore

    path, proposal = Annealing(**given["ais"]), Proposal(**given["is"]) if given["is"] else None
    restored = restore(arguments.ckpt, arguments.device)
    model, data = restored.model, restored.data(arguments.config)
    decodes = arguments.at_once or model.evaluation.most_decodes
    method = Evaluation(
        seed=arguments.seed, decodes=decodes, nll_method=arguments.method, proposal=proposal,
        annealing=path if arguments.method == "ais" else None,
    )  # fmt: skip
    drawn = arguments.num_samples or SAMPLES
    title = method.estimator(drawn)
    loader = data.loader(arguments.split)
    chosen = some_rows(len(loader.rows), arguments.limit)
    count = len(chosen)
    if count == 0:
        raise ValueError(f"the split {arguments.split} has no examples: choose another")
    candidates = candidates_of(model, data, arguments.split, arguments.conditions) if arguments.gain else None
    if arguments.gain and candidates is None:
        raise ValueError(f"{arguments.ckpt} is a model without conditions that have values: leave out --gain")
    values, sizes, below, above, gains, places = [], [], [], [], [], []

    def estimate(part: Batch, near: Tensor | None) -> Estimate:
        return method.estimate(model, part, drawn, near)

    begun = time.perf_counter()
    with eval_mode(model), tqdm(total=count, desc="NLL", unit="example", disable=None) as progress:
        for batch in loader:
            batch = batch[torch.isin(batch.positions, chosen)]
            if len(batch) == 0:
                continue
            places.append(batch.positions.cpu())
            batch = data.transform(batch.to(arguments.device), training=False)
            size = len(batch) if arguments.method == "is" else min(PART, max(1, decodes // path.chains))
            for rows in torch.arange(len(batch)).split(size):
                part = batch[rows]
                found = estimate(part, None)
                values.append(-found.log_likelihood.cpu())
                sizes.append(found.effective_sample_size.cpu())
                if candidates is not None:
                    gains.append(gain_of(estimate, part, candidates, found).cpu())
                if arguments.gap:
                    both = method.sandwich(model, part, drawn)
                    below.append(-both.upper.cpu())
                    above.append(-both.lower.cpu())
                progress.update(len(part))
    seconds = (time.perf_counter() - begun) / count
    groups = data.examples.groups
    own = None if groups is None else groups[loader.rows[torch.cat(places)]]
    figure = Measurement.mean(torch.cat(values), "nats", title, own)
    print(
        f"{arguments.split} NLL {figure.value:.3f} ± {figure.stderr or 0:.3f} nats on {figure.n} examples "
        f"({figure.estimator}; mean effective sample size {torch.cat(sizes).mean():.1f})"
    )
    if candidates is not None:
        gain, compared = Measurement.mean(torch.cat(gains), "nats", title, own), len(candidates.weights)
        those = "all" if candidates.drawn is None else "drawn"
        print(f"condition gain {gain.value:.3f} ± {gain.stderr or 0:.3f} nats against {compared} conditions, {those}")
    if arguments.gap:
        low, high = torch.cat(below), torch.cat(above)
        gap = Measurement.mean(high - low, "nats", title)
        print(
            f"simulated NLL between {low.mean():.3f} and {high.mean():.3f} nats, a gap of {gap.value:.3f} "
            f"± {gap.stderr or 0:.3f} (median {(high - low).median():.3f}) on {gap.n} examples that the model has made"
        )
    if arguments.method == "ais" or proposal is not None:
        print(f"{seconds:.2f} s an example")


def score(arguments: argparse.Namespace) -> None:
    """Prints the mean NLL of files, and writes that of each example; without --out, prints that of the first ones."""
    if arguments.out is not None and arguments.out.suffix.lower() != ".csv":
        raise ValueError(f"{arguments.out}: scores are written as .csv")
    not_an_input(arguments.out, arguments.inputs)
    from tqdm import tqdm

    from common.model.files import RowFormat, condition_fields, condition_texts
    from common.results import Measurement
    from common.training.restore import restore

    restored = restore(arguments.ckpt, arguments.device)
    model, files = restored.model, restored.files
    condition, texts = condition_fields(model, arguments.condition), condition_texts(arguments.condition)
    count = arguments.num_samples or SAMPLES
    title = f"NLL, {count} samples"
    with tqdm(desc=title, unit="example", disable=None) as progress:

        def nll(batch: Batch) -> Tensor:
            drawn = count, arguments.seed, arguments.at_once
            values: Tensor = -model.log_likelihood(batch.to(arguments.device), *drawn)
            if not values.isfinite().all():
                raise ValueError(f"the model's NLL of {int((~values.isfinite()).sum())} examples is not finite")
            progress.update(len(batch))
            return values.cpu()

        if isinstance(files, RowFormat):
            files = files.reading(restored.row_options(arguments.text_column, arguments.on_long))
            scores = files.scored(model, files.files(arguments.inputs), condition, texts, nll)
        elif arguments.text_column or arguments.on_long:
            raise ValueError(f"{type(model).__name__} reads no text: leave out --text-column and --on-long")
        else:
            scores = scores_of_files(model, files, files.files(arguments.inputs), condition, texts, nll)
        progress.total = scores.count
        shown, values = written_scores(scores, arguments.out)
    for note in scores.notes:
        print(note, file=sys.stderr)
    if arguments.out is None:
        print(shown.to_string(index=False))
        if scores.count > SHOWN:
            print(f"... and {scores.count - SHOWN} more: --out FILE writes all of them")
    if len(values) == 0:
        raise ValueError("no example was scored")
    figure = Measurement.mean(values, "nats", f"importance sampling, {count} samples")
    error = "" if figure.stderr is None else f" ± {figure.stderr:.3f}"
    kind = "mean ± standard error" if error else "mean"
    print(f"NLL {figure.value:.3f}{error} {figure.unit} ({kind}), n = {figure.n} examples, {figure.estimator}")
    if arguments.out is not None:
        print(f"{scores.count} scores written to {arguments.out}")


def scores_of_files(
    model: LatentModel, files: FileFormat, paths: list[Path], condition: Fields, texts: dict[str, str], nll: Work
) -> Scores:
    """Scores of files that are read as a whole; all are read before the first is scored: a faulty one is named at once.

    Args:
        model: the model.
        files: its file format.
        paths: the files.
        condition: their condition, each field [1, ...].
        texts: the condition as texts by name.
        nll: the NLL of each example of a batch, nats, [B].
    """
    import torch

    from common.model.files import Scores

    batches = [files.read_batch(model, [path], condition) for path in paths]
    count = sum(map(len, batches))
    index = torch.arange(count).split([len(batch) for batch in batches])

    def parts() -> Iterator[dict[str, list[Any]]]:
        for path, batch, positions in zip(paths, batches, index, strict=True):
            numbered = batch.replace(index=positions)
            values = torch.cat([nll(numbered[rows]) for rows in torch.arange(len(batch)).split(SCORED)])
            yield files.score_table(model, path, batch, values, texts)

    return Scores(count, parts(), [])


def written_scores(scores: Scores, out: Path | None) -> tuple[pd.DataFrame, Tensor]:
    """Writes scores to a CSV as they are computed, which takes its name at the end; the first rows, and all NLL [N].

    Args:
        scores: the scores; an NLL of NaN was not measured, and is left out of the second result.
        out: the CSV; None writes nothing.
    """
    import pandas as pd
    import torch

    from common.paths import written_whole

    shown, values, written = pd.DataFrame(), [], 0
    with nullcontext() if out is None else written_whole(out) as unfinished:
        for part in scores.parts:
            table = pd.DataFrame(part)
            if written < SHOWN:
                shown = pd.concat([shown, table.head(SHOWN - written)], ignore_index=True)
            if unfinished is not None:
                mode: Literal["a", "w"] = "a" if written else "w"
                table.to_csv(unfinished, index=False, mode=mode, header=not written, lineterminator="\n")
            nll = torch.tensor(part["nll_nats"], dtype=torch.float64)
            values.append(nll[~nll.isnan()])
            written += len(table)
    return shown, torch.cat(values)


def transfer(arguments: argparse.Namespace) -> None:
    """Rewrites a file of sentences and prints style accuracy, content and fluency, beside those of the baselines."""
    import torch

    from common.batch import Batch
    from common.model.files import RowFormat, condition_fields
    from common.training.restore import restore
    from common.training.run_report import print_rows
    from modalities.text import TextStyleCVAE
    from modalities.text.data import TextData
    from modalities.text.evaluation.report import TextReport
    from modalities.text.evaluation.rewriting import rewriting_table

    torch.manual_seed(arguments.seed)
    restored = restore(arguments.ckpt, arguments.device)
    model, files, data = restored.model, restored.files, restored.data(arguments.config)
    if not isinstance(model, TextStyleCVAE) or not isinstance(data, TextData):
        raise ValueError(f"{arguments.ckpt} is a {type(model).__name__}: transfer is for text")
    if isinstance(files, RowFormat):
        files = files.reading(restored.row_options(arguments.text_column, arguments.on_long))
    source = condition_fields(model, [f"{arguments.label}={arguments.source_style}"])
    target = condition_fields(model, [f"{arguments.label}={arguments.target_style}"])
    x = files.read(model, arguments.inputs)
    references = [model.texts(files.read(model, path)) for path in arguments.references]
    for path, lines in zip(arguments.references, references, strict=True):
        if len(lines) != len(x):
            raise ValueError(f"{path} has {len(lines)} lines, {arguments.inputs} has {len(x)}: they must be parallel")
    condition = {name: field.expand(len(x)) for name, field in source.items()}
    batch = Batch(x, condition).to(arguments.device)
    guidance = model.decoding.guidance if arguments.guidance is None else arguments.guidance
    label, category = arguments.label, int(target[arguments.label])
    judge = TextReport().judge(data)
    outputs, rows = rewriting_table(model, data, judge, batch, label, category, references, guidance)
    print_rows(f"{arguments.source_style} -> {arguments.target_style}, {len(x)} sentences", rows)
    if arguments.out:
        from modalities.text.files import write_texts

        write_texts(outputs, arguments.out)
        print(f"{len(outputs)} sentences written to {arguments.out}")


def baseline(arguments: argparse.Namespace) -> None:
    """Measures a system without a network, as a row for a comparison table."""
    from common.data.from_config import data_from_configuration
    from common.training.run_report import print_rows
    from modalities.audio.data import AudioData
    from modalities.audio.evaluation.baseline_runs import baseline_results as audio_results
    from modalities.audio.evaluation.report import AudioReport
    from modalities.text.data import TextData
    from modalities.text.evaluation.report import TextReport
    from modalities.text.evaluation.rewriting import baseline_results as text_results

    data = data_from_configuration(arguments.config)
    system, count, seed = arguments.system, arguments.count, arguments.seed
    if isinstance(data, TextData):
        results = text_results(system, data, TextReport().judge(data), arguments.label, count, seed)
    elif isinstance(data, AudioData):
        results = audio_results(system, data, AudioReport().judge(data), count, seed)
    else:
        raise ValueError(
            f"{arguments.config}: {type(data).__name__} has no such system; there are some of text and sound"
        )
    results.write(arguments.results)
    print_rows(arguments.system, {arguments.system: results.metrics})


def work(arguments: argparse.Namespace) -> None:
    """Does what the command says."""
    if arguments.command != "baseline":
        from common.training.checkpoint_file import checkpoint_file

        checkpoint_file(arguments.ckpt)  # before torch is imported, which takes seconds
    arguments.run(arguments)


def main(words: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit status."""
    return run_script(parser(), work, words)


if __name__ == "__main__":
    sys.exit(main())

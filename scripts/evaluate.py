"""Evaluates a checkpoint (its likelihood, or the rewriting of text) or a baseline without a network."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from common.command_line import Parser, device, file_to_read, file_to_write, real, run_script, whole

# Heavy packages are imported where they are used, so that the command line is parsed before torch is imported.

SHOWN = 5  # rows of a table that are printed

EPILOG = """examples:
  evaluate.py nll --ckpt runs/image/digits/ID/checkpoints/best.ckpt --num-samples 1000 --limit 500
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
    samples.add_argument("--num-samples", type=whole(1), default=1000, help="importance samples (default: 1000)")
    commands = result.add_subparsers(dest="command", required=True)

    nll_ = commands.add_parser("nll", parents=[shared, config, samples], help="NLL of the run's data")
    nll_.add_argument("--split", default="test", choices=["train", "val", "test"], help="split (default: test)")
    nll_.add_argument("--limit", type=whole(1), metavar="N", help="only the first N examples")
    nll_.set_defaults(run=nll)

    score_ = commands.add_parser("score", parents=[shared, samples], help="NLL of each example in your own files")
    score_.add_argument("--in", dest="inputs", nargs="+", type=file_to_read, required=True, metavar="FILE",
                        help="input files")  # fmt: skip
    score_.add_argument("--condition", nargs="+", default=[], metavar="NAME=VALUE", help="condition of the files")
    score_.add_argument("--out", type=file_to_write,
                        help="CSV to write, one row an example (default: the first rows are printed)")  # fmt: skip
    score_.set_defaults(run=score)

    transfer_ = commands.add_parser("transfer", parents=[shared, config], help="rewrite sentences and evaluate them")
    transfer_.add_argument("--inputs", type=file_to_read, required=True, help="text file, one sentence per line")
    transfer_.add_argument("--source-style", required=True, help="style of the inputs, a value of --label")
    transfer_.add_argument("--target-style", required=True, help="style of the rewritten sentences")
    transfer_.add_argument("--label", default="style", help="condition that is changed (default: style)")
    transfer_.add_argument("--references", nargs="+", type=file_to_read, default=[],
                           help="text files of reference sentences, parallel to the inputs")  # fmt: skip
    transfer_.add_argument("--guidance", type=real(),
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
    """Prints the negative log-likelihood with its error and effective sample size."""
    import torch
    from tqdm import tqdm

    from common.eval_mode import eval_mode
    from common.evaluation import bounds
    from common.results import Measurement
    from common.training.restore import restore

    restored = restore(arguments.ckpt, arguments.device)
    model, data = restored.model, restored.data(arguments.config)
    values, sizes = [], []
    with eval_mode(model):
        title = f"NLL, {arguments.num_samples} samples"
        for batch in tqdm(data.loader(arguments.split), desc=title, unit="batch", disable=None):
            if arguments.limit is not None:
                batch = batch[batch.positions < arguments.limit]
            if len(batch) == 0:
                continue
            batch = data.transform(batch.to(arguments.device), training=False)
            estimate = bounds.log_likelihood(model, batch, arguments.num_samples, arguments.seed)
            values.append(-estimate.log_likelihood.cpu())
            sizes.append(estimate.effective_sample_size.cpu())
    figure = Measurement.mean(torch.cat(values), "nats", f"importance sampling, {arguments.num_samples} samples")
    print(
        f"{arguments.split} NLL {figure.value:.3f} ± {figure.stderr or 0:.3f} nats on {figure.n} examples "
        f"({figure.estimator}; mean effective sample size {torch.cat(sizes).mean():.1f})"
    )


def score(arguments: argparse.Namespace) -> None:
    """Prints the mean NLL of files, and writes that of each example; without --out, prints that of the first ones."""
    import pandas as pd
    import torch
    from tqdm import tqdm

    from common.model.files import condition_fields, condition_texts
    from common.results import Measurement
    from common.training.restore import restore

    restored = restore(arguments.ckpt, arguments.device)
    model, files = restored.model, restored.files
    condition, texts = condition_fields(model, arguments.condition), condition_texts(arguments.condition)
    # All files are read before the first is scored: a faulty one is named at once.
    batches = [files.read_batch(model, [path], condition) for path in arguments.inputs]
    index = torch.arange(sum(map(len, batches))).split([len(batch) for batch in batches])
    tables, values = [], []
    with tqdm(
        total=sum(map(len, batches)), desc=f"NLL, {arguments.num_samples} samples", unit="example", disable=None
    ) as progress:
        for path, batch, positions in zip(arguments.inputs, batches, index, strict=True):
            parts = []
            for rows in torch.arange(len(batch)).split(20):
                part = batch.replace(index=positions)[rows].to(arguments.device)
                parts.append(-model.log_likelihood(part, arguments.num_samples, arguments.seed).cpu())
                progress.update(len(part))
            values += parts
            tables.append(pd.DataFrame(files.score_table(model, path, batch, torch.cat(parts), texts)))
    table = pd.concat(tables, ignore_index=True)
    if arguments.out is None:
        print(table.head(SHOWN).to_string(index=False))
        if len(table) > SHOWN:
            print(f"... and {len(table) - SHOWN} more: --out FILE writes all of them")
    else:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(arguments.out, index=False)
    figure = Measurement.mean(torch.cat(values), "nats", f"importance sampling, {arguments.num_samples} samples")
    error = "" if figure.stderr is None else f" ± {figure.stderr:.3f}"
    kind = "mean ± standard error" if error else "mean"
    print(f"NLL {figure.value:.3f}{error} {figure.unit} ({kind}), n = {figure.n} examples, {figure.estimator}")
    if arguments.out is not None:
        print(f"{len(table)} scores written to {arguments.out}")


def transfer(arguments: argparse.Namespace) -> None:
    """Rewrites a file of sentences and prints style accuracy, content and fluency, beside those of the baselines."""
    import torch

    from common.batch import Batch
    from common.model.files import condition_fields
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

"""A sweep whose trainings take no time: a script that validates, saves, resumes and stops as a training does.

It keeps a journal of every epoch that it trains, so that what was run twice, or never, shows.
"""

from collections import Counter
from pathlib import Path

import yaml

TRAINING = """
import csv, os, signal, sys, time
from pathlib import Path

known = {"--config", "--model.x", "--model.y", "--trainer.max_epochs", "--run.root", "--run.name", "--run.id",
         "--ckpt_path", "--print_config", "--seconds"}
words, given = sys.argv[1:], {}
assert words.pop(0) == "fit"
while words:
    name, equals, value = words.pop(0).partition("=")
    if name not in known:
        sys.exit(f"train_stub.py: unknown option {name}")
    given[name] = value if equals or name == "--print_config" else words.pop(0)
if "--print_config" in given:
    sys.exit(0)
folder = Path(given["--run.root"]) / "stub" / given["--run.name"] / given["--run.id"]
last = folder / "checkpoints" / "last.ckpt"
last.parent.mkdir(parents=True, exist_ok=True)
assert last.exists() == ("--ckpt_path" in given)
assert os.environ["OMP_NUM_THREADS"] == "1"
(folder / "gpus").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
(folder / "worker").write_text(str(os.getppid()))
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
x, y, seconds = (float(given.get(name, 0)) for name in ("--model.x", "--model.y", "--seconds"))
if x < 0:
    sys.exit("the value is negative")
done = int(last.read_text()) if last.exists() else 0
def write(epochs):
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "train/loss", "val/elbo"])
        for epoch in range(epochs):
            writer.writerow([epoch, 1.0, ""])
            writer.writerow([epoch, "", -((x - 3) ** 2) - y**2 - 1 / (epoch + 1)])
write(done)
for epoch in range(done, int(given["--trainer.max_epochs"])):
    time.sleep(seconds)
    with open(JOURNAL, "a") as file:
        file.write(f"{given['--run.id']} {epoch}\\n")
    write(epoch + 1)
    last.write_text(str(epoch + 1))
    if stopped:
        sys.exit(143)
"""


def write_sweep(folder: Path, parameters: dict, method: str = "grid", epochs: int = 2, seconds: float = 0.0, **extra):
    """The specification of a sweep over `model.x` and `model.y`, whose best is x = 3, y = 0."""
    script = folder / "train_stub.py"
    script.write_text(TRAINING.replace("JOURNAL", repr(str(folder / "journal"))))
    (folder / "base.yaml").write_text("model: {}\n")
    content = {
        "program": str(script),
        "command": ["${env}", "${interpreter}", "${program}", "fit", f"--config={folder / 'base.yaml'}", "${args}"],
        "method": method,
        "metric": {"name": "val/elbo", "goal": "maximize"},
        "parameters": {**parameters, "trainer.max_epochs": {"value": epochs}, "seconds": {"value": seconds}},
        **extra,
    }
    path = folder / "numbers.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def epochs_trained(folder: Path) -> dict[str, list[int]]:
    """Run -> the epochs that were trained, in order."""
    trained: dict[str, list[int]] = {}
    journal = folder / "journal"
    for line in journal.read_text().splitlines() if journal.exists() else []:
        run, epoch = line.split()
        trained.setdefault(run, []).append(int(epoch))
    return trained


def repeated(folder: Path) -> dict[str, list[int]]:
    """Run -> the epochs that were trained more than once."""
    counts = {run: Counter(epochs) for run, epochs in epochs_trained(folder).items()}
    twice = {run: [epoch for epoch, times in count.items() if times > 1] for run, count in counts.items()}
    return {run: epochs for run, epochs in twice.items() if epochs}

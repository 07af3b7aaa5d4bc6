"""Checkpoints and configurations that try to run code or to import modules, against everything that reads them.

    python -m tests.soak.hostile --minutes 60        docs/reliability/hostile.json
    python -m tests.soak.hostile --attempt 12        one of them, with what became of it

Code that is run leaves a mark, and so does the module `stranger`, which lies on the path and is not allowed. Before the
attempts, untouched checkpoints and configurations go through the same entries: they have to be accepted. What they
import, and what the refusal of a misspelled option imports, an attempt may import beside the allowed packages. Each
attempt has a process of its own. WORK/attempts.jsonl has a line for each, and a later call goes on after the last one.
"""

import builtins
import copy
import functools
import gzip
import http.server
import importlib
import io
import itertools
import json
import os
import pickle
import random
import runpy
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from common.command_line import one_line
from common.configurable import ACTING, BUILT_OF
from common.configurable import OWN as SUITE
from common.training.checkpoint import read_checkpoint
from common.training.restore import restore
from common.training.tracking.provenance import git_revision
from scripts import evaluate, generate, impute
from tests.scripts.own_data import OWN
from tests.scripts.resume import Runs
from tests.soak.arguments import soak_arguments
from tests.soak.table import write_row

SECONDS = 60  # that an attempt may take
ENTRIES = ("restore", "read", "generate", "evaluate", "impute", "fit --ckpt_path", "fit --weights", "test")


class Payload:
    """Runs something where it is unpickled.

    Args:
        function: what.
        arguments: of it.
    """

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


def payloads(mark: str) -> dict[str, Any]:
    """Objects that leave the mark when they are unpickled, each by another function."""
    command, code = f"touch {mark}", f"open({mark!r}, 'w').close()"
    return {
        "os.system": Payload(os.system, command),
        "open": Payload(open, mark, "w"),
        "exec": Payload(exec, code),
        "eval": Payload(eval, code),
        "Popen": Payload(subprocess.Popen, ["touch", mark]),
        "check_output": Payload(subprocess.check_output, ["touch", mark]),
        "Path.touch": Payload(Path.touch, Path(mark)),
        "import_module": Payload(importlib.import_module, "stranger"),
        "__import__": Payload(builtins.__import__, "stranger"),
        "run_module": Payload(runpy.run_module, "stranger"),
        "torch.save": Payload(torch.save, 1, mark),
    }


CLASSES = (
    "stranger.Model", "stranger.sub.Model", "stranger", ".stranger.Model", "common.stranger.Model", "os.system",
    "subprocess.Popen", "builtins.exec", "builtins.eval", "builtins.open", "pathlib.Path", "antigravity.Model",
    "common.configurable.importlib", "common.training.signals.subprocess.Popen", "modalities.image.os.system",
    "common.training.checkpoint_io.WholeCheckpointIO", "torch.nn.Linear", "torch.hub.load", "ctypes.CDLL", "",
)  # fmt: skip


@dataclass(frozen=True)
class Attempt:
    """One attempt.

    Attributes:
        kind: of the file.
        name: what is tried.
        work: does it, in a process of its own.
    """

    kind: str
    name: str
    work: Callable[[], Any]


class Lab:
    """Real checkpoints, and what is made of them.

    Args:
        folder: of everything; the module `stranger` and the marks are in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.mark, self.file = folder, folder / "mark", folder / "hostile.ckpt"
        (folder / "stranger").mkdir(parents=True)
        leave = f"open({str(self.mark)!r}, 'w').close()\n"
        (folder / "stranger" / "__init__.py").write_text(f"{leave}class Model:\n    pass\n")
        (folder / "stranger" / "sub.py").write_text("class Model:\n    pass\n")
        (folder / "hubconf.py").write_text(f"{leave}def model():\n    pass\n")  # of torch.hub
        self.known = {*SUITE, *BUILT_OF, *(name.partition(".")[0] for name in sys.modules)}
        sys.path.insert(0, str(folder))
        short = ["--trainer.max_epochs", "1"]
        self.runs = {own.modality: Runs(own, folder / own.modality, *short) for own in (OWN[0], OWN[3])}
        self.whole = {}
        for modality, runs in self.runs.items():
            process = runs.in_a_process(functools.partial(runs.fit, "whole"))
            process.join(300)
            self.whole[modality] = runs.folder("whole")
        files = {modality: run / "checkpoints" / "last.ckpt" for modality, run in self.whole.items()}
        self.contents = {modality: torch.load(file, weights_only=True) for modality, file in files.items()}

    def written(self, content: Any, form: str = "zip") -> Path:
        """A checkpoint file of a content."""
        if form == "zip":
            torch.save(content, self.file)
        elif form == "legacy":
            torch.save(content, self.file, _use_new_zipfile_serialization=False)
        else:
            data = pickle.dumps(content)
            self.file.write_bytes(gzip.compress(data) if form == "gzip" else data)
        return self.file

    def through(self, entry: str, modality: str, path: Path) -> None:
        """Reads a file by one of the entries."""
        out = self.folder / f"out.{'npz' if modality == 'image' else 'csv'}"
        here = ["--ckpt", str(path), "--out", str(out)]
        table = str(self.runs["tabular"].root / "data" / "table.csv")
        if entry == "read":
            read_checkpoint(path)
        elif entry == "restore":
            restored = restore(path)
            _ = restored.files, restored.report
            restored.data()
        elif entry == "generate":
            condition = ["--condition", "class=calm"] if modality == "image" else []
            ended(generate.main(["--num", "1", *condition, *here]))
        elif entry == "evaluate":
            ended(evaluate.main(["nll", "--ckpt", str(path), "--num-samples", "2", "--limit", "2"]))
        elif entry == "impute":
            ended(impute.main(["--in", table, *here]))
        else:
            verb, _, option = entry.partition(" ")
            runs = self.runs[modality]
            option = option or "--ckpt_path"
            runs.main([verb, *runs.options, "--run.root", str(self.folder / "runs"), option, str(path)])

    def strange(self, imported: list[str]) -> list[str]:
        """Packages that were imported and are neither allowed nor imported by what does no harm, and acting modules."""
        tops = {name.partition(".")[0] for name in imported}
        return sorted({name for name in tops if name not in self.known or name in ACTING} - set(allowed_by_person()))

    def controls(self) -> Iterator[tuple[Attempt, str]]:
        """What does no harm, and what has to become of it."""
        for entry, modality in itertools.product(ENTRIES, self.contents):
            if (entry, modality) != ("impute", "image"):  # images have no cells
                yield Attempt("controls", f"{modality} {entry}",
                              functools.partial(self._untouched, entry, modality)), "accepted"  # fmt: skip
        adam = "class_path: torch.optim.AdamW, init_args: {lr: 0.001}"
        texts = {"trainer: {max_epochs: 1}": "accepted", f"model: {{optimizer: {{{adam}}}}}": "accepted",
                 "trainer: {max_epoch: 1}": "refused"}  # fmt: skip
        for text, wanted in texts.items():
            yield Attempt("controls", text, functools.partial(self._yaml, text)), wanted
        yield Attempt("controls", "server", self._served), "accepted"

    def _untouched(self, entry: str, modality: str) -> None:
        self.through(entry, modality, self.written(self.contents[modality]))

    def attempts(self) -> list[Attempt]:
        """All attempts, in an order that does not change and mixes the kinds."""
        kinds = (self.pickles, self.class_paths, self.archives, self.configurations, self.addresses)
        found = [attempt for kind in kinds for attempt in kind()]
        random.Random(0).shuffle(found)
        # A training script takes seconds: a fifth of the attempts until the others are done.
        quick, slow = ([a for a in found if a.name.endswith(("restore", "read")) == wanted] for wanted in (True, False))
        return (
            [part for group in zip(*[iter(quick)] * 4, slow, strict=False) for part in group]
            + quick[len(quick) // 4 * 4 :]
            + (slow[len(quick) // 4 :])
        )

    def pickles(self) -> Iterator[Attempt]:
        """Objects that run code, in each place of a checkpoint and in each format."""
        turn = itertools.cycle(ENTRIES)
        for modality, content in self.contents.items():
            places = [*content, "hyper_parameters", "a new key"]
            for number, place in enumerate(places):
                for index, name in enumerate(payloads(str(self.mark))):
                    if (number + index) % 2 == (modality == "image"):
                        form = ("zip", "zip", "zip", "legacy", "pickle", "gzip")[(number + index) // 2 % 6]
                        nested = index % 3
                        entry = next(turn)
                        said = f"{modality}.{place} {name} {form} {nested} {entry}"
                        work = functools.partial(self._pickle, modality, place, name, form, nested, entry)
                        yield Attempt("pickles", said, work)

    def _pickle(self, modality: str, place: str, name: str, form: str, nested: int, entry: str) -> None:
        content, payload = dict(self.contents[modality]), payloads(str(self.mark))[name]
        former = content.get(place)
        if nested == 1 and isinstance(former, dict):
            payload = {**former, "more": payload}
        elif nested == 2:
            payload = [former, (payload,)]
        content[place] = payload
        self.through(entry, modality, self.written(content, form))

    def class_paths(self) -> Iterator[Attempt]:
        """Names of classes, in each place that a class is built from."""
        turn = itertools.cycle(ENTRIES)
        for modality, content in self.contents.items():
            places = [*_class_places(content), ("files",), ("report",), ("configuration", "data"), ("data", "learned"),
                      ("configuration", "subset"), ("configuration", "data", "init_args", "more"),
                      ("configuration", "trainer", "callbacks"), ("model", "init_args", "more")]  # fmt: skip
            for number, (place, path) in enumerate(itertools.product(places, CLASSES)):
                if number % 2 == (modality == "image"):
                    entry = "restore" if number % 3 else next(turn)
                    yield Attempt("class paths", f"{modality}.{'.'.join(map(str, place))} {path} {entry}",
                                  functools.partial(self._class, modality, place, path, entry, number))  # fmt: skip

    def _class(self, modality: str, place: tuple, path: str, entry: str, number: int) -> None:
        content = copy.deepcopy(self.contents[modality])
        part = content
        for name in place[:-1]:
            part = part[name] if isinstance(part, list) else part.setdefault(name, {})
        if place[-1] == "class_path" or place[0] in ("files", "report") or number % 4 == 0:
            part[place[-1]] = path  # a name alone is read as a class, too
        else:
            value = {"class_path": path, "init_args": {}}
            part[place[-1]] = {"more": value} if place == ("data", "learned") else value
        self.through(entry, modality, self.written(content))

    def archives(self) -> Iterator[Attempt]:
        """Tricks with the format of the file."""
        tricks = ("two pickles", "another folder", "prefix", "script", "package", "trailing pickle", "numpy",
                  "safetensors", "link")  # fmt: skip
        for trick, entry in itertools.product(tricks, ENTRIES):
            yield Attempt("archives", f"{trick} {entry}", functools.partial(self._archive, trick, entry))

    def _archive(self, trick: str, entry: str) -> None:
        content, bad = self.contents["tabular"], io.BytesIO()
        torch.save({**content, "more": Payload(os.system, f"touch {self.mark}")}, bad)
        good = self.written(content).read_bytes()
        with zipfile.ZipFile(bad) as archive:
            entries = {info: archive.read(info) for info in archive.infolist()}
        hostile = next(data for info, data in entries.items() if info.filename.endswith("data.pkl"))
        if trick in ("two pickles", "another folder", "package"):
            with zipfile.ZipFile(self.file, "a") as archive:
                name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
                other = {"two pickles": name, "another folder": "another/data.pkl", "package": ".data/extern_modules"}
                archive.writestr(other[trick], hostile)
                if trick == "another folder":
                    archive.writestr("another/version", "3")
        elif trick == "prefix":
            self.file.write_bytes(bad.getvalue()[:4] + good + bad.getvalue())
        elif trick == "trailing pickle":
            self.file.write_bytes(good + pickle.dumps(Payload(os.system, f"touch {self.mark}")))
        elif trick == "script":
            module = torch.jit.script(torch.nn.Linear(1, 1))
            torch.jit.save(module, str(self.file), _extra_files={"suite_format": "2", "latent_dim": "2"})
        elif trick == "numpy":
            import numpy as np

            array = np.array([Payload(os.system, f"touch {self.mark}"), "suite_format latent_dim"], dtype=object)
            with self.file.open("wb") as file:
                np.savez(file, data=array)
        elif trick == "safetensors":
            self.file.write_bytes((8).to_bytes(8, "little") + b'{"a": 1}' + hostile)
        else:
            self.file.unlink()
            target = self.folder / "elsewhere.ckpt"
            target.write_bytes(bad.getvalue())
            self.file.symlink_to(target)
        self.through(entry, "tabular", self.file)

    def configurations(self) -> Iterator[Attempt]:
        """Configurations that name functions and classes of other kinds where a class is expected."""
        options = ("data", "model.condition", "model.prior", "model.likelihood", "model.objective", "model.optimizer",
                   "model.scheduler", "trainer.callbacks", "trainer.logger", "trainer.plugins", "trainer.strategy",
                   "trainer.profiler", "trainer.accelerator", "subset", "samples", "wandb", "run",
                   "evaluation")  # fmt: skip
        harmful = {
            "subprocess.Popen": {"args": ["touch", str(self.mark)]},
            "os.system": {"command": f"touch {self.mark}"},
            "builtins.open": {"file": str(self.mark), "mode": "w"},
            "builtins.exec": {"source": f"open({str(self.mark)!r}, 'w')"},
            "subprocess.check_output": {"popenargs": ["touch", str(self.mark)]},
            "pathlib.Path.touch": {"self": str(self.mark)},
            "logging.FileHandler": {"filename": str(self.mark)},
            "stranger.Model": {},
            "torch.hub.load": {"repo_or_dir": str(self.folder), "model": "model", "source": "local"},
        }
        pairs = itertools.product(options, harmful.items())
        for number, (option, (path, arguments)) in enumerate(pairs):
            for form in ("whole", "alone") if number % 2 else ("in a file", "as an option"):
                value: Any = path if form == "alone" else {"class_path": path, "init_args": arguments}
                yield Attempt("configurations", f"{option} {path} {form}",
                              functools.partial(self._configuration, option, value, form))  # fmt: skip
        for path, arguments in harmful.items():
            for form in ("whole", "alone"):
                value = path if form == "alone" else {"class_path": path, "init_args": arguments}
                value = {"class_path": "lightning.pytorch.callbacks.LambdaCallback", "init_args": {"setup": value}}
                yield Attempt("configurations", f"LambdaCallback {path} {form}",
                              functools.partial(self._configuration, "trainer.callbacks", value, form))  # fmt: skip
        tags = (f"!!python/object/apply:os.system ['touch {self.mark}']",
                f"!!python/object/new:subprocess.Popen [['touch', '{self.mark}']]",
                "!!python/name:stranger.Model", "!!python/module:stranger")  # fmt: skip
        for tag, option in itertools.product(tags, ("data", "seed_everything", "trainer.callbacks", "model.prior")):
            yield Attempt("configurations", f"{option} {tag[:40]}", functools.partial(self._yaml, f"{option}: {tag}\n"))

    def _configuration(self, option: str, value: Any, form: str) -> None:
        if form == "in a file":
            part = self.folder / "part.yaml"
            part.write_text(json.dumps(value))
            value = str(part)
        if form == "as an option":
            return self._fit(f"--{option}={json.dumps([value] if option == 'trainer.callbacks' else value)}")
        for name in reversed(option.split(".")):
            value = {name: [value] if name == "callbacks" else value}
        return self._yaml(json.dumps(value))

    def _yaml(self, text: str) -> None:
        path = self.folder / "hostile.yaml"
        path.write_text(text)
        self._fit("--config", str(path))

    def _fit(self, *words: str) -> None:
        runs = self.runs["tabular"]
        runs.main(["fit", *runs.options, "--run.root", str(self.folder / "runs"), *words])

    def addresses(self) -> Iterator[Attempt]:
        """Checkpoints and configurations at an address, which nothing may ask for."""
        for entry in (*ENTRIES, "config"):
            for scheme in ("http", "https", "ftp", "file"):
                yield Attempt("addresses", f"{scheme} {entry}", functools.partial(self._address, scheme, entry))

    def _served(self) -> int:
        """The port of a server of the folder, which leaves the mark when it is asked for something."""
        lab = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments, directory=str(lab.folder))

            def do_GET(self) -> None:
                lab.mark.touch()
                super().do_GET()

            do_HEAD = do_GET

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return int(server.server_address[1])

    def _address(self, scheme: str, entry: str) -> None:
        torch.save({**self.contents["tabular"], "more": Payload(os.system, f"touch {self.mark}")}, self.file)
        (self.folder / "x.yaml").write_text("seed_everything: 1\n")
        place = f"file://{self.folder}/" if scheme == "file" else f"{scheme}://127.0.0.1:{self._served()}/"
        if entry == "config":
            self._fit("--config", f"{place}x.yaml")
        else:
            # As texts: a Path would change the address.
            words = {"restore": lambda: restore(f"{place}hostile.ckpt")}
            words.get(entry, lambda: self.through(entry, "tabular", f"{place}hostile.ckpt"))()  # type: ignore[arg-type]


def ended(status: int) -> None:
    """Raises ValueError where a script has refused its input."""
    if status:
        raise ValueError(f"status {status}")


def _class_places(part: Any, place: tuple = ()) -> list[tuple]:
    """Where class paths stand."""
    found = []
    if isinstance(part, dict | list):
        for name, value in part.items() if isinstance(part, dict) else enumerate(part):
            found += [(*place, name)] if name == "class_path" else _class_places(value, (*place, name))
    return found


def allowed_by_person() -> list[str]:
    """Packages that $SUITE_ALLOW names."""
    return os.environ.get("SUITE_ALLOW", "").replace(",", " ").split()


def observed(lab: Lab, attempt: Attempt) -> tuple[str, list[str]]:
    """What becomes of an attempt, and the modules that it imports."""
    lab.mark.unlink(missing_ok=True)
    lab.file.unlink(missing_ok=True)
    said = lab.folder / "said"
    said.unlink(missing_ok=True)

    def work() -> None:
        imported, before = list[str](), set(sys.modules)
        sys.addaudithook(lambda event, rest: imported.append(str(rest[0])) if event == "import" else None)
        result = "accepted"
        try:
            attempt.work()
        except SystemExit as error:
            result = f"refused: status {error.code}" if error.code else "accepted"
        except BaseException as error:
            result = f"refused: {type(error).__name__}: {one_line(error)[:200]}"
        said.write_text(json.dumps([result, sorted({*imported, *sys.modules} - before)]))  # importlib audits nothing

    process = lab.runs["tabular"].in_a_process(work)
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
    time.sleep(0.005)  # a process that was started may still write
    result, imported = json.loads(said.read_text()) if said.exists() else (f"died: {process.exitcode}", [])
    return result, imported


def outcome(lab: Lab, attempt: Attempt) -> dict[str, Any]:
    """What becomes of an attempt, as a line of the list."""
    result, imported = observed(lab, attempt)
    return {"kind": attempt.kind, "name": attempt.name, "outcome": result, "ran": lab.mark.exists(),
            "imports": lab.strange(imported)}  # fmt: skip


def controlled(lab: Lab) -> dict[str, int]:
    """Passes what does no harm through all entries, and learns what it imports; how often there was which outcome.

    Raises:
        RuntimeError: if something harmless is not treated as it has to be: of attempts, nothing could then be said.
    """
    counts: Counter[str] = Counter()
    for control, wanted in lab.controls():
        result, imported = observed(lab, control)
        if not result.startswith(wanted) or lab.mark.exists():
            raise RuntimeError(f"the control {control.name} is {result}, and has to be {wanted}: nothing is measured")
        counts[wanted] += 1
        lab.known |= {name.partition(".")[0] for name in imported}
    return dict(counts)


def summary(done: list[dict[str, Any]], controls: dict[str, int]) -> dict[str, Any]:
    """The row of the table."""
    return {
        "controls": controls,
        "attempts": len(done),
        "executions": sum(attempt["ran"] for attempt in done),
        "imports": sum(bool(attempt["imports"]) for attempt in done),
        "kinds": dict(Counter(attempt["kind"] for attempt in done)),
        "refused": sum(attempt["outcome"].startswith("refused") for attempt in done),
        "accepted": sum(attempt["outcome"] == "accepted" for attempt in done),
        "died": [attempt for attempt in done if attempt["outcome"].startswith("died")],
        "ran": [attempt for attempt in done if attempt["ran"] or attempt["imports"]],
        "revision": git_revision(),
    }


def main() -> None:
    """Attempts what is left, and writes the row."""
    arguments = soak_arguments(__doc__, "runs/soak/hostile", minutes=60, one="attempt")
    end = time.monotonic() + 60 * arguments.minutes
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    try:
        lab = Lab(folder)
        controls = controlled(lab)
        lines = arguments.work / "attempts.jsonl"
        done = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
        for number, attempt in enumerate(lab.attempts()):
            if arguments.attempt is not None:
                if number == arguments.attempt:
                    print(json.dumps(outcome(lab, attempt), indent=1))
                continue
            if number < len(done):
                continue
            if time.monotonic() > end:
                break
            done.append(outcome(lab, attempt))
            with lines.open("a") as file:
                file.write(json.dumps(done[-1]) + "\n")
            if done[-1]["ran"] or done[-1]["imports"] or not done[-1]["outcome"].startswith("refused"):
                print(number, json.dumps(done[-1]), flush=True)
        if arguments.attempt is None:
            write_row("hostile", summary(done, controls))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

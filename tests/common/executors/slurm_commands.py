"""SLURM's commands, as far as submitit needs them, on one machine: this file stands on PATH under each of their names.

A folder, $FAKE_SLURM, holds the batch files and the state of each job.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

PLACES = {"%A": "SLURM_ARRAY_JOB_ID", "%a": "SLURM_ARRAY_TASK_ID", "%j": "SLURM_JOB_ID"}
JOBS = Path(os.environ.get("FAKE_SLURM", "."))


def install(folder: Path) -> None:
    """Puts the commands into a folder."""
    folder.mkdir()
    for name in COMMANDS:
        (folder / name).write_text(f"#!{sys.executable} -S\n" + Path(__file__).read_text())
        (folder / name).chmod(0o755)


def sbatch(file: str) -> None:
    """Submits a batch file, whose tasks begin at once."""
    text = Path(file).read_text()
    number = str(len(list(JOBS.glob("*.sh"))) + 1)
    (JOBS / f"{number}.sh").write_text(text)
    array = re.search(r"#SBATCH --array=0-(\d+)%(\d+)", text)
    tasks = [f"{number}_{task}" for task in range(int(array[1]) + 1)] if array else [number]
    for task in tasks:
        (JOBS / task).write_text("PENDING")
    subprocess.Popen(
        ["queue", array[2] if array else "1", *tasks],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    print(f"Submitted batch job {number}")


def queue(at_once: str, *tasks: str) -> None:
    """Runs tasks, so many at the same time, and those again that `scontrol requeue` names."""
    waiting, running, starts = list(tasks), {}, dict.fromkeys(tasks, 0)
    while waiting or running:
        while waiting and len(running) < int(at_once):
            task = waiting.pop(0)
            number, _, index = task.partition("_")
            named = {"SLURM_JOB_ID": number, "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0"}
            named |= {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_RESTART_COUNT": str(starts[task])}
            named |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": index} if index else {}
            (JOBS / task).write_text("RUNNING")
            starts[task] += 1
            running[task] = subprocess.Popen(["bash", JOBS / f"{number}.sh"], env=os.environ | named)
        for task, process in list(running.items()):
            if process.poll() is not None:
                del running[task]
                again = JOBS / f"{task}.requeue"
                if again.exists():
                    again.unlink()
                    waiting.append(task)
                else:
                    state = {0: "COMPLETED", 128 + 9: "NODE_FAIL", -9: "NODE_FAIL"}.get(process.returncode, "FAILED")
                    (JOBS / task).write_text(state)
        time.sleep(0.05)


def srun(*words: str) -> None:
    """Becomes the program of a task, whose output goes where the options say."""
    left = list(words)
    while left[0].startswith("--"):
        option = left.pop(0)
        if option in ("--output", "--error"):
            path = left.pop(0).replace("%t", "0")
            for place, name in PLACES.items():
                path = path.replace(place, os.environ.get(name, ""))
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(file, 1 if option == "--output" else 2)
    os.execvp(left[0], left)


def sacct(*words: str) -> None:
    """The states of all jobs."""
    print("JobID|State|NodeList")
    for path in sorted(JOBS.iterdir()):
        if not path.suffix:
            print(f"{path.name}|{path.read_text()}|here")


def scontrol(verb: str, job: str) -> None:
    """Puts a job into the queue again, which takes it when its process has ended."""
    assert verb == "requeue"
    (JOBS / f"{job}.requeue").touch()


COMMANDS = {"sbatch": sbatch, "queue": queue, "srun": srun, "sacct": sacct, "scontrol": scontrol}

if __name__ == "__main__":
    COMMANDS[Path(sys.argv[0]).name](*sys.argv[1:])

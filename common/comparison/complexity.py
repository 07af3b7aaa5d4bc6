"""What a condition costs: parameters, FLOPs, seconds and memory of a model with more or fewer conditions."""

import multiprocessing
import statistics
import time
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from common.batch import Batch
from common.conditions.attributes import Categorical
from common.configurable import from_config, to_config
from common.eval_mode import eval_mode
from common.process_memory import peak_memory_mb, resident_memory_mb, restart_peak_memory
from common.training.module import ConditionalELBO

CATEGORIES = 10  # of each artificial condition


@dataclass(frozen=True)
class Cost:
    """What a model costs on one batch.

    Attributes:
        conditions: number of categorical conditions.
        parameters: number of parameters of the whole model.
        flops: FLOPs of one forward pass per example (encoder, prior and decoder; torch's counter, which counts matrix
            products, convolutions and attention).
        step: median seconds of a training step, including the optimiser's step.
        peak_memory: peak resident memory of the process during those steps, above what it held before the model's first
            pass, MB of 2^20 bytes. Where the system cannot set the peak back (not Linux), that since its start.
        evaluation: importance samples -> median seconds of the NLL of one example.
    """

    conditions: int
    parameters: int
    flops: float
    step: float
    peak_memory: float
    evaluation: dict[int, float]


def with_conditions(model: ConditionalELBO, count: int) -> ConditionalELBO:
    """An untrained copy of a model with `count` artificial categorical conditions; 0 is unconditional.

    Raises:
        ValueError: if the model's condition encoder does not read attributes.
    """
    config = deepcopy(to_config(model))
    arguments = config["init_args"]["condition"]["init_args"]
    if "attributes" not in arguments:
        raise ValueError(f"{type(model.condition).__name__} reads no attributes: there are none to add")
    attribute = to_config(Categorical([str(value) for value in range(CATEGORIES)]))
    arguments["attributes"] = {f"condition{number}": attribute for number in range(max(count, 1))}
    arguments["use"] = list(arguments["attributes"]) if count else []
    return from_config(config)


def random_conditions(batch: Batch, model: ConditionalELBO) -> Batch:
    """The batch with a random category of every condition of the model."""
    generator = torch.Generator().manual_seed(0)
    fields = {
        name: torch.randint(CATEGORIES, (len(batch),), generator=generator) for name in model.condition.attributes
    }
    return batch.replace(condition={**batch.condition, **fields})


def cost(model: ConditionalELBO, batch: Batch, samples: list[int], steps: int) -> Cost:
    """Measures a model in this process, with its present number of threads."""
    batch = random_conditions(batch, model)
    before = resident_memory_mb()
    model.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.draws(batch)
    flops = counter.get_total_flops() / len(batch)
    optimizer = torch.optim.Adam(model.parameters())
    model.train()
    restart_peak_memory()
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        loss = model.objective(model.draws(batch, model.objective.num_samples), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    memory = peak_memory_mb(torch.device("cpu")) - before
    part = batch[slice(0, 8)]
    evaluation = {}
    with eval_mode(model):
        for number in samples:
            rounds = []
            for _ in range(3):
                start = time.perf_counter()
                model.log_likelihood(part, number)
                rounds.append((time.perf_counter() - start) / len(part))
            evaluation[number] = statistics.median(rounds)
    parameters = sum(weight.numel() for weight in model.parameters())
    count = len(model.condition.attributes)
    return Cost(count, parameters, flops, statistics.median(times[1:]), memory, evaluation)


def _measure(checkpoint: Path, batch: Batch, conditions: int, samples: list[int], steps: int, threads: int) -> Cost:
    from common.training.restore import restore

    torch.set_num_threads(threads)
    model = with_conditions(restore(checkpoint).model, conditions)
    return cost(model, batch, samples, steps)


def costs(checkpoint: Path, batch: Batch, conditions: list[int], samples: list[int], steps: int = 10) -> list[Cost]:
    """Costs of a checkpoint's model with other numbers of conditions, each in its own process.

    Args:
        checkpoint: checkpoint of any run; its weights do not matter.
        batch: examples to measure on.
        conditions: numbers of conditions; 0 is the unconditional model.
        samples: numbers of importance samples.
        steps: training steps; the first one is not timed.
    """
    threads = torch.get_num_threads()
    results = []
    for count in conditions:
        with multiprocessing.get_context("spawn").Pool(1) as pool:  # peak memory is measured for a whole process
            results.append(pool.apply(_measure, (checkpoint, batch, count, samples, steps, threads)))
    return results

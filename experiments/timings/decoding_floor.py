"""What a token costs when one is written at a time, and how much of it no implementation could save.

    python experiments/timings/decoding_floor.py     # stores flash_course/bench/results/decoding_floor.json

The floor reads each weight matrix and the state once, as products with one vector. Beside it stand the model's step as
it is and under `torch.compile`, in turn, one thread. What is left above the floor is small operations: they are
counted, and one of them, an addition of two short vectors, is timed too. Nothing else should run.
"""

import json

import torch
from torch.profiler import ProfilerActivity, profile

from flash_course.bench.clock import machine, time_in_turn
from flash_course.bench.stored import RESULTS
from flash_tutorial import LanguageModel, ModelConfig
from flash_tutorial.files import write_text
from flash_tutorial.states import with_each

OUT = RESULTS / "decoding_floor.json"
DIM, PROMPTS, ROUNDS, STEPS = 256, (512, 2048), 9, 40
ARCHITECTURES = ("flash", "transformer++")
NOTHING = {
    "_to_copy",
    "as_strided",
    "detach",
    "empty",
    "expand",
    "permute",
    "select",
    "slice",
    "split",
    "t",
}
NOTHING |= {"to", "transpose", "unbind", "unsqueeze", "view", "alias", "squeeze", "narrow", "chunk"}


def stepping(step, state):
    """A function: so many tokens, one at a time, behind a state of its own."""
    held = state.clone()
    token = torch.tensor([65])

    def write():
        nonlocal held
        for _ in range(STEPS):
            held = step(token, held)[1]

    return write


def kept_tensors(state):
    """The tensors of a state that a step reads whole."""
    found = []

    def note(t, least=None):
        found.append(t)
        return t

    for unit in state.units:
        with_each(unit, note)
    return [t for t in found if t.dim() >= 2 and t.numel() > 1000]


def floor_of(model, state):
    """A function: each matrix and each kept tensor times one vector, once a token."""
    matrices = [p for p in model.parameters() if p.dim() == 2]
    matrices += [t.reshape(-1, t.shape[-1]) for t in kept_tensors(state)]
    vectors = [torch.randn(matrix.shape[1]) for matrix in matrices]

    def products():
        for _ in range(STEPS):
            for matrix, vector in zip(matrices, vectors):
                matrix @ vector

    return products


def small_operation():
    """A function: one short addition, as often as there are tokens."""
    a = torch.randn(DIM)

    def add():
        for _ in range(STEPS):
            a + a

    return add


def operations(model, state):
    """How many operations of torch that compute something a step has."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        model.step(torch.tensor([65]), state.clone())
    counts = {
        e.key.removeprefix("aten::"): e.count for e in profiled.key_averages() if "aten::" in e.key
    }
    return sum(count for name, count in counts.items() if name not in NOTHING)


@torch.inference_mode()
def measured(architecture, prompt):
    """One row: microseconds a token of each way, and the count."""
    torch.manual_seed(0)
    model = LanguageModel(ModelConfig(architecture, dim=DIM, max_length=4096)).eval()
    state = model.prefill(torch.randint(256, (1, prompt)))[1]
    compiled = torch.compile(model.step)
    ways = {
        "step": stepping(model.step, state),
        "compiled": stepping(compiled, state),
        "floor": floor_of(model, state),
        "small_operation": small_operation(),
    }
    seconds = time_in_turn(ways, rounds=ROUNDS)
    row = {"architecture": architecture, "prompt": prompt, "operations": operations(model, state)}
    for name, times in seconds.items():
        row[name] = [round(1e6 * t / STEPS, 1) for t in times]
    return row


def main():
    torch.set_num_threads(1)
    rows = []
    for architecture in ARCHITECTURES:
        for prompt in PROMPTS:
            rows.append(measured(architecture, prompt))
            print(rows[-1], flush=True)
    stored = {"what": "microseconds a token", "machine": machine(), "rows": rows}
    write_text(OUT, json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""The lectures can fail: with one line of the package wrong, some cell of the lecture must disagree.

A lecture that passes all the same would show a reader outputs that prove nothing. A run stops at its first failing
cell; the same cells must pass with the package as it is. A text that is no longer there means that the code was
rewritten: then plant the fault anew for the new code.
"""

import importlib.util
import inspect
from functools import cache
from pathlib import Path

import nbformat
import pytest

from flash_course.planting import changed_in
from flash_tutorial import reference

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location(
    "lecture_faults", ROOT / "tools" / "lecture_faults.py"
)
lecture_faults = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lecture_faults)

# ---------------------------------------------------------------- the faults: file, old text, new text

FAULTS = {
    # NumPy: the gated attention unit
    "missing 1/n": ("reference.py", "/ n + bias) * sees @ v", "+ bias) * sees @ v"),
    "mask before the bias": ("reference.py", "/ n + bias) * sees @ v", "/ n * sees + bias) @ v"),
    "bias transposed": (
        "reference.py",
        "position[None, :] - position[:, None]",
        "position[:, None] - position[None, :]",
    ),
    "RoPE before scale and offset": (
        "reference.py",
        'rope(z_TS * p["gamma"][:, None] + p["beta"][:, None], first)',
        'rope(z_TS, first) * p["gamma"][:, None] + p["beta"][:, None]',
    ),
    # NumPy: linear attention and mixed chunk attention
    "state without the own token": (
        "reference.py",
        "np.cumsum(k_TS[:, :, None] * v_TE[:, None, :], axis=0)",
        "np.cumsum(k_TS[:, :, None] * v_TE[:, None, :], axis=0) - k_TS[:, :, None] * v_TE[:, None, :]",
    ),
    "step that reads before it writes": (
        "reference.py",
        "return q_S @ state_SE, state_SE",
        "return q_S @ (state_SE - np.outer(k_S, v_E)), state_SE",
    ),
    "inclusive sum": (
        "reference.py",
        "np.concatenate([np.zeros_like(x_G[:1]), np.cumsum(x_G, axis=0)[:-1]])",
        "np.cumsum(x_G, axis=0)",
    ),
    "missing 1/C": (
        "reference.py",
        "relu2_attention(q_GCS, k_GCS, v_GCE, C,",
        "relu2_attention(q_GCS, k_GCS, v_GCE, 1,",
    ),
    "local RoPE positions": (
        "reference.py",
        "heads_4TS = project(x_TD, p, valid_T)",
        "heads_4TS = project(x_TD, p, valid_T, -(np.arange(len(x_TD)) // chunk_size * chunk_size))",
    ),
    "mean that counts the own chunk": (
        "reference.py",
        "earlier_chunks(y) if causal else",
        "(earlier_chunks(y) if y.ndim > 1 else np.cumsum(y)) if causal else",
    ),
    "linear heads swapped": (
        "reference.py",
        "out_TE += far(lin_q_TS, lin_k_TS,",
        "out_TE += far(lin_k_TS, lin_q_TS,",
    ),
    # torch
    "missing 1/n in torch": ("gau.py", "scale = 1 / (self.length_scale or T)", "scale = 1.0"),
    "mask before the bias in torch": (
        "fast.py",
        'bias = bias.masked_fill(future, float("-inf"))',
        "pass",
    ),
    "bias transposed in torch": (
        "layers.py",
        "self.weights[rows[None, :] - rows[:, None] +",
        "self.weights[rows[:, None] - rows[None, :] +",
    ),
    "gradient without its 2": (
        "fast.py",
        "ds @ (k[:, :m] * (2 * ctx.scale))",
        "ds @ (k[:, :m] * ctx.scale)",
    ),
    "gamma that starts at one": (
        "gau.py",
        "nn.init.normal_(self.scale_offset.gamma, std=std)",
        "nn.init.ones_(self.scale_offset.gamma)",
    ),
    "state without the own token in torch": (
        "mixing.py",
        "states = torch.cumsum(k[..., :, None] * v[..., None, :], dim=1)",
        "states = torch.cumsum(k[..., :, None] * v[..., None, :], dim=1) - k[..., :, None] * v[..., None, :]",
    ),
    "inclusive sum in torch": (
        "fast.py",
        "by_C[:, g - 1].mT @ v[:, g - 1]",
        "by_C[:, g].mT @ v[:, g]",
    ),
    "missing 1/C in torch": ("mixing.py", "scale=1 / chunk_size", "scale=1.0"),
    "local RoPE positions in torch": (
        "gau.py",
        "heads = self.read_heads(z, *cos_sin(x.shape[1], self.qk_dim, x))\n        return",
        "n = getattr(self, 'chunk_size', x.shape[1])  # GAU has none\n"
        "        at = [i % n for i in range(x.shape[1])]\n"
        "        heads = self.read_heads(z, *(t[at] for t in cos_sin(x.shape[1], self.qk_dim, x)))\n"
        "        return",
    ),
    # models
    "gated layer of 4 D": ("transformer.py", "return -(-8 * dim // 24) * 8", "return 4 * dim"),
    "gate of 4 D, paper": ("config.py", "-(-8 * dim // 24) * 8 if gate", "4 * dim if gate"),
    "documents kept from the units": (
        "model.py",
        '"segment_ids": segment_ids',
        '"segment_ids": None',
    ),
    "padding not zeroed": (
        "gau.py",
        "h = h.masked_fill(~mask[..., None], 0)\n        return h.split",
        "pass\n        return h.split",
    ),
    # counts and times
    "linear part counted once": (
        "flash_course/bench/counts.py",
        "far = 2 * T * S * E if",
        "far = T * S * E if",
    ),
    "last chunk not counted": (
        "flash_course/bench/counts.py",
        "T // C * attention_pairs(C, causal) + attention_pairs(T % C, causal)",
        "T // C * attention_pairs(C, causal)",
    ),
    "fused attention without its mask": (
        "mixing.py",
        "v, is_causal=causal, scale",
        "v, is_causal=False, scale",
    ),
    "crossover from the wrong end": (
        "flash_course/bench/against_length.py",
        "(-low / (high - low))",
        "(high / (high - low))",
    ),
    # token by token
    "missing 1/C in decoding": ("flash.py", "alpha=1 / self.chunk_size", "alpha=1.0"),
    "full chunk not folded": ("states.py", "self.left == 0", "self.left == 1"),
    "mean in decoding counts one chunk more": (
        "states.py",
        "max(finished, 1)",
        "finished + 1",
    ),
    "positions in decoding one too late": (
        "gau.py",
        "cos_sin_at(state.rows.place, self.qk_dim, x, state.rows.used)",
        "cos_sin_at(state.rows.place + 1, self.qk_dim, x, state.rows.used + 1)",
    ),
    # what came after
    "decay that begins one token late": (
        "flash_course/successors.py",
        "since = log_decay.cumsum(2)",
        "since = log_decay.cumsum(2) - log_decay",
    ),
    "no decay between chunks": (
        "flash_course/successors.py",
        "state = keep[:, g] * state + add[:, g]",
        "state = state + add[:, g]",
    ),
    "delta rule that erases nothing from before the chunk": (
        "flash_course/successors.py",
        "rows = new[:, g] - erase[:, g] @ state\n            out.append((since",
        "rows = new[:, g]\n            out.append((since",
    ),
    "Kimi's erasing without decay": (
        "flash_course/successors.py",
        "beta * torch.cat([v, ahead], -1)",
        "beta * torch.cat([v, k], -1)",
    ),
    "step width that only forgets": (
        "flash_course/successors.py",
        "q, width * k, v,",
        "q, k, v,",
    ),
    "window of one more": ("flash_course/successors.py", "(distance < w)", "(distance <= w)"),
    "hybrid whose quarter is not counted": (
        "flash_course/successors.py",
        "+ length * (self.qk_dim + quarter)",
        "+ length * self.qk_dim",
    ),
    # training
    "rate that falls one update early": (
        "flash_tutorial/training/update.py",
        "* (config.steps - step) / (config.steps - config.warmup)",
        "* (config.steps - step - 1) / (config.steps - config.warmup)",
    ),
    "score as a mean over places": (
        "flash_tutorial/training/score.py",
        "float(nats.sum() / math.log(2) / counts.sum())",
        "float(np.nanmean(by_position))",
    ),
    "no decay of weights": (
        "flash_tutorial/training/update.py",
        "weight_decay=config.weight_decay",
        "weight_decay=0.0",
    ),
}
LECTURES = {
    "02": [
        "missing 1/n",
        "mask before the bias",
        "bias transposed",
        "RoPE before scale and offset",
        "mask before the bias in torch",
    ],
    "03": [
        "missing 1/n in torch",
        "bias transposed in torch",
        "gradient without its 2",
        "gamma that starts at one",
    ],
    "04": [
        "state without the own token",
        "step that reads before it writes",
        "state without the own token in torch",
    ],
    "05": [
        "inclusive sum",
        "missing 1/C",
        "local RoPE positions",
        "mean that counts the own chunk",
        "linear heads swapped",
        "inclusive sum in torch",
    ],
    "06": [
        "inclusive sum in torch",
        "missing 1/C in torch",
        "local RoPE positions in torch",
        "gate of 4 D, paper",
        "documents kept from the units",
        "padding not zeroed",
    ],
    "07": [
        "rate that falls one update early",
        "score as a mean over places",
        "no decay of weights",
    ],
    "08": [
        "linear part counted once",
        "last chunk not counted",
        "gated layer of 4 D",
        "fused attention without its mask",
        "crossover from the wrong end",
    ],
    "09": [
        "missing 1/C in decoding",
        "full chunk not folded",
        "mean in decoding counts one chunk more",
        "positions in decoding one too late",
    ],
    "10": ["inclusive sum in torch", "missing 1/C in torch", "gradient without its 2"],
    "11": ["inclusive sum in torch", "missing 1/C in torch"],
    "13": [
        "decay that begins one token late",
        "no decay between chunks",
        "delta rule that erases nothing from before the chunk",
        "Kimi's erasing without decay",
        "step width that only forgets",
        "window of one more",
        "hybrid whose quarter is not counted",
        "inclusive sum in torch",
    ],
}
PAIRS = [(lecture, fault) for lecture, faults in LECTURES.items() for fault in faults]
needs_fork = pytest.mark.skipif(
    lecture_faults.FORK is None, reason="many faults at once need a fork, as Linux has it"
)


@cache
def run_of(lecture):
    """(what fails as it is, {fault: the failure that noticed it}) of a lecture, run once for all its faults."""
    notebook = lecture_faults.notebook_of(lecture)
    if notebook is None:
        pytest.skip(f"lecture {lecture} is not built yet")
    faults = {fault: FAULTS[fault] for fault in LECTURES[lecture]}
    return lecture_faults.run_lecture(notebook, faults)


@needs_fork
@pytest.mark.nightly
@pytest.mark.parametrize("lecture, fault", PAIRS)
def test_a_lecture_notices(lecture, fault):
    as_it_is, found = run_of(lecture)
    print(f"lecture {lecture}, {fault}: {found[fault]}")
    assert as_it_is is None, "the same cells must pass without a fault"
    assert found[fault] is not None, "every cell passes"
    assert found[fault].is_a_finding, (
        "a crash is no finding: plant the fault so that the code still computes"
    )


# ---------------------------------------------------------------- the runner itself


def test_every_fault_is_planted_and_every_text_is_there_once():
    assert {fault for faults in LECTURES.values() for fault in faults} == set(FAULTS)
    for file, old, new in FAULTS.values():
        assert changed_in(lecture_faults.module_of(file), old, new)


CELLS = (
    # not compared
    (
        "from flash_tutorial.reference import gelu, relu2, silu\nprint(1)",
        "2\n",
        "timing",
    ),
    ("print(6 * 7)\nfloat(relu2(3))", "42\n9.0", "nbval-check-output"),
    ("1 / 0", "", "raises-exception"),
    ("assert silu(0.0) == 0", "", "timing"),
    ("gelu(1.0)", "", "timing"),
    ("print(6 * 7)", "43\n", "nbval-check-output"),
)


def fault_of(function):
    """A fault of a small function of reference.py: one more than it should be; ``gelu`` ends with an error."""
    lines, _ = inspect.getsourcelines(function)
    wrong = "    return 1 / 0" if function is reference.gelu else lines[-1].rstrip() + " + 1"
    return "reference.py", "".join(lines).rstrip(), "".join([*lines[:-1], wrong])


@pytest.fixture
def small_notebook(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Small")])
    for source, stored, tag in CELLS:
        cell = nbformat.v4.new_code_cell(source, metadata={"tags": [tag]})
        printed, _, value = stored.partition("\n")
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"{printed}\n")]
        cell.outputs += (
            [nbformat.v4.new_output("execute_result", {"text/plain": value})] if value else []
        )
        notebook.cells.append(cell)
    nbformat.write(notebook, tmp_path / "01_small.ipynb")
    return tmp_path / "01_small.ipynb"


def brief(failure):
    return failure and (failure.cell, failure.kind, failure.is_a_finding)


@needs_fork
def test_each_fault_meets_the_first_cell_that_disagrees(small_notebook):
    faults = {
        function.__name__: fault_of(function) for function in (reference.relu2, reference.silu)
    }
    as_it_is, found = lecture_faults.run_lecture(small_notebook, faults)
    assert {name: brief(failure) for name, failure in found.items()} == {
        "relu2": (3, "output", True),
        "silu": (5, "AssertionError", True),
    }
    assert as_it_is is None, "cells behind the last one that was needed are not run"


@needs_fork
def test_a_crash_is_no_finding_and_what_no_cell_calls_is_not_noticed(small_notebook):
    faults = {
        function.__name__: fault_of(function) for function in (reference.gelu, reference.scaled_sin)
    }
    as_it_is, found = lecture_faults.run_lecture(small_notebook, faults)
    assert brief(found["gelu"]) == (6, "ZeroDivisionError", False) and found["scaled_sin"] is None
    assert brief(as_it_is) == (7, "output", True)


def test_an_error_that_a_cell_shows_must_come():
    kind, _ = lecture_faults.judge(None, "", ["raises-exception"], "")
    assert lecture_faults.Failure(4, kind, "").is_a_finding
    assert lecture_faults.judge(ZeroDivisionError(), "", ["raises-exception"], "") == (None, None)


def test_a_fault_is_tried_on_the_command_line(small_notebook, monkeypatch, capsys):
    monkeypatch.setattr(lecture_faults, "notebook_of", lambda lecture: small_notebook)
    assert lecture_faults.main(["01", *fault_of(reference.relu2)])
    assert "01_small.ipynb: Failure(cell=3, kind='output'" in capsys.readouterr().out

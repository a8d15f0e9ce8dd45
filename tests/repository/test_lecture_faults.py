"""The lectures can fail: with one line of the package wrong, some cell of the lecture must disagree.

A lecture that passes all the same would show a reader outputs that prove nothing. Each run stops at its first failing
cell; the same cells are then run once against the package as it is, where they must pass. A text that is no longer
there means that the code was rewritten: then plant the fault anew for the new code.
"""

import importlib.util
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("lecture_faults", ROOT / "tools" / "lecture_faults.py")
lecture_faults = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lecture_faults)

# ---------------------------------------------------------------- the faults: file, old text, new text

FAULTS = {
    # NumPy: the gated attention unit
    "missing 1/n": ("reference.py", "/ n + bias) * sees @ v", "+ bias) * sees @ v"),
    "mask before the bias": ("reference.py", "/ n + bias) * sees @ v", "/ n * sees + bias) @ v"),
    "bias transposed": (
        "reference.py", "position[None, :] - position[:, None]", "position[:, None] - position[None, :]",
    ),
    "RoPE before scale and offset": (
        "reference.py", 'rope(z_TS * p["gamma"][:, None] + p["beta"][:, None], first)',
        'rope(z_TS, first) * p["gamma"][:, None] + p["beta"][:, None]',
    ),
    # NumPy: linear attention and mixed chunk attention
    "state without the own token": (
        "reference.py", "np.cumsum(k_TS[:, :, None] * v_TE[:, None, :], axis=0)",
        "np.cumsum(k_TS[:, :, None] * v_TE[:, None, :], axis=0) - k_TS[:, :, None] * v_TE[:, None, :]",
    ),
    "step that reads before it writes": (
        "reference.py", "return q_S @ state_SE, state_SE", "return q_S @ (state_SE - np.outer(k_S, v_E)), state_SE",
    ),
    "inclusive sum": (
        "reference.py", "np.concatenate([np.zeros_like(x_G[:1]), np.cumsum(x_G, axis=0)[:-1]])",
        "np.cumsum(x_G, axis=0)",
    ),
    "missing 1/C": (
        "reference.py", "relu2_attention(q_GCS, k_GCS, v_GCE, C,", "relu2_attention(q_GCS, k_GCS, v_GCE, 1,",
    ),
    "local RoPE positions": (
        "reference.py", "heads_4TS = project(x_TD, p, valid_T)",
        "heads_4TS = project(x_TD, p, valid_T, -(np.arange(len(x_TD)) // chunk_size * chunk_size))",
    ),
    "mean that counts the own chunk": (
        "reference.py", "earlier(kv_GSE), earlier(tokens_G)", "earlier(kv_GSE), np.cumsum(tokens_G)",
    ),
    "linear heads swapped": (
        "reference.py", "out_TE += global_part(lin_q_TS, lin_k_TS,", "out_TE += global_part(lin_k_TS, lin_q_TS,",
    ),
    # torch
    "missing 1/n in torch": ("units.py", "scale = 1 / (self.length_scale or T)", "scale = 1.0"),
    "mask before the bias in torch": ("mixing.py", 'bias = bias.masked_fill(future, float("-inf"))', "pass"),
    "bias transposed in torch": (
        "layers.py", "self.weights[rows[None, :] - rows[:, None] +", "self.weights[rows[:, None] - rows[None, :] +",
    ),
    "gradient without its 2": ("mixing.py", "beta=0, alpha=2 * ctx.scale", "beta=0, alpha=ctx.scale"),
    "gamma that starts at one": (
        "units.py", "nn.init.normal_(self.scale_offset.gamma, std=std)", "nn.init.ones_(self.scale_offset.gamma)",
    ),
    "state without the own token in torch": (
        "mixing.py", "states = torch.cumsum(k[..., :, None] * v[..., None, :], dim=1)",
        "states = shift_right(torch.cumsum(k[..., :, None] * v[..., None, :], dim=1))",
    ),
    "inclusive sum in torch": (
        "mixing.py", "torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1)", "x",
    ),
    "missing 1/C in torch": ("mixing.py", "scale=1 / chunk_size", "scale=1.0"),
    "local RoPE positions in torch": (
        "units.py", "heads = self.read_heads(z, *cos_sin(x.shape[1], self.qk_dim, x))",
        "n = getattr(self, 'chunk_size', x.shape[1])  # GAU has none\n"
        "        at = torch.arange(x.shape[1]) % n\n"
        "        heads = self.read_heads(z, *(t[at] for t in cos_sin(x.shape[1], self.qk_dim, x)))",
    ),
    # models
    "gated layer of 4 D": ("units.py", "return -(-8 * dim // 24) * 8", "return 4 * dim"),
    "documents kept from the units": ("model.py", "segment_ids=segment_ids", "segment_ids=None"),
    "padding not zeroed": (
        "units.py", "h = h.masked_fill(~mask[..., None], 0)\n        return h.split", "pass\n        return h.split",
    ),
    # counts and times
    "linear part counted once": ("flash_course/bench/counts.py", "far = 2 * T * S * E if", "far = T * S * E if"),
    "last chunk not counted": (
        "flash_course/bench/counts.py", "T // C * attention_pairs(C, causal) + attention_pairs(T % C, causal)",
        "T // C * attention_pairs(C, causal)",
    ),
    "fused attention without its mask": ("mixing.py", "v, is_causal=causal, scale", "v, is_causal=False, scale"),
    "crossover from the wrong end": (
        "flash_course/bench/against_length.py", "(-low / (high - low))", "(high / (high - low))",
    ),
    # token by token
    "missing 1/C in decoding": ("decoding.py", "[:, 0, 0] / unit.chunk_size", "[:, 0, 0]"),
    "state folded one token early": (
        "decoding.py", "full = self.place() == 0", "full = self.place() == self.v.shape[2] - 1",
    ),
    "mean in decoding counts one chunk more": (
        "decoding.py", "(self.lengths // C).clamp(min=1)", "(self.lengths // C + 1)",
    ),
    "positions in decoding one too late": (
        "decoding.py", "cos_sin_at(lengths, unit.qk_dim, x)", "cos_sin_at(lengths + 1, unit.qk_dim, x)",
    ),
    # training
    "rate that falls one update early": (
        "training.py", "* (config.steps - step) / (config.steps - config.warmup)",
        "* (config.steps - step - 1) / (config.steps - config.warmup)",
    ),
    "score as a mean over places": (
        "training.py", "float(nats.sum() / math.log(2) / counts.sum())", "float(np.nanmean(by_position))",
    ),
    "no decay of weights": ("training.py", "weight_decay=config.weight_decay,", "weight_decay=0.0,"),
}  # fmt: skip
LECTURES = {
    "02": ["missing 1/n", "mask before the bias", "bias transposed", "RoPE before scale and offset",
           "mask before the bias in torch"],
    "03": ["missing 1/n in torch", "bias transposed in torch", "gradient without its 2", "gamma that starts at one"],
    "04": ["state without the own token", "step that reads before it writes", "state without the own token in torch"],
    "05": ["inclusive sum", "missing 1/C", "local RoPE positions", "mean that counts the own chunk",
           "linear heads swapped", "inclusive sum in torch"],
    "06": ["inclusive sum in torch", "missing 1/C in torch", "local RoPE positions in torch", "gated layer of 4 D",
           "documents kept from the units", "padding not zeroed"],
    "07": ["rate that falls one update early", "score as a mean over places", "no decay of weights"],
    "08": ["linear part counted once", "last chunk not counted", "gated layer of 4 D",
           "fused attention without its mask", "crossover from the wrong end"],
    "09": ["missing 1/C in decoding", "state folded one token early", "mean in decoding counts one chunk more",
           "positions in decoding one too late"],
    "10": ["inclusive sum in torch", "missing 1/C in torch", "gradient without its 2"],
    "11": ["inclusive sum in torch", "missing 1/C in torch"],
}  # fmt: skip
PAIRS = [(lecture, fault) for lecture, faults in LECTURES.items() for fault in faults]
noticed = {}  # the furthest cell of each lecture in which a fault was noticed


def built(lecture):
    notebook = lecture_faults.notebook_of(lecture)
    if notebook is None:
        pytest.skip(f"lecture {lecture} is not built yet")
    return notebook


@pytest.mark.parametrize("lecture, fault", PAIRS, ids=[f"{lecture}-{fault}" for lecture, fault in PAIRS])
def test_a_lecture_notices(lecture, fault):
    failure = lecture_faults.run_lecture(built(lecture), FAULTS[fault])
    print(f"lecture {lecture}, {fault}: {failure}")
    assert failure is not None, "every cell passes"
    assert failure.is_a_finding, "a crash is no finding: plant the fault so that the code still computes"
    noticed[lecture] = max(noticed.get(lecture, 0), failure.cell)


@pytest.mark.parametrize("lecture", LECTURES)
def test_the_same_cells_pass_without_a_fault(lecture):
    notebook = built(lecture)
    if lecture not in noticed:
        pytest.skip(f"no fault was planted for lecture {lecture} in this run")
    assert lecture_faults.run_lecture(notebook, last=noticed[lecture]) is None


# ---------------------------------------------------------------- the runner itself


def test_every_fault_is_planted_and_every_text_is_there_once(tmp_path):
    assert {fault for _, fault in PAIRS} == set(FAULTS)
    for name, fault in FAULTS.items():
        lecture_faults.faulty_package(tmp_path / name.replace("/", " "), *fault)


def test_a_text_that_is_not_there_once_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"reference.py holds 0 times 'no such text'.*plant the fault anew"):
        lecture_faults.faulty_package(tmp_path / "none", "reference.py", "no such text", "")
    with pytest.raises(ValueError, match="plant the fault anew"):
        lecture_faults.faulty_package(tmp_path / "many", "reference.py", "return", "")


def test_the_runner_stops_at_the_first_cell_that_disagrees(tmp_path):
    cells = [nbformat.v4.new_markdown_cell("# Small")]
    for source, stored, tag in (
        ("from flash_course.addresses import PLACEHOLDER\nprint(1)", "2\n", "timing"),  # not compared
        ("print(6 * 7)\nPLACEHOLDER", "42\n", "nbval-check-output"),
        ("1 / 0", "", "raises-exception"),
        ("assert PLACEHOLDER == 'OWNER/REPO'", "", "timing"),
        ("print(6 * 7)", "43\n", "nbval-check-output"),
    ):
        cell = nbformat.v4.new_code_cell(source, metadata={"tags": [tag]})
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=stored)]
        cells.append(cell)
    cells[2].outputs.append(nbformat.v4.new_output("execute_result", {"text/plain": "'OWNER/REPO'"}))
    path = tmp_path / "01_small.ipynb"

    def failure(**options):
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
        found = lecture_faults.run_lecture(path, **options)
        return None if found is None else (found.cell, found.kind, found.is_a_finding)

    assert failure(last=5) is None
    assert failure() == (6, "output", True)
    placeholder = ("flash_course/addresses.py", 'PLACEHOLDER = "OWNER/REPO"', 'PLACEHOLDER = "x"')
    assert failure(fault=placeholder) == (3, "output", True)
    cells[2].metadata = {}
    assert failure(fault=placeholder) == (5, "AssertionError", True)
    cells[3].source = "1 / 1"
    assert failure() == (4, "no error", True)
    cells[3].metadata, cells[3].source = {}, "no_such_name"
    assert failure() == (4, "NameError", False)

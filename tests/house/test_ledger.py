"""The ledger points to what is there, and the paper's readings that no other file runs side by side are run here.

``docs/paper_to_code.md`` names functions and tests; each of them must exist. Every place where the paper can be read in
two ways names a test that runs both.
"""

import inspect
import pkgutil
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode
from unit_cases import B, C, D, S, T, features, make

from flash_tutorial import (
    FLASH,
    LanguageModel,
    ModelConfig,
    Stack,
    chunks,
    count_parameters,
    layers,
    mixing,
    reference,
    states,
)
from flash_tutorial.check import branch_error, draw_order_one, settle_branch
from flash_tutorial.corpora import IGNORE, START_ID, mask_spans
from flash_tutorial.layers import cos_sin
from flash_tutorial.training import TrainConfig, train

ROOT = Path(__file__).parents[2]
LEDGER = ROOT / "docs" / "paper_to_code.md"

# ---------------------------------------------------------------- the ledger as a text

TEXT = LEDGER.read_text(encoding="utf-8")
ITEMS = {"Equation": 8, "Code": 8, "Table": 12, "Figure": 8}
FILE_ENDINGS = ("py", "md", "json", "txt", "toml", "csv", "png", "ipynb", "bz2", "safetensors")
# in the tables of these sections each row names a test, or says there is none
UNDER_TEST = ("Readings", "Deviations")
SECTION = re.compile(r"\[(\d\d), section (\d+)\]\(\.\./notebooks/(\1\w+)\.ipynb\)")


def spans(text):
    """The pieces of inline code, fenced blocks left out."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


def is_name(span):
    """Whether a span is written as ``module.name``; a file's name is not, nor is a number."""
    return re.fullmatch(r"[a-z_]\w*(\.\w+)+", span) and span.rpartition(".")[2] not in FILE_ENDINGS


def resolve(name):
    """What ``module.name`` of the library is, or ``bench.module.name`` of the course."""
    package = "flash_course" if name.startswith("bench.") else "flash_tutorial"
    return pkgutil.resolve_name(f"{package}.{name}")


@cache
def functions_in(path):
    return {*re.findall(r"^def (\w+)", (ROOT / path).read_text(encoding="utf-8"), flags=re.M)}


def rows():
    """(heading of the second level, cells) of each table row, the head of a table left out."""
    heading, last = "", ""
    for line in TEXT.splitlines():
        if line.startswith("## "):
            heading = line[3:]
        if line.startswith("|") and last.startswith("|") and not {*line} <= {*"|-: "}:
            yield heading, [cell.strip() for cell in line.strip("|").split("|")]
        last = line


def mentioned(text):
    """The pieces of the paper that a text names: "equations 7 and 8", "Table 12", "Codes 4 to 8", "Figure 5 (a)"."""
    text = re.sub(r"(?<=\d) \([a-f]\)", "", text)  # panels of a figure
    listed = r"s? (\d+(?:(?:, | and | to |-)\d+)*)"
    found = set()
    for kind, numbers in re.findall(rf"\b({'|'.join(ITEMS)}){listed}", text, flags=re.I):
        for first, last in re.findall(r"(\d+)(?:(?: to |-)(\d+))?", numbers):
            found |= {(kind.capitalize(), n) for n in range(int(first), int(last or first) + 1)}
    return found


def pieces_of(cells):
    """("Table", 5), ("Table", 6) of a row that begins with "Tables 5-6"."""
    is_piece = re.fullmatch(rf"({'|'.join(ITEMS)})s? \d+(-\d+)?", cells[0])
    return mentioned(cells[0]) if is_piece else set()


@pytest.mark.fork
def test_the_ledger_names_what_is_there():
    found = {*spans(TEXT)}
    for name in filter(is_name, found):
        assert resolve(name) is not None
    for test in (span for span in found if "::" in span):
        path, _, name = test.partition("::")
        assert name in functions_in(path), test


@pytest.mark.fork
def test_each_piece_of_the_paper_has_a_row_and_each_reading_a_test():
    there = set().union(*(pieces_of(cells) for _, cells in rows()))
    for kind, last in ITEMS.items():
        assert {n for each, n in there if each == kind} == {*range(1, last + 1)}, kind
    for word in UNDER_TEST:
        judged = [cells for heading, cells in rows() if word in heading]
        assert judged
        for cells in judged:
            assert "::" in cells[-1] or "No test" in cells[-1], cells[0]


@cache
def sections_of(lecture):
    """{number of a section: its text} of a lecture's source, code included."""
    source = (ROOT / "notebooks" / f"{lecture}.py").read_text(encoding="utf-8")
    parts = re.split(r"^## (\d+)\. ", re.sub(r"^# ?", "", source, flags=re.M), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


@pytest.mark.fork
def test_every_piece_of_the_paper_is_met_in_the_sections_that_its_row_names():
    for _, cells in rows():
        pieces = pieces_of(cells)
        met = set()
        for _, section, lecture in SECTION.findall(cells[-1]) if pieces else ():
            here = pieces & mentioned(sections_of(lecture).get(section, ""))
            assert here, f"{cells[0]}: not in section {section} of {lecture}"
            met |= here
        assert met == pieces, f"no lecture for {pieces - met}"


def test_a_search_for_the_tag_leads_to_both_twins():
    """`grep -rn "quation 8" flash_tutorial/*.py` finds what the ledger lists, in NumPy and in torch."""
    for _, cells in rows():
        for kind, n in pieces_of(cells) if cells[0].startswith(("Equation", "Code")) else ():
            listed = [span for span in spans(cells[2]) if is_name(span)]
            tag = re.compile(rf"{kind.replace('Equation', '[Ee]quation')} {n}(?!\d)")
            for name in listed:
                assert tag.search(inspect.getsource(resolve(name))), f"no {kind} {n} in {name}"
            modules = {name.partition(".")[0] for name in listed}
            assert "reference" in modules and modules - {"reference"}, cells[0]


# ---------------------------------------------------------------- the numbers that it states


def count(config):
    """Parameters of a model, from two small ones: each further unit has as many as the second."""
    with torch.device("meta"):
        one, two = (count_parameters(LanguageModel(replace(config, depth=n))) for n in (1, 2))
    return one + (config.depth - 1) * (two - one)


def test_the_counts_in_the_ledger_are_those_of_the_models():
    stated = re.findall(r"^\| `(\w+)` \| `([\w+]+)` \| ([\d,]+) \|", TEXT, flags=re.M)
    assert len(stated) == 16
    for task, architecture, number in stated:
        counted = count(ModelConfig.paper(task, architecture))
        assert counted == int(number.replace(",", "")), (task, architecture)


def test_a_gated_layer_of_4_d_would_not_give_the_counts_of_the_paper():
    """Tables 7 to 9 say expansion 4 for Transformer++, and 110M and 486M, which 8 D / 3 gives."""
    for task, here, other in (("wiki40b", 110, 138), ("pg19", 486, 637)):
        config = ModelConfig.paper(task, "transformer++")
        assert count(config) / 1e6 == pytest.approx(here, rel=0.01)
        assert count(replace(config, ff_dim=4 * config.dim)) / 1e6 == pytest.approx(other, abs=0.5)


def test_46_layers_are_one_block_too_many_in_figure_3():
    base = ModelConfig.paper("wiki40b", "flash_quad")
    for depth, dim, millions in ((15, 512, 41), (22, 768, 105), (44, 1024, 316), (46, 1024, 329)):
        assert round(count(replace(base, depth=depth, dim=dim)) / 1e6) == millions


def test_an_untied_head_would_not_give_the_counts_of_the_paper():
    base = ModelConfig.paper("wiki40b")
    assert count(base) / 1e6 == pytest.approx(112, rel=0.01)
    assert count(replace(base, tied=False)) / 1e6 == pytest.approx(136.6, abs=0.1)


# ---------------------------------------------------------------- readings of the quadratic part


@torch.no_grad()
def by_hand(unit, x, scores):
    """A GAU whose map is relu(scores(q k^T, bias))^2."""
    u, v, z = unit.project(x)
    q, k = unit.read_heads(z, *cos_sin(x.shape[1], unit.qk_dim, x))
    weights = torch.relu(scores(q @ k.mT, unit.bias(x.shape[1]))) ** 2
    return x + unit.out_proj(u * (weights @ v))


def test_equation_5_has_no_length_and_code_6_divides_by_it():
    unit, x = make("gau", False), features()
    readings = {
        "equation 5": by_hand(unit, x, lambda qk, b: qk + b),
        "code 6": by_hand(unit, x, lambda qk, b: qk / T + b),
        "bias inside": by_hand(unit, x, lambda qk, b: (qk + b) / T),
    }
    for length_scale, which in ((1, "equation 5"), (None, "code 6"), (T, "code 6")):
        unit.length_scale = length_scale
        y = unit(x).detach()
        for name, other in readings.items():
            error = branch_error(y, other, x)
            assert error <= 1e-12 if name == which else error > 0.1, (length_scale, name)


def test_figure_2_has_no_activation_on_the_dense_layer_and_code_6_has_silu(monkeypatch):
    unit, x = make("gau", True), features()
    with torch.no_grad():
        h = unit.in_proj(unit.norm(x))
        parts = unit.project(x)
        assert torch.allclose(torch.cat(parts, -1), h / (1 + (-h).exp()), rtol=1e-12)
        y = unit(x)
        monkeypatch.setattr(F, "silu", lambda t: t)
        assert torch.equal(torch.cat(unit.project(x), -1), h)
        assert branch_error(unit(x), y, x) > 0.1


def test_both_forms_of_the_bias_exist_at_512():
    """Code 4 tests for n < 512, its comment speaks of lengths over 512; at 512 itself the code decides here."""
    auto, table = (
        FLASH(D, qk_dim=S, chunk_size=512, bias=bias).double() for bias in ("auto", "toeplitz")
    )
    assert isinstance(auto.bias, layers.RotaryBias) and isinstance(table.bias, layers.ToeplitzBias)
    assert table.bias.weights.shape == (1023,)
    x = features()
    for unit in (auto, table):
        draw_order_one(unit, torch.Generator().manual_seed(0))
        settle_branch(unit, x)
    assert branch_error(auto(x), table(x), x) > 0.01


def test_the_slice_of_code_4_is_empty_for_one_position():
    def code_4(w, n):
        r = (2 * n - 1) // 2
        return np.tile(np.pad(w, (0, n)), n)[:-n].reshape(n, 3 * n - 2)[:, r:-r]

    two, one = np.array([1.0, 2.0, 3.0]), np.array([2.5])
    assert np.array_equal(code_4(two, 2), reference.toeplitz_bias(two, 2))
    assert code_4(one, 1).size == 0
    assert reference.toeplitz_bias(one, 1).tolist() == [[2.5]]
    bias = FLASH(D, chunk_size=1).bias
    assert torch.equal(bias(1).flatten(), bias.weights)


def test_the_position_bias_belongs_to_its_layer():
    """One for all layers is the other reading, which a user can make."""
    stack = Stack(ModelConfig(dim=8, depth=3, qk_dim=4, chunk_size=C))
    before = count_parameters(stack)
    for unit in stack.units[1:]:
        unit.bias = stack.units[0].bias
    assert before - count_parameters(stack) == 2 * (2 * C - 1)


# ---------------------------------------------------------------- readings of the global part


def test_three_readings_of_the_sum_over_chunks():
    """Mean over chunks of K^T V / C (Code 8), bare sum (equations 7, 8, Code 1), sum of K^T V / C (a public port)."""
    q, k, v = (
        torch.randn(B, 4, C, n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
        for n in (S, S + 1, D)
    )
    k = k[..., :S]
    summaries = torch.einsum("bgcs,bgce->bgse", k, v)
    for g in range(1, 4):
        bare = torch.einsum("bcs,bse->bce", q[:, g], summaries[:, :g].sum(1))
        readings = {"sum": bare, "mean": bare / (g * C)}
        for combine, expected in readings.items():
            y = mixing.global_part(q, k, v, causal=True, combine=combine)[:, g]
            torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
        if g > 1:
            sum_of_means = bare / C
            assert all((sum_of_means - y).norm() > 0.1 * y.norm() for y in readings.values())


def test_lin_v_of_code_8_is_v():
    """The other reading that has been built takes it for the linear part's own output, and so applies it twice."""
    unit, x = make("flash, global only", True), features()
    with torch.no_grad():
        u, v, z = unit.project(x)
        _, _, q, k = (chunks.to_chunks(t, C) for t in unit.read_heads(z, *cos_sin(T, S, x)))
        once = mixing.global_part(q, k, chunks.to_chunks(v, C), causal=True)
        twice = mixing.global_part(q, k, once, causal=True)
        y = unit(x)
        with_v, with_output = (
            x + unit.out_proj(u * far.flatten(1, 2)[:, :T]) for far in (once, twice)
        )
    assert branch_error(y, with_v, x) <= 1e-12
    assert branch_error(y, with_output, x) > 0.1


def test_global_only_with_smaller_chunks_is_another_function_if_causal():
    """The paper ran GlobalOnly with C = 64 in place of 256. Reading both sides, the mean over all chunks has no C."""
    x = features(300)
    for causal in (True, False):
        units = [
            FLASH(D, qk_dim=S, chunk_size=c, causal=causal, local=False, bias=None).double()
            for c in (64, 256)
        ]
        draw_order_one(units[0], torch.Generator().manual_seed(0))
        settle_branch(units[0], x)
        units[1].load_state_dict(units[0].state_dict())
        error = branch_error(units[1](x), units[0](x), x)
        assert error > 0.1 if causal else error <= 1e-12


def test_documents_take_time_linear_in_the_length():
    """Code 8 multiplies the summaries by a map of G x G chunks; here twice the length is twice the work."""

    def flops(G, causal):
        q, k, v = (torch.zeros(1, G, C, n) for n in (S, S, D))
        documents = (torch.arange(G * C) // 7).view(1, G, C)
        with FlopCounterMode(display=False) as counter:
            mixing.global_part(q, k, v, causal=causal, documents=documents)
        return counter.get_total_flops()

    for causal in (True, False):
        assert flops(64, causal) == 2 * flops(32, causal) > 0
    assert reference.segment_mask_by_overlap(np.zeros((32, C)), True).shape == (32, 32)


def test_the_running_sum_is_kept_in_float32():
    """600 chunks of one token: a sum that is kept in bfloat16 stops at 256, where adding one is rounded away."""
    one = torch.ones(1, 1, 1, 1, dtype=torch.bfloat16)
    state = states.ChunkState.after(one, one, one, 1, states.Rows(1, 0, None))
    state.lin_k = state.v = one  # every token's
    kept = torch.zeros_like(one)
    for _ in range(600):
        kept = kept + one
        state.advance()
    assert kept == 256 and state.sums == 600 and state.sums.dtype == torch.float32
    unit, x = make("flash", True, dtype=torch.bfloat16), features(dtype=torch.bfloat16)
    assert states.prefill(unit, x)[1].sums.dtype == torch.float32
    for given in (torch.float16, torch.float32, torch.float64):
        k, v = torch.ones(2, 1, 1, 2, 3, dtype=given)
        expected = torch.promote_types(given, torch.float32)
        assert mixing.chunk_means(k, v).dtype == expected


# ---------------------------------------------------------------- what the paper does not say: the model, the training


def test_a_last_norm_stands_before_the_head():
    """The paper draws none and names none; with it a model has one gain more, in LayerNorm two vectors."""
    torch.manual_seed(0)
    for norm, more in (("scale", 1), ("layer", 2 * D)):
        stack = Stack(ModelConfig(dim=D, depth=1, qk_dim=S, chunk_size=C, norm=norm))
        x, before = features(dtype=torch.float32), count_parameters(stack)
        y, last = stack(x), stack.norm
        stack.norm = torch.nn.Identity()
        assert torch.equal(last(stack(x)), y) and not torch.allclose(stack(x), y, atol=0.1)
        assert before - count_parameters(stack) == more


def test_the_masked_objective_hides_spans_or_single_positions():
    """The paper does not say; spans of five on average here, `mean_span=1` hides single positions."""
    ids = np.random.default_rng(0).integers(START_ID + 1, 256, (40, 400))

    def lengths(**how):
        _, targets = mask_spans(ids, np.random.default_rng(1), **how)
        hidden = targets != IGNORE
        assert (hidden.sum(1) == 60).all()
        starts = hidden & ~np.roll(hidden, 1, axis=1)
        return hidden.sum() / starts.sum(), (hidden & np.roll(hidden, 1, axis=1)).any()

    mean, touching = lengths()
    assert 4 < mean < 6 and touching
    mean, touching = lengths(mean_span=1)
    assert mean == 1 and not touching


def gradients_of_a_run(monkeypatch, **settings):
    """(run, its optimizer, the gradients of each step before and after they were clipped)"""
    seen = []
    optimizers = []

    def spy(parameters, most, real=torch.nn.utils.clip_grad_norm_):
        parameters = [*parameters]
        raw = [p.grad.clone() for p in parameters]
        norm = real(parameters, most)
        seen.append((raw, [p.grad.clone() for p in parameters]))
        return norm

    class Spy(torch.optim.AdamW):
        def __init__(self, parameters, **options):
            super().__init__(parameters, **options)
            optimizers.append(self)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spy)
    monkeypatch.setattr(torch.optim, "AdamW", Spy)
    model = ModelConfig(dim=16, depth=1, qk_dim=8, chunk_size=8)
    run = train(model, TrainConfig(**settings), progress=False)
    return run, optimizers[0], seen


def test_gradients_are_clipped_over_all_parameters_and_every_one_decays(text, monkeypatch):
    """ "Local" clipping may mean each variable by itself: then the direction of the step changes, and its size is not
    bounded by the limit. Here it is one norm over all."""
    limit = 0.1
    how = dict(steps=2, batch=2, length=20, warmup=0, eval_bytes=0, clip=limit, corpus=str(text))
    run, optimizer, seen = gradients_of_a_run(monkeypatch, **how)
    (group,) = optimizer.param_groups
    assert (group["betas"], group["eps"]) == ((0.9, 0.999), 1e-6)  # Tables 5 and 6
    assert group["weight_decay"] == 0.01
    assert len(group["params"]) == len([*run.model.parameters()])
    assert len(seen) == 2
    for raw, clipped in seen:
        assert len(raw) == len(group["params"])
        one_by_one = [g * min(1.0, limit / float(g.norm() + 1e-6)) for g in raw]
        flat, over_all, each = (
            torch.cat([g.flatten() for g in gradients]) for gradients in (raw, clipped, one_by_one)
        )
        assert float(flat.norm()) > 2 * limit  # there was something to cut
        assert float(over_all.norm()) == pytest.approx(limit, rel=1e-3)
        assert float(each.norm()) > 1.2 * limit
        assert F.cosine_similarity(flat, over_all, dim=0) > 0.9999
        assert F.cosine_similarity(flat, each, dim=0) < 0.99

"""The whole model: sizes of the paper, its start, saving and loading, and every refusal in one line."""

import copy
import errno
import json
import math
import os
import random
from functools import partial
from pathlib import Path

import pytest
import torch
from refusals import assert_one_line
from safetensors.torch import load_file, save_file
from small_model import ALL, NAMES, MyUnit, N, config, ids, model
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.utils._python_dispatch import TorchDispatchMode
from unit_cases import features

import flash_tutorial
from flash_tutorial import (
    FLASH,
    GAU,
    LanguageModel,
    MCTransformerBlock,
    ModelConfig,
    Stack,
    TransformerBlock,
    count_parameters,
    files,
    pool,
    states,
)
from flash_tutorial.config import ARCHITECTURES
from flash_tutorial.layers import LearntPositions, ScaledSin, cos_sin

pytestmark = pytest.mark.quick

# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize(
    "task, architecture, millions",
    [
        ("wiki40b", "flash", 112),
        ("wiki40b", "flash_quad", 112),
        ("c4", "flash", 112),
        ("c4", "flash_quad", 112),
        ("wiki40b", "transformer", 110),
        ("wiki40b", "transformer+", 110),
        ("wiki40b", "transformer++", 110),
        ("c4", "transformer", 110),
        ("c4", "transformer+", 110),
        ("c4", "transformer++", 110),
        ("pg19", "flash", 496),
        ("pg19", "flash_quad", 496),
        ("pg19", "transformer+", 486),
        ("pg19", "transformer++", 486),
    ],
)
def test_parameter_counts_of_the_paper(task, architecture, millions):
    """Tables 5 to 9, with a tied vocabulary of 32,000; the plain Transformer's learnt table at 512 positions."""
    with torch.device("meta"):
        count = count_parameters(LanguageModel(ModelConfig.paper(task, architecture)))
    print(f"{task} {architecture}: {count / 1e6:.1f}M, the paper says {millions}M")
    assert abs(count / (millions * 1e6) - 1) <= 0.01


def test_the_learnt_table_at_8192_positions():
    with torch.device("meta"):
        tables, counts = zip(
            *[
                (model.stack.positions.table.numel(), count_parameters(model))
                for model in (
                    LanguageModel(ModelConfig.paper("wiki40b", "transformer", context=n))
                    for n in (512, 8192)
                )
            ]
        )
    print(f"learnt positions: {tables[0] / 1e6:.2f}M at 512, {tables[1] / 1e6:.2f}M at 8192")
    assert tables == (512 * 768, 8192 * 768)
    assert counts[1] - counts[0] == tables[1] - tables[0]


@pytest.mark.parametrize("dim", [64, 96, 768, 1024])
def test_two_gaus_for_one_block(dim):
    """6 D^2 + 128 D each, small terms aside, against 12 D^2 (Section 2.2)."""
    with torch.device("meta"):
        gau = sum(
            p.numel() for p in GAU(dim, bias=None).parameters() if p.dim() == 2 and p.shape[0] > 2
        )
        block = sum(p.numel() for p in TransformerBlock(dim).parameters() if p.dim() == 2)
        gated = sum(p.numel() for p in TransformerBlock(dim, glu=True).parameters() if p.dim() == 2)
    assert gau == 6 * dim**2 + 128 * dim
    assert block == 12 * dim**2
    assert block <= gated <= block + 3 * 8 * dim  # 8 D / 3 rounded up to a multiple of 8


def test_what_the_paper_ran():
    c4, pg19 = ModelConfig.paper("c4"), ModelConfig.paper("pg19")
    assert (c4.causal, c4.norm, c4.chunk_size, c4.dim, c4.depth) == (False, "scale", 256, 768, 24)
    assert (pg19.causal, pg19.norm, pg19.chunk_size, pg19.dim, pg19.depth) == (
        True,
        "layer",
        512,
        1024,
        72,
    )
    assert ModelConfig.paper("wiki40b", "transformer++").heads == 12
    assert ModelConfig.paper("pg19", "transformer++").heads == 16
    assert ModelConfig.paper("c4", "transformer").norm == "layer"  # alone of all on C4
    assert_one_line(
        lambda: ModelConfig.paper("pg19", "transformer"),
        "did not run transformer on PG-19",
        "'c4' or 'wiki40b'",
    )
    assert_one_line(lambda: ModelConfig.paper("enwik8"), "'enwik8'", "'c4', 'wiki40b' and 'pg19'")
    assert_one_line(lambda: ModelConfig.paper("c4", "performer"), "'performer'", "transformer++")


def test_position_bias_by_length():
    """Code 4: FLASH at C = 256 has 511 weights a layer, at C = 512 the rotary form; FLASH-Quad has it from 513 on."""
    with torch.device("meta"):
        assert Stack(ModelConfig.paper("wiki40b")).units[0].bias.weights.shape == (511,)
        assert Stack(ModelConfig.paper("pg19")).units[0].bias.a.shape == (128,)
        assert Stack(ModelConfig.paper("wiki40b", "flash_quad")).units[0].bias.weights.shape == (
            1023,
        )
        assert Stack(ModelConfig.paper("wiki40b", "flash_quad", context=1024)).units[
            0
        ].bias.a.shape == (128,)
        assert Stack(ModelConfig("flash_quad", max_length=513)).units[0].bias.a.shape == (64,)
        assert Stack(ModelConfig("flash_quad", bias="rotary")).units[0].bias.a.shape == (64,)


# ---------------------------------------------------------------- the start


def near(tensor, std):
    """Mean zero, the stated spread, both within four standard errors."""
    tensor, n = tensor.detach(), tensor.numel()
    assert abs(float(tensor.mean())) <= 4 * std / n**0.5
    assert abs(float(tensor.std()) / std - 1) <= 4 / (2 * n) ** 0.5


@pytest.mark.parametrize("architecture", ["flash", "flash_quad"])
@pytest.mark.parametrize("chunk", [256, 512])
def test_the_start_of_the_gated_units(architecture, chunk):
    """Codes 4 to 8: kernels, gamma and position bias from N(0, 0.02), all other biases zero, gains one."""
    torch.manual_seed(0)
    reach = dict(chunk_size=chunk) if architecture == "flash" else dict(max_length=chunk)
    small = config(architecture, dim=96, qk_dim=64, norm="layer", **reach)
    for unit in LanguageModel(small).stack.units:
        near(unit.in_proj.weight, 0.02)
        near(unit.out_proj.weight, 0.02)
        near(unit.scale_offset.gamma, 0.02)
        for p in unit.bias.parameters():
            near(p, 0.02)
        for p in (unit.in_proj.bias, unit.out_proj.bias, unit.scale_offset.beta, unit.norm.offset):
            assert p.count_nonzero() == 0
        assert (unit.norm.gain == 1).all()


@pytest.mark.parametrize(
    "architecture", ["transformer", "transformer+", "transformer++", "mc_transformer++"]
)
def test_the_start_of_the_blocks(architecture):
    torch.manual_seed(0)
    whole = LanguageModel(
        config(architecture, dim=96, init_std=0.05, embedding_std=0.03, max_length=64)
    )
    near(whole.embedding.weight, 0.03)
    for unit in whole.stack.units:
        for linear in (unit.qkv_proj, unit.attn_out, unit.ff_in, unit.ff_out):
            near(linear.weight, 0.05)
            assert linear.bias.count_nonzero() == 0
        if isinstance(unit, MCTransformerBlock):
            near(unit.gamma, 0.05)
            assert unit.beta.count_nonzero() == 0
    if architecture == "transformer":
        near(whole.stack.positions.table, 0.03)


def test_the_start_of_the_sine_table():
    """The paper's 1 / sqrt(D) in its own models, near the embedding's size by default."""
    assert float(Stack(config()).positions.scale.detach()) == pytest.approx(0.02)
    assert float(Stack(config(position_scale=None)).positions.scale.detach()) == pytest.approx(
        12**-0.5
    )
    assert ModelConfig.paper("c4").position_scale is None


@pytest.mark.parametrize("unit", [GAU, FLASH])
def test_at_the_start_a_unit_is_almost_the_identity(unit):
    """And its map is the position bias alone: the content part of the scores is about 1e-6 of size (section (f))."""
    torch.manual_seed(0)
    x = torch.randn(1, 512, 768)
    layer = unit(768, causal=True)
    with torch.no_grad():
        branch = layer(x) - x
        q, k = layer.read_heads(layer.project(x)[2], *cos_sin(512, 128, x))[:2]
        n = 512 if unit is GAU else layer.chunk_size
        content = (q @ k.mT / n).abs().mean()
    print(
        f"{unit.__name__}: branch / x = {float(branch.norm() / x.norm()):.1e}, |q k| / n = {float(content):.1e}"
    )
    assert branch.norm() / x.norm() < 0.01
    assert 1e-7 < content < 1e-5
    assert layer.bias(n).std() > 1000 * content


# ---------------------------------------------------------------- the model as a whole


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_learns_one_batch(architecture):
    torch.manual_seed(0)
    small, batch = LanguageModel(config(architecture, dim=24, embedding_std=0.3)), ids(4, 14)
    optimizer = torch.optim.Adam(small.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = small.loss(batch[:, :-1], batch[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_the_loss_is_the_mean_in_nats_over_the_wanted_targets():
    m, batch = model(), ids()
    targets = batch.roll(-1, 1)
    targets[:, 5:] = -100
    logits = m(batch).log_softmax(-1)
    expected = -logits.gather(-1, targets.clamp(min=0)[..., None])[..., 0][:, :5].mean()
    # a model in float64 has a loss in it
    torch.testing.assert_close(m.loss(batch, targets), expected, rtol=1e-13, atol=0)
    assert_one_line(lambda: m.loss(batch, targets[:, :3]), "targets", "(2, 3)", "(2, 14)")
    assert_one_line(lambda: m.loss(batch, targets.float()), "targets", "float32", "integers")
    for wrong in (N, -1):  # -1 is what other packages leave out
        targets[0, 0] = wrong
        assert_one_line(
            lambda: m.loss(batch, targets), f"targets hold {wrong}", f"0 to {N - 1}", "-100"
        )


def test_positions_run_over_the_row_and_do_not_start_again_at_a_document():
    m, batch = model("transformer+"), ids(1, 8)
    twice = torch.cat([batch, batch], 1)
    logits = m(twice, segment_ids=torch.tensor([[0] * 8 + [1] * 8]))
    assert (logits[:, :8] - m(batch)).abs().max() < 1e-12
    assert (logits[:, 8:] - m(batch)).abs().max() > 1e-3


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("causal", [True, False])
def test_mask_and_documents_reach_the_whole_model(architecture, causal):
    m, batch = model(architecture, causal=causal), ids(2, 14)
    mask = torch.arange(14)[None] < torch.tensor([[14], [9]])
    documents = torch.tensor([[0] * 6 + [1] * 8] * 2)
    assert (m(batch, mask=mask)[1, :9] - m(batch[1:, :9])[0]).abs().max() < 1e-9
    other = batch.clone()
    other[:, :6] = (batch[:, :6] + 1) % N
    assert torch.equal(
        m(other, segment_ids=documents)[:, 6:], m(batch, segment_ids=documents)[:, 6:]
    )
    assert not torch.equal(m(other)[:, 6:], m(batch)[:, 6:])
    loss = m.loss(batch, batch.masked_fill(~mask, -100), mask, documents)
    assert loss.isfinite()


def test_a_stack_takes_features_and_pools_them():
    stack, x = Stack(config(causal=False)), features(14, dtype=torch.float32)
    mask = torch.arange(14)[None] < torch.tensor([[14], [9], [1]])
    y = stack(x, mask)
    assert y.shape == x.shape
    assert pool(y, mask).shape == (3, 12)
    torch.testing.assert_close(pool(y, mask)[1], y[1, :9].mean(0))
    torch.testing.assert_close(pool(y), y.mean(1))
    y.sum().backward()
    lm = model()
    assert lm.features(ids()).shape == (2, 14, 12)
    torch.testing.assert_close(lm.head(lm.features(ids())), lm(ids()))


def test_a_nan_in_the_padding_reaches_no_gradient_of_a_stack():
    mask = torch.arange(14)[None] < torch.tensor([[14], [9], [1]])
    for name in ("flash", "flash_quad", "transformer++", "mc_transformer++"):
        stack = Stack(config(name, causal=False))
        x = features(14, dtype=torch.float32).masked_fill(~mask[..., None], math.nan)
        pool(stack(x, mask), mask).square().sum().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in stack.parameters()), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_mean_of_a_long_text_does_not_overflow(dtype):
    x = torch.full((1, 8192, 2), 9.0, dtype=dtype)
    for mask in (torch.ones(1, 8192, dtype=torch.bool), torch.arange(8192)[None] < 8000):
        assert pool(x, mask).dtype == dtype and (pool(x, mask) == 9).all()


class WithoutCausal(torch.nn.Module):
    def __init__(self, dim):
        super().__init__()


class NeverSaysIt(torch.nn.Module):
    """Takes causal and does not keep it."""

    def __init__(self, dim, causal=True, **options):
        super().__init__()

    def forward(self, x, mask=None, segment_ids=None):
        return x


@pytest.mark.parametrize(
    "architecture, options, words",
    [
        (
            WithoutCausal,
            {},
            ("WithoutCausal cannot be built as WithoutCausal(dim, causal=True)", "'causal'"),
        ),
        (
            FLASH,
            {"chunks": 8},
            ("FLASH cannot be built as FLASH(dim, causal=True, chunks=8)", "unit_options"),
        ),
        (FLASH(8), {}, ("the architecture is an object of FLASH", "give the class")),
        (
            NeverSaysIt,
            {"look": 1},
            ("NeverSaysIt does not say that it is causal", "self.causal = causal"),
        ),
    ],
)
def test_what_makes_no_unit_is_one_line(architecture, options, words):
    assert_one_line(lambda: Stack(ModelConfig(architecture, dim=8, unit_options=options)), *words)


def test_a_unit_that_reads_both_sides_need_not_say_so():
    assert Stack(ModelConfig(NeverSaysIt, dim=8, depth=1, causal=False)).units


def test_what_cannot_be_pooled_is_named():
    x, mask = features(14), torch.ones(3, 14, dtype=torch.bool)
    for wrong in (mask.long(), mask.float(), mask[:2], mask[..., None], [True]):
        assert_one_line(lambda: pool(x, wrong), "mask is", "torch.bool")  # noqa: B023
    assert_one_line(lambda: pool(x, mask.long()), "mask.bool()")
    assert_one_line(lambda: pool(x[0]), "expected a tensor (B, T, D)")
    holes = mask.clone()
    holes[:, 3] = False  # which tokens are meant is the caller's choice
    torch.testing.assert_close(pool(x, holes), x[:, [*range(3), *range(4, 14)]].mean(1))


def test_learnt_and_no_positions():
    assert isinstance(Stack(config("transformer")).positions, LearntPositions)
    assert isinstance(Stack(config("flash", positions="learnt")).positions, LearntPositions)
    assert Stack(config("flash", positions="none")).positions is None
    assert isinstance(Stack(config("transformer", positions="scaled_sin")).positions, ScaledSin)


def test_the_head_is_tied_unless_asked_otherwise():
    tied, free = LanguageModel(config()), LanguageModel(config(tied=False))
    assert tied.head.weight is tied.embedding.weight
    assert count_parameters(free) - count_parameters(tied) == N * 12


def test_causal_flash_quad_fixes_its_length_scale():
    """So that it can generate; the paper's reading is asked for by name, and refuses to."""
    assert Stack(config("flash_quad")).units[0].length_scale == 32
    assert Stack(config("flash_quad", causal=False)).units[0].length_scale is None
    assert Stack(config("flash_quad", length_scale=7)).units[0].length_scale == 7
    asked = LanguageModel(config("flash_quad", length_scale="current"))
    assert asked.stack.units[0].length_scale is None
    assert_one_line(lambda: asked.generate(ids(), 2), "length_scale=None", "length_scale=512")


# ---------------------------------------------------------------- a class of one's own


def test_a_class_of_ones_own_trains_and_generates():
    torch.manual_seed(0)
    mine = LanguageModel(
        ModelConfig(MyUnit, vocab_size=N, dim=12, depth=2, unit_options={"power": 3})
    )
    assert mine.stack.units[0].power == 3
    mine.loss(ids(), ids()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in mine.parameters())
    assert isinstance(mine.prefill(ids())[1].units[0], states.Cache)


def test_a_class_of_ones_own_may_decode_by_itself():
    class Own(MyUnit):
        def prefill(self, x, mask=None):
            return self(x, mask=mask), (torch.tanh(self.value(x)).sum(1), x.shape[1])

        def step(self, x, state):
            total, n = state[0] + torch.tanh(self.value(x)), state[1] + 1
            return x + self.write(total / n), (total, n)

    m, prompt = model(Own), ids(2, 5)
    _, state = m.prefill(prompt)
    assert isinstance(state.units[0], tuple)
    logits, _ = m.step(prompt[:, 0], state)
    assert (logits - m(torch.cat([prompt, prompt[:, :1]], 1))[:, -1]).abs().max() < 1e-9


def test_a_class_that_cannot_be_called_as_a_unit_is_one_line_before_it_is():
    class OneDocument(MyUnit):
        def forward(self, x, mask=None):
            return super().forward(x, mask)

    own = ModelConfig(OneDocument, vocab_size=N, dim=12)
    assert_one_line(
        lambda: LanguageModel(own),
        "OneDocument",
        "unit(x, mask=None, segment_ids=None)",
        "'segment_ids'",
    )


def test_a_call_that_builds_units_is_saved_as_what_it_is(tmp_path):
    build = partial(MyUnit, power=2)
    mine = LanguageModel(ModelConfig(build, vocab_size=N, dim=12, depth=1))
    mine.save_pretrained(tmp_path)
    assert_one_line(
        lambda: LanguageModel.from_pretrained(tmp_path), "functools.partial", "architecture=partial"
    )
    assert torch.equal(
        LanguageModel.from_pretrained(tmp_path, architecture=build)(ids()), mine(ids())
    )


def test_a_subclass_of_our_units_starts_by_its_own_method():
    class Louder(FLASH):
        def reset_parameters(self, std=0.02):
            super().reset_parameters(std)
            nn.init.constant_(self.out_proj.bias, 3.0)

    mine = LanguageModel(ModelConfig(Louder, vocab_size=N, dim=12, depth=1))
    assert bool((mine.stack.units[0].out_proj.bias == 3).all())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_torch_func_gives_what_autograd_gives(architecture):
    """The gradient of each sequence by itself, of padded ones with two documents."""
    m, batch, documents = model(architecture), ids(3, 9), torch.arange(9).expand(3, 9) // 5
    mask = torch.arange(9) < torch.tensor([[9], [4], [7]])
    weights = {name: p.detach() for name, p in m.named_parameters()}

    def loss(weights, *row):
        one = tuple(t[None] for t in row)
        return functional_call(m, weights, one).logsumexp(-1).sum()

    name = next(name for name in weights if name.endswith(("0.norm.gain", "0.norm1.gain")))
    gradients = vmap(grad(loss), (None, 0, 0, 0))(weights, batch, mask, documents)[name]
    for row, gradient in zip(zip(batch, mask, documents), gradients):
        (alone,) = torch.autograd.grad(
            loss(dict(m.named_parameters()), *row), m.get_parameter(name)
        )
        torch.testing.assert_close(gradient, alone, rtol=1e-9, atol=1e-12)


def test_a_model_without_numbers_reads_masks_and_documents():
    """On ``meta``, where a tensor made without ``device=`` shows: nothing but that may fail there."""
    m, batch = model(), ids().to("meta")
    mask, documents = torch.ones_like(batch, dtype=torch.bool), torch.zeros_like(batch)
    assert m.to("meta")(batch, mask=mask, segment_ids=documents).shape == (2, 14, N)


def test_a_class_of_ones_own_has_to_be_handed_back(tmp_path):
    mine = LanguageModel(
        ModelConfig(MyUnit, vocab_size=N, dim=12, depth=1, unit_options={"power": 3})
    )
    mine.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architecture"].endswith(
        "small_model.MyUnit"
    )
    assert_one_line(
        lambda: LanguageModel.from_pretrained(tmp_path),
        "MyUnit",
        "hand that class back",
        "architecture=MyUnit",
    )
    loaded = LanguageModel.from_pretrained(tmp_path, architecture=MyUnit)
    assert torch.equal(loaded(ids()), mine(ids()))
    assert loaded.config.unit_options == {"power": 3}


# ---------------------------------------------------------------- save and load


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("tied", [True, False])
def test_save_and_load_give_the_same_bits(architecture, tied, tmp_path):
    saved = model(architecture, dtype=torch.float32, tied=tied)
    saved.save_pretrained(tmp_path / "new" / "folder")
    loaded = LanguageModel.from_pretrained(tmp_path / "new" / "folder")
    assert loaded.config == saved.config and not loaded.training
    for (name, a), (_, b) in zip(saved.state_dict().items(), loaded.state_dict().items()):
        assert torch.equal(a, b), name
    assert torch.equal(saved(ids()), loaded(ids()))
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    if tied:
        assert loaded.head.weight is loaded.embedding.weight


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_saved_in_half_precision(dtype, tmp_path):
    saved = model(dtype=torch.float32)
    saved.save_pretrained(tmp_path, dtype=dtype)
    assert all(t.dtype == dtype for t in load_file(tmp_path / "model.safetensors").values())
    loaded = LanguageModel.from_pretrained(tmp_path)
    for (name, a), (_, b) in zip(saved.state_dict().items(), loaded.state_dict().items()):
        assert b.dtype == torch.float32 and torch.equal(a.to(dtype).float(), b), name
    loaded.save_pretrained(tmp_path / "again", dtype=dtype)  # a second round changes nothing
    first, second = (load_file(p / "model.safetensors") for p in (tmp_path, tmp_path / "again"))
    assert all(torch.equal(first[n], second[n]) for n in first)


@pytest.fixture
def folder(tmp_path):
    model(dtype=torch.float32).save_pretrained(tmp_path)
    return tmp_path


def load(folder):
    return lambda: LanguageModel.from_pretrained(folder)


def test_missing_files(folder, tmp_path):
    assert_one_line(
        load(tmp_path / "nowhere"), "nowhere", "neither a folder nor a model of the package"
    )
    (folder / "model.safetensors").unlink()
    assert_one_line(load(folder), "model.safetensors is missing", "save_pretrained")
    (folder / "config.json").unlink()
    assert_one_line(load(folder), "config.json is missing", "save_pretrained")


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_weights_cut_off(folder, keep):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert_one_line(
        load(folder), "model.safetensors is cut off or altered", "copy again", "or train again"
    )


def test_weights_with_an_altered_head(folder):
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[0] ^= 255
    path.write_bytes(data)
    assert_one_line(load(folder), "model.safetensors is cut off or altered")


@pytest.mark.parametrize(
    "text", ["", '{"format": 1, "dim"', "[]", "{}", "\x00\x01", '"text"', "null", "3"]
)
def test_config_cut_off_or_altered(folder, text):
    (folder / "config.json").write_text(text)
    assert_one_line(
        load(folder),
        "config.json is",
        "no configuration" if text == "{}" else "cut off or altered",
        "save_pretrained",
    )


def test_a_hugging_face_folder_is_called_so(folder):
    (folder / "config.json").write_text(
        '{"architectures": ["BertModel"], "model_type": "bert", "hidden_size": 16}'
    )
    assert_one_line(
        load(folder),
        "config.json is of a Hugging Face model (bert)",
        "LanguageModel.save_pretrained",
    )


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_any_altered_byte_is_noticed(folder, name):
    """Most of them are no longer JSON or no safetensors; the others would load in silence."""
    path, rng = folder / name, random.Random(0)
    raw = path.read_bytes()
    for place in [*rng.sample(range(len(raw) - 2), 40), len(raw) - 2]:
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        assert_one_line(load(folder), name)
    path.write_bytes(raw)
    LanguageModel.from_pretrained(folder)


def test_models_of_the_package_have_digests():
    models = sorted(
        path
        for path in (Path(flash_tutorial.__file__).parent / "models").iterdir()
        if path.is_dir()
    )
    assert len(models) == 5
    for path in models:
        files.check_sha256(path, files.read_json(path / "config.json")["sha256"])


def change(folder, **values):
    """Another configuration, as if it had been saved like this."""
    path = folder / "config.json"
    files.write_json(path, files.read_json(path) | values)
    return load(folder)


def test_config_that_does_not_fit(folder):
    before = (folder / "config.json").read_text()
    assert_one_line(
        change(folder, format=1), "config.json has format 1", "expected 3", "another version"
    )
    (folder / "config.json").write_text(before)
    assert_one_line(change(folder, vocabsize=3), "unknown key 'vocabsize'", "expected vocab_size")
    (folder / "config.json").write_text(before)
    assert_one_line(change(folder, heigth=3), "unknown key 'heigth'", "help(ModelConfig)")
    (folder / "config.json").write_text(before)
    assert_one_line(
        change(folder, dim=24), "has shape", "config.json asks for", "do not belong together"
    )
    (folder / "config.json").write_text(before)
    assert_one_line(
        change(folder, depth=3), "lacks weight 'stack.units.2", "does not belong to its config.json"
    )
    (folder / "config.json").write_text(before)
    assert_one_line(
        change(folder, depth=1),
        "has the unknown weight 'stack.units.1",
        "does not belong to its config.json",
    )
    (folder / "config.json").write_text(before)
    assert_one_line(change(folder, dim=-1), "dim=-1", "at least 1")


def test_a_weight_too_many_or_too_few(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    save_file(weights | {"extra": torch.zeros(2)}, path)
    change(folder, sha256={path.name: files.file_sha256(path)})
    assert_one_line(load(folder), "unknown weight 'extra'")
    save_file({n: t for n, t in weights.items() if n != "stack.norm.gain"}, path)
    change(folder, sha256={path.name: files.file_sha256(path)})
    assert_one_line(load(folder), "lacks weight 'stack.norm.gain'")


def no_space(*args, **kw):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "where, what", [(os, "replace"), (os, "fsync"), (Path, "write_bytes"), (Path, "write_text")]
)
def test_a_full_disk_loses_nothing(where, what, folder, monkeypatch):
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    monkeypatch.setattr(where, what, no_space)
    message = assert_one_line(
        lambda: model(seed=5).save_pretrained(folder),
        "could not be written",
        "No space left",
        "untouched",
    )
    assert "free some space" in message
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    monkeypatch.undo()
    LanguageModel.from_pretrained(folder)


def test_a_full_disk_while_text_is_written(folder, monkeypatch):
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    monkeypatch.setattr(type(folder), "write_text", no_space)
    assert_one_line(
        lambda: files.write_text(folder / "config.json", "{}"),
        "config.json could not be written",
        "untouched",
    )
    assert_one_line(
        lambda: model(seed=5).save_pretrained(folder),
        "config.json could not be written",
        "untouched",
    )
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


# ---------------------------------------------------------------- bad input


UNITS = {
    "gau": lambda: GAU(12, qk_dim=8),
    "flash": lambda: FLASH(12, qk_dim=8, chunk_size=4),
    "block": lambda: TransformerBlock(12, heads=3),
    "mc": lambda: MCTransformerBlock(12, heads=3, chunk_size=4),
}
X = features(6, batch=2, dtype=torch.float32)
MASK = torch.ones(2, 6, dtype=torch.bool)
LEFT = torch.tensor([[False, True, True, True, True, True]] * 2)
SEGMENTS = torch.zeros(2, 6, dtype=torch.long)
FALLING = torch.tensor([[0, 0, 1, 1, 0, 0]] * 2)

BAD = {
    "width": (dict(x=X[..., :10]), ("(2, 6, 10)", "(B, T, 12)", "dim=12")),
    "axes": (dict(x=X[0]), ("(6, 12)", "(B, T, 12)")),
    "empty": (dict(x=X[:, :0]), ("(2, 0, 12)", "empty", "T >= 1")),
    "integers": (dict(x=X.long()), ("torch.int64", "floating point", "embed")),
    "mask of floats": (dict(x=X, mask=MASK.float()), ("torch.float32", "torch.bool")),
    "mask of integers": (dict(x=X, mask=MASK.long()), ("torch.int64", "torch.bool")),
    "mask of a wrong shape": (dict(x=X, mask=MASK[:, :5]), ("(2, 5)", "(2, 6)")),
    "padding on the left": (dict(x=X, mask=LEFT), ("valid tokens come first", "pad on the right")),
    "a hole in the mask": (
        dict(x=X, mask=~FALLING.bool()),
        ("valid tokens come first", "pad on the right"),
    ),
    "documents as floats": (dict(x=X, segment_ids=SEGMENTS.float()), ("torch.float32", "integers")),
    "documents as bools": (dict(x=X, segment_ids=SEGMENTS.bool()), ("torch.bool", "integers")),
    "documents of a wrong shape": (dict(x=X, segment_ids=SEGMENTS[:1]), ("(1, 6)", "(2, 6)")),
    "unsorted documents": (
        dict(x=X, segment_ids=FALLING),
        ("sorted ids", "number documents in order"),
    ),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("unit", UNITS)
def test_units_refuse(unit, bad):
    kw, parts = BAD[bad]
    assert_one_line(lambda: UNITS[unit]()(**kw), *parts)


BAD_IDS = {
    "too high": (
        dict(ids=torch.full((1, 3), N)),
        (f"{N}:", f"0 to {N - 1}", f"vocab_size={N}", "tokenizer"),
    ),
    "negative": (dict(ids=torch.full((1, 3), -1)), ("-1:", f"0 to {N - 1}", "tokenizer")),
    "floats": (dict(ids=torch.zeros(1, 3)), ("torch.float32", "(B, T) integer")),
    "bools": (dict(ids=torch.zeros(1, 3, dtype=torch.bool)), ("torch.bool", "(B, T) integer")),
    "one axis": (dict(ids=torch.zeros(3, dtype=torch.long)), ("(3,)", "(B, T) integer")),
    "empty": (dict(ids=torch.zeros(1, 0, dtype=torch.long)), ("(1, 0)", "empty", "at least one")),
    "mask": (dict(ids=SEGMENTS, mask=MASK.long()), ("torch.int64", "torch.bool")),
    "left padding": (
        dict(ids=SEGMENTS, mask=LEFT),
        ("valid tokens come first", "pad on the right"),
    ),
    "documents": (
        dict(ids=SEGMENTS, segment_ids=FALLING),
        ("sorted ids", "number documents in order"),
    ),
}


@pytest.mark.parametrize("bad", BAD_IDS)
@pytest.mark.parametrize("architecture", ALL, ids=NAMES)
def test_models_refuse(architecture, bad):
    """Also with a unit of one's own, which checks nothing."""
    kw, parts = BAD_IDS[bad]
    m = LanguageModel(
        config(architecture) if isinstance(architecture, str) else ModelConfig(MyUnit, vocab_size=N)
    )
    assert_one_line(lambda: m(**kw), *parts)
    if "segment_ids" not in kw:
        assert_one_line(lambda: m.prefill(**kw), *parts)
        assert_one_line(lambda: m.generate(max_new_tokens=1, **kw), *parts)


def test_a_step_refuses_ids_it_does_not_know():
    m = model()
    _, state = m.prefill(ids())
    assert_one_line(lambda: m.step(torch.tensor([0, N]), state), f"{N}:", f"0 to {N - 1}")
    assert_one_line(
        lambda: m.step(torch.zeros(2, 1, dtype=torch.long), state), "(2, 1)", "(B,) integer"
    )


def test_what_is_longer_than_its_positions_is_refused():
    m = model("transformer", max_length=8)
    assert_one_line(lambda: m(ids(1, 9)), "length 9", "8 learnt positions", "transformer+")
    assert_one_line(lambda: m.generate(ids(1, 6), 4), "length 9", "8 learnt positions")
    assert m.generate(ids(1, 6), 3).shape == (1, 3)  # the last token drawn is not read
    quad = model("flash_quad", max_length=8)
    assert_one_line(lambda: quad(ids(1, 9)), "length 9", "bias_length=8", "bias='rotary'")
    assert_one_line(lambda: quad.generate(ids(1, 6), 4), "length 9", "bias_length=8")


@pytest.mark.parametrize(
    "build, parts",
    [
        (lambda: GAU(0), ("dim=0", "at least 1")),
        (lambda: GAU(12, qk_dim=7), ("qk_dim=7", "even")),
        (lambda: GAU(12, expansion=0), ("expansion=0", "at least 1")),
        (lambda: GAU(12, norm="batch"), ("'batch'", "scale")),
        (lambda: GAU(12, bias="t5"), ("'t5'", "'rotary'")),
        (lambda: GAU(12, bias_length=0), ("bias_length=0", "at least 1")),
        (lambda: GAU(12, length_scale=0), ("length_scale=0", "at least 1")),
        (lambda: GAU(12, attention="laplace"), ("'laplace'", "'softmax'")),
        (lambda: FLASH(12, chunk_size=0), ("chunk_size=0", "at least 1")),
        (lambda: FLASH(12, combine="max"), ("'max'", "'sum'")),
        (lambda: FLASH(12, local=False, global_=False), ("local=False", "switch one of them on")),
        (lambda: TransformerBlock(12, heads=5), ("dim=12", "heads=5", "divide")),
        (lambda: TransformerBlock(12, heads=4), ("dim=12", "heads=4", "even")),
        (lambda: MCTransformerBlock(12, heads=3, chunk_size=0), ("chunk_size=0", "at least 1")),
        (lambda: ScaledSin(12) and Stack(config("transformer", heads=5)), ("heads=5",)),
    ],
)
def test_units_that_are_refused(build, parts):
    assert_one_line(build, *parts)


def test_names_of_the_package():
    missing = "austen-nothing"
    message = assert_one_line(
        lambda: LanguageModel.from_pretrained(missing), missing, "neither a folder nor a model"
    )
    assert "(which has: " in message


# ---------------------------------------------------------------- found by trying what a user would try


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nan_in_the_padding_reaches_no_valid_token(architecture):
    torch.manual_seed(0)
    stack = Stack(
        config(architecture, dim=16, **({"heads": 2} if "transformer" in architecture else {}))
    )
    x, mask = torch.randn(2, 10, 16), torch.arange(10) < torch.tensor([[6], [9]])
    poisoned = x.masked_fill(~mask[..., None], float("nan"))
    assert torch.equal(stack(poisoned, mask)[mask], stack(x, mask)[mask])
    assert torch.equal(pool(stack(poisoned, mask), mask), pool(stack(x, mask), mask))
    with torch.no_grad():
        (_, clean), (_, dirty) = stack.prefill(x, mask), stack.prefill(poisoned, mask)
        token = torch.randn(2, 16)
        assert torch.equal(stack.step(token, clean)[0], stack.step(token, dirty)[0])


def test_a_step_takes_one_token_for_each_row():
    model = LanguageModel(config("transformer++"))
    _, state = model.prefill(ids(2, 3))
    for n in (1, 3):
        with pytest.raises(ValueError, match="one token for each row"):
            model.step(ids(1, n)[0], state)


@pytest.mark.parametrize(
    "other", [dict(depth=1), dict(chunk_size=8), dict(qk_dim=6), dict(max_length=5)]
)
def test_a_step_refuses_the_state_of_another_model(other):
    ours, theirs = model(), model(**other)
    _, state = theirs.prefill(ids())
    assert_one_line(lambda: ours.step(ids()[:, 0], state), "of another model", "prefill")
    _, state = ours.prefill(ids())
    ours.step(ids()[:, 0], copy.deepcopy(state))


def test_ids_of_any_integer_type_are_the_same_ids():
    model, tokens = LanguageModel(config("flash")), ids(2, 9)
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32):
        assert torch.equal(model(tokens.to(dtype)), model(tokens))
        assert torch.equal(model.loss(tokens.to(dtype), tokens.int()), model.loss(tokens, tokens))
    for wrong in (tokens.numpy(), tokens.tolist()):
        with pytest.raises(ValueError, match="as a tensor"):
            model(wrong)


def test_a_float64_model_comes_back_as_it_was(tmp_path):
    model, tokens = LanguageModel(config("flash")).double(), ids(2, 9)
    model.save_pretrained(tmp_path)
    assert torch.equal(LanguageModel.from_pretrained(tmp_path)(tokens), model(tokens))


@pytest.mark.parametrize("width", [1, 8])
def test_a_stack_refuses_another_width(width):
    for run in (Stack(config("flash", dim=16)), Stack(config("flash", dim=16)).prefill):
        with pytest.raises(ValueError, match="dim=16 last"):
            run(torch.randn(2, 10, width))


@pytest.mark.parametrize(
    "task, context", [("pg19", 512), ("c4", 0), ("wiki40b", 700), ("c4", 16384)]
)
def test_the_paper_did_not_run_this_length(task, context):
    with pytest.raises(ValueError, match=f"context={context}: on {task} the paper ran"):
        ModelConfig.paper(task, "flash", context=context)


def test_a_padded_prompt_ends_where_its_tokens_end():
    """FLASH-Quad's bias reaches 16 positions: padding is none of them."""
    model = LanguageModel(config("flash_quad", max_length=16))
    prompt, mask = ids(1, 16), torch.arange(16)[None] < 4
    expected = model.generate(prompt[:, :4], 3, temperature=0)
    assert torch.equal(model.generate(prompt, 3, mask=mask, temperature=0), expected)


# ---------------------------------------------------------------- the door


class HostReads(TorchDispatchMode):
    """Counts what makes a GPU wait: a number of a tensor that Python asks for."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        names = (
            "_local_scalar_dense",
            "nonzero",
            "equal",
            "masked_select",
            "unique_dim",
            "_unique2",
        )
        self.count += function.overloadpacket.__name__ in names
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("what, most", [("nothing", 0), ("mask", 1), ("documents", 1), ("both", 1)])
def test_mask_and_documents_are_looked_at_once(architecture, what, most):
    model, tokens = LanguageModel(config(architecture)), ids(2, 20)
    how = {}
    if what in ("mask", "both"):
        how["mask"] = torch.arange(20)[None] < torch.tensor([[20], [13]])
    if what in ("documents", "both"):
        how["segment_ids"] = torch.arange(20)[None].expand(2, -1) // 7
    with HostReads() as reads:
        model.loss(tokens, tokens, **how).backward()
    assert reads.count <= most


def test_a_unit_with_a_forward_of_its_own_is_not_told_of_the_door():
    class Twice(FLASH):
        def forward(self, x, mask=None, segment_ids=None):
            return super().forward(super().forward(x, mask, segment_ids), mask, segment_ids)

    options = dict(qk_dim=4, chunk_size=4)
    model = LanguageModel(ModelConfig(Twice, vocab_size=11, dim=8, depth=2, unit_options=options))
    assert model(ids(2, 9) % 11, mask=torch.ones(2, 9, dtype=torch.bool)).shape == (2, 9, 11)


@pytest.mark.parametrize("architecture", ["flash", "transformer++"])
def test_dropout_is_of_training_alone(architecture):
    """The embedding and each unit's branch lose a share of their numbers, others in each pass; a score loses none."""
    options = dict(dim=64, depth=2, vocab_size=50)
    torch.manual_seed(0)
    model = LanguageModel(ModelConfig(architecture, dropout=0.5, **options))
    without = LanguageModel(ModelConfig(architecture, **options))
    without.load_state_dict(model.state_dict())
    ids = torch.arange(40).view(2, 20)
    assert torch.equal(model.eval()(ids), without.eval()(ids))
    assert torch.equal(without.train()(ids), without.eval()(ids))
    first, second = (model.train()(ids) for _ in range(2))
    assert not torch.allclose(first, second)
    seen = []
    for unit in model.stack.units:
        unit.register_forward_hook(lambda unit, inputs, y: seen.append((inputs[0], y)))
    model(ids)
    (x, y), (later, _) = seen
    kept = (x != 0).float().mean()
    lost = (later == x).float().mean()  # there the branch of the first unit was put to zero
    assert 0.4 < kept < 0.6 and 0.4 < lost < 0.6
    torch.testing.assert_close((later - x)[later != x], (2 * (y - x))[later != x])


def test_a_unit_that_is_computed_again_keeps_less_and_changes_nothing():
    """The same loss and gradients, bit for bit; between forward and backward each unit keeps its input and no more."""
    options = dict(dim=32, depth=3, qk_dim=8, chunk_size=16, vocab_size=50)
    torch.manual_seed(0)
    model = LanguageModel(ModelConfig(**options))
    again = LanguageModel(ModelConfig(checkpoint=True, **options))
    again.load_state_dict(model.state_dict())
    ids, kept, found = torch.arange(80).view(2, 40) % 50, [], []
    for each in (model, again):
        numbers = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, n=numbers: n.append(t.numel()) or t, lambda t: t
        ):
            loss = each.loss(ids, ids)
        loss.backward()
        kept.append(sum(numbers))
        found.append([loss.detach(), *(p.grad for p in each.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*found))
    assert kept[1] < 0.5 * kept[0]


@pytest.mark.parametrize("share", [1, 1.0, -0.1])
def test_dropout_of_everything_is_refused(share):
    with pytest.raises(ValueError, match=f"dropout={share}: expected a"):
        ModelConfig(dropout=share)


def test_weights_are_saved_in_a_floating_point_type_only(tmp_path):
    for dtype in (torch.int8, "bfloat16"):
        assert_one_line(
            lambda dtype=dtype: model().save_pretrained(tmp_path, dtype=dtype),
            repr(dtype),
            "floating point",
        )
    assert not list(tmp_path.iterdir())


def test_frozen_parameters_are_counted():
    m = model()
    assert count_parameters(m) == count_parameters(m.requires_grad_(False))

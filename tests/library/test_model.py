"""The whole model: sizes of the paper, its start, masks and documents, classes of one's own, and every refusal."""

import copy
import math

import pytest
import torch
from host_reads import HostReads
from refusals import assert_one_line
from small_model import ALL, NAMES, MyUnit, N, config, ids, model
from torch import nn
from torch.func import functional_call, grad, vmap
from unit_cases import features, on_devices

from flash_tutorial import (
    FLASH,
    GAU,
    LanguageModel,
    MCTransformerBlock,
    ModelConfig,
    Stack,
    TransformerBlock,
    count_parameters,
    pool,
)
from flash_tutorial.config import ARCHITECTURES
from flash_tutorial.layers import LearntPositions, ScaledSin, cos_sin
from flash_tutorial.training.measures import branch_sizes

every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


def mask_of(*lengths, T=14):
    return torch.arange(T)[None] < torch.tensor(lengths)[:, None]


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


def paper_stack(*args, **options):
    with torch.device("meta"):
        return Stack(ModelConfig.paper(*args, **options))


def test_the_learnt_table_at_8192_positions():
    short, long = (paper_stack("wiki40b", "transformer", context=n) for n in (512, 8192))
    assert short.positions.table.numel() == 512 * 768
    assert count_parameters(long) - count_parameters(short) == (8192 - 512) * 768


def test_what_the_paper_ran():
    c4, pg19 = ModelConfig.paper("c4"), ModelConfig.paper("pg19")
    assert (c4.causal, c4.norm, c4.chunk_size, c4.dim, c4.depth) == (False, "scale", 256, 768, 24)
    assert (pg19.causal, pg19.norm, pg19.chunk_size) == (True, "layer", 512)
    assert (pg19.dim, pg19.depth) == (1024, 72)
    assert ModelConfig.paper("wiki40b", "transformer++").heads == 12
    assert ModelConfig.paper("pg19", "transformer++").heads == 16
    assert ModelConfig.paper("c4", "transformer").norm == "layer"  # alone of all on C4


@pytest.mark.parametrize(
    "asked, parts",
    [
        (dict(task="pg19", architecture="transformer"), ("did not run", "'c4' or 'wiki40b'")),
        (dict(task="enwik8"), ("'enwik8'", "'c4', 'wiki40b' and 'pg19'")),
        (dict(task="c4", architecture="performer"), ("'performer'", "transformer++")),
        (dict(task="pg19", context=512), ("context=512: on pg19 the paper ran",)),
        (dict(task="wiki40b", context=700), ("context=700: on wiki40b the paper ran",)),
        (dict(task="c4", context=16384), ("context=16384: on c4 the paper ran",)),
    ],
)
def test_what_the_paper_did_not_run(asked, parts):
    assert_one_line(lambda: ModelConfig.paper(**asked), *parts)


def test_position_bias_by_length():
    """Code 4: FLASH at C = 256 has 511 weights a layer, at C = 512 the rotary form; FLASH-Quad has it from 513 on."""
    assert paper_stack("wiki40b").units[0].bias.weights.shape == (511,)
    assert paper_stack("pg19").units[0].bias.a.shape == (128,)
    assert paper_stack("wiki40b", "flash_quad").units[0].bias.weights.shape == (1023,)
    long = paper_stack("wiki40b", "flash_quad", context=1024)
    assert long.units[0].bias.a.shape == (128,)
    for options in (dict(max_length=513), dict(bias="rotary")):
        assert Stack(ModelConfig("flash_quad", **options)).units[0].bias.a.shape == (64,)


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
    small = config(architecture, dim=96, qk_dim=64, norm="layer", start="paper", **reach)
    for unit in LanguageModel(small).stack.units:
        kernels = (unit.in_proj.weight, unit.out_proj.weight)
        for p in (*kernels, unit.scale_offset.gamma, *unit.bias.parameters()):
            near(p, 0.02)
        for p in (unit.in_proj.bias, unit.out_proj.bias, unit.scale_offset.beta, unit.norm.offset):
            assert p.count_nonzero() == 0
        assert (unit.norm.gain == 1).all()


@pytest.mark.parametrize(
    "architecture", ["transformer", "transformer+", "transformer++", "mc_transformer++"]
)
def test_the_start_of_the_blocks(architecture):
    torch.manual_seed(0)
    spread = dict(init_std=0.05, embedding_std=0.03)
    whole = LanguageModel(config(architecture, dim=96, max_length=64, **spread))
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
    by_width = 0.02 * (768 / 12) ** 0.5
    asked = (({}, by_width), ({"start": "paper"}, 0.02), ({"position_scale": None}, 12**-0.5))
    for options, expected in asked:
        assert Stack(config(**options)).positions.scale.item() == pytest.approx(expected)
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
    assert branch.norm() / x.norm() < 0.01
    assert 1e-7 < content < 1e-5
    assert layer.bias(n).std() > 1000 * content


# ---------------------------------------------------------------- the model as a whole


@pytest.mark.parametrize("architecture", ALL, ids=NAMES)
def test_the_loss_reaches_every_parameter(architecture):
    m = model(architecture, tied=False)
    m.loss(ids(), ids()).backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in m.parameters())


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
        parts = (f"targets hold {wrong}", f"0 to {N - 1}", "-100")
        assert_one_line(lambda: m.loss(batch, targets), *parts)


def test_nothing_is_asked_of_padding():
    m, batch = model(), ids(2, 14)
    targets = batch.roll(-1, 1)
    mask = mask_of(14, 5)
    asked = targets.masked_fill(~mask, -100)
    torch.testing.assert_close(m.loss(batch, targets, mask), m.loss(batch, asked, mask))
    torch.testing.assert_close(m(batch, mask, targets=targets), m.loss(batch, asked, mask))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32], ids=str)
def test_nothing_is_asked_of_padding_whatever_integers_targets_are(dtype):
    m, batch = LanguageModel(ModelConfig(dim=12, depth=1)), ids(2, 14)
    mask = mask_of(14, 5)
    targets = batch.roll(-1, 1)
    expected = m.loss(batch, targets, mask)
    assert m.loss(batch, targets.to(dtype), mask) == expected
    assert m(batch, mask, targets=targets.to(dtype)) == expected
    assert_one_line(lambda: m.loss(batch, targets.numpy(), mask), "targets are a ndarray")


def test_positions_run_over_the_row_and_do_not_start_again_at_a_document():
    m, batch = model("transformer+"), ids(1, 8)
    twice = torch.cat([batch, batch], 1)
    logits = m(twice, segment_ids=torch.tensor([[0] * 8 + [1] * 8]))
    assert (logits[:, :8] - m(batch)).abs().max() < 1e-12
    assert (logits[:, 8:] - m(batch)).abs().max() > 1e-3


@every_architecture
@pytest.mark.parametrize("causal", [True, False])
def test_mask_and_documents_reach_the_whole_model(architecture, causal):
    m, batch = model(architecture, causal=causal), ids(2, 14)
    mask, documents = mask_of(14, 9), torch.tensor([[0] * 6 + [1] * 8] * 2)
    assert (m(batch, mask=mask)[1, :9] - m(batch[1:, :9])[0]).abs().max() < 1e-9
    other = batch.clone()
    other[:, :6] = (batch[:, :6] + 1) % N
    read, changed = (m(given, segment_ids=documents)[:, 6:] for given in (batch, other))
    assert torch.equal(read, changed)
    assert not torch.equal(m(other)[:, 6:], m(batch)[:, 6:])
    assert m.loss(batch, batch.masked_fill(~mask, -100), mask, documents).isfinite()


@every_architecture
def test_nan_in_the_padding_reaches_no_valid_token(architecture):
    """Nor a gradient, nor what is read behind it."""
    stack, mask, x = Stack(config(architecture)), mask_of(6, 9, 14), features(14).float()
    poisoned = x.masked_fill(~mask[..., None], math.nan)
    y = stack(poisoned, mask)
    assert torch.equal(y[mask], stack(x, mask)[mask])
    pool(y, mask).square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in stack.parameters())
    with torch.no_grad():
        for each in (stack, stack.units[0]):
            (_, clean), (_, dirty) = each.prefill(x, mask), each.prefill(poisoned, mask)
            token = torch.randn(3, 12)
            assert torch.equal(each.step(token, clean)[0], each.step(token, dirty)[0])


@on_devices
@every_architecture
def test_a_whole_model_in_half_precision(architecture, device):
    m, batch = model(architecture, dtype=torch.float32).to(device), ids().to(device)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast(device, dtype):
            loss = m.loss(batch, batch)
        loss.backward()
        assert all(p.grad.isfinite().all() for p in m.parameters())
        whole = copy.deepcopy(m).to(dtype)
        assert whole(batch).isfinite().all() and whole(batch).dtype == dtype
        assert whole.generate(batch, 3, temperature=0).shape == (2, 3)


def test_learnt_and_no_positions():
    for architecture, options, kind in (
        ("transformer", {}, LearntPositions),
        ("flash", dict(positions="learnt"), LearntPositions),
        ("flash", dict(positions="none"), type(None)),
        ("transformer", dict(positions="scaled_sin"), ScaledSin),
    ):
        assert isinstance(Stack(config(architecture, **options)).positions, kind)


def test_the_head_is_tied_unless_asked_otherwise():
    tied, free = LanguageModel(config()), LanguageModel(config(tied=False))
    assert tied.head.weight is tied.embedding.weight
    assert count_parameters(free) - count_parameters(tied) == N * 12
    frozen = free.requires_grad_(False)  # and counted all the same
    assert count_parameters(frozen) - count_parameters(tied) == N * 12


def test_causal_flash_quad_fixes_its_length_scale():
    """So that it can generate; the paper's reading is asked for by name, and refuses to."""
    for options, expected in (
        ({}, 32),
        (dict(causal=False), None),
        (dict(length_scale=7), 7),
        (dict(length_scale="current"), None),
    ):
        assert Stack(config("flash_quad", **options)).units[0].length_scale == expected
    asked = LanguageModel(config("flash_quad", length_scale="current"))
    assert_one_line(lambda: asked.generate(ids(), 2), "length_scale=None", "length_scale=512")


def test_ids_of_any_integer_type_are_the_same_ids():
    m, tokens = model(), ids(2, 9)
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32):
        assert torch.equal(m(tokens.to(dtype)), m(tokens))
        assert torch.equal(m.loss(tokens.to(dtype), tokens.int()), m.loss(tokens, tokens))
    for wrong in (tokens.numpy(), tokens.tolist()):
        assert_one_line(lambda: m(wrong), "as a tensor")  # noqa: B023


# ---------------------------------------------------------------- a stack, and the mean over its features


def test_a_stack_takes_features_and_pools_them():
    stack, x, mask = Stack(config(causal=False)), features(14).float(), mask_of(14, 9, 1)
    y = stack(x, mask)
    torch.testing.assert_close(pool(y, mask)[1], y[1, :9].mean(0))
    torch.testing.assert_close(pool(y), y.mean(1))
    holes = torch.arange(14).expand(3, 14) != 3  # which tokens are meant is the caller's choice
    torch.testing.assert_close(pool(x, holes), x[:, [*range(3), *range(4, 14)]].mean(1))
    m = model()
    torch.testing.assert_close(m.head(m.features(ids())), m(ids()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_mean_of_a_long_text_does_not_overflow(dtype):
    x = torch.full((1, 8192, 2), 9.0, dtype=dtype)
    for mask in (mask_of(8192, T=8192), mask_of(8000, T=8192)):
        assert pool(x, mask).dtype == dtype and (pool(x, mask) == 9).all()


def test_what_cannot_be_pooled_is_named():
    x, mask = features(14), torch.ones(3, 14, dtype=torch.bool)
    for wrong in (mask.float(), [True]):
        assert_one_line(lambda: pool(x, wrong), "mask is", "expected a tensor of bools")  # noqa: B023
    for wrong in (mask[:2], mask[..., None]):
        assert_one_line(lambda: pool(x, wrong), "mask is", "the shape (3, 14)")  # noqa: B023
    assert_one_line(lambda: pool(x, -mask.long()), "other integers than 0 and 1")
    assert_one_line(lambda: pool(x[0]), "expected a tensor (B, T, D)")


# ---------------------------------------------------------------- a class of one's own


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


class MixesItself(FLASH):
    def mix(self, heads, v, mask, segment_ids):
        return super().mix(heads, v, mask, segment_ids) + v


class MixesAll(GAU):
    def mix(self, heads, v, mask, segment_ids):
        return super().mix(heads, v, mask, segment_ids) + v


class ReadsItself(FLASH):
    def forward(self, x, *read, **how):
        return super().forward(x, *read, **how) + x / 2


class WritesBack(FLASH):
    def project_back(self, u, mixed):
        return 2 * super().project_back(u, mixed)


class OwnBlock(TransformerBlock):
    def mix(self, q, k, v, mask, segment_ids):
        return super().mix(q, k, v, mask, segment_ids) + v


SUBCLASSES = {
    MixesItself: dict(qk_dim=8, chunk_size=4),
    MixesAll: dict(qk_dim=8, bias_length=32, length_scale=32),
    ReadsItself: dict(qk_dim=8, chunk_size=4),
    WritesBack: dict(qk_dim=8, chunk_size=4),
    OwnBlock: dict(heads=3, ff_dim=24),
}


def assert_decodes_as_it_reads(m):
    text = ids(2, 14)
    whole = m(text)
    logits, state = m.prefill(text[:, :6])
    torch.testing.assert_close(logits, whole[:, 5])
    for t in range(6, 14):
        logits, state = m.step(text[:, t], state)
        torch.testing.assert_close(logits, whole[:, t])


@pytest.mark.parametrize("kind", SUBCLASSES)
def test_a_subclass_that_reads_in_another_way_decodes_as_it_reads(kind):
    assert_decodes_as_it_reads(model(kind, unit_options=SUBCLASSES[kind]))


def test_so_does_a_unit_whose_mixing_was_exchanged():
    m = model()
    for unit in m.stack.units:
        mixed = unit.mix
        unit.mix = lambda heads, v, mask, segment_ids, mixed=mixed: (
            mixed(heads, v, mask, segment_ids) + v
        )
    assert_decodes_as_it_reads(m)


class WithoutCausal(nn.Module):
    def __init__(self, dim):
        super().__init__()


class NeverSaysIt(nn.Module):
    """Takes causal and does not keep it."""

    def __init__(self, dim, causal=True, **options):
        super().__init__()

    def forward(self, x, mask=None, segment_ids=None):
        return x


class OneDocument(MyUnit):
    def forward(self, x, mask=None):
        return super().forward(x, mask)


@pytest.mark.parametrize(
    "architecture, options, words",
    [
        (
            WithoutCausal,
            {},
            (
                "cannot be built as WithoutCausal(dim, causal=True)",
                "give it def __init__(self, dim, causal",
            ),
        ),
        (FLASH, {"chunks": 8}, ("as FLASH(dim, causal=True, chunks=8)", "unit_options")),
        (FLASH(8), {}, ("the architecture is an object of FLASH", "give the class")),
        (NeverSaysIt, {"look": 1}, ("does not say that it is causal", "self.causal = causal")),
        (OneDocument, {}, ("unit(x, mask=None, segment_ids=None)", "'segment_ids'")),
    ],
)
def test_what_makes_no_unit_is_one_line(architecture, options, words):
    assert_one_line(lambda: Stack(ModelConfig(architecture, dim=8, unit_options=options)), *words)


def test_a_unit_that_reads_both_sides_need_not_say_so():
    assert Stack(ModelConfig(NeverSaysIt, dim=8, depth=1, causal=False)).units


def test_a_subclass_of_our_units_starts_by_its_own_method():
    class Louder(FLASH):
        def reset_parameters(self, std=0.02):
            super().reset_parameters(std)
            nn.init.constant_(self.out_proj.bias, 3.0)

    mine = Stack(ModelConfig(Louder, dim=12, depth=1))
    assert bool((mine.units[0].out_proj.bias == 3).all())


def test_a_unit_with_a_forward_of_its_own_is_not_told_of_the_door():
    class Twice(FLASH):
        def forward(self, x, mask=None, segment_ids=None):
            return super().forward(super().forward(x, mask, segment_ids), mask, segment_ids)

    options = dict(qk_dim=4, chunk_size=4)
    mine = Stack(ModelConfig(Twice, dim=12, depth=2, unit_options=options))
    assert mine(features(9).float(), mask=mask_of(9, 9, 9, T=9)).shape == (3, 9, 12)


@pytest.mark.parametrize("checkpoint", [False, True])
@every_architecture
def test_torch_func_gives_what_autograd_gives(architecture, checkpoint):
    """The gradient of each sequence by itself, of padded ones with two documents."""
    m = model(architecture, checkpoint=checkpoint)
    batch, documents = ids(3, 9), torch.arange(9).expand(3, 9) // 5
    mask = mask_of(9, 4, 7, T=9)
    weights = {name: p.detach() for name, p in m.named_parameters()}

    def loss(weights, *row):
        one = tuple(t[None] for t in row)
        return functional_call(m, weights, one).logsumexp(-1).sum()

    name = next(name for name in weights if name.endswith(("0.norm.gain", "0.norm1.gain")))
    gradients = vmap(grad(loss), (None, 0, 0, 0))(weights, batch, mask, documents)[name]
    parameters = dict(m.named_parameters())
    for row, gradient in zip(zip(batch, mask, documents), gradients):
        (alone,) = torch.autograd.grad(loss(parameters, *row), parameters[name])
        torch.testing.assert_close(gradient, alone, rtol=1e-9, atol=1e-12)


@every_architecture
@pytest.mark.parametrize("causal", [True, False])
def test_a_model_without_numbers_reads_masks_and_documents(architecture, causal):
    """On ``meta``, where a tensor made without ``device=`` shows: nothing but that may fail there."""
    m, batch = model(architecture, causal=causal).to("meta"), ids().to("meta")
    mask, documents = torch.ones_like(batch, dtype=torch.bool), torch.zeros_like(batch)
    m.loss(batch, batch, mask=mask, segment_ids=documents).backward()
    assert all(p.grad.device.type == "meta" for p in m.parameters())


# ---------------------------------------------------------------- bad input


ZEROS = torch.zeros(2, 6, dtype=torch.long)
LEFT = ~mask_of(1, 1, T=6)
BAD_IDS = {
    "too high": (dict(ids=torch.full((1, 3), N)), (f"{N}:", f"0 to {N - 1}", f"vocab_size={N}")),
    "negative": (dict(ids=torch.full((1, 3), -1)), ("-1:", f"0 to {N - 1}", "tokenizer")),
    "floats": (dict(ids=torch.zeros(1, 3)), ("torch.float32", "(B, T) integer")),
    "bools": (dict(ids=torch.zeros(1, 3, dtype=torch.bool)), ("torch.bool", "(B, T) integer")),
    "one axis": (dict(ids=ZEROS[0]), ("(6,)", "(B, T) integer")),
    "empty": (dict(ids=ZEROS[:, :0]), ("(2, 0)", "empty", "at least one")),
    "mask": (dict(ids=ZEROS, mask=LEFT.float()), ("torch.float32", "mask > 0.5", "mask == 0")),
    "targets by place": (dict(ids=ZEROS, mask=ZEROS + 5), ("other integers",)),
    "mask of other integers": (dict(ids=ZEROS, mask=2 + LEFT.int()), ("other integers than 0",)),
    "left padding": (dict(ids=ZEROS, mask=LEFT), ("valid tokens come first", "padding='left'")),
    "right padding": (dict(ids=ZEROS, mask=~LEFT, padding="left"), ("valid tokens come last",)),
    "padding": (dict(ids=ZEROS, mask=LEFT, padding="both"), ("'both'", "'right' or 'left'")),
    "documents": (dict(ids=ZEROS, segment_ids=-LEFT.long()), ("sorted ids", "in order")),
}


@pytest.mark.parametrize("bad", BAD_IDS)
@pytest.mark.parametrize("architecture", ["flash", MyUnit])
def test_models_refuse(architecture, bad):
    """Also with a unit of one's own, which checks nothing."""
    (kw, parts), m = BAD_IDS[bad], LanguageModel(config(architecture))
    assert_one_line(lambda: m(**kw), *parts)
    if "segment_ids" not in kw:
        assert_one_line(lambda: m.prefill(**kw), *parts)
        assert_one_line(lambda: m.generate(max_new_tokens=1, **kw), *parts)


def test_a_step_refuses_what_is_not_one_id_for_each_row():
    m = model()
    _, state = m.prefill(ids())
    for wrong, *parts in (
        (torch.tensor([0, N]), f"{N}:", f"0 to {N - 1}"),
        (ZEROS[:, :1], "(2, 1)", "(B,) integer"),
        (ZEROS[0, :1], "of shape (1,)", "one token for each row of the state, which has 2"),
        (ZEROS[0, :3], "of shape (3,)", "one token for each row of the state, which has 2"),
    ):
        assert_one_line(lambda: m.step(wrong, state), *parts)  # noqa: B023
    assert_one_line(lambda: m.step(ZEROS[0, :2], None), "state is a NoneType", "prefill gave")
    assert_one_line(lambda: m.prefill(ids(), state=3), "state is a int", "prefill gave")


def test_a_seed_is_no_generator_and_a_length_no_number_of_new_tokens():
    m = model()
    assert_one_line(lambda: m.generate(ids(), 1, generator=3), "generator=3", "manual_seed(seed)")
    assert_one_line(lambda: m.generate(ids(), 1, seed=3), "did you mean generator? (generator = ")
    assert_one_line(lambda: m.generate(ids(), max_length=9), "max_length - ids.shape[1]")


def test_a_stack_asks_for_a_configuration():
    assert_one_line(lambda: Stack(16), "config is 16: expected a ModelConfig")


@pytest.mark.parametrize(
    "other", [dict(depth=1), dict(chunk_size=8), dict(qk_dim=6), dict(max_length=5)]
)
def test_a_step_refuses_the_state_of_another_model(other):
    ours, theirs = model(), model(**other)
    _, state = theirs.prefill(ids())
    assert_one_line(lambda: ours.step(ids()[:, 0], state), "of another model", "prefill")
    _, state = ours.prefill(ids())
    ours.step(ids()[:, 0], copy.deepcopy(state))


def test_what_is_longer_than_its_positions_is_refused():
    m = model("transformer", max_length=8)
    assert_one_line(lambda: m(ids(1, 9)), "length 9", "8 learnt positions", "transformer+")
    quad = model("flash_quad", max_length=8)
    assert_one_line(lambda: quad(ids(1, 9)), "length 9", "bias_length=8", "bias='rotary'")


def test_a_padded_prompt_ends_where_its_tokens_end():
    """FLASH-Quad's bias reaches 16 positions: padding is none of them."""
    m, prompt = model("flash_quad", max_length=16), ids(1, 16)
    expected = m.generate(prompt[:, :4], 3, temperature=0)
    assert torch.equal(m.generate(prompt, 3, mask=mask_of(4, T=16), temperature=0), expected)


def test_a_stack_refuses_another_width():
    stack = Stack(config(dim=16))
    for width in (1, 8):
        for run in (stack, stack.prefill):
            with pytest.raises(ValueError, match="dim=16 last"):
                run(torch.randn(2, 10, width))


# ---------------------------------------------------------------- the door, dropout, computing again


@every_architecture
def test_mask_and_documents_are_looked_at_once(architecture):
    m, tokens = LanguageModel(config(architecture)), ids(2, 20)
    mask, documents = mask_of(20, 13, T=20), torch.arange(20).expand(2, -1) // 7
    for most, how in (
        (0, {}),
        (1, {"mask": mask}),
        (1, {"segment_ids": documents}),
        (1, {"mask": mask, "segment_ids": documents}),
        (1, {"mask": mask.long()}),
        (1, {"mask": mask.long().flip(1), "padding": "left"}),
    ):
        with HostReads() as reads:
            m.loss(tokens, tokens, **how).backward()
        assert reads.count <= most


@pytest.mark.parametrize("architecture", ["flash", "transformer++"])
def test_dropout_is_of_training_alone(architecture):
    """The embedding and each unit's branch lose a share of their numbers, others in each pass; a score loses none."""
    options = dict(dim=64, depth=2, vocab_size=50)
    dropping = LanguageModel(ModelConfig(architecture, dropout=0.5, **options))
    without = LanguageModel(ModelConfig(architecture, **options))
    without.load_state_dict(dropping.state_dict())
    tokens = torch.arange(40).view(2, 20)
    assert torch.equal(dropping.eval()(tokens), without.eval()(tokens))
    assert torch.equal(without.train()(tokens), without.eval()(tokens))
    seen = []
    for unit in dropping.train().stack.units:
        unit.register_forward_hook(lambda unit, inputs, y: seen.append((inputs[0], y)))
    torch.manual_seed(0)
    assert not torch.allclose(dropping(tokens), dropping(tokens))
    (x, y), (later, _), *_ = seen
    kept = (x != 0).float().mean()
    lost = (later == x).float().mean()  # there the branch of the first unit was put to zero
    assert 0.4 < kept < 0.6 and 0.4 < lost < 0.6
    torch.testing.assert_close((later - x)[later != x], (2 * (y - x))[later != x])


def test_a_unit_that_is_computed_again_keeps_less_and_changes_nothing():
    """The same loss and gradients, bit for bit; between forward and backward each unit keeps its input and no more."""
    options = dict(dim=32, depth=3, qk_dim=8, chunk_size=16, vocab_size=50)
    once = LanguageModel(ModelConfig(**options))
    again = LanguageModel(ModelConfig(checkpoint=True, **options))
    again.load_state_dict(once.state_dict())
    tokens, kept, found = torch.arange(80).view(2, 40) % 50, [], []
    for each in (once, again):
        numbers = []

        def keep(t, numbers=numbers):
            numbers.append(t.numel())
            return t

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            loss = each.loss(tokens, tokens)
        loss.backward()
        kept.append(sum(numbers))
        found.append([loss.detach(), *(p.grad for p in each.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*found))
    assert kept[1] < 0.5 * kept[0]


# ---------------------------------------------------------------- the start by the width
@pytest.mark.parametrize(
    "architecture", ["flash", "flash_quad", "transformer++", "mc_transformer++"]
)
def test_a_small_model_draws_all_by_its_width(architecture):
    torch.manual_seed(0)
    whole = LanguageModel(config(architecture, dim=96, tied=False))
    by_width = 0.02 * 8**0.5
    near(whole.embedding.weight, by_width)
    near(whole.head.weight, by_width)
    assert whole.stack.positions.scale.item() == pytest.approx(by_width)
    for unit in whole.stack.units:
        for name, parameter in unit.named_parameters():
            drawn = ("proj.weight", "out.weight", "in.weight", "gamma")
            if name.endswith(drawn) or name.startswith("bias."):
                near(parameter, by_width)
            elif "norm" not in name:
                assert parameter.count_nonzero() == 0


def test_a_number_of_ones_own_stands_in_place_of_the_starts():
    torch.manual_seed(0)
    own = dict(init_std=0.3, embedding_std=0.4, position_scale=0.7)
    whole = LanguageModel(config("flash", dim=96, **own))
    near(whole.embedding.weight, 0.4)
    assert whole.stack.positions.scale.item() == pytest.approx(0.7)
    for unit in whole.stack.units:
        near(unit.in_proj.weight, 0.3)
        near(unit.scale_offset.gamma, 0.3)


@pytest.mark.parametrize("architecture", ["flash", "flash_quad"])
def test_a_small_model_adds_something_from_the_first_update_on(architecture):
    """From the paper's start a fresh branch is a thousandth of its input at this width."""
    ids = torch.randint(0, 256, (2, 384), generator=torch.Generator().manual_seed(0))
    sizes = {}
    for start in ("paper", "width"):
        torch.manual_seed(0)
        whole = LanguageModel(ModelConfig(architecture, start=start))
        sizes[start] = branch_sizes(whole, ids)
    assert max(sizes["paper"]) < 0.01 and min(sizes["width"]) > 0.03


def test_a_configuration_of_before_there_was_a_choice_has_the_papers_start():
    stored = ModelConfig(start="paper").to_dict()
    assert "start" not in stored and stored["init_std"] == stored["position_scale"] == 0.02
    again = ModelConfig.from_dict(stored)
    assert again.start == "paper" and again.to_dict() == stored
    small = ModelConfig()
    assert ModelConfig.from_dict(small.to_dict()) == small
    assert ModelConfig.from_dict(small.to_dict() | {"start": "small"}) == small  # as files had it
    assert ModelConfig.paper("wiki40b").start == "paper"


def test_a_unit_of_ones_own_that_drops_is_computed_again_with_the_same_drops():
    class Dropping(MyUnit):
        def forward(self, x, mask=None, segment_ids=None):
            return x + nn.functional.dropout(super().forward(x, mask) - x, 0.5, self.training)

    gradients = []
    for again in (False, True):
        torch.manual_seed(0)
        m = LanguageModel(config(Dropping, checkpoint=again)).train()
        torch.manual_seed(1)
        m.loss(ids(), ids()).backward()
        gradients.append([p.grad for p in m.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients))


def test_a_loss_of_nothing_that_is_asked_is_zero_and_moves_nothing():
    m = LanguageModel(ModelConfig(dim=16, depth=1, qk_dim=8, chunk_size=8))
    loss = m.loss(torch.ones(2, 5, dtype=torch.long), torch.full((2, 5), -100))
    loss.backward()
    assert loss == 0 and all(not p.grad.any() for p in m.parameters() if p.grad is not None)


class Shortens(MyUnit):
    def forward(self, x, mask=None, segment_ids=None):
        return super().forward(x, mask, segment_ids)[:, :1]


class GivesTwo(MyUnit):
    def forward(self, x, mask=None, segment_ids=None):
        return x, None


@pytest.mark.parametrize("unit, said", [(Shortens, "of shape (2, 1, "), (GivesTwo, "a tuple")])
def test_a_unit_whose_output_is_no_features_is_named(unit, said):
    parts = (f"the output of {unit.__name__}", said, "expected the shape (2, 5, ")
    assert_one_line(lambda: model(unit)(ids(2, 5)), *parts)

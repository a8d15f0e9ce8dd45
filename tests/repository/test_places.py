"""The two units that `benchmarks/places.py` tries beside FLASH: each is what its definition says, and no leak."""

import numpy as np
import pytest
import torch
from refusals import assert_one_line
from unit_cases import documents, features, how_to_read, ragged_mask

from flash_tutorial.check import branch_error, branch_std, check_unit, draw_order_one, settle_branch
from flash_tutorial.reference import gate_and_out, project_loops

pytestmark = pytest.mark.quick

UNITS = ("MovedFLASH", "OverlapFLASH", "HalfOverlap")
D, S, C = 12, 8, 4


@pytest.fixture
def places(benchmark_script):
    return benchmark_script("places")


@pytest.fixture(params=UNITS)
def unit(request, places):
    """A unit with parameters of order one, in float64."""
    unit = getattr(places, request.param)(D, chunk_size=C, qk_dim=S).double()
    return settle_branch(draw_order_one(unit, torch.Generator().manual_seed(0)), features())


def by_definition(unit, x, mask=None):
    """One row, token by token: which chunk a token is in, whom it reads one by one, and the mean over all before."""
    moved, share, p = type(unit).__name__ == "MovedFLASH", getattr(unit, "share", 1), unit.to_numpy()
    x, valid = x.numpy(), np.ones(len(x), bool) if mask is None else mask.numpy()
    u, v, (quad_q, quad_k, lin_q, lin_k) = project_loops(x, p, valid)
    mixed, middle = np.zeros_like(v), len(p["bias_weights"]) // 2  # the weight of distance 0
    for i in range(len(x)):
        chunk = lambda t: (t + C // 2) // C if moved else t // C  # noqa: E731
        near = [j for j in range(i + 1) if valid[j] and chunk(j) >= chunk(i) - (not moved)]
        far = [j for j in range(i + 1) if valid[j] and chunk(j) < chunk(i)]
        for j in near:
            mixed[i] += max(quad_q[i] @ quad_k[j] * share / C + p["bias_weights"][middle + j - i], 0) ** 2 * v[j]
        for j in far:
            mixed[i] += lin_q[i] @ lin_k[j] * v[j] / len(far)
    return gate_and_out(x, u, mixed, p)


@pytest.mark.parametrize("length", [1, C // 2 + 1, 2 * C, 3 * C + 2, 5 * C + 1])
@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padding"])
@torch.no_grad()
def test_a_unit_is_what_its_definition_says(unit, length, padded):
    x, mask = features(length), ragged_mask(length) if padded else None
    y, valid = unit(x, mask), torch.ones(x.shape[:2], dtype=torch.bool) if mask is None else mask
    rows = [by_definition(unit, x[b], None if mask is None else mask[b]) for b in range(len(x))]
    assert 0.1 < branch_std(unit, features()) < 10
    assert branch_error(y, torch.from_numpy(np.stack(rows)), x, valid) < 1e-10


def test_a_unit_has_every_property_and_goes_token_by_token(unit):
    rows = {name for name, value, *_ in check_unit(unit).rows if value is not None}
    assert {"leak of values", "leak of gradients", "prefix", "padding", "ragged rows", "step"} <= rows


@pytest.mark.parametrize("which", ["documents", "both"])
def test_documents_are_refused(unit, which):
    parts = (type(unit).__name__, "segment_ids", "expected segment_ids=None", "give each document a row of its own")
    assert_one_line(lambda: unit(features(), **how_to_read(which)), *parts)


EVERY = [0, 1, 2, 3]


@pytest.mark.parametrize(
    "name, changed", [("borders moved", [1, 3]), ("chunk before", EVERY), ("chunk before, half the scale", EVERY)]
)
def test_a_model_has_its_units_writes_and_refuses_documents(places, name, changed):
    model = draw_order_one(places.build(name, None).double().eval(), torch.Generator().manual_seed(0))
    assert [i for i, unit in enumerate(model.stack.units) if isinstance(unit, places.OtherChunks)] == changed
    ids = torch.randint(256, (1, places.C + 3), generator=torch.Generator().manual_seed(1))
    written = model.generate(ids[:, : places.C - 1], 4, temperature=0)  # over a border
    whole = torch.cat([ids[:, : places.C - 1], written], 1)
    assert torch.equal(written, model(whole)[:, places.C - 2 : -1].argmax(-1))
    assert_one_line(lambda: model(ids[:, :14], segment_ids=documents()[:1]), "expected segment_ids=None")

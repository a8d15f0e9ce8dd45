"""Problem set 03: GAU in torch. Cases, the oracle, and wrong answers; the right answers lie in ``solutions``."""

import copy
from contextlib import suppress
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from flash_tutorial import check as properties
from flash_tutorial.flash import FLASH
from flash_tutorial.gau import GAU
from flash_tutorial.mixing import mixed_chunk_attention

from ..closed_book import without_autograd
from ..compare import difference
from ..examples import example
from ..exercise import Case, Said, asked, call, lent, named_values, predicted, reject_if
from ..expected import by_right
from ..gradients import not_derived
from ..instruments import no_loop
from ..proving import versions
from ..sizes import grown


# ---------------------------------------------------------------- 03.1 toeplitz_bias, rotary_bias
def toeplitz_bias(w, first=0):
    n = (len(w) + 1) // 2
    i, j = torch.arange(first, n)[:, None], torch.arange(n)
    return w[n - 1 + j - i]


def turned(vector, places):
    """A row of S numbers for each place: the vector, its pairs turned by their angles there."""
    one, two = vector.chunk(2)
    angle = places[:, None] * 10000.0 ** (-torch.arange(len(one), dtype=vector.dtype) / len(one))
    return torch.cat(
        [one * angle.cos() - two * angle.sin(), two * angle.cos() + one * angle.sin()], dim=1
    )


def rotary_bias(a, b, n, first=0):
    rows, columns = turned(a, torch.arange(first, n)), turned(b, torch.arange(n))
    return rows @ columns.mT


def cases_1(rng, numbers):
    def draw(*shape):
        return torch.from_numpy(rng.normal(size=shape))

    def first_of(n, first):
        """n, a first row that stands where it stood (none given, inside, or the last one), and how both are shown."""
        (size,) = grown(rng, n, more=12)
        how = {}
        if first is not None:
            how["first"] = size - 1 if first == n - 1 else first
        return size, how, f"n = {size}, first = {how.get('first', 0)}"

    def table(name, part, n, first=None):
        n, how, sizes = first_of(n, first)
        return call(name, part, draw(2 * n - 1), **how, of="toeplitz_bias", sizes=sizes)

    def waves(name, part, n, S, first=None):
        (n, how, sizes), S = first_of(n, first), S + 2 * int(rng.integers(4))
        return call(
            name, part, draw(S), draw(S), n, **how, of="rotary_bias", sizes=f"{S = }, {sizes}"
        )

    (n,) = grown(rng, 5)
    w, weights = draw(2 * n - 1), draw(n, n)

    def gradient(answers):
        leaf = w.clone().requires_grad_()
        rows = answers.toeplitz_bias(leaf)
        reject_if(isinstance(rows, torch.Tensor) and not rows.requires_grad, "03.1", "detached")
        (rows * weights).sum().backward()
        reject_if(leaf.grad is None, "03.1", "detached")
        return leaf.grad

    lengths = [8, 400]  # with fewer rows a list of them adds too few steps
    tables = [[torch.ones(2 * size - 1)] for size in lengths]
    yield table("all rows", "toeplitz: values", 5)
    yield table("all rows, one token", "toeplitz: values", 1)
    yield table("rows from 2", "toeplitz: first", 7, first=2)
    yield table("the last row", "toeplitz: first", 6, first=5)
    yield Case("the gradient of w", "toeplitz: gradient", gradient, f"{n = }")
    yield no_loop("toeplitz: no loop", "rows", *tables, f"n = {lengths}", of="toeplitz_bias")
    yield waves("all rows", "rotary", 5, 6)
    yield waves("all rows, one token", "rotary", 1, 2)
    yield waves("rows from 3", "rotary: first", 7, 4, first=3)
    yield waves("the last row", "rotary: first", 9, 8, first=8)


def example_1():
    w = torch.arange(1.0, 6, dtype=torch.float64)
    yield example("03.1", "toeplitz_bias", of="toeplitz_bias", w=w)
    yield example("03.1", "toeplitz_bias", of="toeplitz_bias", w=w, first=1)


# ---------------------------------------------------------------- 03.2 SmallGAU
class SmallGAU(nn.Module):
    def __init__(self, dim, expanded, qk_dim, *, reach, n, causal):
        super().__init__()
        self.widths = [expanded, expanded, qk_dim]
        self.reach = reach
        self.n = n
        self.causal = causal
        self.gain = nn.Parameter(torch.ones(()))
        self.in_proj, self.out_proj = nn.Linear(dim, sum(self.widths)), nn.Linear(expanded, dim)
        for linear in (self.in_proj, self.out_proj):
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
        self.gamma = nn.Parameter(torch.randn(2, qk_dim) * 0.02)
        self.beta = nn.Parameter(torch.zeros(2, qk_dim))
        self.table = nn.Parameter(torch.randn(2 * reach + 1) * 0.02)

    def forward(self, x):
        T, n = x.shape[1], self.n
        normal = x / ((x * x).mean(-1, keepdim=True) + 1e-5).sqrt() * self.gain
        u, v, z = F.silu(self.in_proj(normal)).split(self.widths, dim=-1)
        q, k = z * self.gamma[0] + self.beta[0], z * self.gamma[1] + self.beta[1]
        scores = q @ k.mT / n
        place = torch.arange(T, device=x.device)
        distance = place - place[:, None]
        bias = self.table[distance.clamp(-self.reach, self.reach) + self.reach]
        sees = torch.ones_like(scores).tril() if self.causal else 1
        A = F.relu(scores + bias).square() * sees
        return x + self.out_proj(u * (A @ v))


def build(answer, widths, seed=0, **how):
    """A unit of the student's class, made with a fixed seed of torch. widths: D, E and S."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return answer(*widths, **dict(reach=12, n=5, causal=True) | how)


def shapes_of(unit):
    return {name: tuple(p.shape) for name, p in unit.named_parameters()}


def filled(unit, drawn):
    """The unit in float64, with these parameters; an axis too many is the business of another part."""
    sizes = {name: p.numel() for name, p in unit.named_parameters()}
    reject_if(sizes != {name: p.numel() for name, p in drawn.items()}, "03.2", "names")
    shaped = {name: drawn[name].reshape(shape) for name, shape in shapes_of(unit).items()}
    unit.double().load_state_dict(shaped, strict=False)
    return unit


def branch(unit, x):
    with torch.no_grad():
        y = asked(unit, x)
        if isinstance(y, torch.Tensor) and (torch.equal(y, x) or not y.any()):
            key = "input" if y.any() else "zeros"
            raise Said("all", key)
        if isinstance(y, torch.Tensor) and y.shape == x.shape:
            return y - x
        return y


def shapes_with(widths, how):
    return shapes_of(build(SmallGAU, widths, **how))


def starts_as_said(unit, names):
    """Every number of a fresh unit is drawn as the text says; ``names`` are those of its parameters."""
    found = dict(unit.named_parameters())
    reject_if(found.keys() != names, "03.2", "names")
    reject_if((found["gain"] != 1).any(), "03.2", "gain start")
    for name in ("in_proj.weight", "out_proj.weight", "gamma", "table"):
        p = found[name].detach().double()
        if abs(float(p.std()) - 0.02) > 0.004 or abs(float(p.mean())) > 0.01:
            raise Said(
                "03.2", {"gamma": "gamma one", "table": "table start"}.get(name, "linear start")
            )
        reject_if((p.abs() <= 0.04).all(), "03.2", "not normal")
    reject_if(
        any(found[name].any() for name in ("in_proj.bias", "out_proj.bias", "beta")),
        "03.2",
        "not zero",
    )


def shape_on_meta(unit, text):
    """The shape of what comes out where tensors have no numbers, as a sign that the device is kept."""
    with torch.no_grad():
        y = unit(text)  # what fails here fails for another reason
        try:
            y = unit.to("meta")(text.to("meta"))
        except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:
            # what counts numbers has no size without them, and is on the right device
            if "nonzero" in str(error):
                return tuple(y.shape)
            reads = any(word in str(error) for word in (".item()", "Cannot copy out", "numpy"))
            key = "reads numbers" if reads else "device"
            raise Said("03.2", key) from None
    reject_if(y.device.type != "meta", "03.2", "device")
    return tuple(y.shape)


def drawn_tensor(rng, *shape):
    return torch.as_tensor(rng.normal(size=shape))


def order_one(rng, widths, **how):
    """Parameters of a unit, drawn of order one; no draw closes the whole map."""
    drawn = {}
    for name, shape in by_right("03.2", f"shapes of {how}", "shapes_with", widths, how).items():
        fan_in = shape[1] if name.endswith("weight") else 1
        drawn[name] = drawn_tensor(rng, *shape) / fan_in**0.5
    return drawn | {"gain": torch.tensor(1.3), "table": drawn["table"] + 1}


def values_of_unit(rng, widths, name, B, T, *, reach=4, n=5, causal=True):
    """A case of what a unit adds to its input; a change of its table must show in the next call."""
    D, E, S = widths
    B, n = grown(rng, B, n)
    more = int(rng.integers(5)) * (T > 1)
    T, reach = T + more, reach + more  # the longer one stays the longer one
    how = dict(reach=reach, n=n, causal=causal)
    drawn = order_one(rng, widths, **how)
    x = drawn_tensor(rng, B, T, D)

    def run(answer):
        unit = filled(build(answer, widths, **how), drawn)
        result = branch(unit, x)
        with torch.no_grad():
            unit.table += 10
            stale = isinstance(result, torch.Tensor) and not (unit(x) - x - result).any()
            reject_if(stale, "03.2", "stale")
        return result

    sizes = f"{B = }, {T = }, {D = }, {E = }, {S = }, {reach = }, {n = }, {causal = }"
    return Case(name, "numbers", run, sizes)


def cases_2(rng, numbers):
    D, E, S = widths = grown(rng, 10, 14, 6)
    shown = f"{D = }, {E = }, {S = }"
    values = partial(values_of_unit, rng, widths)
    B, T = grown(rng, 2, 7)
    drawn = order_one(rng, widths)
    x = drawn_tensor(rng, B, T, D)
    wide = grown(rng, 128, 256, 400, 200)  # D, E, S and reach of a unit whose start can be measured
    sizes = f"{B = }, {T = }, {shown}"

    def names(answer):
        return {name: str(shape) for name, shape in shapes_of(build(answer, widths)).items()}

    def round_trip(answer):
        one = filled(build(answer, widths), drawn)
        other = build(answer, widths, seed=1).double()
        other.load_state_dict(one.state_dict())
        reject_if(difference(one(x.clone()), other(x.clone()), 1e-9), "03.2", "stale")

    def gradients(answer):
        unit = filled(build(answer, widths), drawn)
        text = x.clone().requires_grad_()
        (unit(text) * torch.arange(1.0, D + 1)).sum().backward()
        reject_if(
            any(p.grad is None or not p.grad.any() for p in unit.parameters()), "03.2", "detached"
        )
        found = {name: p.grad.squeeze() for name, p in sorted(unit.named_parameters())}
        return found | {"x": text.grad}

    def starts(answer):
        fresh, other, again = (build(answer, wide[:3], seed=s, reach=wide[3]) for s in (3, 4, 3))
        starts_as_said(fresh, drawn.keys())
        fresh, other, again = (unit.state_dict() for unit in (fresh, other, again))
        small = ("in_proj.weight", "out_proj.weight", "gamma", "table")
        reject_if(any(torch.equal(fresh[name], other[name]) for name in small), "03.2", "alike")
        reject_if(
            not all(torch.equal(fresh[name], again[name]) for name in small),
            "03.2",
            "own generator",
        )

    def on_meta(answer, causal=True):
        return shape_on_meta(build(answer, widths, causal=causal), torch.zeros(B, T, D))

    yield Case("names and shapes", "parameters", names, f"{shown}, reach = 12", say="names")
    yield values("one text, causal", 1, 5, reach=6)
    yield values("three texts", 3, 7, causal=False)
    yield values("a text longer than the reach", 2, 9, reach=3, n=8)
    yield values("a short text", 2, 3, causal=False, reach=5, n=4)
    yield values("one token", 2, 1)
    yield values("a long text", 1, 1500)
    yield Case("state_dict into another unit", "numbers", round_trip, sizes)
    yield Case("gradients", "numbers", gradients, sizes)
    yield Case("how it starts", "start", starts, "D = {}, E = {}, S = {}, reach = {}".format(*wide))
    yield Case("causal, on torch's device meta", "device", on_meta, sizes)
    yield Case(
        "not causal, on torch's device meta", "device", partial(on_meta, causal=False), sizes
    )


# ---------------------------------------------------------------- 03.3 numeric_gradient
def numeric_gradient(f, x):
    x, h = np.array(x, dtype=np.float64), 1e-5
    out = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        moved = x.copy()
        moved[place] += h
        high = f(moved)
        moved[place] -= 2 * h
        low = f(moved)
        out[place] = (high - low) / h / 2
    return out


def likely_step(points, x, got, right):
    """The sentence for a gradient that is not exact, from the points at which the function was asked; or None."""
    got = np.asarray(got)
    if (
        got.shape != x.shape
        or got.dtype.kind not in "iuf"
        or np.abs(got - right).max(initial=0) <= 1e-7
    ):
        return None
    points = [p for p in points if p.shape == x.shape]
    offsets = [p.astype(float) - x for p in points]
    moved = [int((o != 0).sum()) for o in offsets if o.any()]
    size = max((float(np.abs(o).max()) for o in offsets), default=0)
    stored = any(array.dtype.kind == "i" for array in (got, *points))
    if x.dtype.kind == "i" and (stored or not moved):
        return "whole numbers"
    if not got.any():  # that every value is zero says more than the step
        return None
    if any(array.dtype == np.float32 for array in (got, *points)):
        return "float32"
    if moved and max(moved) > 1:
        return "together" if min(moved) == max(moved) else "not restored"
    if np.allclose(got, 2 * right, rtol=1e-3, atol=1e-3):
        return "twice"
    if not moved:
        return None
    if not (any((o > 0).any() for o in offsets) and any((o < 0).any() for o in offsets)):
        return "one-sided"
    small = "too small" if size < 5e-8 else None
    return "too large" if size > 2e-4 else small


def cases_3(rng, numbers):
    def case(name, part, x, value):
        right = by_right("03.3", name, "numeric_gradient", value, x)

        def run(answer):
            points = []

            def f(point):
                points.append(np.array(point))
                return value(np.asarray(point))

            got = asked(answer, lent(f), x)
            if key := likely_step(points, x, got, right):
                raise Said("03.3", key)
            return got

        return Case(name, part, run, f"x has the shape {x.shape}")

    def curve(shape):
        # quick enough that a step of 3e-4 is too large, large enough (30) that 1e-8 is too small
        pace = 2 + rng.uniform(size=shape)
        return lambda x: float(
            30 + np.sin(pace * x).sum() + (x * np.roll(x, 1)).sum() + np.exp(x.mean())
        )

    def curved(name, part, *shape):
        shape = grown(rng, *shape)
        return case(name, part, rng.normal(size=shape), curve(shape))

    (T, E), (many, whole) = grown(rng, 5, 3), grown(rng, 7, 6, more=30)
    v, d, bias = (rng.normal(size=shape) for shape in ((T, E), (T, E), (T, T)))

    def attention_loss(bias_TT):
        return float((np.maximum(bias_TT, 0) ** 2 @ v * d).sum())

    bias += np.copysign(0.05, bias)
    yield case("a curved function", "one axis", rng.normal(size=many), curve(many))
    yield curved("one number", "one axis", 1)
    yield curved("a matrix", "more axes", 3, 4)
    yield curved("three axes", "more axes", 2, 3, 4)
    yield case("a loss of relu² attention, by its bias", "more axes", bias, attention_loss)
    yield case(
        "x holds whole numbers", "whole numbers", rng.integers(-2, 3, size=whole), curve(whole)
    )


# ---------------------------------------------------------------- 03.4 quadratic_backward
def quadratic_backward(q, k, v, bias, n, causal, d_out, power=2):
    s = q @ k.T / n + bias
    sees = np.tri(len(q)) if causal else np.ones_like(s)
    r = np.maximum(s, 0)
    A = sees * r**power
    ds = sees * power * r ** (power - 1) * (s > 0) * (d_out @ v.T)
    return ds @ k / n, ds.T @ q / n, A.T @ d_out, ds


def outputs(q, k, v, bias, n, causal, power=2):
    """What the gradients are of."""
    scores = q @ k.T / n + bias
    A = (scores * (scores.real > 0)) ** power
    return (A.tril() if causal else A) @ v


GRADIENTS = ("dq", "dk", "dv", "dbias")
# a wrong dk alone takes no points of a power: it shows in the gradient of a score, which is dbias
LOOKED_AT = {"dv": ["dv"], "dbias": ["dbias"], "dq and dk": ["dq", "dk"], "powers": ["dv", "dbias"]}
wrong_4 = not_derived(outputs, 4, (1e-5, True), (1e-5, False), (1e-30j, False))


def cases_4(rng, numbers):
    def case(part, name, T, S, E, n, causal, tiny=1.0, zeros=False, **how):
        T, S, E, n = grown(rng, T, S, E, n)
        given = [rng.normal(size=shape) for shape in ((T, S), (T, S), (T, E), (T, T))]
        if zeros:
            given[0][1] = given[3][1] = 0.0
        given[0] *= tiny
        d_out = rng.normal(size=(T, E)) / tiny
        power = f", power = {how['power']}" if how else ""
        sizes = f"{T = }, {S = }, {E = }, {n = }{power}, {causal = }"
        then = named_values(GRADIENTS, *LOOKED_AT[part])
        asked_for = call(name, part, *given, n, causal, d_out, sizes=sizes, then=then, **how)
        return without_autograd(asked_for)

    for part in ("dv", "dbias", "dq and dk"):
        yield case(part, "not causal", 6, 3, 4, 5, False)
        yield case(part, "not causal, other sizes", 5, 4, 2, 3, False)
        yield case(part, "causal", 7, 2, 5, 4, True)
        yield case(part, "causal, other sizes", 9, 5, 3, 2, True)
        yield case(part, "one token", 1, 3, 2, 4, True)
    tiny = "q times 1e-300, d_out times 1e300"
    yield case("dbias", tiny, 6, 3, 4, 5, True, tiny=1e-300)
    yield case("dq and dk", tiny, 6, 3, 4, 5, True, tiny=1e-300)
    yield case("powers", "power 3", 6, 2, 3, 4, True, power=3)
    yield case("powers", "power 1", 5, 3, 4, 2, False, power=1)
    yield case("powers", "power 1, causal", 6, 4, 3, 5, True, power=1)
    yield case("powers", "power 1, scores of 0", 5, 3, 2, 4, False, zeros=True, power=1)


# ---------------------------------------------------------------- 03.5 assert_prefix_consistent
DIM, CHUNK = 12, 8


def gau(kind=GAU, **how):
    return kind(
        DIM, qk_dim=6, bias="toeplitz", bias_length=64, **dict(causal=True, length_scale=48) | how
    )


def flash(kind=FLASH, combine="mean"):
    return kind(DIM, qk_dim=6, chunk_size=CHUNK, causal=True, bias="toeplitz", combine=combine)


class OverTheText(FLASH):
    """The sum over earlier chunks is divided by the tokens of the whole text."""

    def mix(self, heads, v, mask, segment_ids):
        how = dict(chunk_size=self.chunk_size, causal=True, bias=self.bias)
        near = mixed_chunk_attention(*heads, v, **how, global_=False)
        return (
            near + mixed_chunk_attention(*heads, v, **how, local=False, combine="sum") / v.shape[1]
        )


class FromTheEnd(GAU):
    """Adds a position that is counted from the end of the text."""

    def project(self, x, mask=None):
        left = torch.arange(x.shape[1], 0, -1, device=x.device)[:, None]
        return super().project(
            x + torch.sin(left / (1 + torch.arange(self.dim, device=x.device))), mask
        )


def bent(kind, bend):
    """Units of a kind whose branch goes through a function before it is added to x."""

    class Bent(kind):
        def forward(self, x, mask=None, segment_ids=None):
            return x + bend(super().forward(x, mask, segment_ids) - x)

    return Bent


def noise():
    """Noise in place of what is added. Its dice are its own: a test's own dice must not tell it from other units."""
    dice = torch.Generator().manual_seed(5)
    return lambda added: torch.randn(added.shape, generator=dice, dtype=added.dtype)


def tail_by_its_length(added):
    """The last, unfinished chunk is scaled by its own length instead of C."""
    tail = added.shape[1] % CHUNK
    return torch.cat([added[:, :-tail], added[:, -tail:] * CHUNK / tail], 1) if tail else added


UNITS_5 = {
    "passes what is right": {
        "a GAU with n fixed": gau,
        "FLASH with the mean": flash,
        "FLASH with the sum": lambda: flash(combine="sum"),
    },
    "the length": {
        "divides by the current length": lambda: gau(length_scale=None),
        "divides by all tokens of the text": lambda: flash(OverTheText),
        "counts positions from the end": lambda: gau(FromTheEnd),
        "scales an unfinished chunk": lambda: flash(bent(FLASH, tail_by_its_length)),
        "a drift of 0.1% when the length doubles": lambda: gau(
            bent(GAU, lambda y: y * y.shape[1] ** 0.0015)
        ),
        "another value at every eighth length": lambda: gau(
            bent(GAU, lambda y: y * (1.01 if y.shape[1] % 8 == 3 else 1))
        ),
    },
    "other faults": {
        "reads both sides": lambda: gau(causal=False),
        "the first token reads the last": lambda: gau(
            bent(GAU, lambda y: (y + y.roll(1, dims=1)) / 2)
        ),
        "noise": lambda: gau(bent(GAU, noise())),
    },
}
SHUT_5 = (properties.prefix_error, properties.check_unit, properties.step_error)


def cases_5(rng, numbers):
    return versions(UNITS_5, shut=SHUT_5)


@torch.no_grad()
def assert_prefix_consistent(unit):
    unit = copy.deepcopy(unit).double()
    properties.draw_order_one(unit, torch.Generator().manual_seed(0))
    x = torch.randn(
        2, 45, unit.dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    whole = unit(x)
    for t in range(1, 44, 3):
        alone, same = unit(x[:, :t]), whole[:, :t]
        assert (alone - same).abs().max() <= 1e-9 * same.abs().max()


# ---------------------------------------------------------------- 03.6 floating point
def draw_6(rng):
    return {"n": int(2 ** rng.integers(2, 8)), "step": float(rng.choice([0.25, 0.5, 2, 4, 8]))}


def right_6(numbers):
    n, step = numbers["n"], numbers["step"]
    words = {"e": "float16", "f": "bfloat16", "g": "emulation"}
    return {"a": 255.875 * n, "b": 1.7273e-4, "c": 2048 * step, "d": 256 * step} | words


def as_float(value):
    """A number of any kind as a float; anything else as it is."""
    with suppress(TypeError, ValueError):
        return value if isinstance(value, str | bool) else float(value)
    return value


def cases_6(rng, numbers):
    def below_256(a):
        a = as_float(a)
        reject_if(isinstance(a, float) and 255.88 < a / numbers["n"] < 256, "03.6", "a: root")
        return a

    def root(b):  # 2 to the power of -12.5, or the float16 above it
        b = as_float(b)
        reject_if(isinstance(b, float) and abs(b * 2**12 - 1) < 0.03, "03.6", "b: half a gap")
        return 1.7273e-4 if isinstance(b, float) and abs(b / 1.7263e-4 - 1) < 0.005 else b

    looks = {"a": below_256, "b": root}
    return [predicted(key, then=looks.get(key, as_float)) for key in "abcdefg"]

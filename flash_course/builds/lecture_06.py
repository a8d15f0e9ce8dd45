"""What lecture 06 lets its reader build: the FLASH unit, padding, documents, and the whole model."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from flash_tutorial.layers import ToeplitzBias, cos_sin, rope
from flash_tutorial.reference import scaled_sin

from . import Build, Case, call
from .lecture_05 import global_part, mixed_chunk, numbers, to_chunks

EPS = 1e-5


# ---------------------------------------------------------------- the unit
class FLASH(nn.Module):
    """Mixed chunk attention, gated, causal, its norm and residual included: (B, T, D) -> (B, T, D)."""

    def __init__(self, D, S, C):
        super().__init__()
        self.E, self.S, self.C = 2 * D, S, C
        self.gain = nn.Parameter(torch.ones(1))
        self.in_proj = nn.Linear(D, 2 * self.E + S)
        self.gamma = nn.Parameter(torch.randn(4, S) / (4 * D) ** 0.5)
        self.beta = nn.Parameter(torch.zeros(4, S))
        self.bias = ToeplitzBias(C)
        self.out_proj = nn.Linear(self.E, D)
        nn.init.normal_(self.bias.weights, std=(4 * D) ** -0.5)

    def project(self, x):
        """Gate u and value v (B, T, E), base z (B, T, S)."""
        normed = F.rms_norm(x, x.shape[-1:], eps=EPS) * self.gain
        h = F.silu(self.in_proj(normed))
        return h.split([self.E, self.E, self.S], dim=-1)

    def heads(self, z):
        """quad_q, quad_k, lin_q and lin_k, (4, B, T, S)."""
        copies = z * self.gamma[:, None, None] + self.beta[:, None, None]
        return rope(copies, *cos_sin(z.shape[1], self.S, z)).to(z.dtype)

    def mix(self, heads, v):
        """What is read, (B, T, E)."""
        return mixed_chunk(*heads, v, self.bias(self.C), self.C)

    def forward(self, x):
        u, v, z = self.project(x)
        return x + self.out_proj(u * self.mix(self.heads(z), v))


class WithoutNorm(FLASH):
    def project(self, x):
        return F.silu(self.in_proj(x)).split([self.E, self.E, self.S], dim=-1)


class WithoutSilu(FLASH):
    def project(self, x):
        normed = F.rms_norm(x, x.shape[-1:], eps=EPS) * self.gain
        return self.in_proj(normed).split([self.E, self.E, self.S], dim=-1)


class GateAndValueSwapped(FLASH):
    def project(self, x):
        u, v, z = super().project(x)
        return v, u, z


class BaseFirst(FLASH):
    def project(self, x):
        h = torch.cat(super().project(x), dim=-1)
        z, u, v = h.split([self.S, self.E, self.E], dim=-1)
        return u, v, z


class WithoutRope(FLASH):
    def heads(self, z):
        return z * self.gamma[:, None, None] + self.beta[:, None, None]


class BetaAfterRope(FLASH):
    def heads(self, z):
        copies = rope(z * self.gamma[:, None, None], *cos_sin(z.shape[1], self.S, z))
        return copies + self.beta[:, None, None]


class BetaForgotten(FLASH):
    def heads(self, z):
        return rope(z * self.gamma[:, None, None], *cos_sin(z.shape[1], self.S, z))


class PlacesInTheChunk(FLASH):
    def heads(self, z):
        copies = z * self.gamma[:, None, None] + self.beta[:, None, None]
        places = [place % self.C for place in range(z.shape[1])]
        cos, sin = (table[places] for table in cos_sin(z.shape[1], self.S, z))
        return rope(copies, cos, sin)


class LinearHeadsFirst(FLASH):
    def mix(self, heads, v):
        return super().mix([*heads[2:], *heads[:2]], v)


class NotGated(FLASH):
    def forward(self, x):
        _, v, z = self.project(x)
        return x + self.out_proj(self.mix(self.heads(z), v))


class NoResidual(FLASH):
    def forward(self, x):
        return super().forward(x) - x


def set_numbers(module):
    """The module in float64, its parameters halves of small whole numbers, by their names."""
    module = module.double()
    with torch.no_grad():
        for first, (_, parameter) in enumerate(sorted(module.named_parameters())):
            parameter.copy_(numbers(*parameter.shape, first=3 + 2 * first) / 2)
    return module


def unit_of(answer):
    return set_numbers(answer(2, 2, 2))


def projected(answer):
    return torch.cat(unit_of(answer).project(numbers(1, 2, 2)), dim=-1)


def heads_of(answer):
    return torch.stack([*unit_of(answer).heads(numbers(1, 3, 2))])


def through(T, B=1):
    def run(answer):
        return unit_of(answer)(numbers(B, T, 2))

    return run


SIZES = "D = S = C = 2"
UNIT = Build(
    FLASH,
    cases=(
        Case("project: u, v and z", projected, f"two tokens, {SIZES}"),
        Case("heads: the four copies", heads_of, f"three tokens, {SIZES}"),
        Case("one token", through(1), f"one token, {SIZES}"),
        Case("three chunks, the last one short", through(5), f"five tokens, {SIZES}"),
        Case("a batch of two", through(4, B=2), f"two sequences of four tokens, {SIZES}"),
    ),
    likely=(
        ("The norm is missing: divide x by its root mean square, then times gain.", WithoutNorm),
        ("SiLU is missing behind the projection.", WithoutSilu),
        ("Gate and value are swapped: the columns are u, v, z.", GateAndValueSwapped),
        ("The columns of the projection are u, v, z: z comes last.", BaseFirst),
        ("RoPE is missing.", WithoutRope),
        ("beta comes before RoPE: it is rotated as well.", BetaAfterRope),
        ("beta is missing: each copy is z times gamma plus beta.", BetaForgotten),
        (
            "Positions start anew in each chunk. RoPE counts them through the sequence.",
            PlacesInTheChunk,
        ),
        ("The heads are in another order: quad_q, quad_k, lin_q, lin_k.", LinearHeadsFirst),
        ("What was read is not gated: multiply it by u.", NotGated),
        ("x itself is missing in the result.", NoResidual),
    ),
    why="This is one layer of the paper's model; a base model is 24 of them.",
)


# ---------------------------------------------------------------- padding
def both_sides(q, k, v, mask):
    """The global part that reads both sides: (B, T, S), v (B, T, E), mask (B, T) -> (B, T, E)."""
    v = v * mask[..., None]
    tokens = mask.sum(1).clamp(min=1)
    return q @ (k.mT @ v / tokens[:, None, None])


def padding_read(q, k, v, mask):
    return both_sides(q, k, v, torch.ones_like(mask))


def padding_counted(q, k, v, mask):
    return q @ (k.mT @ (v * mask[..., None])) / mask.shape[1]


def padding_read_and_not_counted(q, k, v, mask):
    return q @ (k.mT @ v) / mask.sum(1).clamp(min=1)[:, None, None]


def one_count_for_all(q, k, v, mask):
    return q @ (k.mT @ (v * mask[..., None])) / mask.sum()


def not_divided(q, k, v, mask):
    return q @ (k.mT @ (v * mask[..., None]))


def masked_case(label, *lengths):
    """Rows of four tokens, so many of them valid."""
    B = len(lengths)
    mask = torch.arange(4) < torch.tensor(lengths)[:, None]
    arrays = (numbers(B, 4, 2), numbers(B, 4, 2, first=3), numbers(B, 4, 3, first=1))
    return call(label, *arrays, mask)


PADDING = Build(
    both_sides,
    cases=(
        call(
            "four valid, two padded",
            torch.ones(1, 6, 1, dtype=torch.float64),
            torch.ones(1, 6, 1, dtype=torch.float64),
            torch.tensor([6.0, 12, 18, 24, 9, 9]).double()[None, :, None],
            torch.tensor([[True, True, True, True, False, False]]),
        ),
        masked_case("rows of different lengths", 4, 2, 1),
        masked_case("nothing padded", 4),
        masked_case("a row without a valid token", 0, 3),
    ),
    likely=(
        ("Padding is read and counted, as if it were text.", padding_read),
        ("Padding is left out of the sum and still counted in the mean.", padding_counted),
        ("Padding is not counted, but it is still in the sum.", padding_read_and_not_counted),
        (
            "All rows are divided by one number; each row has valid tokens of its own.",
            one_count_for_all,
        ),
        ("This is a sum; divide it by the valid tokens of the row.", not_divided),
    ),
    why="With this a batch of two gives what two batches of one would give.",
)


# ---------------------------------------------------------------- documents
def by_document(mix, v, documents):
    """mix(v) so that no token reads another document: v (B, T, E), documents (T,) -> (B, T, E)."""
    out = torch.zeros_like(v)
    for document in documents.unique():
        own = (documents == document)[:, None]
        out = out + own * mix(v * own)
    return out


def all_mixed(mix, v, documents):
    return mix(v)


def without_the_last(mix, v, documents):
    out = torch.zeros_like(v)
    for document in documents.unique()[:-1]:
        own = (documents == document)[:, None]
        out = out + own * mix(v * own)
    return out


def last_document_only(mix, v, documents):
    out = torch.zeros_like(v)
    for document in documents.unique():
        own = (documents == document)[:, None]
        out = own * mix(v * own)
    return out


def running_sum(v):
    """A mix that is easy to follow: each token reads all up to itself."""
    return v.cumsum(1)


def far_only(v):
    """The global part with weights of one, chunks of two."""
    chunks = to_chunks(v, 2)
    ones = torch.ones_like(chunks[..., :1])
    return global_part(ones, ones, chunks).flatten(1, 2)[:, : v.shape[1]]


def documents_case(label, mix, documents, B=1):
    documents = torch.tensor(documents)
    v = numbers(B, len(documents), 2, first=5)

    def run(answer):
        return answer(mix, v.clone(), documents.clone())

    return Case(label, run, f"v {tuple(v.shape)}, documents {documents.tolist()}")


DOCUMENTS = Build(
    by_document,
    cases=(
        documents_case("two documents", running_sum, [0, 0, 0, 1, 1, 1]),
        documents_case("a border inside a chunk", far_only, [0, 0, 0, 1, 1, 1, 1], B=2),
        documents_case("one document", running_sum, [4, 4, 4]),
        documents_case("documents of one token", running_sum, [1, 2, 5]),
    ),
    likely=(
        (
            "Nothing is kept apart: set the values of others to zero before mix, and keep its own outputs behind it.",
            all_mixed,
        ),
        ("The last document is missing.", without_the_last),
        ("Only the last document is left: add the results up.", last_document_only),
    ),
    why="It works for every layer without a normaliser, whatever mix is.",
)


# ---------------------------------------------------------------- the model
class Model(nn.Module):
    """FLASH from ids to logits: (B, T) -> (B, T, N)."""

    def __init__(self, N, D, L, S, C):
        super().__init__()
        self.embedding = nn.Embedding(N, D)
        self.scale = nn.Parameter(torch.full((1,), (4 * D) ** -0.5))
        self.units = self.make_units(D, L, S, C)
        self.gain = nn.Parameter(torch.ones(1))
        nn.init.normal_(self.embedding.weight, std=(4 * D) ** -0.5)

    def make_units(self, D, L, S, C):
        return nn.ModuleList(FLASH(D, S, C) for _ in range(L))

    def positions(self, T):
        """The sine table, (T, D)."""
        return torch.from_numpy(scaled_sin(T, self.embedding.embedding_dim)).to(self.scale.device)

    def start(self, ids):
        """What goes into the first unit."""
        x = self.embedding(ids)
        return x + self.scale * self.positions(ids.shape[1]).to(x.dtype)

    def last_norm(self, x):
        return F.rms_norm(x, x.shape[-1:], eps=EPS) * self.gain

    def forward(self, ids):
        x = self.start(ids)
        for unit in self.units:
            x = unit(x)
        return self.last_norm(x) @ self.embedding.weight.T


class WithoutPositions(Model):
    def start(self, ids):
        return self.embedding(ids)


class UnscaledPositions(Model):
    def start(self, ids):
        return self.embedding(ids) + self.positions(ids.shape[1])


class CosinesFirst(Model):
    def positions(self, T):
        return super().positions(T).roll(self.embedding.embedding_dim // 2, dims=-1)


class WithoutLastNorm(Model):
    def last_norm(self, x):
        return x


class FirstUnitOnly(Model):
    def forward(self, ids):
        return self.last_norm(self.units[0](self.start(ids))) @ self.embedding.weight.T


class OneUnitForAll(Model):
    def make_units(self, D, L, S, C):
        return nn.ModuleList([FLASH(D, S, C)] * L)


class UntiedHead(Model):
    def __init__(self, N, D, L, S, C):
        super().__init__(N, D, L, S, C)
        self.head = nn.Linear(D, N, bias=False)


def names_of(answer):
    """All parameters by name, one a line."""
    model = answer(5, 4, 2, 2, 2)
    return ", ".join(sorted(name for name, _ in model.named_parameters()))


def logits(*ids):
    def run(answer):
        return set_numbers(answer(5, 4, 2, 2, 2))(torch.tensor(ids))

    return run


def starts_small(answer):
    """Whether a fresh model's loss is within a tenth of that of a blind guess."""
    torch.manual_seed(0)
    ids = torch.arange(64)[None]
    loss = F.cross_entropy(answer(64, 32, 2, 16, 8)(ids)[0], ids[0].roll(-1))
    return bool(abs(loss / math.log(64) - 1) < 0.1)


class LargeTable(Model):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        nn.init.normal_(self.embedding.weight)


MODEL_SIZES = "N = 5, D = 4, L = S = C = 2"
MODEL = Build(
    Model,
    cases=(
        Case("the names of its parameters", names_of, MODEL_SIZES),
        Case("one token", logits([3]), f"ids [[3]], {MODEL_SIZES}"),
        Case("a tail", logits([1, 0, 4, 4, 2]), f"ids [[1, 0, 4, 4, 2]], {MODEL_SIZES}"),
        Case("a batch of two", logits([1, 2, 3], [0, 0, 4]), f"two rows of ids, {MODEL_SIZES}"),
        Case("the first loss is near log N", starts_small, "N = 64, D = 32, as it is made"),
    ),
    likely=(
        ("Positions are missing: add scale times the sine table.", WithoutPositions),
        ("The sine table is not multiplied by scale.", UnscaledPositions),
        ("The cosines come first. Here the sines do.", CosinesFirst),
        ("The norm before the output layer is missing.", WithoutLastNorm),
        ("Only the first unit is run.", FirstUnitOnly),
        ("All units are one and the same: make L of them.", OneUnitForAll),
        ("The output layer has weights of its own: take the embedding, transposed.", UntiedHead),
        ("The table starts too large: draw it with std (4 D)^(-1/2).", LargeTable),
    ),
    why="This is a language model, and every line of it is yours.",
)

BUILDS = (UNIT, PADDING, DOCUMENTS, MODEL)

"""Where FLASH loses: bits by the place inside a chunk; and what mends it, at equal updates and at
equal time.
"""

import statistics
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from flash_course.bench.boundaries import GROUPS, LATE, cost_of_boundary
from flash_course.bench.stored import RESULTS
from flash_tutorial import FLASH, LanguageModel, ModelConfig
from flash_tutorial.chunks import chunk_counts, from_chunks, to_chunks
from flash_tutorial.corpora import load_corpus, load_tokens
from flash_tutorial.experiments import Arm, Compare, Experiment, Search, command, matching, welch
from flash_tutorial.experiments.tables import markdown, runs_table
from flash_tutorial.layers import make_bias
from flash_tutorial.mixing import global_part, relu2_attention
from flash_tutorial.training import first_bytes
from flash_tutorial.training.measures import bits_of, by_place

T, C, BYTES, TOKENS = 1024, 128, 400_000, 1024
STEPS = 1000
RATES = {
    "FLASH": (5e-3, 1e-2, 2e-2),
    "FLASH-Quad": (2.5e-3, 5e-3, 1e-2, 2e-2),
    "Transformer++": (1.25e-3, 2.5e-3, 5e-3, 1e-2),
    "subwords": (5e-3, 1e-2, 2e-2),
}
WIDE_RATE = 5e-3  # what `starts` found for the start by the width
REMEDIES = ("C = 256", "borders moved", "chunk before", "subwords")


# ---------------------------------------------------------------- two units that the package does not have
class OtherChunks(FLASH):
    """FLASH with chunks of another kind: causal, one document in a row, and by torch, since kernels
    compute FLASH's.
    """

    prefill = step = (
        None  # token by token the row is read again at each step: FLASH's state holds FLASH's chunks
    )

    def __init__(self, dim, *, chunk_size, qk_dim):
        super().__init__(dim, chunk_size=chunk_size, qk_dim=qk_dim, causal=True, backend="torch")

    def mix(self, heads, v, mask, segment_ids):
        """Padding comes last, with values of zero, so that no valid token reads it: the mask is not
        needed here.
        """
        if segment_ids is not None:
            given = f"{type(self).__name__} got segment_ids: it mixes all documents of a row"
            raise ValueError(
                f"{given}, expected segment_ids=None; give each document a row of its own"
            )
        return self.mix_row(heads, v)


class MovedFLASH(OtherChunks):
    """FLASH whose first chunk is half as long, so that all borders lie in the middle of the others'
    chunks.
    """

    def mix_row(self, heads, v):
        half = self.chunk_size // 2
        *heads, v = (F.pad(t, (0, 0, half, 0)) for t in (*heads, v))
        seen = torch.ones(v.shape[:2], dtype=torch.bool, device=v.device)
        seen[:, :half] = False
        return FLASH.mix(self, heads, v, seen, None)[:, half:]


class OverlapFLASH(OtherChunks):
    """FLASH whose local part reads its own chunk and the one before, with a position bias that
    reaches so far.

    It adds up to 2C terms where FLASH adds up to C, each with a scale of 1/C, FLASH's own, or of
    ``share`` / C.
    """

    def __init__(self, dim, *, share=1, **options):
        super().__init__(dim, **options)
        self.share = share
        self.bias = make_bias("toeplitz", 2 * self.chunk_size, self.qk_dim)
        self.reset_parameters()

    def mix_row(self, heads, v):
        C, length = self.chunk_size, v.shape[1]
        # (B, G, C, S or E)
        quad_q, quad_k, lin_q, lin_k, v = (to_chunks(t, C) for t in (*heads, v))
        # (B, G, 2C, ..)
        k_two, v_two = (
            torch.cat([F.pad(t, (0, 0, 0, 0, 1, 0))[:, :-1], t], 2) for t in (quad_k, v)
        )
        future = torch.ones(C, 2 * C, dtype=torch.bool, device=v.device).triu(C + 1)
        # relu makes of it an exact zero
        bias = self.bias(2 * C)[C:].masked_fill(future, float("-inf"))
        near = relu2_attention(
            quad_q, k_two, v_two, scale=self.share / C, causal=False, bias=bias.to(v.dtype)
        )
        counts = chunk_counts(length, C, None, v.device)
        return from_chunks(near + global_part(lin_q, lin_k, v, causal=True, counts=counts), length)


WIDE = "by the width"
HALF, HalfOverlap = "chunk before, half the scale", partial(OverlapFLASH, share=0.5)


def build(name, seed):
    """A model that has not been trained."""
    torch.manual_seed(seed)
    if name == WIDE:
        return LanguageModel(ModelConfig("flash", max_length=T))
    if name == "FLASH-Quad":
        return LanguageModel(ModelConfig("flash_quad", max_length=T, start="paper"))
    if name == "Transformer++":
        return LanguageModel(ModelConfig("transformer++", max_length=T, start="paper"))
    options = {"local only": {"global_": False}, "C = 256": {"chunk_size": 256}}.get(name, {})
    if name == "subwords":
        options = {"tokens": TOKENS, "vocab_size": TOKENS + 1}
    model = LanguageModel(ModelConfig("flash", max_length=T, start="paper", **options))
    other = {
        "borders moved": (MovedFLASH, 1),
        "chunk before": (OverlapFLASH, 0),
        HALF: (HalfOverlap, 0),
    }.get(name)
    if other:
        kind, first = other  # borders are moved in every second unit
        for i in range(first, len(model.stack.units), 1 + first):
            model.stack.units[i] = kind(128, chunk_size=C, qk_dim=64)
    return model


def in_subwords():
    """Austen in subwords that were learnt from the training novels."""
    corpus = load_corpus("austen")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    texts = {
        key: getattr(corpus, key).tokens.tobytes().decode()
        for key in ("train", "validation", "test")
    }
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=TOKENS, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator([texts["train"]], trainer)
    return load_tokens({key: bpe.encode(text).ids for key, text in texts.items()}, TOKENS, bpe)


# ---------------------------------------------------------------- the experiment
def measure(model, corpus):
    """Bits per byte of the first bytes of *Persuasion*, and by place in chunks of two lengths."""
    whole = corpus.validation
    split = first_bytes(whole, round(BYTES * len(whole.tokens) / whole.n_bytes))
    bits, valid, _ = bits_of(model, split, T)
    return {
        "bits_per_byte": round(float(bits[valid].sum()) / split.n_bytes, 4),
        "by_place_of_128": by_place(bits, valid, 128),
        "by_place_of_256": by_place(bits, valid, 256),
    }


def arm(name):
    """Models of FLASH's widths share its rate; the chunk before has a grid of its own besides."""
    rates = RATES.get(name, ())
    others = () if rates else ("FLASH",)
    if name == "chunk before":
        rates = RATES["FLASH"]
    corpus = in_subwords if name == "subwords" else None
    return Arm(name, partial(build, name), rates, others, corpus=corpus)


def tables(rows):
    """All runs, and the bits by place of those with as many updates."""
    lines = []
    for each in EXPERIMENT.arms:
        runs = [
            row["measures"]["by_place_of_128"] for row in matching(rows, arm=each.name, steps=STEPS)
        ]
        if runs:
            lines.append(
                [
                    f"{each.label} (bits a token)" if each.name == "subwords" else each.label,
                    *(f"{statistics.mean(place):.2f}" for place in zip(*runs, strict=True)),
                ]
            )
    heads = ["1", "2", "3 to 4", "5 to 8", "9 to 16", "17 to 32", "33 to 64", "65 to 128"]
    return (
        runs_table(EXPERIMENT, rows) + "\n" + markdown(["place in a chunk of 128", *heads], lines)
    )


def numbers(rows):
    """Bits that the places of a chunk cost above its last place, mean over runs; costs of a boundary, compared."""
    runs = [row["measures"]["by_place_of_128"] for row in matching(rows, arm="FLASH", steps=STEPS)]
    places = [statistics.mean(place) for place in zip(*runs, strict=True)]
    lost = sum((place - places[-1]) * n for place, n in zip(places, GROUPS[:8], strict=True))
    cost, rival, mended, wide = (
        costs_of_boundary(rows, name) for name in ("FLASH", "Transformer++", HALF, WIDE)
    )
    return {
        "lost_at_a_boundary": f"{lost:.1f}",
        "lost_a_byte": f"{lost / C:.2f}",
        "boundary_minus_transformer": str(welch(cost, rival)),
        "boundary_mended": str(welch(mended, cost)),
        "boundary_by_width": str(welch(wide, cost)),
        "late_transformer": str(welch(late_bits(rows, "Transformer++"), late_bits(rows, "FLASH"))),
    }


def costs_of_boundary(rows, name):
    """What a boundary costs each byte of a chunk of 128, by run."""
    runs = [row["measures"]["by_place_of_128"] for row in matching(rows, arm=name, steps=STEPS)]
    return list(cost_of_boundary(np.array(runs)))


def late_bits(rows, name):
    """Mean bits of the places from the seventeenth on, by run."""
    runs = [row["measures"]["by_place_of_128"] for row in matching(rows, arm=name, steps=STEPS)]
    return np.average(np.array(runs)[:, LATE:], axis=1, weights=GROUPS[LATE:8]).tolist()


def comparisons():
    """Each with FLASH after 1,000 updates: with as many, and with those that FLASH's time holds."""
    for name in (*OTHERS, HALF):
        rates = (1e-2, None) if name == "chunk before" else None
        yield Compare(name, "FLASH", name, rates=rates, steps=STEPS)
        yield Compare(name, "FLASH", f"{name} in equal time", rates=rates, equal_time=True)
    yield Compare(WIDE, "FLASH", WIDE, steps=STEPS)


OTHERS = ("local only", "FLASH-Quad", "Transformer++", *REMEDIES)

EXPERIMENT = Experiment(
    "places",
    "Where in a chunk does FLASH lose, and what mends it?",
    arms=(
        *map(arm, ("FLASH", *OTHERS)),
        Arm(HALF, partial(build, HALF), RATES["FLASH"], timed_as="chunk before"),
        Arm(WIDE, partial(build, WIDE), (WIDE_RATE,), timed_as="FLASH"),
    ),
    train=dict(batch=4, length=T, dtype="bfloat16", eval_bytes=0),
    steps=(STEPS,),
    equal_time="FLASH",
    search=Search(steps=400, seeds=(0,), most=4),
    measure=measure,
    compare=tuple(comparisons()),
    same_code=("9cc24fd",),
    setting="Austen, windows of 1,024, D = 128, C = 128, bfloat16, three seeds; 1,000 updates "
    "of 4,096 bytes, and as many as FLASH's time holds by the processor's time of an update, "
    "measured in turn on an AMD EPYC; all but one began from the paper's start.",
    meaning="Behind a boundary FLASH, with sums or without, predicts no better than n-grams; past place 16 "
    "Transformer++ minus FLASH is {late_transformer}. On the whole text it is {Transformer++} after equally "
    "many updates, which is open, and {Transformer++ in equal time} in equal time by that machine's clock. A "
    "chunk that reads the one before mends it, and like larger chunks and moved borders it gains nothing that "
    "three seeds settle, at equal updates or in equal time. Subwords gain much; an update of theirs reads 2.7 "
    "times as much text. A boundary costs them about as many bits, but of a chunk of 2.7 times as many bytes, "
    "so a byte pays a third. FLASH by the width minus FLASH is {by the width} bits, which is settled; the "
    "boundary stays: what it costs a byte differs by {boundary_by_width}.",
    not_tried="A grid of rates for C = 256 and moved borders; subwords at other sizes.",
    tables=tables,
    numbers=numbers,
)

if __name__ == "__main__":
    command(EXPERIMENT, RESULTS)

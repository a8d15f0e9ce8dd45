"""Where FLASH loses: bits by the place inside a chunk; and what mends it, at equal updates and at equal time.

    python benchmarks/places.py run         # rates, then three seeds of each model with as many updates
    python benchmarks/places.py seconds     # what an update of each costs, in turn, in processor time
    python benchmarks/places.py equal_time  # three seeds of each with the updates that FLASH's time holds
    python benchmarks/places.py own_rates   # the chunk before at two scales, each with a grid of rates of its own
    python benchmarks/places.py table

Every finished run is stored at once in flash_course/bench/results/places.json; one that is there is not made again.
Austen, windows of 1024, D = 128, bfloat16. The guess that was written down before is in docs/predictions.md.
"""

import argparse
import itertools
import statistics
import time
from functools import partial

import torch
import torch.nn.functional as F
from stored_runs import StoredRuns, say_if_at_edge
from text_losses import bits_of, by_place

from flash_course.bench.paired import interval
from flash_tutorial import FLASH, LanguageModel, ModelConfig, count_parameters
from flash_tutorial.chunks import chunk_counts, from_chunks, to_chunks
from flash_tutorial.corpora import load_corpus, load_tokens
from flash_tutorial.layers import make_bias
from flash_tutorial.mixing import global_part, relu2_attention
from flash_tutorial.training import TrainConfig, first_bytes, new_optimizer, parts, train, train_step
from flash_tutorial.training.devices import Engine, keep_freed_memory

RUNS = StoredRuns("places", __doc__)
T, C, SEEDS, BYTES = 1024, 128, (0, 1, 2), 400_000
BYTES_OF_PLACES = (1, 1, 2, 4, 8, 16, 32, 64)  # places 1, 2, 3 to 4, 5 to 8, ... of a chunk of 128
TUNING, STEPS, TOKENS = 400, 1000, 1024
RATES = {
    "FLASH": [5e-3, 1e-2, 2e-2], "FLASH-Quad": [2.5e-3, 5e-3, 1e-2, 2e-2],
    "Transformer++": [1.25e-3, 2.5e-3, 5e-3, 1e-2], "subwords": [5e-3, 1e-2, 2e-2],
}  # fmt: skip
MODELS = ("FLASH", "local only", "FLASH-Quad", "Transformer++", "C = 256", "borders moved", "chunk before", "subwords")


# ---------------------------------------------------------------- two units that the package does not have
class OtherChunks(FLASH):
    """FLASH with chunks of another kind: causal, one document in a row, and by torch, since kernels compute FLASH's."""

    prefill = step = None  # token by token the row is read again at each step: FLASH's state holds FLASH's chunks

    def __init__(self, dim, *, chunk_size, qk_dim):
        super().__init__(dim, chunk_size=chunk_size, qk_dim=qk_dim, causal=True, backend="torch")

    def mix(self, heads, v, mask, segment_ids):
        """Padding comes last, with values of zero, so that no valid token reads it: the mask is not needed here."""
        if segment_ids is not None:
            given = f"{type(self).__name__} got segment_ids: it mixes all documents of a row"
            raise ValueError(f"{given}, expected segment_ids=None; give each document a row of its own")
        return self.mix_row(heads, v)


class MovedFLASH(OtherChunks):
    """FLASH whose first chunk is half as long, so that all borders lie in the middle of the others' chunks."""

    def mix_row(self, heads, v):
        half = self.chunk_size // 2
        *heads, v = (F.pad(t, (0, 0, half, 0)) for t in (*heads, v))
        seen = torch.ones(v.shape[:2], dtype=torch.bool, device=v.device)
        seen[:, :half] = False
        return FLASH.mix(self, heads, v, seen, None)[:, half:]


class OverlapFLASH(OtherChunks):
    """FLASH whose local part reads its own chunk and the one before, with a position bias that reaches so far.

    It adds up to 2C terms where FLASH adds up to C, each with a scale of 1/C, FLASH's own, or of ``share`` / C.
    """

    def __init__(self, dim, *, share=1, **options):
        super().__init__(dim, **options)
        self.share = share
        self.bias = make_bias("toeplitz", 2 * self.chunk_size, self.qk_dim)
        self.reset_parameters()

    def mix_row(self, heads, v):
        C, length = self.chunk_size, v.shape[1]
        quad_q, quad_k, lin_q, lin_k, v = (to_chunks(t, C) for t in (*heads, v))  # (B, G, C, S or E)
        k_two, v_two = (torch.cat([F.pad(t, (0, 0, 0, 0, 1, 0))[:, :-1], t], 2) for t in (quad_k, v))  # (B, G, 2C, ..)
        future = torch.ones(C, 2 * C, dtype=torch.bool, device=v.device).triu(C + 1)
        bias = self.bias(2 * C)[C:].masked_fill(future, float("-inf"))  # relu makes of it an exact zero
        near = relu2_attention(quad_q, k_two, v_two, scale=self.share / C, causal=False, bias=bias.to(v.dtype))
        counts = chunk_counts(length, C, None, v.device)
        return from_chunks(near + global_part(lin_q, lin_k, v, causal=True, counts=counts), length)


HALF, HalfOverlap = "chunk before, half the scale", partial(OverlapFLASH, share=0.5)


def build(name, corpus):
    """A model that has not been trained, at torch's current seed."""
    if name == "FLASH-Quad":
        return LanguageModel(ModelConfig("flash_quad", max_length=T))
    if name == "Transformer++":
        return LanguageModel(ModelConfig("transformer++", max_length=T))
    options = {"local only": {"global_": False}, "C = 256": {"chunk_size": 256}}.get(name, {})
    if name == "subwords":
        tokens = corpus.vocabulary.tokens
        options = {"tokens": tokens, "vocab_size": tokens + 1}
    model = LanguageModel(ModelConfig("flash", max_length=T, **options))
    other = {"borders moved": (MovedFLASH, 1), "chunk before": (OverlapFLASH, 0), HALF: (HalfOverlap, 0)}.get(name)
    if other:
        kind, first = other  # borders are moved in every second unit
        for i in range(first, len(model.stack.units), 1 + first):
            model.stack.units[i] = kind(128, chunk_size=C, qk_dim=64)
    return model


def corpus_of(name):
    """Austen in bytes, or in subwords that were learnt from the training novels."""
    corpus = load_corpus("austen")
    if name != "subwords":
        return corpus
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    texts = {key: getattr(corpus, key).tokens.tobytes().decode() for key in ("train", "validation", "test")}
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=TOKENS, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator([texts["train"]], trainer)
    return load_tokens({key: bpe.encode(text).ids for key, text in texts.items()}, TOKENS, bpe)


# ---------------------------------------------------------------- runs
def config_of(steps, rate, seed, dtype="bfloat16"):
    return TrainConfig(steps=steps, batch=4, length=T, learning_rate=rate, seed=seed, dtype=dtype, eval_bytes=0)


def one_run(name, rate, steps, seed):
    """Train once, unless the run is stored already."""

    def make():
        corpus = corpus_of(name)
        torch.manual_seed(seed)
        model = build(name, corpus)
        train(model, config_of(steps, rate, seed), corpus=corpus, progress=False)
        n = BYTES if name != "subwords" else round(BYTES * len(corpus.validation.tokens) / corpus.validation.n_bytes)
        split = first_bytes(corpus.validation, n)
        bits, valid, _ = bits_of(model, split, T)
        return {
            "parameters": count_parameters(model),
            "bits_per_byte": round(float(bits[valid].sum()) / split.n_bytes, 4),
            "by_place_of_128": by_place(bits, valid, 128), "by_place_of_256": by_place(bits, valid, 256),
        }  # fmt: skip

    return RUNS.find_or_make(dict(model=name, learning_rate=rate, steps=steps, seed=seed), make)


def best_rate(name):
    """Models of FLASH's widths share its rate."""
    return RUNS.best(model=name if name in RATES else "FLASH", steps=TUNING)["learning_rate"]


def run():
    for name, rates in RATES.items():
        for rate in rates:
            one_run(name, rate, TUNING, 0)
        say_if_at_edge(name, best_rate(name), rates)
    for seed in SEEDS:
        for name in MODELS:
            one_run(name, best_rate(name), STEPS, seed)


def own_rates():
    """The chunk before with a grid of its own, at both scales: 400 updates each, then three seeds at the best.

    At half the scale with as many updates as FLASH has, and with those that FLASH's time holds.
    """
    for name in ("chunk before", HALF):
        for rate in RATES["FLASH"]:
            one_run(name, rate, TUNING, 0)
        best = RUNS.best(model=name, steps=TUNING)["learning_rate"]
        say_if_at_edge(name, best, RATES["FLASH"])
        for seed in SEEDS:
            one_run(name, best, STEPS, seed)
    of = RUNS.where(what="processor seconds of an update, in turn")[0]["seconds"]
    for seed in SEEDS:
        one_run(HALF, best, round(STEPS * of["FLASH"] / of["chunk before"]), seed)


def seconds(rounds=12):
    """Processor seconds of an update, in turn."""
    updates = {}
    for name in MODELS:
        corpus = corpus_of(name)
        model = build(name, corpus)
        config, engine = config_of(rounds + 2, 1e-2, 0), Engine(model, "bfloat16")
        updates[name] = (model, new_optimizer(model, config), config, engine, corpus.train)
    taken = {name: [] for name in MODELS}
    for step in range(rounds + 2):
        for name in list(MODELS)[:: -1 if step % 2 else 1]:
            model, optimizer, config, engine, split = updates[name]
            batch = list(parts(split, config, step, True, engine.device))
            began = time.process_time()
            train_step(model, optimizer, batch, step, config, engine)
            taken[name].append(time.process_time() - began)
    medians = {name: round(statistics.median(times[2:]), 4) for name, times in taken.items()}
    RUNS.find_or_make({"what": "processor seconds of an update, in turn"}, lambda: {"seconds": medians})


def equal_time():
    of = RUNS.where(what="processor seconds of an update, in turn")[0]["seconds"]
    for seed in SEEDS:
        for name in MODELS[2:]:
            one_run(name, best_rate(name), round(STEPS * of["FLASH"] / of[name]), seed)


def table():
    """Each model, number of updates and rate: three seeds, their paired differences from FLASH's, bits by place."""
    timed = RUNS.where(what="processor seconds of an update, in turn")
    of = timed[0]["seconds"] if timed else dict.fromkeys(MODELS)
    of |= {HALF: of["chunk before"]}
    flash = {row["seed"]: row["bits_per_byte"] for row in RUNS.where(model="FLASH", steps=STEPS)}
    for name in (*MODELS, HALF):
        runs = sorted(
            (run for run in RUNS.where(model=name) if run["steps"] != TUNING), key=lambda r: (-r["steps"], r["seed"])
        )
        for (steps, rate), rows in itertools.groupby(runs, key=lambda run: (run["steps"], run["learning_rate"])):
            rows = list(rows)
            values = [row["bits_per_byte"] for row in rows]
            places = [round(statistics.mean(place), 2) for place in zip(*(row["by_place_of_128"] for row in rows))]
            print(f"{name}, {steps} updates at {rate:g} ({of[name]} s each): {statistics.mean(values):.4f} {values}")
            if name != "FLASH" and len(rows) == len(SEEDS):
                gaps = [row["bits_per_byte"] - flash[row["seed"]] for row in rows]
                said = ", ".join(f"{gap:+.3f}" for gap in gaps)
                print("    minus FLASH with as many seeds: {} (mean {:+.3f} +- {:.3f})".format(said, *interval(gaps)))
            print(f"    by place in 128: {places}")
            if (name, steps) == ("FLASH", STEPS):
                print(f"    bits lost after each boundary: {lost_at_boundaries(rows):.1f}")


def lost_at_boundaries(rows):
    """Bits that the places of a chunk of 128 cost above its last place, mean over runs."""
    places = [statistics.mean(place) for place in zip(*(row["by_place_of_128"] for row in rows))]
    return sum((place - places[-1]) * n for place, n in zip(places, BYTES_OF_PLACES))


if __name__ == "__main__":
    torch.set_num_threads(1)
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = {"run": run, "seconds": seconds, "equal_time": equal_time, "own_rates": own_rates, "table": table}
    parser.add_argument("what", choices=commands)
    commands[parser.parse_args().what]()

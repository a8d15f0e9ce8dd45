# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 09 Generation: writing with a state that does not grow
#
# [With results](09_generation.ipynb) · [without, to work in](work/09_work_generation.ipynb) · [problem set 09](../exercises/09_set_generation.ipynb) · [glossary](../docs/glossary.md)
#
# A model that writes gets one token at a time, and has to keep what it will need of the earlier ones. Here you build the token-by-token form of
# FLASH, prove that it is the trained function, let your own model write, and find out what can never be taken back.
#
# **After this lecture you can**
# - say what softmax attention, a GAU and FLASH must keep while they write, and from which position on FLASH keeps less;
# - write one step of mixed chunk attention, and say which test a wrong one passes;
# - read a prompt at once, and draw what comes next, by temperature and top-k;
# - say which tokens can be taken back, and what happens beyond the length of training.
#
# **You need** lecture 05 (mixed chunk attention) and lecture 06 (the unit and the model), from lecture 04 a step of linear attention, and from lecture 07
# where in a chunk FLASH loses.
#
# **Time** 36 minutes to read, about 85 more to build. Running the code takes about 25 seconds on two CPU cores.
#
# Text and figures: CC-BY-4.0. Code: MIT.

# %%
# @title Setup: on Colab this installs the course. There is nothing to read here.
import glob, subprocess, sys, zipfile

SOURCE, VERSION = "no address yet: upload the project's zip to Colab's files", "*"  # written by tools/stamp.py
if "google.colab" in sys.modules and not any(glob.glob(f"{p}/flash_tutorial-{VERSION}.dist-info") for p in sys.path):
    near = [".", "..", "../..", *glob.glob("/content/*"), *glob.glob("/content/drive/MyDrive/*")]
    names = {p: zipfile.ZipFile(p).namelist() if zipfile.is_zipfile(p) else glob.glob(f"{p}/*/*.py") for p in near}
    copies = [p for p in near if "flash_tutorial/__init__.py" in str(names[p])]
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", [*copies, SOURCE][0]], check=True)

# %% [markdown]
# ## 1. Writing is not training
#
# Let a trained model write 40 bytes, in two ways. The plain way reads the whole text again for each new byte; the other keeps something of what it has
# read. How many tokens go through the model in each?

# %% tags=["nbval-check-output"]
import torch

from flash_tutorial import LanguageModel
from flash_tutorial.corpora import ByteTokenizer

torch.set_num_threads(1)
device = "cuda" if torch.cuda.is_available() else "cpu"
model, tokenizer = LanguageModel.from_pretrained("austen-flash").to(device), ByteTokenizer()
prompt = "It is a truth universally acknowledged, "
ids = torch.tensor(tokenizer.encode(prompt), device=device)[None]  # (B, T), B = 1 sequence
calls = []
counting = model.embedding.register_forward_hook(lambda module, inputs, output: calls.append(inputs[0].numel()))
text = ids
for _ in range(40):
    with torch.no_grad():
        text = torch.cat([text, model(text)[:, -1].argmax(-1, keepdim=True)], 1)
print(f"reading all again {len(calls)} calls, one after the other, {sum(calls):4} tokens go through the model")
calls.clear()
kept = model.generate(ids, 40, temperature=0)
print(f"keeping a state   {len(calls)} calls, one after the other, {sum(calls):4} tokens go through the model")
counting.remove()
print("both write:", tokenizer.decode(kept[0].cpu()) if torch.equal(text[:, -40:], kept) else "not the same")

# %% [markdown]
# One reads 40 + 41 + ... + 79 = 2380 tokens, the other 40 + 39, since the last new byte need not be read. Both take 40 calls: a token cannot be read before
# it has been chosen, so drawn one at a time, n tokens take n sequential steps; section 11 names a way round it. Writing token by token is called
# *decoding*, and reading the prompt before
# it *prefill*.

# %%
import math

import numpy as np
import torch.nn.functional as F

from flash_course import drawing, lab, mine, side_by_side
from flash_course.bench import decoding, longer
from flash_course.bench.stored import load_stored, longer_windows
from flash_course.learner import predict, reveal
from flash_tutorial import FLASH, GAU, ModelConfig, TransformerBlock, reference
from flash_tutorial.check import draw_order_one

rng = np.random.default_rng(0)

# %% [markdown]
# Two questions from lectures 04 and 05 lead to what has to be kept.
#
# **1.** Why is linear attention cheap to write with, and slow to train?
#
# <details><summary>Answer</summary>
#
# Its state holds S × E entries at any position (S is the width of keys, E that of values), so each new token costs the same. In training
# the same state means T sequential steps for T tokens.
#
# </details>
#
# **2.** Which sum does a token of chunk g read, and what divides it? (Chunks have C tokens and are counted from 1.)
#
# <details><summary>Answer</summary>
#
# The sum of kᵀ v over chunks 1 to g - 1, without its own chunk. The divisor is the number of tokens in it, (g - 1) C.
#
# </details>
#
# ## 2. What must be kept?
#
# Why may anything be kept at all? A causal model computes the same for an early token, whatever follows (the prefix
# test of lecture 05). So keys and values of old tokens stay valid, whereas a query is asked only once, by its own token.
#
# - With **softmax attention** the new token attends to *every* old one, so all keys and values must be kept: the *KV cache*.
# - **A GAU** does the same with relu². Its divisor must be a fixed number, because with the current length old outputs would
#   change (lecture 03).
# - **Linear attention** keeps one array, the state (equation 6 of the paper).


# %% tags=["nbval-check-output"]
def softmax_step(cache, q_S, k_S, v_E):
    cache["k"].append(k_S)
    cache["v"].append(v_E)
    scores = np.array(cache["k"]) @ q_S / np.sqrt(len(q_S))
    weights = np.exp(scores - scores.max())
    return weights / weights.sum() @ np.array(cache["v"])


T, S, E = 14, 4, 6
(q_TS, k_TS), v_TE = rng.normal(size=(2, T, S)), rng.normal(size=(T, E))
cache, state = {"k": [], "v": []}, np.zeros((S, E))
for t in range(T):
    soft = softmax_step(cache, q_TS[t], k_TS[t], v_TE[t])
    linear, state = reference.linear_attention_step(state, q_TS[t], k_TS[t], v_TE[t])
    if t + 1 in (1, 7, 14):
        print(f"after token {t + 1:2}: cache {(t + 1) * (S + E):3} entries, state {state.size}")
at_once = reference.softmax_attention(q_TS, k_TS, v_TE, np.tri(T, dtype=bool))[-1]
print(f"the last output differs from all tokens at once by {np.abs(soft - at_once).max():.6f}")

# %% [markdown]
# FLASH keeps rows for near tokens and a state for far ones. The keys and the value of a new token *wait*, one row in each array, until its chunk is
# full. Then the whole chunk is *folded*: its kᵀ v is added to the sum, and its rows are dropped. (The paper lists no decoder; this one follows from
# its causal form.)
#
# | what | size | when it changes |
# | --- | --- | --- |
# | the sum of kᵀ v over *finished* chunks | S × E | once every C tokens |
# | how many chunks are in the sum | a counter | once every C tokens |
# | quad_k, lin_k and v of the *unfinished* chunk | at most C (2 S + E) | each token adds a row; emptied when the chunk is full |
#
# The counter gives the divisor of the sum, and with the number of waiting rows the token's position, for RoPE.
#
# **Build the empty state**, as a dictionary with the keys `kv`, `chunks`, `quad_k`, `lin_k` and `v`. From here on in torch. `kv` holds zeros, `chunks`
# is 0, and an array in which nothing waits has no rows yet: (0, S) or (0, E).


# %%
def empty_state(S, E):
    """What FLASH keeps before its first token: a sum, a counter, and the rows of the unfinished chunk."""
    # BUILD
    return {
        "kv": torch.zeros(S, E),
        "chunks": 0,
        "quad_k": torch.zeros(0, S),
        "lin_k": torch.zeros(0, S),
        "v": torch.zeros(0, E),
    }
    # END


empty_state = mine.check(empty_state)

# %% [markdown]
# ## 3. One step, by hand
#
# **Build the fold.** Change nothing in the old dictionary, not even its arrays: the figure below keeps them.


# %%
def fold(state):
    """The chunk is full: it joins the sum, and its rows are dropped. Gives the new state."""
    # BUILD
    kv = state["kv"] + state["lin_k"].T @ state["v"]
    rows = {name: state[name][:0] for name in ("quad_k", "lin_k", "v")}
    return {"kv": kv, "chunks": state["chunks"] + 1, **rows}
    # END


fold = mine.check(fold)

# %% [markdown]
# **A blank page: one step.** It does four things. It *writes* the new rows, *reads near* (relu² over the rows that wait, its own among them, with the bias
# row of its place in the chunk), *reads far* (the sum, over the number of tokens in it; in chunk 1 that is 0 over 1), and *folds* if the chunk is full.


# %%
def decode_step(state, quad_q, quad_k, lin_q, lin_k, v, bias_CC, C):
    """One token, heads (S,) and v (E,): what it reads near (E,), what it reads far (E,), the new state."""
    # BUILD
    state = dict(state)
    for name, row in (("quad_k", quad_k), ("lin_k", lin_k), ("v", v)):
        state[name] = torch.cat([state[name], row[None]])
    n = len(state["v"])
    scores = state["quad_k"] @ quad_q / C + bias_CC[n - 1, :n]
    near = torch.relu(scores) ** 2 @ state["v"]
    far = lin_q @ state["kv"] / max(state["chunks"] * C, 1)
    if n == C:
        state = fold(state)
    return near, far, state
    # END


decode_step = mine.check(decode_step)

# %% [markdown]
# Take the six tokens of lecture 05 with C = 2, and meet the numbers of its sections 3 and 4 again.

# %%
z = torch.tensor([(1, 0), (0, 1), (2, 1), (1, 1), (0, 2), (2, 0)])
values = torch.tensor([(0, -4), (8, 0), (4, 8), (4, 4), (0, 4), (-4, 0)]).float()
gamma, beta = torch.tensor([(0, -2), (-1, 1), (1, 1), (1, 2)]), torch.tensor([(-2, 2), (-1, -1), (1, 0), (-1, -1)])
six = (z * gamma[:, None] + beta[:, None]).float()  # quad_q, quad_k, lin_q, lin_k: (4, T, S)
bias = torch.tensor([(0.0, 1.0), (-1.0, 0.0)])
state, reads, sums, waiting = empty_state(2, 2), [], [], []
for t in range(6):
    near, far, state = decode_step(state, *six[:, t], values[t], bias, 2)
    reads.append((near.numpy() + 0.0, far.numpy() + 0.0))
    sums.append(state["kv"].numpy())
    waiting.append(list(range(2 * state["chunks"] + 1, t + 2)))  # which tokens wait
drawing.show(*drawing.chunk_state_by_token(np.array(sums), waiting, 2, reads))

# %% [markdown]
# When token 4, the last of chunk 2, reads, the sum still holds chunk 1 alone. Only then is chunk 2 folded. Token 5 finds an empty chunk: all its past
# is in the sum, and its divisor is 2 chunks × 2 tokens = 4.
#
# Here is the same for a sentence, in chunks of four words. Press *Next token*, and watch what disappears when a chunk is full.

# %%
sentence = "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife."
lab.show(lab.decoding(sentence, C=4))

# %% [markdown]
# ## 4. Token by token = parallel
#
# Six tokens prove little. So take 14 with C = 4, three full chunks and a tail, and compare with `mixed_chunk` of lecture 05, yours if you built it. The bias
# is raised by 4, so that no fault can hide behind a weight of 0.

# %% tags=["nbval-check-output"]
mixed_chunk = mine.use("mixed_chunk")
C, not_rotated = 4, rng.normal(size=(4, T, S))
heads, values = torch.from_numpy(reference.rope(not_rotated)).float(), torch.from_numpy(v_TE).float()
bias = torch.from_numpy(rng.normal(size=(C, C)) + 4).float()
parallel = mixed_chunk(*heads[:, None], values[None], bias, C)[0]


def token_by_token(step, heads=heads):
    state, outputs = empty_state(S, E), []
    for t in range(T):
        near, far, state = step(state, *heads[:, t], values[t], bias, C)
        outputs.append(near + far)
    return torch.stack(outputs)


print(
    f"14 outputs one by one and all at once differ by {float((token_by_token(decode_step) - parallel).abs().max()):.3f}"
)

# %% [markdown]
# **Misconception 1: one may fold before reading, since that only makes the sum more complete.** Then the last token of each chunk reads its own
# chunk twice. In lecture 05 this *inclusive* sum leaked the future; here there is no future yet, so no leak test can find it.
#
# **Misconception 2: early in a chunk there are fewer tokens, so their number is the divisor.** In training the scores were divided by C
# everywhere: C is a constant of the model.
#
# Here are these two faults and three others. A cross marks a wrong output, a bar a chunk boundary. Before you run it: which are wrong in chunk 1?

# %% tags=["nbval-check-output"]
from flash_course.builds import lecture_09 as wrong

in_chunk = np.concatenate([reference.rope(not_rotated[:, f : f + C]) for f in range(0, T, C)], axis=1)  # restarts at 0
decoders = {
    "as in training": (decode_step,),
    "folds before it reads": (wrong.folds_first,),
    "scores over the tokens so far": (wrong.scores_over_the_tokens_so_far,),
    "mean over one chunk more": (wrong.mean_over_one_chunk_more,),
    "sum of means, not the mean": (wrong.sum_of_means,),
    "RoPE starts again in each chunk": (decode_step, torch.from_numpy(in_chunk).float()),
}
for name, how in decoders.items():
    off = (token_by_token(*how) - parallel).abs().amax(1) > 1e-3
    marks = "".join(np.where(off, "x", "."))
    print(f"{name:32}", " | ".join(marks[f : f + C] for f in range(0, T, C)))

# %% [markdown]
# Each pattern has a test that is blind to it:
#
# - *folds before it reads* is wrong at the last token of each chunk, so a test with less than a chunk passes.
# - *scores over the tokens so far* is right at the last token of each chunk, so a test that looks only there passes.
# - *mean over one chunk more* is right in chunk 1, so a test with a short sequence passes.
# - *sum of means* is right in chunks 1 and 2, so a test has to reach a **third chunk**.
# - *RoPE starts again* is right in chunk 1, where the positions agree. Later only its far part is wrong, for near only distances count. So a short test
#   passes, and so does one without RoPE.
#
# ## 5. Read a prompt at once, then go on
#
# A prompt is known, so whole chunks of it can be read at once, from *any* state. If i rows of a chunk wait already, C - i tokens complete it, and
# the rest of the prompt comes in rounds of C: the rounds begin at its tokens 0, C - i, 2 C - i and so on.
#
# **Build it.** A prompt may have no token: then nothing is read, and the state stays. In a round, new row r stands at place i + r of its chunk. So it takes that row of the bias, and it sees i + r + 1 rows, hence `tril(i)`.
# Far, all of a round read the same sum.


# %%
def read_prompt(state, quad_q, quad_k, lin_q, lin_k, v, bias_CC, C):
    """T tokens more, heads (T, S) and v (T, E): what each reads, near and far together (T, E), and the new state."""
    # BUILD
    outputs = [v[:0]]
    for first in [0, *range(C - len(state["v"]), len(v), C)]:
        i = len(state["v"])
        new = slice(first, first + C - i)  # up to the end of the chunk
        rows = {"quad_k": quad_k[new], "lin_k": lin_k[new], "v": v[new]}
        state = state | {name: torch.cat([state[name], row]) for name, row in rows.items()}
        m = len(state["v"])
        A = torch.relu(quad_q[new] @ state["quad_k"].T / C + bias_CC[i:m, :m]) ** 2
        far = lin_q[new] @ state["kv"] / max(state["chunks"] * C, 1)
        outputs.append(A.tril(i) @ state["v"] + far)
        if m == C:
            state = fold(state)
    return torch.cat(outputs), state
    # END


read_prompt = mine.check(read_prompt)

# %% [markdown]
# For the proof, cut the 14 tokens at any place. What lies before the cut is read at once, and the rest once token by token and once as a second prompt.

# %% tags=["nbval-check-output"]
worst = 0
for cut in range(T + 1):
    begun, state = read_prompt(empty_state(S, E), *heads[:, :cut], values[:cut], bias, C)
    second, _ = read_prompt(state, *heads[:, cut:], values[cut:], bias, C)
    singly = [begun]
    for t in range(cut, T):
        near, far, state = decode_step(state, *heads[:, t], values[t], bias, C)
        singly.append((near + far)[None])
    for rest in (singly, [begun, second]):
        worst = max(worst, float((torch.cat(rest) - parallel).abs().max()))
print(f"15 ways to cut 14 tokens differ by at most {worst:.3f}; all at once they take {-(-T // C)} rounds")

# %% [markdown]
# ## 6. The whole unit, and the package
#
# Around the mixing stand norm, projection, gate and output matrix, which treat each token by itself. A step needs only one thing more, the
# position, which is chunks × C + waiting rows. In the package each unit has `unit.prefill(x)` and `unit.step(x, state)`. Do they agree with all
# tokens at once, for every split?


# %% tags=["nbval-check-output"]
@torch.no_grad()
def error(unit, x, n):
    """A prompt of n tokens, then steps: the largest difference to all at once."""
    y, state = unit.prefill(x[:, :n])
    steps = [unit.step(x[:, t], state)[0][:, None] for t in range(n, x.shape[1])]
    return float((torch.cat([y, *steps], 1) - unit(x)).abs().max())


units = {
    "FLASH": FLASH(8, qk_dim=S, chunk_size=C, causal=True, bias="toeplitz"),
    "GAU": GAU(8, qk_dim=S, causal=True, length_scale=16, bias_length=16),
    "Transformer++": TransformerBlock(8, heads=2, glu=True, rope=True, causal=True),
}
x = torch.from_numpy(rng.normal(size=(2, T, 8)))
for name, unit in units.items():
    draw_order_one(unit.double(), torch.Generator().manual_seed(2))
    worst = max(error(unit, x, n) for n in range(1, T + 1))
    print(f"{name:14} {T} splits differ from all tokens at once by at most {worst:.6f}")

# %% [markdown]
# ## 7. How much is kept
#
# Now take D = 256, S = 128, E = 512, C = 256, and two Transformer++ blocks against four FLASH units, which have about as many parameters. For FLASH the
# *room* for a whole chunk is counted, however few rows of it are in use.
#
# **Your first guess.** Both have read 16,384 tokens. How many times as many entries does Transformer++ keep as FLASH?

# %%
my_guess = None  # your number here
predict("09.a", my_guess)

# %% tags=["nbval-check-output"]
from flash_course.bench.counts import count_state_numbers

sizes = {"dim": 256, "max_length": 20_000}
configs = {
    "flash": ModelConfig("flash", qk_dim=128, chunk_size=256, **sizes),
    "flash_quad": ModelConfig("flash_quad", qk_dim=128, **sizes),
    "transformer++": ModelConfig("transformer++", ff_dim=688, **sizes),
}
positions = (512, 1024, 2048, 4096, 8192, 16384)
kept = {name: [count_state_numbers(config, n) for n in positions] for name, config in configs.items()}
print(drawing.text_table([("entries kept, at", *positions), *((name, *row) for name, row in kept.items())]))
print("by hand: FLASH", 4 * (128 * 512 + 256 * (2 * 128 + 512)), "and Transformer++", 2 * 2 * 256, "a token")
reveal("09.a", kept["transformer++"][-1] / kept["flash"][-1], "times as many")

# %% [markdown]
# A state of constant size is **not a small state**: at position 512 FLASH keeps twice as much as Transformer++, and they are even only at 1024. Three
# quarters of it are room for the unfinished chunk. FLASH-Quad, the stack of GAUs, keeps *more* than Transformer++, because it stores values
# of width E = 2 D in twice as many units.
#
# Today's Transformers keep less: in *grouped-query attention* ([GQA](https://arxiv.org/abs/2305.13245)) several query heads share one key and one value.
# At the paper's base size, how far does that move the break-even?

# %% tags=["nbval-check-output"]
of_flash, head = 2 * (128 * 1536 + 256 * (2 * 128 + 1536)), 64  # two units; a block has 12 heads
caches = {"all 12 heads": 2 * 12 * head, "GQA, 4 queries share": 2 * 3 * head, "GQA, 6 queries share": 2 * 2 * head}
print(f"two FLASH units: {of_flash:,} entries\na block keeps          for a token   as much as FLASH at position")
for name, a_token in caches.items():
    print(f"{name:22} {a_token:11,} {of_flash / a_token:29,.0f}")

# %% [markdown]
# ## 8. How long a token takes
#
# A stored benchmark timed one step of each model at positions from 512 to 16,384, over which the cache of Transformer++ grows 32 times.
#
# **Your second guess.** How many times as long does a token of Transformer++ take at 16,384 as at 512?

# %%
my_second_guess = None  # your number here
predict("09.b", my_second_guess)

# %% tags=["nbval-check-output"]
growth = decoding.growth(512, 16384)
for name, (counted, time) in growth.items():
    print(f"{name:14} from 512 to 16,384: multiply-adds x {counted:5.2f}, time x {time:5.2f}")
print("FLASH is the faster from position", decoding.faster_from("flash", "transformer++"), "on")
reveal("09.b", round(growth["transformer++"][1], 1), "times as long")

# %%
title = "With a cache, room and time both grow; FLASH's do not"
measures = {
    "entries kept, millions\n(FLASH: room)": lambda row: row["state_numbers"] / 1e6,
    "milliseconds for a token": lambda row: 1e3 * row["seconds"]["median"],
}
rows = load_stored("bench_cpu")["decoding"]
figure, panels = drawing.new_panels(["", ""], 6.4, 5.0, title=title, rows=2, sharex=True)
said = []
for axes, (label, measure) in zip(panels, measures.items()):
    curves = drawing.curves_of_models(rows, "position", measure)
    drawing.lines(axes, curves)
    drawing.powers_of_two(axes, curves["FLASH"][0])
    drawing.logarithmic(axes)
    drawing.name_lines(axes, apart=0.13)
    axes.set_ylabel(label)
    said.append(f"{label}: {drawing.in_words(axes)}".replace("\n", " "))
axes.set_xlabel("position of the token")
drawing.show(figure, f"Two line plots on logarithmic axes against the position of a token. {'. '.join(said)}.")

# %% [markdown]
# FLASH takes the same time at *every* position, but for the last token of a chunk, which does the fold, C S E multiply-adds. Early on Transformer++ is
# **faster**. At 2048 the two are level on this CPU, although FLASH needs a third fewer multiply-adds there; on another it is the
# faster one there already ([writing](../docs/results.md#writing)).
#
# ## 9. From logits to a token: temperature
#
# The model gives a *logit* for each of the 256 bytes, and the softmax turns them into probabilities. Before that, they may be divided by a *temperature*:
# below 1 the likely tokens become likelier, above 1 all become more alike, and at 0 the largest is taken, which is *greedy* writing.
#
# Two more settings cut off unlikely tokens. **top-k** keeps the k most likely ones, **top-p** the fewest most likely ones whose probabilities *reach* p
# (problem set 09). What is kept is divided by its sum.
#
# **Build the draw.** A logit of -inf has probability 0, and `torch.multinomial(p, 1, generator=generator)` draws.


# %%
def draw_token(logits, temperature=1.0, top_k=None, generator=None):
    """The id of the next token, drawn by logits (N,), a tensor (1,). Temperature 0 takes the likeliest."""
    # BUILD
    if temperature == 0:
        return logits.argmax(-1, keepdim=True)
    logits = logits / temperature
    if top_k is not None:
        least = logits.topk(top_k).values[-1]
        logits = logits.masked_fill(logits < least, -math.inf)
    p = torch.softmax(logits, -1)
    return torch.multinomial(p, 1, generator=generator)
    # END


draw_token = mine.check(draw_token)

# %% [markdown]
# **Build `write`**, for any model that makes logits (1, n, N) of ids (1, n). It reads all again for each token, as in section 1, and so it is right for
# every model.


# %%
def write(model, ids, n, temperature=1.0, top_k=None, generator=None):
    """n tokens more behind ids (1, T), drawn one after the other."""
    # BUILD
    for _ in range(n):
        with torch.no_grad():
            logits = model(ids)[0, -1]
        new = draw_token(logits, temperature, top_k, generator)
        ids = torch.cat([ids, new[None]], 1)
    return ids
    # END


write = mine.check(write)

# %% [markdown]
# What does the trained model expect after our prompt?

# %% tags=["nbval-check-output"]
with torch.no_grad():
    logits = model(ids)[0, -1].double().cpu()
by_temperature = {f"temperature {t:g}": torch.softmax(logits / t, 0).numpy() for t in (0.5, 1, 2)}
likely = np.argsort(-logits.numpy())[:8]
title = "The byte after the prompt: a low temperature sharpens, a high one flattens"
of_panels = {"title": title, "xlabel": "next byte", "ylabel": "probability"}
figure, panels = drawing.new_panels(by_temperature, 6.2, 2.6, sharey=True, **of_panels)
letters, said = [chr(byte) for byte in likely], []
for axes, (name, p) in zip(panels, by_temperature.items()):
    axes.bar(letters, p[likely], color=drawing.SKY, edgecolor="black", linewidth=0.6)
    said.append(f"{name}: {', '.join(f'{x:.3f}' for x in p[likely])}")
    print(f"{name:15} the likeliest byte has {p.max():.0%}")
drawing.show(figure, f"Bars of the probabilities of the bytes {', '.join(letters)}. {'; '.join(said)}.")

# %% [markdown]
# ## 10. A trained model writes
#
# First your own: the `Model` of lecture 06 with the two million trained numbers of the shipped one. `write` would read all again for each byte. But
# your model is made of units, a unit mixes by `mixed_chunk`, and of that you have the single step.
#
# **Build the step of a unit.** Your unit has `project`, `gamma`, `beta`, `bias`, `out_proj`, `S` and `C` (lecture 06). All treat each token by itself but
# RoPE, which wants the position: your `rope(x, first=t)` of lecture 01 was made for this (`mine.use("rope")`). By hand, with the angle
# t · 10000^(-2m/S), channels m and m + S/2 become x₁ cos - x₂ sin and x₂ cos + x₁ sin.


# %%
def unit_step(unit, x, state, t):
    """Token t, from 0, through a FLASH unit: x (D,) and what the unit keeps -> its output (D,), the new state."""
    # BUILD
    u, v, z = unit.project(x)
    copies = z * unit.gamma + unit.beta  # (4, S)
    half = unit.S // 2
    angle = t * 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    x1, x2 = copies.chunk(2, dim=-1)
    heads = torch.cat([x1 * cos - x2 * sin, x2 * cos + x1 * sin], dim=-1)
    near, far, state = decode_step(state, *heads, v, unit.bias(unit.C), unit.C)
    return x + unit.out_proj(u * (near + far)), state
    # END


unit_step = mine.check(unit_step)

# %% [markdown]
# A model is the embedding with its row of the sine table, one such step for each unit, the last norm, and the embedding again.

# %%
from flash_tutorial.layers import cos_sin_at

Model, c = mine.use("Model"), model.config
my_model = side_by_side.take_over(Model(c.vocab_size, c.dim, c.depth, c.qk_dim, c.chunk_size), model)


@torch.no_grad()
def write_with_a_state(model, ids, n):
    """n bytes more behind ids (1, T), always the likeliest; each byte is read once."""
    text, end = ids[0].tolist(), ids.shape[1] + n
    states = [empty_state(unit.S, unit.E) for unit in model.units]
    for t in range(end - 1):
        cos, sin = cos_sin_at(t, c.dim, model.scale, end)
        x = model.embedding.weight[text[t]] + model.scale * torch.cat([sin, cos])
        for i, unit in enumerate(model.units):
            x, states[i] = unit_step(unit, x, states[i], t)
        if t == len(text) - 1:
            x = F.rms_norm(x, x.shape, eps=1e-5) * model.gain
            text.append(int((model.embedding.weight @ x).argmax()))
    return torch.tensor([text])


# %% tags=["nbval-check-output"]
again = write(my_model, ids.cpu(), 60, temperature=0)
once = write_with_a_state(my_model, ids.cpu(), 60)
print(tokenizer.decode(once[0]))
print(f"{int((again == once).sum()) - 40} of 60 bytes are the same; {sum(range(40, 100))} bytes read, or {40 + 59}")

# %% [markdown]
# It is the same text, from a model that never looks back: your attention, your unit, your step. Here is the package's, with other settings.

# %%
for temperature, top_k in ((0, None), (1.3, None), (1.3, 4)):
    generator = torch.Generator(device).manual_seed(0)
    new = model.generate(ids, 200, temperature=temperature, top_k=top_k, generator=generator)[0].cpu()
    grams = {tuple(new[i : i + 8].tolist()) for i in range(len(new) - 7)}
    print(
        f"--- temperature {temperature}, top-k {top_k}: {len(grams) / (len(new) - 7):.0%} of its 8-grams are distinct"
    )
    print(f"{prompt}{tokenizer.decode(new)}\n")

# %% [markdown]
# Greedy, it goes round in circles, and at 1.3 many of its words do not exist, unless top-k cuts off what is unlikely. At a temperature of 0.8
# there are such words too, and most stand in one kind of place. Let FLASH, whose chunks have 256 bytes, go on with 32 pages of *Persuasion*, each cut off eight bytes before
# byte 256, and take the words that it writes *across* that border.
#
# **Your third guess.** What share of these words is invented, that is, in none of the training novels, in percent?

# %%
my_third_guess = None  # your number here
predict("09.c", my_third_guess)

# %%
from flash_course.bench.words import invented_across, words_of
from flash_tutorial.corpora import evaluation_windows, load_corpus

austen = load_corpus("austen")
known = words_of(austen.train.tokens)
pages = torch.tensor(evaluation_windows(austen.validation, 512)[1][:32], device=device)
for name, border in (("austen-flash", 256), ("austen-flash", 320), ("austen-transformer++", 256)):
    writer = LanguageModel.from_pretrained(name).to(device)
    words, invented, fits = invented_across(writer, pages, border, known)
    print(f"{name:20} byte {border}: {len(invented):2} of {words} invented", *invented[:6], sep="  ")
    print(
        f"  after one byte behind the border {fits[0]:.0%} are a known word or can become one, after two {fits[1]:.0%}"
    )
    if name == "austen-flash" and border == 256:
        reveal("09.c", round(100 * len(invented) / words), "percent")

# %% [markdown]
# At its border FLASH invents more words than it gets right; in the middle of a chunk, and in Transformer++, next to none. Lecture 07 found that bytes behind a
# border cost it most, and now you can read what that means. The letter right behind the border still fits: the last token of the old chunk chose it, and
# sees the whole chunk. The next byte is chosen by the first token of the new chunk, which reads near itself alone, and far a mean over hundreds of bytes: it
# takes a wrong letter, or ends the word too soon. (The student of lecture 07 has learned to ask its sums for the last letters.)
#
# ## 11. What can be taken back
#
# Two techniques of serving systems need an undo key. *Speculative decoding* lets a cheap draft model propose tokens, which the model reads all at
# once; those that it would not have written must be taken back. *Prefix caching* keeps what was computed for a long prompt; when the next request shares
# only its first half, the rest must be taken back.
#
# With a KV cache this is easy: forget its last rows. With FLASH's state it depends on where the token lies. Read n tokens, drop the last k rows that
# wait, and see whether the state is the one that was there after n - k tokens. How large may k be?

# %% tags=["nbval-check-output"]
states = [empty_state(S, E)]  # after 0, 1, 2, ... tokens
for t in range(T):
    states.append(decode_step(states[-1], *heads[:, t], values[t], bias, C)[2])


def taken_back(state, k):
    left = max(len(state["v"]) - k, 0)
    return state | {name: state[name][:left] for name in ("quad_k", "lin_k", "v")}


def largest_k(n):
    same = [str(taken_back(states[n], k)) == str(states[n - k]) for k in range(n + 1)]
    return max(np.flatnonzero(same))


print("tokens read:       ", *(f"{n:2}" for n in range(5, T + 1)))
print("can be taken back: ", *(f"{largest_k(n):2}" for n in range(5, T + 1)))

# %% [markdown]
# FLASH's state can take back n mod C tokens, those of the unfinished chunk, and no others: after 8 tokens none, because token 8 ended a chunk, which
# was folded. To subtract the chunk again you would need its keys and values, which are dropped.
#
# The remedy is a **copy of the state**, made before the draft or at the end of a prompt. Servers of today's hybrid models meet the same problem
# ([lecture 13](13_after_flash.ipynb)).
#
# ## 12. Longer than trained
#
# A state has no last position, so FLASH could go on writing at token 16,384. But it was trained with the sum of a few chunks and not of many. Here three
# models that were trained on 1,024 bytes read windows sixteen times as long.
#
# **Your fourth guess.** Below stands what FLASH with the mean needs in windows of 1,024. How many bits per byte has it in windows of 16,384?

# %% tags=["nbval-check-output"]
read_in = longer_windows("trained_at_1024")  # model: length of the windows: scores
print(f"in windows of 1,024 bytes: {read_in['FLASH, mean'][1024][0].mean():.2f} bits per byte")

# %%
my_fourth_guess = None  # your number here
predict("09.d", my_fourth_guess)

# %%
lines = {model: by_T[16_384] for model, by_T in read_in.items()}
names = {"FLASH, mean": "FLASH, the mean", "FLASH, sum": "the bare sum", "Transformer++": "Transformer++"}
title = "Beyond its 1,024 bytes FLASH with the mean reads on, and the others get worse"
figure, axes = drawing.new_axes(7.0, 4.0, "position in the window, in bytes", "bits per byte, held-out text", title)
middle = 1024 * np.arange(16) + 512
for model_name, (colour, marker, dashes) in drawing.looks(names.values()).items():
    key = next(key for key, name in names.items() if name == model_name)
    look = {"color": colour, "marker": marker, "linestyle": dashes, "markersize": 4}
    axes.plot(middle, lines[key][1].T, **look)  # one line for each run
    axes.lines[-1].set_label(model_name)
drawing.upright(axes, {"trained to here": 1024})
axes.set_ylim(bottom=0)
axes.legend(frameon=False)
drawing.show(figure, f"Bits per byte by position in windows of 16,384, a line for each run. {drawing.in_words(axes)}.")
reveal("09.d", round(lines["FLASH, mean"][0].mean(), 2), "bits per byte")

# %% [markdown]
# With the mean nothing breaks: the last bytes of the window cost about what the first ones cost. The longest window costs each run something, at most two
# hundredths of a bit.
# The bare sum, the other reading of lecture 05, grows with every chunk. From three times its trained length on all its runs get worse, and two of three
# break. A constant size is not enough, then: the *scale* has to stay as well. Transformer++ breaks at once, and ends worse than counts of single bytes.
#
# Why does Transformer++ break? Try two suspects, one at a time, in the shipped model and without training: start its sine table again after 1,024
# tokens, or let each token attend to the last 1,024 only.

# %% tags=["nbval-check-output"]
tfm = LanguageModel.from_pretrained("austen-transformer++").to(device)
quarters = {"Transformer++": longer.bits_by_quarter(tfm, austen.test.tokens, 4096, 2)}
with longer.sine_table_repeats(tfm, 1024):
    quarters["its sine table starts again"] = longer.bits_by_quarter(tfm, austen.test.tokens, 4096, 2)
with longer.attention_reaches(1024):
    quarters["it attends to the last 1,024"] = longer.bits_by_quarter(tfm, austen.test.tokens, 4096, 2)
quarters["FLASH"] = longer.bits_by_quarter(model, austen.test.tokens, 4096, 2)
print("bits per byte in windows of 4,096:  first quarter, second, third, last")
for name, row in quarters.items():
    print(f"{name:30}", *(f"{bits:5.1f}" for bits in row))

# %% [markdown]
# The sine table is innocent. What fails is attention beyond 1,024 tokens, by their number or by their distances, and cutting its context mends all of it.
# FLASH needs no such cure. A likely reason: what it compares one by one lies inside a chunk, where no distance is new, and the far past it reads as one
# mean.
#
# ## 13. Complaint three, answered
#
# Lecture 04 answered the third complaint for training: T / C sequential steps, and so for a prompt, four rounds for the 14 tokens of section 5. Drawn
# one at a time, T tokens take T steps. **Complaint three is answered**, at a price: a state that is large for short sequences, tokens that cannot be taken
# back, and words that break where a chunk ends.
#
# ## How we know
#
# - **Time**: one sequence on one CPU, and on another in [writing](../docs/results.md#writing).
# - **Words across a border**: 32 pages, one model of each kind, temperature 0.8 ([models](../docs/results.md#models)).
# - **Longer windows** ([longer](../docs/results.md#longer)): three runs of each. The sum ran at the mean's rate; the sum minus the mean is <!-- number: longer.sum_minus_mean -->+0.142 ± 0.127<!-- /number --> at 1,024 already, and from
#   1,024 to 16,384 the mean loses <!-- number: longer.mean_loses -->0.004 to 0.017<!-- /number --> by run;
#   Transformer++ ran at half of its best rate. 200 more updates at 4,096 move the break of both further out and do not remove it.
# - **The two positions**: one model, two windows of *Northanger Abbey*. Distances and the number of tokens are not separated; rescaling RoPE, the
#   usual remedy, was not tried.
#
# ## What to remember
#
# Fill in the last column yourself. (`learner.verdict("09 constant state", "...")` stores one for your report.)
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | Token by token is the trained function | sections 4, 5 and 6 | |
# | The state has a constant size, and is small | section 7 | |
# | FLASH writes faster than Transformer++ | section 8 | |
# | A reader can see where FLASH's chunks end | section 10 | |
# | Any token can be taken back | section 11 | |
# | A model can go on beyond its trained length | section 12 | |
#
# **Three takeaways**
# 1. Keep the sum of finished chunks, the rows of the unfinished one, and a counter. Write, read near, read far, then fold.
# 2. A decoder must be the trained function. Test three full chunks and a tail.
# 3. Constant is not small: FLASH keeps less than a KV cache, and is faster, only from some position on.
#
# **Exercises** [Problem set 09](../exercises/09_set_generation.ipynb), six tasks: the state, one step, sampling, saving, and taking tokens back.
#
# **Next** [Lecture 10](10_ablations.ipynb) takes the model apart: which part brings what, and what a small ablation can say.

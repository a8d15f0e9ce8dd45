# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Problem set 10: ablations
#
# [Lecture 10](../notebooks/10_ablations.ipynb) · [the lecture without results](../notebooks/work/10_work_ablations.ipynb) · [glossary](../docs/glossary.md)
#
# Seven exercises, 100 points, about two hours and a quarter. The four marked *core* are 60 points in an hour and a quarter.
# They belong to lecture 10. No exercise needs a GPU.
#
# On Colab, first choose *File > Save a copy in Drive*: a notebook that was opened from a link is not saved.
#
# Write your code where it says `raise NotImplementedError`. The cell below each exercise checks it, and says where it differs.
# `hint("10.1")` gives the first of three hints; call it again for the next one. `progress("10")` shows your points.
#
# `check` and grading call your functions by name, with the arguments that the text names, so keep both. Grading draws numbers and
# sizes of its own, and where you *mend* or *prove*, it also tries cases that `check` does not show.
# What a function is given belongs to its caller. Unless the text says otherwise, changing it counts as wrong, so work on a copy.
#
# In this set positions and chunks are counted from 0: chunk g has the positions g C to g C + C - 1.

# %%
# @title Setup: on Colab this installs the course. There is nothing to read here.
import glob, subprocess, sys, zipfile

SOURCE, VERSION = "no address yet: upload the project's zip to Colab's files", "*"  # written by tools/stamp.py
if "google.colab" in sys.modules and not any(glob.glob(f"{p}/flash_tutorial-{VERSION}.dist-info") for p in sys.path):
    near = [".", "..", "../..", *glob.glob("/content/*"), *glob.glob("/content/drive/MyDrive/*")]
    names = {p: zipfile.ZipFile(p).namelist() if zipfile.is_zipfile(p) else glob.glob(f"{p}/*/*.py") for p in near}
    copies = [p for p in near if "flash_tutorial/__init__.py" in str(names[p])]
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", [*copies, SOURCE][0]], check=True)

# %%
import math
import statistics
from functools import partial

import numpy as np

from flash_course import check, hint, personal, progress
from flash_course.bench.stored import load_stored
from flash_tutorial.experiments import welch

STUDENT = "me"  # your name or number; the numbers of 10.2 are drawn from it

# %% [markdown]
# ## 10.1 build: `recall_batch`
#
# **15 points** · difficulty 3/5 · importance 4/5 · 20 minutes · core
#
# You want to know whether a model reads across chunks. For that, no question may be answerable by a look into its own chunk, by a memorised
# table, by counting, or by elimination. Write a batch of such a task. It is the lecture's, except for how the values are drawn.
#
# There are `vocab` ids, always an odd number. With n = (vocab - 1) / 2, id 0 is filler, 1 to n are keys, and n + 1 to 2n are values.
# Each of the B sequences, which are the rows of the batch, is drawn anew:
#
# - **the pairs**: as many as `pairs` says, from position 0 on: key, value, key, value, and so on. The keys of a sequence are different from one
#   another and in random order. Each value is drawn freely from the n values, so it may come twice. The rest of chunk 0 is filler;
# - **the questions**: each key of the sequence comes exactly once more, at a position from C to T - 1. These positions are drawn at random
#   without repeats, all with the same chance, and independently of the pairs. All other positions are filler;
# - **the targets**: at the position of a question stands the value of its key. Everywhere else, in chunk 0 as well, stands -100.
#   Targets are not shifted.
#
# All draws come from `rng`, a generator made by `np.random.default_rng`; how you draw is up to you. The check looks at the sequences one by one,
# and at the distribution of the draws over 500 of them, and a right answer does not fail there by bad luck. You may use `numpy`.
#
# <details><summary>How do I draw without repeats?</summary>
#
# `rng.permutation(n)[:k]` gives k different numbers of 0 to n - 1, in random order. A loop over the sequences is fast enough.
#
# </details>


# %%
def recall_batch(rng, B, T, C, pairs, vocab):
    """Pairs in chunk 0, a question for each of them in a later chunk.

    rng: a generator. B, T, C: sequences, positions, chunk length. pairs: 1 to n, with 2 * pairs <= C and pairs <= T - C.
    vocab: 1 + 2n.
    Returns two arrays of integers, both (B, T): ids and targets.
    """
    # BEGIN SOLUTION
    n = (vocab - 1) // 2
    ids, targets = np.zeros((B, T), int), np.full((B, T), -100)
    for row, answers in zip(ids, targets):
        keys, values = 1 + rng.permutation(n)[:pairs], n + 1 + rng.integers(n, size=pairs)
        positions = C + rng.permutation(T - C)[:pairs]
        row[0 : 2 * pairs : 2], row[1 : 2 * pairs : 2] = keys, values
        row[positions], answers[positions] = keys, values
    return ids, targets
    # END SOLUTION


# %%
check("10.1", recall_batch)

# %% [markdown]
# ## 10.2 predict: who can solve what
#
# **10 points** · difficulty 2/5 · importance 4/5 · 10 minutes · core
#
# Take four causal models: FLASH with its local part only, FLASH with its global part only, whole FLASH, and FLASH-Quad.
# A sequence holds `pairs` pairs, each a key with its value right after it. All values of a sequence are different, out of `values` possible ones,
# and in this exercise a pair may stand in any chunk.
#
# The next cell prints C and two questions of one sequence, A and B: the position of the key of a pair, and the position where this key is
# asked again. It also prints `pairs` and `values`.
#
# - For each model and question: write `"path"` if the pair can reach the output at the question through what the units read,
#   in a model of as many units as you like. It is enough that the question can read the key and the value, each by itself.
#   Write `"chance"` if it cannot, however the model is trained;
# - `blind`: the share of right answers of a model that guesses among all possible values;
# - `whose`: that of a model that knows which values are in the sequence, but not whose they are, and guesses among them.
#   Write both shares as a fraction, such as `1 / 40`, or with three decimals;
# - `text, local only` and `text, global only`: on text, at 2048 tokens, the paper's Figure 7 has perplexities of
#   about 15.5, 17.7 and 78. Which of the three belongs to which of these two models? (One of them is that of whole FLASH.)
#
# <details><summary>May a model have a path and not learn to use it?</summary>
#
# Yes. Here only the path counts, as in section 9 of the lecture.
#
# </details>

# %%
print(personal("10.2", STUDENT))

# %%
# BEGIN SOLUTION
# STUB answer_10_2 = {
# STUB     "local only, A": None, "local only, B": None,
# STUB     "global only, A": None, "global only, B": None,
# STUB     "FLASH, A": None, "FLASH, B": None,
# STUB     "FLASH-Quad, A": None, "FLASH-Quad, B": None,
# STUB     "blind": None, "whose": None,
# STUB     "text, local only": None, "text, global only": None,
# STUB }
_n = personal("10.2", STUDENT)
_near = {q: _n[f"{q}: key at"] // _n["C"] == _n[f"{q}: asked at"] // _n["C"] for q in "AB"}
answer_10_2 = {f"local only, {q}": "path" if _near[q] else "chance" for q in "AB"}
answer_10_2 |= {f"global only, {q}": "chance" if _near[q] else "path" for q in "AB"}
answer_10_2 |= {f"{model}, {q}": "path" for model in ("FLASH", "FLASH-Quad") for q in "AB"}
answer_10_2 |= {"blind": 1 / _n["values"], "whose": 1 / _n["pairs"]}
answer_10_2 |= {"text, local only": 17.7, "text, global only": 78}
# END SOLUTION
check("10.2", answer_10_2, student=STUDENT)

# %% [markdown]
# ## 10.3 build: `memory_accuracy` and `most_pairs`
#
# **20 points** · difficulty 3/5 · importance 4/5 · 25 minutes · core
#
# How many pairs fit into a memory with S rows? Measure one memory first, and then search for the number.
#
# **One memory** (12 points). `memory_accuracy` does five things:
#
# 1. draw the keys, `rng.normal(size=(pairs, S))`, and divide each key by its length (the root of the sum of its squares);
# 2. draw what is stored under each key, `rng.integers(values, size=pairs)`: a value is a whole number from 0 to values - 1;
# 3. add up the memory, S × values: each pair adds its key to the column of its value;
# 4. ask for each key: key · memory gives a score for each value, and the largest one is the answer;
# 5. return the share of the pairs whose answer is right.
#
# Make the two draws in this order, once each, and no others, so that the check can repeat them.
#
# **The search** (8 points). `most_pairs` gets a function. Each call of `accuracy(pairs)` measures a new memory,
# so two calls with the same number differ. Try 1, 2, 4, 8 and so on, as long as the number is at most `limit`.
# A number is *good* if the mean of `memories` calls is at least `share`. Stop at the first one that is not good, and
# return the last good one, or 0 if there is none.
#
# You may use `math` and `numpy`.
#
# <details><summary>I get values that are nearly right</summary>
#
# Compute by hand with S = 2 and two pairs. Is each *key* of length 1? Is a value that is stored twice the sum of both keys?
#
# </details>


# %%
def memory_accuracy(S, pairs, values, rng):
    """The share of right answers of one memory.

    S: entries of a key. pairs: how many are stored. values: how many there are. rng: a generator.
    Returns a number from 0 to 1.
    """
    # BEGIN SOLUTION
    key_PS = rng.normal(size=(pairs, S))
    key_PS /= np.sqrt((key_PS**2).sum(1, keepdims=True))
    said_P = rng.integers(values, size=pairs)
    memory_SV = np.zeros((S, values))
    for key_S, said in zip(key_PS, said_P):
        memory_SV[:, said] += key_S
    return np.mean(np.argmax(key_PS @ memory_SV, axis=1) == said_P)
    # END SOLUTION


def most_pairs(accuracy, share, memories, limit):
    """The largest good number of 1, 2, 4, 8, ... before the first one that is not good.

    accuracy(pairs): the share of right answers of a new memory. share: from 0 to 1. memories: calls for each number.
    limit: the largest number that may be tried, at least 1.
    Returns a whole number, 0 if not even 1 is good.
    """
    # BEGIN SOLUTION
    best, pairs = 0, 1
    while pairs <= limit and np.mean([accuracy(pairs) for _ in range(memories)]) >= share:
        best, pairs = pairs, 2 * pairs
    return best
    # END SOLUTION


# %%
check("10.3", memory_accuracy, most_pairs)

# %% [markdown]
# Now put both together. With S = 16 and 64 values a memory holds 32 pairs so that more than nine of ten answers are right.
# With 8 values instead of 64, does it hold more, fewer, or as many? Guess before you run the cell.


# %%
def print_most_pairs():
    rng = np.random.default_rng(0)

    def measure(pairs, S, values):
        return memory_accuracy(S, pairs, values, rng)

    for S in (8, 16, 32):
        for values in (8, 64):
            most = most_pairs(partial(measure, S=S, values=values), 0.9, 50, 1024)
            print(f"S = {S:2}, {values:2} values: {most:3} pairs are 90% right")


try:
    print_most_pairs()
except NotImplementedError:
    print("write both functions first")

# %% [markdown]
# <details><summary>What you see</summary>
#
# S is no limit: the memory of S = 16 and 64 values holds 32 pairs. With a larger S you can store more. (The search goes in doublings, so two
# lines may agree.) More values let you store more as well, because there are more columns and so fewer pairs share one. The price is room:
# the memory has S × values entries.
#
# </details>
#
# ## 10.4 build: `compare_runs`
#
# **15 points** · difficulty 2/5 · importance 5/5 · 20 minutes · core
#
# Two variants were trained with several seeds. Which one is better, and do the runs say so at all?
# The lecture's tables have Welch's interval, which pairs no seeds. Many papers pair them: the same seed gives both the same text, so they
# take the differences seed by seed, and of these the interval that section 3 of the lecture makes by hand. Build that one, and see below what
# pairing does to four changes of the lecture.
#
# `a` and `b` are dictionaries from a seed to the bits per byte of its run. Their seeds may come in different orders, and because
# some runs have failed, a seed may be in one of them only; such a seed does not count. Let n be the number of shared seeds. Then
#
# - the differences are a's bits minus b's, one for each shared seed, and their mean is what you look for;
# - the standard deviation of the differences divides the sum of squares by n - 1;
# - the mean's own error is this deviation over √n;
# - the interval reaches `T_975[n - 1]` errors to each side of the mean. The table below has Student's factors for 95%.
#   For three seeds it is 4.303.
#
# *Settled* means that the interval does not contain 0. With fewer than two shared seeds there is no standard deviation, so raise a `ValueError`.
#
# You may use `math`, `statistics`, `numpy` and `T_975`.
#
# <details><summary>Is 0.03 with three seeds settled?</summary>
#
# If the differences of three seeds have a mean of 0.03 and a standard deviation of 0.02, the interval is 0.03 ± 4.303 × 0.02 / √3, which is
# 0.03 ± 0.05. It contains 0, so the answer is no.
#
# </details>

# %%
T_975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def compare_runs(a, b):
    """The mean difference of two variants, its 95% interval, and whether it is settled.

    a, b: dicts {seed: bits per byte}, with at most ten shared seeds.
    Returns four values: the mean of a - b, the interval's lower end, its upper end, and True or False.
    ValueError with fewer than two shared seeds.
    """
    # BEGIN SOLUTION
    shared = a.keys() & b.keys()
    if len(shared) < 2:
        raise ValueError(f"at least two shared seeds are needed, got {len(shared)}")
    differences = np.array([a[seed] - b[seed] for seed in shared])
    mean = differences.mean()
    half = T_975[len(shared) - 1] * differences.std(ddof=1) / math.sqrt(len(shared))
    return mean, mean - half, mean + half, bool(abs(mean) > half)
    # END SOLUTION


# %%
check("10.4", compare_runs)

# %% [markdown]
# Your function, on the stored runs of the lecture, beside Welch's interval and the correlation of both models' scores over the seeds.


# %%
def print_comparisons():
    stored = load_stored("ablations")
    bits = {}
    for run in stored["runs"]:
        if run["learning_rate"] == stored["best_rates"][run["variant"]]:
            bits.setdefault(run["variant"], {})[run["seed"]] = run["bits_per_byte"]
    for name, other in (
        ("GAU, softmax", "GAU"),
        ("GAU, no gate", "GAU"),
        ("FLASH", "GAU"),
        ("FLASH, local only", "FLASH"),
    ):
        mean, low, high, settled = compare_runs(bits[name], bits[other])
        scores = [[bits[each][seed] for seed in sorted(bits[name])] for each in (name, other)]
        together = np.corrcoef(scores)[0, 1]
        print(f"{name:17} against {other:5} {mean:+.3f}, from {low:+.3f} to {high:+.3f}", "settled" if settled else "")
        print(f"{'':31} Welch {welch(*scores)}, correlation {together:+.2f}")


try:
    print_comparisons()
except NotImplementedError:
    print("write compare_runs first")

# %% [markdown]
# <details><summary>What you see</summary>
#
# Softmax had a sign by Welch and has none in pairs; the interval of no gate is three times as narrow. Nothing changed but the pairing. Where
# both scores go in step over the seeds it helps, where they are opposed it hurts, and three seeds can hardly say which of the two it is. So
# the course pairs only where more runs have shown that the scores go in step.
#
# </details>
#
# ## 10.5 mend: an ablation that changes two things
#
# **15 points** · difficulty 3/5 · importance 4/5 · 20 minutes
#
# What is a gate worth? In the paper's Table 1 a GAU model has 105 million parameters, and the one without a gate has 131 million,
# so two things changed at once. The function below makes the same mistake, and two more, although it runs without an error. Mend it.
#
# A model is a dictionary. `config` is the gated one; keep it and its keys as they are. The fair opponent has no gate
# (`"gate": False`) and a different width of values `E`, a whole number, such that the numbers of parameters differ by less than 1%.
# All else is equal. `parameters` below counts them.
#
# A comparison is fair if these things were fixed before the runs:
#
# - `seeds[0]` is there to choose the learning rates, and is not counted. Each model gets the one of `rates` with the fewest bits at `seeds[0]`;
# - each of the other seeds is counted: its difference is the bits *without* a gate minus the bits *with* it, in the order of `seeds`.
#   Each model runs at its own rate.
#
# Return a dictionary with three entries, as the function does now: `models`, the gated one, then the one without a gate;
# `rates`, in the same order; `differences`. Each is a list, a tuple or an array. `train(model, rate, seed)` gives bits per byte; the check has a stand-in for it.
#
# Parts: size 6, rates 5, differences 4. You may use `math`, `numpy` and `parameters`.
#
# <details><summary>How wide must the values be?</summary>
#
# Print `parameters` for a few widths. The gate's matrix has D × E parameters. A new column of values costs D parameters on its way in.
# What does it cost on its way out?
#
# </details>


# %%
def parameters(model):
    """How many parameters a GAU model has. Its output layer is its embedding."""
    D, E, S = model["D"], model["E"], model["S"]
    columns = 2 * E + S if model["gate"] else E + S  # gate, values, base; or values, base
    unit = 2 * D + (D + 1) * columns + 4 * S + (2 * model["T"] - 1) + (E + 1) * D  # norm, in, heads, position bias, out
    return model["vocab"] * D + model["depth"] * unit + 2 * D


def ablation(config, train, rates, seeds):
    """What a missing gate costs.

    config: dict of the gated model. train(model, rate, seed): bits per byte. rates: a list. seeds: a list, at least 2.
    Returns a dict: models (gated, without gate), rates (of each), differences (a list).
    """
    # BEGIN SOLUTION
    # STUB gated = dict(config)
    # STUB no_gate = {**config, "gate": False, "E": 2 * config["E"]}  # the columns of the gate go into the values
    # STUB rate = min(rates, key=lambda r: train(gated, r, seeds[0]))
    # STUB differences = [train(no_gate, rate, seed) - train(gated, rate, seed) for seed in seeds]
    # STUB return {"models": (gated, no_gate), "rates": (rate, rate), "differences": differences}
    gated = dict(config)
    no_gate = {**config, "gate": False, "E": round(1.5 * config["E"])}
    chosen = [min(rates, key=lambda r: train(model, r, seeds[0])) for model in (gated, no_gate)]
    differences = [train(no_gate, chosen[1], seed) - train(gated, chosen[0], seed) for seed in seeds[1:]]
    return {"models": (gated, no_gate), "rates": tuple(chosen), "differences": differences}
    # END SOLUTION


# %%
paper_sizes = {"gate": True, "vocab": 32_000, "depth": 22, "D": 768, "E": 1536, "S": 128, "T": 512}
for model in ablation(paper_sizes, lambda model, rate, seed: 3.0, [0.001], [0, 1])["models"]:
    print(model, f"{parameters(model) / 1e6:.1f} million")

# %%
check("10.5", ablation)

# %% [markdown]
# ## 10.6 extend: attention over chunk summaries
#
# **15 points** · difficulty 4/5 · importance 2/5 · 25 minutes
#
# FLASH adds up all earlier chunks with the same weight. The paper describes a variant that *weights* them, by a small attention over
# the chunks. It helped, and yet the paper does not use it. Write it, and count why.
# (The paper has one question for a whole chunk. Here each token asks for itself, so that nothing comes from later tokens.)
#
# **The far part** (10 points). A token at position c of chunk g gives weights to the chunks h:
#
# - score = q · k + bias: `q_GCS[g, c]` is the token's question, `k_GS[h]` the key of chunk h, `b_GG[g, h]` the bias of chunk g that reads chunk h.
#   The score is not divided;
# - weight = relu²(score) for strictly earlier chunks, h < g. All other chunks have the weight 0.
#
# Its far part is `lin_q_GCS[g, c]` times the weighted sum of the summaries `kv_GSE[h]`, an S × E array. It is zero in chunk 0.
#
# **The cost** (5 points). The model generates token t, counted from 0, by itself. With g earlier chunks, all finished, count
#
# - *kept*: the entries that must be there for the far part, which are the summaries and the keys of all earlier chunks;
# - *multiply-adds*: S for each score; then the weighted sum, S E for each summary; then one read of this sum by `lin_q`, S E.
#   The bias, relu² and the making of new summaries are not counted.
#
# In chunk 0 both are 0. You may use `numpy`.
#
# <details><summary>My chunk 0 is not zero</summary>
#
# Where is your mask? relu² of a bias is not 0, so put the zeros into the weights and not into the scores.
#
# </details>


# %%
def weighted_far(q_GCS, k_GS, b_GG, lin_q_GCS, kv_GSE):
    """The far part with a weight for each earlier chunk.

    q_GCS, lin_q_GCS: arrays (G, C, S). k_GS: array (G, S). b_GG: array (G, G). kv_GSE: array (G, S, E).
    Returns an array (G, C, E).
    """
    # BEGIN SOLUTION
    G = len(k_GS)
    scores_GCG = q_GCS @ k_GS.T + b_GG[:, None]
    w_GCG = np.maximum(scores_GCG, 0) ** 2 * np.tril(np.ones((G, G)), -1)[:, None]
    total_GCSE = np.tensordot(w_GCG, kv_GSE, axes=1)
    return np.einsum("gcs,gcse->gce", lin_q_GCS, total_GCSE)
    # END SOLUTION


def far_cost(t, C, S, E):
    """What the far part of token t costs, when it is written alone.

    t: from 0 on. C: chunk length. S, E: the widths of keys and values.
    Returns two whole numbers: entries kept, multiply-adds.
    """
    # BEGIN SOLUTION
    g = t // C
    return g * (S * E + S), g * (S + S * E) + S * E * (g > 0)
    # END SOLUTION


# %%
check("10.6", weighted_far, far_cost)

# %% [markdown]
# The far part of FLASH keeps one sum of S E entries, and reads it with S E multiply-adds. How much more does the variant need?

# %%
try:
    for t in (1023, 8191, 65_535):
        kept, work = far_cost(t, 256, 128, 1536)
        print(
            f"token {t:6,}: keeps {kept / (128 * 1536):5.0f} times as much as FLASH, multiplies {work / (128 * 1536):5.0f} times as much"
        )
except NotImplementedError:
    print("write far_cost first")

# %% [markdown]
# <details><summary>What you see</summary>
#
# With 31 earlier chunks the variant keeps 31 times as many entries and multiplies 32 times as much. FLASH's state does not grow, but this one
# does, like a cache. Better quality at the same number of units is not better quality at the same cost.
#
# </details>
#
# ## 10.7 explain: your reproduction
#
# **10 points** · difficulty 3/5 · importance 5/5 · 15 minutes
#
# You report what lecture 10 found to someone who knows the paper. Which claims of Tables 1 and 4 hold in these runs, which do not,
# and what can you not say? Write 30 to 100 words, with
#
# - two numbers of the runs, each with its interval, as in +0.38 ± 0.35, and the table that each one is about;
# - a claim that does not hold here, or is not settled;
# - what limits the runs.
#
# Sections 3 to 6 of the lecture print the numbers. Runs of your own count as well.
# A person marks this one. At home you get a model answer and three questions to ask of yours, once you have written 30 words.
#
# <details><summary>It says that an interval is missing</summary>
#
# Write it after its number with ±, or with +-, in digits.
#
# </details>

# %%
# BEGIN SOLUTION
# STUB text_10_7 = ""
text_10_7 = (
    "Table 1: without its gate the small GAU is worse by +0.87 ± 0.37 bits, parameters matched (three seeds, 200 updates), so "
    "this claim holds here. That softmax is worse than relu² does not: with ten seeds and 2,000 updates it is better, "
    "-0.06 ± 0.03. Four heads are not settled (+0.06 ± 0.11). Table 4: what chunks cost FLASH is not settled either, +0.03 ± "
    "0.03. I cannot say what happens after 125,000 updates or on sequences longer than 256 bytes."
)
# END SOLUTION
check("10.7", text_10_7)

# %%
progress("10")

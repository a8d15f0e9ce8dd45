# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Problem set 08: scaling
#
# [Lecture 08](../notebooks/08_scaling.ipynb) · [the lecture without results](../notebooks/work/08_work_scaling.ipynb) · [glossary](../docs/glossary.md)
#
# Six exercises, 100 points, about two hours. The four marked *core* are 70 points in an hour and a half.
# They belong to lecture 08. No exercise needs a GPU, and none depends on how fast your machine is.
#
# On Colab, first choose *File > Save a copy in Drive*: a notebook that was opened from a link is not saved.
#
# Write your code where it says `raise NotImplementedError`; the cell below each exercise checks it, and says where it differs.
# `hint("08.1")` gives the first of three hints, and another call the next one. `progress("08")` shows your points.
#
# `check` and grading call your functions by name, with the arguments that the text names, so keep both. Grading draws numbers and
# sizes of its own, and where you *mend* or *prove*, it also tries cases that `check` does not show.
# What a function is given belongs to its caller. Unless the text says otherwise, changing it counts as wrong, so work on a copy.

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
import statistics

import torch

from flash_course import check, hint, personal, progress

STUDENT = "me"  # your name or number; the numbers of 08.2 are drawn from it

# %% [markdown]
# ## 08.1 build: `multiply_adds_per_token`
#
# **20 points** · difficulty 3/5 · importance 4/5 · 25 minutes · core
#
# A mask hides pairs of tokens, but much code multiplies them all the same and hides the result afterwards. So there are two counts:
#
# - *done*: all pairs of the square, hidden or not. T tokens have T² pairs;
# - *needed*: only the pairs that may be read. If causal, T tokens have T (T + 1) / 2 of them. If not, nothing is hidden, and needed equals done.
#
# Count the multiply-adds of a whole model's forward pass over one sequence of T tokens, divided by T, and return both counts.
# A model is a dictionary of sizes, and `config["blocks"]` is its number of Transformer++ blocks:
#
# | `config["model"]` | layers | dense layers, for each token | mixing |
# | --- | --- | --- | --- |
# | `"transformer++"` | `blocks` blocks | four matrices of D × D, three of D × F | each pair: a score and a value, all heads together |
# | `"flash"` | two units in place of each block | three matrices of D × E, one of D × S | pairs of each chunk, at S + E; the state, written and read by each token |
#
# A chunk has C tokens, and the last one has those that are left, without padding: if that is r tokens, r² pairs are done there.
# The state has S × E entries. Writing it and reading it counts in full for every token, causal or not, in both counts.
# As in the lecture, we leave out embedding, output layer, norms, activations and positions.
#
# Use plain arithmetic of your own. The result may be a fraction.
#
# <details><summary>I get the FLASH cases with three full chunks right, and others wrong</summary>
#
# Look at T % C. What happens to the tokens after the last full chunk? And what if T is smaller than C?
#
# </details>


# %%
def multiply_adds_per_token(config, T, causal):
    """Multiply-adds of a forward pass over T tokens, for each token.

    config: a dictionary with "model" ("transformer++" or "flash"), "blocks", and the sizes "D", "S", "E", "C", "F", "H".
    Not every model needs every size. causal: True or False.
    Returns a tuple of two numbers, (done, needed).
    """
    # BEGIN SOLUTION
    D, S, E, C, F = (config[letter] for letter in "DSECF")

    def square(n):
        return n * n

    def readable(n):
        return n * (n + 1) // 2 if causal else n * n

    counts = []
    for pairs in (square, readable):
        if config["model"] == "flash":
            near = (T // C * pairs(C) + pairs(T % C)) * (S + E)
            layer = T * (3 * D * E + D * S) + near + T * 2 * S * E
            counts.append(2 * config["blocks"] * layer / T)
        else:
            layer = T * (4 * D * D + 3 * D * F) + pairs(T) * 2 * D
            counts.append(config["blocks"] * layer / T)
    return tuple(counts)
    # END SOLUTION


# %%
check("08.1", multiply_adds_per_token)

# %% [markdown]
# ## 08.2 predict: three crossovers
#
# **15 points** · difficulty 3/5 · importance 5/5 · 15 minutes · core
#
# The next cell prints sizes D, S, E, C and F, drawn from your name. One Transformer++ block stands against two FLASH units, all of them causal.
# From which T on do the two units take fewer multiply-adds than the block, dense layers included?
#
# - `a`: both do all pairs of their squares, so a token is multiplied with T tokens in the block, and with the C tokens of its chunk in a unit;
# - `b`: both do only the pairs that may be read;
# - `c`: only the block leaves the hidden pairs out, while FLASH does whole squares. (That is a fused kernel for softmax attention, and plain matrix products for the chunks.)
# - `d`: in the paper's V100 table there is one length at which FLASH loses, 512 tokens, with 254 ms a step against 222. What does the count say?
#   At T = 512, counted as in `b`, how many times as many multiply-adds do the two units take as the block?
#
# Assume that C divides T. Solve it on paper, or with a few lines of Python. For `a` to `c` give whole numbers of tokens, where one more or less does not matter, and for `d` three decimals.
# But guess first: which of a, b and c will be the smallest, and which the largest?
#
# <details><summary>My b is the lecture's number, 1836, and it is called wrong</summary>
#
# That number is for the paper's base size, and yours are the sizes that are printed below.
#
# </details>

# %%
print(personal("08.2", STUDENT))

# %%
# BEGIN SOLUTION
# STUB answer_08_2 = dict(a=None, b=None, c=None, d=None)
_n = personal("08.2", STUDENT)
_D, _S, _E, _C, _F = (_n[letter] for letter in "DSECF")
_more = 2 * (3 * _D * _E + _D * _S) - (4 * _D * _D + 3 * _D * _F) + 4 * _S * _E
_units = 2 * (3 * _D * _E + _D * _S) + (_C + 1) * (_S + _E) + 4 * _S * _E
_block = 4 * _D * _D + 3 * _D * _F + (512 + 1) * _D
answer_08_2 = dict(
    a=round((_more + 2 * _C * (_S + _E)) / (2 * _D)),
    b=round((_more + (_C + 1) * (_S + _E)) / _D - 1),
    c=round((_more + 2 * _C * (_S + _E)) / _D - 1),
    d=_units / _block,
)
# END SOLUTION
check("08.2", answer_08_2, student=STUDENT)

# %% [markdown]
# ## 08.3 build: `time_pair`
#
# **20 points** · difficulty 3/5 · importance 5/5 · 25 minutes · core
#
# How many times as long does f take as g? Write the stopwatch. It is tried on a simulated machine, so that the true ratio is known,
# but this machine behaves as real ones do:
#
# - `f()` and `g()` only *ask* for work. They come back after 1 ms, while the work waits in a queue. `synchronize()` returns when the queue is empty.
# - The first call of each also compiles, which takes seconds.
# - The machine gets slower, little by little, all the time.
# - Now and then (in one call of eight) somebody else's job gets in, and that call takes several times as long.
# - When your function is called, old work may still be in the queue.
#
# `clock()` gives the machine's time in milliseconds, and no other clock knows anything of it.
# Take `repeats` readings of f and as many of g, where a reading is the time from asking for one call to the end of its work.
# Return the ratio, and the readings in the order in which they were taken. The ratio must be right to 2%, on a quiet machine
# with any number of readings, and on four busy ones with 21 or more of each. You may make more calls than you report.
#
# You may use `statistics`.
#
# <details><summary>My ratio is right on the quiet machine only</summary>
#
# Print your readings. Which of them are far off, and does your ratio depend on those? Is the first half of your readings faster than the second?
#
# </details>


# %%
def time_pair(f, g, clock, synchronize, repeats):
    """How many times as long f takes as g.

    f, g: called without arguments, they ask for work. clock: gives milliseconds. synchronize: waits for all work.
    repeats: how many readings of each, at least 1.
    Returns a tuple: the ratio (f over g), the list of f's readings, the list of g's readings, in milliseconds.
    """
    # BEGIN SOLUTION
    of_f, of_g = [], []
    for turn in range(repeats + 1):
        for function, readings in ((f, of_f), (g, of_g)):
            synchronize()
            start = clock()
            function()
            synchronize()
            if turn > 0:  # the first one compiles
                readings.append(clock() - start)
    return statistics.median(of_f) / statistics.median(of_g), of_f, of_g
    # END SOLUTION


# %%
check("08.3", time_pair)

# %% [markdown]
# Your function works on a real machine too, if you hand it a real clock: `time.perf_counter`, whose readings are in seconds. On a CPU `synchronize`
# may do nothing, and on a GPU it is `torch.cuda.synchronize`.
#
# ## 08.4 mend: a benchmark that flatters
#
# **15 points** · difficulty 3/5 · importance 5/5 · 20 minutes · core
#
# `benchmark_plan` says what is to be timed: training steps of a FLASH model and of its rival, a Transformer++, with `tokens` tokens in each step.
# It makes a list with one dictionary for each model at each length. The code runs without an error, and yet it makes FLASH look much better than it is,
# because the plan commits *six sins*. Find and mend them, so that in the end FLASH's dictionary differs from its rival's only where the models must differ.
#
# | key | what it says |
# | --- | --- |
# | `model`, `T` | `"transformer++"` or `"flash"`; the length |
# | `batch` | sequences in a step |
# | `layers` | blocks of a Transformer++, units of FLASH |
# | `attention` | the implementation: `"written out"` (the attention matrix lies in memory), `"fused"`, or for FLASH `"mixed chunk"` |
# | `passes` | a list of what is timed |
# | `format` | `"float32"`, `"float16"` or `"bfloat16"` |
# | `untimed calls` | calls before the clock is first read; a model's first call compiles |
# | `timed calls` | readings, of which the median is taken |
#
# Both models have D = 768. A block has 7.08 million parameters, a unit 3.64 million, and both models have an embedding of 24.6 million.
# The numbers of parameters may differ by 5%. Each length in `lengths` divides `tokens`, and the lengths come in any order. Keep all keys, and both models at every length.
# You may change every value but those of `model` and `T`.
#
# Each sin gives 2.5 points. A fair plan also has at least three timed calls, the same number for both models, but that is in order already.
#
# <details><summary>How do I see what the plan does?</summary>
#
# Print it for `[512, 8192]` and 32,768 tokens, and compute what is not written in it: the tokens in a step, the parameters, and what a reading contains.
#
# </details>


# %%
def benchmark_plan(lengths, tokens):
    """What is to be timed: a list of dictionaries, one for each model at each length."""
    # BEGIN SOLUTION
    # STUB rival = {
    # STUB     "model": "transformer++", "layers": 15, "attention": "written out", "passes": ["forward", "backward"],
    # STUB     "format": "float32", "untimed calls": 0, "timed calls": 9,
    # STUB }
    # STUB ours = rival | {
    # STUB     "model": "flash", "layers": 22, "attention": "mixed chunk", "passes": ["forward"],
    # STUB     "format": "float16", "untimed calls": 1,
    # STUB }
    # STUB batch = tokens // lengths[0]
    # STUB return [row | {"T": T, "batch": batch} for T in lengths for row in (rival, ours)]
    fair = {"passes": ["forward", "backward"], "format": "float32", "untimed calls": 1, "timed calls": 9}
    rival = fair | {"model": "transformer++", "layers": 11, "attention": "fused"}
    ours = fair | {"model": "flash", "layers": 22, "attention": "mixed chunk"}
    return [row | {"T": T, "batch": tokens // T} for T in lengths for row in (rival, ours)]
    # END SOLUTION


# %%
for row in benchmark_plan([512, 8192], 32_768):
    print(row)

# %%
check("08.4", benchmark_plan)

# %% [markdown]
# ## 08.5 build: `saved_bytes`
#
# **20 points** · difficulty 4/5 · importance 3/5 · 25 minutes
#
# A training step keeps what its backward pass will need. How many bytes is that, for any function you like?
# Torch can tell you. Within `torch.autograd.graph.saved_tensors_hooks(pack, unpack)` it calls `pack(tensor)` for each tensor that it keeps,
# and stores what `pack` returns. In the backward pass `unpack` gets that back, and must return the tensor.
#
# Call `fn(*inputs)` once and add up the bytes, counted as follows:
#
# - a tensor is a view of a *storage*, `tensor.untyped_storage()`. It is the storage that takes room, all of it, even if the tensor is only a slice;
# - a storage counts once, however many kept tensors lie in it. Its `data_ptr()` is its address, its `nbytes()` its size;
# - whatever torch keeps counts, be it inputs, weights or masks, in any number format. What torch does not keep does not count.
#
# You may use `torch`.
#
# <details><summary>My number is too small, and differs from run to run</summary>
#
# Does your `pack` return the tensor? If nothing holds a storage, its memory is freed, and the next storage may get the same address.
#
# </details>


# %%
def saved_bytes(fn, *inputs):
    """Bytes of all storages that autograd keeps for the backward pass of fn(*inputs).

    fn: a function of tensors; what it returns does not matter. inputs: tensors that may require gradients.
    Returns an integer.
    """
    # BEGIN SOLUTION
    storages = {}

    def pack(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        fn(*inputs)
    return sum(storages.values())
    # END SOLUTION


# %%
check("08.5", saved_bytes)

# %% [markdown]
# Now use it. Here are three causal ways to mix T tokens, written down as their formulas stand.
# Before you run the cell: which of them keeps the most at T = 128, and which at T = 1024?


# %%
def quadratic(q, k, v):
    return torch.relu(q @ k.mT / len(q)).square().tril() @ v


def mixed_chunk(q, k, v, C=64):
    q, k, v = (x.unflatten(0, (-1, C)) for x in (q, k, v))
    near = torch.relu(q @ k.mT / C).square().tril() @ v
    sums = (k.mT @ v).cumsum(0)
    far = q @ torch.cat([torch.zeros_like(sums[:1]), sums[:-1]])
    return (near + far).flatten(0, 1)


def recurrent(q, k, v):
    state, out = torch.zeros(q.shape[1], v.shape[1]), []
    for t in range(len(q)):
        state = state + k[t, :, None] * v[t]
        out.append(q[t] @ state)
    return torch.stack(out)


def print_saved_bytes(S=16, E=64):
    print("kilobytes that are kept, S = 16, E = 64, C = 64")
    for T in (128, 256, 512, 1024):
        heads = [torch.randn(T, width, requires_grad=True) for width in (S, S, E)]
        ways = (quadratic, mixed_chunk, recurrent)
        print(f"T = {T:4}: ", ", ".join(f"{way.__name__} {saved_bytes(way, *heads) / 1000:6.0f}" for way in ways))


try:
    print_saved_bytes()
except NotImplementedError:
    print("write saved_bytes first")

# %% [markdown]
# <details><summary>What you see</summary>
#
# When T doubles, the quadratic form keeps about four times as much and the other two about twice as much. Yet at T = 128 it is the
# recurrent form that keeps the most, because it has a state for every token, and only beyond T = 512 does the quadratic form overtake it.
# Mixed chunks keep a state for each chunk only, and C scores for each token. And none of these bytes belongs to a parameter.
#
# </details>
#
# ## 08.6 explain: the verdict on speed
#
# **10 points** · difficulty 3/5 · importance 4/5 · 15 minutes
#
# Take the paper's V100 table (lecture 08, section 9) and your own curve (section 6, as your machine drew it).
# When would *you* use FLASH for speed alone? Write 30 to 100 words, and name
#
# - a length of the V100 table at which FLASH loses, and the two times;
# - the length from which FLASH is the faster one on your machine, against a fused implementation (section 6: from there FLASH is below "Transformer++, fused"; in the figure it is a vertical line), and your machine. If it does not cross, name the longest T that you tried;
# - what the crossover depends on besides the machine.
#
# A person marks this one. At home, once you have written 30 words, you get a model answer and three questions to ask of yours.
# If you did not run the lecture, take the curve of its finished page, and say so.
#
# <details><summary>It says that something is missing, and I named a crossover</summary>
#
# Write lengths in digits, as in 1200 or 1,200. And name the implementation that computed the rival's attention: fused, or written out?
#
# </details>

# %%
# BEGIN SOLUTION
# STUB text_08_6 = ""
text_08_6 = (
    "On the V100, FLASH loses at 512 tokens: 254 ms a step against 222. On my CPU (one thread, D = 128) it is the "
    "faster one from 1300 tokens in this run, against fused attention, and from 500 against attention written out; counted are 794. With the "
    "larger sizes of the stored benchmark it is between 1024 and 2048, where the count says 1906. So sizes and the rival's "
    "implementation move the crossover a lot. I would use FLASH for speed from some 3000 tokens on, after timing both with the "
    "same tokens in a step."
)
# END SOLUTION
check("08.6", text_08_6)

# %%
progress("08")

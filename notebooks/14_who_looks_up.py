# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 14 Who looks up? A fault, narrowed down
#
# [With results](14_who_looks_up.ipynb) · [without, to work in](work/14_work_who_looks_up.ipynb) · [glossary](../docs/glossary.md)
#
# In the source text of programs names return all the time. A model that finds what followed a name the last time can guess what follows now.
# In a race of 400 seconds on such text, with windows of 512 tokens, Transformer++ learns to look that up, and ends far ahead of FLASH, which gains
# nothing from beyond 256 tokens ([race_short](../docs/results.md#race_short)), nor after three times as long ([race_longer](../docs/results.md#race_longer)).
# Which part of FLASH is to blame? Lecture 10 has shown how to ask.
#
# **After this lecture you can**
# - narrow a difference between two models down to one part, with a control at each step;
# - split a matrix of scores into what speaks of one token and what speaks of a pair;
# - say what queries and keys made of one vector cannot tell apart, and mend it without a parameter.
#
# **You need** lecture 02 (queries and keys of a GAU) and lecture 10 (intervals, fair ablations).
#
# **Time** 12 minutes to read, about 5 more to build. Running the code takes about 5 seconds on two CPU cores.
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
# ## 1. Take FLASH apart
#
# Take chunks and relu² away, and FLASH-Quad with softmax is left. It still has FLASH's gate, its one head, and queries and keys that are one
# vector, scaled twice. Transformer++ has a matrix for each. Give FLASH-Quad such matrices in place of `gamma`, and call that *own maps*.
#
# The text comes in *subwords*, pieces of words, 2,048 different ones. We score 128 of them at a time, once with the last 512 tokens to read and once
# with the last 256. The measure is how many bits a token costs less with 512. From 0.05 bits on we say that the model *looks up*.
#
# **Your guess.** The Transformer++ of the race saves 0.15 bits. How many does FLASH-Quad save with softmax and `gamma`?

# %%
from flash_course.learner import predict, reveal

my_guess_of_softmax = None  # in bits a token
predict("14.a", my_guess_of_softmax)

# %% tags=["nbval-check-output"]
import numpy as np

from flash_course import drawing, learner, mine
from flash_course.bench.stored import runs_of_look_up

looked_up = runs_of_look_up()
rows = [("mean over the runs", "bits a token", "saved beyond 256 tokens")]
saved = {}
later = ("turned keys", "larger gamma")  # come below
for model in (model for model in looked_up if not model.endswith(later)):
    saved[model] = np.mean([run["saved_over_256"][0] for run in looked_up[model]])
    bits = np.mean([run["bits_per_late_token"] for run in looked_up[model]])
    rows.append((model, f"{bits:.2f}", f"{round(saved[model], 2) + 0.0:.2f}"))
print(drawing.text_table(rows))
reveal("14.a", round(saved["FLASH-Quad, softmax"], 2), "bits")

# %% [markdown]
# Next to nothing: with `gamma` this model has not learned to look up, though its softmax reads all tokens. With a matrix for each the same model
# looks up nearly as well as Transformer++, and with relu², in one run, it looks up too. *One map* is the control: one matrix is
# applied to the base, and `gamma` makes query and key from its result, as before. So there is a matrix, but query and key are still one vector, scaled
# twice. It brings about a third of the gain in bits, and does not look up. Is the rest owed to the second matrix's parameters? Section 4 asks.
#
# Two rows do not fit. FLASH with own maps gets better and does not look up; it still has its chunks. Nor does Transformer++ with one head, which
# has softmax and a matrix for each. So own maps are not enough, and what else it takes is open.
#
# First two questions from earlier lectures. What do γ and β do to the base z of a unit?
#
# <details><summary>Answer</summary>
#
# They scale and shift each of its channels: q = z γ_q + β_q, and k = z γ_k + β_k (lecture 02).
#
# </details>
#
# An ablation takes a matrix away. What else does it take away?
#
# <details><summary>Answer</summary>
#
# Parameters, the start that they had, and often the learning rate that suits the model (lecture 10, sections 2 and 6). *One map* has half of the
# parameters, and keeps one vector.
#
# </details>
#
# ## 2. What a score says of a pair
#
# What does one vector lack? Leave RoPE out for a moment, and multiply a score out: (z_i γ_q + β_q) · (z_j γ_k + β_k). The offsets add a
# term of i alone, one of j alone and a constant. All that can speak of the pair is z_i γ_q γ_k z_j.
#
# **Build what is left** of any matrix of scores without terms of i alone and of j alone. A term of i alone is the same all along a row, so it goes
# with the row's mean.


# %%
def pairs_part(score_TT):
    """What a matrix of scores says of the pair (i, j): without every term of i alone, of j alone, and of neither."""
    # BUILD
    of_i = score_TT.mean(axis=1, keepdims=True)
    of_j = score_TT.mean(axis=0, keepdims=True)
    return score_TT - of_i - of_j + score_TT.mean()  # each of the two means took the constant with it
    # END


pairs_part = mine.check(pairs_part)

# %% [markdown]
# Now let i and j exchange what they hold. Queries and keys are drawn at random, once by γ and β and once by own maps. For which of the two does
# the pair's part stay the same?

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(0)
z_TS = rng.normal(size=(6, 4))
gamma_2S, beta_2S = rng.normal(size=(2, 2, 4))
maps_2SS = rng.normal(size=(2, 4, 4))
copies = {
    "gamma and beta": (z_TS * gamma_2S[0] + beta_2S[0], z_TS * gamma_2S[1] + beta_2S[1]),
    "own maps": (z_TS @ maps_2SS[0], z_TS @ maps_2SS[1]),
}
for name, (q_TS, k_TS) in copies.items():
    score_TT = q_TS @ k_TS.T
    pair_TT = pairs_part(score_TT)
    apart = [np.abs(each - each.T).max() for each in (score_TT, pair_TT)]
    print(f"{name:15} i and j exchanged: the score changes by up to {apart[0]:.1f}, the pair's part by {apart[1]:.1f}")

# %% [markdown]
# With γ and β the pair's part does not change at all, since γ_q γ_k multiply entry by entry. Whatever these weights have learned, token i
# reads j for what both hold exactly as eagerly as j would read i.
#
# ## 3. On six tokens
#
# Is that a loss? Take the six tokens A B C D A C. The fifth is an A, and the first A was followed by B: to look up, the fifth token has to read the
# B. For that, suppose that an earlier unit has bound each token to the one before it (lecture 05): z_j then holds what j is, and what stood before
# it. The query asks with the first, the key answers with the second, and i reads j wherever the token *before* j is what i is. Write that down as a
# matrix, with a 1 at each such pair. The nearest matrix that is its own transpose is the mean of it and its transpose.

# %% tags=["nbval-check-output"]
text = np.array(list("ABCDAC"))
before = np.roll(text, 1)
before[0] = "."  # nothing stands before the first
wanted_TT = (text[:, None] == before).astype(float)
alike_TT = (wanted_TT + wanted_TT.T) / 2
rows = [
    ("token 5 reads", *text[:5]),
    ("wanted", *wanted_TT[4, :5]),
    ("at best, if both sides are alike", *alike_TT[4, :5]),
]
print(drawing.text_table(rows))

# %% [markdown]
# The B gets half of what it should, and so does the D, which has nothing to do with what follows an A: it is there because *its* lookup
# would lead to this A. For every right place a symmetric score has a wrong one. The mask does not help, since it knows places, and what is
# exchanged here is what the two tokens hold.
#
# **Misconception: γ_q and γ_k make queries and keys different, so a GAU can ask for one thing and offer another.** The symptom is the 0.0 of
# section 2. RoPE gives a direction back, so a GAU could look up all the same. These did not learn to.
#
# ## 4. A direction that costs nothing
#
# So far this is a good reason, and lecture 10 has shown what those are worth. Test it. A direction costs no parameter: let the channels of
# the key stand one further on, so that channel c of a query meets channel c - 1 of a key. Now the matrix behind the base can write what
# stood *before* a token into one channel, and what the token *is* into the next.
#
# **Your line.** Turn the keys of all tokens by one channel; the last channel becomes the first.


# %%
def turned(k_TS):
    return ...  # your line


k_TS = np.arange(6.0).reshape(2, 3)
learner.your_line("14.b", turned, ((k_TS,), [[2, 0, 1], [5, 3, 4]]), ((k_TS[:1],), [[2, 0, 1]]))

# %% [markdown]
# <details><summary>The line</summary>
#
# `return np.roll(k_TS, 1, axis=1)`
#
# </details>
#
# We trained two models with turned keys, the one with `gamma` alone and the control.
#
# **Your guess.** Own maps are 0.33 bits a token ahead of one map. How many of them does the turn bring to the model of one map?

# %%
my_guess_of_the_turn = None  # in bits a token
predict("14.c", my_guess_of_the_turn)


# %% tags=["nbval-check-output"]
from flash_tutorial.experiments import welch


def late_bits(model):
    return [run["bits_per_late_token"] for run in looked_up[model]]


quad = "FLASH-Quad, softmax"
gains = {}
rows = [("bits a token", "keys as they are", "keys turned", "gain of the turn", "saved beyond 256, keys turned")]
for kind, model in {"gamma": quad, "one map": f"{quad}, one map"}.items():
    plain = late_bits(model)
    with_turn = late_bits(f"{model}, turned keys")
    gains[kind] = welch(plain, with_turn)
    far = ", ".join(f"{run['saved_over_256'][0]:.2f}" for run in looked_up[f"{model}, turned keys"])
    rows.append((kind, f"{np.mean(plain):.2f}", f"{np.mean(with_turn):.2f}", str(gains[kind]), far))
rows.append(("own maps", f"{np.mean(late_bits(f'{quad}, own maps')):.2f}", "", "", ""))
print(drawing.text_table(rows))
reveal("14.c", round(gains["one map"].mean, 2), "bits")

# %% [markdown]
# With one map the turn brings 0.25 of the 0.33, and the model looks up with every seed, though query and key are still made of one vector.
# So looking up needs no second matrix. A direction is not all that was missing: with `gamma` alone no seed looks up, turned or not.
#
# Read the chain once more:
#
# | step | what changes | what comes with it | looks up |
# | --- | --- | --- | --- |
# | FLASH to FLASH-Quad with softmax | chunks and relu² go | | no |
# | to own maps | a matrix each for query and key | parameters, larger scores, another optimizer | yes |
# | back to one map | one matrix for both | the same, half of the parameters | no |
# | keys turned | a direction | nothing | yes |
#
# Only the last step changes one thing and nothing else. That is why it counts.
#
# ## How we know
#
# - *Own maps*: 0.7 million parameters, D = 128, T = 512, 1,345 updates of 8,192 tokens, by Muon, one rate. Softmax FLASH-Quad has three
#   seeds of each kind: own maps change it by <!-- number: look_up.softmax_maps -->-0.482 ± 0.096<!-- /number --> bits and one map by <!-- number: look_up.one_map_gains -->-0.150 ± 0.145<!-- /number -->. FLASH changes by <!-- number: look_up.flash_maps -->-0.284 ± 0.272<!-- /number -->
#   with own maps; the others have one seed. Maps add 5% of parameters to FLASH-Quad and 9% to FLASH, and Muon trains them where AdamW trains `gamma`
#   ([look_up](../docs/results.md#look_up)). Transformer++ has had 1,665 updates ([race_short](../docs/results.md#race_short)).
# - *Turned keys*: own maps minus one map with turned keys is <!-- number: look_up.own_maps_over_turned -->-0.078 ± 0.109<!-- /number -->, so whether the second matrix adds something
#   is open, though far tokens save it more. Behind one map `gamma` begins twenty times as large as alone. With `gamma` alone
#   drawn as large, no seed looks up; with turned keys one of three does, just, where behind one map all three do. In bits, turned keys behind
#   one map minus turned keys with the large `gamma` is <!-- number: look_up.matrix_behind_turn -->-0.262 ± 0.534<!-- /number -->, which is open.
#
# ## What to remember
#
# Fill in the last column yourself (`learner.verdict`).
#
# | claim | your evidence | your verdict |
# | --- | --- | --- |
# | A model that reads all tokens by softmax learns to look up | section 1 | |
# | With γ and β a pair's score has no direction | sections 2 and 3 | |
# | Looking up needs a second matrix for the keys | section 4 | |
#
# **Three takeaways**
# 1. A score is a term of i, a term of j, and what it says of the pair. Only the last can look something up.
# 2. Queries and keys that are one vector scaled twice say the same of (i, j) as of (j, i).
# 3. A control is the same change without the reason that you believe in.
#
# **Exercises** No problem set. What FLASH lacks beside own maps is open: a question for a project.
#
# **Next** Your project ([lecture 12](12_your_project.ipynb)).

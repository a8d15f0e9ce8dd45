"""What lecture 09 lets its reader build: what FLASH keeps, one step of its attention, a prompt read at once, a text."""

import copy
from functools import partial

import torch

from flash_tutorial import sampling
from flash_tutorial.layers import cos_sin_at, rope

from . import Build, Case, call
from .lecture_05 import numbers
from .lecture_06 import FLASH, set_numbers

# ---------------------------------------------------------------- the course's own


def empty_state(S, E):
    """What FLASH keeps before its first token: a sum, a counter, and the rows of the unfinished chunk."""
    return {
        "kv": torch.zeros(S, E),
        "chunks": 0,
        "quad_k": torch.zeros(0, S),
        "lin_k": torch.zeros(0, S),
        "v": torch.zeros(0, E),
    }


def fold(state):
    """The chunk is full: it joins the sum, and its rows are dropped. Gives the new state."""
    kv = state["kv"] + state["lin_k"].T @ state["v"]
    rows = {name: state[name][:0] for name in ("quad_k", "lin_k", "v")}
    return {"kv": kv, "chunks": state["chunks"] + 1, **rows}


def decode_step(state, quad_q, quad_k, lin_q, lin_k, v, bias_CC, C):
    """One token, heads (S,) and v (E,): what it reads near (E,), what it reads far (E,), the new state."""
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


def read_prompt(state, quad_q, quad_k, lin_q, lin_k, v, bias_CC, C):
    """T tokens more, heads (T, S) and v (T, E): what each reads, near and far together (T, E), and the new state."""
    read = [v[:0]]
    for t in range(len(v)):
        heads = quad_q[t], quad_k[t], lin_q[t], lin_k[t]
        near, far, state = decode_step(state, *heads, v[t], bias_CC, C)
        read.append((near + far)[None])
    return torch.cat(read), state


def draw_token(logits, temperature=1.0, top_k=None, generator=None):
    """The id of the next token, drawn by logits (N,), a tensor (1,). Temperature 0 takes the likeliest."""
    how = dict(temperature=temperature, top_k=top_k, generator=generator)
    return sampling.draw(logits[None], **how)


def write(model, ids, n, temperature=1.0, top_k=None, generator=None):
    """n tokens more behind ids (1, T), drawn one after the other."""
    for _ in range(n):
        with torch.no_grad():
            logits = model(ids)[0, -1]
        new = draw_token(logits, temperature, top_k, generator)
        ids = torch.cat([ids, new[None]], 1)
    return ids


def unit_step(unit, x, state, t):
    """Token t, from 0, through a FLASH unit: x (D,) and what the unit keeps -> its output (D,), the new state."""
    u, v, z = unit.project(x)
    heads = rope(z * unit.gamma + unit.beta, *cos_sin_at(t, unit.S, x, t + 1))
    near, far, state = decode_step(state, *heads, v, unit.bias(unit.C), unit.C)
    return x + unit.out_proj(u * (near + far)), state


# ---------------------------------------------------------------- likely mistakes


def rows_of_zeros(S, E):
    return empty_state(S, E) | {"quad_k": torch.zeros(1, S), "lin_k": torch.zeros(1, S)}


def near_keys_folded(state):
    return fold(state | {"lin_k": state["quad_k"]}) | {"lin_k": state["lin_k"][:0]}


def only_this_chunk(state):
    return fold(state | {"kv": torch.zeros_like(state["kv"])})


def not_counted(state):
    return fold(state) | {"chunks": state["chunks"]}


def into_the_old_sum(state):
    state["kv"] += state["lin_k"].T @ state["v"]
    return fold(state) | {"kv": state["kv"]}


def into_the_old_state(state, quad_q, quad_k, lin_q, lin_k, v, bias_CC, C):
    state.update(joined(state, quad_k, lin_k, v))
    before = {name: state[name][:-1] for name in ("quad_k", "lin_k", "v")}
    return decode_step(state | before, quad_q, quad_k, lin_q, lin_k, v, bias_CC, C)


def rows_stay(state):
    return state | {"kv": fold(state)["kv"], "chunks": state["chunks"] + 1}


def joined(state, quad_k, lin_k, v):
    """The rows of the newest token join the unfinished chunk."""
    new = {"quad_k": quad_k, "lin_k": lin_k, "v": v}
    return dict(state) | {name: torch.cat([state[name], row[None]]) for name, row in new.items()}


def step_with(state, heads, v, bias_CC, *, folds_at, scores_by, sum_by):
    """``decode_step`` whose numbers are given as functions of the rows and the chunks."""
    quad_q, quad_k, lin_q, lin_k = heads
    state = joined(state, quad_k, lin_k, v)
    n = len(state["v"])
    scores = state["quad_k"] @ quad_q / scores_by(n) + bias_CC[n - 1, :n]
    near = torch.relu(scores) ** 2 @ state["v"]
    far = lin_q @ state["kv"] / max(sum_by(state["chunks"]), 1)
    return near, far, fold(state) if n == folds_at else state


def folds_first(state, quad_q, quad_k, lin_q, lin_k, v, bias_CC, C):
    """The last token of a chunk reads its own chunk in the sum as well."""
    near, _, new = decode_step(state, quad_q, quad_k, lin_q, lin_k, v, bias_CC, C)
    return near, lin_q @ new["kv"] / max(new["chunks"] * C, 1), new


def scores_over_the_tokens_so_far(state, quad_q, quad_k, lin_q, lin_k, v, bias_CC, C):
    numbers = {"folds_at": C, "scores_by": lambda n: n, "sum_by": lambda chunks: chunks * C}
    return step_with(state, (quad_q, quad_k, lin_q, lin_k), v, bias_CC, **numbers)


def mean_over_one_chunk_more(state, quad_q, quad_k, lin_q, lin_k, v, bias_CC, C):
    numbers = {"folds_at": C, "scores_by": lambda n: C, "sum_by": lambda chunks: (chunks + 1) * C}
    return step_with(state, (quad_q, quad_k, lin_q, lin_k), v, bias_CC, **numbers)


def sum_of_means(state, quad_q, quad_k, lin_q, lin_k, v, bias_CC, C):
    numbers = {"folds_at": C, "scores_by": lambda n: C, "sum_by": lambda chunks: C}
    return step_with(state, (quad_q, quad_k, lin_q, lin_k), v, bias_CC, **numbers)


def never_folds(state, quad_q, quad_k, lin_q, lin_k, v, bias_CC, C):
    numbers = {"folds_at": None, "scores_by": lambda n: C, "sum_by": lambda chunks: chunks * C}
    return step_with(state, (quad_q, quad_k, lin_q, lin_k), v, bias_CC, **numbers)


def without_itself(state, quad_q, quad_k, lin_q, lin_k, v, bias_CC, C):
    """The token reads the rows before its own, and joins them afterwards."""
    n = len(state["v"])
    scores = state["quad_k"] @ quad_q / C + bias_CC[n, :n]
    _, far, new = decode_step(state, quad_q, quad_k, lin_q, lin_k, v, bias_CC, C)
    return torch.relu(scores) ** 2 @ state["v"], far, new


def read_with(state, quad_q, quad_k, lin_q, lin_k, v, bias_CC, C, *, mistake):
    """``read_prompt`` round by round, with one mistake."""
    waiting = 0 if mistake == "whole chunks" else len(state["v"])
    read = [v[:0]]
    for first in (0, *range(C - waiting, len(v), C)):
        i = 0 if mistake == "whole chunks" else len(state["v"])
        new = slice(first, first + C - i)
        rows = {"quad_k": quad_k[new], "lin_k": lin_k[new], "v": v[new]}
        state = state | {name: torch.cat([state[name], row]) for name, row in rows.items()}
        m, n = len(state["v"]), len(v[new])
        place = 0 if mistake == "bias from its first row" else i
        bias = bias_CC[place : place + n].repeat(1, 2)[:, :m]  # whole chunks may be too wide
        weights = torch.relu(quad_q[new] @ state["quad_k"].T / C + bias) ** 2
        weights = weights if mistake == "not masked" else weights.tril(m - n)
        folded = fold(state) if mistake == "folds first" and m == C else state
        far = lin_q[new] @ folded["kv"] / max(folded["chunks"] * C, 1)
        read.append(weights @ state["v"] + far)
        state = fold(state) if m >= C and mistake != "never folds" else state
    return torch.cat(read), state


def coldest_ignored(logits, temperature=1.0, top_k=None, generator=None):
    return draw_token(logits, temperature or 1.0, top_k, generator)


def times_the_temperature(logits, temperature=1.0, top_k=None, generator=None):
    if temperature == 0:
        return draw_token(logits, 0)
    return draw_token(logits * temperature**2, temperature, top_k, generator)


def from_all(logits, temperature=1.0, top_k=None, generator=None):
    return draw_token(logits, temperature, None, generator)


def one_too_few(logits, temperature=1.0, top_k=None, generator=None):
    return draw_token(logits, temperature, top_k and max(top_k - 1, 1), generator)


def by_the_first_token(model, ids, n, *how):
    return write(lambda ids: model(ids).flip(1), ids, n, *how)


def only_what_is_new(model, ids, n, *how):
    return write(model, ids, n, *how)[:, ids.shape[1] :]


def always_drawn(model, ids, n, temperature=1.0, *how):
    return write(model, ids, n, 1.0, *how)


def top_k_forgotten(model, ids, n, temperature=1.0, top_k=None, generator=None):
    return write(model, ids, n, temperature, None, generator)


def unit_step_with(unit, x, state, t, *, mistake):
    """``unit_step`` with one mistake."""
    u, v, z = unit.project(x)
    place = {"in the chunk": t % unit.C, "not rotated": 0}.get(mistake, t)
    copies = z * unit.gamma + (0 if mistake == "beta afterwards" else unit.beta)
    heads = rope(copies, *cos_sin_at(place, unit.S, x, place + 1))
    heads = heads + (unit.beta if mistake == "beta afterwards" else 0)
    near, far, new = decode_step(state, *heads, v, unit.bias(unit.C), unit.C)
    read = near + far if mistake == "not gated" else u * (near + far)
    out = unit.out_proj(read)
    return (out if mistake == "no residual" else x + out), new


# ---------------------------------------------------------------- what is asked

FULL = {
    "kv": torch.tensor([[1.0, 0], [2, -1]]),
    "chunks": 1,
    "quad_k": torch.tensor([[1.0, 1], [0, 2]]),
    "lin_k": torch.tensor([[2.0, 0], [1, 3]]),
    "v": torch.tensor([[1.0, 4], [2, 0]]),
}
ONE = {
    "kv": torch.zeros(2, 2),
    "chunks": 0,
    "quad_k": torch.tensor([[1.0, 1]]),
    "lin_k": torch.tensor([[2.0, 1]]),
    "v": torch.tensor([[1.0, -3]]),
}
BIAS = torch.tensor([[1.0, 0], [2, 1]])
BIASES = torch.arange(9.0).reshape(3, 3) / 4
ANY_TOKEN = (*torch.ones(5, 2), BIASES, 3)


def steps(answer, T, bias_CC):
    """What T tokens read, near and far, one after the other, and the state behind the last."""
    C = len(bias_CC)
    heads = torch.arange(4 * T * 2).reshape(4, T, 2) % 5 - 1.0
    values = torch.arange(T * 2).reshape(T, 2) % 7 - 2.0
    state, found = empty_state(2, 2), []
    for t in range(T):
        near, far, state = answer(state, *heads[:, t], values[t], bias_CC, C)
        found.append((near, far))
    return found, state


def old_state(answer, *given):
    """The state that an answer was given, as it is afterwards."""
    held = {name: copy.deepcopy(part) for name, part in FULL.items()}
    answer(held, *given)
    return held


def step_case(label, T, bias_CC):
    shown = f"{T} tokens in chunks of {len(bias_CC)}, one after the other"
    return Case(label, lambda answer: steps(answer, T, bias_CC), shown)


def prompt(T):
    """Heads (4, T, 2) and values (T, 2) in small whole numbers."""
    heads = torch.arange(4.0 * T * 2).reshape(4, T, 2) % 5 - 1.0
    return *heads, torch.arange(T * 2.0).reshape(T, 2) % 7 - 2.0


def prompt_case(label, T, bias_CC, waiting=0):
    """A prompt of T tokens behind some that wait already."""
    C = len(bias_CC)
    shown = f"{T} tokens in chunks of {C}, {waiting} of a chunk wait already"

    def run(answer):
        state = empty_state(2, 2)
        if waiting:
            _, state = read_prompt(state, *prompt(C + waiting), bias_CC, C)
        return answer(state, *prompt(T), bias_CC, C)

    return Case(label, run, shown)


def shares_drawn(answer, probabilities, **how):
    """Which tokens come in 300 draws, and how often."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.tensor(probabilities).log()
    drawn = torch.cat([answer(logits, generator=generator, **how) for _ in range(300)])
    shares = torch.bincount(drawn, minlength=len(logits)) / 300
    return [str(drawn.unique().tolist()), shares]


def draw_case(label, probabilities, **how):
    said = ", ".join(f"{name} = {value}" for name, value in how.items())
    shown = f"the logs of {probabilities}, {said or 'as they are'}: ids drawn, and their shares"
    return Case(label, lambda answer: shares_drawn(answer, probabilities, **how), shown)


def next_letters(ids):
    """A model of four letters that reads two bytes back: most likely their sum."""
    before = torch.cat([ids[:, :1], ids[:, :-1]], 1)
    return torch.nn.functional.one_hot((ids + before + 1) % 4, 4) + torch.arange(4) / 8


def write_case(label, ids, n, temperature, top_k=None):
    how = f"temperature = {temperature}" + (f", top_k = {top_k}" if top_k else "")

    def run(answer):
        generator = torch.Generator().manual_seed(0)
        return answer(next_letters, torch.tensor([ids]), n, temperature, top_k, generator)

    return Case(label, run, f"ids {ids}, n = {n}, {how}")


def unit_case(label, T, C):
    """T tokens through a unit, one after the other: what comes out of it."""
    unit = set_numbers(FLASH(2, 4, C)).float()
    x = numbers(T, 2).float() / 4

    @torch.no_grad()
    def run(answer):
        state, outputs = empty_state(unit.S, unit.E), []
        for t in range(T):
            y, state = answer(unit, x[t], state, t)
            outputs.append(y)
        return torch.stack(outputs)

    return Case(label, run, f"{T} tokens in chunks of {C}, D = 2, S = 4")


BUILDS = (
    Build(
        empty_state,
        cases=(call("S = 2, E = 3", 2, 3), call("S = E = 4", 4, 4)),
        likely=(("No token has come yet, so no row waits: torch.zeros(0, S).", rows_of_zeros),),
        why="This dictionary is all that FLASH knows of its past, however long that is.",
    ),
    Build(
        fold,
        cases=(
            call("the second chunk is full", FULL),
            call("the first chunk, of one token", ONE),
            Case("the old state stays as it was", old_state),
        ),
        likely=(
            ("The sum is of lin_k with v. Nobody reads quad_k any more.", near_keys_folded),
            ("The chunk is added to the sum of the earlier ones.", only_this_chunk),
            ("One chunk more is in the sum, and the divisor has to know it.", not_counted),
            ("The rows are dropped: what was folded must not be read near as well.", rows_stay),
            (
                "`+=` changes the sum that the old state still holds: make a new one.",
                into_the_old_sum,
            ),
        ),
        why="Here the single tokens are given up. It is the only place where FLASH forgets.",
    ),
    Build(
        decode_step,
        cases=(
            step_case("three tokens of the first chunk", 3, BIASES),
            step_case("three chunks and a tail", 7, BIAS),
            step_case("chunks of one token", 4, BIAS[:1, :1]),
            Case("the old state stays as it was", lambda answer: old_state(answer, *ANY_TOKEN)),
        ),
        likely=(
            ("It folds before it reads, so the last token of a chunk reads twice.", folds_first),
            (
                "Scores are divided by C, as in training, however few tokens there are so far.",
                scores_over_the_tokens_so_far,
            ),
            ("The divisor counts the chunks in the sum, not its own.", mean_over_one_chunk_more),
            ("The divisor is the number of tokens in the sum, chunks times C.", sum_of_means),
            ("A full chunk has to be folded.", never_folds),
            ("A token reads itself too: its row joins before it reads.", without_itself),
            (
                "The old state was changed: begin with `state = dict(state)`.",
                into_the_old_state,
            ),
        ),
        why="The same function as mixed_chunk, and it never looks back: that is what a state is for.",
    ),
    Build(
        read_prompt,
        cases=(
            prompt_case("less than a chunk", 2, BIASES),
            prompt_case("three chunks and a tail", 7, BIAS),
            prompt_case("one row waits already", 6, BIASES, waiting=1),
            prompt_case("the prompt ends inside the chunk that waits", 1, BIASES, waiting=1),
            prompt_case("no token", 0, BIAS),
        ),
        likely=(
            (
                "A token reads no later one: `A.tril(i)`, where i rows waited already.",
                partial(read_with, mistake="not masked"),
            ),
            (
                "If i rows wait, C - i tokens complete the chunk, and not C.",
                partial(read_with, mistake="whole chunks"),
            ),
            (
                "The first new row stands at place i of the chunk: its row of the bias is bias_CC[i].",
                partial(read_with, mistake="bias from its first row"),
            ),
            (
                "A full chunk has to be folded, before the next round.",
                partial(read_with, mistake="never folds"),
            ),
            (
                "It folds before it reads, so a full chunk reads itself twice.",
                partial(read_with, mistake="folds first"),
            ),
        ),
        why="A prompt of T tokens takes T / C rounds in place of T steps: that is the prefill of every server.",
        tolerance=1e-5,
    ),
    Build(
        draw_token,
        cases=(
            draw_case("the likeliest", (0.2, 0.5, 0.3), temperature=0),
            draw_case("drawn as they are", (0.1, 0.7, 0.2)),
            draw_case("temperature 2", (0.49, 0.04, 0.01), temperature=2.0),
            draw_case("top-k of 2", (0.4, 0.25, 0.35), top_k=2),
            draw_case("both", (0.04, 0.49, 0.03, 0.02), temperature=2.0, top_k=2),
        ),
        likely=(
            ("At temperature 0 nothing is drawn: take the likeliest.", coldest_ignored),
            ("Logits are divided by the temperature.", times_the_temperature),
            ("Top-k is missing: all but the k largest logits become -inf.", from_all),
            ("Top-k keeps k tokens, the k-th as well.", one_too_few),
        ),
        why="A model gives probabilities. What is written is decided here.",
        tolerance=0.1,
    ),
    Build(
        write,
        cases=(
            write_case("the likeliest", [0, 1], 5, 0),
            write_case("drawn", [3, 0, 2], 12, 1.0),
            write_case("top-k of one", [1], 12, 2.0, 1),
        ),
        likely=(
            (
                "The next token follows from the logits of the last one, [0, -1].",
                by_the_first_token,
            ),
            ("Give back the beginning too, with the new tokens behind it.", only_what_is_new),
            ("Hand the temperature on to draw_token.", always_drawn),
            ("Hand top_k on to draw_token.", top_k_forgotten),
        ),
        why="Every chatbot ends in this loop.",
    ),
    Build(
        unit_step,
        cases=(
            unit_case("one token", 1, 2),
            unit_case("three chunks and a tail", 7, 2),
            unit_case("chunks of one token", 4, 1),
        ),
        likely=(
            ("RoPE is missing.", partial(unit_step_with, mistake="not rotated")),
            (
                "RoPE counts through the sequence and not in the chunk: the angle is t times the frequency.",
                partial(unit_step_with, mistake="in the chunk"),
            ),
            (
                "beta comes before RoPE: it is rotated as well.",
                partial(unit_step_with, mistake="beta afterwards"),
            ),
            (
                "What was read is not gated: multiply it by u.",
                partial(unit_step_with, mistake="not gated"),
            ),
            ("x itself is missing in the result.", partial(unit_step_with, mistake="no residual")),
        ),
        why="The unit that you trained, one token at a time, with a memory that never grows.",
        tolerance=1e-4,
    ),
)

"""What lecture 09 lets its reader build: what FLASH keeps, one step of its attention, and a text."""

import copy

import torch

from . import Build, Case, call

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


def write(model, ids, n, temperature=1.0, generator=None):
    """n tokens more behind ids (1, T), drawn one after the other; temperature 0 takes the likeliest."""
    for _ in range(n):
        with torch.no_grad():
            logits = model(ids)[:, -1]
        if temperature == 0:
            new = logits.argmax(-1, keepdim=True)
        else:
            p = torch.softmax(logits / temperature, -1)
            new = torch.multinomial(p, 1, generator=generator)
        ids = torch.cat([ids, new], 1)
    return ids


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


def by_the_first_token(model, ids, n, temperature=1.0, generator=None):
    return write(lambda ids: model(ids).flip(1), ids, n, temperature, generator)


def times_the_temperature(model, ids, n, temperature=1.0, generator=None):
    return write(lambda ids: model(ids) * temperature**2, ids, n, temperature, generator)


def only_what_is_new(model, ids, n, temperature=1.0, generator=None):
    return write(model, ids, n, temperature, generator)[:, ids.shape[1] :]


def always_drawn(model, ids, n, temperature=1.0, generator=None):
    return write(model, ids, n, temperature or 1.0, generator)


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


def next_letters(ids):
    """A model of four letters that reads two bytes back: most likely their sum."""
    before = torch.cat([ids[:, :1], ids[:, :-1]], 1)
    return torch.nn.functional.one_hot((ids + before + 1) % 4, 4).float()


def written(answer, ids, n, temperature):
    generator = torch.Generator().manual_seed(0)
    return answer(next_letters, torch.tensor([ids]), n, temperature, generator)


def write_case(label, ids, n, temperature):
    shown = f"ids {ids}, n = {n}, temperature = {temperature}"
    return Case(label, lambda answer: written(answer, ids, n, temperature), shown)


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
        write,
        cases=(
            write_case("the likeliest", [0, 1], 5, 0),
            write_case("drawn", [3, 0, 2], 12, 1.0),
            write_case("drawn at temperature 2", [1], 12, 2.0),
        ),
        likely=(
            (
                "The next token follows from the logits of the last one, [:, -1].",
                by_the_first_token,
            ),
            ("Logits are divided by the temperature.", times_the_temperature),
            ("Give back the beginning too, with the new tokens behind it.", only_what_is_new),
            ("At temperature 0 nothing is drawn: take the likeliest.", always_drawn),
        ),
        why="Every chatbot ends in this loop.",
    ),
)

"""What lecture 04 lets its reader build: linear attention token by token and chunk by chunk, forward and backward."""

import torch

from flash_tutorial.mixing import linear_attention_step as linear_step

from . import Build, Case, call
from .drawn import integers


def three(B, T, S, E):
    return integers(B, T, S, seed=1), integers(B, T, S, seed=2), integers(B, T, E, seed=3)


# ---------------------------------------------------------------- one token
def read_first(state, q, k, v):
    output = (q[:, None, :] @ state)[:, 0]
    return output, linear_step(state, q, k, v)[1]


def in_place(state, q, k, v):
    state += k[:, :, None] * v[:, None, :]
    return (q[:, None, :] @ state)[:, 0], state


def forgetting(state, q, k, v):
    return linear_step(torch.zeros_like(state), q, k, v)


def written_with_q(state, q, k, v):
    return linear_step(state, k, q, v)


def no_axis(state, q, k, v):
    state = linear_step(state, q, k, v)[1]
    return q @ state, state


def state_alone(state, q, k, v):
    return linear_step(state, q, k, v)[1]


def step_case(label, B, S, E, state):
    q, k, v = integers(B, S, seed=1, low=1), integers(B, S, seed=2), integers(B, E, seed=3, low=1)
    return call(label, state, q, k, v)


def state_as_it_was(answer):
    """The caller's own state after a step."""
    state = torch.ones(1, 2, 2)
    answer(state, torch.ones(1, 2), torch.ones(1, 2), torch.ones(1, 2))
    return state


STEP = Build(
    linear_step,
    name="linear_step",
    cases=(
        call(
            "the first token",
            torch.zeros(1, 2, 3),
            torch.tensor([[1.0, 2]]),
            torch.tensor([[1.0, -1]]),
            torch.tensor([[3.0, 0, 1]]),
        ),
        step_case("a token after others", 1, 2, 3, integers(1, 2, 3, seed=4, low=1)),
        step_case("two sequences, each with its own state", 2, 3, 2, integers(2, 3, 2, seed=5)),
        Case("the caller's state stays as it was", state_as_it_was, "a state of ones"),
    ),
    likely=(
        ("It reads before it writes: a token attends to itself as well.", read_first),
        ("The old state is lost: add to it.", forgetting),
        ("The key writes and the query reads; here it is the other way round.", written_with_q),
        ("`state += ...` changes the caller's array: write `state = state + ...`.", in_place),
        ("Two things are wanted: the output, and the state for the next token.", state_alone),
        ("q needs an axis for the product with a batch of states: `q[:, None] @ state`.", no_axis),
    ),
    why="This is all that a model with a state does for a letter, be it the tenth or the millionth.",
)


# ---------------------------------------------------------------- the layer, token by token
def token_form(q, k, v, *, step=linear_step, tokens=lambda T: range(T)):
    """Causal linear attention, token by token; the keywords are where a version may differ."""
    state = q.new_zeros(len(q), q.shape[2], v.shape[2])
    outputs = {}
    for t in tokens(q.shape[1]):
        outputs[t], state = step(state, q[:, t], k[:, t], v[:, t])
    return torch.stack([outputs[t] for t in range(q.shape[1])], 1)


def state_dropped(q, k, v):
    return token_form(q, k, v, step=lambda state, *qkv: (linear_step(state, *qkv)[0], state))


def step_reads_first(q, k, v):
    return token_form(q, k, v, step=read_first)


def from_the_last(q, k, v):
    return token_form(q, k, v, tokens=lambda T: reversed(range(T)))


def stacked_in_front(q, k, v):
    return token_form(q, k, v).transpose(0, 1)


def last_output(q, k, v):
    return token_form(q, k, v)[:, -1]


def with_a_softmax(q, k, v):
    hidden = torch.ones(q.shape[1], q.shape[1], dtype=torch.bool).triu(1)
    return (q @ k.mT).masked_fill(hidden, float("-inf")).softmax(-1) @ v


LAYER_CASES = (
    call("three tokens", *three(1, 3, 2, 2)),
    call("two sequences", *three(2, 4, 2, 3)),
    call("one token", *three(1, 1, 2, 2)),
)

TOKENS = Build(
    token_form,
    cases=LAYER_CASES,
    likely=(
        (
            "The new state goes into the next step: here each token begins from nothing.",
            state_dropped,
        ),
        ("It reads before it writes: a token attends to itself as well.", step_reads_first),
        ("Tokens are read from the first to the last: here they come from the end.", from_the_last),
        ("The tokens' axis is the second: stack along 1.", stacked_in_front),
        ("Every token has an output, not the last alone.", last_output),
    ),
    why="This is a recurrent network: nothing of the past but one state, and T steps that wait for each other.",
)


# ---------------------------------------------------------------- the layer, by one matrix
def matrix_form(q, k, v):
    """Causal linear attention by one masked matrix."""
    return (q @ k.mT).tril() @ v


def matrix_unmasked(q, k, v):
    return q @ k.mT @ v


def matrix_of_the_later(q, k, v):
    return (q @ k.mT).triu() @ v


def matrix_without_diagonal(q, k, v):
    return (q @ k.mT).tril(-1) @ v


def matrix_of_keys_first(q, k, v):
    return (k @ q.mT).tril() @ v


def matrix_divided(q, k, v):
    return matrix_form(q, k, v) / q.shape[2] ** 0.5


def masked_by_infinity(q, k, v):
    hidden = torch.ones(q.shape[1], q.shape[1], dtype=torch.bool).triu(1)
    return (q @ k.mT).masked_fill(hidden, float("-inf")) @ v


MATRIX = Build(
    matrix_form,
    cases=LAYER_CASES,
    likely=(
        ("Tokens read later ones: the matrix lacks its mask.", matrix_unmasked),
        (
            "The mask is upside down: each token reads itself and the later ones.",
            matrix_of_the_later,
        ),
        ("A token reads itself too: the diagonal stays.", matrix_without_diagonal),
        ("Rows are for queries: q kᵀ, not k qᵀ.", matrix_of_keys_first),
        (
            "There is no softmax here: a hidden weight is 0, and the others stay as they are.",
            with_a_softmax,
        ),
        (
            "Without a softmax no exp makes 0 of -∞: hide what is later by a weight of 0.",
            masked_by_infinity,
        ),
        ("Linear attention divides by nothing.", matrix_divided),
    ),
    why="T × T numbers, and not one step that waits: what a short sequence likes best.",
)


# ---------------------------------------------------------------- one chunk
def read_chunk(q, k, v, state):
    """What the tokens of one chunk read: earlier chunks through the state, their own pair by pair.

    q, k (B, C, S); v (B, C, E); state (B, S, E) is what enters the chunk. Gives (B, C, E).
    """
    earlier = q @ state
    inside = (q @ k.mT).tril()
    return earlier + inside @ v


def unmasked(q, k, v, state):
    return q @ state + (q @ k.mT) @ v


def without_itself(q, k, v, state):
    return q @ state + (q @ k.mT).tril(-1) @ v


def without_state(q, k, v, state):
    return (q @ k.mT).tril() @ v


def written_before(q, k, v, state):
    return read_chunk(q, k, v, state + k.mT @ v)


def chunk_case(label, B, C, S, E, seed):
    return call(label, *three(B, C, S, E), integers(B, S, E, seed=seed, low=1))


READ = Build(
    read_chunk,
    cases=(
        call(
            "the first chunk: the state is empty",
            torch.tensor([[(1.0, 0), (1, 2)]]),
            torch.tensor([[(1.0, 1), (2, 0)]]),
            torch.tensor([[(1.0, 0), (3, 1)]]),
            torch.zeros(1, 2, 2),
        ),
        chunk_case("one token", 1, 1, 2, 3, 4),
        chunk_case("three tokens and a state", 1, 3, 2, 2, 5),
        chunk_case("two sequences", 2, 4, 3, 2, 6),
    ),
    likely=(
        (
            "Tokens read later ones: the matrix lacks its mask, or the chunk is in the state already.",
            unmasked,
        ),
        ("A token reads itself too: the diagonal stays.", without_itself),
        ("What earlier chunks left in the state is missing.", without_state),
        ("The chunk is counted twice: once in the state, once in the matrix.", written_before),
    ),
    why="C tokens at once, two small products and no waiting: this is what a GPU likes.",
)


# ---------------------------------------------------------------- the chunk form
def chunk_form(q, k, v, C):
    """Causal linear attention, chunk by chunk; exact for every C, also where C does not divide T.

    q, k (B, T, S); v (B, T, E). Gives (B, T, E).
    """
    state = q.new_zeros(len(q), q.shape[2], v.shape[2])
    outputs = []
    for q_c, k_c, v_c in zip(q.split(C, 1), k.split(C, 1), v.split(C, 1)):
        outputs.append(read_chunk(q_c, k_c, v_c, state))
        state = state + k_c.mT @ v_c
    return torch.cat(outputs, 1)


def state_first(q, k, v, C):
    state, outputs = q.new_zeros(len(q), q.shape[2], v.shape[2]), []
    for q_c, k_c, v_c in zip(q.split(C, 1), k.split(C, 1), v.split(C, 1)):
        state = state + k_c.mT @ v_c
        outputs.append(read_chunk(q_c, k_c, v_c, state))
    return torch.cat(outputs, 1)


def only_the_chunk_before(q, k, v, C):
    state, outputs = q.new_zeros(len(q), q.shape[2], v.shape[2]), []
    for q_c, k_c, v_c in zip(q.split(C, 1), k.split(C, 1), v.split(C, 1)):
        outputs.append(read_chunk(q_c, k_c, v_c, state))
        state = k_c.mT @ v_c
    return torch.cat(outputs, 1)


def mean_of_the_chunk(q, k, v, C):
    state, outputs = q.new_zeros(len(q), q.shape[2], v.shape[2]), []
    for q_c, k_c, v_c in zip(q.split(C, 1), k.split(C, 1), v.split(C, 1)):
        outputs.append(read_chunk(q_c, k_c, v_c, state))
        state = state + k_c.mT @ v_c / C
    return torch.cat(outputs, 1)


def tail_lost(q, k, v, C):
    whole = max(q.shape[1] // C * C, 1)
    return torch.cat([chunk_form(q[:, :whole], k[:, :whole], v[:, :whole], C), 0 * v[:, whole:]], 1)


def chunks_apart(q, k, v, C):
    state = q.new_zeros(len(q), q.shape[2], v.shape[2])
    pieces = zip(q.split(C, 1), k.split(C, 1), v.split(C, 1))
    return torch.cat([read_chunk(*piece, state) for piece in pieces], 1)


CHUNKS = Build(
    chunk_form,
    cases=(
        call("one chunk", *three(1, 3, 2, 2), C=3),
        call("two chunks of two tokens", *three(1, 4, 2, 2), C=2),
        call("three chunks and a tail", *three(2, 7, 3, 2), C=2),
        call("C = 1: token by token", *three(1, 4, 2, 3), C=1),
        call("C larger than T", *three(1, 3, 2, 2), C=8),
        call("one token", *three(1, 1, 2, 2), C=2),
    ),
    likely=(
        ("A chunk reads the state before it is written to it.", state_first),
        ("The state is a running sum: earlier chunks are lost here.", only_the_chunk_before),
        ("Nothing is divided in linear attention: the state is a sum.", mean_of_the_chunk),
        ("The last tokens are lost where C does not divide T.", tail_lost),
        ("The chunks never hear of one another: hand the state on.", chunks_apart),
    ),
    why="T / C steps in place of T, and not one output changes. FLASH is this loop with another read.",
)


# ---------------------------------------------------------------- backward
def chunk_backward(q, k, v, d_o, C):
    """Gradients of causal linear attention: d_q, d_k (B, T, S) and d_v (B, T, E), by three calls of chunk_form."""

    def from_the_right(query, key, value):
        return chunk_form(query.flip(1), key.flip(1), value.flip(1), C).flip(1)

    d_q = chunk_form(d_o, v, k, C)
    d_k = from_the_right(v, d_o, q)
    d_v = from_the_right(k, q, d_o)
    return d_q, d_k, d_v


def flipped(query, key, value, C):
    return chunk_form(query.flip(1), key.flip(1), value.flip(1), C).flip(1)


def all_from_the_left(q, k, v, d_o, C):
    return chunk_form(d_o, v, k, C), chunk_form(v, d_o, q, C), chunk_form(k, q, d_o, C)


def all_from_the_right(q, k, v, d_o, C):
    return flipped(d_o, v, k, C), flipped(v, d_o, q, C), flipped(k, q, d_o, C)


def not_flipped_back(q, k, v, d_o, C):
    d_q, d_k, d_v = chunk_backward(q, k, v, d_o, C)
    return d_q, d_k.flip(1), d_v.flip(1)


def v_asked_by_q(q, k, v, d_o, C):
    d_q, d_k, _ = chunk_backward(q, k, v, d_o, C)
    return d_q, d_k, flipped(q, k, d_o, C)


def backward_case(label, B, T, S, E, C):
    return call(label, *three(B, T, S, E), integers(B, T, E, seed=4), C=C)


BACKWARD = Build(
    chunk_backward,
    cases=(
        backward_case("one token", 1, 1, 2, 2, 2),
        backward_case("two chunks of two tokens", 1, 4, 2, 2, 2),
        backward_case("a tail, two sequences", 2, 5, 2, 3, 2),
    ),
    likely=(
        (
            "k and v are used by later outputs: their gradients come from the right.",
            all_from_the_left,
        ),
        ("q reads what came before it: its gradient comes from the left.", all_from_the_right),
        ("The sequence was turned round and not turned back.", not_flipped_back),
        ("For d_v token j asks with its key and finds the queries that read it.", v_asked_by_q),
    ),
    why="The backward pass makes its states anew, so the forward pass need not keep a single one.",
)

BUILDS = (STEP, TOKENS, MATRIX, READ, CHUNKS, BACKWARD)

"""What lecture 05 lets its reader build: mixed chunk attention, as loops, in four pieces and then whole."""

import numpy as np
import torch
import torch.nn.functional as F

from flash_tutorial import mixing, reference
from flash_tutorial.chunks import to_chunks
from flash_tutorial.mixing import earlier_chunks

from . import Build, Case, call


def everybody(T):
    """No padding and one document, as the package's loops are told."""
    return np.ones(T, bool), np.zeros(T, int)


def local_loops(q_TS, k_TS, v_TE, bias_CC, C):
    """What each token reads of its own chunk, causal: ``(T, S)``, ``(T, E) -> (T, E)``."""
    where = everybody(len(q_TS))
    v_TE = np.asarray(v_TE, float)  # the lecture's own are integers
    return reference.local_part_loops(q_TS, k_TS, v_TE, *where, True, C, bias_CC)


def global_loops(q_TS, k_TS, v_TE, C):
    """What each token reads of the chunks before its own: the mean."""
    where = everybody(len(q_TS))
    v_TE = np.asarray(v_TE, float)
    return reference.global_part_loops(q_TS, k_TS, v_TE, *where, True, C, "mean")


def local_part(q, k, v, bias_CC):
    """relu² attention inside each chunk, causal: ``(B, G, C, S)``, ``(B, G, C, E) -> (B, G, C, E)``."""
    return mixing.local_part(q, k, v, chunk_size=q.shape[2], causal=True, bias=bias_CC)


def global_part(q, k, v):
    """What each chunk reads of the mean over the earlier ones: shapes as in ``local_part``."""
    return mixing.global_part(q, k, v, causal=True)


def mixed_chunk(quad_q, quad_k, lin_q, lin_k, v, bias_CC, C):
    """Both parts together, causal: ``(B, T, S)``, ``v (B, T, E) -> (B, T, E)``."""
    return mixing.mixed_chunk_attention(
        quad_q,
        quad_k,
        lin_q,
        lin_k,
        v,
        chunk_size=C,
        causal=True,
        bias=lambda n: bias_CC[:n, :n],
    )


# ---------------------------------------------------------------- what readers write instead


def near_with(
    q_TS, k_TS, v_TE, bias_CC, C, *, over=None, power=2, last=lambda i, first: i + 1, turned=False
):
    """The loops of the local part with another divisor, power, last token read, or bias."""
    bias_CC = bias_CC.T if turned else bias_CC
    out_TE = np.zeros(v_TE.shape)
    for i in range(len(q_TS)):
        first = i // C * C
        for j in range(first, min(last(i, first), len(q_TS))):
            s = q_TS[i] @ k_TS[j] / (over or C) + bias_CC[i - first, j - first]
            out_TE[i] += max(s, 0) ** power * v_TE[j]
    return out_TE


def filled_like_the_values(q_TS, k_TS, v_TE, bias_CC, C):
    out_TE = np.zeros_like(v_TE)
    out_TE += local_loops(q_TS, k_TS, v_TE, bias_CC, C)
    return out_TE


def loops_of_the_whole_chunk(q_TS, k_TS, v_TE, bias_CC, C):
    return near_with(q_TS, k_TS, v_TE, bias_CC, C, last=lambda i, first: first + C)


def loops_without_itself(q_TS, k_TS, v_TE, bias_CC, C):
    return near_with(q_TS, k_TS, v_TE, bias_CC, C, last=lambda i, first: i)


def loops_undivided(q_TS, k_TS, v_TE, bias_CC, C):
    return near_with(q_TS, k_TS, v_TE, bias_CC, C, over=1)


def loops_by_the_width(q_TS, k_TS, v_TE, bias_CC, C):
    return near_with(q_TS, k_TS, v_TE, bias_CC, C, over=q_TS.shape[1] ** 0.5)


def loops_not_squared(q_TS, k_TS, v_TE, bias_CC, C):
    return near_with(q_TS, k_TS, v_TE, bias_CC, C, power=1)


def loops_without_bias(q_TS, k_TS, v_TE, bias_CC, C):
    return near_with(q_TS, k_TS, v_TE, 0 * bias_CC, C)


def loops_of_keys_first(q_TS, k_TS, v_TE, bias_CC, C):
    return near_with(q_TS, k_TS, v_TE, bias_CC, C, turned=True)


def square_alone(q_TS, k_TS, v_TE, bias_CC, C):
    out_TE = np.zeros(v_TE.shape)
    for i in range(len(q_TS)):
        first = i // C * C
        for j in range(first, i + 1):
            out_TE[i] += (q_TS[i] @ k_TS[j] / C + bias_CC[i - first, j - first]) ** 2 * v_TE[j]
    return out_TE


def far_with(q_TS, k_TS, v_TE, C, *, read=lambda i, first: range(first), over=None):
    """The loops of the global part over other tokens, or with another divisor."""
    T = len(q_TS)
    out_TE = np.zeros(v_TE.shape)
    for i in range(T):
        first = i // C * C
        tokens = [j for j in read(i, first) if 0 <= j < T]
        for j in tokens:
            weight = q_TS[i] @ k_TS[j] / (over(first, T) if over else len(tokens))
            out_TE[i] += weight * v_TE[j]
    return out_TE


def far_of_its_own_chunk(q_TS, k_TS, v_TE, C):
    return far_with(q_TS, k_TS, v_TE, C, read=lambda i, first: range(first + C))


def far_up_to_itself(q_TS, k_TS, v_TE, C):
    return far_with(q_TS, k_TS, v_TE, C, read=lambda i, first: range(i + 1))


def far_before_itself(q_TS, k_TS, v_TE, C):
    return far_with(q_TS, k_TS, v_TE, C, read=lambda i, first: range(i))


def far_of_one_chunk(q_TS, k_TS, v_TE, C):
    return far_with(q_TS, k_TS, v_TE, C, read=lambda i, first: range(first - C, first))


def far_undivided(q_TS, k_TS, v_TE, C):
    return far_with(q_TS, k_TS, v_TE, C, over=lambda first, T: 1)


def far_over_the_chunks(q_TS, k_TS, v_TE, C):
    return far_with(q_TS, k_TS, v_TE, C, over=lambda first, T: first // C)


def far_over_C(q_TS, k_TS, v_TE, C):
    return far_with(q_TS, k_TS, v_TE, C, over=lambda first, T: C)


def far_over_all(q_TS, k_TS, v_TE, C):
    return far_with(q_TS, k_TS, v_TE, C, over=lambda first, T: T)


def pad_in_front(x, C):
    return F.pad(x, (0, 0, -x.shape[1] % C, 0)).unflatten(1, (-1, C))


def drop_the_tail(x, C):
    return x[:, : x.shape[1] // C * C].unflatten(1, (-1, C))


def every_other_token(x, C):
    return F.pad(x, (0, 0, 0, -x.shape[1] % C)).unflatten(1, (C, -1)).transpose(1, 2)


def local_with(q, k, v, bias_CC, *, over=None, power=2, mask=True, mask_first=False):
    scores = q @ k.mT / (over or q.shape[2])
    if mask_first:
        scores = scores.tril()
    weights = torch.relu(scores + bias_CC) ** power
    if mask and not mask_first:
        weights = weights.tril()
    return weights @ v


def read_the_future(q, k, v, bias_CC):
    return local_with(q, k, v, bias_CC, mask=False)


def undivided(q, k, v, bias_CC):
    return local_with(q, k, v, bias_CC, over=1)


def divided_by_the_width(q, k, v, bias_CC):
    return local_with(q, k, v, bias_CC, over=q.shape[3] ** 0.5)


def not_squared(q, k, v, bias_CC):
    return local_with(q, k, v, bias_CC, power=1)


def without_bias(q, k, v, bias_CC):
    return local_with(q, k, v, 0)


def mask_before_the_bias(q, k, v, bias_CC):
    return local_with(q, k, v, bias_CC, mask_first=True)


def by_subtraction(x):
    return x.cumsum(1) - x


def loud_chunk(answer):
    """What the second of four chunks reads, where it is much louder than the first."""
    return answer(torch.tensor([[1.0, 300, 1, 1]], dtype=torch.bfloat16))[0, 1].float()


def loud_token(answer):
    """What the second of four tokens reads, chunks of one, where its own value is much louder than the first."""
    v = torch.tensor([[[1.0], [300], [1], [1]]], dtype=torch.bfloat16)
    ones = torch.ones_like(v)
    bias_CC = torch.zeros(1, 1, dtype=torch.bfloat16)
    return answer(0 * ones, ones, ones, ones, v, bias_CC, 1)[0, 1].float()


def inclusive(x):
    return x.cumsum(1)


def later_chunks(x):
    return x.flip(1).cumsum(1).flip(1) - x


def all_chunks(x):
    return x.sum(1, keepdim=True).expand_as(x)


def only_the_one_before(x):
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1)


def global_with(q, k, v, *, read=earlier_chunks, over="tokens"):
    G, C = q.shape[1:3]
    chunks = torch.arange(G).clamp(min=1)
    divisors = {
        "tokens": C * chunks,
        "chunk": torch.full((G,), C),
        "nothing": torch.ones(G),
        "chunks": chunks,
        "own too": C * torch.arange(1, G + 1),
        "all": torch.full((G,), G * C),
    }
    return q @ (read(k.mT @ v) / divisors[over][:, None, None])


def far_by_subtraction(q, k, v):
    return global_with(q, k, v, read=by_subtraction)


def read_its_own_chunk(q, k, v):
    return global_with(q, k, v, read=inclusive)


def read_its_own_chunk_in_the_mean(q, k, v):
    return global_with(q, k, v, read=inclusive, over="own too")


def bare_sum(q, k, v):
    return global_with(q, k, v, over="nothing")


def sum_of_means(q, k, v):
    return global_with(q, k, v, over="chunk")


def over_the_chunks(q, k, v):
    return global_with(q, k, v, over="chunks")


def count_its_own_chunk(q, k, v):
    return global_with(q, k, v, over="own too")


def over_all_tokens(q, k, v):
    return global_with(q, k, v, over="all")


def whole_with(local=local_part, far=global_part):
    """Mixed chunk attention of other parts, or without one."""

    def mixed(quad_q, quad_k, lin_q, lin_k, v, bias_CC, C):
        heads = [to_chunks(x, C) for x in (quad_q, quad_k, lin_q, lin_k, v)]
        quad_q, quad_k, lin_q, lin_k, v_chunks = heads
        read = torch.zeros_like(v_chunks)
        if local is not None:
            read = read + local(quad_q, quad_k, v_chunks, bias_CC)
        if far is not None:
            read = read + far(lin_q, lin_k, v_chunks)
        return read.flatten(1, 2)[:, : v.shape[1]]

    return mixed


def near_for_both(quad_q, quad_k, lin_q, lin_k, v, bias_CC, C):
    return mixed_chunk(quad_q, quad_k, quad_q, quad_k, v, bias_CC, C)


# ---------------------------------------------------------------- cases: small whole numbers


def numbers(*shape, first=0):
    """Whole numbers from -2 to 3 in this shape, the same at each call."""
    count = torch.Size(shape).numel()
    return ((torch.arange(count, dtype=torch.float64) * 5 + first) % 6 - 2).view(shape)


def heads(*shape, E):
    """Query, key and value with these first axes and S."""
    return (
        numbers(*shape),
        numbers(*shape, first=3),
        numbers(*shape[:-1], E, first=1),
    )


def bias_of(C):
    """A table by distance in which some weights open and some close."""
    distance = torch.arange(C)[:, None] - torch.arange(C)
    return (distance % 3 - 1).double()


def all_heads(B, T, S, E):
    """quad_q, quad_k, lin_q, lin_k and v."""
    four = [numbers(B, T, S, first=first) for first in (0, 3, 1, 4)]
    return (*four, numbers(B, T, E, first=2))


def six_tokens():
    """quad_q, quad_k, lin_q, lin_k, v and the bias of the lecture's own example."""
    z = torch.tensor([[1, 0], [0, 1], [2, 1], [1, 1], [0, 2], [2, 0]], dtype=torch.float64)
    v = torch.tensor([[0, -4], [8, 0], [4, 8], [4, 4], [0, 4], [-4, 0]], dtype=torch.float64)
    gamma = torch.tensor([[0, -2], [-1, 1], [1, 1], [1, 2]], dtype=torch.float64)
    beta = torch.tensor([[-2, 2], [-1, -1], [1, 0], [-1, -1]], dtype=torch.float64)
    four = z * gamma[:, None] + beta[:, None]
    bias = torch.tensor([[0, 1], [-1, 0]], dtype=torch.float64)
    return (*four[:, None], v[None], bias)


def mixed_case(label, T, C, B=1):
    return call(label, *all_heads(B, T, 2, 3), bias_of(C), C=C)


def in_numpy(T, E, firsts=(0, 3, 1)):
    """Query, key and value of T tokens for the loops, S = 2."""
    q, k, v = (numbers(T, width, first=first) for width, first in zip((2, 2, E), firsts))
    return q.numpy(), k.numpy(), v.numpy()


def near_case(label, T, C, E=2):
    return call(label, *in_numpy(T, E), bias_of(C).numpy() + 2, C=C)


def whole_numbers_case():
    """Integers, as the lecture's own tokens are, and a bias that makes fractions of them."""
    q, k, v = (a.astype(int) for a in in_numpy(4, 2))
    return call("whole numbers", q, k, v, bias_of(2).numpy() + 2, C=2)


def far_case(label, T, C, E=2):
    return call(label, *in_numpy(T, E), C=C)


BUILDS = (
    Build(
        local_loops,
        cases=(
            near_case("two chunks of two", 4, 2),
            near_case("chunks of three and a tail", 8, 3, E=1),
            near_case("one token", 1, 2),
            near_case("shorter than a chunk", 2, 4),
            whole_numbers_case(),
        ),
        likely=(
            (
                "`zeros_like(v_TE)` holds whole numbers if the values are: ask for floats, `np.zeros(v_TE.shape)`.",
                filled_like_the_values,
            ),
            (
                "A token reads itself and what came before, not its whole chunk.",
                loops_of_the_whole_chunk,
            ),
            ("A token reads itself too: j runs up to i + 1.", loops_without_itself),
            ("The score is not divided by C.", loops_undivided),
            (
                "The score is divided by √S, as in softmax attention; here it is C.",
                loops_by_the_width,
            ),
            ("The weight is relu and not relu².", loops_not_squared),
            ("A negative score has the weight 0: relu first, then the square.", square_alone),
            ("The bias is missing.", loops_without_bias),
            ("The row of the bias is for the token that reads.", loops_of_keys_first),
        ),
        why="When the fast form goes wrong, these loops say so: they have nothing but the formula in them.",
    ),
    Build(
        global_loops,
        cases=(
            far_case("three chunks of two", 6, 2),
            far_case("chunks of three and a tail", 8, 3, E=1),
            far_case("one chunk", 3, 4),
            far_case("chunks of one token", 4, 1),
        ),
        likely=(
            ("A token reads its own chunk as well, and with it the future.", far_of_its_own_chunk),
            (
                "Only chunks before its own are read: of its own the local part takes care.",
                far_up_to_itself,
            ),
            (
                "The loop runs to the first token of i's chunk, not to token i.",
                far_before_itself,
            ),
            ("Only the chunk before is read; add up all earlier ones.", far_of_one_chunk),
            ("This is the bare sum; divide by the tokens that are read.", far_undivided),
            (
                "This divides by the number of chunks; divide by the tokens in them.",
                far_over_the_chunks,
            ),
            ("This is a sum of means. Divide by all tokens that are read.", far_over_C),
            ("The divisor counts all tokens, later ones too.", far_over_all),
        ),
        why="One sum over everything before the chunk: that it can be kept as a state is why FLASH is linear.",
    ),
    Build(
        to_chunks,
        cases=(
            call("two whole chunks", numbers(1, 4, 1), C=2),
            call("a tail", numbers(1, 5, 1), C=3),
            call("one token", numbers(1, 1, 2), C=3),
            call("a batch of two", numbers(2, 4, 3), C=2),
        ),
        likely=(
            ("The zeros stand in front: then every token moves to another place.", pad_in_front),
            ("The tokens of the last, unfinished chunk are gone.", drop_the_tail),
            (
                "Neighbours are in different chunks: a chunk is C tokens in a row.",
                every_other_token,
            ),
        ),
        why="No text ends where a chunk does: zeros make the last one whole and add nothing to a sum.",
    ),
    Build(
        local_part,
        cases=(
            call("one chunk of three", *heads(1, 1, 3, 3, E=1), bias_of(3)),
            call("three chunks", *heads(1, 3, 2, 2, E=2), bias_of(2)),
            call("chunks of four, a batch", *heads(2, 2, 4, 2, E=3), bias_of(4)),
            call("chunks of one token", *heads(1, 3, 1, 2, E=2), bias_of(1) + 2),
        ),
        likely=(
            ("Nothing is masked: a token reads later ones of its chunk.", read_the_future),
            (
                "The mask comes before the bias, so the bias opens the future again.",
                mask_before_the_bias,
            ),
            ("The scores are not divided by C.", undivided),
            (
                "The scores are divided by √S, as in softmax attention; here it is C.",
                divided_by_the_width,
            ),
            ("The weights are relu and not relu².", not_squared),
            ("The bias is missing.", without_bias),
        ),
        why="This is all that FLASH compares one by one: C × C pairs a chunk, however long the text.",
    ),
    Build(
        earlier_chunks,
        cases=(
            call("four numbers", torch.tensor([[3.0, 5, 2, 7]])),
            call("one chunk", numbers(1, 1, 2, 2)),
            call("arrays, a batch", numbers(2, 3, 2, 2)),
            Case("bfloat16, a loud chunk", loud_chunk, "chunks of 1, 300 and 1"),
        ),
        likely=(
            (
                "The inclusive sum minus the chunk itself is the same on paper; the chunk leaks by rounding. Shift.",
                by_subtraction,
            ),
            ("Each sum holds its own chunk too, and with it tokens that come later.", inclusive),
            ("These are the later chunks: the sum runs from the wrong end.", later_chunks),
            ("This is the sum over all chunks.", all_chunks),
            ("Only the chunk before is read; add up all earlier ones.", only_the_one_before),
        ),
        why="One sum too far to the right, and a model reads the answer that it is asked for.",
    ),
    Build(
        global_part,
        cases=(
            call("three chunks of two", *heads(1, 3, 2, 1, E=1)),
            call("one chunk", *heads(1, 1, 2, 2, E=2)),
            call("five chunks, a batch", *heads(2, 5, 3, 2, E=2)),
        ),
        likely=(
            (
                "The sum is inclusive: chunk g reads itself, and inside a chunk that is the future.",
                read_its_own_chunk,
            ),
            (
                "The mean is inclusive: chunk g reads itself, and inside a chunk that is the future.",
                read_its_own_chunk_in_the_mean,
            ),
            ("This is the bare sum; divide by the tokens that are read.", bare_sum),
            (
                "This is a sum of means: it grows with the number of chunks. Divide by all tokens read.",
                sum_of_means,
            ),
            (
                "This divides by the number of chunks; divide by the tokens in them.",
                over_the_chunks,
            ),
            (
                "The divisor counts the tokens of the chunk itself, which it does not read.",
                count_its_own_chunk,
            ),
            ("The divisor counts all tokens, later ones too.", over_all_tokens),
        ),
        why="However long the text grows, what is kept of it are these S × E entries.",
    ),
    Build(
        mixed_chunk,
        cases=(
            call("the six tokens", *six_tokens(), C=2),
            mixed_case("three chunks and a tail", 11, 3),
            mixed_case("shorter than a chunk", 2, 3),
            mixed_case("one token", 1, 2),
            mixed_case("chunks of one token", 4, 1),
            mixed_case("a batch of two", 8, 4, B=2),
            Case("bfloat16, a loud token", loud_token, "values of 1, 300, 1 and 1, C = 1"),
        ),
        likely=(
            (
                "The inclusive sum minus the chunk itself is the same on paper; the chunk leaks by rounding. Shift.",
                whole_with(far=far_by_subtraction),
            ),
            (
                "Chunk g reads itself through the sum: inside a chunk that is the future.",
                whole_with(far=read_its_own_chunk),
            ),
            (
                "Chunk g reads itself through the mean: inside a chunk that is the future.",
                whole_with(far=read_its_own_chunk_in_the_mean),
            ),
            (
                "The global part is a bare sum; divide by the tokens that are read.",
                whole_with(far=bare_sum),
            ),
            (
                "The global part is a sum of means; divide by all tokens that are read.",
                whole_with(far=sum_of_means),
            ),
            (
                "The divisor counts the tokens of the chunk itself, which it does not read.",
                whole_with(far=count_its_own_chunk),
            ),
            ("The global part is missing.", whole_with(far=None)),
            ("The local part is missing.", whole_with(local=None)),
            ("The local part reads later tokens of its chunk.", whole_with(local=read_the_future)),
            (
                "The mask comes before the bias, so the bias opens the future again.",
                whole_with(local=mask_before_the_bias),
            ),
            ("The scores are not divided by C.", whole_with(local=undivided)),
            ("The local weights are relu and not relu².", whole_with(local=not_squared)),
            ("The bias is missing.", whole_with(local=without_bias)),
            (
                "Both parts read quad_q and quad_k; the global one has lin_q and lin_k.",
                near_for_both,
            ),
        ),
        why="Every layer of FLASH is this function between two projections.",
    ),
)

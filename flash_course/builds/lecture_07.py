"""What lecture 07 lets its reader build: two scores, the schedule, AdamW, the training loop, the cost of a boundary."""

import math
import numbers
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from flash_tutorial.training import TrainConfig, learning_rate_at

from ..bench import boundaries
from . import Build, Case, call

# ---------------------------------------------------------------- the course's own


def bits_with_memory(model, tokens, T, stride):
    """The score of a text in windows of T that overlap: of each but the first only the last ``stride`` bytes count."""
    nats, done = 0.0, 0
    while done < len(tokens) - 1:
        end = done + (stride if done else T)
        first = end - T
        ids = torch.from_numpy(tokens[first : end + 1].astype(np.int64))[None]
        with torch.no_grad():
            logits = model(ids[:, :-1])
        new = slice(done - first, None)
        nats += float(F.cross_entropy(logits[0, new], ids[0, 1:][new], reduction="sum"))
        done = end
    return nats / math.log(2) / (len(tokens) - 1)


def bits_per_byte(model, tokens, T):
    """The score of a text, an array of bytes read in windows of T: all bits over all bytes predicted."""
    return bits_with_memory(model, tokens, T, T)


def rate_at(step, steps, warmup, peak):
    """The learning rate of update ``step``, counted from 0: up in a line, then down in a line."""
    return learning_rate_at(step, TrainConfig(steps=steps, warmup=warmup, learning_rate=peak))


def adamw_step(p, g, m, v, t, rate):
    """Update number t (from 1) of a parameter p with gradient g; gives p and its averages m and v."""
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * g**2
    m_hat = m / (1 - 0.9**t)
    v_hat = v / (1 - 0.999**t)
    p = p - rate * (m_hat / (v_hat.sqrt() + 1e-6) + 0.01 * p)
    return p, m, v


def draw_windows(tokens, B, T, rng):
    """B windows of T + 1 bytes from an array of bytes, each place equally likely: ids (B, T + 1)."""
    first = rng.integers(len(tokens) - T, size=B)
    at = first[:, None] + np.arange(T + 1)
    return torch.from_numpy(tokens[at].astype(np.int64))


def fit(model, draw, steps, peak, warmup=20, clip=1.0):
    """Train a model on the windows ``draw(step)``, ids (B, T + 1). Gives the loss of each update."""
    return fit_with(model, draw, steps, peak, warmup, clip, mistake=None)


def boundary_cost(bits, sizes):
    """What a boundary costs each byte of a chunk, by mean bits (G,) of groups of so many places each, sizes (G,)."""
    return float(boundaries.cost_of_boundary(bits))


# ---------------------------------------------------------------- likely mistakes


def mean_of_windows(model, tokens, T):
    """Each window counts the same, the short one at the end too."""
    scores = []
    for first in range(0, len(tokens) - 1, T):
        scores.append(bits_per_byte(model, tokens[first : first + T + 1], T))
    return float(np.mean(scores))


def without_the_tail(model, tokens, T):
    whole = (len(tokens) - 1) // T * T
    return bits_per_byte(model, tokens[: whole + 1], T)


def in_nats(model, tokens, T):
    return math.log(2) * bits_per_byte(model, tokens, T)


def without_overlap(model, tokens, T, stride):
    """The first window is whole, the others hold ``stride`` bytes alone."""
    first = bits_per_byte(model, tokens[: T + 1], T) * T
    rest = tokens[T:]
    if len(rest) > 1:
        first += bits_per_byte(model, rest, stride) * (len(rest) - 1)
    return first / (len(tokens) - 1)


def all_of_each_window(model, tokens, T, stride):
    """Bytes of the overlap count each time."""
    bits = n = 0
    for end in range(T, len(tokens) - 1 + stride, stride):
        window = tokens[end - T : end + 1]
        bits += bits_per_byte(model, window, T) * (len(window) - 1)
        n += len(window) - 1
    return bits / n


def first_window_forgotten(model, tokens, T, stride):
    """Of the first window, too, only the last ``stride`` bytes count."""
    lost = bits_per_byte(model, tokens[: T - stride + 1], T) * (T - stride)
    return bits_with_memory(model, tokens, T, stride) - lost / (len(tokens) - 1)


def end_dropped(model, tokens, T, stride):
    """Only whole strides behind the first window count."""
    left = (len(tokens) - 1 - T) % stride
    return bits_with_memory(model, tokens[: len(tokens) - left], T, stride)


def last_window_moved_back(model, tokens, T, stride):
    """The last window has T bytes too, and so begins before its place."""
    left = (len(tokens) - 1 - T) % stride  # bytes behind the last whole stride
    kept, last = tokens[: len(tokens) - left], tokens[-T - 1 :]
    bits = bits_with_memory(model, kept, T, stride) * (len(kept) - 1)
    for sign, window in ((1, last), (-1, last[: T + 1 - left])):
        bits += sign * bits_per_byte(model, window, T) * (len(window) - 1)
    return bits / (len(tokens) - 1)


def over_the_early_places(bits, sizes):
    return boundary_cost(bits, sizes) * sizes.sum() / 8


def groups_count_the_same(bits, sizes):
    """A mean over groups, in place of one over places."""
    ends = np.cumsum(sizes)
    return (bits[ends <= 8].mean() - bits[ends > 16].mean()) * 8 / sizes.sum()


def all_places_behind(bits, sizes):
    """The late ones begin at the ninth place."""
    late = np.cumsum(sizes) > 8
    level = np.average(bits[late], weights=sizes[late])
    return ((bits - level) * sizes)[~late].sum() / sizes.sum()


def rate_counted_from_one(step, steps, warmup, peak):
    if step < warmup:
        return peak * step / warmup
    return rate_at(step, steps, warmup, peak)


def falls_from_the_start(step, steps, warmup, peak):
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (steps - step) / steps


def in_place(p, g, m, v, t, rate):
    new, new_m, new_v = adamw_step(p, g, m, v, t, rate)
    return p.copy_(new), m.copy_(new_m), v.copy_(new_v)


def smaller_epsilon(p, g, m, v, t, rate):
    _, m, v = adamw_step(p, g, m, v, t, rate)
    m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
    return p - rate * (m_hat / (v_hat.sqrt() + 1e-8) + 0.01 * p), m, v


def not_corrected(p, g, m, v, t, rate):
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * g**2
    return p - rate * (m / (v.sqrt() + 1e-6) + 0.01 * p), m, v


def decay_inside_the_gradient(p, g, m, v, t, rate):
    moved, m, v = adamw_step(p, g + 0.01 * p, m, v, t, rate)
    return moved + rate * 0.01 * p, m, v


def no_decay(p, g, m, v, t, rate):
    moved, m, v = adamw_step(p, g, m, v, t, rate)
    return moved + rate * 0.01 * p, m, v


def corrected_averages_kept(p, g, m, v, t, rate):
    moved, m, v = adamw_step(p, g, m, v, t, rate)
    return moved, m / (1 - 0.9**t), v / (1 - 0.999**t)


def ids_of_one_byte(tokens, B, T, rng):
    return draw_windows(tokens, B, T, rng).to(torch.uint8)


def without_the_target(tokens, B, T, rng):
    return draw_windows(tokens, B, T, rng)[:, :-1]


def never_the_last(tokens, B, T, rng):
    return draw_windows(tokens[:-1], B, T, rng)


def fit_with(model, draw, steps, peak, warmup=20, clip=1.0, *, mistake):
    """``fit`` with PyTorch's optimizer and one mistake."""
    betas = {"betas": (0.9, 0.999), "eps": 1e-6, "weight_decay": 0.01}
    optimizer = torch.optim.AdamW(model.parameters(), peak, **betas)
    losses = []
    for step in range(steps):
        ids = draw(step)
        targets = ids[:, :-1] if mistake == "not shifted" else ids[:, 1:]
        loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), targets.flatten())
        loss.backward()
        if mistake == "one by one":
            for p in model.parameters():
                nn.utils.clip_grad_norm_([p], clip)
        elif mistake != "not cut":
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        if mistake != "one rate":
            optimizer.param_groups[0]["lr"] = rate_at(step, steps, warmup, peak)
        optimizer.step()
        if mistake != "not cleared":
            optimizer.zero_grad()
        losses.append(loss if mistake == "tensors" else loss.item())
    return losses


# ---------------------------------------------------------------- what is asked

EIGHTHS = torch.tensor([[4.0, 2, 1, 1], [1, 4, 2, 1], [1, 1, 4, 2], [2, 1, 1, 4]]) / 8
SEVEN = np.array([0, 0, 1, 3, 3, 2, 2], dtype=np.uint8)


def by_table(ids):
    """A model that looks back one byte: logits whose probabilities are 1/2, 1/4 and 1/8."""
    return EIGHTHS.log()[ids]


def score_case(label, tokens, T):
    shown = f"bytes {tokens.tolist()}, T = {T}, a model with probabilities 1/2, 1/4, 1/8, 1/8"
    return Case(label, lambda answer: answer(by_table, tokens, T), shown)


def sharper(ids):
    """A model that is surer the more it has read: the table's logits, times the place in the window."""
    place = torch.arange(1, ids.shape[1] + 1)[:, None]
    return by_table(ids) * place / 2


def memory_case(label, tokens, T, stride):
    shown = f"bytes {tokens.tolist()}, T = {T}, stride = {stride}, a model that is surer the more it has read"
    return Case(label, lambda answer: answer(sharper, tokens, T, stride), shown)


def cost_case(label, *bits):
    return call(label, np.array(bits), np.array(boundaries.GROUPS[: len(bits)]))


def after_two_updates(answer):
    """p, m and v after two updates, the second one with what the first one gave."""
    p, g = torch.tensor([1.0, 100.0, -2.0]), torch.tensor([100.0, 0.001, 0.5])
    p, m, v = answer(p, g, torch.zeros(3), torch.zeros(3), 1, 0.1)
    return answer(p, -g, m, v, 2, 0.1)


def what_is_left(answer):
    """p, m and v after a call that was to leave them as they are."""
    given = [torch.tensor([1.0, -2.0]), torch.zeros(2), torch.zeros(2)]
    p, m, v = given
    answer(p, torch.tensor([100.0, 0.01]), m, v, 1, 0.1)
    return given


def type_of_ids(answer):
    """Of what type the ids are: `nn.Embedding` takes no bytes."""
    return str(answer(np.arange(9, dtype=np.uint8), 2, 4, np.random.default_rng(0)).dtype)


def windows_of(answer, n, B, T):
    """The places at which windows of 0, 1, 2, ... begin, and whether each of them counts on."""
    ids = answer(np.arange(n, dtype=np.uint8), B, T, np.random.default_rng(0))
    steps = ids.diff(dim=1).unique()
    return ids.shape[1], ids[:, 0].unique(), steps


def kinds_of_losses(answer):
    """Whether each loss is a number, and no tensor that keeps its update alive."""
    return [isinstance(loss, numbers.Real) for loss in trained(answer)[0]]


def trained(answer, **how):
    """The losses of five updates of a bigram model of two matrices, and the matrices then."""
    model = nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 4, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.arange(12).reshape(4, 3) % 5 - 2)
        model[1].weight.copy_((torch.arange(12).reshape(4, 3) % 7 - 3) / 4)
    ids = torch.tensor([[0, 1, 2, 3, 3, 1], [2, 2, 0, 1, 3, 0]])
    losses = answer(model, lambda step: (ids + step) % 4, 5, 0.5, **{"warmup": 0} | how)
    return losses, model[0].weight, model[1].weight


BUILDS = (
    Build(
        bits_per_byte,
        cases=(
            score_case("one window", SEVEN, 6),
            score_case("windows of two", SEVEN, 2),
            score_case("a short window at the end", SEVEN, 4),
            score_case("a last window of one byte", SEVEN[:6], 4),
        ),
        likely=(
            (
                "The mean of the windows' means: the bytes of a short window count too much.",
                mean_of_windows,
            ),
            ("The bytes behind the last whole window are predicted too.", without_the_tail),
            ("These are nats: divide by ln 2.", in_nats),
        ),
        why="Every score in this course, and every model's card, is this number.",
    ),
    Build(
        rate_at,
        cases=(
            *(call(f"update {step} of six", step, 6, 2, 8.0) for step in range(6)),
            call("no warm-up", 0, 4, 0, 8.0),
        ),
        likely=(
            (
                "Updates are counted from 0, so this one would learn nothing: step + 1 in the warm-up.",
                rate_counted_from_one,
            ),
            (
                "The rate falls from the end of the warm-up on, over steps - warmup updates.",
                falls_from_the_start,
            ),
        ),
        why="A wrong schedule never raises an error. It only trains a worse model.",
    ),
    Build(
        adamw_step,
        cases=(
            call(
                "the first update",
                torch.tensor([1.0, -2.0]),
                torch.tensor([100.0, 0.01]),
                torch.zeros(2),
                torch.zeros(2),
                1,
                0.1,
            ),
            Case("two updates", after_two_updates, "gradients g, then -g"),
            call(
                "a tiny gradient",
                torch.tensor([1.0]),
                torch.tensor([1e-6]),
                torch.zeros(1),
                torch.zeros(1),
                1,
                0.1,
            ),
            Case("what is given stays as it is", what_is_left, "p, m and v behind the call"),
        ),
        likely=(
            (
                "p, m and v of the caller are changed in place: make new ones, and return them.",
                in_place,
            ),
            ("What is added to the root is a millionth, 1e-6.", smaller_epsilon),
            (
                "m and v begin at 0: divide them by 1 - 0.9^t and 1 - 0.999^t before the step.",
                not_corrected,
            ),
            (
                "The decay went through the averages, which divide it away: it stands beside them.",
                decay_inside_the_gradient,
            ),
            ("The decay of the weights is missing: 0.01 * p.", no_decay),
            (
                "Keep m and v as they are; the corrected ones are for this step alone.",
                corrected_averages_kept,
            ),
        ),
        why="Nearly every language model since 2018 was trained by these five lines.",
        tolerance=1e-5,
    ),
    Build(
        draw_windows,
        cases=(
            Case("every place", lambda answer: windows_of(answer, 9, 200, 4), "the bytes 0 to 8"),
            Case("one place only", lambda answer: windows_of(answer, 5, 3, 4), "the bytes 0 to 4"),
            Case("ids that an embedding takes", type_of_ids, "the bytes 0 to 8"),
        ),
        likely=(
            (
                "The ids are bytes still, and an embedding takes int64: `.astype(np.int64)`.",
                ids_of_one_byte,
            ),
            (
                "A window needs T + 1 bytes: T that are read, and the target of the last.",
                without_the_target,
            ),
            (
                "The last byte is never drawn: a window may begin at len(tokens) - T - 1.",
                never_the_last,
            ),
        ),
        why="The whole text is the training set, at every offset: no two epochs are alike.",
    ),
    Build(
        fit,
        cases=(
            Case("five updates", trained, "a bigram model of four letters"),
            Case("a warm-up of two", lambda answer: trained(answer, warmup=2)),
            Case("gradients cut at 0.1", lambda answer: trained(answer, clip=0.1)),
            Case("losses are numbers", kinds_of_losses),
        ),
        likely=(
            (
                "A loss is a tensor, which keeps all that it was made of: store `loss.item()`.",
                partial(fit_with, mistake="tensors"),
            ),
            (
                "Gradients pile up: clear them after each update.",
                partial(fit_with, mistake="not cleared"),
            ),
            (
                "The targets are the inputs: a model that sees what it predicts learns to copy.",
                partial(fit_with, mistake="not shifted"),
            ),
            ("The rate is the peak all the time.", partial(fit_with, mistake="one rate")),
            ("The gradients are not cut to the length clip.", partial(fit_with, mistake="not cut")),
            (
                "The length is that of all gradients together, not of each parameter's own.",
                partial(fit_with, mistake="one by one"),
            ),
        ),
        why="That is all of training. What larger models add is more machines around this loop.",
        tolerance=1e-4,
    ),
    Build(
        bits_with_memory,
        cases=(
            memory_case("one window", SEVEN, 6, 2),
            memory_case("windows that overlap by half", SEVEN, 4, 2),
            memory_case("one byte at a time", SEVEN, 3, 1),
            memory_case("a short end", SEVEN, 3, 2),
            memory_case("no overlap", SEVEN, 2, 2),
        ),
        likely=(
            (
                "A window holds T bytes: it begins T before its end, and not where the last one ended.",
                without_overlap,
            ),
            (
                "Each byte counts once: of a later window only the logits of its last `stride` bytes.",
                all_of_each_window,
            ),
            (
                "Of the first window all T bytes count, since no other one scores them.",
                first_window_forgotten,
            ),
            ("The text ends behind the last whole stride: those bytes count too.", end_dropped),
            (
                "The last window begins where its turn is, though it is shorter: yours begins earlier.",
                last_window_moved_back,
            ),
        ),
        why="Ask of every published score how much of the text the model could see.",
    ),
    Build(
        boundary_cost,
        cases=(
            cost_case("four bits at the first place", 4.0, 2, 2, 2, 2, 2, 2, 2),
            cost_case("eight early places", 5.0, 4, 3, 2.5, 2, 2, 2, 2),
            cost_case("a level of its own", 4.0, 3, 3, 2, 7, 1, 1.5, 2),
            cost_case("chunks of 256", 4.0, 3, 3, 2, 2, 1, 1.5, 2, 1),
        ),
        likely=(
            (
                "Spread what is lost over the whole chunk: divide by all its places, and not by eight.",
                over_the_early_places,
            ),
            (
                "Groups have different sizes: a mean over places weighs each by its size.",
                groups_count_the_same,
            ),
            (
                "Late places are those from the seventeenth on; between them and the eighth nothing counts.",
                all_places_behind,
            ),
        ),
        why="A difference inside a run leaves out all that makes runs differ.",
    ),
)

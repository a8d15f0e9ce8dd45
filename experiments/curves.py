"""The runs that problem set 07 lets a student read: one healthy, five with a cause of their own.

All are the tiny model of the scoreboard (lecture 06): four FLASH units, chunks of 16 bytes, windows
of 64, 300 updates, seed 0. The peak rate is 0.01, at which it learns more than at the scoreboard's
0.003; the scoreboard's own runs of the healthy model and of its local part keep no score on the
way, and no loss by place. What is stored, in bits per byte: the training losses, the loss on other
text after every 30th update, and after the last one by place in the window; besides, what the model
writes.
"""

import math
from dataclasses import replace

import torch
import torch.nn.functional as F

from flash_course.bench.stored import RESULTS
from flash_tutorial import LanguageModel, ModelConfig
from flash_tutorial.chunks import to_chunks
from flash_tutorial.corpora import IGNORE, evaluation_windows, load_corpus
from flash_tutorial.experiments import Arm, Experiment, command
from flash_tutorial.flash import FLASH
from flash_tutorial.mixing import mixed_chunk_attention
from flash_tutorial.training import TrainConfig, draw_batch, first_bytes, learning_rate_at

EVERY = 30  # updates between two scores on other text
MODEL = ModelConfig(
    "flash", dim=64, depth=4, qk_dim=32, chunk_size=16, max_length=64, norm="layer", start="paper"
)
SETTINGS = TrainConfig(steps=300, batch=16, length=64, learning_rate=1e-2, warmup=20, eval_bytes=0)
PROMPT = b"She had not "


class InclusiveFLASH(FLASH):
    """FLASH with the fault of lecture 05: a chunk's sum holds the chunk itself, so its tokens read
    later ones.
    """

    def mix(self, heads, v, mask, segment_ids):
        T, C = v.shape[1], self.chunk_size
        near = mixed_chunk_attention(
            *heads, v, chunk_size=C, causal=True, bias=self.bias, global_=False
        )
        q, k, v = (to_chunks(t, C) for t in (heads[2], heads[3], v))
        sums = (k.mT @ v).cumsum(1)  # not moved by a chunk: here is the leak
        tokens = C * torch.arange(1, sums.shape[1] + 1)[:, None, None]
        return near + (q @ (sums / tokens)).flatten(1, 2)[:, :T]


def inclusive():
    """The same model with the faulty unit; the class takes as options what the configuration has
    for FLASH.
    """
    options = dict(
        chunk_size=MODEL.chunk_size, qk_dim=MODEL.qk_dim, expansion=MODEL.expansion, norm=MODEL.norm
    )
    sizes = dict(dim=MODEL.dim, depth=MODEL.depth, max_length=MODEL.max_length, norm=MODEL.norm)
    return ModelConfig(InclusiveFLASH, unit_options=options, start="paper", **sizes)


# cause: (model, settings, bytes of the training text, targets one byte ahead)
CAUSES = {
    "healthy": (MODEL, SETTINGS, None, True),
    "local only": (replace(MODEL, global_=False), SETTINGS, None, True),
    "inclusive sum": (inclusive(), SETTINGS, None, True),
    "targets not shifted": (MODEL, SETTINGS, None, False),
    "rate too high": (MODEL, replace(SETTINGS, learning_rate=0.3, clip=None), None, True),
    "overfit": (MODEL, SETTINGS, 4000, True),
}


def bits_by_place(model, windows, shifted):
    """Bits per byte at each place of the window: ``(T,)``, and over all of them."""
    ids, targets = (torch.from_numpy(a) for a in windows[:2])
    nats, counts = torch.zeros(ids.shape[1], dtype=torch.double), (targets != IGNORE).sum(0)
    with torch.no_grad():
        for rows in torch.arange(len(ids)).split(64):
            x, y = ids[rows], targets[rows]
            read = x if shifted else y.clamp(min=0)
            logits = model(read)
            nats += (
                F.cross_entropy(logits.transpose(1, 2), y, ignore_index=IGNORE, reduction="none")
                .double()
                .sum(0)
            )
    return (nats / counts / math.log(2)).numpy(), float(nats.sum() / counts.sum() / math.log(2))


@torch.no_grad()
def write(model, seed, count=48):
    """What the model writes behind a prompt, one byte after the other, drawn from its
    probabilities.
    """
    generator, text = torch.Generator().manual_seed(seed), list(PROMPT)
    for _ in range(count):
        p = model(torch.tensor([text]))[0, -1].softmax(-1)
        text.append(int(torch.multinomial(p, 1, generator=generator)))
    return bytes(text[len(PROMPT) :]).decode("latin-1")


def make(arm, rate, seed, steps):
    """One run, as the package's loop does it (``training.train``), with a score every now and
    then.
    """
    model_config, settings, n_bytes, shifted = CAUSES[arm.name]
    corpus = load_corpus("austen")
    split, other = first_bytes(corpus.train, n_bytes), corpus.validation
    few, many = (
        evaluation_windows(first_bytes(other, n), settings.length) for n in (10_000, 100_000)
    )
    torch.manual_seed(settings.seed)
    model = LanguageModel(model_config).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01, fused=True
    )
    losses, validation = [], []
    for step in range(settings.steps):
        ids, targets = (torch.from_numpy(a) for a in draw_batch(split, settings, step, causal=True))
        optimizer.param_groups[0]["lr"] = learning_rate_at(step, settings)
        read = ids if shifted else targets
        loss = model.loss(read, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip or math.inf)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()) / math.log(2))
        if (step + 1) % EVERY == 0:
            validation.append(bits_by_place(model, few, shifted)[1])
    by_place, score = bits_by_place(model, many, shifted)
    return {
        "clip": settings.clip,
        "training_bytes": len(split.tokens),
        "bits_per_byte": round(score, 3),
        "losses": [round(x, 3) for x in losses],
        "validation": [round(x, 3) for x in validation],
        "by_place": [round(float(x), 3) for x in by_place],
        "writes": write(model, settings.seed),
    }


EXPERIMENT = Experiment(
    "curves",
    "What do six runs look like, of which five have something wrong?",
    arms=tuple(
        Arm(cause, rates=(settings.learning_rate,)) for cause, (_, settings, _, _) in CAUSES.items()
    ),
    steps=(SETTINGS.steps,),
    seeds=(SETTINGS.seed,),
    make=make,
    same_code=("789190e",),
    setting="The tiny model of lecture 06, T = 64, 300 updates, one seed, on an Intel Xeon.",
    meaning="For students to read in problem set 07: four of the faults leave marks of their own in the curves, and "
    "*local only* hardly one.",
    not_tried="Other seeds: nothing is compared here.",
)

if __name__ == "__main__":
    command(EXPERIMENT, RESULTS)

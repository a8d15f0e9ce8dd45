"""Every public name, used rightly: a type checker has nothing to say. Read by test_types, run by nobody."""

import numpy as np
import torch
from torch import nn

import flash_tutorial
from flash_course import check, hint, personal, predict, progress, reveal
from flash_tutorial import (
    FLASH,
    GAU,
    LanguageModel,
    MCTransformerBlock,
    ModelConfig,
    SequenceClassifier,
    Stack,
    State,
    TokenClassifier,
    TransformerBlock,
    check_unit,
    count_parameters,
    load_corpus,
    load_tokens,
    pack,
    pool,
)
from flash_tutorial.corpora import (
    IGNORE,
    START_ID,
    ByteTokenizer,
    Corpus,
    Labelled,
    LabelledTask,
    Split,
    evaluation_windows,
    first_bytes,
    load_austen,
    load_file,
    load_listops,
    load_novels,
    mask_spans,
    random_windows,
)
from flash_tutorial.experiments import (
    Arm,
    Compare,
    Experiment,
    Search,
    StoredRows,
    Trained,
    command,
    flops_of_update,
    matching,
    measured,
    over_windows,
    paired,
    repeated,
    report,
    run,
    welch,
)
from flash_tutorial.training import (
    Diverged,
    Evaluation,
    Run,
    TrainConfig,
    draw_batch,
    evaluate,
    learning_rate_at,
    new_optimizer,
    parts,
    train,
    train_step,
)


class Mine(FLASH):
    def __init__(self, dim: int, *, window: int = 3, causal: bool = False) -> None:
        super().__init__(dim, chunk_size=window, causal=causal)


unit: nn.Module = FLASH(64, chunk_size=16, causal=True)
units: list[nn.Module] = [
    GAU(64),
    TransformerBlock(64, heads=2),
    MCTransformerBlock(64),
    Mine(64, window=4),
]
config: ModelConfig = ModelConfig("flash", dim=32, depth=2, qk_dim=16, chunk_size=16)
own = ModelConfig(Mine, dim=32, unit_options={"window": 3})
paper: ModelConfig = ModelConfig.paper("c4", "flash_quad", context=512)
model: LanguageModel = LanguageModel(config)
stack: Stack = Stack(config)
n: int = count_parameters(model)
print(str(check_unit(unit)))
corpus: Corpus = load_corpus("austen", max_bytes=None)
tokens: Corpus = load_tokens(np.arange(100) % 7, 7)
split: Split = corpus.validation
first: Split = first_bytes(split, 100)
ids, targets = random_windows(split, 2, 8, np.random.default_rng(0))
inputs, hidden = mask_spans(ids, np.random.default_rng(0))
a, b, mask = evaluation_windows(first, 8)
text: str = ByteTokenizer().decode([65]) + str(IGNORE + START_ID)
settings = TrainConfig(steps=3, batch=2, length=16, learning_rate=1e-3)
rate: float = learning_rate_at(0, settings)
optimizer: torch.optim.Optimizer = new_optimizer(model, settings)
batch = parts(split, settings, 0, True, torch.device("cpu"))
loss, norm = train_step(model, optimizer, batch, 0, settings)
done: Run = train(config, settings, corpus=corpus, out="runs/x", progress=False)
score: Evaluation = evaluate(model, split, 16)
bits: float = score.bits_per_token
pooled: torch.Tensor = pool(torch.zeros(1, 2, 3))
lists: LabelledTask = load_listops(train=100, held_out=10)
texts: Labelled = load_novels(512).train
classifier = SequenceClassifier(ModelConfig.small_encoder(vocab_size=16), 10, pooling="first")
decided: torch.Tensor = classifier.loss(torch.zeros(2, 9), torch.zeros(2))
tagger = TokenClassifier(model, 10)
new: torch.Tensor = model.generate(torch.zeros(1, 2, dtype=torch.long), 3, temperature=0.5)
state: State = model.prefill(torch.zeros(1, 2, dtype=torch.long))[1]
beams: State = state.select([0, 0]).to(torch.bfloat16)
packed_ids: torch.Tensor = pack([[1, 2], [3]], align=2).ids
half: float | None = welch([1.0, 2.0], [2.0, 3.0]).half
gap = paired([1.0, 2.0], [2.0, 3.0]).mean
cost: int = flops_of_update(nn.Linear(2, 2), TrainConfig(batch=4))
noise = over_windows([20.0, 22.0], [24.0, 25.0], [10, 10]).mean
experiment = Experiment(
    "mine",
    "?",
    arms=(Arm("a", config, rates=(1e-3,)), Arm("b", Trained("austen-flash"), rates=(1e-3,))),
    compare=(Compare("a", "a"),),
    search=Search(steps=3),
)
page: str = report(experiment, StoredRows(experiment, "results").load())
rows = matching([], arm="a")
found = measured(rows, "bits_per_byte")
run(experiment, "results")
command(experiment, "results")
off: float = repeated(experiment, rows[0])
version: str = flash_tutorial.__version__
numbers = personal("05.1")
check("05.2", print)
hint("05.2")
predict("05.a", 8)
reveal("05.a", 8.0, "ms")
progress("05")
austen: Corpus = load_austen()
of_mine: Corpus = load_file("mine.txt", max_bytes=1000)
drawn = draw_batch(split, settings, 0, True)
step: int | None = Diverged("the loss is nan", 3).step

"""Which settings do the models of the package want, by Muon from a start by the width? All of it is chosen on *Emma*.

Both models then are trained on all four novels with what was chosen here, and are scored once on two novels that
chose nothing: `timings/ship_model.py`.
"""

import math
from dataclasses import replace

from temperature import nats_by_temperature

from flash_course.bench.stored import RESULTS
from flash_tutorial import ModelConfig
from flash_tutorial.corpora import Split, load_corpus
from flash_tutorial.experiments import Arm, Experiment, Search, command, matching
from flash_tutorial.training import first_bytes

T = 1024
MODELS = {  # 1.94 million parameters each, 3.9 MB in half precision
    "flash": ModelConfig("flash", dim=192, depth=8, chunk_size=256, max_length=T),
    "transformer++": ModelConfig(
        "transformer++", dim=192, depth=4, heads=3, ff_dim=560, max_length=T
    ),
}
RATES = (5e-3, 1e-2, 2e-2)
SHORT, LONG = 500, 5000  # updates that choose a rate, and the temperature
DROPOUT = {"flash": 0.2, "transformer++": 0.1}  # by the runs of 7,000 updates of `shipping`
DECAY = 0.1  # `shipping` saw that it hardly matters
TRAIN = dict(
    batch=4,
    length=T,
    eval_bytes=0,
    optimizer="muon",
    weight_decay=DECAY,
    dtype="bfloat16",
    compile=True,
)
CHOSEN_BY = "Emma"


def without_the_choosing_text():
    """The corpus with three novels to train on, and the fourth in place of the one that is reported."""
    corpus = load_corpus("austen")
    novels = {title: corpus.train.document(i) for i, title in enumerate(corpus.train.titles)}
    kept = [title for title in novels if title != CHOSEN_BY]
    train = Split.from_documents([novels[title] for title in kept], kept)
    choosing = Split.from_documents([novels[CHOSEN_BY]], [CHOSEN_BY])
    return replace(corpus, name=f"austen without {CHOSEN_BY}", train=train, validation=choosing)


def measure(model, corpus):
    """Bits a byte by which all choices are made, at the temperature that suits the model best, and as it is."""
    split = first_bytes(corpus.validation, 400_000)
    bits = {
        temperature: nats / math.log(2) / split.n_bytes
        for temperature, nats in nats_by_temperature(model, split, T).items()
    }
    best = min(bits, key=bits.get)
    return {
        "bits_per_byte": round(bits[best], 4),
        "temperature": best,
        "bits_as_it_is": round(bits[1.0], 4),
    }


def arms():
    """First the rate, then a run as long as that of the model that ships, which has its temperature."""
    for name, config in MODELS.items():
        yield Arm(
            name,
            replace(config, dropout=DROPOUT[name]),
            RATES,
            settings={"dropout": DROPOUT[name]},
            steps=(LONG,),
            seeds=(0,),
            search=Search(steps=SHORT, seeds=(100,)),
        )


def numbers(rows):
    """Of the long runs what the temperature is worth to each, and FLASH minus Transformer++, in bits a byte."""
    ours, theirs = (matching(rows, arm=name, steps=LONG)[0]["measures"] for name in MODELS)
    return {
        "temperature_flash": f"{ours['bits_as_it_is'] - ours['bits_per_byte']:.3f}",
        "temperature_transformer": f"{theirs['bits_as_it_is'] - theirs['bits_per_byte']:.3f}",
        "flash_minus_transformer": f"{ours['bits_per_byte'] - theirs['bits_per_byte']:+.3f}",
    }


EXPERIMENT = Experiment(
    "package_models",
    "Which settings do the models of the package want, by Muon?",
    arms=tuple(replace(arm, corpus=without_the_choosing_text) for arm in arms()),
    train=TRAIN,
    measure=measure,
    numbers=numbers,
    same_code=("cbdf2396",),
    setting="1.94 million parameters, T = 1,024, 4,096 bytes an update, Muon, bfloat16, compiled. Three "
    "novels are trained on; 500 updates choose the rate, 5,000 the temperature, by the first 400,000 bytes of *Emma*, "
    "each model at the temperature that suits it; one seed. Dropout and decay are those that `shipping` chose.",
    meaning="Both ask for the same temperature, 1.24, which is worth {temperature_flash} bits a byte to FLASH and "
    "{temperature_transformer} to Transformer++: after nine times through their text both are too sure of "
    "themselves. On *Emma* FLASH minus Transformer++ is {flash_minus_transformer}, with one seed, which "
    "settles nothing. Trained as long on all four novels, both are behind the models that ship, which had "
    "11,000 updates by AdamW and take their temperature from here ([models](#models)).",
    not_tried="Another dropout, by Muon; more seeds; other sizes; a rate of its own for what is no matrix.",
)

if __name__ == "__main__":
    command(EXPERIMENT, RESULTS)

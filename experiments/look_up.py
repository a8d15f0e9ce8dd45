"""Which part of FLASH keeps it from learning to look up what stood before, as Transformer++ does in `race_short`?

All have as many updates, so that a slow part is not blamed for being slow.
"""

from functools import partial

import torch
from gate import load_sources
from race_short import TOKENS_AN_UPDATE, TRAIN, T, measure
from rivals import with_larger_gamma, with_one_map, with_own_maps, with_turned_keys

from flash_course.bench.stored import RESULTS
from flash_tutorial import LanguageModel, ModelConfig
from flash_tutorial.experiments import Arm, Compare, Experiment, command, matching
from flash_tutorial.experiments.tables import markdown

UPDATES = 1345  # those of FLASH in `race_short`
RATE = 2e-2  # what Transformer++ wants there, and at which FLASH is level with its best
FLASH = {"architecture": "flash"}
QUAD = {"architecture": "flash_quad"}
SOFTMAX = QUAD | {"attention": "softmax"}
TRANSFORMER = {"architecture": "transformer++"}
one_map_turned = partial(with_turned_keys, made_by=with_one_map)
larger_gamma_turned = partial(with_turned_keys, made_by=with_larger_gamma)
MODELS = {  # name -> what builds it, its configuration
    "FLASH": (LanguageModel, FLASH),
    "FLASH, own maps": (with_own_maps, FLASH),
    "FLASH-Quad, own maps": (with_own_maps, QUAD),
    "FLASH-Quad, softmax": (LanguageModel, SOFTMAX),
    "FLASH-Quad, softmax, turned keys": (with_turned_keys, SOFTMAX),
    "FLASH-Quad, softmax, larger gamma": (with_larger_gamma, SOFTMAX),
    "FLASH-Quad, softmax, larger gamma, turned keys": (larger_gamma_turned, SOFTMAX),
    "FLASH-Quad, softmax, one map": (with_one_map, SOFTMAX),
    "FLASH-Quad, softmax, one map, turned keys": (one_map_turned, SOFTMAX),
    "FLASH-Quad, softmax, own maps": (with_own_maps, SOFTMAX),
    "Transformer++": (LanguageModel, TRANSFORMER),
    "Transformer++, one head": (LanguageModel, TRANSFORMER | {"heads": 1}),
}


def build(name, seed):
    """A model at its start."""
    torch.manual_seed(seed)
    made_by, options = MODELS[name]
    return made_by(ModelConfig(vocab_size=2049, tokens=2048, max_length=T, **options))


def tables(rows):
    """By model: bits a late token by seed, and what the tokens farther back than 256 save."""
    lines = []
    for name in MODELS:
        runs = sorted(matching(rows, arm=name), key=lambda row: row["seed"])
        of = [row["measures"] for row in runs]
        bits = ", ".join(f"{run['bits_per_late_token']:.3f}" for run in of)
        saved = ", ".join(f"{run['saved_over_256'][0]:+.3f}" for run in of)
        if runs:
            lines.append([name, bits, saved])
    return markdown(["model", "bits a late token, by seed", "saved over 256"], lines)


EXPERIMENT = Experiment(
    "look_up",
    "Which part of FLASH keeps it from learning to look up what stood before?",
    arms=tuple(Arm(name, partial(build, name), (RATE,), corpus=load_sources) for name in MODELS),
    train=TRAIN | {"batch": TOKENS_AN_UPDATE // T, "length": T},
    steps=(UPDATES,),
    measure=measure,
    same_code=("00b85be0", "09f038b3", "402d7227", "a114c2d3", "a27c55ec", "ef38d764"),
    score="bits_per_late_token",
    compare=(
        Compare("FLASH, own maps", "FLASH", "flash_maps"),
        Compare("FLASH-Quad, softmax, own maps", "FLASH-Quad, softmax", "softmax_maps"),
        Compare("FLASH-Quad, softmax, own maps", "FLASH-Quad, softmax, one map", "one_map"),
        Compare("FLASH-Quad, softmax, one map", "FLASH-Quad, softmax", "one_map_gains"),
        Compare("FLASH-Quad, softmax, turned keys", "FLASH-Quad, softmax", "turned"),
        Compare("FLASH-Quad, softmax, larger gamma", "FLASH-Quad, softmax", "larger_gamma"),
        Compare(
            "FLASH-Quad, softmax, larger gamma, turned keys",
            "FLASH-Quad, softmax, turned keys",
            "larger_gamma_turned",
        ),
        Compare("FLASH-Quad, softmax, one map", "FLASH-Quad, softmax, larger gamma", "matrix"),
        Compare(
            "FLASH-Quad, softmax, one map, turned keys",
            "FLASH-Quad, softmax, larger gamma, turned keys",
            "matrix_behind_turn",
        ),
        Compare(
            "FLASH-Quad, softmax, one map, turned keys",
            "FLASH-Quad, softmax, one map",
            "one_map_turned",
        ),
        Compare(
            "FLASH-Quad, softmax, own maps",
            "FLASH-Quad, softmax, one map, turned keys",
            "own_maps_over_turned",
        ),
        Compare("FLASH-Quad, own maps", "FLASH-Quad, softmax, own maps", "relu"),
        Compare("FLASH-Quad, softmax", "FLASH", "quad_softmax"),
        Compare("FLASH-Quad, softmax, own maps", "FLASH, own maps", "quad_softmax_maps"),
        Compare("Transformer++, one head", "Transformer++", "head"),
    ),
    setting="As `race_short`, but with 1,345 updates and a rate of 0.02 for all. *Own maps*: a matrix for each query "
    "and key in place of gamma; all of them read the same base. *One map*: gamma, behind one matrix for both. *Larger "
    "gamma*: gamma alone, drawn so that scores begin as large as with own maps. *Turned keys*: the key's channels "
    "stand one further on than the query's, without a parameter more.",
    tables=tables,
    meaning="Two changes matter in FLASH and FLASH-Quad, at the one rate of 0.02: how queries and keys are made, "
    "and chunks or relu². What Transformer++ of one head lacks is open.\n\n"
    "- *gamma*: FLASH-Quad with softmax has not learned to look up after these updates.\n"
    "- *own maps*: with a matrix for each query and key it has, with every seed, which changes it by "
    "{softmax_maps} bits a late token. A quarter of that is saved by tokens farther back than 256. With relu²"
    " it has too (one seed).\n"
    "- *one map*: the same matrix for both changes it by {one_map_gains}, and two in place of one by "
    "{one_map} more.\n"
    "- *turned keys*: without RoPE, whatever gamma says of the pair (i, j) it says of (j, i) as well; turned "
    "keys have a direction, without a parameter more. Behind one map the turn changes the model by "
    "{one_map_turned}, and it looks up with every seed, so it needs no second matrix for that. Own maps minus"
    " that is {own_maps_over_turned}: whether a second matrix adds something is open in bits; tokens farther "
    "back than 256 save it 0.03 more. Behind gamma alone no seed looks up, and whether the turn helps is "
    "open, {turned}.\n"
    "- *larger gamma*: *one map* draws gamma larger than gamma alone begins, so that scores begin as with own"
    " maps. That alone changes the model by {larger_gamma}, and it does not look up; one map minus larger "
    "gamma is {matrix}, which was first asked when the runs had been seen. With turned keys one seed of three"
    " looks up, just, where with one map all do; there one map minus larger gamma is {matrix_behind_turn}: "
    "open, for one seed is far behind.\n"
    "- *FLASH*: own maps change it by {flash_maps}; what is farther back than 256 saves it 0.01, and whether "
    "it looks up inside its chunks of 128 was not measured. Without chunks and relu² it gains too, "
    "{quad_softmax} with gamma and {quad_softmax_maps} with own maps; which change is worth more is open.\n"
    "- *one head*: two Transformer blocks of one head each have not learned it (one seed).\n\n"
    "Own maps add 5 to 9% of parameters, and Muon trains them where AdamW trains gamma.",
    not_tried="Turned keys in FLASH; a matrix that AdamW trains; Transformer++ of two heads with so few updates; "
    "rates of their own; longer runs; deeper and wider models, as the paper's; more heads in GAU.",
)

if __name__ == "__main__":
    command(EXPERIMENT, RESULTS)

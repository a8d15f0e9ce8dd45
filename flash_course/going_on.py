"""What a run of the command is made of: the settings that were given, and those of the run that goes on."""

import os
from contextlib import nullcontext
from pathlib import Path

from flash_tutorial.config import ARCHITECTURES, HYBRID, ModelConfig, TrainConfig
from flash_tutorial.settings import rules

# What a new run takes in place of ``TrainConfig``, which has the paper's optimizer: the best by the search of
# experiments/optimizers.py, in as many updates as take five minutes of one core.
RECIPE = {"optimizer": "muon", "learning_rate": 5e-3, "batch": 4, "steps": 3400}
BY_SCRIPT = "go on from the script that began the run, by the argument resume of train"


def read_configs(args):
    """The two configurations: what was given, over what a run that goes on had, over the defaults."""
    from flash_tutorial.model import find_config
    from flash_tutorial.training.run_folder import refuse_fewer_steps

    model, train = (
        {name: value for name, value in vars(args).items() if name in rules(config)}
        for config in (ModelConfig, TrainConfig)
    )
    if args.objective == "causal":
        model |= {"causal": True, "vocab_size": 256}
    elif args.objective == "masked":
        model |= {"causal": False, "vocab_size": 257}
    if args.tokenizer:
        model |= ids_of(args)
    if found := resumed(args):
        path, saved = found
        refuse_own(path, saved["model_config"])
        model = saved["model_config"] | model
        train = saved["train_config"] | train
        # before a warm-up that fits into none so few
        refuse_fewer_steps(train["steps"], saved["step"])
        return ModelConfig.from_dict(model, where=path), TrainConfig.from_dict(train, where=path)
    train = RECIPE | train
    if not train.get("start_from"):
        start = {"max_length": train.get("length", TrainConfig.length)}
        return ModelConfig(**start | model), TrainConfig(**train)
    start = find_config(train["start_from"]).to_dict()
    length = train.setdefault("length", start["max_length"])
    # a shorter length takes nothing from the model
    start["max_length"] = max(length, start["max_length"])
    return ModelConfig.from_dict(start | model), TrainConfig(**train)


def ids_of(args):
    """The sizes of a model that reads the tokens of ``--tokenizer``."""
    from flash_tutorial.corpora.vocabulary import vocabulary_of

    if getattr(args, "start_from", None):
        raise ValueError(
            f"{args.start_from} has a vocabulary of its own: leave --tokenizer out, or begin anew without --start-from"
        )
    vocabulary = vocabulary_of(args.tokenizer)
    causal = args.objective != "masked"
    return {"tokens": vocabulary.tokens, "vocab_size": vocabulary.ids(causal)}


def refuse_own(path, config):
    """A run goes on by the command if the command can build its model."""
    name = config.get("model_class") or config.get("architecture", "flash")
    if name not in (*ARCHITECTURES, HYBRID):
        why = f"is of a run of your own class {name}, which the command cannot build"
        raise ValueError(f"{path} {why}: {BY_SCRIPT}")


def tokens_of_run(args, model, train):
    """The text in the ids of ``--tokenizer``, or of the run that goes on; None where training finds it by its name."""
    if model.tokens is None:
        return None
    from flash_tutorial.corpora import load_corpus
    from flash_tutorial.corpora.kept import encoded
    from flash_tutorial.corpora.vocabulary import text_of
    from flash_tutorial.model import find_vocabulary

    if not (found := resumed(args)):
        return encoded(load_corpus(train.corpus), args.tokenizer) if args.tokenizer else None
    path, saved = found
    folder = path if path.is_dir() else path.parent
    vocabulary = find_vocabulary(folder, model.tokens)
    if not vocabulary.readable:
        raise ValueError(
            f"{path} was trained on tokens without a tokenizer, so no text gives them: {BY_SCRIPT}"
        )
    if args.tokenizer and text_of(args.tokenizer) != vocabulary.tokenizer:
        raise ValueError(
            f"{args.tokenizer} is another tokenizer than that of {path}: leave --tokenizer out, or begin anew (--out)"
        )
    corpus = encoded(load_corpus(train.corpus), vocabulary)
    now = {
        "train_sha256": corpus.train.sha256,
        "validation_sha256": corpus.validation.sha256,
    }
    if not now.items() <= saved["text"].items():
        other = f"was trained on other tokens than its tokenizer makes of {train.corpus!r}"
        raise ValueError(f"{path} {other}: give their text (--corpus), or {BY_SCRIPT}")
    return corpus


def resumed(args):
    """The ``saved_settings`` of the run that is to go on; None where none is asked to, or nothing is saved."""
    if not args.resume or not args.out:
        return None
    return saved_settings(args.out)


def saved_settings(out):
    """The newest values with the settings of the run in a folder, and where they stand: ``(path, values)`` or None."""
    from flash_tutorial.training.checkpoints import last_checkpoint
    from flash_tutorial.training.lock import locked
    from flash_tutorial.training.run_folder import read_result

    out = Path(out)
    if not out.is_dir():
        return None
    held = nullcontext()
    # of several processes a quicker one may have begun the run already
    if "WORLD_SIZE" not in os.environ:
        held = locked(out, say=lambda _: None)  # another run would change what is read
    with held:
        if found := last_checkpoint(out, say=lambda _: None):
            return found
        result = read_result(out)
    return result and (out / "result.json", result)

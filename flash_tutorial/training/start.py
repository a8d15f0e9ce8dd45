"""What a run begins with: its arguments, the model, a text in the model's ids, and what is recorded."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from ..config import ARCHITECTURES, FORMAT, ModelConfig, TrainConfig
from ..corpora import Corpus, load_corpus
from ..corpora.vocabulary import Vocabulary
from ..errors import MASK_BY_NAME, check_call, short
from ..model import LanguageModel, count_parameters, find_vocabulary, load_weights
from ..settings import before_they_existed
from ..stack import Stack
from .devices import Group, describe_device, pick_dtype
from .score import refuse_other_tokenizer

FEW = 1000  # tokens of a validation text


def check_arguments(given, config, out, callback):
    """Refuse what is of another kind than ``train`` asks for."""
    if isinstance(given, type):
        name = given.__name__
        raise ValueError(
            f"the model is the class {name}: give an object of it, or ModelConfig({name}) if it is a unit"
        )
    if not isinstance(given, ModelConfig | nn.Module):
        example = "flash"
        if isinstance(given, str) and given in ARCHITECTURES:
            example = given
        raise ValueError(
            f"the model is {short(given)}: expected a ModelConfig, as ModelConfig({example!r}), or a model"
        )
    if not isinstance(config, TrainConfig):
        raise ValueError(
            f"the settings are {short(config)}: expected a TrainConfig, as TrainConfig(steps=300)"
        )
    if out is not None and not isinstance(out, str | os.PathLike):
        raise ValueError(f"out={short(out)}: expected the path of a folder, or None")
    if callback is not None and not callable(callback):
        raise ValueError(f"callback={short(callback)}: expected a function of a row, or None")
    if isinstance(given, nn.Module):
        check_model(given, config)


def check_model(model, config):
    """Refuse a module that cannot be trained, or settings that do not go with a model that is there already."""
    name = type(model).__name__
    if hasattr(model, "_orig_mod"):
        raise ValueError(
            f"the model is compiled ({name}): give the model itself, and TrainConfig(compile=True)"
        )
    if not callable(getattr(model, "loss", None)):
        asked = (
            "loss(ids, targets, mask=None) and a call (ids, mask=None) that gives logits (B, T, N)"
        )
        raise ValueError(
            f"{name} has no method loss: expected a LanguageModel, or a model of your own with {asked}"
        )
    said = f"{name} cannot be called as loss(ids, targets, mask=None)"
    check_call(model.loss, said, MASK_BY_NAME, None, None, mask=None)
    said = f"{name} cannot be called as a call (ids, mask=None)"
    check_call(model.forward, said, MASK_BY_NAME, None, mask=None)
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(
            f"{name} has no parameter that requires a gradient: there is nothing to train"
        )
    if config.start_from:
        raise ValueError(
            f"start_from={config.start_from!r} beside a model, which starts as it is: give one of the two"
        )


def last_update(stop_at, config, found):
    """The number of updates after which the loop ends."""
    if stop_at is None:
        return config.steps
    done = found.values["step"] if found else 0
    if (
        not isinstance(stop_at, int)
        or isinstance(stop_at, bool)
        or not max(1, done) <= stop_at <= config.steps
    ):
        why = f", since {done} updates are done already" if done else ""
        raise ValueError(
            f"stop_at={stop_at!r}: expected an integer from {max(1, done)} to {config.steps}{why}"
        )
    return stop_at


# ---------------------------------------------------------------- the text
def find_corpus(corpus, config):
    """The corpus that was handed in, or the one of a name."""
    if isinstance(corpus, Corpus):
        return corpus
    if not isinstance(corpus, str | Path | None):
        made = "load_tokens(array, vocab_size) makes one of an array of ids"
        raise ValueError(
            f"corpus is a {type(corpus).__name__}: expected a Corpus, or the name or path of one; {made}"
        )
    if corpus is None:
        corpus = config.corpus
    return load_corpus(corpus)


def agree(given, corpus, start_from):
    """The configuration (or model) with the vocabulary of the corpus, and the corpus: text is encoded for a model that
    reads tokens."""
    config = getattr(given, "config", given)
    if not isinstance(config, ModelConfig) or config.tokens == corpus.vocabulary.tokens:
        return given, corpus
    if corpus.vocabulary.tokens is None:
        vocabulary = getattr(given, "vocabulary", None)
        if vocabulary is None and start_from:
            vocabulary = find_vocabulary(start_from, config.tokens)
        elif vocabulary is None:
            vocabulary = Vocabulary(config.tokens)
        return given, corpus.encoded(vocabulary)
    if config.tokens is None:
        refuse_bytes_already_read(given, corpus.vocabulary)
        config = replace(config, tokens=corpus.vocabulary.tokens)
    if isinstance(given, nn.Module):
        given.config = config
        if isinstance(getattr(given, "stack", None), Stack):
            given.stack.config = config
        return given, corpus
    return config, corpus


def refuse_bytes_already_read(model, vocabulary):
    """Refuse to go on with a model of bytes on a text of tokens, whose ids mean something else."""
    if getattr(model, "trained_length", None) is not None:
        tokens = vocabulary.tokens
        ids = vocabulary.ids(model.config.causal)
        begin = f"begin anew with ModelConfig(tokens={tokens}, vocab_size={ids})"
        raise ValueError(
            f"the model was trained on bytes, the corpus holds {tokens} tokens: give it a text, or {begin}"
        )


def share_tokenizer(model, corpus):
    """The model keeps the tokenizer of its text, and refuses that of another."""
    if isinstance(model, LanguageModel):
        refuse_other_tokenizer(model, corpus.vocabulary)
        known = corpus.vocabulary.tokenizer or model.vocabulary.tokenizer
        model.vocabulary = Vocabulary(model.config.tokens, known)


# ---------------------------------------------------------------- the model
def describe_model(model):
    """A model in a few words."""
    if not isinstance(model, LanguageModel):
        return f"{type(model).__name__}, a model of your own"
    kind = getattr(model.config.architecture, "__name__", model.config.architecture)
    return f"{kind}, D = {model.config.dim}, {model.config.depth} units"


def describe_run(model, config, corpus, device, group=Group()):  # noqa: B008 (it never changes)
    """What decides the weights and the score, as plain values."""
    parameters = count_parameters(model)
    # each would measure for itself
    dtype = group.share(str(pick_dtype(device, config.dtype, parameters)[0]))
    machine = describe_device(device, config.dtype, parameters)
    if group.size > 1:
        machine += f", {group.size} processes"
    return {
        "model_config": describe_config(model),
        "train_config": config.to_dict(),
        "text": {
            "corpus": corpus.name,
            "train_sha256": corpus.train.sha256,
            "validation_sha256": corpus.validation.sha256,
        },
        "number_format": dtype.removeprefix("torch."),
        "machine": machine,
    }


def earlier_values():
    """What a key means that is missing in a run's files, since the option did not exist yet."""
    return {
        "model_config": before_they_existed(ModelConfig),
        "train_config": before_they_existed(TrainConfig),
    }


def describe_config(model):
    """A model's configuration as plain values; without one of ours, its class and the shapes of its weights."""
    if isinstance(getattr(model, "config", None), ModelConfig):
        return json.loads(json.dumps(model.config.to_dict()))
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    return {
        "format": FORMAT,
        "model_class": f"{type(model).__module__}.{type(model).__qualname__}",
        "weights": shapes,
    }


def restored(given, start):
    """A model with trained weights: the one that was handed in, or one of a configuration."""
    if not isinstance(given, nn.Module):
        return load_model(start, given)
    load_weights(given, start)
    return given


def load_model(start, config):
    """A trained model to go on with, with a class of the user's where the configuration has one.

    ``max_length`` may be another one where nothing in it depends on that, dropout and checkpoint always."""
    custom = None if isinstance(config.architecture, str) else config.architecture
    model = LanguageModel.from_pretrained(start, architecture=custom)
    there = model.config.to_dict()
    asked = config.to_dict()
    bound = model.config.bound_by_length()
    for name in sorted({*asked, *there} - {"dropout", "checkpoint"}):  # which no weight depends on
        if there.get(name) != asked.get(name) and (name != "max_length" or bound):
            why = f", since {bound}" if name == "max_length" else ""
            but = f"but {name}={asked.get(name)!r} is asked for: give the same value{why}"
            raise ValueError(f"{start} has {name}={there.get(name)!r}, {but}")
    model.config = config
    model.stack.config = config
    model.stack.drop.p = config.dropout
    return model


def say_if_short(corpus, config, say):
    """A text of a few lines trains and is scored like any other, and that says nothing."""
    unit = corpus.vocabulary.unit
    longest = int(np.diff(corpus.train.offsets).max())
    n = len(corpus.validation.tokens)
    if longest < config.length:
        say(
            f"the longest document has {longest:,} {unit}s, fewer than a window of {config.length}: the rest is empty"
        )
    if config.eval_bytes != 0 and n < FEW:
        say(
            f"the validation text has {n:,} {unit}s: a score over fewer than {FEW:,} says little, give a longer text"
        )

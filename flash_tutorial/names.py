"""Names from elsewhere: who writes ``FLASH(64, group_size=16)`` is told that it is called ``chunk_size`` here.

``ours`` is put before a class or a function. It looks at the names of what is given, and leaves the signature as it
is, for ``help`` and for type checkers.
"""

import difflib
import functools
import inspect
from typing import TypeVar

from .errors import short

T = TypeVar("T")

# Ours, and what others call it: Hugging Face, nanoGPT, x-transformers, FLASH-pytorch, Lightning, the paper's letters.
# A name may stand in several rows: of these, the option is meant that the class at hand has.
CALLED = {
    # a unit
    "dim": "hidden_size d_model n_embd embed_dim embedding_dim embed_size emb_dim model_dim hidden_dim hidden n_embed "
    "embedding_size d_embed width channels features in_features input_dim input_size D",
    "chunk_size": "group_size block_size chunk_length chunk_len chunk window window_size segment_size "
    "local_attn_window local_window_size attention_window block_len bucket_size C",
    "expansion": "expansion_factor expand expansion_ratio expand_factor expand_ratio hidden_mult",
    "qk_dim": "query_key_dim key_dim d_qk dim_qk qk_size attention_key_size head_dim dim_head d_k dim_key s S",
    "causal": "is_causal autoregressive is_decoder unidirectional decoder",
    "norm": "norm_type normalization norm_layer layer_norm normalization_type use_scalenorm use_layernorm use_rmsnorm",
    "bias": "position_bias pos_bias rel_pos_bias relative_position_bias rotary_pos_emb use_rotary "
    "position_embedding_type",
    "bias_length": "max_position max_position_embeddings max_seq_len max_length seq_len n_positions n_ctx block_size "
    "max_len sequence_length seq_length context_length length",
    "attention": "attn_fn attention_fn attention_kind attention_type attn_type attn_activation laplace_attn_fn",
    "length_scale": "scale softmax_scale attention_scale n",
    "local": "use_local local_attention quadratic local_part no_local",
    "global_": "use_global global_attention linear_attention global_part no_global global",
    "combine": "reduction reduce aggregate",
    "backend": "kernel implementation attn_implementation use_triton use_kernel flash_attention",
    "heads": "n_head n_heads num_heads nhead num_attention_heads attn_heads n_attention_heads dim_head head_dim H",
    "ff_dim": "intermediate_size n_inner d_ff ffn_dim dim_feedforward ff_size ff_hidden mlp_dim hidden_dim ff_mult "
    "d_inner mlp_ratio d_hidden ffn_hidden_size inner_dim F",
    "glu": "ff_glu gated use_glu ff_swish gated_mlp geglu",
    "rope": "rotary_pos_emb use_rotary rotary use_rope rotary_emb",
    # a model
    "architecture": "model_type arch model kind unit layer unit_class layer_type block block_type",
    "vocab_size": "num_tokens n_vocab vocab n_tokens ntoken vocabulary_size num_embeddings n_token N",
    "depth": "n_layer n_layers num_layers num_hidden_layers layers num_blocks n_blocks n_block num_layer L",
    "max_length": "block_size seq_len max_seq_len n_positions n_ctx max_position_embeddings context_length max_len "
    "sequence_length seq_length context_size context max_sequence_length bias_length T",
    "positions": "position_embedding_type pos_emb pos_encoding positional_encoding position_embedding "
    "use_abs_pos_emb absolute_position_embedding",
    "start": "init init_method initialization initialisation init_type",
    "init_std": "initializer_range init_scale initializer_std weight_std std",
    "embedding_std": "emb_std embed_std embedding_init_std",
    "dropout": "attn_dropout ff_dropout emb_dropout resid_pdrop embd_pdrop attn_pdrop hidden_dropout_prob "
    "attention_dropout dropout_rate p_dropout residual_dropout attention_probs_dropout_prob drop p",
    "checkpoint": "gradient_checkpointing use_checkpoint activation_checkpointing grad_checkpoint use_checkpointing",
    "tied": "tie_word_embeddings tie_embedding tie_embeddings tie_weights weight_tying tied_embeddings",
    "unit_options": "layer_options kwargs unit_kwargs model_kwargs options",
    # its training
    "steps": "max_iters max_steps num_steps iters iterations n_steps num_iterations train_steps num_training_steps "
    "updates epochs num_epochs num_train_epochs max_epochs n_epochs epoch total_steps training_steps",
    "batch": "batch_size per_device_train_batch_size train_batch_size micro_batch_size bs minibatch batch_sz B",
    "length": "block_size seq_len max_seq_len sequence_length seq_length context_length max_length max_len "
    "context_size window context n_ctx T",
    "learning_rate": "lr max_lr peak_lr lr_max base_lr rate",
    "warmup": "warmup_steps warmup_iters num_warmup_steps warmup_ratio n_warmup lr_warmup",
    "clip": "grad_clip max_grad_norm gradient_clip_val clip_grad clip_grad_norm gradient_clip grad_norm max_norm",
    "accumulate": "gradient_accumulation_steps grad_accum accumulate_grad_batches grad_accum_steps accumulation_steps "
    "gradient_accumulation",
    "optimizer": "optim optimiser optim_type optimizer_type optimizer_name",
    "weight_decay": "wd decay l2 weight_decay_rate",
    "seed": "random_seed random_state manual_seed rng_seed",
    "corpus": "dataset data text train_dataset dataset_name train_data data_path",
    "dtype": "precision mixed_precision fp16 bf16 amp torch_dtype autocast",
    "compile": "torch_compile use_compile compiled",
    "start_from": "init_from pretrained checkpoint_path load_from model_name_or_path pretrained_model",
    "eval_bytes": "eval_iters eval_tokens eval_size max_eval_samples",
    "eval_every": "eval_interval eval_steps evaluation_steps val_every validate_every eval_freq val_check_interval "
    "evaluate_every log_interval",
    "checkpoint_every": "save_steps save_interval checkpoint_interval save_every save_freq ckpt_every",
    # train, evaluate and generate
    "out": "out_dir output_dir save_dir folder run_dir logdir log_dir path",
    "resume": "resume_from_checkpoint resume_from resume_training",
    "progress": "verbose disable_tqdm show_progress progress_bar",
    "callback": "callbacks on_step hook",
    "train_config": "args config training_args settings train_settings",
    "mask": "attention_mask padding_mask key_padding_mask src_key_padding_mask",
    "max_new_tokens": "n_tokens num_tokens max_length length new_tokens max_tokens n",
    "temperature": "temp",
    "top_k": "filter_thres topk k",
    "top_p": "nucleus p topp",
    "stop_id": "eos_token_id eos_token eos_id stop_token stop eos",
    "generator": "seed rng random_state",
    "ids": "input_ids prompt tokens idx prompts",
    # a test of a unit, and an experiment
    "lengths": "length seq_len seq_lens sequence_length max_length T",
    "rates": "rate lr lrs learning_rate learning_rates",
    "seeds": "seed random_seeds n_seeds",
}
# What is another number than ours of that name: (foreign, ours) -> how they go together.
EPOCH = "steps counts updates: an epoch has len(text) / (batch * length) of them"
MEANT = {
    ("dim_head", "heads"): "heads = dim / dim_head",
    ("head_dim", "heads"): "heads = dim / head_dim",
    ("ff_mult", "ff_dim"): "ff_dim = ff_mult * dim",
    ("mlp_ratio", "ff_dim"): "ff_dim = mlp_ratio * dim",
    ("warmup_ratio", "warmup"): "warmup = warmup_ratio * steps",
    ("eval_iters", "eval_bytes"): "it counts bytes, or tokens",
    ("epochs", "steps"): EPOCH,
    ("num_epochs", "steps"): EPOCH,
    ("n_epochs", "steps"): EPOCH,
    ("max_epochs", "steps"): EPOCH,
    ("num_train_epochs", "steps"): EPOCH,
    ("seed", "generator"): "generator = torch.Generator().manual_seed(seed)",
    ("max_length", "max_new_tokens"): "max_new_tokens = max_length - ids.shape[1]",
}

KNOWN = {}  # what was put behind ``ours``, by name: the names that it takes


def ours(thing: T) -> T:
    """Make a class, or a function, answer a name that it does not have with a ValueError that says ours.

    A class decorator changes ``__init__`` and nothing else: a subclass may take what it likes.

    >>> from flash_tutorial import ModelConfig
    >>> ModelConfig(n_layer=4)
    Traceback (most recent call last):
    ValueError: n_layer=4: ModelConfig has no such option, did you mean depth?
    """
    if isinstance(thing, type):
        thing.__init__ = _asking(thing.__init__, thing.__name__)
        return thing
    return _asking(thing, thing.__name__)


def _asking(function, name):
    parameters = list(inspect.signature(function).parameters)
    takes = frozenset(parameters)
    KNOWN[name] = [parameter for parameter in parameters if parameter != "self"]

    @functools.wraps(function)
    def asked(*given, **named):
        if not named.keys() <= takes:
            foreign = next(key for key in named if key not in takes)
            if is_of_own_class(foreign, given, named, takes):
                shown = f"unit_options={{{foreign!r}: {short(named[foreign])}}}"
                raise ValueError(f"{foreign}: what your class takes is given by {shown}")
            raise ValueError(refused(foreign, named[foreign], name))
        return function(*given, **named)

    return asked


def is_of_own_class(foreign, given, named, takes):
    """Whether it is an option of the class of one's own that a model is to be built of."""
    classes = [one for one in (*given[1:2], named.get("architecture")) if isinstance(one, type)]
    return "unit_options" in takes and any(
        foreign in inspect.signature(one).parameters for one in classes
    )


def refused(foreign, value, name):
    """The sentence about a name that ``name`` does not have, with what it has in its place."""
    shown = " ".join(repr(value).split())
    if len(shown) > 40:
        shown = "..."
    said = f"{foreign}={shown}: {name} has no such option"
    takes = KNOWN[name]
    own = called(foreign, takes)
    if own is None:
        for home, theirs in KNOWN.items():
            if foreign in theirs:
                return f"{said}, {home} has it"
        for home, theirs in KNOWN.items():
            if there := called(foreign, theirs):
                return f"{said}, {home} has it as {there}"
        own = nearest(foreign, takes)
    if own is None:
        return f"{said}, it has {', '.join(takes)}"
    note = MEANT.get((foreign, own), "")
    return f"{said}, did you mean {own}?" + (note and f" ({note})")


def called(foreign, takes):
    """Which of the names in ``takes`` is called so elsewhere, however it is spelt (``nLayer``), or None."""
    for name in takes:
        if plain(foreign) in {plain(name), *map(plain, CALLED.get(name, "").split())}:
            return name
    return None


def nearest(foreign, takes):
    """Which of the names in ``takes`` has nearly these letters, by its own name or by another's; None if none has."""
    spelt = {}
    for name in takes:
        for other in (*CALLED.get(name, "").split(), name):
            if len(other) > 3 or other == name:
                spelt.setdefault(plain(other), name)
    near = difflib.get_close_matches(plain(foreign), spelt, n=1, cutoff=0.75)
    return spelt[near[0]] if near else None


def plain(name):
    """A name in one spelling: ``chunkSize``, ``chunk_size`` and ``chunksize`` are one; a single letter stays."""
    return name.replace("_", "").lower() if len(name) > 1 else name

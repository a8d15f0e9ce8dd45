"""The command ``flash-tutorial``. Torch is loaded by the command that needs it, not by ``--help``."""

import argparse
import logging
import os
import platform
import re
import shlex
import signal
import sys
import threading
import time
import warnings
from contextlib import nullcontext
from importlib import metadata, resources
from pathlib import Path

from flash_tutorial import __version__
from flash_tutorial.config import ARCHITECTURES, ModelConfig, TrainConfig
from flash_tutorial.settings import rules

from .grading.command import add_commands as add_grading
from .grading.command import seed

PROGRAM = "flash-tutorial"
RAW = argparse.RawDescriptionHelpFormatter  # descriptions keep their line ends
EXAMPLES = """\
examples:
  flash-tutorial doctor                       is everything there?
  flash-tutorial train                        a FLASH model on Jane Austen, minutes on two CPU cores
  flash-tutorial evaluate runs/first          its bits per byte on a novel that it has not seen
  flash-tutorial generate runs/first --prompt "Anne had"

flash-tutorial COMMAND --help explains a command.
"""
TRAIN_EXAMPLES = """\
examples:
  flash-tutorial train                                        into runs/first
  flash-tutorial train --out runs/first --resume              go on after a stop, with the same settings
  flash-tutorial train --out runs/first --resume --steps 3400   twice as many updates as at first
  flash-tutorial train --out runs/short --steps 300
  flash-tutorial train --out runs/tfm --architecture transformer++ --lr 5e-3
  flash-tutorial train --out runs/mine --corpus my_text.txt   a UTF-8 file of your own
  flash-tutorial train --out runs/tuned --start-from austen-flash --corpus my_text.txt --lr 1e-3
  flash-tutorial train --out runs/masked --objective masked   fill gaps instead of going on
"""


LESS_MEMORY = {
    "train": "take a smaller --batch or --length, or compute a batch in parts: --accumulate 2",
    "evaluate": "take a smaller --batch or --length",
    "generate": "give a shorter --prompt, or write fewer --bytes",
}
BY_SCRIPT = "go on from the script that began the run, by the argument resume of train"


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message):
        self.exit(2, f"{PROGRAM}: error: {message} (see {self.prog} --help)\n")


def build_parser(command=None):
    """All commands. ``command`` is the one that will run."""
    parser = OneLineParser(
        prog=PROGRAM,
        description="Train, score and run the models of the FLASH paper.",
        epilog=EXAMPLES,
        formatter_class=RAW,
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"{PROGRAM} {__version__}",
        help="which version this is",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add_train(commands)
    add_evaluate(commands)
    add_generate(commands)
    add_doctor(commands)
    add_bench(commands, with_options=command == "bench")
    add_new(commands)
    add_report(commands)
    add_grading(commands, RAW)
    return parser


def add_train(commands):
    train = commands.add_parser(
        "train",
        help="train a model",
        formatter_class=RAW,
        epilog=TRAIN_EXAMPLES,
        description="Train a language model on bytes. Without any option: a FLASH model on four novels of Jane\n"
        "Austen, scored on a part of a fifth. The folder then has the model, a log, and the curve as a picture.\n"
        "Ctrl-C or SIGTERM ends the update at hand, writes a checkpoint and exits with 130 or 143; a second one stops\n"
        "at once. Whatever ended a run, --resume goes on to the same weights.\n"
        "\n"
        "A file of your own is split into training, validation and test text. It may hold several documents, with a\n"
        "NUL byte between two. Of three documents or more the last 5% (at least one) are the test, the 5% before them\n"
        "the validation; one or two are cut at 90% and 95% of all bytes. Tokens in place of bytes: docs/projects.md.",
    )
    train.add_argument(
        "--out", default="runs/first", help="folder of the run (default: runs/first)"
    )
    train.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint in --out"
    )
    train.add_argument(
        "--objective",
        choices=("causal", "masked"),
        default=None,
        help="next byte, or gaps (default: causal)",
    )
    train.add_argument(
        "--processes",
        type=int,
        default=1,
        help="number of processes, each with its share of every batch (default: 1)",
    )
    add_machine(train)
    add_settings(train, TrainConfig, "training")
    add_settings(train, ModelConfig, "the model")
    train.set_defaults(run=run_train)


def add_evaluate(commands):
    evaluate = commands.add_parser(
        "evaluate",
        help="bits per byte of a model on a text",
        formatter_class=RAW,
        description="Bits per byte over a text, and by the position in the window: what a longer context is worth.\n"
        "A model of tokens encodes the text with its own tokenizer, and is scored per token and per byte.",
    )
    add_model(evaluate)
    evaluate.add_argument("--corpus", default="austen", help="as for train (default: austen)")
    evaluate.add_argument("--split", default="validation", choices=("train", "validation", "test"))
    as_in_training = reader(rules(TrainConfig)["eval_bytes"])
    evaluate.add_argument(
        "--bytes",
        type=as_in_training,
        metavar="BYTES|all",
        help="bytes to score, from the first (default: all)",
    )
    evaluate.add_argument(
        "--length", type=int, help="bytes (or tokens) in a window (default: max_length)"
    )
    evaluate.add_argument("--batch", type=int, default=8, help="windows at once (default: 8)")
    add_machine(evaluate)
    evaluate.set_defaults(run=run_evaluate)


def add_generate(commands):
    generate = commands.add_parser(
        "generate",
        help="let a model write",
        formatter_class=RAW,
        description="Go on from a prompt, byte by byte, or token by token where the model has a tokenizer.",
    )
    add_model(generate)
    generate.add_argument(
        "--prompt", default="", help="text to go on from (default: the start of a book)"
    )
    generate.add_argument(
        "--bytes", type=int, default=400, help="how many bytes (or tokens) to write (default: 400)"
    )
    generate.add_argument(
        "--temperature", type=float, default=0.8, help="0: the most likely (default: 0.8)"
    )
    generate.add_argument("--top-k", type=int, help="draw from the k most likely bytes")
    generate.add_argument(
        "--top-p", type=float, help="draw from the fewest that have probability p together"
    )
    generate.add_argument("--seed", type=seed, help="for the same text again")
    add_machine(generate)
    generate.set_defaults(run=run_generate)


def add_doctor(commands):
    doctor = commands.add_parser("doctor", help="versions, device, what is missing")
    add_machine(doctor)
    doctor.set_defaults(run=run_doctor)


def add_bench(commands, *, with_options):
    """Its options need torch, which ``--help`` of another command should not wait for."""
    bench = commands.add_parser("bench", help="time, memory and counted work against the length")
    if with_options:
        from .bench import against_length
        from .drawing import benchmark_results

        against_length.add_arguments(bench)
        bench.set_defaults(run=lambda args: against_length.run(args, draw=benchmark_results))


def add_new(commands):
    new = commands.add_parser(
        "new",
        help="a folder to start a project from",
        formatter_class=RAW,
        description="A project of your own: a layer with its test, settings, a grid of runs over rates and seeds that\n"
        "can be stopped, a page for your prediction, and a table of results.",
    )
    new.add_argument("folder", help="the new folder, as my-project")
    new.set_defaults(run=run_new)


def add_report(commands):
    report = commands.add_parser("report", help="your scoreboard, guesses and verdicts on one page")
    report.set_defaults(run=run_report)


def add_settings(parser, config, title):
    """Flags of a configuration's fields, in a group for all models and one for each set of architectures.

    What is not given is absent, so that a resumed run knows what was asked for anew; a wrong value is refused by the
    configuration itself.
    """
    groups = {title: parser.add_argument_group(title)}
    for name, rule in rules(config).items():
        if rule.flag is None:
            continue
        of = f"options of {', '.join(rule.of)}" if rule.of else title
        if of not in groups:
            groups[of] = parser.add_argument_group(of)
        flag = rule.flag or "--" + name.replace("_", "-")
        if rule.kind is bool:
            how = {"action": "store_false" if rule.default else "store_true"}
        else:
            how = {
                "type": reader(rule),
                "metavar": "|".join([*(rule.choices or [name.upper()]), *rule.words]),
            }
        action = groups[of].add_argument(
            flag, dest=name, default=argparse.SUPPRESS, help=help_of(rule), **how
        )
        action.words = rule.words


def reader(rule):
    """An argument type: the field's kind, or a word that stands for a value."""

    def read(text):
        return rule.words[text] if text in rule.words else rule.kind(text)

    # argparse shows this name
    read.__name__ = " or ".join([rule.kind.__name__, *map(repr, rule.words)])
    return read


def help_of(rule):
    """What a flag does; a switch says what it switches off, and a value its default."""
    if rule.kind is bool:
        return f"without {rule.text}" if rule.default else rule.text
    return rule.text + ("" if rule.default is None else f" (default: {rule.default})")


def add_model(parser):
    """The model to be used."""
    parser.add_argument(
        "model",
        nargs="?",
        default="austen-flash",
        help="folder of a run, or a model of the package (austen-flash)",
    )


def add_machine(parser):
    """Where to compute."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps (default: auto)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")


# ---------------------------------------------------------------- the commands


def set_threads(args):
    """Apply --threads."""
    import torch

    if args.threads is not None:
        if args.threads < 1:
            raise ValueError(f"--threads {args.threads}: expected at least 1")
        torch.set_num_threads(args.threads)


def run_train(args):
    """``flash-tutorial train``"""
    from flash_tutorial.training import train
    from flash_tutorial.training.stopping import stoppable

    set_threads(args)
    model_config, train_config = read_configs(args)
    corpus = tokens_of_run(args, model_config, train_config)
    run = train(
        model_config,
        train_config,
        corpus=corpus,
        out=args.out,
        resume=args.resume,
        device=args.device,
    )
    if speaks():
        if run.log:
            with stoppable(print):
                save_curve(Path(args.out) / "training.png", run, model_config)
        print(
            f"next: {PROGRAM} {'generate' if model_config.causal else 'evaluate'} {shlex.quote(args.out)}"
        )


def run_processes(n, argv):
    """Run the command in ``n`` processes, as torchrun does, but without its report of some forty lines where one of
    them ends with an error: that is said in one line already."""
    if n < 1:
        raise ValueError(f"--processes {n}: expected at least 1")
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.CRITICAL)  # of this process, which only waits
    for name, value in {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}.items():
        os.environ.setdefault(name, value)
    here = dict(rdzv_backend="c10d", rdzv_endpoint="localhost:0", run_id=str(os.getpid()))
    try:
        elastic_launch(LaunchConfig(1, 1, n, max_restarts=0, **here), sys.executable)(
            "-m", __spec__.name, *argv
        )
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        return code if code >= 0 else 128 - code
    except SignalException as error:
        return 128 + error.sigval
    return 0


def speaks():
    """Whether this process is the one of torchrun's that talks to the user."""
    return int(os.environ.get("RANK", 0)) == 0


def save_curve(path, run, config):
    """The picture of a run; the PNG carries its alt text."""
    from flash_tutorial.files import whole_file

    from .drawing import training_curve  # matplotlib takes a while to load

    bits = None if run.evaluation is None else run.evaluation.bits_per_token
    figure, alt = training_curve(
        run.log, bits, title=f"{config.architecture}, {len(run.log)} updates"
    )
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Description": alt})


def read_configs(args):
    """The two configurations: what was given, over what a run that goes on had, over the defaults."""
    from flash_tutorial.model import find_config
    from flash_tutorial.training.run_folder import refuse_fewer_steps

    model, train = (
        {name: value for name, value in vars(args).items() if name in rules(config)}
        for config in (ModelConfig, TrainConfig)
    )
    if args.objective:
        model |= {
            "causal": args.objective == "causal",
            "vocab_size": 256 if args.objective == "causal" else 257,
        }
    found = saved_settings(args.out) if args.resume and args.out else None
    if found:
        path, saved = found
        refuse_own(path, saved["model_config"])
        model = saved["model_config"] | model
        train = saved["train_config"] | train
        # before a warm-up that fits into none so few
        refuse_fewer_steps(train["steps"], saved["step"])
        return ModelConfig.from_dict(model, where=path), TrainConfig.from_dict(train, where=path)
    if not train.get("start_from"):
        start = {"max_length": train.get("length", TrainConfig.length)}
        return ModelConfig(**start | model), TrainConfig(**train)
    start = find_config(train["start_from"]).to_dict()
    length = train.setdefault("length", start["max_length"])
    # a shorter length takes nothing from the model
    start["max_length"] = max(length, start["max_length"])
    return ModelConfig.from_dict(start | model), TrainConfig(**train)


def refuse_own(path, config):
    """A run goes on by the command if the command can build its model."""
    name = config.get("model_class") or config.get("architecture", "flash")
    if name not in ARCHITECTURES:
        why = f"is of a run of your own class {name}, which the command cannot build"
        raise ValueError(f"{path} {why}: {BY_SCRIPT}")


def tokens_of_run(args, model, train):
    """The text of a run that goes on, in the ids of its own tokenizer; None where training finds it by its name."""
    found = (
        saved_settings(args.out) if args.resume and args.out and model.tokens is not None else None
    )
    if not found:
        return None
    from flash_tutorial.corpora import load_corpus
    from flash_tutorial.model import find_vocabulary

    path, saved = found
    vocabulary = find_vocabulary(path if path.is_dir() else path.parent, model.tokens)
    if not vocabulary.readable:
        raise ValueError(
            f"{path} was trained on tokens without a tokenizer, so no text gives them: {BY_SCRIPT}"
        )
    corpus = load_corpus(train.corpus).encoded(vocabulary)
    if any(
        getattr(corpus, name).sha256 != saved["text"][f"{name}_sha256"]
        for name in ("train", "validation")
    ):
        other = f"was trained on other tokens than its tokenizer makes of {train.corpus!r}"
        raise ValueError(f"{path} {other}: give their text (--corpus), or {BY_SCRIPT}")
    return corpus


def saved_settings(out):
    """The newest values with the settings of the run in a folder, and where they stand: ``(path, values)`` or None."""
    from flash_tutorial.training.checkpoints import last_checkpoint
    from flash_tutorial.training.lock import locked
    from flash_tutorial.training.run_folder import read_result

    out = Path(out)
    if not out.is_dir():
        return None
    # else a process that is quicker may begin the run already
    alone = "WORLD_SIZE" not in os.environ
    # another run would change what is read
    with locked(out, say=lambda _: None) if alone else nullcontext():
        found = last_checkpoint(out, say=lambda _: None)
        result = None if found else read_result(out)
    return found or (result and (out / "result.json", result))


def load_model(name, device):
    """A model from a run's folder, a checkpoint, or the package."""
    from flash_tutorial.model import LanguageModel
    from flash_tutorial.training.devices import pick_device

    return LanguageModel.from_pretrained(name).to(pick_device(device))


def readable(model, name):
    """Whether text can be made of a model's ids; if not, the line that says so is on standard error."""
    try:
        model.vocabulary.encode("")
        return True
    except ValueError as error:
        fail(f"{name}: {error}")
        return False


def run_evaluate(args):
    """``flash-tutorial evaluate``: 1 if the model's tokens cannot be told from text."""
    import numpy as np

    from flash_tutorial.corpora import load_corpus
    from flash_tutorial.training.devices import keep_freed_memory
    from flash_tutorial.training.score import evaluate, first_bytes, in_words

    set_threads(args)
    keep_freed_memory()
    model = load_model(args.model, args.device)
    if not readable(model, args.model):
        return 1
    text = first_bytes(getattr(load_corpus(args.corpus), args.split), args.bytes)
    split = text if model.config.tokens is None else text.encoded(model.vocabulary)
    length = model.config.max_length if args.length is None else args.length
    score = evaluate(model, split, length, args.batch)
    kind = ("" if model.config.causal else "hidden ") + split.vocabulary.unit
    print(f"{in_words(score, kind)}: {args.model} on {args.corpus}, {args.split}, ", end="")
    counted = "of" if model.config.tokens is None else "tokens in"
    print(f"{score.n_tokens:,} {counted} {len(text.tokens):,} bytes, windows of {length}")
    print(f"by position in the window (bits per {kind}):")
    for places in np.array_split(np.arange(length), min(8, length)):
        here = score.by_position[places]
        mean = np.nanmean(here) if np.isfinite(here).any() else float("nan")
        print(f"  {places[0]:6d} to {places[-1]:6d}  {mean:.3f}")


def run_generate(args):
    """``flash-tutorial generate``: the prompt and what follows it. 1 if the model's tokens have no text."""
    import torch

    set_threads(args)
    model = load_model(args.model, args.device)
    if not readable(model, args.model):
        return 1
    if not model.config.causal:
        raise ValueError(
            f"{args.model} fills gaps (masked objective): to go on from a prompt, take a causal model"
        )
    device = next(model.parameters()).device
    vocabulary = model.vocabulary
    generator = torch.Generator(device)
    generator.manual_seed(args.seed) if args.seed is not None else generator.seed()
    prompt = vocabulary.encode(args.prompt)
    ids = torch.from_numpy(prompt) if len(prompt) else torch.tensor([vocabulary.start_id])
    write_on = text_writer(vocabulary, prompt.tolist())
    print(args.prompt, end="", flush=True)
    model.generate(
        ids[None].to(device),
        args.bytes,
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        generator=generator,
        on_token=lambda token: write_on(int(token)),
    )
    write_on(None)


def text_writer(vocabulary, ids):
    """A function that writes what each next token adds to the text of ``ids``: whole characters; None ends it."""
    from flash_tutorial.corpora.vocabulary import MASK_ID

    ids = list(ids)
    ids_of_text = vocabulary.tokens or MASK_ID  # a model may draw an id that no text has
    written = len(vocabulary.decode(ids))

    def write_on(token):
        nonlocal written
        if token is not None and token < ids_of_text:
            ids.append(token)
        text = vocabulary.decode(ids)
        if token is None:
            print(text[written:])
        elif not text.endswith("\N{REPLACEMENT CHARACTER}"):  # or its last bytes may still come
            print(text[written:], end="", flush=True)
            written = len(text)

    return write_on


def run_doctor(args):
    """``flash-tutorial doctor``: 1 if something that is needed is missing."""
    set_threads(args)
    import torch

    from flash_tutorial import FLASH
    from flash_tutorial.corpora import load_austen
    from flash_tutorial.training.devices import (
        LARGE,
        describe_device,
        measured_gain,
        pick_device,
        pick_dtype,
    )

    from .addresses import PLACEHOLDER, is_stamped

    print(describe_device(args.device))
    if gain := measured_gain(pick_device(args.device), "auto", LARGE):
        print(f"training: {gain}")
    device = pick_device(args.device)
    half = torch.empty(0, device=device, dtype=pick_dtype(device, parameters=LARGE)[0])
    fused, why = FLASH(16, chunk_size=16, causal=True).fused_on(half)
    print(f"FLASH: computed by {'Triton kernels' if fused else 'torch'}, since {why}")
    print(f"system: {platform.platform()}, {os.cpu_count()} CPU cores, {sys.executable}")
    healthy = True
    for package, purpose in {
        "numpy": "",
        "torch": "",
        "safetensors": "",
        "filelock": "",
        "tqdm": "",
        "matplotlib": "",
        "ipython": "",
        "pyarrow": "the online corpora pg19, wiki40b, c4 and wikitext-103",
        "jupyterlab": "the notebooks",
        "tokenizers": "models of tokens that are no bytes",
        "pytest": "the tests",
    }.items():
        try:
            print(f"{package}: {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            healthy = healthy and bool(purpose)
            print(
                f"{package}: missing"
                + (f", only needed for {purpose}" if purpose else "")
                + f": pip install {package}"
            )
    try:
        load_austen()
        print("corpus austen: whole")
    except ValueError as error:
        healthy = False
        print(f"corpus austen: {error}")
    models = resources.files("flash_tutorial") / "models"
    names = (
        sorted(path.name for path in models.iterdir() if path.is_dir()) if models.is_dir() else []
    )
    print(f"models of the package: {', '.join(names) or 'none'}")
    if not is_stamped():
        print(
            f"warning: the repository is still {PLACEHOLDER}: name it with `python tools/stamp.py OWNER/REPO TAG`"
        )
    return 0 if healthy else 1


def run_new(args):
    """``flash-tutorial new``"""
    from .new_project import create_project

    folder = create_project(args.folder)
    print(
        f"{folder} is there. Next: fill in PREDICTION.md, then `pytest` and `python grid.py` in it; QUESTIONS.md has"
    )
    print("twelve questions to start from.")


def run_report(args):
    """``flash-tutorial report``."""
    from .learner import report

    print(report())
    return 0


# ---------------------------------------------------------------- main


def main(argv=None) -> int:
    """Run a command: 0, or 2 after an error of the user's, in one line."""
    argv = sys.argv[1:] if argv is None else list(argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # a console that lacks a character shows a question mark
            stream.reconfigure(errors="replace")
    parser = build_parser(argv[0] if argv else None)
    args = parser.parse_args(argv)
    with warnings.catch_warnings():
        warnings.showwarning = one_line_warning(set())
        return run_command(args, parser, argv)


def run_command(args, parser, argv):
    """What ``main`` does once the arguments are read."""
    try:
        load_torch(args.command)
        if getattr(args, "processes", 1) != 1 and "WORLD_SIZE" not in os.environ:
            return run_processes(args.processes, argv)
        return args.run(args) or 0
    except ValueError as error:
        return fail(in_flags(" ".join(str(error).split()), parser, args.command))
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return fail(f"{error.filename or 'file'}: {error.strerror or error}")
    except KeyboardInterrupt as stop:
        if speaks():
            print(f"\n{PROGRAM}: {str(stop) or f'stopped{how_to_go_on(args)}'}", file=sys.stderr)
        return 130
    except (RuntimeError, MemoryError) as error:
        words = str(error).lower()
        if "connection" in words:
            wait_to_be_stopped()
        if (
            isinstance(error, MemoryError)
            or "out of memory" in words
            or "can't allocate memory" in words
        ):
            return fail(f"out of memory: {LESS_MEMORY.get(args.command, 'close other programs')}")
        raise


def one_line_warning(said):
    """What shows a warning: in a line, and each only once."""

    def show(message, *where, **more):
        if str(message) not in said and speaks():
            said.add(str(message))
            print(f"{PROGRAM}: {' '.join(str(message).split())}", file=sys.stderr)

    return show


def fail(message):
    """One line on standard error, and the exit code."""
    wait_to_be_stopped()
    print(f"{PROGRAM}: error: {message}", file=sys.stderr)
    return 2


def wait_to_be_stopped():
    """Under torchrun, leave the word to the process that speaks: most errors are its own too, and when it has said so
    and ended, torchrun stops the others. One that ended before it would have it stopped unheard."""
    if not speaks():
        time.sleep(30)


def load_torch(command):
    """Load torch, where the command needs it. Ctrl-C meanwhile ends the process: nothing is at stake yet, and an
    exception in the middle of an import comes out as anything."""
    if (
        command in ("train", "evaluate", "generate")
        and threading.current_thread() is threading.main_thread()
    ):

        def leave(number, frame):
            os.write(
                2, f"\n{PROGRAM}: stopped before anything was done\n".encode() if speaks() else b""
            )
            os._exit(128 + number)

        numbers = [
            number
            for number in (signal.SIGINT, signal.SIGTERM)
            if signal.getsignal(number) != signal.SIG_IGN
        ]
        before = {number: signal.signal(number, leave) for number in numbers}
        try:
            import torch  # noqa: F401
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


# names that a message of the package may have for what a flag sets, beside the flag's own
OTHER_NAMES = {
    "train": {"max_length": "length"},
    "evaluate": {"n": "bytes"},
    "generate": {"max_new_tokens": "bytes"},
}


def in_flags(message, parser, command):
    """A message of the package with the command's flags for the arguments: ``--lr 0`` for ``learning_rate=0``."""
    commands = next(action for action in parser._actions if action.dest == "command").choices
    flags = {action.dest: action for action in commands[command]._actions if action.option_strings}
    flags |= {name: flags[dest] for name, dest in OTHER_NAMES.get(command, {}).items()}

    def flag(match):
        action, value = flags[match[1]], match[2]
        name = action.option_strings[-1]
        if action.nargs == 0:  # a switch
            return name if value == str(action.const) else f"no {name}"
        words = {repr(meant): word for word, meant in getattr(action, "words", {}).items()}
        if value == "None" and value not in words:
            return f"no {name}"
        return f"{name} {words.get(value) or value.strip(chr(39)) or value}"

    message = as_typed(message.replace(" (resume=True)", ""), flags)
    message = re.sub(rf"\b({'|'.join(flags)})=('[^']*'|[^\s,:;)]+)", flag, message)
    options = re.search(r"(?<=no such option, it has )[\w, ]+", message)
    if options:
        names = [
            flags[name].option_strings[-1] if name in flags else name
            for name in options[0].split(", ")
        ]
        message = message.replace(options[0], ", ".join(names))
    return message


def as_typed(message, flags):
    """What was expected of a flag, in what can be typed: texts without quotes, and for None the flag's word if it has
    one. A class, and None where no word stands for it, are for scripts."""
    found = re.search(
        rf"\b({'|'.join(flags)})=('[^']*'|[^\s,:;)]+): expected (?P<what>.*)", message
    )
    if not found:
        return message
    words = getattr(flags[found[1]], "words", {})
    none = next(
        (f" or {word}" for word, meant in words.items() if meant is None), ", or leave it out"
    )
    what = re.sub(r",? or None\b", none, found["what"].replace(", or a class", ""))
    return message[: found.start("what")] + re.sub("'([^']*)'", r"\1", what)


def how_to_go_on(args):
    """After Ctrl-C: the command that goes on."""
    if args.command != "train":
        return ""
    if not any(Path(args.out).glob("step_*")):  # without torch, which may not be loaded yet
        return " before the first checkpoint"
    return f"; go on with: {PROGRAM} train --out {shlex.quote(args.out)} --resume"


def program():
    """The command as a process of its own.

    One that trains with others leaves without an end of the interpreter: a thread of gloo that still lets go of a
    tensor while the interpreter ends would abort the process, which has done its work.
    """
    try:
        code = main()
    except SystemExit as end:
        code = end.code
    if "WORLD_SIZE" not in os.environ or isinstance(code, str):
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    program()

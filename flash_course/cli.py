"""The command ``flash-tutorial``. Torch is loaded by the command that needs it, not by ``--help``."""

import argparse
import os
import platform
import shlex
import sys
import time
import warnings
from importlib import metadata, resources
from pathlib import Path

from flash_tutorial import __version__
from flash_tutorial.config import ModelConfig, TrainConfig
from flash_tutorial.errors import is_out_of_memory
from flash_tutorial.settings import rules

from .flags import about_unknown, add_settings, in_flags, reader
from .going_on import RECIPE, read_configs, tokens_of_run
from .grading.command import add_commands as add_grading
from .grading.command import seed
from .processes import (
    PROGRAM,
    fail,
    load_torch,
    one_line_warning,
    run_processes,
    speaks,
    wait_to_be_stopped,
)

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
  flash-tutorial train --out runs/first --resume --steps 6800   twice as many updates as at first
  flash-tutorial train --out runs/short --steps 300
  flash-tutorial train --out runs/tfm --architecture transformer++
  flash-tutorial train --out runs/mine --corpus my_text.txt   a UTF-8 file of your own
  flash-tutorial train --out runs/tuned --start-from austen-flash --corpus my_text.txt --lr 1e-3
  flash-tutorial train --out runs/masked --objective masked   fill gaps instead of going on
"""


LESS_MEMORY = {
    "train": "take a smaller --batch or --length, or compute a batch in parts: --accumulate 2",
    "evaluate": "take a smaller --batch or --length",
    "generate": "give a shorter --prompt, or write fewer --bytes",
}


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
        "the validation; one or two are cut at 90% and 95% of all bytes. Tokens in place of bytes: --tokenizer.",
    )
    train.add_argument(
        "--out", default="runs/first", help="folder of the run (default: runs/first)"
    )
    train.add_argument(
        "--resume",
        action="store_true",
        help="go on from the last checkpoint in --out, or begin where there is none",
    )
    train.add_argument(
        "--objective",
        choices=("causal", "masked"),
        default=None,
        help="next byte, or gaps (default: causal)",
    )
    train.add_argument(
        "--tokenizer",
        metavar="FILE",
        help="a tokenizer.json of the library tokenizers: the model reads its tokens; the encoded text is kept",
    )
    train.add_argument(
        "--processes",
        type=int,
        default=1,
        help="number of processes, each with its share of every batch (default: 1)",
    )
    add_machine(train)
    add_settings(train, TrainConfig, "training", RECIPE)
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
    evaluate.add_argument(
        "--corpus", help="as for train (default: the text of the run, austen for other models)"
    )
    evaluate.add_argument("--split", default="validation", choices=("train", "validation", "test"))
    as_in_training = reader(rules(TrainConfig)["eval_bytes"])
    evaluate.add_argument(
        "--bytes",
        type=as_in_training,
        metavar="BYTES|all",
        help="bytes to score, from the first (default: all)",
    )
    evaluate.add_argument(
        "--length",
        type=int,
        help="bytes (or tokens) in a window (default: as in training)",
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
        then = "generate" if model_config.causal else "evaluate"
        print(f"next: {PROGRAM} {then} {shlex.quote(args.out)}")


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


def load_model(name, device):
    """A model from a run's folder, a checkpoint, or the package."""
    from flash_tutorial.model import LanguageModel
    from flash_tutorial.training.devices import pick_device

    return LanguageModel.from_pretrained(name).to(pick_device(device))


def text_of_run(name):
    """What a run's folder, finished or not, says that it was trained on; Austen's novels for any other model."""
    from flash_tutorial.files import read_json

    folder = Path(name)
    if folder.name == "best":  # whose own file is about the score alone
        folder = folder.parent
    written = [folder / "result.json", folder / "training.json"]
    written += folder.glob("step_*/training.json")
    for path in written:
        if path.is_file():
            values = read_json(path)
            asked = values["train_config"]["corpus"]
            read = values["text"]["corpus"]  # another one, where a script handed a corpus over
            return asked if Path(asked).name == read else read
    return "austen"


def text_to_score(args):
    """Its name and its corpus: what is asked for, else what the model was trained on."""
    from flash_tutorial.corpora import load_corpus

    name = args.corpus or text_of_run(args.model)
    try:
        return name, load_corpus(name)
    except ValueError as error:
        if args.corpus:
            raise
        asked = f"{args.model} was trained on {name!r}; --corpus takes another text"
        raise ValueError(f"{asked}: {error}") from None


def readable(model, name):
    """Whether text can be made of a model's ids; if not, the line that says so is on standard error."""
    try:
        model.vocabulary.encode("")
        return True
    except ValueError as error:
        fail(f"{name}: {error}")
        return False


def windows_read(every=5.0):
    """A function of (windows read, all of them) that prints how far it is, at most once in so many seconds."""
    began = last = time.monotonic()

    def look(done, of):
        nonlocal last
        now = time.monotonic()
        if now - last >= every and done < of:
            last = now
            left = (now - began) / done * (of - done)
            print(
                f"{done:,} of {of:,} windows, about {left:.0f} s left", file=sys.stderr, flush=True
            )

    return look


def run_evaluate(args):
    """``flash-tutorial evaluate``: 1 if the model's tokens cannot be told from text."""
    import numpy as np

    from flash_tutorial.training.devices import keep_freed_memory
    from flash_tutorial.training.score import evaluate, first_bytes, in_words

    set_threads(args)
    keep_freed_memory()
    model = load_model(args.model, args.device)
    if not readable(model, args.model):
        return 1
    name, corpus = text_to_score(args)
    text = first_bytes(getattr(corpus, args.split), args.bytes)
    split = text
    if model.config.tokens is not None:
        split = text.encoded(model.vocabulary)
    score = evaluate(model, split, args.length, args.batch, look=windows_read())
    length = len(score.by_position)
    kind = split.vocabulary.unit
    if not model.config.causal:
        kind = f"hidden {kind}"
    print(f"{in_words(score, kind)}: {args.model} on {name}, {args.split}, ", end="")
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
    generator = torch.Generator(device)
    if args.seed is None:
        generator.seed()
    else:
        generator.manual_seed(args.seed)
    print(args.prompt, end="", flush=True)
    tokens = model.stream(
        args.prompt,
        args.bytes,
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        generator=generator,
    )
    for token in tokens:
        print(token.text, end="", flush=True)
    print()


# what the doctor looks for -> what alone needs it, where not everything does
PACKAGES = {
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
}


def run_doctor(args):
    """``flash-tutorial doctor``: 1 if something that is needed is missing."""
    set_threads(args)
    import torch

    from flash_tutorial import FLASH
    from flash_tutorial.training.devices import (
        LARGE,
        describe_device,
        measured_gain,
        pick_device,
        pick_dtype,
    )

    print(describe_device(args.device))
    device = pick_device(args.device)
    dtype, _ = pick_dtype(device, parameters=LARGE)
    if gain := measured_gain(device, "auto", LARGE):
        name = str(dtype).removeprefix("torch.")
        print(f"training from {LARGE:,} parameters on: {name} ({gain})")
    half = torch.empty(0, device=device, dtype=dtype)
    fused, why = FLASH(16, chunk_size=16, causal=True).fused_on(half)
    by = "Triton kernels" if fused else "torch"
    print(f"FLASH: computed by {by}, since {why}")
    print(f"system: {platform.platform()}, {os.cpu_count()} CPU cores, {sys.executable}")
    has_packages = say_packages()
    has_corpus = say_corpus()
    say_models()
    return 0 if has_packages and has_corpus else 1


def say_packages():
    """A line for each package; whether all that are always needed are there."""
    whole = True
    for package, purpose in PACKAGES.items():
        try:
            print(f"{package}: {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            if purpose:
                print(f"{package}: missing, only needed for {purpose}: pip install {package}")
            else:
                print(f"{package}: missing: pip install {package}")
                whole = False
    return whole


def say_corpus():
    """Whether the text of the package is as it was made, and a line that says so."""
    from flash_tutorial.corpora import load_austen

    try:
        load_austen()
    except ValueError as error:
        print(f"corpus austen: {error}")
        return False
    print("corpus austen: whole")
    return True


def say_models():
    """A line with the models that came with the package."""
    models = resources.files("flash_tutorial") / "models"
    names = []
    if models.is_dir():
        names = sorted(path.name for path in models.iterdir() if path.is_dir())
    print(f"models of the package: {', '.join(names) or 'none'}")


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
    command = argv[0] if argv else None
    parser = build_parser(command)
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        return fail(about_unknown(unknown, parser, args.command))
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
        if "connection" in str(error).lower():
            wait_to_be_stopped()
        if is_out_of_memory(error):
            return fail(f"out of memory: {LESS_MEMORY.get(args.command, 'close other programs')}")
        raise


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

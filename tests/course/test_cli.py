"""The command: defaults, one-line errors, and a round through its commands."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_model import MyUnit
from small_own_model import OwnModel
from small_tokens import TEXT, tokenizer

from flash_course import cli
from flash_tutorial import LanguageModel, ModelConfig, training, writing
from flash_tutorial.config import TrainConfig
from flash_tutorial.corpora import load_file, load_tokens
from flash_tutorial.training import train

TINY = (
    "--dim 16 --depth 1 --qk-dim 8 --chunk-size 8 --length 20 --batch 2 --steps 6 --eval-bytes 200"
)
SMALL = ModelConfig(vocab_size=301, dim=16, depth=1, qk_dim=8, chunk_size=8, max_length=20)
TWO_STEPS = TrainConfig(steps=2, batch=2, length=20)


def command(line, *arguments):
    """The command of a line of words, and of arguments that may hold spaces."""
    return cli.main([*line.split(), *map(str, arguments)])


@pytest.fixture(scope="module", autouse=True)
def no_picture():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "save_curve", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("Anne had been forced into prudence in her youth. " * 60, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(text, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    assert command(f"train {TINY} --checkpoint-every 2 --out", out, "--corpus", text) == 0
    return out


@pytest.fixture
def folder(trained, tmp_path, capsys):
    """A run that has ended."""
    capsys.readouterr()
    return Path(shutil.copytree(trained, tmp_path / "run"))


def one_line_error(capsys):
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("flash-tutorial: error: "), error
    return error


# ---------------------------------------------------------------- options


def configs(line):
    return cli.read_configs(cli.build_parser().parse_args(f"train --out run {line}".split()))


def test_no_option_gives_the_defaults_and_a_short_run_a_short_warm_up():
    recipe = TrainConfig(optimizer="muon", learning_rate=0.005, batch=4, steps=3400)
    assert configs("") == (ModelConfig(), recipe)
    assert configs("--optimizer adamw")[1] == replace(recipe, optimizer="adamw")
    assert configs("--steps 30")[1].warmup == 15


COMMON = (
    "--dim 32 --depth 3 --norm layer --init-std 0.1 --embedding-std 0.2 --untied"
    " --objective masked --length 64 "
)
OF_COMMON = dict(vocab_size=257, dim=32, depth=3, causal=False, max_length=64, norm="layer")
OF_COMMON |= dict(init_std=0.1, embedding_std=0.2, tied=False)
ALL_OF_FLASH = (
    "--architecture flash --expansion 3 --qk-dim 16 --bias none --chunk-size 64 --combine sum"
    " --position-scale 0.5"
)
OF_FLASH = dict(architecture="flash", expansion=3, qk_dim=16, bias=None, chunk_size=64)
QUAD = dict(architecture="flash_quad")
MC = dict(architecture="mc_transformer++", heads=2, ff_dim=48, chunk_size=8)


@pytest.mark.parametrize(
    "line, model",
    [
        (ALL_OF_FLASH, OF_FLASH | dict(combine="sum", position_scale=0.5)),
        ("--no-local --position-scale paper", dict(local=False, position_scale=None)),
        ("--no-global --positions none", dict(global_=False, positions="none")),
        ("--architecture flash_quad --length-scale current", QUAD | dict(length_scale="current")),
        ("--architecture flash_quad --length-scale 9", QUAD | dict(length_scale=9)),
        ("--architecture flash_quad --attention softmax", QUAD | dict(attention="softmax")),
        ("--architecture mc_transformer++ --heads 2 --ff-dim 48 --chunk-size 8", MC),
    ],
)
def test_each_option_of_a_model_reaches_it(line, model):
    assert configs(COMMON + line)[0] == ModelConfig(**OF_COMMON | model)


def test_each_option_of_training_reaches_it():
    line = (
        "--steps 50 --batch 6 --length 64 --lr 0.5 --warmup 3 --clip none --accumulate 2"
        " --weight-decay 0.3 --seed 9 --corpus text8 --dtype float32 --eval-bytes all"
        " --checkpoint-every 7 --compile --start-from austen-flash --optimizer adamw"
    )
    wanted = dict(steps=50, batch=6, length=64, learning_rate=0.5, warmup=3, clip=None, seed=9)
    wanted |= dict(accumulate=2, weight_decay=0.3, corpus="text8", dtype="float32", compile=True)
    wanted |= dict(eval_bytes=None, checkpoint_every=7, start_from="austen-flash")
    assert configs(line)[1] == TrainConfig(**wanted)


def test_every_example_can_be_parsed():
    lines = (cli.EXAMPLES + cli.TRAIN_EXAMPLES).splitlines()
    examples = [line for line in lines if line.startswith("  flash-tutorial")]
    assert examples
    for line in examples:
        words = line.split("   ")[0].replace('"Anne had"', "Anne").split()[1:]
        cli.build_parser().parse_args(words)


# ---------------------------------------------------------------- errors

# a command, and what its one line says
ERRORS = f"""
nothing => nothing
train --dim 15 --qk-dim 8 => --dim 15
train --dim x => --dim
train --corpus no_such_file.txt => no_such_file.txt
train --device gpu => gpu
train --threads 0 => --threads 0
train --lr 0 => --lr 0
train --steps 5 --warmup 5 => --warmup 5: expected fewer than --steps 5
train --no-local --no-global => --no-local and --no-global leave nothing to mix
train --seed {2**63} => --seed {2**63}: expected
train --bias foo => --bias foo: expected auto, toeplitz, rotary or none
train --bias None => --bias None: expected auto, toeplitz, rotary or none
train --clip -1 => --clip -1.0: expected a number above 0 or none
train --eval-bytes -1 => --eval-bytes -1: expected an integer of at least 0 or all
train --position-scale -1 => --position-scale -1.0: expected a number of at least 0, start or paper
train --depth 0 => --depth 0: expected an integer of at least 1, or leave it out
train --positions up => --positions up: expected scaled_sin, learnt, none, or leave it out
train --architecture flsh => --architecture flsh: expected one of flash, flash_quad, transformer
train --accumulate 3 => --accumulate 3: expected a divisor of --batch 4
train --heads 7 => --heads 7: flash has no such option
train --learning-rate 3 => --learning-rate: train has no such option, did you mean --lr?
train --n-layer 3 --steps 5 => --n-layer: train has no such option, did you mean --depth?
generate austen-flash --max-new-tokens=5 => --max-new-tokens: generate has no such option, did you mean --bytes?
bench --zzz => --zzz: bench has no such option (see flash-tutorial bench --help)
train here => train does not take here
train --architecture transformer --no-global => --no-global: transformer has no such option
train --no-global --combine sum => --combine sum has no effect, since --no-global: leave it out
train --start-from austen-flash --heads 3 => --heads 3: flash has no such option
evaluate no_such_model => no_such_model
evaluate --bytes 0 => --bytes 0
evaluate --batch 0 => --batch 0
evaluate --length 0 => --length 0
generate no_such_model => no_such_model
generate --bytes -1 => --bytes -1
generate --temperature -1 => --temperature -1
generate --top-k 0 => --top-k 0: expected an integer from 1 to 256, or leave it out for all tokens
generate --top-p 0 => --top-p 0.0: expected a number, more than 0 and at most 1
generate --seed {2**63} => --seed: {2**63}: expected an integer of at least 0 and below 2**63
grade here --out there --seed -1 => --seed: -1: expected
grade here --out there --seconds 0 => must be positive
grade here --out there --set 5 => there is no problem set '5': expected one of 01, 02
grade here --out there --only 05.9 => there is no exercise '05.9' here
grade no/such/folder --out there => no/such/folder does not exist
check . => . is a folder: give one notebook or .py file
export gradescope 05 --seed one => --seed: invalid seed value: 'one'
export gradescope 99 => there is no problem set '99'
"""


@pytest.mark.parametrize("error", ERRORS.strip().splitlines())
def test_an_error_is_one_line(error, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    line, said = error.split(" => ")
    more = ["--out", "run"] if line.startswith("train") else []
    try:
        code = command(line, *more)
    except SystemExit as stop:  # argparse's own
        code = stop.code
    found = one_line_error(capsys)
    assert code == 2 and said in found
    assert not re.search(r"\b[a-z_]+=", found), "fields are called by their flags"


def test_a_folder_that_cannot_be_is_one_line(text, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    assert command(f"train {TINY} --out file/run --corpus", text) == 2
    assert "a file of this name, or a folder, is in the way" in one_line_error(capsys)
    assert command(f"train {TINY} --corpus", text, "--out", "") == 2
    assert "--out '': expected the name of a folder" in one_line_error(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_out_of_memory_is_one_line(monkeypatch, capsys, tmp_path):
    def broken(*args, **kwargs):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 1e15 bytes")

    monkeypatch.setattr(training, "train", broken)
    assert command("train --out", tmp_path) == 2
    assert "--accumulate" in one_line_error(capsys)
    monkeypatch.setattr(LanguageModel, "from_pretrained", broken)
    assert command("generate") == 2
    assert "give a shorter --prompt, or write fewer --bytes" in one_line_error(capsys)


def test_ctrl_c_names_the_command_that_goes_on(folder, monkeypatch, capsys):
    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", stopped)
    assert command("train --resume --out", folder) == 130
    said = capsys.readouterr().err.strip()
    assert "\n" not in said and said.endswith(f"train --out {folder} --resume")


SLOW = """
import sys, time
print("importing", flush=True)
try:
    time.sleep(30)
except BaseException as error:
    raise ImportError("as a library in C may turn an interrupt into anything") from error
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")
@pytest.mark.parametrize(
    "name, number, code", [("train", signal.SIGINT, 130), ("generate", signal.SIGTERM, 143)]
)
def test_ctrl_c_while_torch_is_loaded_is_one_line(tmp_path, name, number, code):
    (tmp_path / "torch.py").write_text(SLOW)
    path = os.pathsep.join([str(tmp_path), str(Path(cli.__file__).parents[1])])
    with subprocess.Popen(
        [sys.executable, "-m", "flash_course.cli", name],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout.readline() == "importing\n"
        process.send_signal(number)
        assert process.stderr.read().strip() == "flash-tutorial: stopped before anything was done"
    assert process.returncode == code and [path.name for path in tmp_path.iterdir()] == ["torch.py"]


# ---------------------------------------------------------------- the commands


def test_what_comes_next_is_what_the_model_can_do(text, tmp_path, capsys):
    for objective, next_one in (("causal", "generate"), ("masked", "evaluate")):
        out = tmp_path / objective
        line = f"train {TINY} --objective {objective} --out"
        assert command(line, out, "--corpus", text) == 0
        assert f"next: flash-tutorial {next_one} {out}\n" in capsys.readouterr().out


def test_resume_needs_no_other_option_and_refuses_another_setting(folder, capsys):
    before = (folder / "model.safetensors").read_bytes()
    assert command("train --resume --lr 0.5 --out", folder) == 2
    assert "--lr 0.005, now --lr 0.5 is asked for" in one_line_error(capsys)
    assert command("train --out", folder) == 2
    assert "already holds a run" in one_line_error(capsys)
    shutil.rmtree(folder / "step_000006")
    (folder / "model.safetensors").unlink()
    assert command("train --resume --corpus austen --out", folder) == 2
    assert "trained on the text 'text.txt' as it was then" in one_line_error(capsys)
    assert command("train --resume --out", folder) == 0
    assert "going on after step 4" in capsys.readouterr().out
    assert (folder / "model.safetensors").read_bytes() == before


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take names in UTF-8 only")
def test_a_run_into_a_folder_whose_name_is_not_utf8_can_be_used(folder, text, tmp_path):
    out = folder.rename(tmp_path / os.fsdecode(b"caf\xe9"))
    assert command("evaluate --bytes 50", out, "--corpus", text) == 0
    assert command("generate --bytes 5", out) == 0
    assert command("train --resume --steps 8 --out", out) == 0


def test_evaluate_prints_the_score_and_positions(folder, text, capsys):
    assert command("evaluate --bytes 100", folder, "--corpus", text) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "100 of 100 bytes, windows of 20" in lines[0] and len(lines) == 2 + 8
    expected = json.loads((folder / "result.json").read_text())["validation_bits_per_byte"]
    (folder / "config.json").unlink()  # a run that has not ended: its last checkpoint is read
    assert command("evaluate", folder, "--corpus", text) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{expected:.4f} bits per byte") and "step_000006" in said.err


def test_evaluate_scores_the_part_of_a_text_that_is_asked_for(folder, tmp_path, capsys):
    path = tmp_path / "two.txt"
    path.write_text("Anne had been forced. " * 100 + "0123456789 " * 20, encoding="utf-8")
    score = {}
    for split in ("train", "test"):
        assert command("evaluate --bytes 100 --split", split, folder, "--corpus", path) == 0
        score[split] = float(capsys.readouterr().out.split()[0])
    assert score["train"] + 0.2 < score["test"]  # the model has met no digits


def test_evaluate_takes_the_text_that_the_run_was_trained_on(folder, text, capsys):
    step = max(folder.glob("step_*"))
    for model in (folder, step, folder / "best"):
        if model.name == "best":
            shutil.copytree(step, model)
        assert command("evaluate --bytes 100", model) == 0
        assert f"{model} on {text}, validation" in capsys.readouterr().out
    (folder / "result.json").unlink()
    assert command("evaluate --bytes 100", folder) == 0
    assert f"on {text}, validation" in capsys.readouterr().out


def test_generate_repeats_with_a_seed(folder, capsys):
    texts = []
    for seed in (1, 1, 2):
        assert command(f"generate --prompt Anne --bytes 60 --seed {seed}", folder) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2] and texts[0].startswith("Anne")


def test_generate_streams_whole_characters_and_no_id_that_no_text_has(folder, monkeypatch):
    """Each is written as soon as its last byte is there, and an unfinished one at the end does no harm."""
    seen = []

    class Out:
        def write(self, text):
            seen.append(text)

        def flush(self):
            seen.append("|")

    drawn = [*"aé€".encode(), 299, 0xE2]

    def draw_on(model, ids, count, **how):
        for token in drawn:
            yield torch.tensor([token]), torch.zeros(1, 300)

    monkeypatch.setattr(writing, "draw_on", draw_on)
    monkeypatch.setattr(sys, "stdout", Out())
    assert command(f"generate --prompt x --bytes {len(drawn)}", folder) == 0
    flushed = "".join(seen).split("|")
    half = "\N{REPLACEMENT CHARACTER}"
    assert [part for part in flushed if part] == ["x", "a", "é", "€", half, "\n"]


def test_the_command_runs_as_a_program_and_stops_when_nobody_reads(folder):
    """`flash-tutorial generate ... | head -c 1`"""
    words = [sys.executable, "-m", "flash_course.cli", "generate", str(folder), "--bytes", "300"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_evaluate_says_how_far_it_is_where_it_takes_long(monkeypatch, capsys):
    clock = iter([0.0, 1.0, 6.0, 7.0, 20.0])
    monkeypatch.setattr(cli.time, "monotonic", lambda: next(clock))
    look = cli.windows_read()
    for done in (8, 16, 24, 32):
        look(done, 32)
    assert capsys.readouterr().err == "16 of 32 windows, about 6 s left\n"


def test_doctor_says_one_thing_on_half_precision(monkeypatch, capsys):
    from flash_tutorial.training import devices

    for gain, name in ((2.4, "bfloat16"), (1.0, "float32")):
        monkeypatch.setattr(devices, "bfloat16_gain", lambda threads, gain=gain: gain)
        assert command("doctor --device cpu") == 0
        out = capsys.readouterr().out
        assert f"training from {devices.LARGE:,} parameters on: {name} (products of matrices" in out
        assert "not faster" not in out and "OWNER" not in out


def test_doctor_names_versions_and_what_is_missing(capsys, monkeypatch):
    assert command("doctor") == 0
    out = capsys.readouterr().out
    assert torch.__version__ in out and "corpus austen: whole" in out and "float32 (" in out
    version = cli.metadata.version

    def without(name):
        if name == "tqdm":
            raise cli.metadata.PackageNotFoundError
        return version(name)

    monkeypatch.setattr(cli.metadata, "version", without)
    assert command("doctor") == 1
    assert "tqdm: missing: pip install tqdm" in capsys.readouterr().out


# ---------------------------------------------------------------- tokens, own classes, a longer context


@pytest.fixture(scope="module")
def of_tokens(tmp_path_factory):
    """Models of tokens, one with its tokenizer and one without."""
    folder = tmp_path_factory.mktemp("tokens")
    for name, made in {"with": tokenizer(), "without": None}.items():
        corpus = load_tokens(tokenizer().encode(TEXT).ids, 300, made)
        train(SMALL, TWO_STEPS, corpus=corpus, out=folder / name, progress=False)
    return folder


def test_a_model_of_tokens_is_scored_and_writes(of_tokens, text, capsys):
    """Per token and per byte of the text, which it encodes itself; what it writes goes on from the prompt."""
    capsys.readouterr()
    assert command("evaluate --bytes 100", of_tokens / "with", "--corpus", text) == 0
    first = capsys.readouterr().out.splitlines()[0]
    form = r"([\d.]+) bits per token, ([\d.]+) bits per byte: .*, (\d+) tokens in 100 bytes"
    per_token, per_byte, n = map(float, re.match(form, first).groups())
    assert n < 100 and per_byte == pytest.approx(per_token * n / 100, abs=1e-3)
    written = ("--prompt", "It is ", "--bytes", 20, "--seed", 0)
    assert command("generate", of_tokens / "with", *written) == 0
    said = capsys.readouterr().out
    assert said.startswith("It is ") and len(said) > 10


@pytest.mark.parametrize("name", ["evaluate", "generate"])
def test_tokens_that_nobody_can_read_are_one_line_before_anything_else(
    of_tokens, capsys, monkeypatch, name
):
    assert command(name, of_tokens / "without") == 1
    assert "300 tokens without a tokenizer, so their text is not known" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert command(name, of_tokens / "with") == 1
    said = capsys.readouterr()
    assert "pip install tokenizers" in said.err and said.err.count("\n") == 1 and said.out == ""


@pytest.fixture(autouse=True)
def kept_here(tmp_path, monkeypatch):
    """What is encoded is kept where the test ends."""
    monkeypatch.setenv("FLASH_TUTORIAL_CACHE", str(tmp_path / "kept"))


def test_the_command_trains_on_the_tokens_of_a_tokenizer(text, tmp_path, capsys):
    files = [tmp_path / f"{size}.json" for size in (300, 310)]
    for path, size in zip(files, (300, 310)):
        tokenizer(size).save(str(path))
    run = ("--out", tmp_path / "run", "--corpus", text, "--tokenizer")
    assert command(f"train {TINY} --steps 2", *run, files[0]) == 0
    model = LanguageModel.from_pretrained(tmp_path / "run")
    assert (model.config.tokens, model.config.vocab_size) == (
        300,
        301,
    ) and model.vocabulary.readable
    assert [*(tmp_path / "kept").glob("*.npz")]
    assert command("train --resume --steps 4", *run, files[0]) == 0
    capsys.readouterr()
    assert command("train --resume --steps 6", *run, files[1]) == 2
    assert "another tokenizer" in capsys.readouterr().err
    masked = ("--out", tmp_path / "masked", *run[2:], files[0])
    assert command(f"train {TINY} --steps 2 --objective masked", *masked) == 0
    assert LanguageModel.from_pretrained(tmp_path / "masked").config.vocab_size == 302
    assert command("train --start-from austen-flash --steps 2", *run, files[0]) == 2
    assert "leave --tokenizer out" in capsys.readouterr().err


def test_a_run_of_tokens_goes_on_with_its_own_tokenizer(text, tmp_path, capsys):
    """It lies in the run, so that nobody has to name it again."""
    out = tmp_path / "run"
    corpus = load_file(text).encoded(tokenizer())
    train(SMALL, TWO_STEPS, corpus=corpus, out=out, progress=False)
    go_on = ("--out", out, "--corpus", text)
    assert command("train --resume --steps 4", *go_on) == 0
    assert "going on after step 2" in capsys.readouterr().out
    for checkpoint in out.glob("step_*"):
        shutil.rmtree(checkpoint)  # its tokenizer is that of the end
    assert command("train --resume --steps 4", *go_on) == 0
    assert "is finished" in capsys.readouterr().out


@pytest.fixture(scope="module")
def of_own_classes(text, tmp_path_factory):
    """Runs of a model and of a unit of one's own."""
    folder = tmp_path_factory.mktemp("own")
    settings = TrainConfig(steps=2, batch=2, length=20, corpus=str(text))
    unit = ModelConfig(MyUnit, dim=16, depth=1, max_length=20)
    for name, made in (("model", OwnModel()), ("unit", unit)):
        train(made, settings, out=folder / name, progress=False)
    return folder


def test_a_run_that_the_command_cannot_build_goes_on_by_its_script(
    of_tokens, of_own_classes, text, capsys
):
    own = "your own class {}, which the command cannot build"
    for out, why in (
        (of_tokens / "with", "was trained on other tokens than its tokenizer makes of"),
        (of_tokens / "without", "was trained on tokens without a tokenizer, so no text gives them"),
        (of_own_classes / "model", own.format("small_own_model.OwnModel")),
        (of_own_classes / "unit", own.format("small_model.MyUnit")),
    ):
        capsys.readouterr()
        assert command("train --resume --steps 4 --out", out, "--corpus", text) == 2
        said = one_line_error(capsys)
        assert why in said and "go on from the script" in said


def test_a_longer_context_is_one_flag(folder, text, tmp_path, capsys):
    """The run starts from the very weights, reads longer windows, and goes on without being told again."""
    long = tmp_path / "long"
    tune = ("--start-from", folder, "--corpus", text)
    line = "train --steps 2 --batch 2 --checkpoint-every 1 --length 160 --out"
    assert command(line, long, *tune) == 0
    shutil.rmtree(long / "step_000002")
    (long / "model.safetensors").unlink()
    assert command("train --resume --out", long) == 0
    assert LanguageModel.from_pretrained(long).config.max_length == 160
    assert command("evaluate --bytes 500", long, "--corpus", text) == 0
    assert "windows of 160" in capsys.readouterr().out


def test_generate_without_a_seed_is_another_text_each_time(capsys):
    said = set()
    for _ in range(2):
        assert cli.main(["generate", "austen-flash", "--bytes", "30"]) == 0
        said.add(capsys.readouterr().out)
    assert len(said) == 2

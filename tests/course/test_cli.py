"""The command: help, defaults, one-line errors, and a round through its commands."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import flash_tutorial
from flash_course import cli
from flash_tutorial import LanguageModel, ModelConfig, training
from flash_tutorial.config import BLOCKS, TrainConfig
from flash_tutorial.files import parse_json, read_json, write_json
from flash_tutorial.settings import rules

pytestmark = pytest.mark.quick

SIZES = (
    "--dim 16 --depth 1 --qk-dim 8 --chunk-size 8 --length 20 --batch 2 --steps 6 --eval-bytes 200"
)
TINY = SIZES.split()


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("Anne had been forced into prudence in her youth. " * 60, encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def no_picture(monkeypatch):
    monkeypatch.setattr(cli, "save_curve", lambda *_: None)


@pytest.fixture
def folder(text, tmp_path, capsys):
    """A run that has ended."""
    out = tmp_path / "run"
    assert (
        cli.main(
            ["train", "--out", str(out), "--corpus", str(text), *TINY, "--checkpoint-every", "2"]
        )
        == 0
    )
    capsys.readouterr()
    return out


def parsed(*argv):
    return cli.build_parser().parse_args(argv)


def one_line_error(capsys):
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("flash-tutorial: error: "), captured.err
    return lines[0]


# ---------------------------------------------------------------- help and defaults


def train_parser():
    actions = cli.build_parser()._actions
    return next(action for action in actions if action.dest == "command").choices["train"]


@pytest.mark.parametrize("config", [ModelConfig, TrainConfig])
def test_flags_are_the_fields_with_their_texts_and_defaults(config):
    actions = {action.dest: action for action in train_parser()._actions}
    left = {name for name, rule in rules(config).items() if rule.flag is None}
    of_model = {"vocab_size", "tokens", "causal", "max_length", "unit_options"}
    assert left == (of_model if config is ModelConfig else set())
    for name, rule in rules(config).items():
        if name in left:
            assert name not in actions
            continue
        text = actions[name].help
        assert rule.text in text and actions[name].default is cli.argparse.SUPPRESS
        if rule.kind is not bool and rule.default is not None:
            assert f"(default: {rule.default})" in text, name
        for word in [*rule.choices, *rule.words]:
            assert word in actions[name].metavar.split("|"), name


def test_help_groups_the_options_by_architecture():
    groups = {g.title: {a.dest for a in g._group_actions} for g in train_parser()._action_groups}
    assert groups["options of flash, flash_quad"] == {"expansion", "qk_dim", "bias"}
    assert groups["options of flash"] == {"combine", "local", "global_", "backend"}
    assert groups[f"options of {', '.join(BLOCKS)}"] == {"heads", "ff_dim"}
    assert "dim" in groups["the model"] and "steps" in groups["training"]


@pytest.mark.parametrize(
    "argv, parts",
    [
        (
            "--heads 7",
            ("--heads 7: flash has no such option", "--chunk-size, --combine, --no-local"),
        ),
        (
            "--architecture transformer++ --chunk-size 64",
            ("--chunk-size 64: transformer++ has no such option", "--ff-dim"),
        ),
        (
            "--architecture transformer --no-global",
            ("--no-global: transformer has no such option", "--heads"),
        ),
        (
            "--no-global --combine sum",
            ("--combine sum has no effect, since --no-global: leave it out",),
        ),
        ("--architecture flsh", ("--architecture flsh: expected one of", "flash_quad")),
        ("--start-from austen-flash --heads 3", ("--heads 3: flash has no such option",)),
    ],
)
def test_an_option_of_another_architecture_is_one_line(argv, parts, capsys, tmp_path):
    assert cli.main(["train", "--out", str(tmp_path / "run"), *argv.split()]) == 2
    line = one_line_error(capsys)
    assert all(part in line for part in parts), line


def test_an_old_run_is_one_line(folder, capsys):
    (folder / "model.safetensors").unlink()
    path = folder / "config.json"
    write_json(path, parse_json(path) | {"format": 1})
    assert cli.main(["generate", str(folder), "--bytes", "5"]) == 2
    assert "config.json has format 1, expected 3" in one_line_error(capsys)
    path = folder / "step_000006" / "training.json"
    values = read_json(path)
    del values["model_config"]["format"]
    write_json(path, values)
    assert cli.main(["train", "--out", str(folder), "--resume"]) == 2
    assert "step_000006 has format 1, expected 3" in one_line_error(capsys)


def test_no_option_gives_the_defaults(tmp_path):
    model, train = cli.read_configs(parsed("train", "--out", str(tmp_path)))
    assert model == ModelConfig() and train == TrainConfig()
    assert (train.batch * train.length, train.steps, train.learning_rate, train.warmup) == (
        4096,
        1700,
        0.01,
        100,
    )


COMMON = "--dim 32 --depth 3 --norm layer --init-std 0.1 --embedding-std 0.2 --untied --objective masked --length 64"
SIZES_OF_COMMON = dict(
    vocab_size=257,
    dim=32,
    depth=3,
    causal=False,
    max_length=64,
    norm="layer",
    init_std=0.1,
    embedding_std=0.2,
    tied=False,
)


@pytest.mark.parametrize(
    "argv, model",
    [
        (
            "--architecture flash --expansion 3 --qk-dim 16 --bias none --chunk-size 64 --combine sum"
            " --position-scale 0.5",
            dict(
                architecture="flash",
                expansion=3,
                qk_dim=16,
                bias=None,
                chunk_size=64,
                combine="sum",
                position_scale=0.5,
            ),
        ),
        ("--no-local --position-scale paper", dict(local=False, position_scale=None)),
        ("--no-global --positions none", dict(global_=False, positions="none")),
        (
            "--architecture flash_quad --length-scale current",
            dict(architecture="flash_quad", length_scale="current"),
        ),
        (
            "--architecture flash_quad --length-scale 9",
            dict(architecture="flash_quad", length_scale=9),
        ),
        (
            "--architecture flash_quad --attention softmax",
            dict(architecture="flash_quad", attention="softmax"),
        ),
        (
            "--architecture mc_transformer++ --heads 2 --ff-dim 48 --chunk-size 8",
            dict(architecture="mc_transformer++", heads=2, ff_dim=48, chunk_size=8),
        ),
    ],
)
def test_each_option_of_a_model_reaches_it(tmp_path, argv, model):
    args = parsed("train", "--out", str(tmp_path), *COMMON.split(), *argv.split())
    assert cli.read_configs(args)[0] == ModelConfig(**SIZES_OF_COMMON | model)


def test_each_option_of_training_reaches_it(tmp_path):
    argv = (
        "--steps 50 --batch 6 --length 64 --lr 0.5 --warmup 3 --clip none --accumulate 2 --weight-decay 0.3 --seed 9 "
        "--corpus text8 --dtype float32 --eval-bytes all --checkpoint-every 7 --compile --start-from austen-flash"
    )
    assert cli.read_configs(parsed("train", "--out", str(tmp_path), *argv.split()))[
        1
    ] == TrainConfig(
        steps=50,
        batch=6,
        length=64,
        learning_rate=0.5,
        warmup=3,
        clip=None,
        accumulate=2,
        weight_decay=0.3,
        seed=9,
        corpus="text8",
        dtype="float32",
        compile=True,
        eval_bytes=None,
        checkpoint_every=7,
        start_from="austen-flash",
    )


def test_a_short_run_warms_up_over_half_of_its_steps_at_most(tmp_path):
    assert (
        cli.read_configs(parsed("train", "--out", str(tmp_path), "--steps", "30"))[1].warmup == 15
    )


def test_the_version_can_be_asked_for(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert (
        stop.value.code == 0
        and capsys.readouterr().out == f"flash-tutorial {flash_tutorial.__version__}\n"
    )


@pytest.mark.parametrize("command", ["", "train", "evaluate", "generate", "doctor"])
def test_help_explains_every_option(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"] if command else ["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    if command in ("", "train"):
        assert "examples:" in out
    parser = cli.build_parser()
    if command:
        parser = next(action for action in parser._actions if action.dest == "command").choices[
            command
        ]
    unexplained = [
        action.option_strings
        for action in parser._actions
        if not action.help and not action.choices
    ]
    assert not unexplained


def test_every_example_can_be_parsed():
    lines = [
        line
        for line in (cli.EXAMPLES + cli.TRAIN_EXAMPLES).splitlines()
        if line.startswith("  flash-tutorial")
    ]
    assert len(lines) >= 8
    for line in lines:
        argv = line.split("   ")[0].replace('"Anne had"', "Anne").split()[1:]
        parsed(*argv)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "argv, word",
    [
        ("train --dim 15 --qk-dim 8", "--dim 15"),
        ("train --dim x", "--dim"),
        ("train --qk-dim 7", "--qk-dim 7"),
        ("train --clip x", "--clip"),
        ("train --corpus no_such_file.txt", "no_such_file.txt"),
        ("train --lr 0", "--lr 0"),
        ("train --device gpu", "gpu"),
        ("train --threads 0", "--threads 0"),
        ("train --bias wrong", "wrong"),
        ("evaluate no_such_model", "no_such_model"),
        ("generate no_such_model", "no_such_model"),
        ("train --clip 0", "--clip 0"),
        ("train --steps 5 --warmup 5", "--warmup 5: expected fewer than --steps 5"),
        ("train --length 0", "--length 0"),
        ("train --no-local --no-global", "--no-local and --no-global leave nothing to mix"),
        ("generate --bytes -1", "--bytes -1"),
        ("generate --temperature -1", "--temperature -1"),
        ("generate --top-k 0", "--top-k 0"),
        ("train --seed -1", "--seed -1: expected"),
        (f"train --seed {2**63}", f"--seed {2**63}: expected"),
        ("generate --seed -1", "--seed: -1: expected an integer of at least 0 and below 2**63"),
        (f"generate --seed {2**63}", f"--seed: {2**63}: expected"),
        ("grade here --out there --seed -1", "--seed: -1: expected"),
        (f"grade here --out there --seed {10**23}", f"--seed: {10**23}: expected"),
        ("export gradescope 05 --seed -1", "--seed: -1: expected"),
        ("export gradescope 05 --seed one", "--seed: invalid seed value: 'one'"),
        ("evaluate --bytes 0", "--bytes 0"),
        ("evaluate --batch 0", "--batch 0"),
        ("evaluate --length 0", "--length 0"),
        ("nothing", "nothing"),
        ("", "COMMAND"),
    ],
)
def test_an_error_is_one_line(argv, word, capsys, tmp_path):
    argv = argv.split()
    if argv[:1] == ["train"]:
        argv += ["--out", str(tmp_path / "run")]
    try:
        code = cli.main(argv)
    except SystemExit as stop:  # argparse's own
        code = stop.code
    assert code == 2
    error = capsys.readouterr().err
    assert (
        len(error.splitlines()) == 1
        and error.startswith("flash-tutorial: error: ")
        and word in error
    )
    assert not re.search(r"\b[a-z_]+=", error), "fields are called by their flags"


@pytest.mark.parametrize(
    "argv, said",
    [
        ("--bias foo", "--bias foo: expected auto, toeplitz, rotary or none"),
        ("--bias None", "--bias None: expected auto, toeplitz, rotary or none"),
        ("--clip -1", "--clip -1.0: expected a number above 0 or none"),
        ("--eval-bytes -1", "--eval-bytes -1: expected an integer of at least 0 or all"),
        ("--position-scale -1", "--position-scale -1.0: expected a number of at least 0 or paper"),
        ("--depth 0", "--depth 0: expected an integer of at least 1, or leave it out"),
        ("--warmup -1", "--warmup -1: expected an integer of at least 0, or leave it out"),
        ("--positions up", "--positions up: expected scaled_sin, learnt, none, or leave it out"),
        (
            "--architecture flash_quad --length-scale 0",
            "--length-scale 0: expected an integer of at least 1, current, or leave it out",
        ),
        (
            "--architecture flsh",
            "--architecture flsh: expected one of flash, flash_quad, transformer, transformer+, transformer++, "
            "mc_transformer++",
        ),
        ("--norm batch", "--norm batch: expected scale or layer"),
        ("--accumulate 3", "--accumulate 3: expected a divisor of --batch 8"),
    ],
)
def test_what_is_expected_of_a_flag_can_be_typed(argv, said, capsys, tmp_path):
    assert cli.main(["train", "--out", str(tmp_path / "run"), *argv.split()]) == 2
    assert one_line_error(capsys) == f"flash-tutorial: error: {said}"


@pytest.mark.parametrize(
    "flag, said",
    [
        ("--top-k", "--top-k 0: expected an integer from 1 to 256, or leave it out for all tokens"),
        (
            "--top-p",
            "--top-p 0.0: expected a number, more than 0 and at most 1, or leave it out for all tokens",
        ),
    ],
)
def test_what_is_expected_of_drawing_can_be_typed(flag, said, capsys):
    assert cli.main(["generate", flag, "0"]) == 2
    assert one_line_error(capsys) == f"flash-tutorial: error: {said}"


@pytest.mark.parametrize("name, rule", [*rules(ModelConfig).items(), *rules(TrainConfig).items()])
def test_no_flag_is_said_to_take_none_unless_that_is_its_word(name, rule):
    if rule.flag is not None:
        said = cli.in_flags(f"{name}=-9: expected {rule.expected()}", cli.build_parser(), "train")
        assert "None" not in said and "'" not in said
        assert all(word in said for word in rule.words)


def test_a_folder_that_cannot_be_is_one_line(text, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert (
        cli.main(["train", "--out", str(tmp_path / "file" / "run"), "--corpus", str(text), *TINY])
        == 2
    )
    assert "a file of this name, or a folder, is in the way" in one_line_error(capsys)


def test_out_of_memory_is_one_line(monkeypatch, capsys, tmp_path):
    def broken(*args, **kwargs):
        raise RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 1e15 bytes"
        )

    monkeypatch.setattr(training, "train", broken)
    assert cli.main(["train", "--out", str(tmp_path)]) == 2
    assert "--accumulate" in one_line_error(capsys)
    monkeypatch.setattr(LanguageModel, "from_pretrained", broken)
    assert cli.main(["generate"]) == 2
    assert one_line_error(capsys).endswith("give a shorter --prompt, or write fewer --bytes")


def test_what_comes_next_is_what_the_model_can_do(text, tmp_path, capsys):
    for objective, command in (("causal", "generate"), ("masked", "evaluate")):
        out = str(tmp_path / objective)
        assert (
            cli.main(
                ["train", "--out", out, "--corpus", str(text), *TINY, "--objective", objective]
            )
            == 0
        )
        assert f"next: flash-tutorial {command} {out}\n" in capsys.readouterr().out


def test_ctrl_c_names_the_command_that_goes_on(folder, monkeypatch, capsys):
    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", stopped)
    assert cli.main(["train", "--out", str(folder), "--resume"]) == 130
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].endswith(f"train --out {folder} --resume")


SLOW = """
import sys, time
print("importing", flush=True)
try:
    time.sleep(30)
except BaseException as error:
    raise ImportError("as a library in C may turn an interrupt into anything") from error
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")
@pytest.mark.parametrize("number, code", [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize("command", ["train", "generate"])
def test_ctrl_c_while_torch_is_loaded_is_one_line(tmp_path, command, number, code):
    (tmp_path / "torch.py").write_text(SLOW)
    path = os.pathsep.join([str(tmp_path), str(Path(cli.__file__).parents[1])])
    with subprocess.Popen(
        [sys.executable, "-m", "flash_course.cli", command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout.readline() == "importing\n"
        process.send_signal(getattr(signal, number))
        assert process.stderr.read().strip() == "flash-tutorial: stopped before anything was done"
    assert process.returncode == code and [path.name for path in tmp_path.iterdir()] == ["torch.py"]


def test_no_folder_is_no_folder(text, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "--out", "", "--corpus", str(text), *TINY]) == 2
    assert (
        one_line_error(capsys) == "flash-tutorial: error: --out '': expected the name of a folder"
    )
    assert not list(tmp_path.iterdir())
    assert cli.main(["train", "--out", ".", "--corpus", str(text), *TINY]) == 0  # this is one


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take names in UTF-8 only")
def test_a_run_into_a_folder_whose_name_is_not_utf8_can_be_used(text, tmp_path, capsys):
    out = str(tmp_path / os.fsdecode(b"caf\xe9"))
    assert (
        cli.main(["train", "--out", out, "--corpus", str(text), *TINY, "--checkpoint-every", "2"])
        == 0
    )
    assert cli.main(["evaluate", out, "--corpus", str(text)]) == 0
    assert cli.main(["generate", out, "--bytes", "5"]) == 0
    assert cli.main(["train", "--out", out, "--resume", "--steps", "8"]) == 0
    tuned = [
        "train",
        "--out",
        str(tmp_path / "tuned"),
        "--start-from",
        out,
        "--corpus",
        str(text),
        "--steps",
        "2",
    ]
    assert cli.main(tuned) == 0 and cli.main([*tuned[:3], "--resume", "--steps", "3"]) == 0


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "result.json", "log.csv"])
def test_an_altered_file_is_one_line_of_the_command(folder, text, capsys, name):
    path = folder / name
    raw = path.read_bytes()
    path.write_bytes(raw[:-9] + bytes([raw[-9] ^ 1]) + raw[-8:])
    assert cli.main(["train", "--out", str(folder), "--resume"]) == 2
    assert str(path) in (line := one_line_error(capsys)) and "altered" in line
    code = cli.main(["evaluate", str(folder), "--corpus", str(text)])
    if name in ("config.json", "model.safetensors"):
        assert code == 2 and str(path) in (line := one_line_error(capsys)) and "altered" in line
    else:
        assert code == 0


@pytest.mark.parametrize("gone", ["step_*", "step_* log.csv"])
def test_a_finished_run_keeps_its_settings_without_checkpoints(folder, capsys, gone):
    before = (folder / "model.safetensors").read_bytes()
    for pattern in gone.split():
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert cli.main(["train", "--out", str(folder), "--resume"]) == 0
    assert (
        "is finished: its 6 updates are done (more of them with --steps)" in capsys.readouterr().out
    )
    assert (folder / "model.safetensors").read_bytes() == before
    assert cli.main(["train", "--out", str(folder), "--resume", "--steps", "9"]) == 2
    assert f"--steps 9: {folder} has no checkpoint to go on from" in one_line_error(capsys)


def test_more_steps_go_on_from_the_end(folder, capsys):
    assert cli.main(["train", "--out", str(folder), "--resume", "--steps", "9"]) == 0
    assert (
        "6 updates become 9: the rate of the next one is 0.005 instead of 0"
        in capsys.readouterr().out
    )
    assert json.loads((folder / "result.json").read_text())["step"] == 9
    assert cli.main(["train", "--out", str(folder), "--resume", "--steps", "3"]) == 2
    assert "--steps 3: 9 updates are done already" in one_line_error(capsys)


# ---------------------------------------------------------------- the commands


def test_resume_needs_no_other_option(folder, capsys):
    before = (folder / "model.safetensors").read_bytes()
    for path in folder.glob("step_000006"):
        path.rename(folder / "away")
    (folder / "model.safetensors").unlink()
    assert cli.main(["train", "--out", str(folder), "--resume", "--corpus", "austen"]) == 2
    assert (
        "trained on the text 'text.txt' as it was then, and 'austen' has other bytes"
        in one_line_error(capsys)
    )
    assert cli.main(["train", "--out", str(folder), "--resume"]) == 0
    assert "going on after step 4" in capsys.readouterr().out
    assert (folder / "model.safetensors").read_bytes() == before


def test_resume_refuses_another_setting(folder, capsys):
    assert cli.main(["train", "--out", str(folder), "--resume", "--lr", "0.5"]) == 2
    assert "--lr 0.01, now --lr 0.5 is asked for" in one_line_error(capsys)
    assert cli.main(["train", "--out", str(folder)]) == 2
    assert "already holds a run" in one_line_error(capsys)


def test_evaluate_prints_the_score_and_positions(folder, text, capsys):
    assert cli.main(["evaluate", str(folder), "--corpus", str(text), "--bytes", "100"]) == 0
    lines = capsys.readouterr().out.splitlines()
    expected = json.loads((folder / "result.json").read_text())
    assert "100 of 100 bytes, windows of 20" in lines[0] and len(lines) == 2 + 8
    for asked in ([], ["--bytes", "all"]):
        assert cli.main(["evaluate", str(folder), "--corpus", str(text), *asked]) == 0
        assert capsys.readouterr().out.startswith(
            f"{expected['validation_bits_per_byte']:.4f} bits per byte"
        )


def test_a_run_that_has_not_ended_is_read_from_its_last_checkpoint(folder, text, capsys):
    (folder / "config.json").unlink()
    assert cli.main(["evaluate", str(folder), "--corpus", str(text)]) == 0
    assert "step_000006" in capsys.readouterr().err


def test_an_altered_checkpoint_is_not_used(folder, text, capsys):
    path = folder / "step_000006" / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(raw)
    assert cli.main(["generate", str(path.parent), "--bytes", "5"]) == 2
    assert "altered" in one_line_error(capsys)


def test_generate_repeats_with_a_seed(folder, capsys):
    texts = []
    for seed in ("1", "1", "2"):
        assert (
            cli.main(["generate", str(folder), "--prompt", "Anne", "--bytes", "60", "--seed", seed])
            == 0
        )
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2] and texts[0].startswith("Anne")


def test_generate_writes_whole_characters_and_no_id_that_no_text_has(folder, monkeypatch, capsys):
    """An unfinished character at the end does no harm."""
    drawn = torch.tensor([[*"aé€".encode(), 299, 0xE2]])
    monkeypatch.setattr(LanguageModel, "generate", lambda *_, **__: drawn)
    assert cli.main(["generate", str(folder), "--prompt", "x—"]) == 0
    assert capsys.readouterr().out == "x—aé€\N{REPLACEMENT CHARACTER}\n"


# ---------------------------------------------------------------- tokens, a longer context, scores on the way


@pytest.fixture
def of_tokens(tmp_path):
    """Models of tokens, one with its tokenizer and one without."""
    from small_tokens import TEXT, tokenizer

    from flash_tutorial import ModelConfig
    from flash_tutorial.corpora import load_tokens
    from flash_tutorial.training import TrainConfig, train

    config = ModelConfig(vocab_size=301, dim=16, depth=1, qk_dim=8, chunk_size=8, max_length=20)
    for name, made in {"with": tokenizer(), "without": None}.items():
        corpus = load_tokens(tokenizer().encode(TEXT).ids, 300, made)
        train(
            config,
            TrainConfig(steps=2, batch=2, length=20),
            corpus=corpus,
            out=tmp_path / name,
            progress=False,
        )
    return tmp_path


def test_a_model_of_tokens_is_scored_and_writes(of_tokens, text, capsys):
    """Per token and per byte of the text, which it encodes itself; what it writes goes on from the prompt."""
    assert (
        cli.main(["evaluate", str(of_tokens / "with"), "--corpus", str(text), "--bytes", "100"])
        == 0
    )
    first, second, *_ = capsys.readouterr().out.splitlines()
    found = re.match(
        r"([\d.]+) bits per token, ([\d.]+) bits per byte: .*, (\d+) tokens in 100 bytes, windows of 20",
        first,
    )
    per_token, per_byte, n = map(float, found.groups())
    assert (
        n < 100
        and per_byte == pytest.approx(per_token * n / 100, abs=1e-3)
        and "bits per token" in second
    )
    command = [
        "generate",
        str(of_tokens / "with"),
        "--prompt",
        "It is ",
        "--bytes",
        "20",
        "--seed",
        "0",
    ]
    assert cli.main(command) == 0
    written = capsys.readouterr().out
    assert written.startswith("It is ") and len(written) > 10
    assert (
        cli.main(["generate", str(of_tokens / "with"), "--bytes", "5"]) == 0
        and len(capsys.readouterr().out) > 1
    )


@pytest.mark.parametrize("command", ["evaluate", "generate"])
def test_tokens_that_nobody_can_read_are_one_line_before_anything_else(
    of_tokens, text, capsys, monkeypatch, command
):
    def refused(name):
        assert (
            cli.main(
                [
                    command,
                    str(of_tokens / name),
                    *(["--corpus", str(text)] if command == "evaluate" else []),
                ]
            )
            == 1
        )
        said = capsys.readouterr()
        assert said.out == "" and said.err.count("\n") == 1 and str(of_tokens / name) in said.err
        return said.err

    assert "300 tokens without a tokenizer, so their text is not known" in refused("without")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert "pip install tokenizers" in refused("with")


def test_a_run_of_tokens_goes_on_with_its_own_tokenizer(text, tmp_path, capsys):
    """It lies in the run, so that nobody has to name it again."""
    from small_tokens import tokenizer

    from flash_tutorial.corpora import load_file
    from flash_tutorial.training import train

    config = ModelConfig(vocab_size=301, dim=16, depth=1, qk_dim=8, chunk_size=8, max_length=20)
    settings, corpus = (
        TrainConfig(steps=2, batch=2, length=20),
        load_file(text).encoded(tokenizer()),
    )
    for name in ("script", "command"):
        train(config, settings, corpus=corpus, out=tmp_path / name, progress=False)
    train(
        config,
        TrainConfig(steps=4, batch=2, length=20, warmup=settings.warmup),
        corpus=corpus,
        resume=True,
        out=tmp_path / "script",
        progress=False,
    )
    go_on = [
        "train",
        "--out",
        str(tmp_path / "command"),
        "--resume",
        "--corpus",
        str(text),
        "--steps",
        "4",
    ]
    assert cli.main(go_on) == 0 and "going on after step 2" in capsys.readouterr().out
    (
        shutil.rmtree(tmp_path / "command" / "step_000004"),
        shutil.rmtree(tmp_path / "command" / "step_000002"),
    )
    # its tokenizer is that of the end
    assert cli.main(go_on) == 0 and "is finished" in capsys.readouterr().out
    ours, theirs = (tmp_path / name / "model.safetensors" for name in ("command", "script"))
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize(
    "name, why",
    [
        (
            "with",
            "other tokens than its tokenizer makes of 'text.txt': give their text (--corpus), or ",
        ),
        ("without", "tokens without a tokenizer, so no text gives them: "),
    ],
)
def test_a_run_of_tokens_that_no_text_gives_goes_on_by_its_script(
    of_tokens, name, why, text, capsys, monkeypatch
):
    monkeypatch.chdir(text.parent)
    go_on = [
        "train",
        "--out",
        str(of_tokens / name),
        "--resume",
        "--corpus",
        text.name,
        "--steps",
        "4",
    ]
    assert cli.main(go_on) == 2
    line = one_line_error(capsys)
    assert f"step_000002 was trained on {why}go on from the script that began the run" in line


@pytest.mark.parametrize("own", ["model", "unit"])
def test_a_run_of_a_class_of_ones_own_goes_on_by_its_script(own, text, tmp_path, capsys):
    from small_model import MyUnit
    from small_own_model import OwnModel

    from flash_tutorial.training import train

    made = OwnModel() if own == "model" else ModelConfig(MyUnit, dim=16, depth=1, max_length=20)
    settings = TrainConfig(steps=2, batch=2, length=20, corpus=str(text))
    train(made, settings, out=tmp_path / "run", progress=False)
    name = "small_own_model.OwnModel" if own == "model" else "small_model.MyUnit"
    for gone in (None, "step_000002"):  # of a checkpoint, and of the end of a run
        if gone:
            shutil.rmtree(tmp_path / "run" / gone)
        assert cli.main(["train", "--out", str(tmp_path / "run"), "--resume", "--steps", "4"]) == 2
        line = one_line_error(capsys)
        assert (
            f"of a run of your own class {name}, which the command cannot build: go on from the script"
            in line
        )


def test_a_longer_context_is_one_flag(folder, text, tmp_path, capsys):
    """The run starts from the very weights, reads longer windows, and goes on without being told again."""
    from flash_tutorial import LanguageModel

    long = str(tmp_path / "long")
    tune = [
        "train",
        "--out",
        long,
        "--corpus",
        str(text),
        "--start-from",
        str(folder),
        "--steps",
        "2",
        "--batch",
        "2",
    ]
    assert cli.main([*tune, "--length", "160", "--checkpoint-every", "1"]) == 0
    capsys.readouterr()
    short, tuned = (LanguageModel.from_pretrained(path) for path in (folder, long))
    assert (short.config.max_length, tuned.config.max_length) == (20, 160)
    assert cli.saved_settings(long)[1]["train_config"]["length"] == 160
    shutil.rmtree(tmp_path / "long" / "step_000002")
    (tmp_path / "long" / "model.safetensors").unlink()
    assert cli.main(["train", "--out", long, "--resume"]) == 0
    assert cli.main(["evaluate", long, "--corpus", str(text), "--bytes", "500"]) == 0
    assert "windows of 160" in capsys.readouterr().out
    # a shorter one keeps what the model is built for
    assert cli.main([*tune[:2], str(tmp_path / "shorter"), *tune[3:], "--length", "10"]) == 0
    assert LanguageModel.from_pretrained(tmp_path / "shorter").config.max_length == 20
    assert (
        cli.main(["train", "--out", str(tmp_path / "shorter"), "--resume", "--length", "10"]) == 0
    )


def test_a_model_that_is_bound_to_its_length_says_why(text, tmp_path, capsys):
    from flash_tutorial import LanguageModel, ModelConfig

    LanguageModel(
        ModelConfig("transformer", dim=16, depth=1, heads=2, max_length=20)
    ).save_pretrained(tmp_path / "bound")
    tune = [
        "train",
        "--out",
        str(tmp_path / "run"),
        "--corpus",
        str(text),
        "--start-from",
        str(tmp_path / "bound"),
    ]
    assert cli.main([*tune, "--steps", "2", "--length", "40"]) == 2
    said = capsys.readouterr().err
    assert (
        "has --length 20, but --length 40 is asked for" in said
        and "learnt positions end there" in said
    )


def test_scores_on_the_way_and_the_best_model_from_the_command(text, tmp_path, capsys):
    out = tmp_path / "run"
    assert (
        cli.main(["train", "--out", str(out), "--corpus", str(text), *TINY, "--eval-every", "2"])
        == 0
    )
    assert "the best was" in capsys.readouterr().out
    assert cli.main(["evaluate", str(out / "best"), "--corpus", str(text), "--bytes", "100"]) == 0


def test_help_says_how_a_file_is_split(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "at 90% and 95%" in said and "NUL" in said and "three documents or more the last 5%" in said
    )


def test_doctor_names_versions_and_what_is_missing(capsys, monkeypatch):
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert (
        torch.cuda.is_available()
        or "FLASH: computed by torch, since it is not on a CUDA card" in out
    )
    assert torch.__version__ in out and "corpus austen: whole" in out and "float32 (" in out
    version = cli.metadata.version

    def without(name):
        if name == "tqdm":
            raise cli.metadata.PackageNotFoundError
        return version(name)

    monkeypatch.setattr(cli.metadata, "version", without)
    assert cli.main(["doctor"]) == 1
    assert "tqdm: missing: pip install tqdm" in capsys.readouterr().out


def test_the_command_runs_as_a_program_and_stops_when_nobody_reads(folder):
    """`flash-tutorial generate ... | head -c 1`"""
    command = [sys.executable, "-m", "flash_course.cli", "generate", str(folder), "--bytes", "300"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0

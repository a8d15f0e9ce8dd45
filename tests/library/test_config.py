"""The configurations: what is refused, sizes that compare, and what is written and read back."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from refusals import assert_one_line
from small_run import MODEL, run

from flash_tutorial import LanguageModel, ModelConfig, count_parameters
from flash_tutorial.config import ARCHITECTURES, BLOCKS, FORMAT, options_of
from flash_tutorial.files import read_json, write_json
from flash_tutorial.flash import FLASH
from flash_tutorial.model import find_config, make_unit
from flash_tutorial.settings import ABSENT, rules

EVERY = [*ARCHITECTURES, FLASH]
NAMES = [a if isinstance(a, str) else a.__name__ for a in EVERY]


def assert_short_line(call, *parts):
    assert len(assert_one_line(call, *parts)) < 300


def another_value(name):
    """Not the default of an option, and one that the option may have."""
    rule = rules(ModelConfig)[name]
    if rule.kind is bool:
        return not rule.default
    if rule.kind is dict:
        return {"expansion": 3}
    others = [value for value in rule.choices if value != rule.default]
    return others[-1] if others else 2 * (rule.default or 1)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("name", [name for name, rule in rules(ModelConfig).items() if rule.of])
@pytest.mark.parametrize("architecture", EVERY, ids=NAMES)
def test_an_option_is_taken_or_refused_with_those_that_there_are(architecture, name):
    there = options_of(architecture)
    another = another_value(name)
    default = rules(ModelConfig)[name].default
    if name in there:
        assert getattr(ModelConfig(architecture, **{name: another}), name) == another
        return
    for value in (another, default):  # also where it says nothing new
        said = (f"{name}={value!r}", ", ".join(there))
        assert_short_line(lambda: ModelConfig(architecture, **{name: value}), *said)  # noqa: B023
    assert getattr(ModelConfig(architecture), name) is ABSENT


@pytest.mark.parametrize(
    "options",
    [
        dict(positions="none", position_scale=0.5),
        dict(positions="learnt", position_scale=None),
        dict(architecture="transformer", position_scale=0.5),
        dict(global_=False, combine="sum"),
        dict(local=False, bias="rotary"),
        dict(architecture="flash_quad", attention="softmax", length_scale=7),
        dict(architecture=FLASH, init_std=0.1),
    ],
)
def test_what_has_no_effect_is_refused(options):
    *_, name = options
    said = (f"{name}={options[name]!r} has no effect, since", "leave it out")
    assert_short_line(lambda: ModelConfig(**options), *said)
    default = rules(ModelConfig)[name].default
    # so that replace(config, global_=False) hands combine on
    plain = ModelConfig(**options | {name: default})
    assert plain == ModelConfig(**{k: v for k, v in options.items() if k != name})
    assert name not in plain.to_dict()


@pytest.mark.parametrize(
    "options, parts",
    [
        (dict(architecture="flsh"), ("'flsh'", "flash_quad", "a class; did you mean 'flash'?")),
        (dict(architecture="FLASH-Quad"), ("did you mean 'flash_quad'?",)),
        (dict(architecture="gau"), ("a model of GAUs is 'flash_quad'",)),
        (dict(architecture=3), ("architecture=3", "flash_quad")),
        (dict(architecture="hybrid"), ("'hybrid'", "expected one of", "units=['flash', ")),
        (dict(dim=np.int64(64)), ("an integer of at least 1, of Python: int(dim)",)),
        (dict(units=[]), ("units=[]", "a list of kinds")),
        (dict(units="flash"), ("units='flash'", "a list of kinds")),
        (dict(units=["flash", "attention"]), ("'attention'", "flash_quad")),
        (dict(units=["flash", ["flash"]]), ("['flash']]", "a list of kinds")),
        (dict(units=["flash", int]), ("int", "a class of your own is an architecture by itself")),
        (dict(units=["flash"], architecture="transformer"), ("'transformer' beside units",)),
        (dict(units=["flash"], depth=2), ("depth=2 and 1 units", "leave depth out")),
        (dict(units=["flash", "flash_quad"], heads=2), ("hybrid of flash, flash_quad", "heads=2")),
        (dict(vocab_size=0), ("vocab_size=0", "at least 1")),
        (dict(dim=12.0), ("dim=12.0", "integer")),
        (dict(dim=13), ("dim=13", "even")),
        (dict(depth=True), ("depth=True", "integer")),
        (dict(max_length=-5), ("max_length=-5", "at least 1")),
        (dict(causal="false"), ("causal='false'", "True or False")),
        (dict(norm="batch"), ("norm='batch'", "'scale' or 'layer'")),
        (dict(positions="rope"), ("'rope'", "'scaled_sin', 'learnt', 'none' or None")),
        (dict(position_scale="x"), ("position_scale='x'", "a number")),
        (dict(init_std=-1.0), ("init_std=-1.0", "at least 0")),
        (dict(embedding_std=float("nan")), ("embedding_std=nan", "at least 0")),
        (dict(tied=None), ("tied=None", "True or False")),
        (dict(expansion=0), ("expansion=0", "at least 1")),
        (dict(qk_dim=7), ("qk_dim=7", "even")),
        (dict(bias="t5"), ("bias='t5'", "'rotary' or None")),
        (dict(chunk_size=0), ("chunk_size=0", "at least 1")),
        (dict(combine="max"), ("combine='max'", "'mean' or 'sum'")),
        (dict(local=1), ("local=1", "True or False")),
        (dict(local=False, global_=False), ("local=False", "switch one of them on")),
        (dict(architecture="flash_quad", attention="none"), ("='none'", "'relu2' or 'softmax'")),
        (dict(architecture="flash_quad", length_scale="now"), ("length_scale='now'", "'current'")),
        (dict(architecture="flash_quad", length_scale=0), ("length_scale=0", "at least 1")),
        (dict(architecture="transformer", heads=5), ("dim=128", "heads=5", "divide")),
        (dict(architecture="transformer", dim=200), ("dim=200", "heads=3", "divide")),
        (dict(architecture="mc_transformer++", dim=12, heads=4), ("heads=4", "even")),
        (dict(architecture="transformer++", ff_dim=1.5), ("ff_dim=1.5", "integer")),
        (dict(architecture=FLASH, unit_options=[3]), ("unit_options=[3]", "dict")),
        (dict(architecture=FLASH, unit_options={"a": object}), ("plain values", "config.json")),
    ],
)
def test_a_wrong_value_is_refused_before_a_model_is_built(options, parts):
    assert_short_line(lambda: ModelConfig(**options), *parts)


def test_only_a_number_that_would_do_is_asked_for_as_pythons():
    for wrong in (np.int64(-4), np.array([1, 2]), np.True_):
        with pytest.raises(ValueError) as error:
            ModelConfig(dim=wrong)
        assert "of Python" not in str(error.value)


def test_replace_changes_one_thing():
    base = ModelConfig("flash", dim=64, chunk_size=16)
    without = ModelConfig("flash", dim=64, chunk_size=16, global_=False)
    assert replace(base, global_=False) == without
    assert_short_line(lambda: replace(base, heads=2), "heads=2", "flash has no such option")
    own = ModelConfig(FLASH, unit_options={"qk_dim": 8})
    assert replace(own, depth=1).unit_options == {"qk_dim": 8}


def test_classes_do_not_share_their_options():
    first, second = ModelConfig(FLASH), ModelConfig(FLASH)
    first.unit_options["qk_dim"] = 8
    assert second.unit_options == ModelConfig(FLASH).unit_options == {}


def test_a_configuration_shows_what_it_has():
    shown = repr(ModelConfig("transformer++"))
    assert "ff_dim=None" in shown and "chunk_size" not in shown
    assert eval(shown) == ModelConfig("transformer++")
    for name, rule in rules(ModelConfig).items():
        assert f"    {name} = {rule.default!r}: {rule.text}" in ModelConfig.__doc__


# ---------------------------------------------------------------- sizes that compare


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_default_models_have_the_size_of_flash(architecture):
    """Within 2%: four gated units, or two blocks; the learnt positions of the plain Transformer are counted."""
    flash, other = (
        count_parameters(LanguageModel(ModelConfig(name))) for name in ("flash", architecture)
    )
    assert abs(other / flash - 1) <= 0.02
    assert ModelConfig(architecture).depth == (2 if architecture in BLOCKS else 4)


@pytest.mark.parametrize("dim", [64, 96, 256])
def test_a_block_weighs_as_much_as_two_gated_units_at_other_widths_too(dim):
    """With S = D / 2, as in the default model; the plain Transformer's table is left out, which made it narrower."""
    pair = 2 * count_parameters(make_unit(ModelConfig("flash", dim=dim, qk_dim=dim // 2)))
    for architecture in BLOCKS[1:]:
        block = count_parameters(make_unit(ModelConfig(architecture, dim=dim)))
        assert block == pytest.approx(pair, rel=0.03)


def test_train_says_the_size_first(corpus, capsys):
    model = run(corpus, model=replace(MODEL, depth=2), say=True, stop_at=1).model
    first = capsys.readouterr().out.splitlines()[0]
    assert first == f"{count_parameters(model):,} parameters: flash, D = 16, 2 units"


# ---------------------------------------------------------------- written and read back


@pytest.mark.parametrize("architecture", EVERY, ids=NAMES)
def test_only_what_matters_is_written_and_all_of_it_comes_back(architecture):
    one = ModelConfig(architecture, dim=64, tied=False)
    values = json.loads(json.dumps(one.to_dict()))
    own = None if isinstance(architecture, str) else architecture
    assert ModelConfig.from_dict(values, architecture=own) == one
    common = {name for name, rule in rules(ModelConfig).items() if not rule.of}
    expected = {"format", *common, *options_of(architecture)} - one.inert().keys()
    # an option that came later is not written at the value in force before it existed
    expected -= {name for name, rule in rules(ModelConfig).items() if rule.before == rule.default}
    assert set(values) == expected and values["format"] == FORMAT


@pytest.mark.parametrize(
    "values, parts",
    [
        ({"chunk": 3}, ("unknown key 'chunk'", "chunk_size")),
        ({"heads": 3}, ("heads=3", "flash has no such option")),
        # of before, with all options of all architectures
        ({"format": 1, "heads": None}, (f"format 1, expected {FORMAT}", "another version")),
        ({"format": 4}, (f"format 4, expected {FORMAT}", "another version")),
    ],
)
def test_what_does_not_fit_is_named(values, parts):
    assert_short_line(lambda: ModelConfig.from_dict(ModelConfig().to_dict() | values), *parts)


@pytest.mark.parametrize(
    "name",
    [
        "austen-flash",
        "austen-flash-student",
        "austen-transformer++",
        "austen-transformer++-student",
        "recall-flash",
        "recall-global",
        "recall-local",
    ],
)
def test_models_of_the_package_have_this_format(name):
    assert ModelConfig.from_dict(find_config(name).to_dict()) == find_config(name)


def test_an_old_run_is_not_gone_on_with(corpus, unfinished):
    path = unfinished / "step_000010" / "training.json"
    values = read_json(path)
    del values["model_config"]["format"]
    write_json(path, values)
    said = "step_000010 has format 1"
    assert_short_line(lambda: run(corpus, unfinished, resume=True), said)


# ---------------------------------------------------------------- where it stands


def test_no_torch_is_needed():
    code = "import sys, flash_tutorial.config; print({'torch', 'numpy'} & {*sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout == "set()\n"


def test_a_hybrids_unit_has_the_options_of_its_kind_and_the_start_of_the_whole():
    whole = ModelConfig(units=["flash", "transformer++", "flash_quad"], heads=4, combine="sum")
    assert (whole.depth, whole.layers, whole.positions_in_use) == (3, 2.0, "scaled_sin")
    gated, block, quad = (whole.of_unit(kind) for kind in whole.kinds)
    assert (gated.combine, gated.heads) == ("sum", ABSENT)
    assert (block.heads, block.combine) == (4, ABSENT)
    assert quad.bias_in_use == "toeplitz" and "Toeplitz" in whole.bound_by_length()
    assert ModelConfig.from_dict(whole.to_dict()) == whole
    assert "units" not in ModelConfig().to_dict()

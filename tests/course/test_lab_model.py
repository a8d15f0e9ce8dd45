"""The shipped model in the browser: its script computes torch's logits, and what int8 costs is the measured number."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch

from flash_course import lab
from flash_course.bench.counts import count_state_numbers
from flash_course.bench.stored import load_stored
from flash_course.lab import int8, shipped
from flash_course.lab.page import ASSETS
from flash_tutorial import LanguageModel, load_corpus
from flash_tutorial.corpora import first_bytes
from flash_tutorial.training import evaluate

LARGEST = 5_000_000  # bytes of the page as a file
READ = """
const fs = require("fs");
const [script, page, ids, out] = process.argv.slice(1);
const {Flash, drawToken} = new Function(fs.readFileSync(script, "utf8") + "; return {Flash, drawToken};")();
const model = new Flash(JSON.parse(fs.readFileSync(page)));
const state = model.newState();
const size = () => state.units.reduce((sum, unit) =>
  sum + Object.values(unit).reduce((numbers, array) => numbers + array.length, 0), 0);
const logits = [];
const sizes = new Set([size()]);
const shares = [];
for (const id of JSON.parse(fs.readFileSync(ids))) {
  const found = model.step(state, id);
  logits.push(...found.logits);
  sizes.add(size());
  shares.push(found.read[0].weights.length);
}
fs.writeFileSync(out, Buffer.from(new Float64Array(logits).buffer));
console.log(JSON.stringify({sizes: [...sizes], shares, next: drawToken([...logits.slice(-256)], 0)}));
"""


@pytest.fixture(scope="module")
def stored():
    return LanguageModel.from_pretrained(shipped.MODEL)


def page_data():
    """What the script of the page is handed, read from the page's HTML."""
    text = re.search(r"^mount\(\"[\w-]+\", (.*), start\);$", lab.writer().html, flags=re.M)[1]
    return json.loads(text)["data"]


def read_by_script(model, ids, folder):
    """Logits (T, 256) of the page's script, and what it says of its state."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node here to run the page's script")
    files = {"page.json": model, "ids.json": ids}
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    paths = [str(folder / name) for name in (*files, "logits")]
    call = [node, "-e", READ, str(ASSETS / "flash_model.js"), *paths]
    run = subprocess.run(call, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return np.fromfile(folder / "logits").reshape(len(ids), -1), json.loads(run.stdout)


@pytest.mark.nightly
def test_the_script_computes_torchs_logits_with_a_state_of_one_size(stored, tmp_path):
    """Three chunks and a tail, in float64, so that nothing but a fault of the script can move a digit."""
    C = stored.config.chunk_size
    ids = first_bytes(load_corpus("austen").validation, 3 * C + 5).tokens.astype(int).tolist()
    found, said = read_by_script(page_data()["model"], ids, tmp_path)
    with torch.no_grad():
        right = int8.rounded(stored).double()(torch.tensor([ids]))[0].numpy()
    np.testing.assert_allclose(found, right, rtol=0, atol=1e-10)
    assert said["sizes"] == [count_state_numbers(stored, len(ids))]
    assert said["shares"] == [t % C + 1 for t in range(len(ids))]
    assert said["next"] == right[-1].argmax()


def test_rounding_is_the_nearest_of_255_numbers_in_each_row(stored):
    before = stored.state_dict()
    for name, after in int8.rounded(stored).state_dict().items():
        if not name.endswith((*int8.IN_BYTES, "head.weight")):
            assert torch.equal(after, before[name]), name
            continue
        scale = before[name].abs().amax(1, keepdim=True) / 127
        assert ((after - before[name]).abs() <= scale * 0.5001).all(), name
        numbers = after / scale
        assert (numbers - numbers.round()).abs().max() < 1e-3, name


def test_the_page_says_what_int8_was_measured_to_cost(stored):
    measured = load_stored("int8")
    few = measured["first"]
    split = first_bytes(load_corpus("austen").validation, few["bytes"])
    for name, model in {"float": stored, "int8": int8.rounded(stored)}.items():
        found = evaluate(model, split).bits_per_byte
        assert found == pytest.approx(few["bits_per_byte"][name], abs=1e-4)
    bits = page_data()["bits"]
    both = measured["bits_per_byte"]
    assert [float(bits[name]) for name in both] == list(both.values())
    assert float(bits["moved"]) == pytest.approx(abs(both["int8"] - both["float"]))


def test_the_page_is_one_small_file(tmp_path):
    lab.writer().save(tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size <= LARGEST


def test_the_cache_overtakes_where_the_page_says_so():
    kept = page_data()["kept"]
    assert (
        kept["each"] * kept["overtakes"] > kept["state"] >= kept["each"] * (kept["overtakes"] - 1)
    )

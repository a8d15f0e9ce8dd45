"""What of a submission is run for an exercise."""

import pytest
from marks import needs_solutions
from submissions import FULL, forks, graded, points, source

from flash_course.grading.statements import parsed

pytestmark = forks


@pytest.mark.quick
@needs_solutions
def test_code_outside_functions_is_not_run_again(tmp_path):
    text = source() + "\n\n# %%\nimport time\ntime.sleep(100)\nmodel = time.sleep(100)\n%matplotlib inline\n!rm -rf x\n"
    assert graded(tmp_path, text)["points"] == FULL


@pytest.mark.quick
@needs_solutions
def test_a_cell_that_cannot_be_read_costs_what_is_in_it(tmp_path):
    text = source().replace("    missing = -len(x_TD) % C\n", "    missing = = 3\n")
    result = graded(tmp_path, text)
    assert points(result)["05.1"] == 0 and points(result)["05.2"] == 15
    assert "is left out: invalid syntax" in result["notes"][0]


@pytest.mark.quick
@needs_solutions
def test_an_import_that_fails_is_said_and_the_rest_counts(tmp_path):
    result = graded(tmp_path, source() + "\n\n# %%\nimport no_such_package\n")
    assert result["points"] == FULL
    assert "ModuleNotFoundError: No module named 'no_such_package'" in result["exercises"]["05.1"]["notes"][0]


@needs_solutions
def test_an_answer_that_the_students_own_function_computes_is_run_for_its_exercise(tmp_path):
    text = source() + (
        "\n\n# %%\nimport time\n\ndef same(x):\n    return x\n\ndef slow():\n    time.sleep(100)\n\nmodel = slow()\n"
        "kept, answer_05_6 = answer_05_6, None\nanswer_05_6 = same(kept)\nto_chunks = same(to_chunks)\n"
    )
    assert graded(tmp_path, text)["points"] == FULL


@pytest.mark.quick
@needs_solutions
def test_a_name_that_is_missing_is_said(tmp_path):
    result = graded(tmp_path, source().replace("def earlier_chunks(", "def somewhere_else("))
    assert result["exercises"]["05.2"]["notes"] == ["earlier_chunks is not defined."]
    assert result["exercises"]["05.1"]["notes"] == []


@pytest.mark.quick
def test_jupyters_own_lines_are_left_out_and_a_text_keeps_its_own():
    code = "%matplotlib inline\nnp.tril?\n!pip list\nif True:\n    pass\n"
    assert parsed(code)[0] == "\n\n\nif True:\n    pass\n"
    text = 'answer = """\n% of all\nreally?\n"""\n'
    assert parsed(text)[0] == text

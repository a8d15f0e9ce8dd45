"""Runs as dots."""

from flash_course import drawing


def test_each_run_is_a_dot_in_the_row_of_its_model():
    _, axes = drawing.new_axes()
    drawing.strips(axes, {"FLASH": [2.2, 2.0, 2.1], "Transformer++": [2.5]})
    dots = [line for line in axes.lines if line.get_linestyle() == "None"]
    assert [line.get_xdata().tolist() for line in dots] == [[2.0, 2.1, 2.2], [2.5]]
    assert [line.get_ydata().tolist() for line in dots] == [[0, 0, 0], [1]]
    assert [text.get_text() for text in axes.texts] == ["mean 2.10", "mean 2.50"]


def test_a_mark_has_its_name():
    _, axes = drawing.new_axes()
    drawing.upright(axes, {"counts": 2.07})
    assert axes.lines[0].get_xdata() == [2.07, 2.07] and axes.texts[0].get_text() == "counts"

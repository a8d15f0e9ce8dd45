"""What lecture 10 lets its reader build: the interval of a difference, and how often a few runs find the wrong sign."""

import itertools

import numpy as np

from flash_tutorial.experiments import welch
from flash_tutorial.experiments.intervals import student_t

from . import Build, Case

# ---------------------------------------------------------------- the course's own


def difference_of_means(a, b, student_t):
    """Mean of the scores a minus that of b, and half of its 95% interval; student_t gives the factor of a freedom."""
    found = welch(a, b)
    return found.mean, found.half


def wrong_signs(a, b, n):
    """Of all choices of n scores of each, the share in which the difference of means has not the sign of all scores."""
    of_a, of_b = (
        np.array([np.mean(some) for some in itertools.combinations(each, n)]) for each in (a, b)
    )
    differences = of_a[:, None] - of_b
    return float((differences * (np.mean(a) - np.mean(b)) < 0).mean())


# ---------------------------------------------------------------- likely mistakes


def half_by(a, b, student_t, *, ddof=1, divided=True, freedom=None):
    """``difference_of_means`` whose numbers are given."""
    parts = [np.var(scores, ddof=ddof) / (len(scores) if divided else 1) for scores in (a, b)]
    by_welch = sum(parts) ** 2 / sum(e**2 / (len(s) - 1) for e, s in zip(parts, (a, b)))
    half = student_t(freedom or by_welch) * sum(parts) ** 0.5
    return np.mean(a) - np.mean(b), half


def by_n(a, b, student_t):
    return half_by(a, b, student_t, ddof=0)


def spread_of_runs(a, b, student_t):
    return half_by(a, b, student_t, divided=False)


def all_runs_are_free(a, b, student_t):
    return half_by(a, b, student_t, freedom=len(a) + len(b) - 2)


def two_errors(a, b, student_t):
    return half_by(a, b, lambda freedom: 2.0)


def errors_add_up(a, b, student_t):
    """Standard errors added, in place of their squares."""
    mean, half = difference_of_means(a, b, student_t)
    errors = [np.var(scores, ddof=1) / len(scores) for scores in (a, b)]
    return mean, half * (errors[0] ** 0.5 + errors[1] ** 0.5) / sum(errors) ** 0.5


def b_minus_a(a, b, student_t):
    mean, half = difference_of_means(a, b, student_t)
    return -mean, half


def same_choice_for_both(a, b, n):
    """Pairs: of a and b the same runs are chosen."""
    whole = np.mean(a) - np.mean(b)
    gaps = np.array(a) - np.array(b)
    means = np.array([np.mean(some) for some in itertools.combinations(gaps, n)])
    return float((means * whole < 0).mean())


def right_signs(a, b, n):
    return 1 - wrong_signs(a, b, n)


def negative_is_wrong(a, b, n):
    return wrong_signs(a, b, n) if np.mean(a) > np.mean(b) else 1 - wrong_signs(a, b, n)


def interval_case(label, a, b):
    return Case(label, lambda answer: answer(list(a), list(b), student_t), f"a = {a}, b = {b}")


def signs_case(label, a, b, n):
    return Case(label, lambda answer: answer(list(a), list(b), n), f"a = {a}, b = {b}, n = {n}")


BUILDS = (
    Build(
        difference_of_means,
        cases=(
            interval_case("three runs of each", (4, 6, 5), (3, 3.5, 4)),
            interval_case("b is better", (7, 8, 9.5), (4, 6, 5)),
            interval_case("unequal numbers of runs", (4, 6, 5, 5, 7), (1, 3)),
        ),
        likely=(
            ("The squares are divided by n - 1: np.var(scores, ddof=1).", by_n),
            (
                "This is the spread of single runs: the squared error of a mean is n times smaller.",
                spread_of_runs,
            ),
            ("Two errors hold 95% only of many runs: ask student_t(freedom).", two_errors),
            (
                "The freedom is Welch's, which is smaller where the two spreads differ.",
                all_runs_are_free,
            ),
            ("Errors add as squares: the root comes after the sum.", errors_add_up),
            ("It is the mean of a minus that of b.", b_minus_a),
        ),
        why="Every ± of this course's results page is this number.",
        tolerance=1e-5,
    ),
    Build(
        wrong_signs,
        cases=(
            signs_case("one run of three", (5, 5.5, 8.5), (3, 6, 9), 1),
            signs_case("two runs of three", (3, 6, 9), (5, 5.5, 8), 2),
            signs_case("a is smaller", (1, 2, 6.2, 3), (4, 5, 2.6, 3.5), 2),
            signs_case("no overlap", (1, 2, 3), (7, 8, 9), 2),
        ),
        likely=(
            (
                "a and b are chosen each by itself: every choice of a against every one of b.",
                same_choice_for_both,
            ),
            (
                "Wrong is the sign that all runs do not have, which need not be minus.",
                negative_is_wrong,
            ),
            ("These are the right signs: count those that disagree.", right_signs),
        ),
        why="Ten runs are enough to see how often three would have misled you.",
    ),
)

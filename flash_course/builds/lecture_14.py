"""What lecture 14 lets its reader build: what a matrix of scores says of pairs."""

import numpy as np

from . import Build, Case

# ---------------------------------------------------------------- the course's own


def pairs_part(score_TT):
    """What a matrix of scores says of the pair (i, j): without every term of i alone, of j alone, and of neither."""
    of_i = score_TT.mean(axis=1, keepdims=True)
    of_j = score_TT.mean(axis=0, keepdims=True)
    return score_TT - of_i - of_j + score_TT.mean()


# ---------------------------------------------------------------- likely mistakes


def mean_taken_twice(score_TT):
    return pairs_part(score_TT) - score_TT.mean()


def without_column_means(score_TT):
    return score_TT - score_TT.mean(axis=0)


def without_row_means(score_TT):
    return score_TT - score_TT.mean(axis=1, keepdims=True)


def row_means_along_columns(score_TT):
    return score_TT - score_TT.mean(axis=0) - score_TT.mean(axis=1) + score_TT.mean()


def one_mean(score_TT):
    return score_TT - score_TT.mean()


def scores_case(label, score_TT):
    score_TT = np.array(score_TT, dtype=float)
    return Case(label, lambda answer: answer(score_TT.copy()), f"score_TT = {score_TT.tolist()}")


BUILDS = (
    Build(
        pairs_part,
        cases=(
            scores_case("terms of i and of j alone", [[1, 2, 4], [3, 4, 6], [8, 9, 11]]),
            scores_case("each token likes the one before", [[0, 0, 0], [6, 0, 0], [0, 6, 0]]),
            scores_case("all together", [[1, 5, 0], [4, 2, 9], [7, 3, 5]]),
        ),
        likely=(
            ("Both means have taken the constant with them: give it back once.", mean_taken_twice),
            ("Terms of i alone are left: they are the same all along a row.", without_column_means),
            ("Terms of j alone are left: they are the same all along a column.", without_row_means),
            (
                "A row's mean goes from its own row: mean(axis=1, keepdims=True).",
                row_means_along_columns,
            ),
            ("That is the constant alone: the terms of i and of j are still there.", one_mean),
        ),
        why="It shows which mistake a matrix of scores cannot help making, whatever was learned.",
    ),
)

"""While an answer runs the package is shut."""

import contextlib
import functools
import inspect
import sys
import threading

import numpy as np
import pytest
import torch
from small_exercise import CASES, exercise
from test_exercises import skip_without_triton

from flash_course.checks import exercise as model
from flash_course.checks.closed_book import PackageShut, package_shut, refusal, without_autograd
from flash_course.checks.exercise import load_exercise
from flash_course.checks.texts import say
from flash_course.checks.verdict import judge
from flash_tutorial import reference
from flash_tutorial.corpora.corpus import cut_text


def test_a_call_into_the_package_is_seen_even_behind_except():
    def double(x):
        with contextlib.suppress(Exception):
            reference.silu(np.zeros(1))
        return 2 * x

    verdict = judge(exercise(CASES), double)
    assert "calls `flash_tutorial.reference.silu`" in str(verdict) and verdict.status == "wrong"
    assert judge(exercise(CASES, shut=False), double).status == "right"
    with pytest.raises(PackageShut), package_shut():
        reference.silu(np.zeros(1))
    assert sys.getprofile() is None


# ---------------------------------------------------------------- the course's own answers


def doubled(x):
    return 2 * x


def oracle_forms():
    """The course's own answer to 05.1, taken over in ways of its own."""
    from flash_course.checks.sets.set_05 import to_chunks

    def in_a_thread(x, C):
        found = []
        thread = threading.Thread(target=lambda: found.append(to_chunks(x, C)))
        thread.start()
        thread.join()
        return found[0]

    def behind_an_except(x, C):
        try:
            return to_chunks(x, C)
        except BaseException:
            return np.zeros((1, C, x.shape[1]))

    def renamed(x, C):
        return to_chunks(x, C)

    renamed.__module__ = "__main__"

    def without_the_watch(x, C):
        sys.setprofile(None)
        return to_chunks(x, C)

    class Chunker:
        def __call__(self, x, C):
            return to_chunks(x, C)

    return {
        "itself": to_chunks,
        "partial": functools.partial(to_chunks),
        "a partial of a partial": functools.partial(functools.partial(to_chunks)),
        "cached": functools.lru_cache(to_chunks),
        "wrapped": functools.wraps(to_chunks)(lambda x, C: to_chunks(x, C)),
        "a lambda": lambda x, C: to_chunks(x, C),
        "a thread": in_a_thread,
        "behind an except": behind_an_except,
        "renamed": renamed,
        "an object": Chunker(),
        "of the package": reference.to_chunks,
        "of what lies below it": cut_text,
        "without the watch": without_the_watch,
    }


@pytest.mark.parametrize("name", oracle_forms())
def test_the_courses_own_answer_earns_nothing_in_any_form(name):
    verdict = judge(load_exercise("05.1"), oracle_forms()[name])
    assert verdict.points == 0 and verdict.status == "wrong"
    assert "asks for your own code" in str(verdict), verdict


def from_elsewhere():
    """Answers that call what the course has outside its checks: the right answers of lectures, counts, statistics."""
    from flash_course.bench import counts
    from flash_course.builds import lecture_04
    from flash_tutorial import experiments

    def chunk_form(q, k, v, C):
        q, k, v = (torch.from_numpy(np.asarray(x)) for x in (q, k, v))
        return lecture_04.chunk_form(q, k, v, C).numpy()

    def compare_runs(a, b):
        shared = sorted(a.keys() & b.keys())
        found = experiments.paired([a[seed] for seed in shared], [b[seed] for seed in shared])
        return found.mean, found.mean - found.half, found.mean + found.half, found.is_settled

    def kept(fn, *inputs):
        return counts.kept_bytes(lambda: fn(*inputs))

    return {"04.3": chunk_form, "10.4": compare_runs, "08.5": kept}


@pytest.mark.parametrize("name", ["04.3", "10.4", "08.5"])
def test_what_the_course_has_elsewhere_is_shut_too(name):
    verdict = judge(load_exercise(name), from_elsewhere()[name])
    assert verdict.points == 0 and "asks for your own code" in str(verdict), verdict


def test_where_the_package_is_open_the_courses_own_test_is_shut():
    exercise = load_exercise("05.4")
    for answer in (exercise.right, lambda *version: exercise.right(*version)):
        verdict = judge(exercise, answer)
        assert verdict.points == 0 and "asks for your own code" in str(verdict), verdict


def test_a_recursion_without_an_end_is_named_and_does_not_hide_a_call_behind_it():
    def endless(x, C):
        return endless(x, C)

    def unwatched(x, C):
        with contextlib.suppress(RecursionError):
            endless(x, C)
        return load_exercise("05.1").right(x, C)

    said = str(judge(load_exercise("05.1"), endless))
    assert "RecursionError: maximum recursion depth exceeded" in said
    assert "sys.setprofile" not in said
    assert judge(load_exercise("05.1"), unwatched).points == 0


def test_a_students_own_code_is_never_taken_for_the_packages():
    class Doubler:
        def __call__(self, x):
            return 2 * x

        def method(self, x):
            return 2 * x

        __wrapped__ = None

    method = Doubler().method
    for form in (
        *(doubled, functools.partial(doubled), Doubler(), method, np.vectorize(doubled)),
        *(functools.partial(np.multiply, 2), lambda x: 2 * x),
    ):
        assert refusal(exercise(CASES), form) is None
        assert judge(exercise(CASES), form).points == 10, form
    assert refusal(exercise(CASES), functools.cache(doubled)) is None


@pytest.mark.parametrize(
    "gradient",
    [
        lambda f, x: torch.autograd.grad(f(x.requires_grad_()), x)[0],
        lambda f, x: (f(x.requires_grad_()).backward(), x.grad)[1],
        lambda f, x: torch.func.grad(f)(x),
        lambda f, x: torch.func.vjp(f, x)[1](torch.tensor(1.0))[0],
        lambda f, x: torch.func.jacrev(f)(x),
        lambda f, x: torch.func.jacfwd(f)(x),
        lambda f, x: torch.func.jvp(f, (x,), (x,))[1],
        lambda f, x: torch.autograd.functional.jacobian(f, x),
        lambda f, x: torch.func.linearize(f, x)[1](x),
    ],
)
def test_no_gradient_of_torch_passes_where_it_is_to_be_derived(gradient):
    def answer(x):
        return gradient(lambda t: (t * t).sum(), torch.from_numpy(x.copy()).float()).numpy()

    def with_gradients_again(x):
        with torch.inference_mode(False), torch.enable_grad():
            return answer(x)

    case = without_autograd(model.call("slope", "small", np.array([2.0, 3.0])))
    slope = exercise([case], right=lambda x: 2 * x, parts={"small": 10})
    for tried in (answer, with_gradients_again):
        assert say("all", "autograd") in str(judge(slope, tried))
    assert judge(slope, lambda x: 2 * torch.from_numpy(x).numpy()).points == 10


@pytest.mark.parametrize("number, name", [("11.3", "launch_local"), ("11.6", "launch_gated")])
def test_a_kernel_of_the_course_starts_for_no_answer(number, name):
    skip_without_triton(number)
    from flash_course.checks.sets import set_11

    names = {"kernel": set_11.kernel, "torch": torch, "tile_for": power_of_two}
    for each in ("launch_local", "launch_gated"):
        exec(compile(inspect.getsource(getattr(set_11, each)), "answer.py", "exec"), names)
    verdict = judge(load_exercise(number), names[name])
    assert verdict.status == "wrong" and verdict.points == 0 and "set_11" in str(verdict)


def power_of_two(n):
    return max(16, 1 << (n - 1).bit_length())

"""Each build of the lectures: the course's own version is right, and each kept mistake is named."""

import pytest

from flash_course import mine
from flash_course.builds import all_builds

MISTAKES = [
    pytest.param(build, sentence, wrong, id=f"{lecture} {name}: {sentence[:40]}")
    for name, (lecture, build) in all_builds().items()
    for sentence, wrong in build.likely
]


@pytest.mark.parametrize("name", all_builds())
def test_the_courses_own_version_is_right(name):
    build = all_builds()[name][1]
    assert len(build.cases) >= 2 and build.why
    assert mine.judge(build, build.right).status == "right"


@pytest.mark.parametrize("build, sentence, wrong", MISTAKES)
def test_a_likely_mistake_is_named(build, sentence, wrong):
    card = mine.judge(build, wrong)
    assert card.status in ("wrong", "raises") and card.likely == [sentence]

"""What tests and notebooks under test store as a learner's progress lies apart from the real learner's."""

import os
import tempfile


def pytest_configure(config):
    folder = tempfile.mkdtemp(prefix="flash-tutorial-progress-")
    os.environ["FLASH_TUTORIAL_PROGRESS"] = os.path.join(folder, "progress.json")

"""A plugin of pytest: what came of each test is on the disk as soon as it ends, and a second run goes on.

    PYTHONPATH=tools pytest -p each_test --each-test FILE

FILE gets a line of JSON when a test begins and when it ends. Tests that have ended are left out of a later run with the
same FILE; one that had begun and not ended, as where the card hangs, comes last, and after the second time no more.
"""

import json
import os
from pathlib import Path

import pytest


def pytest_addoption(parser):
    parser.addoption("--each-test", type=Path, help="the file of results, which grows")


def pytest_configure(config):
    if path := config.getoption("--each-test"):
        of_worker = getattr(config, "workerinput", None)
        before = read(path) if of_worker is None else of_worker["each_test"]
        config.pluginmanager.register(
            EachTest(path, before, writes=of_worker is None), "each-test-results"
        )


def read(path):
    """{test: its outcomes, "begun" among them}, of a file whose last line may have been cut off."""
    found = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        found.setdefault(row["test"], []).append(row["outcome"])
    return found


def is_over(outcomes):
    return any(outcome != "begun" for outcome in outcomes) or outcomes.count("begun") >= 2


class EachTest:
    """Notes of one run. Of several processes (pytest-xdist) the one that hands out the tests writes."""

    def __init__(self, path, before, writes):
        self.path, self.before, self.writes, self.failed = path, before, writes, {}

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node):
        """A worker that takes a dead one's place has to see the same tests: those of the beginning."""
        node.workerinput["each_test"] = self.before

    def write(self, **row):
        if not self.writes:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config, items):
        over = [item for item in items if is_over(self.before.get(item.nodeid, []))]
        config.hook.pytest_deselected(items=over)
        items[:] = [item for item in items if item not in over]
        items.sort(key=lambda item: item.nodeid in self.before)  # stable

    def pytest_collectreport(self, report):
        if report.failed:
            self.write(
                test=report.nodeid, outcome="not collected", why=str(report.longrepr)[-1500:]
            )

    def pytest_runtest_logstart(self, nodeid, location):
        self.write(test=nodeid, outcome="begun")

    def pytest_runtest_logreport(self, report):
        """A test has three reports; the last one ends it."""
        if report.failed:
            self.failed[report.nodeid] = f"{report.when}: {report.longrepr}"[-3000:]
        if report.when == "call" and report.passed:
            self.failed.setdefault(report.nodeid, None)
        if report.when != "teardown":
            if report.skipped:
                self.failed[report.nodeid] = "skipped"
            return
        why = self.failed.pop(report.nodeid, None)
        if why is None:
            self.write(test=report.nodeid, outcome="passed")
        elif why == "skipped":
            self.write(test=report.nodeid, outcome="skipped")
        else:
            self.write(test=report.nodeid, outcome="failed", why=why)

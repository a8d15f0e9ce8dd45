"""What an experiment is: a question, the arms that are compared, how they are trained, measured and
compared.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from torch import nn

from ..config import ModelConfig
from ..corpora import load_corpus
from ..errors import short
from ..names import ours
from ..training import TrainConfig


@ours
@dataclass(frozen=True)
class Search:
    """How an arm's rate is chosen: by runs of ``steps`` updates, or ``seconds``, with seeds that
    are not reported.

    A rate's score is the mean over the seeds. Where the best rate ends the grid, the next one by
    ``factor`` is tried, until a worse one lies on either side or ``most`` were tried.

    >>> from flash_tutorial.experiments import Search
    >>> Search(steps=200).of_row({"measures": {"bits_per_byte": 2.5}})
    2.5
    """

    steps: int | None = None
    seconds: float | None = None
    seeds: tuple = (100,)
    score: str | Callable = (
        "bits_per_byte"  # a measure, or a function of a row; the lowest is the best
    )
    factor: float = 2.0
    most: int = 7
    measure: Callable | None = None  # in place of the experiment's, for these runs

    def of_row(self, row):
        """The score of one of its runs; infinite where it diverged."""
        if "diverged_at_step" in row["measures"]:
            return math.inf
        score = self.score(row) if callable(self.score) else row["measures"].get(self.score)
        if score is None:
            known = ", ".join(row["measures"]) or "nothing"
            raise ValueError(
                f"a run that chooses a rate has no {self.score!r}: it measured {known}; give "
                "Search(score=...), and measure it"
            )
        return math.inf if math.isnan(score) else score


@ours
@dataclass(frozen=True)
class Arm:
    """One of the things that are compared.

    model: a ``ModelConfig``, a trained model to start from (``Trained``), or a function that builds a
    model from a seed. rates: one, or the grid
    of the search. rates_of: other arms whose chosen rates it runs at, besides its own. settings:
    what tells it from arms of the same name; they stand in its rows. train: settings of
    ``TrainConfig`` that are its own. corpus: a function that loads its text. steps, seeds: those of
    its runs in place of the experiment's. also: rates that it runs at besides. timed_as: the label
    of the arm whose time of an update is its own too. keep: finished runs stay in runs/NAME, for
    runs that start from them.

    >>> from flash_tutorial import ModelConfig
    >>> from flash_tutorial.experiments import Arm
    >>> arm = Arm("flash", ModelConfig(dim=64), rates=(5e-3, 1e-2), settings={"depth": 4})
    >>> arm.label
    'flash 4'
    """

    name: str
    model: ModelConfig | Callable | None = None
    rates: tuple = ()
    rates_of: tuple = ()
    settings: dict = field(default_factory=dict)
    train: dict = field(default_factory=dict)
    corpus: Callable | None = None
    search: Search | None = None
    steps: tuple | None = None
    seeds: tuple | None = None
    also: tuple = ()
    keep: bool = False
    timed_as: str | None = None

    @property
    def label(self) -> str:
        """The name and the settings, which no two arms have alike."""
        return " ".join([self.name, *map(str, self.settings.values())])

    def owns(self, row):
        """Whether a row is a run of this arm; a budget is the run's and not the arm's."""
        settings = {
            name: value
            for name, value in row["settings"].items()
            if name in self.settings or name != "budget"
        }
        return (row["arm"], settings) == (self.name, self.settings)


@ours
@dataclass(frozen=True)
class Compare:
    """Score of ``arm`` minus that of ``other`` (labels), by Welch's interval; each at its chosen
    rate, or at ``rates``.

    paired: the interval of the differences seed by seed, and their correlation, beside Welch's.
    name: under which a page can print it.

    >>> from flash_tutorial.experiments import Compare
    >>> gain = Compare("mine", "flash", name="gain", paired=True)
    >>> gain.arm, gain.other
    ('mine', 'flash')
    """

    arm: str
    other: str
    name: str | None = None
    paired: bool = False
    rates: tuple | None = None
    measure: str | None = None
    steps: int | None = None
    budget: float | None = None
    equal_time: bool = False  # the arm's runs with the updates that the other's time holds


@ours
@dataclass(frozen=True)
class Experiment:
    """The whole declaration; ``train`` and ``steps`` say how long and by what settings each arm is
    trained.

    train: settings of ``TrainConfig`` but rate, seed and updates; or a function ``(updates, budget)
    -> settings``. steps: one length of the runs, or several. seconds: budgets of one core in place
    of updates, each of which holds as many updates as were timed, by the settings of the first.
    equal_time: an arm; the others also run with the updates that its time holds. measure: a
    function ``(model, corpus) -> dict`` of the finished model; at_start: the same of the model
    before it is trained. make: what makes one run in place of training: a function ``(arm, rate,
    seed, steps) -> dict``; update: beside it, a function of an arm that gives what makes one
    update, to be timed. threads: of torch. same_code: digests, or commits from before there were
    digests, of code that gives the same numbers as today's. anew: for a project, whose layers,
    settings and text change all the time: rows of others are passed over and made anew, in place of
    refused, and the library's own code does not count.

    The rest is for the reader: ``setting``, ``meaning`` (one paragraph), ``not_tried``;
    ``numbers``, a function of the rows that gives texts by name, for pages and, as ``{name}``, for
    ``meaning``; ``tables``, a function of the rows that gives the tables that are shown in place of
    that of all runs.

    >>> from flash_tutorial import ModelConfig
    >>> from flash_tutorial.experiments import Arm, Compare, Experiment, Search
    >>> arms = (
    ...     Arm("flash", ModelConfig("flash", dim=64), rates=(5e-3, 1e-2)),
    ...     Arm("transformer++", ModelConfig("transformer++", dim=64), rates=(5e-3, 1e-2)),
    ... )
    >>> experiment = Experiment(
    ...     "mine",
    ...     "Is FLASH better?",
    ...     arms=arms,
    ...     steps=(1000,),
    ...     search=Search(steps=200),
    ...     compare=(Compare("flash", "transformer++"),),
    ... )
    >>> experiment.settings_of(arms[0], rate=1e-2, seed=0, steps=1000).learning_rate
    0.01
    """

    name: str
    question: str
    arms: tuple
    train: dict | Callable = field(default_factory=dict)
    steps: tuple = ()
    seconds: tuple = ()
    equal_time: str | None = None
    search: Search | None = None
    seeds: tuple = (0, 1, 2)
    measure: Callable | None = None
    at_start: Callable | None = None
    make: Callable | None = None
    update: Callable | None = None
    threads: int = 1
    score: str = "bits_per_byte"
    compare: tuple = ()
    same_code: tuple = ()
    anew: bool = False
    setting: str = ""
    meaning: str = ""
    not_tried: str = ""
    numbers: Callable | None = None
    tables: Callable | None = None

    def __post_init__(self):
        if not self.name or {"/", "\\"} & {*self.name}:
            raise ValueError(
                f"an experiment has the name {self.name!r}, which is to be a file's: give letters and digits"
            )
        refuse_no_tuples(self, self.name, ("arms", "steps", "seconds", "seeds", "compare"))
        refuse_others("arms", self.arms, Arm)
        refuse_others("compare", self.compare, Compare)
        for arm in self.arms:
            refuse_no_tuples(arm, arm.label, ("rates", "rates_of", "steps", "seeds", "also"))
            refuse_no_search(arm, self.search_of(arm))
            refuse_own_settings(arm.train, f"train of {arm.label}")
        refuse_own_settings(self.train, "train")
        labels = [arm.label for arm in self.arms]
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(
                f"{self.name} has two arms {twice[0]!r}: tell them apart by name or settings"
            )
        named = {self.equal_time} - {None}
        for arm in self.arms:
            named |= {*arm.rates_of, arm.timed_as} - {None}
        for compare in self.compare:
            named |= {compare.arm, compare.other}
            refuse_no_sides(compare)
        if unknown := sorted(named - {*labels}):
            raise ValueError(f"{self.name} has no arm {unknown[0]!r}: it has {', '.join(labels)}")
        for arm in self.arms:
            refuse_no_run(self, arm)
        refuse_no_seed(self)

    def arm(self, label: str) -> Arm:
        """The arm of that label."""
        return next(arm for arm in self.arms if arm.label == label)

    def search_of(self, arm):
        """How the arm's rate is chosen; None where it has one rate."""
        if len(arm.rates) <= 1:
            return None
        return arm.search or self.search

    def seeds_of(self, arm):
        """The seeds that are reported of an arm; none of one that was dropped after the search."""
        return self.seeds if arm.seeds is None else arm.seeds

    def settings_of(self, arm, rate, seed, steps, budget=None):
        """The ``TrainConfig`` of a run."""
        shared = self.train(steps, budget) if callable(self.train) else self.train
        return TrainConfig(**shared | arm.train | dict(learning_rate=rate, seed=seed, steps=steps))

    def corpus_of(self, arm):
        """The text that an arm is trained on."""
        if arm.corpus:
            return arm.corpus()
        return load_corpus(self.settings_of(arm, 1.0, 0, 1000).corpus)


# ---------------------------------------------------------------- what is no declaration
def refuse_no_tuples(of, name, fields):
    """A ValueError for a number, or a text, where several are asked for."""
    for each in fields:
        value = getattr(of, each)
        if value is not None and (isinstance(value, str) or not isinstance(value, Iterable)):
            shown = short(value)
            raise ValueError(f"{name}: {each}={shown}: expected a tuple, as ({shown},)")


def refuse_others(name, given, kind):
    """A ValueError for what is no arm, or no comparison."""
    for each in given:
        if not isinstance(each, kind):
            raise ValueError(f"{name} has {short(each)}: expected {kind.__name__}(...)")


def refuse_no_sides(compare):
    """A ValueError for rates that are not two, one for each side."""
    if compare.rates is not None and len(compare.rates) != 2:
        asked = "expected two, the arm's and the other's, or None"
        raise ValueError(
            f"Compare({compare.arm!r}, {compare.other!r}): rates={compare.rates}: {asked}"
        )


def refuse_no_run(experiment, arm):
    """A ValueError for an arm of which no run can be made."""
    if isinstance(arm.model, nn.Module | type):
        given = f"a {type(arm.model).__name__}"
        if isinstance(arm.model, type):
            given = f"the class {arm.model.__name__}"
        expected = "a ModelConfig, or a function of the seed that builds one"
        raise ValueError(f"the model of {arm.label} is {given}: expected {expected}")
    if experiment.make is None and not (arm.rates or arm.rates_of):
        raise ValueError(f"{arm.label} has no rate: give rates=(0.01,), or several and a search")
    if not (arm.steps or experiment.steps or experiment.seconds or experiment.equal_time):
        raise ValueError(
            f"{arm.label} has no length: give the experiment steps=(1000,), or seconds=(60,)"
        )


def refuse_no_seed(experiment):
    """A ValueError where no arm is ever run; one that was only searched is."""
    arms = experiment.arms
    if arms and not any(experiment.seeds_of(arm) or experiment.search_of(arm) for arm in arms):
        raise ValueError(
            f"{experiment.name} has no seed, and so makes no run: give it seeds=(0, 1, 2)"
        )


def refuse_no_search(arm, search):
    """A ValueError for several rates of which nothing chooses one."""
    if len(arm.rates) > 1 and search is None:
        raise ValueError(
            f"{arm.label} has {len(arm.rates)} rates and no search: give search=Search(steps=...), or one rate"
        )
    if search and search.steps is None and search.seconds is None:
        raise ValueError(
            f"the search of {arm.label} has no length: give Search(steps=...), or Search(seconds=...)"
        )
    if search:
        refuse_no_tuples(search, f"the search of {arm.label}", ("seeds",))
        if not search.factor > 1:
            raise ValueError(
                f"the search of {arm.label}: factor={search.factor!r}: expected more than 1"
            )
        if not search.seeds:
            raise ValueError(f"the search of {arm.label} has no seed: give Search(seeds=(100,))")


def refuse_own_settings(train, name):
    """A ValueError for settings of a run that the declaration itself gives."""
    places = {"steps": "steps=(3,)", "seed": "seeds=(3,)", "learning_rate": "the rates of its arms"}
    for setting, place in places.items() if isinstance(train, dict) else ():
        if setting in train:
            raise ValueError(f"{name} has {setting!r}: that is the experiment's, {place}")

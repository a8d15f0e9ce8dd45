"""Experiments: a declaration says what is asked of which models, one runner makes the runs and
their tables.

    from flash_tutorial.experiments import Arm, Compare, Experiment, Search, command

    EXPERIMENT = Experiment("mine", "Is my unit better?", arms=(Arm("mine", config, rates=(5e-3, 1e-2)), ...), ...)
    command(EXPERIMENT, "results")        # python mine.py run, python mine.py table
"""

from .declaration import Arm as Arm
from .declaration import Compare as Compare
from .declaration import Experiment as Experiment
from .declaration import Search as Search
from .flops import flops_of_update as flops_of_update
from .intervals import over_windows as over_windows
from .intervals import paired as paired
from .intervals import welch as welch
from .runner import command as command
from .runner import repeated as repeated
from .runner import run as run
from .stored_rows import StoredRows as StoredRows
from .stored_rows import matching as matching
from .stored_rows import measured as measured
from .tables import report as report
from .trained import Trained as Trained

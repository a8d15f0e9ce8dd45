"""An error in what a reader asked for: in a notebook its sentence alone, without the lines of the course's own code."""


class WrongCall(ValueError):
    """What was given, what was expected, what to do."""

    def _render_traceback_(self):
        """What IPython shows in place of a traceback."""
        return [str(self)]

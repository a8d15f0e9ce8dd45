"""A cell's text as plain Python: Jupyter's own lines (`%matplotlib`, `!pip`, `x = !pwd`, `name?`) do nothing.

IPython finds these lines, so what is one here is one in a notebook. Each becomes a call of ``get_ipython()``, which is
how nbconvert writes it into a .py file, and such a call counts as None.
"""

import ast
from itertools import pairwise

# the others hand the cell away
PYTHON_CELLS = (
    "time",
    "capture",
    "prun",
    "debug",
    "wandb",
    "snakeviz",
    "scalene",
)
COMMANDS = {  # a line may begin with them without a %
    "apt",
    "apt-get",
    "autoreload",
    "cat",
    "cd",
    "clear",
    "conda",
    "config",
    "cp",
    "curl",
    "env",
    "git",
    "load_ext",
    "ls",
    "mamba",
    "man",
    "matplotlib",
    "mkdir",
    "mv",
    "pip",
    "pip3",
    "pwd",
    "pylab",
    "python",
    "python3",
    "reset",
    "rm",
    "rmdir",
    "run",
    "time",
    "timeit",
    "unzip",
    "uv",
    "wget",
    "who",
    "whos",
    "writefile",
}


def python_of(cell):
    """The cell's Python, line for line. A text that is no Python and no notebook's either stays one that is none."""
    text = body_of(cell)
    if wrong_line(text) is None:
        return text
    text = translated(text)
    tried = set()
    while (number := wrong_line(text)) not in {None, *tried}:
        tried.add(number)
        text = translated(with_percent(text, number))
    return text


def body_of(cell):
    """The cell without the magic that it begins with; nothing of a cell that Jupyter hands to another program."""
    text = cell.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    while text.lstrip().startswith("%%"):
        empty = text[: len(text) - len(text.lstrip())]
        magic, _, rest = text.lstrip().partition("\n")
        if magic[2:].split()[:1] not in [[name] for name in PYTHON_CELLS]:
            return ""
        text = f"{empty}\n{rest}"
    return text


def wrong_line(text):
    """The number of the line where a text stops being Python, or None."""
    try:
        ast.parse(text)
    except SyntaxError as error:
        return error.lineno or 1
    return None


def with_percent(text, number):
    """The text, with a % before the line of that number if it is a command such as `pip install` without one."""
    lines = text.split("\n")
    words = lines[number - 1].split() if number <= len(lines) else []
    if len(words) > 1 and words[0] in COMMANDS and not words[1].startswith("="):
        lines[number - 1] = lines[number - 1].replace(words[0], f"%{words[0]}", 1)
    return "\n".join(lines)


def translated(text):
    """The text as IPython translates it, statement by statement, with as many lines as before."""
    try:
        from IPython.core.inputtransformer2 import TransformerManager, make_tokens_by_line
    except ImportError:
        raise ValueError(
            "it has a line of Jupyter's own, which IPython reads: pip install ipython"
        ) from None
    text = text.replace("\f", "")  # a page break, at which IPython would take a new line to begin
    blank = len(text) - len(text.lstrip())
    manager = TransformerManager()
    lines = f"{text}\n".splitlines(keepends=True)
    for transform in [*manager.cleanup_transforms, *manager.line_transforms]:
        lines = transform(lines)
    starts = sorted(
        {tokens[0].start[0] - 1 for tokens in make_tokens_by_line(lines) if tokens}
        | {0, len(lines)}
    )
    found = ["\n"] * text[:blank].count("\n")
    for start, end in pairwise(starts):
        after = manager.do_token_transforms(lines[start:end])
        # a command that went on behind a backslash
        found += [
            *after,
            *["\n"] * (end - start - len(after)),
        ]
    return "".join(found)


# ---------------------------------------------------------------- calls of get_ipython()


def tree_of(text):
    """The tree of a cell's Python, in which calls of ``get_ipython()`` do nothing and give None."""
    return WithoutJupyter().visit(ast.parse(text))


class WithoutJupyter(ast.NodeTransformer):
    """What is timed runs still: ``%time x = f()`` gives x its value."""

    def visit_Expr(self, node):
        if not is_jupyter_call(node.value):
            return self.generic_visit(node)
        return self.timed(node.value) or ast.copy_location(ast.Pass(), node)

    def visit_Assign(self, node):
        of_jupyter = is_jupyter_call(node.value)
        self.generic_visit(node)
        if of_jupyter and isinstance(node.value, ast.Constant):
            for target in node.targets:
                if isinstance(target, ast.Tuple | ast.List):  # a, b = !pwd
                    single = [one for one in target.elts if not isinstance(one, ast.Starred)]
                    nothings = ast.Tuple([node.value] * len(single), ast.Load())
                    node.value = ast.copy_location(nothings, node.value)
        return node

    def visit_Call(self, node):
        if not is_jupyter_call(node):
            return self.generic_visit(node)
        body = self.timed(node)
        if len(body) == 1 and isinstance(body[0], ast.Expr):  # x = %time f()
            return body[0].value
        return ast.copy_location(ast.Constant(None), node)

    def timed(self, call):
        """The statements that a magic runs in the notebook's own names; none of most."""
        given = [
            one.value
            for one in call.args
            if isinstance(one, ast.Constant) and isinstance(one.value, str)
        ]
        magic, *texts = given or [""]
        of_cell = getattr(call.func, "attr", None) == "run_cell_magic"
        of_python = PYTHON_CELLS if of_cell else ("time",)
        if magic not in of_python or not texts:
            return []
        try:
            body = tree_of(python_of(texts[-1])).body
        except SyntaxError:
            return []
        for one in body:
            ast.increment_lineno(one, call.lineno - (not of_cell))
        return body


def is_jupyter_call(node):
    """Whether it is ``get_ipython()``, or a call of one of its methods."""
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute):
        return is_jupyter_call(node.func.value) and isinstance(node.func.value.func, ast.Name)
    return isinstance(node.func, ast.Name) and node.func.id == "get_ipython"

"""The one table of colours: figures, laboratory and site take theirs from here. It imports nothing.

Okabe and Ito's colours are told apart with any colour vision, and in grey by their lightness.
"""

BLACK = "#000000"
ORANGE = "#E69F00"
SKY = "#56B4E9"
GREEN = "#009E73"
YELLOW = "#F0E442"
BLUE = "#0072B2"
VERMILION = "#D55E00"
PURPLE = "#CC79A7"

# A model has one colour wherever it is shown.
MODELS = {
    "flash": BLUE,
    "flash-quad": GREEN,
    "gau": GREEN,
    "transformer++": VERMILION,
    "softmax": VERMILION,
    "transformer": BLACK,
    "linear": ORANGE,
    "local only": SKY,
    "global only": PURPLE,
    "flash-pytorch": PURPLE,
    "window": VERMILION,
    "retnet": BLACK,
    "gla": SKY,
    "delta": PURPLE,
    "hybrid": GREEN,
}

# On pages: the colour on white, on black, and of letters on white, which need more contrast.
ON_PAGES = {
    "blue": (BLUE, "#56B4E9", BLUE),
    "vermilion": (VERMILION, "#FF8A3D", "#B34D00"),
    "green": (GREEN, "#2DC99B", "#00775A"),
    "orange": (ORANGE, ORANGE, "#8A5F00"),
}


def style_sheet(light, dark):
    """CSS: ``--blue``, ``--blue-text``, ``--flash`` and so on, for a selector of light pages and one of dark."""
    on_white = []
    on_black = []
    for name, (white, black, text) in ON_PAGES.items():
        on_white.append(f"--{name}:{white};--{name}-text:{text};")
        on_black.append(f"--{name}:{black};--{name}-text:{black};")
        for model in ("flash", "softmax", "gau"):
            if MODELS[model] == white:
                both = f"--{model}:var(--{name});--{model}-text:var(--{name}-text);"
                on_white.append(both)
                on_black.append(both)
    return f"{light}{{{''.join(on_white)}}}\n{dark}{{{''.join(on_black)}}}\n"

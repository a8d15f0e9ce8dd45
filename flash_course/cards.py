"""What a learner sees of a check: a card."""

from dataclasses import dataclass, field


@dataclass
class Card:
    title: str
    status: str  # "right", "wrong", "raises", "not attempted"
    criteria: list = field(default_factory=list)  # (label, True, False or None)
    rows: list = field(default_factory=list)  # (label, text), side by side
    said: list = field(default_factory=list)
    likely: list = field(default_factory=list)
    why: str = ""
    points: tuple | None = None
    following: str | None = None

    def as_text(self):
        lines = [f"{self.title}: {self.status}"]
        lines += [f"  {label}: {'right' if ok else 'wrong'}" for label, ok in self.criteria]
        lines += [f"  {label}: {text}" for label, text in self.rows]
        lines += [f"  {text}" for text in self.said]
        lines += [f"  Likely: {text}" for text in self.likely]
        if self.status == "right" and self.why:
            lines.append(f"  {self.why}")
        return "\n".join(lines)


def show(card):
    print(card.as_text())

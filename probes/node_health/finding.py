"""What a look at one part of a node brings: what is wrong, what could not be seen, what was measured."""

from dataclasses import dataclass, field


@dataclass
class Findings:
    """Of one look, or of several together."""

    wrong: list[str] = field(default_factory=list)
    blind: list[str] = field(default_factory=list)
    """What could not be looked at, and why: not well, but not broken either."""
    measured: dict[str, float] = field(default_factory=dict)

    def add(self, other: "Findings") -> None:
        """Take in what another look has brought."""
        self.wrong += other.wrong
        self.blind += other.blind
        self.measured |= other.measured

    def use(self, what: str, name: str, used: float, most: float, percent: float) -> None:
        """Something of which there is so much and no more: wrong if `percent` of it or more is used."""
        share = 100 * used / most if most else 0.0
        self.measured[f"{name}_percent"] = max(round(share, 1), self.measured.get(f"{name}_percent", 0.0))
        if share >= percent:
            self.wrong.append(
                f"{what}: {share:.1f} % used, {used:,.0f} of {most:,.0f} (the limit here is {percent:g} %)"
            )

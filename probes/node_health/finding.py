"""The findings of a check: problems, failed checks, and measurements."""

from dataclasses import dataclass, field


@dataclass
class Findings:
    """The findings of one check, or of several."""

    problems: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    """What could not be checked, and why: neither a pass nor a failure."""
    measured: dict[str, float] = field(default_factory=dict)

    def add(self, other: "Findings") -> None:
        """Add the findings of another check."""
        self.problems += other.problems
        self.unchecked += other.unchecked
        self.measured |= other.measured

    def use(self, what: str, name: str, used: float, most: float, percent: float) -> None:
        """Add the use of a limited resource; a problem at `percent` or more."""
        share = 100 * used / most if most else 0.0
        self.measured[f"{name}_percent"] = max(round(share, 1), self.measured.get(f"{name}_percent", 0.0))
        if share >= percent:
            self.problems.append(
                f"{what}: {share:.1f} % used, {used:,.0f} of {most:,.0f} (the limit here is {percent:g} %)"
            )

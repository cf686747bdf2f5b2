"""The page about the rewards, worked out from the table by trying every exploit: docs/reference/rewards.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from georefer.training.rewards import OURS, PUBLISHED, REWARDS
from georefer.training.rewards.base import Reward
from georefer.training.rewards.exploits import EXPLOITS, Gain, exploit_gains
from georefer.training.rewards.exploits_said import said_gains

SCENES = 40
NEAR = 0.005
"""Of a reward's range: what is nearer to the honest answer is neither gain nor loss."""

LEAD = f"""# Rewards

Written by `python -m georefer.training.rewards`; a test holds this page to the code. Every exploit is tried in {SCENES}
made-up scenes with each reward. It stands beside the honest answers it was made from: shapes a little off, some missed,
and where a model is torn between two candidates, the mean of both choices.

- **pays**: the exploit earns more than the honest answer, by the figure behind it (in units of the reward).
- **free**: it earns the same, so that nothing teaches a model to leave it.
- Everything else costs. What an exploit cannot be tried with (labels where none are asked) is free.

A reward is named in a recipe by its name here, by `package.module:thing` or by `./file.py:thing`. To try one of your
own, give it to `georefer.training.rewards.exploits.exploit_gains`.
"""


def gains_of(rewards: Iterable[Reward], scenes: int = SCENES) -> dict[str, dict[str, Gain]]:
    """Gains of each exploit by reward; rewards that read and ask the same are tried on the same answers."""
    found: dict[str, dict[str, Gain]] = {}
    groups: dict[tuple, list[Reward]] = {}
    for reward in rewards:
        if reward.asks in ("set", "one"):
            groups.setdefault((reward.reads, reward.asks, reward.write), []).append(reward)
        else:
            found[reward.name] = said_gains(reward, scenes)
    for group in groups.values():
        found |= exploit_gains(group, scenes)
    return found


def rewards_page() -> str:
    gains = gains_of(REWARDS.values())
    parts = [LEAD, *_section("Ours", OURS, gains), *_section("Published", PUBLISHED, gains)]
    tried = [f"- **{e.name}**: {e.says}" for e in EXPLOITS]
    return "\n".join([*parts, "## The exploits", "", *tried, ""])


def _section(title: str, rewards: Mapping[str, Reward], gains: Mapping[str, Mapping[str, Gain]]) -> list[str]:
    head = [
        "| reward | what it is | range | where nothing is | honest | exploits that pay | free |",
        "|---|---|---|---|---|---|---|",
    ]
    lines = [f"## {title}", "", *head, *(row_of(reward, gains[reward.name]) for reward in rewards.values()), ""]
    sources = {reward.source: reward.name for reward in rewards.values() if reward.source != "ours"}
    return lines + ([f"Sources: {'; '.join(sources)}.", ""] if sources else [])


def row_of(reward: Reward, gains: Mapping[str, Gain]) -> str:
    """One line of the table."""
    near = NEAR * (reward.high - reward.low)
    pays = [f"{name} +{gain.value:.2f}" for name, gain in gains.items() if gain.value > near]
    free = [name for name, gain in gains.items() if abs(gain.value) <= near]
    honest = next(iter(gains.values())).honest
    cells = [
        f"`{reward.name}`", reward.says, f"{reward.low:g} to {reward.high:g}", reward.none, f"{honest:.2f}",
        ", ".join(pays) or "none", ", ".join(free) or "none",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"

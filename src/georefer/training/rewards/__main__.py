"""`python -m georefer.training.rewards` prints docs/reference/rewards.md."""

from georefer.training.rewards.reference import rewards_page

print(rewards_page(), end="")

"""The scenarios by name."""

from streaming.simulator.incidents import Bots, CampaignShift
from streaming.simulator.scenarios import Abrupt, Churn, Gradual, Scenario, Stationary

__all__ = ["SCENARIOS"]

SCENARIOS: dict[str, type[Scenario]] = {
    kind.name: kind for kind in (Stationary, Gradual, Abrupt, Churn, CampaignShift, Bots)
}
"""The scenarios by name."""

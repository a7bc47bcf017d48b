"""A simulated ad market that knows the true click probability of every impression.

:func:`simulate` gives its events as Arrow record batches; :func:`open_simulation` gives them as
a source (``sim:NAME?key=value``) that replay reads like a file. The model is in
``docs/simulator.md``.
"""

from market.columns import COLUMNS
from market.effects import Effects, Market, MarketSettings
from market.impressions import Dynamics
from market.scenarios import (
    SCENARIOS,
    Abrupt,
    Bots,
    CampaignShift,
    Churn,
    Gradual,
    Scenario,
    Stationary,
)
from market.simulation import PREFIX, Simulation, open_simulation, parse_sim, simulate, stream_uri

__all__ = [
    "COLUMNS",
    "PREFIX",
    "SCENARIOS",
    "Abrupt",
    "Bots",
    "CampaignShift",
    "Churn",
    "Dynamics",
    "Effects",
    "Gradual",
    "Market",
    "MarketSettings",
    "Scenario",
    "Simulation",
    "Stationary",
    "open_simulation",
    "parse_sim",
    "simulate",
    "stream_uri",
]

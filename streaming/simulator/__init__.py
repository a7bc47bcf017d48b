"""A simulated ad market that knows the true click probability of every impression.

:func:`simulate` gives its events as Arrow record batches; :func:`open_simulation` gives them as
a source (``sim:NAME?key=value``) that replay reads like a file. The model is in
``docs/simulator.md``.
"""

from streaming.simulator.columns import COLUMNS
from streaming.simulator.incidents import Bots, CampaignShift
from streaming.simulator.market import Market
from streaming.simulator.scenarios import (
    SCENARIOS,
    Abrupt,
    Churn,
    Dynamics,
    Gradual,
    Scenario,
    Stationary,
)
from streaming.simulator.settings import Effects, MarketSettings
from streaming.simulator.simulation import Simulation, simulate
from streaming.simulator.source import PREFIX, open_simulation, parse_sim, stream_uri

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

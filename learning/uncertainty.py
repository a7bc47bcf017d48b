"""How sure a prediction is: the standard deviation of its logit, from the per-coordinate counts.

McMahan et al. (KDD 2013, section 4.5) note that a coordinate's learning rate
``eta = alpha / (beta + sqrt(n))`` says how much is known of it, and that the sum of the rates of
an event's features tells how far its prediction can still move. We read the same rates as
variances: FTRL-Proximal's quadratic term (Algorithm 1) is ``1/2 w^2 / eta``, with
``1 / eta = (beta + sqrt(n)) / alpha + l2``, which is the log density of a normal distribution of
variance eta. So the logit of a regression, a sum of weights, has variance ``sum(eta)``. All learn
from the same events, so their errors are taken as one: standard deviations are mixed as logits are,
and scaled by the calibration. The net reads what the regression on fields has learned of the same
values: it is taken to be as unsure as that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.hashed import Hashed
from learning.click_learner import ClickLearner

__all__ = ["uncertainty"]


def uncertainty(learner: ClickLearner, hashed: Hashed) -> NDArray[np.float64]:
    """Standard deviations of the logits of some events.

    Parameters
    ----------
    learner
        That has learned, or predicted, at least once.
    hashed
        Token hashes of n events.

    Returns
    -------
    ndarray of float64, shape (n,)

    Examples
    --------
    >>> model = ClickLearner()
    >>> for _ in range(100):
    ...     model.learn_one({"ad": "known", "site": "news"}, False)
    >>> known, new = (
    ...     uncertainty(model, model.hash_event({"ad": ad, "site": "news"}))
    ...     for ad in ("known", "new")
    ... )
    >>> bool(known < new)
    True
    """
    return learner.weights_for(hashed).predict_with_deviation(hashed)[1]

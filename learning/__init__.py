"""River estimators that learn clicks, their kernel, metrics and snapshots.

:class:`ClickLearner` learns events by a feature spec; :class:`FTRLClassifier` and
:class:`HashedCrosses` serve in any River pipeline.
"""

from learning.click_learner import ClickLearner
from learning.ftrl_classifier import FTRLClassifier
from learning.hashed_crosses import HashedCrosses

__all__ = ["ClickLearner", "FTRLClassifier", "HashedCrosses"]

"""Chooses what to try next and what to give up, by Optuna.

Both follow from the records of the trials alone. So a search that is started
again goes on as if it had not been stopped.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState

from trainer.search.records import State, Trial
from trainer.search.space import round_values

#: Complete trials before one is given up.
_NUM_TRIALS_BEFORE_PRUNING = 4

#: A loss that is not finite tells as much against the settings as a high one:
#: such a trial counts as given up before its first epoch.
_STATES = {
    State.RUNNING: TrialState.RUNNING,
    State.COMPLETE: TrialState.COMPLETE,
    State.PRUNED: TrialState.PRUNED,
    State.DIVERGED: TrialState.PRUNED,
    State.FAILED: TrialState.FAIL,
}

optuna.logging.set_verbosity(optuna.logging.WARNING)


def choose_values(
    trials: Sequence[Trial], space: Mapping[str, BaseDistribution], seed: int
) -> dict[str, Any]:
    """Chooses the values that the next trial tries.

    Reference:
        Bergstra et al., 2011, "Algorithms for Hyper-Parameter Optimization":
        the tree-structured Parzen estimator.

    Args:
        trials: all trials so far. Those that run count as bad ones, so that
            trials at the same time differ.
        space: setting -> its values.
        seed: seed of the search.
    """
    of_trial = np.random.SeedSequence([seed, len(trials)]).generate_state(1)
    sampler = optuna.samplers.TPESampler(
        seed=int(of_trial[0]), constant_liar=True
    )
    study = _make_study(trials, space, sampler)
    return round_values(study.ask(dict(space)).params)


def is_hopeless(
    trials: Sequence[Trial],
    space: Mapping[str, BaseDistribution],
    val_rmse_by_epoch: Sequence[float],
    num_epochs: int,
) -> bool:
    """Says whether to give up a trial, after one of its epochs.

    It is hopeless if its best validation RMSE so far is above the median of
    the complete trials after as many epochs. All have the same number of
    epochs, and so the same schedule of the learning rate. Of taught models the
    networks alone are compared, whose teachers are the same. A third of the
    epochs tells too little, and after the last there is nothing to save.

    Reference:
        Golovin et al., 2017, "Google Vizier: A Service for Black-Box
        Optimization", section 3.2.1, the median stopping rule.

    Args:
        trials: all trials so far.
        space: setting -> its values.
        val_rmse_by_epoch: of the trial, up to the epoch.
        num_epochs: the epochs of every trial.
    """
    epoch = len(val_rmse_by_epoch)
    if epoch == num_epochs:
        return False
    pruner = optuna.pruners.MedianPruner(
        n_startup_trials=_NUM_TRIALS_BEFORE_PRUNING,
        n_warmup_steps=num_epochs // 3 + 1,
    )
    is_behind = pruner.prune(
        _make_study(trials, space),
        optuna.trial.create_trial(
            state=TrialState.RUNNING,
            intermediate_values=_by_epoch(val_rmse_by_epoch),
        ),
    )
    return bool(is_behind)


def _make_study(
    trials: Sequence[Trial],
    space: Mapping[str, BaseDistribution],
    sampler: optuna.samplers.BaseSampler | None = None,
) -> optuna.Study:
    """Makes a study of the trials, in memory."""
    study = optuna.create_study(sampler=sampler)
    study.add_trials(
        [
            optuna.trial.create_trial(
                state=_STATES[trial.state],
                value=trial.val_rmse,
                params=dict(trial.values),
                distributions=dict(space),
                intermediate_values=_by_epoch(trial.val_rmse_by_epoch),
            )
            for trial in trials
        ]
    )
    return study


def _by_epoch(values: Sequence[float]) -> dict[int, float]:
    return dict(enumerate(values, start=1))

"""Constants of the calibration, with what each was fitted on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """Constants of ``calibrate``.

    The cases that fixed them stand in ``docs/notes/sampling.md``. They were found by
    ``python -m experiments.bench.llc_calibrate`` on the modular MLP, deep linear networks and the
    toy model of superposition. "Errors" are standard errors of a difference.

    Attributes:
        step_ratio: Factor between successive step sizes of the grid. A larger one can miss the
            range between too large and too slow.
        step_levels: Number of step sizes of the grid. Chosen by hand; not fitted.
        agree_sigmas: Largest difference between the estimates at ε and ε/2, in errors. Too large
            steps increase the errors too, so it is small.
        agree_share: The same as a share of λ̂; the larger tolerance decides. A bias of first order
            in ε is twice the difference.
        max_loss_increase_share: Limits for a configuration that passes at more snapshots than the
            present one. Its chains lose at most this share of the training gain, and its loss
            increase is at most this share of the localization-only increase (nβ = 0). Otherwise
            strong localization would pass everywhere with a λ̂ that does not depend on the model.
        max_halvings: How often a step size that disagrees with its half is replaced by the half.
            Chosen by hand; not fitted.
        long_run_factor: Draws of the last trial over those of the others. Chains can stay in one
            basin for a while and agree over short times.
        long_run_sigmas: Largest difference between the long trial and the short one, in errors.
        long_run_share: The same as a share of λ̂. More draws equilibrate more directions; another
            basin has another λ̂.
        pilot_chains: Chains of a pilot trial. Chosen by hand; not fitted.
        pilot_share: Share of draws and burn-in of a pilot trial. Chosen by hand; not fitted.
        imprecise_share: Largest standard error at the last snapshot, as a share of λ̂. With a larger
            one a step size always agrees with its half.
        max_localization_share: Largest loss increase over the localization-only increase (nβ = 0).
            Beyond it the prior holds the chains, not the loss. Chosen by hand; not fitted.
        control_step: Step size of the control at nβ = 0, as εγ. SGLD's bias is then at most 5 %.
            Derived, not fitted.
    """

    step_ratio: float = 2.0
    step_levels: int = 10
    agree_sigmas: float = 2.0
    agree_share: float = 0.025
    max_loss_increase_share: float = 0.5
    max_halvings: int = 3
    long_run_factor: int = 4
    long_run_sigmas: float = 3.0
    long_run_share: float = 0.1
    pilot_chains: int = 2
    pilot_share: float = 1 / 3
    imprecise_share: float = 0.1
    max_localization_share: float = 0.9
    control_step: float = 0.2


@dataclass(frozen=True, kw_only=True)
class StepSizeSearchConfig:
    """Constants of ``find_step_size``, chosen by hand unless a field says otherwise.

    Attributes:
        pretrain_steps: Training steps on a copy before the search.
        pretrain_lr: Learning rate of Adam in these steps; its default suits most networks.
        num_chains, num_draws, num_burnin_steps: Size of a trial.
        max_step: First step size of the search, as εγ. SGLD's bias is εγ/4 where only localization
            constrains the chains. Derived, not fitted.
        max_halvings: Most halvings of the step size.
        agree_sigmas: Largest difference between two successive trials, in standard errors of the
            difference. It is larger than in ``CalibrationConfig``: one agreement ends the search,
            and chance should not prolong it.
        agree_share: The same as a share of λ̂.
    """

    pretrain_steps: int = 300
    pretrain_lr: float = 1e-3
    num_chains: int = 4
    num_draws: int = 100
    num_burnin_steps: int = 100
    max_step: float = 0.2
    max_halvings: int = 12
    agree_sigmas: float = 3.0
    agree_share: float = 0.05


DEFAULT = CalibrationConfig()
DEFAULT_SEARCH = StepSizeSearchConfig()

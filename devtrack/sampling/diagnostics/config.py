"""Thresholds of the quality checks, with what each was fitted on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DiagnosticsConfig:
    """Thresholds of the quality checks.

    An estimate outside a threshold is marked as suspect. "Fitted on the gates" means: on problems
    with a known λ, 4 chains of 500 draws, SGLD and LM-SGLD, over 100 good and over 150 bad runs, by
    ``python -m experiments.bench.llc_trust``. The ranges found there stand in
    ``docs/notes/sampling.md``. "Standard errors" are those of the tested statistic.

    Attributes:
        rhat_max: Largest split R-hat, without unit. Fitted on the gates. The stricter 1.01 of
            Vehtari et al. 2021 is for tail quantiles; λ̂ is a mean.
        ess_min: Fewest effective draws over all chains. Fitted on the gates. Below it, the standard
            error itself is uncertain by more than half.
        gamma_ratio_min, gamma_ratio_max: Range of Var/mean of the full-data draws, without unit.
            nβ (L(w) − L(w*)) follows Gamma(λ, 1) at equilibrium, which gives 1. Localization lowers
            it without fault: at curvature h and s = nβh / (nβh + γ), a direction counts s in the
            mean and s² in the variance. Fitted on the gates.
        gamma_ratio_sigmas: Distance from that range, in standard errors. Chosen by hand; not
            fitted.
        drift_share: Difference between first and last third of the draws, as a share of abs(λ̂).
            Fitted on the gates.
        drift_sigmas: The same in standard errors. Errors of such short pieces are too small, so it
            is large. Fitted on the gates.
        negative_share: Share of full-data draws below L(w*). Fitted on the gates and on points that
            were moved away from a minimum.
        first_order_share: λ̂ lost to the gradient at w*, a share of abs(λ̂). Fitted on the gates and
            on points that were moved away from a minimum.
        first_order_sigmas: The same in standard errors. Chosen by hand; not fitted.
        step_bias_share: Predicted bias from the step size, as a share of abs(λ̂). It is also the
            largest share of λ̂ that is subtracted. Fitted on the gates.
        localization_virial_max: γ E‖w − w*‖² per parameter. The prior alone gives 1, and a loss
            without negative curvature cannot exceed it. Fitted on the gates.
        equilibrated_min: Share of the sampled directions that reached equilibrium. R-hat and the
            Gamma ratio depend only on the loss, so they cannot detect directions that the chains
            have not yet explored. Fitted on the gates.
        equilibrated_min_without_prior: The same at γ = 0, where flat directions never reach
            equilibrium. Chosen by hand; not fitted.
        equilibrated_sigmas: Distance below it, in standard errors. Chosen by hand; not fitted.
        anharmonic_share: Growth of the anharmonic part of λ̂ from first to last third of the draws,
            as a share of abs(λ̂). Chosen by hand; not fitted.
        anharmonic_sigmas: The same in standard errors. Chosen by hand; not fitted.
        bound_sigmas: Excess of λ̂ over its bound parameters / 2, in standard errors. Chosen by hand;
            not fitted.
        diverged_factor: Mean of a chain over parameters / 2 beyond which it diverged. Chosen by
            hand; not fitted.
        blocks_per_chain: Block means per chain for the second estimate of the standard error.
            Fitted on AR(1) processes hidden in white noise; the command is not recorded.
        hidden_share: Variance of the full-data draws over that of all draws below which batch noise
            may mask a slow part. Fitted like ``blocks_per_chain``.
        draws_per_degree_of_freedom: Effective draws per degree of freedom of the standard error.
            Fitted on AR(1) processes and on the gates; the command is not recorded.
        ess_to_stop: Effective draws over all chains before they may stop early. Chosen by hand; not
            fitted.
    """

    rhat_max: float = 1.15
    ess_min: float = 16.0
    gamma_ratio_min: float = 0.2
    gamma_ratio_max: float = 2.0
    gamma_ratio_sigmas: float = 3.0
    drift_share: float = 0.25
    drift_sigmas: float = 5.0
    negative_share: float = 0.5
    first_order_share: float = 0.05
    first_order_sigmas: float = 3.0
    step_bias_share: float = 0.1
    localization_virial_max: float = 3.0
    equilibrated_min: float = 0.7
    equilibrated_min_without_prior: float = 0.9
    equilibrated_sigmas: float = 3.0
    anharmonic_share: float = 0.2
    anharmonic_sigmas: float = 3.0
    bound_sigmas: float = 3.0
    diverged_factor: float = 10.0
    blocks_per_chain: int = 25
    hidden_share: float = 0.5
    draws_per_degree_of_freedom: float = 8.0
    ess_to_stop: float = 50.0


DEFAULT = DiagnosticsConfig()

"""The bands outside which an estimate is doubted, each with its reason.

Calibrated on the gates with 4 chains of 500 draws, SGLD and LM-SGLD (over 100 good runs, over 150
bad ones); ``python -m experiments.bench.llc_trust`` prints the confusion table. "Good" and "bad"
below are the ranges seen there.
"""

RHAT_MAX = 1.15
"""Between-chain disagreement: good up to 1.17 (median 1.03), unmixed from 1.17 on. The stricter
1.01 (Vehtari et al. 2021) is for tail quantiles, here only a mean is asked for."""

ESS_MIN = 16.0
"""Effective draws: good from 17 on (median over 100), unmixed up to 16. Below it, the standard
error is itself off by over half (``statistics.student_t_inflation``)."""

GAMMA_MIN, GAMMA_MAX = 0.2, 2.0
"""Band of Var/mean of the noiseless signal: good .66 to 1.51, lr × 30 from 4.9 on. nβ ΔL follows
Gamma(λ, 1) at equilibrium, which gives 1; a step that is too large multiplies variance, an unmixed
chain has too little. Localisation lowers it without fault: with s = nβ h / (nβ h + γ), curvature h
counts s in the mean and s² in the variance. The variance alone is the baseline-free estimate of λ
(SIVE, arXiv:2606.22389), so this is also the band of its agreement with the mean."""

GAMMA_SIGMAS = 3.0
"""The ratio must also leave the band by this many of its own standard errors."""

DRIFT_SIGMAS = 5.0
DRIFT_SHARE = 0.25
"""First and last third of the draws differ by this many standard errors (good up to 4.6, errors of
so short pieces are themselves too small), and by this share of λ̂."""

BELOW_SHARE = 0.5
"""Share of draws below L(w*) above which w* is no minimum: good 0, perturbed points .83 on."""

SLOPE_SHARE = 0.05
"""What the slope at w* takes away, as a share of |λ̂|. Gates: 0, at a minimum there is no slope;
points perturbed by .05 or .2: from 1.4 on. A small network (modular addition, γ 100, nβ 100): .08
after one step of training, .02 after 30, .003 when it has grokked."""

SLOPE_SIGMAS = 3.0
"""The same must differ from 0 by this many of its own standard errors."""

STEP_BIAS_SHARE = 0.1
"""Predicted excess of λ̂ from a finite step size: good up to .08, lr × 30 from .68 on. On quadratics
with flat directions the prediction is right to a tenth, and nothing else sees an excess of 29 %."""

PULL_MAX = 3.0
"""γ E‖w − w*‖² per parameter. On a loss that nowhere curves down it cannot exceed 1 (the pull alone
gives 1): more means that the loss drives the chains away. Good up to .54."""

SETTLED_MIN = 0.7
"""Share of the sampled directions that have come to rest. R-hat and the Gamma ratio see the loss
alone, and a direction that chains have not spread along does not show in it, whatever holds it
farther out: deep linear networks at nβ 1e6 and 1e7 came out 15 to 36 % too low with shares of .18
to .6; good from .7 on."""

SETTLED_MIN_UNPULLED = 0.9
"""The same without a pull, where nothing ever brings a flat direction to rest."""

SETTLED_SIGMAS = 3.0
"""The share must also lie below by this many of its own standard errors."""

GROWTH_SHARE = 0.2
GROWTH_SIGMAS = 3.0
"""How much what is not quadratic in the loss grows from the first third of the draws to the last,
as a share of λ̂, and in its own standard errors: chains that keep going farther from w* meet
another landscape."""

BOUND_SIGMAS = 3.0
"""λ ≤ (number of parameters) / 2 at a minimum, whatever the model: more is an artefact."""

DIVERGED_FACTOR = 10.0
"""A chain whose mean exceeds this many times parameters / 2 has left the neighbourhood of w*."""

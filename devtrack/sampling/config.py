"""How to sample around a point of the weights: one frozen set of numbers per run."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from devtrack._checks import require_int, require_number
from devtrack.errors import ConfigError, DataError

Method = Literal["sgld", "lm_sgld", "rmsprop_sgld"]
Precision = Literal["full", "bf16"]
EvaluateOn = Literal["minibatch", "full_data"]


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """The hyperparameters of the sampler, named as in devinterp 2.

    They belong to the result: an LLC taken with other settings is another quantity, so a run keeps
    one set of them and stores it with every point.

    Args:
        method: Update rule: plain Langevin steps, the same with the noise of two successive steps
            averaged (exact on quadratics), or preconditioned by RMSProp.
        n_beta: Inverse temperature nβ; None for n / log n with n the samples of the largest batch.
        localization: Strength γ of the pull towards w*.
        lr: Step size ε.
        num_chains: Independent chains.
        num_draws: Draws of each chain that count.
        num_burnin_steps: Steps before the first draw; recorded, never averaged in.
        num_steps_bw_draws: Steps from one draw to the next.
        rmsprop_decay: Decay of the second moments, per step.
        rmsprop_eps: Added to the root of the second moments.
        precision: Of the loss and its gradient: that of the model, or products of matrices in bf16
            (and, on a CPU, noise of 16 random bits a number). The chains themselves stay in the
            model's precision, in single at least.
        evaluate_on: Where λ̂ is measured: at every draw, on the batch that the chain is about to
            step on; or at looks, on all batches (see ``pace``), which costs a third of the steps.

    Raises:
        ConfigError: If a number is outside its range.
    """

    method: Method = "sgld"
    n_beta: float | None = None
    localization: float = 100.0
    lr: float = 1e-3
    num_chains: int = 4
    num_draws: int = 200
    num_burnin_steps: int = 100
    num_steps_bw_draws: int = 1
    rmsprop_decay: float = 0.99
    rmsprop_eps: float = 0.1
    precision: Precision = "full"
    evaluate_on: EvaluateOn = "minibatch"

    def __post_init__(self) -> None:
        if self.method not in ("sgld", "lm_sgld", "rmsprop_sgld"):
            raise ConfigError(
                f"method={self.method!r}: must be 'sgld', 'lm_sgld' or 'rmsprop_sgld'. "
                "Use method='sgld'."
            )
        if self.precision not in ("full", "bf16"):
            raise ConfigError(
                f"precision={self.precision!r}: must be 'full' or 'bf16'. Use precision='full'."
            )
        if self.evaluate_on not in ("minibatch", "full_data"):
            raise ConfigError(
                f"evaluate_on={self.evaluate_on!r}: must be 'minibatch' or 'full_data'. "
                "Use evaluate_on='minibatch'."
            )
        if self.n_beta is not None:
            require_number("n_beta", self.n_beta, lambda x: x >= 0, "at least 0", "n_beta=30")
        require_number("lr", self.lr, lambda x: x > 0, "above 0", "lr=1e-3")
        localization = self.localization
        require_number(
            "localization", localization, lambda x: x >= 0, "at least 0", "localization=5.0"
        )
        decay, eps = self.rmsprop_decay, self.rmsprop_eps
        require_number(
            "rmsprop_decay", decay, lambda x: 0 <= x < 1, "in [0, 1)", "rmsprop_decay=0.99"
        )
        require_number("rmsprop_eps", eps, lambda x: x > 0, "above 0", "rmsprop_eps=0.1")
        require_int("num_chains", self.num_chains, at_least=1, example=4)
        require_int("num_draws", self.num_draws, at_least=1, example=4)
        require_int("num_burnin_steps", self.num_burnin_steps, at_least=0, example=4)
        require_int("num_steps_bw_draws", self.num_steps_bw_draws, at_least=1, example=4)

    def n_beta_for(self, samples_per_batch: int) -> float:
        """Return nβ for batches of this size, as ``devinterp.utils.default_nbeta`` does.

        Args:
            samples_per_batch: Samples n in one batch, the largest where they differ.

        Raises:
            DataError: If nβ is left open and a batch has fewer than 2 samples.

        Example:
            >>> round(SamplerSettings().n_beta_for(256), 2)
            46.17
        """
        if self.n_beta is not None:
            return float(self.n_beta)
        if samples_per_batch < 2:
            raise DataError(
                f"batches of {samples_per_batch} sample(s): n_beta=None means n / log n, which "
                "needs at least 2 samples a batch. Join them by LLC(batch_size=64), or pass "
                "n_beta=30."
            )
        return samples_per_batch / math.log(samples_per_batch)

    def halved(self) -> SamplerConfig:
        """Return settings of half the step size, for as long a time: twice the draws and burn-in.

        As many steps would take chains half as far, and they would look less settled.
        """
        return replace(
            self,
            lr=self.lr / 2,
            num_draws=2 * self.num_draws,
            num_burnin_steps=2 * self.num_burnin_steps,
        )

"""Hyperparameters of the sampler: one frozen set per run."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

from devtrack._checks import require_choice, require_int, require_number
from devtrack.errors import DataError

Method = Literal["sgld", "lm_sgld", "rmsprop_sgld"]
Precision = Literal["full", "bf16"]
EvaluateOn = Literal["minibatch", "full_data"]


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """Hyperparameters of the sampler, named as in devinterp 2.

    They define what is measured: an LLC under other hyperparameters is another quantity. A run
    therefore keeps one set and stores it with every estimate.

    Args:
        method: Kernel: plain SGLD, SGLD with the noise of two successive steps averaged (exact on
            quadratics), or SGLD preconditioned by RMSProp.
        n_beta: Inverse temperature nβ; None for n / log n with n the samples of the largest batch.
        localization: Strength γ of the Gaussian prior around w*.
        lr: Step size ε.
        num_chains: Independent chains.
        num_draws: Draws of each chain after burn-in.
        num_burnin_steps: Steps before the first draw. They are recorded, but not averaged.
        num_steps_bw_draws: Steps from one draw to the next.
        rmsprop_decay: Decay of the second moments, per step.
        rmsprop_eps: Added to the root of the second moments.
        precision: Of the loss and its gradient: that of the model, or matrix products in bf16.
            The chains themselves stay in the model's precision, at least single.
        evaluate_on: Data of each evaluation: the next batch of the chain at every draw, or all
            batches at the steps of the recording schedule. The latter costs a third of the steps.

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
        require_choice("method", self.method, get_args(Method))
        require_choice("precision", self.precision, get_args(Precision))
        require_choice("evaluate_on", self.evaluate_on, get_args(EvaluateOn))
        if self.n_beta is not None:
            require_number("n_beta", self.n_beta, lambda x: x >= 0, "at least 0", "n_beta=30")
        require_number("lr", self.lr, lambda x: x > 0, "above 0", "lr=1e-3")
        gamma = self.localization
        require_number("localization", gamma, lambda x: x >= 0, "at least 0", "localization=5.0")
        decay, eps = self.rmsprop_decay, self.rmsprop_eps
        require_number(
            "rmsprop_decay", decay, lambda x: 0 <= x < 1, "in [0, 1)", "rmsprop_decay=0.99"
        )
        require_number("rmsprop_eps", eps, lambda x: x > 0, "above 0", "rmsprop_eps=0.1")
        require_int("num_chains", self.num_chains, at_least=1, example=4)
        require_int("num_draws", self.num_draws, at_least=1, example=4)
        require_int("num_burnin_steps", self.num_burnin_steps, at_least=0, example=4)
        require_int("num_steps_bw_draws", self.num_steps_bw_draws, at_least=1, example=4)

    @property
    def num_steps(self) -> int:
        """Steps of each chain, burn-in included."""
        return self.num_burnin_steps + self.num_draws * self.num_steps_bw_draws

    def n_beta_for(self, samples_per_batch: int) -> float:
        """Return nβ for batches of this size, as ``devinterp.utils.default_nbeta`` does.

        Args:
            samples_per_batch: Samples n in the largest batch.

        Raises:
            DataError: If nβ is left open and a batch has fewer than 2 samples.

        Example:
            >>> round(SamplerConfig().n_beta_for(256), 2)
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
        """Return a configuration of half the step size and twice the draws and burn-in steps.

        The chains then run for the same time εt. With the same number of steps they would move
        half as far and look less equilibrated.
        """
        return replace(
            self,
            lr=self.lr / 2,
            num_draws=2 * self.num_draws,
            num_burnin_steps=2 * self.num_burnin_steps,
        )

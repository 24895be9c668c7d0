"""The local learning coefficient: how degenerate the loss is around the present weights.

The refined LLC restricts the weights, the data, or both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any, Literal

from devtrack.data._fixed_batches import num_rows
from devtrack.data._resizing import require_mean_over_parts, resize_batches
from devtrack.metrics._components import Component, HeadAxes, find_components, require_heads
from devtrack.metrics._field_checks import is_data_sets
from devtrack.metrics.metric import LossFunction, MetricOptions, Subject
from devtrack.records import ChainTrace, Event, Row, Status, without_nan
from devtrack.sampling._engine_selection import Engine, require_engine
from devtrack.sampling._user_loss import call_loss
from devtrack.sampling.calibration import find_step_size
from devtrack.sampling.chain_record import Chains
from devtrack.sampling.config import EvaluateOn, Method, Precision, SamplerConfig
from devtrack.sampling.diagnostics import TOO_FEW_DRAWS, require_chains, require_draws
from devtrack.sampling.diagnostics._statistics import mean_of_finite
from devtrack.sampling.diagnostics.config import DEFAULT
from devtrack.sampling.estimator import LLCEstimate, estimate
from devtrack.sampling.sampler import sample


@dataclass(frozen=True, kw_only=True)
class LLC(MetricOptions):
    """The local learning coefficient λ̂ = nβ (E[L(w)] − L(w*)), by Langevin sampling around w*.

    Every draw is paired with L(w*) on the same batch. Control variates remove minibatch noise where
    they explain enough of it (``apply_control_variates``). Burn-in is recorded, but not averaged. A
    failed chain is named and left out. Random numbers of the loss are fixed per batch, as part of
    the evaluation data. ``se`` does not contain their error; more batches lower it. Keep one
    configuration for a whole run, because the LLC depends on it.

    ``LLC()`` finds its step size at the first snapshot and keeps it for the run
    (``find_step_size``). An event ``calibrated`` says what was found. nβ and γ have fixed values,
    because they define what is measured. If the statuses show that they do not suit your network,
    let ``devtrack calibrate`` choose them.

    With ``sites`` or a dict of ``data`` the LLC is refined. There is one estimate for each
    component, whose weights alone are sampled while all others stay at w*. There is one for each
    data set, whose loss alone is sampled. Each pair has its own chains, because it has its own
    posterior. The chains of a component contain only its weights, so a small component is cheap.

    Args:
        name: Name of the rows; by default ``llc``, refined ``rllc``. With a dict of ``data`` the
            rows are named ``<name>/<data set>``.
        sites: Globs of module paths, e.g. ``"blocks.*.attn"``: a component for each match.
        num_heads: Attention heads of every matched module: a component for each head, with the site
            ``<module>.head.<h>``.
        head_axes: Axes of the heads, for projections that ``HEAD_AXES`` lacks.
        method: Kernel: ``lm_sgld``, whose error is of second order in lr; ``sgld``, the usual one,
            of first order; or ``rmsprop_sgld``. All estimate the same λ̂. The predicted bias from
            the step size is subtracted (``step_bias_removed`` in attrs).
        n_beta: Inverse temperature nβ; None for n / log n with n the samples of the largest batch.
            With several data sets the first one decides, because another nβ is another quantity.
        localization: Strength γ of the Gaussian prior around w*. On a quadratic,
            ``localization_share`` in attrs is a lower bound of the share of λ that it hides.
        lr: Step size ε; None: found at the first snapshot, then kept.
        num_chains: Independent chains; R-hat needs at least 2.
        num_draws: Draws of each chain after burn-in; the maximum with ``target_se``.
        num_burnin_steps: Steps before the first draw.
        num_steps_bw_draws: Steps from one draw to the next.
        rmsprop_decay: Decay of the second moments, per step.
        rmsprop_eps: Added to the root of the second moments.
        precision: ``bf16``: matrix products in bf16. That is faster where the machine has them
            (CPUs with AVX512-BF16, GPUs). Losses at w and w* are rounded, chains are not.
        evaluate_on: ``minibatch``: λ̂ from the loss of every draw on its own batch. With
            ``full_data``, λ̂ is the loss over all batches, evaluated each time a chain has stepped
            on all of them. That costs a third of the steps. To first order it has no bias from
            minibatches; at draws that bias must be predicted (``DiscretizationBias``).
        data: Own data to sample on; the run's fixed batches if None. A dict of data sets by name
            refines; a dict of tensors is one data set.
        batch_size: Cut or join the batches to this many samples; None takes them as they are. The
            cost of a step grows with it. Small batches add gradient noise, which biases λ̂ upwards
            like a larger step size; at most 10 % of λ̂ is corrected.
        loss: Own loss, a function of (model, batch); the training objective if None.
        engine: ``auto``: all chains at once; one after another for models that vmap refuses, and
            for large models on a CPU. ``reference``: devinterp's optimizer, without ``lm_sgld``.
        target_se: Stop the chains once the standard error is at most this. They take at least 100
            draws each and 50 effective draws in all; ``num_draws_taken`` in attrs has the number.
            None: take all draws.
        max_memory_gb: Memory, 10⁹ bytes, that chains may take together. More chains run in groups,
            with the same result. With ``target_se`` all groups advance together and stay in memory.
        diagnostics: ``off`` allows one chain and few draws, and skips the checks that need more. It
            keeps those for failed chains, for w* that is no minimum, for a too large step size, and
            for the bound parameters / 2.

    Raises:
        ConfigError: If a setting is outside its range.

    Source:
        Lau et al. 2023 (arXiv:2308.12108); Hitchcock and Hoogland 2025 (arXiv:2507.21449);
        refined: Wang et al. 2024 (arXiv:2410.02984).
    """

    name: str = ""
    sites: str | Sequence[str] = ()
    num_heads: int | None = None
    head_axes: HeadAxes | None = None
    method: Method = "lm_sgld"
    n_beta: float | None = None
    localization: float = 100.0
    lr: float | None = None
    num_chains: int = 4
    num_draws: int = 200
    num_burnin_steps: int = 100
    num_steps_bw_draws: int = 1
    rmsprop_decay: float = 0.99
    rmsprop_eps: float = 0.1
    precision: Precision = "full"
    evaluate_on: EvaluateOn = "minibatch"
    data: Any = None
    batch_size: int | None = None
    loss: LossFunction | None = None
    engine: Engine = "auto"
    target_se: float | None = None
    max_memory_gb: float = 2.0
    diagnostics: Literal["on", "off"] = "on"

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.config  # checks the sampler's numbers
        require_engine(self.engine, self.method)
        if self.diagnostics == "on":
            require_chains(self.num_chains)
            require_draws(self.num_draws)
        require_heads(self.num_heads, self.sites, self.head_axes)
        if not self.name:
            refined = bool(self.sites) or is_data_sets(self.data)
            object.__setattr__(self, "name", "rllc" if refined else "llc")

    @property
    def config(self) -> SamplerConfig:
        """Hyperparameters of the sampler; an open ``lr`` has its default."""
        given: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(SamplerConfig)}
        if self.lr is None:
            given["lr"] = SamplerConfig.lr
        return SamplerConfig(**given)

    def compute(self, subject: Subject) -> Iterator[Row | ChainTrace | Event]:
        """Yield a ``Row`` with the estimate and a ``ChainTrace`` with its chains.

        Refined, there is one such pair for each component and data set. An ``Event`` comes first if
        the step size was found.

        Raises:
            DataError: If there is no batch to sample on, or fewer than ``batch_size`` samples.
            MetricError: If the loss does not depend on weights that require grad, or ``sites``
                names no such weights.
        """
        components = [Component("model", {})]
        if self.sites:
            components = find_components(
                subject.model, self.sites, num_heads=self.num_heads, head_axes=self.head_axes
            )
        data_sets = self.data if is_data_sets(self.data) else {"": self.data}
        batches_of = {name: self._batches(subject, data) for name, data in data_sets.items()}
        config = self.config
        if self.lr is None:
            if self.name not in subject.state:
                yield self._find_step_size(subject, next(iter(batches_of.values())))
            config = replace(config, lr=subject.state[self.name]["lr"])
        for name, batches in batches_of.items():
            metric = f"{self.name}/{name}" if name else self.name
            for component in components:
                chains = sample(
                    subject.model,
                    self._loss_of(subject),
                    batches,
                    config=config,
                    generator=subject.generator,
                    engine=self.engine,
                    parts=component.parts or None,
                    max_memory_bytes=int(1e9 * self.max_memory_gb),
                    count=self._count(subject),
                    should_stop=self._stopping_rule(config),
                )
                config = replace(config, n_beta=chains.n_beta)  # one for all data sets
                yield self._row(metric, component.site, chains, config)
                yield ChainTrace(
                    metric,
                    chains.loss,
                    chains.baseline,
                    num_burnin_steps=self.num_burnin_steps,
                    site=component.site,
                )

    def _batches(self, subject: Subject, data: Any) -> list[Any]:
        batches = subject.batches_of(data)
        if self.batch_size is None:
            return batches
        resized = resize_batches(batches, self.batch_size)
        require_mean_over_parts(
            partial(self._loss_of(subject), subject.model), batches, resized, self.batch_size
        )
        return resized

    def _count(self, subject: Subject) -> Callable[[Any], int]:
        return subject.count if self.batch_size is None else num_rows

    def _loss_of(self, subject: Subject) -> LossFunction:
        hint = ""
        if isinstance(self.data, dict) and not is_data_sets(self.data):
            hint = (
                f"data is a dict of tensors {list(self.data)}: one data set, whose batches are such"
                " dicts. If each is a data set of its own, put them in lists of batches: "
                "data={'train': [train], 'test': [test]}."
            )
        return partial(call_loss, self.loss or subject.loss, hint=hint)

    def _find_step_size(self, subject: Subject, batches: Sequence[Any]) -> Event:
        found = find_step_size(
            subject.model,
            loss=self._loss_of(subject),
            batches=batches,
            config=self.config,
            generator=subject.generator,
            count=self._count(subject),
        )
        subject.state[self.name] = {"lr": found.lr}
        attrs = {"metric": self.name, **asdict(self.config), **found._asdict()}
        advice = "" if found.found else ", a guess: `devtrack calibrate` looks further"
        return Event("calibrated", f"{self.name}: lr {found.lr:.2g} for this run{advice}", attrs)

    def _stopping_rule(self, config: SamplerConfig) -> Callable[[Chains], bool] | None:
        return partial(self._is_precise, config=config) if self.target_se else None

    def _is_precise(self, chains: Chains, config: SamplerConfig) -> bool:
        """Say whether chains may stop: their error is small, and nothing shows it is too small.

        Chains that have hardly moved agree on a wrong λ̂ with a small error; warnings reveal them.
        """
        found = estimate(chains, config, checks=self.diagnostics)
        if found.status is Status.FAILED:
            return True  # more draws do not repair a failed chain
        if any(warning.code in TOO_FEW_DRAWS for warning in found.warnings):
            return False
        assert self.target_se is not None
        return found.se <= self.target_se and found.ess >= DEFAULT.ess_to_stop

    def _row(self, metric: str, site: str, chains: Chains, config: SamplerConfig) -> Row:
        found = estimate(chains, config, checks=self.diagnostics)
        return Row(
            metric,
            found.value,
            se=found.se,
            site=site,
            status=found.status,
            attrs=self._attrs(chains, found, config),
        )

    def _attrs(self, chains: Chains, found: LLCEstimate, config: SamplerConfig) -> dict[str, Any]:
        diagnosis, draws, observables = found.diagnosis, found.draws, found.observables
        attrs = {
            "rhat": diagnosis.rhat,
            "ess": diagnosis.ess,
            "mcse": diagnosis.mcse,
            "gamma_ratio": diagnosis.gamma_ratio,
            "chain_values": list(diagnosis.chain_values),
            "reasons": list(diagnosis.reasons),
            "n_beta": chains.n_beta,
            "method": self.method,
            "localization": self.localization,
            "lr": config.lr,
            "num_chains": self.num_chains,
            "num_draws": self.num_draws,
            "num_draws_taken": chains.loss.shape[1] - self.num_burnin_steps,
            "target_se": self.target_se,
            "num_burnin_steps": self.num_burnin_steps,
            "num_steps_bw_draws": self.num_steps_bw_draws,
            "precision": self.precision,
            "evaluate_on": self.evaluate_on,
            "anchor_loss": chains.full_baseline,
            "data_loss": chains.data_baseline,
            "control_variate": draws.control_variate,
            "step_bias_removed": draws.step_bias_removed,
            "mean_squared_distance": mean_of_finite(chains.squared_distance),
            "first_order_term": mean_of_finite(observables.first_order),
            "step_bias": observables.step_bias,
            "localization_virial": observables.localization_virial,
            "localization_share": found.localization_share,
            "equilibrated_fraction": observables.equilibrated_fraction,
            "num_parameters": chains.num_parameters,
            "num_batches": chains.num_batches,
            "samples_per_batch": chains.samples_per_batch,
            "engine": chains.engine,
        }
        if chains.engine_note:
            attrs["engine_note"] = chains.engine_note
        if found.status is Status.FAILED:
            attrs["error"] = "; ".join(found.reasons)
        return {key: without_nan(value) for key, value in attrs.items()}

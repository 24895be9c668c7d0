"""The local learning coefficient: how degenerate the loss is around the present weights.

Refined, it asks the same of a part of the weights, of other data, or of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

from devtrack._checks import require_int, require_number
from devtrack.data._fixed_batches import num_rows
from devtrack.data._resizing import require_mean_over_parts, resize_batches
from devtrack.errors import ConfigError
from devtrack.metrics._components import Component, HeadAxes, find_components, require_heads
from devtrack.metrics._field_checks import is_data_sets, require_data, require_loss
from devtrack.metrics._sites import require_sites
from devtrack.metrics.metric import LossFunction, MetricOptions, Subject
from devtrack.records import ChainTrace, Event, Row, Status, without_nan
from devtrack.sampling._engine_selection import Engine, require_engine
from devtrack.sampling._localization import localization_share
from devtrack.sampling._user_loss import call_loss
from devtrack.sampling.calibration._step_size import find_step_size
from devtrack.sampling.chain_record import Chains
from devtrack.sampling.config import (
    EvaluateOn,
    Method,
    Precision,
    SamplerConfig,
)
from devtrack.sampling.diagnostics import TOO_FEW_DRAWS, Diagnosis, require_chains, require_draws
from devtrack.sampling.diagnostics._statistics import mean_of_finite
from devtrack.sampling.estimator import estimate, llc_draws, observables
from devtrack.sampling.sampler import sample

ESS_TO_STOP = 50.0
"""Effective draws before a standard error is believed enough to stop on: sd / √ESS is off by about
2 / √ESS, 28 % here, for which it is widened. Chains that have hardly moved claim a small one."""


@dataclass(frozen=True, kw_only=True)
class LLC(MetricOptions):
    """The local learning coefficient λ̂ = nβ (E[L(w)] − L(w*)), by Langevin sampling around w*.

    Every draw is paired with L(w*) on the same batch and corrected for its batch where that pays
    (``apply_control_variates``). Burn-in is recorded and left out, a chain that fails is named and
    left out.
    Random losses: the noise is fixed per batch, part of the evaluation data; more batches lower its
    error, which ``se`` does not hold.
    Keep one configuration for a whole run: the LLC depends on it.

    ``LLC()`` finds its step size by itself, at the first snapshot it sees, and keeps it for the run
    (see ``sampling.step_size``, also for what that costs); an event ``calibrated`` says what was
    found. nβ and γ have fixed values, for they say what is measured. They may not suit your
    network, which statuses tell: then let ``devtrack calibrate`` choose them too.

    With ``sites`` or a dict of ``data`` it is refined: one estimate for each component, whose
    weights alone move while all others are held at w*, and for each data set, whose loss alone is
    sampled. Every pair has chains of its own, for another component or loss is another posterior;
    a component's chains carry its weights alone, so that a small one costs little noise.

    Args:
        name: Name of the rows; by default ``llc``, refined ``rllc``. With a dict of ``data`` the
            rows are named ``<name>/<data set>``.
        sites: Globs of module paths, e.g. ``"blocks.*.attn"``: a component for each match.
        num_heads: Attention heads of every matched module: a component for each head, with the site
            ``<module>.head.<h>``.
        head_axes: Where the heads lie, for projections that ``components.HEAD_AXES`` lacks.
        method: ``lm_sgld``, whose error is of second order in lr; ``sgld``, the field's usual, of
            first order; or ``rmsprop_sgld``. All ask for the same λ̂, and what the step size adds
            is taken out as far as it can be foretold (``step_bias_removed`` in attrs;
            ``llc_draws``).
        n_beta: Inverse temperature nβ; None for n / log n with n the samples of the largest batch,
            of the first data set's if there are several: another nβ is another quantity.
        localization: Strength γ of the pull towards w*. ``localization_share`` in attrs is a lower
            bound of what it hides of λ, where the loss is a quadratic.
        lr: Step size ε; None: found at the first snapshot, then kept.
        num_chains: Independent chains; R-hat needs at least 2.
        num_draws: Draws of each chain that count; with ``target_se`` the most of them.
        num_burnin_steps: Steps before the first draw.
        num_steps_bw_draws: Steps from one draw to the next.
        rmsprop_decay, rmsprop_eps: Decay of the second moments, and what is added to their root.
        precision: ``bf16``: products of matrices in bf16, twice as fast and more where the machine
            has them (CPUs with AVX512-BF16, GPUs). Losses at w and w* are rounded, chains are not.
        evaluate_on: ``full_data``: λ̂ from the loss over all batches whenever a chain has stepped
            on all of them, which costs a third of the steps, rather than from every draw on its own
            batch. Free, in first order, of what batches add, which at draws must be foretold
            (``Heat``).
        data: Own data to sample on; the run's fixed batches if None. A dict of data sets by name
            refines; a dict of tensors is one data set.
        batch_size: Cut or join the batches to this many samples; None takes them as they are. A
            step costs as much as its batch is large, and ``apply_control_variates`` keeps small
            ones quiet. Yet their gradients' noise heats chains as lr does, and no more of that is
            taken out than a tenth of λ̂ (modular MLP of the bench at lr 1e-3: it adds 7 % with
            batches of 1024 and 19 % of 256). Where gradients are noisy, large batches bear larger
            lr.
        loss: Own loss, a function of (model, batch); the training objective if None.
        engine: ``auto``: all chains at once, one after another for models that vmap refuses and for
            large ones on a CPU; ``reference``: devinterp's optimizer, which knows no ``lm_sgld``.
        target_se: Stop the chains as soon as the standard error is down to this, at the earliest
            after 100 draws each and 50 effective ones in all; ``num_draws_taken`` in attrs says
            when. None: take all draws.
        max_memory_gb: Memory, 10⁹ bytes, that chains may take together; more chains than fit run in
            groups, and the answer stays the same. With ``target_se`` groups walk abreast, and the
            positions of all of them stay in memory.
        diagnostics: ``off`` allows one chain and few draws, and skips the checks that these cannot
            bear: what is left are failed chains, w* no minimum, too large a step, and the bound.

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
        if self.diagnostics not in ("on", "off"):
            raise ConfigError(
                f"diagnostics={self.diagnostics!r}: must be 'on' or 'off'. Use diagnostics='on'."
            )
        if self.diagnostics == "on":
            require_chains(self.num_chains)
            require_draws(self.num_draws)
        if self.batch_size is not None:
            require_int("batch_size", self.batch_size, at_least=1, example=64)
        target, memory = self.target_se, self.max_memory_gb
        if target is not None:
            require_number("target_se", target, lambda x: x > 0, "above 0", "target_se=0.5")
        require_number("max_memory_gb", memory, lambda x: x > 0, "above 0", "max_memory_gb=2.0")
        if not isinstance(self.name, str | None):
            raise ConfigError(f"name={self.name!r}: must be a text. Use name='llc_embed'.")
        require_data(self.data)
        require_loss(self.loss)
        require_sites(self.sites)
        require_heads(self.num_heads, self.sites, self.head_axes)
        if not self.name:
            refined = bool(self.sites) or is_data_sets(self.data)
            object.__setattr__(self, "name", "rllc" if refined else "llc")

    @property
    def config(self) -> SamplerConfig:
        """The sampler's part of the configuration; ``lr`` has its default where it is left open."""
        return SamplerConfig(
            method=self.method,
            n_beta=self.n_beta,
            localization=self.localization,
            lr=SamplerConfig.lr if self.lr is None else self.lr,
            num_chains=self.num_chains,
            num_draws=self.num_draws,
            num_burnin_steps=self.num_burnin_steps,
            num_steps_bw_draws=self.num_steps_bw_draws,
            rmsprop_decay=self.rmsprop_decay,
            rmsprop_eps=self.rmsprop_eps,
            precision=self.precision,
            evaluate_on=self.evaluate_on,
        )

    def compute(self, subject: Subject) -> Iterator[Row | ChainTrace | Event]:
        """Yield a ``Row`` with the estimate and a ``ChainTrace`` with the chains behind it.

        One such pair; refined, one for each component and data set. Before them an ``Event`` where
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
        chosen = {name: self._batches(subject, data) for name, data in data_sets.items()}
        config = self.config
        if self.lr is None:
            if self.name not in subject.state:
                yield self._find_step_size(subject, next(iter(chosen.values())))
            config = replace(config, lr=subject.state[self.name]["lr"])
        for name, batches in chosen.items():
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
        """Say whether chains may stop: on an error that is small, and that nothing calls too small.

        Chains that have hardly moved agree on a wrong λ̂: then the doubts tell, not the error.
        """
        found = estimate(chains, config, checks=self.diagnostics)
        if found.status is Status.FAILED:
            return True  # more draws bring no chain back
        if any(warning.code in TOO_FEW_DRAWS for warning in found.warnings):
            return False
        assert self.target_se is not None
        return found.se <= self.target_se and found.ess >= ESS_TO_STOP

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

    def _attrs(self, chains: Chains, found: Diagnosis, config: SamplerConfig) -> dict[str, Any]:
        chain_observables, draws = observables(chains, config), llc_draws(chains, config)
        attrs = {
            "rhat": found.rhat,
            "ess": found.ess,
            "mcse": found.mcse,
            "gamma_ratio": found.gamma_ratio,
            "chain_values": list(found.chain_values),
            "reasons": list(found.reasons),
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
            "first_order_term": mean_of_finite(chain_observables.first_order),
            "step_bias": chain_observables.step_bias,
            "localization_virial": chain_observables.localization_virial,
            "localization_share": localization_share(chains, found.value),
            "equilibrated_fraction": chain_observables.equilibrated_fraction,
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

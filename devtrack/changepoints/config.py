"""The constants of the detectors, with their unit and what they were set on."""

from __future__ import annotations

from dataclasses import dataclass, field

from devtrack.changepoints._config_checks import CheckedConfig


@dataclass(frozen=True, kw_only=True)
class TemplateConfig(CheckedConfig):
    """Which level changes and bends are looked for.

    The widths say what a transition is. They are a definition, not a fit.

    Attributes:
        max_width: 5-95 % width, as a fraction of the axis. A wider change is a trend.
        max_decades: The same in decades of steps, on a logarithmic axis. A single exponential
            relaxation takes 1.8 decades.
        step_widths: Widths of the level changes, as fractions of the axis.
        kink_widths: Roundings of the bends, as fractions of the axis.
        max_places: Most midpoints of one width.
        edge: Fraction of the axis at either end in which no change is looked for.
    """

    max_width: float = 0.25
    max_decades: float = 0.9
    step_widths: tuple[float, ...] = (0.005, 0.02, 0.045, 0.09, 0.15)
    kink_widths: tuple[float, ...] = (0.02, 0.08)
    max_places: int = 110
    edge: float = 0.045


@dataclass(frozen=True, kw_only=True)
class TrendConfig(CheckedConfig):
    """What the smooth part of a series may be.

    ``prior_scale`` was chosen among values from 0.35 to 1.5 on generated seeds 201 to 203 and on
    three of other shapes. The rates follow from the grid; they are not fitted.

    Attributes:
        rates_per_decade: Rates of the relaxations per decade of training time. Two neighbours of
            this grid fit a rate between them to 1 %.
        slowest: Lowest rate, per length of the run: a straight line in training time.
        fastest: Highest rate, per shortest gap: gone at the second snapshot.
        prior_scale: Prior standard deviation of a relaxation's size, in units of its fitted size.
        max_free_components: Relaxations that each cost nothing. More of them are much alike, and
            share what one would cost.
        min_visible_length: Length that a relaxation must keep beside the other columns, as a share
            of its length. Below it, its size has no bounds.
    """

    rates_per_decade: int = 3
    slowest: float = 0.05
    fastest: float = 5.0
    prior_scale: float = 0.7
    max_free_components: int = 4
    min_visible_length: float = 1e-5


@dataclass(frozen=True, kw_only=True)
class NoiseConfig(CheckedConfig):
    """What the noise of a series is taken for.

    Attributes:
        slope_sd_known: Prior standard deviation of the slope of the log noise over the run, where
            standard errors are reported.
        slope_sd_unknown: The same where nothing is reported.
        shape_error: Error of an ideal shape, as a share of what the curve moves nearby.
        nearby: Distance to either side that is nearby, as a fraction of the axis.
        max_points: Most points of one series. More are averaged in bins.
        min_roughness: Squared ratio of the spreads of second and first differences, from which the
            noise of a curve is observable. White noise has 3, a smooth curve 0.
        repeated_share: Share of values that repeat the one before. Above it, quantiles of the
            differences tie, and their trimmed root mean square is taken.
        trimmed_share: Share of the differences, the smallest, in that root mean square.
        min_share: Least noise, as a share of the curve's range, where no noise is observable.
        min_factor: Least noise in units of the reported standard errors. Fixed evaluation data vary
            less than their standard errors say.
        correlations: Correlations of neighbouring snapshots that are tried.
        trend_error_share: Error of the smooth trend of a curve without observable noise, as a share
            of its range.
        trend_error_length: Correlation length of that error, as a fraction of the axis. Set with
            the share on quiet trainings (``python -m experiments.bench.transitions --trainings``).
        prior_points: Weight of the reported or learned noise, in points ...
        prior_points_share: ... and as a share of the points.
        num_fitted: Degrees of freedom that trend and noise take away.
    """

    slope_sd_known: float = 0.4
    slope_sd_unknown: float = 1.0
    shape_error: float = 0.05
    nearby: float = 0.05
    max_points: int = 400
    min_roughness: float = 1.8
    repeated_share: float = 0.2
    trimmed_share: float = 0.95
    min_share: float = 0.002
    min_factor: float = 0.3
    correlations: tuple[float, ...] = (0.0, 0.3, 0.55, 0.75, 0.9)
    trend_error_share: float = 0.05
    trend_error_length: float = 0.1
    prior_points: float = 3.0
    prior_points_share: float = 0.1
    num_fitted: int = 6


@dataclass(frozen=True, kw_only=True)
class EventConfig(CheckedConfig):
    """What an event of the training configuration may leave on a curve.

    Attributes:
        effect_sd: Prior standard deviation of an effect, in noise units.
        relaxation_times: Relaxation times after an event, as fractions of the steps up to it.
        bump_widths: Standard deviations of bumps at an event, as fractions of the axis.
    """

    effect_sd: float = 30.0
    relaxation_times: tuple[float, ...] = (0.01, 0.04, 0.15)
    bump_widths: tuple[float, ...] = (0.02, 0.03, 0.045)


@dataclass(frozen=True, kw_only=True)
class SelectionConfig(CheckedConfig):
    """Which changes of one series are selected. Significance is tested later.

    A penalty is in units of twice the log likelihood ratio.

    Attributes:
        step_penalty: What a change must gain.
        kink_penalty: More for a bend: a level change is the simpler model.
        first_kink_penalty: More for the first bend of a series.
        jump_penalty: For what a resume may have left. Its place is known.
        linear_trend_bonus: Less for bends on a straight line, if the curve is not monotone.
        kinked_trend_bonus: The same if a bend is needed in any case.
        entry_threshold: Share of the penalty from which a change is added tentatively.
        joint_entry_threshold: The same where changes mask one another: the turns of a zigzag, the
            steps of a staircase.
        max_changes: Most changes of one series.
        points_per_change: Points of the series for each change that it may have.
        min_split_width: Width, as a fraction of the axis. A narrower level change is not split.
        min_distance: Least distance of two changes of one series, as a fraction of the axis ...
        min_distance_per_width: ... and per width.
        min_rest: Share of a template's squared length that trend and events must leave. Less, and
            the template is the trend under another name.
        min_rest_of_line: The same beside a straight line.
    """

    step_penalty: float = 11.0
    kink_penalty: float = 2.0
    first_kink_penalty: float = 3.0
    jump_penalty: float = 6.0
    linear_trend_bonus: float = 20.0
    kinked_trend_bonus: float = 40.0
    entry_threshold: float = 0.57
    joint_entry_threshold: float = 0.25
    max_changes: int = 9
    points_per_change: int = 6
    min_split_width: float = 0.04
    min_distance: float = 0.02
    min_distance_per_width: float = 0.3
    min_rest: float = 1e-3
    min_rest_of_line: float = 1e-6


@dataclass(frozen=True, kw_only=True)
class ShapeCheckConfig(CheckedConfig):
    """Which changes show in the fitted curve itself.

    Attributes:
        min_return: Distance that a curve must come back by to be non-monotone, in noise units ...
        min_return_share: ... and as a share of its range.
        turn_reach: Distance to either side of a bend, as a fraction of the axis, within which the
            curve turns.
        turn_prominence: Distance that a curve must come back by on both sides of a turning point,
            in noise units.
        min_step_share: Least level change that one series shows by itself, as a share of its range.
        min_effect_share: Least level change of a series that takes part, as a share of its range.
        max_effect_share: Largest level change, as a share of the range. A larger one is an artefact
            that relaxations or event effects make up for.
        max_width_ratio: Largest fitted width, in units of the widest transition. A wider fit is a
            trend.
        min_outer_points: Snapshots at either end of the run at which no change is located.
        max_spike_points: Snapshots that two loss spikes take, one after the other.
        max_reversal_rest: What two changes leave of the larger one. Less, and the second reverses
            the first.
    """

    min_return: float = 2.0
    min_return_share: float = 0.1
    turn_reach: float = 0.06
    turn_prominence: float = 1.5
    min_step_share: float = 0.06
    min_effect_share: float = 0.02
    max_effect_share: float = 1.25
    max_width_ratio: float = 1.2
    min_outer_points: int = 2
    max_spike_points: int = 6
    max_reversal_rest: float = 0.5


@dataclass(frozen=True, kw_only=True)
class SignificanceConfig(CheckedConfig):
    """What the evidence for a change is worth.

    Attributes:
        num_draws: Draws of the run without a change.
        lag: Distance between a place and the midpoint of a series that takes part, as a fraction of
            the axis ...
        lag_per_width: ... and per width.
        penalties: Pairs of a penalty, in log odds, and the log odds that a series without a change
            then brings on average. The first pair is for few series that move clearly, the second
            for many that move a little.
        kink_penalty: Less evidence for a bend, in log odds.
        tail: Share of the draws, the largest, that the exponential tail is fitted to.
        tail_prior: Weight of the prior that the tail falls like exp(-evidence / 2), in draws.
        p_value_inflation: Factor on the p-value. The draws take the learned noise for the true one,
            and say little of the far tail. Fitted on generated quiet runs
            (``python -m experiments.bench.transitions --quiet``).
        company_quantile: Quantile of the gain without a change that a series must exceed to join a
            change. Chosen on generated seeds 201 to 204.
        min_company_gain: Gain from which a series joins a change.
        min_joint_gain: The same for a change that only all series together show.
        max_joint_changes: Most changes that only all series together show.
    """

    num_draws: int = 200
    lag: float = 0.02
    lag_per_width: float = 0.3
    penalties: tuple[tuple[float, float], ...] = ((3.5, 0.0), (1.5, 0.6))
    kink_penalty: float = 1.5
    tail: float = 0.3
    tail_prior: float = 10.0
    p_value_inflation: float = 1.2
    company_quantile: float = 0.9
    min_company_gain: float = 4.0
    min_joint_gain: float = 6.0
    max_joint_changes: int = 3


@dataclass(frozen=True, kw_only=True)
class ClusterConfig(CheckedConfig):
    """Which changes of several series are one change.

    Attributes:
        join_per_width: Distance of the midpoints of two series, per mean width, beside the lag.
        overlap: Distance below which two changes are one, as a fraction of the axis ...
        overlap_per_width: ... and per larger width.
        overlap_of_kinds: More for a bend beside a level change, as a fraction of the axis.
    """

    join_per_width: float = 0.45
    overlap: float = 0.03
    overlap_per_width: float = 0.6
    overlap_of_kinds: float = 0.02


@dataclass(frozen=True, kw_only=True)
class LocationConfig(CheckedConfig):
    """Where a change lies, and between which bounds.

    Attributes:
        interval_level: Probability that the interval of the midpoint holds the true one.
        step_inflation: Factor on the width of the interval of a level change. The posterior treats
            noise, correlation, trend and shape as known, but they are estimates. Fitted on
            generated seeds 201 to 203 (``python -m experiments.bench.transitions``, "interval
            covers").
        kink_inflation: The same for a turning point.
        num_mids: Midpoints of the posterior's grid.
        num_widths: Widths of the posterior's grid.
        num_windows: Windows through which a change is followed to its best place.
        turn_width: Onset to end of a turning point, as a fraction of the axis. It has no ends of
            its own.
    """

    interval_level: float = 0.9
    step_inflation: float = 1.3
    kink_inflation: float = 1.6
    num_mids: int = 81
    num_widths: int = 12
    num_windows: int = 4
    turn_width: float = 0.06


@dataclass(frozen=True, kw_only=True)
class DetectorConfig(CheckedConfig):
    """The constants of ``detect``.

    Where a field names nothing else, its value was set by hand on the public part of the labelled
    benchmark and on generated seeds 201 to 204. What another value does, any field at a time::

        python -m experiments.bench.detector_config selection.step_penalty 9 11 13

    Attributes:
        templates: Which changes are looked for.
        trend: What the smooth part of a series may be.
        noise: What the noise of a series is taken for.
        events: What an event may leave on a curve.
        selection: Which changes of one series are selected.
        shape_checks: Which changes show in the fitted curve.
        significance: What the evidence for a change is worth.
        clusters: Which changes of several series are one.
        location: Where a change lies.
        seed: Of the draws. The same series give the same answer.
    """

    templates: TemplateConfig = field(default_factory=TemplateConfig)
    trend: TrendConfig = field(default_factory=TrendConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    events: EventConfig = field(default_factory=EventConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    shape_checks: ShapeCheckConfig = field(default_factory=ShapeCheckConfig)
    significance: SignificanceConfig = field(default_factory=SignificanceConfig)
    clusters: ClusterConfig = field(default_factory=ClusterConfig)
    location: LocationConfig = field(default_factory=LocationConfig)
    seed: int = 20261121


@dataclass(frozen=True, kw_only=True)
class OnlineDetectorConfig(CheckedConfig):
    """The constants of ``OnlineDetector``.

    Where a field names nothing else, its value was set by hand on the quiet and the labelled runs
    of ``python -m experiments.bench.monitor``. The same command measures another value.

    Attributes:
        trend: What the smooth part of a series may be.
        events: What an event may leave on a curve.
        noise: What the noise of a series is taken for.
        min_points_known: Fewest points of a series with standard errors.
        min_points_unknown: Fewest points of a series without them.
        num_single: Newest points that are kept one by one.
        bins_per_size: Then so many bins of 2 points, of 4, of 8 and so on.
        min_roughness: Squared ratio of the median sizes of second and first differences, from which
            the noise of a curve is observable.
        num_newest: Points that may be a spike or the begin of a change.
        num_recent: Points back from which on no recent change is in the way.
        lags: Snapshots ago after which a change may have begun.
        max_lag_share: Largest lag as a share of the known past. What lies further back has no past
            to compare with.
        max_moving_share: Share of the series that may change together.
        startup_memories: Time that an optimizer with momentum takes to gain its speed, in units of
            1 / (1 - momentum) steps.
        threshold_offset: On the log threshold. Fitted so that the stated rate holds on generated
            quiet runs (``python -m experiments.bench.monitor``).
        correlations: Correlations of the noise at neighbouring snapshots.
        trend_sds: Sizes of what the fitted relaxations may have missed, in noise units.
        relaxation_slack: Error of a fitted relaxation, relative to its size.
        missed_rates_per_decade: Rates per decade of the relaxations that were missed.
        change_sds: Prior sizes of a change, in noise units.
        shape_error: Error of an ideal trend, as a share of the curve's range.
        min_noise_known: Least noise in units of the reported standard error.
        min_noise_unknown: Least noise in units of the observed noise.
        prior_points_known: Weight of the reported noise, in snapshots.
        prior_points_unknown: Weight of the observed noise, in snapshots.
        max_outliers: Newest points that may be outliers without a change.
        outlier_share: Probability of an outlier.
        outlier_range: Range within which an outlier lies, in noise units.
    """

    trend: TrendConfig = field(default_factory=TrendConfig)
    events: EventConfig = field(default_factory=EventConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    min_points_known: int = 7
    min_points_unknown: int = 14
    num_single: int = 40
    bins_per_size: int = 8
    min_roughness: float = 2.2
    num_newest: int = 3
    num_recent: int = 12
    lags: tuple[int, ...] = (
        *range(1, 11),
        *(12, 14, 17, 20, 24, 29, 35, 42, 50, 60, 76, 96, 128, 170, 230, 310, 420),
    )
    max_lag_share: float = 0.75
    max_moving_share: float = 0.8
    startup_memories: float = 3.0
    threshold_offset: float = -1.1
    correlations: tuple[float, ...] = (0.0, 0.4)
    trend_sds: tuple[float, ...] = (0.5, 2.0)
    relaxation_slack: float = 0.6
    missed_rates_per_decade: int = 2
    change_sds: tuple[float, ...] = (4.0, 15.0)
    shape_error: float = 0.002
    min_noise_known: float = 0.8
    min_noise_unknown: float = 0.1
    prior_points_known: float = 8.0
    prior_points_unknown: float = 1.0
    max_outliers: int = 3
    outlier_share: float = 0.02
    outlier_range: float = 40.0

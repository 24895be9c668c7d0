"""``devtrack calibrate``: settings of the LLC that work over a whole run."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from devtrack.cli import _options as options
from devtrack.cli._output import log, suggest
from devtrack.cli._pictures import require_picture
from devtrack.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from devtrack.metrics.metric import LossFunction
    from devtrack.store import Store


def calibrate(
    problem: Annotated[
        str,
        typer.Argument(
            help="FILE.py:FUNCTION, which returns (model, loss, batches): the run's model, "
            "loss(model, batch), and a list of fixed batches."
        ),
    ],
    run: options.Run = None,
    store: options.StoreFolder = "runs",
    out: Annotated[
        Path, typer.Option("--out", help="Picture to write: .png, .pdf or .svg.")
    ] = Path("calibration.png"),
    n_beta: Annotated[
        list[float] | None, typer.Option("--n-beta", help="nβ to try; may be repeated.")
    ] = None,
    localization: Annotated[
        list[float] | None, typer.Option("--localization", help="γ to try; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the chains.")] = 0,
    as_json: options.Json = False,
) -> None:
    """Choose the LLC's settings on snapshots of a run.

    Step size, localization and nβ, by short chains on an early, a middle and a late snapshot. The
    answer is one line to paste into your training script; keep it for the whole run.
    """
    require_picture(out)
    build = _function(problem)
    from devtrack.store import open_store

    opened = open_store(store)
    paths, untrained = _early_middle_late(opened, opened.run(run).run_id)
    import torch

    from devtrack.model_state import snapshots
    from devtrack.plots.calibration import draw_calibration
    from devtrack.sampling.calibration import calibrate as find_settings

    model, loss, batches = _built(build, problem)
    tried: dict[str, Any] = {"n_betas": n_beta, "localizations": localization}
    found = find_settings(
        model,
        [snapshots.read(path) for path in paths],
        loss=loss,
        batches=batches,
        generator=torch.Generator().manual_seed(seed),
        untrained=snapshots.read(untrained) if untrained else None,
        **{name: values for name, values in tried.items() if values},
    )
    draw_calibration(found).savefig(out, dpi=200)
    chosen = asdict(found.config)
    if as_json:
        import json

        typer.echo(json.dumps([chosen]))
    else:
        shown = {k: v for k, v in chosen.items() if not k.startswith("rmsprop")}
        typer.echo("LLC(" + ", ".join(f"{k}={_plain(v)!r}" for k, v in shown.items()) + ")")
    for reason in found.reasons:
        log(reason)
    suggest(f"picture: {out}")


def _plain(value: Any) -> Any:
    """Return ``value``; a float rounded to what matters."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


def _function(spec: str) -> Any:
    """Import FILE.py:FUNCTION.

    Raises:
        ConfigError: If there is no such file, or no such function in it.
    """
    path, _, name = spec.rpartition(":")
    if not (path.endswith(".py") and Path(path).is_file()):
        raise ConfigError(
            f"problem={spec!r}: must be FILE.py:FUNCTION with a file that exists. "
            "Try problem.py:build."
        )
    module_spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert module_spec is not None and module_spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    if not callable(getattr(module, name, None)):
        raise ConfigError(
            f"problem={spec!r}: {path} has no function {name!r}. Define it; it returns "
            "(model, loss, batches)."
        )
    return getattr(module, name)


def _built(build: Callable[[], Any], spec: str) -> tuple[nn.Module, LossFunction, Sequence[Any]]:
    """Call FUNCTION, put its model into eval mode, and try its loss once.

    Raises:
        ConfigError: If it returns something else than a model, a loss and a list of batches.
        MetricError: If the loss is none.
    """
    from torch import nn

    from devtrack.sampling._user_loss import call_loss

    match build():
        case (nn.Module() as model, loss, [first, *_] as batches):
            call_loss(loss, model.eval(), first)
            return model, loss, batches
        case tuple(found):
            given = f"({', '.join(type(one).__name__ for one in found)})"
        case found:
            given = type(found).__name__
    raise ConfigError(
        f"problem={spec!r}: returned {given}: must return (model, loss, batches), in this order: a "
        "module, loss(model, batch), and a list of at least one batch, fixed once for all. "
        "Turn a DataLoader into list(loader)."
    )


def _early_middle_late(store: Store, run_id: str) -> tuple[list[Path], Path | None]:
    """Return the files of three snapshots, fewer if the run has fewer, and that of step 0 if any.

    Raises:
        DataError: If the run has no snapshot.
    """
    from devtrack.store.estimate_readers import read_snapshots

    rows = [(path, progress.step) for progress, path in read_snapshots(store, run_id)]
    if not rows:
        raise DataError(
            f"run {run_id} has no snapshot: calibration needs weights. Train with a Tracker that "
            "keeps snapshots, or choose another run."
        )
    paths = [store.path / run_id / path for path, _ in rows]
    last = len(rows) - 1
    chosen = sorted({last // 4, last // 2, last})
    return [paths[index] for index in chosen], paths[0] if rows[0][1] == 0 else None

"""Analysis: many runs side by side, and whether a difference is more than the luck of the seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from dl_course.diagnostics import weight_statistics
from dl_course.diagnostics.table import Table
from dl_course.experiments.runs import Run


@dataclass(frozen=True)
class SeedComparison:
    """Two settings over seeds. difference: mean of b minus mean of a · interval: 95 %, by Student's t.

    p_value: how likely a difference at least so large is where there is none · seeds: of a and of b.
    """

    difference: float
    interval: tuple[float, float]
    p_value: float
    seeds: tuple[int, int]

    def __repr__(self) -> str:
        low, high = self.interval
        luck = "could be luck" if low <= 0 <= high else "hardly luck"
        seeds = "{} and {} seeds".format(*self.seeds)
        return f"b - a = {self.difference:+.4f} (95 % from {low:+.4f} to {high:+.4f}, {seeds}): {luck}"


def compare_seeds(
    a: Mapping[int, float] | Sequence[float], b: Mapping[int, float] | Sequence[float], paired: bool = True
) -> SeedComparison:
    """Return the comparison of one figure per seed, {seed: figure} or a list, of two settings.

    paired: seed by seed, which takes out what both owe to it (Student's t); else two heaps (Welch's).
    ValueError for fewer than two seeds, where pairs don't match, and for a figure that is no number (NaN).
    """
    from scipy import stats  # slow to import, and a training needs none of it

    if paired and (list(a) != list(b) if isinstance(a, Mapping) else len(a) != len(b)):
        raise ValueError("pairs need the same seeds in both; paired=False compares without")
    first, second = (np.array(list(x.values() if isinstance(x, Mapping) else x), float) for x in (a, b))
    if min(len(first), len(second)) < 2:
        raise ValueError("one seed says nothing about luck; give two at least, better five")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError(
            f"a run has no finite figure, so nothing can be compared; given: {first} and {second}"
        )
    difference = float(second.mean() - first.mean())
    spread = np.ptp(second - first) if paired else max(np.ptp(first), np.ptp(second))
    if spread == 0:
        interval = (difference, difference)
        p_value = float(difference == 0)
    else:
        test = stats.ttest_rel(second, first) if paired else stats.ttest_ind(second, first, equal_var=False)
        low, high = test.confidence_interval(0.95)
        interval = (float(low), float(high))
        p_value = float(test.pvalue)
    return SeedComparison(difference, interval, p_value, (len(first), len(second)))


def settings(runs: Sequence[Run]) -> pd.DataFrame:
    """Return the settings in which the runs differ, a row a run."""
    rows = {}
    for run in runs:
        values = asdict(run.config)
        inner = {
            f"{part}.{key}": v for part in ("data", "model", "training") for key, v in values[part].items()
        }
        rows[run.folder.name] = {"name": values["name"], **inner}
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table[[name for name in table if table[name].map(repr).nunique() > 1]]


def run_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Return a row a run: the settings in which they differ, and the final figures."""
    figures = pd.DataFrame([run.metrics for run in runs], index=[run.folder.name for run in runs])
    return settings(runs).join(figures)


def figures(runs: Sequence[Run], metric: str = "val_accuracy") -> pd.DataFrame:
    """Return setting (what differs but the seed), seed and metric of the finished runs, a row a run."""
    done = [run for run in runs if run.metrics]
    if not done:
        raise ValueError("none of these runs is finished")
    differing = settings(done).drop(columns=["name", "training.seed"], errors="ignore")
    names = [", ".join(f"{key}={value}" for key, value in row.items()) for _, row in differing.iterrows()]
    rows = [
        {
            "setting": name or done[0].config.name,
            "seed": run.config.training.seed,
            metric: run.metrics[metric],
        }
        for name, run in zip(names, done, strict=True)
    ]
    table = pd.DataFrame(rows, index=differing.index)
    return table.drop_duplicates(["setting", "seed"], keep="last")  # a repeated run is no second witness


def by_seed(runs: Sequence[Run], metric: str = "val_accuracy") -> pd.DataFrame:
    """Return a row a setting: over its seeds the metric's count, mean, std (of a sample), min and max."""
    groups = figures(runs, metric).groupby("setting", sort=False)[metric]
    return groups.agg(["count", "mean", "std", "min", "max"])


def compare(runs: Sequence[Run], metric: str = "val_accuracy") -> SeedComparison:
    """Return the comparison of runs of two settings, in the order in which they come; paired if possible."""
    table = figures(runs, metric)
    both = [dict(zip(g["seed"], g[metric], strict=True)) for _, g in table.groupby("setting", sort=False)]
    if len(both) != 2:
        raise ValueError(f"a comparison is of two settings; these runs have {len(both)}")
    a, b = (dict(sorted(each.items())) for each in both)
    return compare_seeds(a, b, paired=a.keys() == b.keys())


def curves(runs: Sequence[Run]) -> pd.DataFrame:
    """Return the runs' histories below each other, with run, setting and seed."""
    about = figures(runs, "epoch").drop(columns="epoch")
    tables = [
        run.history.assign(run=run.folder.name, **about.loc[run.folder.name]) for run in runs if run.metrics
    ]
    return pd.concat(tables, ignore_index=True)


def weights(run: Run, checkpoint: str = "best") -> Table:
    """Return ``diagnostics.weight_statistics`` of a checkpoint: "best", "latest" or another's name."""
    return weight_statistics(run.model(checkpoint))


def report(runs: Sequence[Run], metric: str = "val_accuracy") -> str:
    """Return in words the table of runs, their spread over seeds and, of two settings, the comparison."""
    parts: list[Any] = [
        run_table(runs).T.to_string(),
        by_seed(runs, metric).to_string(float_format="{:.4f}".format),
    ]
    try:
        parts.append(compare(runs, metric))
    except ValueError as error:
        parts.append(f"no comparison: {error}")
    return "\n\n".join(map(str, parts))

"""Analysis: seeds' spread, honest differences, and what is drawn of them."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from dl_course.experiments import (
    Run,
    by_seed,
    changed,
    compare,
    compare_seeds,
    curves,
    draw_curves,
    draw_seeds,
    draw_trials,
    figures,
    report,
    run_table,
    weights,
)
from dl_course.experiments.config import ExperimentConfig
from dl_course.experiments.reading import save_config
from dl_course.training import save


def made(folder, name, accuracy, **changes):
    """A finished run's folder, of figures made up."""
    where = folder / name
    where.mkdir(parents=True)
    changes = {key.replace("_", ".", 1): value for key, value in changes.items()}
    save_config(changed(ExperimentConfig("net"), changes), where / "config.yaml")
    run_about = {"data": {"shape": [1, 28, 28], "classes": list("0123456789")}}
    pd.Series(run_about).to_json(where / "about.json")
    pd.Series({"epoch": 2, "val_accuracy": accuracy, "val_loss": 1 - accuracy}).to_json(
        where / "metrics.json"
    )
    table = pd.DataFrame({"epoch": [1, 2], "val_accuracy": [accuracy / 2, accuracy]})
    table.to_csv(where / "history.csv", index=False)
    return Run(where)


@pytest.fixture
def runs(tmp_path):
    rates, accuracies = (0.1, 0.1, 0.1, 0.2, 0.2, 0.2), (0.80, 0.84, 0.88, 0.85, 0.87, 0.92)
    rows = enumerate(zip(rates, (0, 1, 2) * 2, accuracies, strict=True))
    return [
        made(tmp_path, f"net-{i}", accuracy, training_learning_rate=rate, training_seed=seed)
        for i, (rate, seed, accuracy) in rows
    ]


def test_the_interval_of_pairs_is_students(runs):
    a, b = np.random.default_rng(0).normal(size=(2, 6))
    found, d = compare_seeds(list(a), list(b)), b - a
    half = stats.t.ppf(0.975, 5) * d.std(ddof=1) / np.sqrt(6)
    assert found.difference == pytest.approx(d.mean())
    assert found.interval == pytest.approx((d.mean() - half, d.mean() + half))
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(d.mean()) / d.std(ddof=1) * np.sqrt(6), 5))


def test_the_interval_without_pairs_is_welchs():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=4), rng.normal(1, 3, size=7)
    found = compare_seeds(list(a), list(b), paired=False)
    u, v = a.var(ddof=1) / 4, b.var(ddof=1) / 7
    freedom = (u + v) ** 2 / (u**2 / 3 + v**2 / 6)
    half = stats.t.ppf(0.975, freedom) * np.sqrt(u + v)
    assert found.interval == pytest.approx((b.mean() - a.mean() - half, b.mean() - a.mean() + half))


def test_the_interval_holds_the_truth_in_95_of_100_experiments():
    rng, hits = np.random.default_rng(2), 0
    for _ in range(400):
        luck = rng.normal(size=5)  # what both settings owe to the seed
        low, high = compare_seeds(list(luck), list(luck + 0.3 + rng.normal(0, 0.5, 5))).interval
        hits += low <= 0.3 <= high
    assert 0.92 <= hits / 400 <= 0.98


def test_a_difference_within_the_noise_is_called_luck_and_one_beyond_it_is_not():
    a = [0.90, 0.92, 0.94]
    assert "could be luck" in repr(compare_seeds(a, [0.93, 0.90, 0.95]))
    assert "hardly luck" in repr(compare_seeds(a, [0.95, 0.972, 0.99]))


def test_seeds_without_any_spread_are_compared_too():
    same, other = compare_seeds([0.5, 0.5], [0.5, 0.5]), compare_seeds([0.5, 0.6], [0.75, 0.85])
    assert same.interval == (0, 0) and same.p_value == 1
    assert other.difference == pytest.approx(0.25) and other.p_value < 1e-6


def test_what_says_nothing_about_luck_is_refused():
    with pytest.raises(ValueError, match="one seed says nothing about luck"):
        compare_seeds([0.5], [0.6])
    with pytest.raises(ValueError, match="the same seeds in both; paired=False"):
        compare_seeds({0: 0.5, 1: 0.5}, {0: 0.5, 2: 0.5})
    with pytest.raises(ValueError, match="the same seeds in both"):
        compare_seeds([0.5, 0.5], [0.5, 0.5, 0.5])


def test_the_table_shows_the_settings_that_differ_and_no_others(runs):
    table = run_table(runs)
    assert list(table.columns[:2]) == ["training.learning_rate", "training.seed"]
    assert "data.name" not in table and list(table["val_accuracy"]) == [0.80, 0.84, 0.88, 0.85, 0.87, 0.92]


def test_runs_that_differ_in_the_seed_alone_are_one_setting(runs):
    table = by_seed(runs)
    assert list(table.index) == ["training.learning_rate=0.1", "training.learning_rate=0.2"]
    assert table.iloc[0].to_dict() == pytest.approx(
        {"count": 3, "mean": 0.84, "std": np.std([0.80, 0.84, 0.88], ddof=1), "min": 0.80, "max": 0.88}
    )


def test_a_repeated_run_is_no_second_witness(runs, tmp_path):
    again = made(tmp_path, "net-again", 0.80, training_learning_rate=0.1, training_seed=0)
    assert by_seed([*runs, again])["count"].tolist() == [3, 3]


def test_two_settings_are_compared_seed_by_seed_in_whatever_order_the_runs_come(runs):
    found = compare([*runs[:3], *runs[:2:-1]])
    assert found == compare(runs) == compare_seeds([0.80, 0.84, 0.88], [0.85, 0.87, 0.92])
    assert repr(found) in report(runs)
    with pytest.raises(ValueError, match="two settings; these runs have 1"):
        compare(runs[:3])
    assert "no comparison: a comparison is of two settings" in report(runs[:3])


def test_settings_of_other_seeds_are_compared_without_pairs(runs):
    assert compare([*runs[:2], *runs[4:]]).interval == pytest.approx(
        compare_seeds([0.80, 0.84], [0.87, 0.92], paired=False).interval
    )


def test_unfinished_runs_do_not_count(runs):
    (runs[0].folder / "metrics.json").unlink()
    assert by_seed(runs)["count"].tolist() == [2, 3]
    assert len(curves(runs)) == 10
    with pytest.raises(ValueError, match="none of these runs is finished"):
        by_seed(runs[:1])


def test_curves_are_all_histories_below_each_other(runs):
    table = curves(runs)
    assert len(table) == 12 and set(table["setting"]) == set(by_seed(runs).index)
    last = table[table["epoch"] == 2].set_index("run")["val_accuracy"]
    assert last.to_dict() == {run.folder.name: run.metrics["val_accuracy"] for run in runs}


def test_the_weights_of_a_checkpoint_are_measured(runs):
    from dl_course.experiments.build import build_model

    model = build_model(runs[0].config.model, [1, 28, 28], 10)
    save(runs[0].folder / "best.pt", {"model": model.state_dict()})
    table = weights(runs[0])
    assert table.loc["fc.weight", "std"] == pytest.approx(model.fc.weight.std(correction=0).item(), rel=1e-5)
    assert torch.equal(runs[0].model().fc.weight, model.fc.weight)


def test_curves_are_drawn_as_a_mean_in_a_band_of_seeds(runs):
    ax = draw_curves(curves(runs))
    assert [list(line.get_ydata()) for line in ax.lines] == [
        pytest.approx([0.42, 0.84]), pytest.approx([0.44, 0.88]),
    ]  # fmt: skip
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        f"training.learning_rate={rate} (3 seeds)" for rate in (0.1, 0.2)
    ]
    low, high = ax.collections[0].get_datalim(ax.transData).intervaly
    assert (low, high) == pytest.approx((0.40, 0.88))
    plt.close("all")


def test_seeds_are_drawn_as_dots_with_a_bar_at_their_mean(runs):
    ax = draw_seeds(figures(runs))
    assert sorted(ax.lines[0].get_xdata()) == [0.80, 0.84, 0.88]
    assert ax.lines[1].get_xdata() == pytest.approx([0.84, 0.84])
    assert ax.get_xlabel() == "val accuracy"
    plt.close("all")


def test_trials_are_drawn():
    table = pd.DataFrame({"state": ["complete", "pruned"], "value": [0.5, 0.25]}, index=[0, 1])
    ax = draw_trials(table, metric="val_accuracy")
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {"complete", "pruned"}
    assert [list(line.get_ydata()) for line in ax.lines] == [[0.5], [0.25]]
    plt.close("all")


def test_a_run_without_a_finite_figure_is_not_compared():
    for figure in (float("nan"), float("inf")):
        for paired in (True, False):
            with pytest.raises(ValueError, match="no finite figure"):
                compare_seeds([0.5, 0.6], [0.7, figure], paired)

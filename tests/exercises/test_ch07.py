"""Chapter 07: typical wrong answers get the right diagnosis; right ones pass, however they are written."""

import ast
import copy
import json
import statistics
from functools import reduce

import numpy as np
import optuna
import pytest
import torch
from scipy import stats

from dl_course.exercises.checking import check
from dl_course.exercises.checks import find_exercise
from dl_course.exercises.probes import find_probe
from tests.exercises.suites import Suite, assert_mistakes_are_named, both_tests, share_with_outputs_of

pytestmark = pytest.mark.timeout(180)  # it trains: more than a test has otherwise

suite = Suite()
wrong, right = suite.wrong, suite.right

# override ------------------------------------------------------------------------------------------------


def typed(old, text):
    return text == "true" if isinstance(old, bool) else type(old)(text)


@wrong("override", "take copy.deepcopy")
def _(config, changes):
    new = config.copy()
    for name, text in changes.items():
        *sections, key = name.split(".")
        place = reduce(lambda place, section: place.get(section, {}), sections, new)
        if key not in place:
            raise ValueError(name)
        place[key] = typed(place[key], text)
    return new


@wrong("override", "the rest of the section is gone")
def _(config, changes):
    new = copy.deepcopy(config)
    for name, text in changes.items():
        if "." in name:
            section, key = name.split(".")
            old = config.get(section, {})
            if key not in old:
                raise ValueError(name)
            new |= {section: {key: typed(old[key], text)}}
        else:
            if name not in config:
                raise ValueError(name)
            new[name] = typed(config[name], text)
    return new


@wrong("override", "a misspelled name was added")
def _(config, changes):
    new = copy.deepcopy(config)
    for name, text in changes.items():
        *sections, key = name.split(".")
        place = new
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = typed(place.get(key, ""), text)
    return new


@wrong("override", "the values are still text")
def _(config, changes):
    new = json.loads(json.dumps(config))
    for name, text in changes.items():
        *sections, key = name.split(".")
        place = new
        for section in sections:
            place = place.get(section, {})
        if key not in place:
            raise ValueError(f"unknown: {name}")
        place[key] = text
    return new


@wrong("override", "bool('false') is True")
def _(config, changes):
    new = copy.deepcopy(config)
    for name, text in changes.items():
        *sections, key = name.split(".")
        place = reduce(lambda place, section: place.get(section, {}), sections, new)
        if key not in place:
            raise ValueError(name)
        place[key] = type(place[key])(text)
    return new


@wrong("override", "take the type of the value that it replaces")
def _(config, changes):
    new = copy.deepcopy(config)
    for name, text in changes.items():
        *sections, key = name.split(".")
        place = reduce(lambda place, section: place.get(section, {}), sections, new)
        if key not in place:
            raise ValueError(name)
        try:
            place[key] = ast.literal_eval(text.title())
        except ValueError:
            place[key] = text
    return new


@wrong("override", "raised KeyError")
def _(config, changes):
    new = copy.deepcopy(config)
    for name, text in changes.items():
        *sections, key = name.split(".")
        place = new
        for section in sections:
            place = place[section]
        place[key] = typed(place[key], text)
    return new


@wrong("override", "is its `return` missing")
def _(config, changes):
    copy.deepcopy(config)


@right("override")
def _(config, changes):
    def changed(part, prefix=""):
        done = {}
        for key, old in part.items():
            name = prefix + key
            if isinstance(old, dict):
                done[key] = changed(old, name + ".")
            else:
                done[key] = typed(old, left.pop(name)) if name in left else old
        return done

    left = dict(changes)
    new = changed(config)
    if left:
        raise ValueError(f"unknown: {left}")
    return new


@right("override")
def _(config, changes):
    new = json.loads(json.dumps(config))
    for name, text in changes.items():
        section, _, key = name.rpartition(".")
        place = new.get(section, {}) if section else new
        if key not in place:
            raise ValueError(name)
        words = isinstance(place[key], str)
        place[key] = text if words else json.loads(text)
    return new


# search_space --------------------------------------------------------------------------------------------


def asked(trial, **changes):
    """Return what a right answer asks first, or what is asked instead."""
    asks = {
        "learning_rate": lambda: trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True),
        "width": lambda: trial.suggest_categorical("width", [8, 16, 32]),
        "optimizer": lambda: trial.suggest_categorical("optimizer", ["sgd", "adamw"]),
    } | changes
    return {name: ask() for name, ask in asks.items()}


@wrong("search_space", "ask with log=True")
def _(trial):
    found = asked(trial, learning_rate=lambda: trial.suggest_float("learning_rate", 1e-4, 1e-1))
    if found["optimizer"] == "sgd":
        found["momentum"] = trial.suggest_float("momentum", 0.5, 0.99)
    return found


@wrong("search_space", "only a few rates")
def _(trial):
    rates = [0.0001, 0.001, 0.01, 0.1]
    found = asked(trial, learning_rate=lambda: trial.suggest_categorical("rate", rates))
    if found["optimizer"] == "sgd":
        found["momentum"] = trial.suggest_float("momentum", 0.5, 0.99)
    return found


@wrong("search_space", "every width in between is possible")
def _(trial):
    found = asked(trial, width=lambda: trial.suggest_int("width", 8, 32))
    if found["optimizer"] == "sgd":
        found["momentum"] = trial.suggest_float("momentum", 0.5, 0.99)
    return found


@wrong("search_space", "this momentum is SGD's")
def _(trial):
    return asked(trial, momentum=lambda: trial.suggest_float("momentum", 0.5, 0.99))


@wrong("search_space", "threw it away")
def _(trial):
    found, momentum = asked(trial), trial.suggest_float("momentum", 0.5, 0.99)
    return found | ({"momentum": momentum} if found["optimizer"] == "sgd" else {})


@wrong("search_space", "evenly, without log")
def _(trial):
    found = asked(trial)
    if found["optimizer"] == "sgd":
        found["momentum"] = trial.suggest_float("momentum", 0.5, 0.99, log=True)
    return found


@wrong("search_space", "'momentum' is missing")
def _(trial):
    return asked(trial)


@right("search_space")
def _(trial):
    found = asked(trial)
    if found["optimizer"] == "sgd":
        found["momentum"] = trial.suggest_float("momentum", 0.5, 0.99)
    return found


@right("search_space")
def _(trial):
    optimizer = trial.suggest_categorical("optimizer", ("adamw", "sgd"))
    more = {"momentum": trial.suggest_float("momentum", 0.5, 0.99)} if optimizer == "sgd" else {}
    width, rate = 2 ** trial.suggest_int("power", 3, 5), trial.suggest_float("log_rate", -4, -1)
    return {"optimizer": optimizer, "width": width, "learning_rate": 10**rate, **more}


# prunable ------------------------------------------------------------------------------------------------


@wrong("prunable", "nothing is reported")
def _(trial, accuracies):
    seen = []
    for accuracy in accuracies:
        seen.append(accuracy)
        if trial.should_prune():
            raise optuna.TrialPruned
    return seen[-1]


@wrong("prunable", "you report, and never ask")
def _(trial, accuracies):
    for step, accuracy in enumerate(accuracies):
        trial.report(accuracy, step)
    return accuracy


@wrong("prunable", "report first, then ask")
def _(trial, accuracies):
    for step, accuracy in enumerate(accuracies):
        if trial.should_prune():
            raise optuna.TrialPruned
        trial.report(accuracy, step)
    return accuracy


@wrong("prunable", "trained before the first report")
def _(trial, accuracies):
    accuracies = list(accuracies)
    for step in range(len(accuracies)):
        trial.report(accuracies[step], step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return accuracies[-1]


@wrong("prunable", "has no result, not a bad one")
def _(trial, accuracies):
    for step, accuracy in enumerate(accuracies):
        trial.report(accuracy, step)
        if trial.should_prune():
            return 0.0
    return accuracy


@wrong("prunable", "must not look like a finished one")
def _(trial, accuracies):
    for step, accuracy in enumerate(accuracies):
        trial.report(accuracy, step)
        if trial.should_prune():
            break
    return accuracy


@wrong("prunable", "count the epochs")
def _(trial, accuracies):
    for accuracy in accuracies:
        trial.report(accuracy, step=0)
        if trial.should_prune():
            raise optuna.TrialPruned
    return accuracy


@wrong("prunable", "not the best so far")
def _(trial, accuracies):
    best = 0
    for step, accuracy in enumerate(accuracies):
        best = max(best, accuracy)
        trial.report(best, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return best


@wrong("prunable", "partly luck")
def _(trial, accuracies):
    seen = []
    for accuracy in accuracies:
        trial.report(accuracy, len(seen))
        seen.append(accuracy)
        if trial.should_prune():
            raise optuna.TrialPruned
    return max(seen)


@right("prunable")
def _(trial, accuracies):
    for step, accuracy in enumerate(accuracies):
        trial.report(accuracy, step)
        if trial.should_prune():
            raise optuna.exceptions.TrialPruned(f"after epoch {step}")
    return accuracy


@right("prunable")
def _(trial, accuracies):
    step, last = 0, None
    while (accuracy := next(accuracies, None)) is not None:
        last = accuracy
        trial.report(value=last, step=step)
        step += 1
        if trial.should_prune():
            raise optuna.TrialPruned()
    return last


# paired_difference ---------------------------------------------------------------------------------------


def around(middle, half):
    return middle, middle - half, middle + half


@wrong("paired_difference", "b minus a")
def _(a, b):
    d = a - b
    return around(d.mean(), stats.t.ppf(0.975, len(d) - 1) * d.std() / len(d) ** 0.5)


@wrong("paired_difference", "each setting's best seed")
def _(a, b):
    d = b - a
    half = stats.t.ppf(0.975, len(d) - 1) * d.std() / len(d) ** 0.5
    return around(max(b) - max(a), half)


@wrong("paired_difference", "come in pairs")
def _(a, b):
    test = stats.ttest_ind(b, a).confidence_interval(0.95)
    return b.mean() - a.mean(), test.low, test.high


@wrong("paired_difference", "you divided by n")
def _(a, b):
    d = (b - a).numpy()
    return around(d.mean(), stats.t.ppf(0.975, len(d) - 1) * d.std() / len(d) ** 0.5)


@wrong("paired_difference", "smaller by a factor of √n")
def _(a, b):
    d = b - a
    return around(d.mean(), stats.t.ppf(0.975, len(d) - 1) * d.std())


@wrong("paired_difference", "1.96 is for hundreds")
def _(a, b):
    d = b - a
    return around(d.mean(), 1.96 * d.std() / len(d) ** 0.5)


@wrong("paired_difference", "have n − 1 degrees of freedom: stats")
def _(a, b):
    d = b - a
    return around(d.mean(), stats.t.ppf(0.975, len(d)) * d.std() / len(d) ** 0.5)


@wrong("paired_difference", "2.5 % lie outside on each side")
def _(a, b):
    d = b - a
    return around(d.mean(), stats.t.ppf(0.95, len(d) - 1) * d.std() / len(d) ** 0.5)


@wrong("paired_difference", "only about two thirds")
def _(a, b):
    d = b - a
    return around(d.mean(), d.std() / len(d) ** 0.5)


@wrong("paired_difference", "without ttest_rel")
def _(a, b):
    test = stats.ttest_rel(b, a).confidence_interval()
    return (b - a).mean(), test.low, test.high


@right("paired_difference")
def _(a, b):
    d = b - a
    return around(d.mean(), stats.t.ppf(0.975, len(d) - 1) * d.std() / len(d) ** 0.5)


@right("paired_difference")
def _(a, b):
    d = [y - x for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    middle, error = statistics.mean(d), statistics.stdev(d) / len(d) ** 0.5
    low, high = stats.t.interval(0.95, len(d) - 1, loc=middle, scale=error)
    return [middle, low, high]


# seed_noise ----------------------------------------------------------------------------------------------


@wrong("seed_noise", "the differences between settings are in it")
def _(scores):
    return torch.cat(scores).std()


@wrong("seed_noise", "how far the settings differ")
def _(scores):
    return statistics.stdev(float(each.mean()) for each in scores)


@wrong("seed_noise", "each mean uses up one degree of freedom")
def _(scores):
    return torch.cat([each - each.mean() for each in scores]).std(correction=0)


@wrong("seed_noise", "take the root last")
def _(scores):
    spread = [(each.std(), len(each) - 1) for each in scores if len(each) > 1]
    return sum(s * n for s, n in spread) / sum(n for _, n in spread)


@wrong("seed_noise", "every setting counts the same")
def _(scores):
    return np.mean([float(each.var()) for each in scores if len(each) > 1]) ** 0.5


@wrong("seed_noise", "weight with len − 1: n runs")
def _(scores):
    spread = [(each.var(), len(each)) for each in scores if len(each) > 1]
    return (sum(v * n for v, n in spread) / sum(n for _, n in spread)) ** 0.5


@wrong("seed_noise", "that is the variance")
def _(scores):
    return sum(((s - s.mean()) ** 2).sum() for s in scores) / sum(len(s) - 1 for s in scores)


@wrong("seed_noise", "a single run has no spread")
def _(scores):
    squares = [((each - each.mean()) ** 2).sum() for each in scores]
    variances = [square / (len(each) - 1) for square, each in zip(squares, scores, strict=True)]
    weights = [len(each) - 1 for each in scores]
    return (sum(v * w for v, w in zip(variances, weights, strict=True)) / sum(weights)) ** 0.5


@wrong("seed_noise", "that is the range")
def _(scores):
    return max(max(each) - min(each) for each in scores)


@right("seed_noise")
def _(scores):
    squares = sum(((each - each.mean()) ** 2).sum() for each in scores)
    return (squares / sum(len(each) - 1 for each in scores)) ** 0.5


@right("seed_noise")
def _(scores):
    rest = np.concatenate([each.numpy() - np.mean(each.numpy()) for each in scores])
    return np.linalg.norm(rest) / (len(rest) - len(scores)) ** 0.5


# all -----------------------------------------------------------------------------------------------------

NAMES = ("override", "search_space", "prunable", "paired_difference", "seed_noise")


def outputs(name, answer, seed):
    """Return the cases of a seed, with what the course's own answer puts out for each."""
    exercise = find_exercise(name)
    return [(case, exercise.outputs_of(answer, case)) for case in exercise.seeded_cases(seed)]


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_is_scipys_and_the_noise_that_of_a_regression_on_the_settings(seed):
    for case, out in outputs("paired_difference", type(find_exercise("paired_difference")).reference, seed):
        theirs = stats.ttest_rel(case["b"], case["a"]).confidence_interval(0.95)
        expected = [(case["b"] - case["a"]).mean(), theirs.low, theirs.high]
        np.testing.assert_allclose(out["returned"], expected, rtol=1e-6)
    for case, out in outputs("seed_noise", type(find_exercise("seed_noise")).reference, seed):
        setting = np.concatenate([np.full(len(each), i) for i, each in enumerate(case["scores"])])
        design, runs = np.eye(len(case["scores"]))[setting], np.concatenate(case["scores"])
        residuals = runs - design @ np.linalg.lstsq(design, runs, rcond=None)[0]
        expected = (residuals @ residuals / (len(runs) - design.shape[1])) ** 0.5
        np.testing.assert_allclose(float(out["returned"]), expected, rtol=1e-6)


def the_space(trial):
    found = asked(trial)
    return found | (
        {"momentum": trial.suggest_float("momentum", 0.5, 0.99)} if found["optimizer"] == "sgd" else {}
    )


def test_the_trial_of_the_check_offers_what_optunas_own_trials_offer():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    trials = [study.ask() for _ in range(40)]
    theirs = [the_space(trial) for trial in trials]
    ours = [out["returned"] for seed in range(7) for _, out in outputs("search_space", the_space, seed)]
    for found in (theirs, ours):
        assert {each["width"] for each in found} == {8, 16, 32}
        assert all(1e-4 <= each["learning_rate"] <= 1e-1 for each in found)
        assert 0.3 < np.mean([each["learning_rate"] < 10**-2.5 for each in found]) < 0.7
        assert all(("momentum" in each) == (each["optimizer"] == "sgd") for each in found)


def test_the_pruned_trial_of_the_check_ends_where_optunas_own_would():
    """A threshold pruner of Optuna's, with the bar of the epoch, is asked the same."""

    class Bars(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            return trial.intermediate_values[trial.last_step] < bars[trial.last_step]

    def answer(trial, accuracies):
        for step, accuracy in enumerate(accuracies):
            trial.report(accuracy, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return accuracy

    for case, out in outputs("prunable", answer, seed=3):
        bars = case["bars"]
        study = optuna.create_study(pruner=Bars())
        study.optimize(lambda trial, case=case: answer(trial, iter(case["accuracies"])), n_trials=1)
        (theirs,) = study.trials
        assert out["reports"] == [list(pair) for pair in theirs.intermediate_values.items()]
        pruned = theirs.state is optuna.trial.TrialState.PRUNED
        assert out["end"] == ("TrialPruned" if pruned else theirs.value)


def test_an_ordinary_error_of_a_trial_is_told_as_an_error(home):
    def prunable(trial, accuracies):
        raise RuntimeError("out of memory")

    assert "raised RuntimeError" in str(check(prunable))
    case = find_exercise("prunable").seeded_cases(0)[0]
    with pytest.raises(RuntimeError, match="out of memory"):
        find_probe("prunable")(prunable, case)


@pytest.mark.parametrize("name", NAMES)
def test_every_known_mistake_is_refused_and_named_for_other_seeds_too(name):
    assert_mistakes_are_named(name, range(10))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_right_for_one_seed_is_wrong_for_another(name):
    assert share_with_outputs_of(name, known=0, asked=1) == 0


test_wrong, test_right = both_tests(suite)

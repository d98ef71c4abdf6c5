"""Chapter 05: typical wrong answers get the right diagnosis; right ones pass, however they are written."""

import numpy as np
import pytest
import torch
from torch import nn

from dl_course.diagnostics import dead_units
from dl_course.exercises.checking import check
from dl_course.exercises.checks import find_exercise
from dl_course.exercises.probes import ch05 as probes
from tests.exercises.suites import Suite, assert_mistakes_are_named, both_tests, share_with_outputs_of

suite = Suite()
wrong, right = suite.wrong, suite.right

# activation_of -------------------------------------------------------------------------------------------


def captured(
    model, layer, x, keep=lambda output: output.detach().clone(), take=lambda inputs, output: output
):
    kept = []
    hook = model.get_submodule(layer).register_forward_hook(lambda m, i, o: kept.append(keep(take(i, o))))
    try:
        model(x)
    finally:
        hook.remove()
    return kept[0]


@wrong("activation_of", "wrote over what you kept")
def _(model, layer, x):
    return captured(model, layer, x, keep=lambda output: output.detach())


@wrong("activation_of", "keeps the graph")
def _(model, layer, x):
    return captured(model, layer, x, keep=lambda output: output.clone())


@wrong("activation_of", "that is what went into the layer")
def _(model, layer, x):
    return captured(model, layer, x, take=lambda inputs, output: inputs[0])


@wrong("activation_of", "your hook is still on the network")
def _(model, layer, x):  # the snippet of a hundred tutorials
    kept = {}
    model.get_submodule(layer).register_forward_hook(lambda m, i, o: kept.update(it=o))
    model(x)
    return kept["it"]


@wrong("activation_of", "remove it in a `finally:`")
def _(model, layer, x):
    kept = []
    module = dict(model.named_modules())[layer]
    hook = module.register_forward_hook(lambda m, i, o: kept.append(o.detach().clone()))
    model(x)
    hook.remove()
    return kept[0]


@wrong("activation_of", "you hid it from your caller")
def _(model, layer, x):
    kept = []
    hook = model.get_submodule(layer).register_forward_hook(lambda m, i, o: kept.append(o.detach().clone()))
    try:
        model(x)
    except Exception:
        pass
    finally:
        hook.remove()
    return kept[0]


@wrong("activation_of", "fills parameters")
def _(model, layer, x):
    model(x).sum().backward()
    return captured(model, layer, x)


@wrong("activation_of", "without capture, dl_course.hooks")
def _(model, layer, x):
    from dl_course.hooks import capture as look

    with look(model, layer) as seen:
        model(x)
    return seen[layer][0].activation


@wrong("activation_of", "the shape is")
def _(model, layer, x):
    return model(x).detach()


@right("activation_of")
def _(model, layer, x):
    return captured(model, layer, x)


@right("activation_of")
def _(model, layer, x):
    class Seen(Exception):
        pass

    def stop(module, inputs, output):
        raise Seen(output.double().numpy())

    with torch.no_grad():
        handle = dict(model.named_modules())[layer].register_forward_hook(stop)
        try:
            model(x)
        except Seen as seen:
            taken = seen.args[0]
        finally:
            handle.remove()
        model(x)  # whoever stops early must still break where the network does
    return taken


# dead_share ----------------------------------------------------------------------------------------------


@wrong("dead_share", "the share of zeros among all numbers")
def _(batches):
    return (sum((batch <= 0).sum() for batch in batches) / sum(batch.numel() for batch in batches)).item()


@wrong("dead_share", "the mean of the batches' shares")
def _(batches):
    return np.mean([(batch.transpose(0, 1).flatten(1).amax(1) <= 0).float().mean() for batch in batches])


@wrong("dead_share", "a channel is one unit")
def _(batches):
    return (torch.cat(batches).amax(0) <= 0).float().mean()


@wrong("dead_share", "ask for > 0")
def _(batches):
    return (torch.cat(batches).transpose(0, 1).flatten(1).abs().amax(1) == 0).float().mean()


@right("dead_share")
def _(batches):
    alive = set()
    for batch in batches:
        for unit in range(batch.shape[1]):
            if batch[:, unit].max() > 0:
                alive.add(unit)
    return 1 - len(alive) / batches[0].shape[1]


@right("dead_share")
def _(batches):
    peaks = np.concatenate([np.moveaxis(b.numpy(), 1, 0).reshape(b.shape[1], -1) for b in batches], axis=1)
    return np.float64((peaks.max(1) <= 0).mean())


@right("dead_share")
def _(batches):
    alive = torch.zeros(batches[0].shape[1], dtype=torch.bool)
    for batch in batches:
        axes = [0, *range(2, batch.ndim)]
        alive |= (batch > 0).sum(axes).bool()
    return (~alive).double().mean().item()


@pytest.mark.parametrize("seed", range(5))
def test_the_share_of_dead_units_is_the_one_that_the_course_measures(seed):
    exercise = find_exercise("dead_share")
    for case in exercise.seeded_cases(seed):
        batches = [torch.from_numpy(batch) for batch in case["batches"]]
        table = dead_units(nn.Sequential(nn.ReLU()), batches).iloc[0]
        expected = exercise.outputs_of(type(exercise).reference, case)["returned"]
        assert table["dead"] / table["units"] == pytest.approx(float(expected))


# layer_statistics --------------------------------------------------------------------------------------


@wrong("layer_statistics", "spreads don't average")
def _(batches):
    means = torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0)
    return means, torch.stack([batch.std((0, 2, 3), correction=0) for batch in batches]).mean(0)


@wrong("layer_statistics", "a mean and a spread of its own")
def _(batches):
    numbers = torch.cat([batch.flatten() for batch in batches])
    return numbers.mean(), numbers.std(correction=0)


@wrong("layer_statistics", "take its root")
def _(batches):
    x = torch.cat(batches)
    return x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)


@wrong("layer_statistics", "divide by N, not by N − 1")
def _(batches):
    x = torch.cat(batches)
    return x.mean((0, 2, 3)), x.std((0, 2, 3))


@right("layer_statistics")
def _(batches):
    total = squares = count = 0
    for batch in batches:
        batch = batch.double()
        total, squares = total + batch.sum((0, 2, 3)), squares + batch.square().sum((0, 2, 3))
        count += batch[:, 0].numel()
    mean = total / count
    return mean, (squares / count - mean**2).sqrt()


@right("layer_statistics")
def _(batches):  # Chan, Golub and LeVeque: merge means and sums of squared differences
    count, mean, spread = 0, np.zeros(1), np.zeros(1)
    for batch in batches:
        x = batch.numpy().astype(float).transpose(1, 0, 2, 3).reshape(batch.shape[1], -1)
        n, middle = x.shape[1], x.mean(1)
        gap = middle - mean
        spread = spread + ((x - middle[:, None]) ** 2).sum(1) + gap**2 * count * n / (count + n)
        count, mean = count + n, mean + gap * n / (count + n)
    return list(mean), np.sqrt(spread / count)


# gradient_ratios -----------------------------------------------------------------------------------------


def ratios(model, change=lambda p: p.grad.norm().item() / p.norm().item(), none=None, axes=2):
    table = {name: p for name, p in model.named_parameters() if p.ndim >= axes}
    return {name: none if p.grad is None else change(p) for name, p in table.items()}


@wrong("gradient_ratios", "isn't a gradient of zero")
def _(model):
    return ratios(model, none=0.0)


@wrong("gradient_ratios", "belongs in the table")
def _(model):
    return {name: ratio for name, ratio in ratios(model).items() if ratio is not None}


@wrong("gradient_ratios", "counts as 0.0")
def _(model):
    return {name: ratio or None for name, ratio in ratios(model).items()}


@wrong("gradient_ratios", "divide it by the weight's")
def _(model):
    return ratios(model, lambda p: p.grad.norm())


@wrong("gradient_ratios", "the other way round")
def _(model):
    return ratios(model, lambda p: (p.norm() / p.grad.norm()).item())


@wrong("gradient_ratios", "nobody asked for body.conv.bias")
def _(model):
    return ratios(model, axes=1)


@wrong("gradient_ratios", "your code raised AttributeError at line")
def _(model):
    return {name: p.grad.norm() / p.norm() for name, p in model.named_parameters() if p.ndim > 1}


@right("gradient_ratios")
def _(model):
    return ratios(model, lambda p: p.grad.norm() / p.detach().norm())


@right("gradient_ratios")
def _(model):
    table = {}
    for prefix, module in model.named_modules():
        for name, p in module.named_parameters(prefix, recurse=False):
            if p.dim() in (0, 1):
                continue
            table[name] = None
            if p.grad is not None:
                table[name] = ((p.grad.double() ** 2).sum() / (p.double() ** 2).sum()).sqrt().item()
    return dict(sorted(table.items()))


# all -----------------------------------------------------------------------------------------------------

NAMES = ("activation_of", "dead_share", "layer_statistics", "gradient_ratios")


@pytest.mark.parametrize("name", NAMES)
def test_every_known_mistake_is_refused_and_named_for_other_seeds_too(name):
    assert_mistakes_are_named(name, range(3))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_right_for_one_seed_is_wrong_for_another(name):
    assert share_with_outputs_of(name, known=0, asked=1) == 0


def test_a_hook_that_stays_is_counted_wherever_it_hangs():
    case = find_exercise("activation_of").seeded_cases(0)[0]
    model = probes._network(case)
    model.register_forward_pre_hook(lambda *call: None)
    model.fc.register_full_backward_hook(lambda *call: None)
    model.body.conv.register_forward_hook(lambda *call: None)
    assert probes._left_behind(model)["hooks left"] == 3


def test_a_network_that_no_longer_does_what_it_did_is_refused(home):
    def activation_of(model, layer, x):
        taken = captured(model, layer, x)
        model.body.act = nn.Identity()  # "so that nothing works in place"
        return taken

    assert dict(check(activation_of).lines)["differs in"] == "the next run"


def test_a_learners_own_error_is_shown_with_its_line_also_where_the_network_breaks(home):
    def activation_of(model, layer, x):
        return model.get_submodle(layer)

    lines = dict(check(activation_of).lines)
    assert "AttributeError at line" in lines["diagnosis"]


test_wrong, test_right = both_tests(suite)

"""The convolution stepper and the descent playground in a page without a kernel, against torch."""

import json
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dl_course.language import words_in
from dl_course.widgets import ConvolutionStepper, DescentPlayground
from dl_course.widgets.descent import METHODS, SURFACES
from dl_course.widgets.views import script

pytestmark = pytest.mark.e2e

SITE = "http://in-motion.test/"
PAGE = """<!doctype html><meta charset="utf-8"><body><div id="here"></div><script type="module">
import widget from "./NAME.js";
const [state, calls] = [STATE, {}];
window.model = {
  get: name => state[name], save_changes() {},
  set(name, value) { state[name] = value; (calls[`change:${name}`] ?? []).forEach(call => call()); },
  on(event, call) { (calls[event] ??= []).push(call); },
  off(event, call) { calls[event] = calls[event].filter(each => each !== call); },
};
window.calls = calls;
window.leave = widget.render({ model: window.model, el: document.getElementById("here") });
</script>"""


@pytest.fixture
def shown(page):
    """Return a function that opens one of the modules in a state; an error in the page fails the test."""
    errors = []
    page.set_viewport_size({"width": 1100, "height": 800})
    page.on("pageerror", lambda error: errors.append(str(error)))

    def show(name, **state):
        html = PAGE.replace("NAME", name).replace("STATE", json.dumps(state))
        code = script(name)
        page.unroute_all()
        page.route(SITE, lambda route: route.fulfill(body=html, content_type="text/html"))
        page.route(f"{SITE}*.js", lambda route: route.fulfill(body=code, content_type="text/javascript"))
        page.goto(SITE)
        page.locator(".status").wait_for()
        return page

    yield show
    assert errors == []


def table(page, name):
    """Return the numbers of a table as they can be read, NaN where a cell is empty."""
    read = "cell => cell.querySelector('input')?.value ?? cell.textContent"
    rows = page.locator(f".{name} tr").evaluate_all(f"rows => rows.map(row => [...row.cells].map({read}))")
    return np.array([[float(text.replace("−", "-") or "nan") for text in row] for row in rows])


def exact(page, name):
    script = "cells => cells.map(cell => Number(cell.dataset.value ?? NaN))"
    return np.array(page.locator(f".{name} td").evaluate_all(script))


def expected(page):
    picture, kernel, stride, padding = page.evaluate(
        "names => names.map(name => window.model.get(name))", ["picture", "kernel", "stride", "padding"]
    )
    tensors = (torch.tensor(each, dtype=torch.float64)[None, None] for each in (picture, kernel))
    return F.conv2d(*tensors, stride=stride, padding=padding)[0, 0].numpy()


def test_the_stepper_begins_alike_with_and_without_a_kernel(shown):
    widget = ConvolutionStepper()
    page = shown("convolution")
    assert (table(page, "picture") == np.array(widget.picture)).all()
    assert (table(page, "kernel") == np.array(widget.kernel)).all()
    page.get_by_role("button", name="To the end").click()
    assert (table(page, "output") == widget.output().numpy()).all()


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1), (3, 2)])
def test_every_number_of_the_stepper_is_torchs(shown, stride, padding):
    rng = np.random.default_rng(stride)
    picture = rng.normal(size=(7, 9)).round(2).tolist()
    page = shown("convolution", picture=picture, kernel=rng.normal(size=(3, 3)).tolist(), stride=1, padding=0)
    page.locator(".stride").select_option(str(stride))
    page.locator(".padding").select_option(str(padding))
    page.locator(".output").focus()
    page.keyboard.press("End")
    right = expected(page)
    assert right.shape == table(page, "output").shape
    assert np.allclose(exact(page, "output"), right.ravel(), atol=1e-12)
    assert np.allclose(table(page, "output"), right, atol=6e-4)  # three decimals
    assert np.isclose(exact(page, "products").sum(), right[-1, -1])
    assert f"row {len(right)}, column {len(right[0])}:" in page.locator(".status").inner_text()


def test_the_window_moves_by_keyboard_and_what_lies_ahead_is_hidden(shown):
    page = shown("convolution")
    page.locator(".output").focus()
    for key, place in (
        ("ArrowRight", 1),
        ("ArrowDown", 5),
        ("ArrowLeft", 4),
        ("ArrowUp", 0),
        ("ArrowUp", 0),
        ("End", 15),
    ):
        page.keyboard.press(key)
        assert page.evaluate("model.get('place')") == place, key
        assert np.isnan(table(page, "output")).sum() == 15 - place
        assert page.locator(".picture .under").count() == 9
    page.keyboard.press("Home")
    page.keyboard.press("ArrowLeft")
    assert "Place 1 of 16" in page.locator(".status").inner_text()


def test_a_kernel_can_be_chosen_and_changed(shown):
    page = shown("convolution", picture=ConvolutionStepper().picture, stride=1, padding=0)
    page.locator(".preset").select_option("wide blur")
    page.get_by_role("button", name="To the end").click()
    assert np.allclose(exact(page, "output"), expected(page).ravel()) and expected(page).shape == (2, 2)
    page.locator(".preset").select_option("one pixel")
    page.locator(".kernel input").fill("-2.5")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="To the end").click()
    assert page.locator(".preset").input_value() == "your own"
    assert (table(page, "output") == -2.5 * np.array(ConvolutionStepper().picture)).all()


def test_a_kernel_without_a_place_is_said_to_have_none(shown):
    page = shown("convolution", picture=[[1, 2], [3, 4]], kernel=[[1, 0, 2]] * 3, stride=1)
    assert "there is no place" in page.locator(".status").inner_text()
    page.locator(".padding").select_option("1")
    page.get_by_role("button", name="To the end").click()
    assert np.allclose(table(page, "output"), expected(page)) and expected(page).shape == (2, 2)


STATES = {
    "convolution": {},
    "descent": {},
    "drawing": {"layers": ["stage1"], "classes": ["0"], "answer": {}, "stroke": 0},
}


@pytest.mark.parametrize("name", STATES)
def test_a_widget_in_chinese_says_nothing_in_english_and_calls_things_by_the_same_names(
    shown, monkeypatch, name
):
    monkeypatch.setenv("DL_COURSE_LANGUAGE", "zh_CN")
    code = script(name)
    page = shown(name, words=words_in(code), **STATES[name])
    labels = "all => all.map(each => each.getAttribute('aria-label') ?? each.getAttribute('alt'))"
    said = page.locator("[aria-label], [alt]").evaluate_all(labels)
    said += page.locator("#here").evaluate("here => here.innerText").split()
    assert len(said) > 10
    english = [word for text in said for word in re.findall("[A-Za-z]{2,}", text)]
    assert set(english) <= {"Adam", "CAM", "Grad", "PNG", "SGD", "stage"}
    values = page.locator("option").evaluate_all("all => all.map(each => each.value)")
    assert set(values) & {"vertical edges", "ravine", "stage1"}


def replayed(surface, method, rate, path):
    """Return where torch's optimizer goes, given the gradients that the page has used."""
    place = torch.tensor(path[0]["at"], dtype=torch.float64, requires_grad=True)
    optimizer = METHODS[method]([place], lr=rate)
    for each in path[1:]:
        place.grad = torch.tensor(each["gradient"], dtype=torch.float64)
        optimizer.step()
        yield place.tolist(), SURFACES[surface](*place).item()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("surface", SURFACES)
def test_every_step_of_the_playground_is_torchs(shown, surface, method):
    page = shown("descent", rate=0.05, start=[-2.2, 0.7])
    page.locator(".surface").select_option(surface)
    page.locator(".method").select_option(method)
    for _ in range(3):
        page.get_by_role("button", name="Step", exact=True).click()
    page.evaluate("model.set('steps', 30)")
    path = json.loads(page.locator(".map").get_attribute("data-path"))
    ours = DescentPlayground(surface=surface, method=method, rate=0.05, start=[-2.2, 0.7]).path(30)
    assert np.allclose([each["at"] for each in path], ours, atol=1e-9)
    x, y = ours[-1].tolist()
    words = f"After 30 steps: x = {x:.3f}, y = {y:.3f}, height {SURFACES[surface](x, y):.4f}."
    said = page.locator(".status").inner_text().replace("−", "-")
    assert said.replace("-0.000,", "0.000,") == words.replace("-0.000,", "0.000,")


def test_noise_is_added_to_each_gradient_and_repeats(shown):
    page = shown("descent", noise=1.5, steps=400, surface="bowl", method="adam")
    read = lambda: json.loads(page.locator(".map").get_attribute("data-path"))  # noqa: E731
    path = read()
    right = list(replayed("bowl", "adam", 0.1, path))
    assert np.allclose([each["at"] for each in path[1:]], [place for place, _ in right], atol=1e-9)
    true = [[each["at"][0], 2 * each["at"][1]] for each in path[:-1]]
    noise = np.array([each["gradient"] for each in path[1:]]) - true
    assert abs(noise.mean()) < 4 * 1.5 / 800**0.5 and abs(noise.std() / 1.5 - 1) < 0.1
    page.get_by_role("button", name="Other noise").click()
    page.evaluate("model.set('steps', 400)")
    assert read()[-1]["at"] != path[-1]["at"]
    page.evaluate("model.set('seed', 0)")
    assert read() == path


def test_the_playground_is_played_by_keyboard_and_a_rate_too_high_is_named(shown):
    page = shown("descent")
    page.locator(".map").focus()
    for key in ("ArrowRight", "ArrowUp", "Enter", " "):
        page.keyboard.press(key)
    path = json.loads(page.locator(".map").get_attribute("data-path"))
    assert np.allclose(path[0]["at"], [-2.4, 1.1]) and len(path) == 3
    page.locator(".rate").focus()
    page.keyboard.press("End")  # the highest
    assert page.evaluate("model.get('steps')") == 0 and np.isclose(
        page.evaluate("model.get('rate')"), 10**0.5
    )
    page.emulate_media(reduced_motion="reduce")
    page.get_by_role("button", name="50 steps").click()
    page.emulate_media(reduced_motion="no-preference")
    assert "the rate is too high" in page.locator(".status").inner_text()


def test_fifty_steps_are_walked_one_by_one(shown):
    page = shown("descent")
    page.get_by_role("button", name="50 steps").click()
    page.wait_for_function("model.get('steps') === 50")
    assert "After 50 steps" in page.locator(".status").inner_text()


def test_both_begin_as_in_python_and_leave_nothing_behind(shown):
    widget = DescentPlayground()
    page = shown("descent")
    page.evaluate("model.set('steps', 10)")
    assert np.allclose(
        [each["at"] for each in json.loads(page.locator(".map").get_attribute("data-path"))], widget.path(10)
    )
    for name in ("descent", "convolution"):
        page = shown(name)
        page.evaluate("leave()")
        assert page.evaluate("Object.values(calls).flat().length") == 0

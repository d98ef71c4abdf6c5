import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dl_course.scratch import Dropout, Layer, Linear, ReLU, Sequential, Sigmoid, Tanh

sizes = st.integers(1, 7)
seeds = st.integers(0, 2**32 - 1)
ACTIVATIONS = {ReLU: torch.relu, Sigmoid: torch.sigmoid, Tanh: torch.tanh}


def assert_close(given, expected: torch.Tensor) -> None:
    np.testing.assert_allclose(given, expected.detach().numpy(), rtol=0, atol=1e-10)


def linear_in_torch(layer: Linear) -> torch.nn.Linear:
    twin = torch.nn.Linear(*layer.params["w"].shape, dtype=torch.float64)
    twin.weight.data = torch.from_numpy(layer.params["w"].T.copy())
    twin.bias.data = torch.from_numpy(layer.params["b"].copy())
    return twin


def test_importing_the_network_imports_no_torch():
    code = "import sys, dl_course.scratch; print('torch' in sys.modules, 'pandas' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["False", "False"]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@given(n=st.integers(0, 7), d=sizes, scale=st.sampled_from([0.1, 1.0, 30.0, 1e4]), seed=seeds)
def test_activations_and_their_gradients_equal_torch(activation, n, d, scale, seed):
    rng = np.random.default_rng(seed)
    x, dout = rng.normal(0, scale, (n, d)), rng.normal(size=(n, d))
    x.flat[::3] = 0  # the kink of ReLU
    layer, twin = activation(), torch.tensor(x, requires_grad=True)
    y = ACTIVATIONS[activation](twin)
    y.backward(torch.from_numpy(dout))
    assert_close(layer.forward(x), y)
    assert_close(layer.backward(dout), twin.grad)


@given(lead=st.lists(st.integers(0, 4), max_size=3), n_in=sizes, n_out=sizes, seed=seeds)
def test_linear_and_its_gradients_equal_torch_on_any_leading_shape(lead, n_in, n_out, seed):
    rng = np.random.default_rng(seed)
    layer = Linear(n_in, n_out, seed, np.float64)
    layer.params["b"] = rng.normal(size=n_out)
    x, dout = rng.normal(size=(*lead, n_in)), rng.normal(size=(*lead, n_out))
    twin, input_twin = linear_in_torch(layer), torch.tensor(x, requires_grad=True)
    y = twin(input_twin)
    y.backward(torch.from_numpy(dout))
    assert_close(layer.forward(x), y)
    assert_close(layer.backward(dout), input_twin.grad)
    assert_close(layer.grads["w"], twin.weight.grad.T)
    assert_close(layer.grads["b"], twin.bias.grad)


@given(n=sizes, d=sizes, hidden=sizes, classes=sizes, seed=seeds)
def test_a_network_of_networks_equals_torch(n, d, hidden, classes, seed):
    rng = np.random.default_rng(seed)
    first, last = Linear(d, hidden, rng, np.float64), Linear(hidden, classes, rng, np.float64)
    model = Sequential(Sequential(first, Tanh()), last, Sigmoid())
    twins = linear_in_torch(first), linear_in_torch(last)
    twin = torch.nn.Sequential(twins[0], torch.nn.Tanh(), twins[1], torch.nn.Sigmoid())
    x, dout = rng.normal(size=(n, d)), rng.normal(size=(n, classes))
    input_twin = torch.tensor(x, requires_grad=True)
    y = twin(input_twin)
    y.backward(torch.from_numpy(dout))
    assert_close(model.forward(x), y)
    assert_close(model.backward(dout), input_twin.grad)
    expected = [twins[0].weight.grad.T, twins[0].bias.grad, twins[1].weight.grad.T, twins[1].bias.grad]
    assert list(model.params) == list(model.grads) == ["0.0.w", "0.0.b", "1.w", "1.b"]
    for gradient, reference in zip(model.grads.values(), expected, strict=True):
        assert_close(gradient, reference)


@given(n=sizes, d=sizes, p=st.floats(0, 0.95), seed=seeds)
def test_dropout_scales_what_it_keeps_and_sends_gradients_the_same_way(n, d, p, seed):
    rng = np.random.default_rng(seed)
    x, dout = rng.normal(size=(n, d)), rng.normal(size=(n, d))
    layer = Dropout(p, seed)
    y = layer.forward(x)
    kept = y != 0
    np.testing.assert_allclose(y, np.where(kept, x / (1 - p), 0))
    np.testing.assert_allclose(layer.backward(dout), np.where(kept, dout / (1 - p), 0))


def test_dropout_drops_the_share_it_promises_and_another_one_each_time():
    layer, x = Dropout(0.3, seed=0), np.ones((400, 500), np.float32)
    first, second = layer.forward(x), layer.forward(x)
    assert abs((first == 0).mean() - 0.3) < 0.006  # six standard deviations
    assert abs(first.mean() - 1) < 0.01
    assert (first != second).any()
    np.testing.assert_array_equal(Dropout(0.3, seed=0).forward(x), first)


def test_dropout_in_evaluation_changes_nothing_inside_a_network_too():
    layer = Dropout(0.9)
    model, x = Sequential(Sequential(layer)), np.random.default_rng(0).normal(size=(5, 4))
    model.train(False)
    np.testing.assert_array_equal(model.forward(x), x)
    np.testing.assert_array_equal(model.backward(x), x)
    model.train()
    assert (model.forward(x) != x).any()


LAYERS = [lambda: Linear(4, 4, 0), ReLU, Sigmoid, Tanh, lambda: Dropout(0.5, 0)]
MANY = [*LAYERS, lambda: Sequential(*(make() for make in LAYERS))]


@pytest.mark.parametrize("make", MANY)
def test_no_layer_changes_its_input_or_dout(make):
    rng = np.random.default_rng(0)
    x, dout = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    before = x.copy(), dout.copy()
    layer = make()
    layer.forward(x)
    layer.backward(dout)
    np.testing.assert_array_equal((x, dout), before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("make", [lambda t: Linear(4, 4, 0, t), *(lambda t, m=m: m() for m in LAYERS[1:])])
def test_layers_keep_float32_and_float64(make, dtype):
    layer, x = make(dtype), np.random.default_rng(0).normal(size=(3, 4)).astype(dtype)
    assert layer.forward(x).dtype == layer.backward(x).dtype == dtype
    assert all(array.dtype == dtype for array in [*layer.params.values(), *layer.grads.values()])


def test_linear_starts_as_he_says_and_the_same_for_the_same_seed():
    w = Linear(400, 300, seed=1).params["w"]
    assert w.std() == pytest.approx((2 / 400) ** 0.5, rel=0.01)
    assert abs(w.mean()) < 6 * w.std() / w.size**0.5
    np.testing.assert_array_equal(w, Linear(400, 300, seed=1).params["w"])
    assert (w != Linear(400, 300, seed=2).params["w"]).any()


def test_gradients_are_replaced_and_not_summed():
    layer, x = Linear(3, 2, 0, np.float64), np.ones((4, 3))
    layer.forward(x)
    layer.backward(np.ones((4, 2)))
    once = layer.grads["w"].copy()
    layer.backward(np.ones((4, 2)))
    np.testing.assert_array_equal(layer.grads["w"], once)


def test_a_replaced_parameter_is_the_networks_too():
    model = Sequential(Linear(3, 2), ReLU())
    model.layers[0].params["w"] = np.eye(3, 2)
    assert model.params["0.w"] is model.layers[0].params["w"]


def test_shape_errors_say_what_was_given_and_what_is_accepted():
    with pytest.raises(ValueError, match=r"Linear\(3, 2\) takes x of shape \(\.\.\., 3\); given: \(5, 4\)"):
        Linear(3, 2).forward(np.ones((5, 4)))
    layer = ReLU()
    with pytest.raises(ValueError, match="call forward first"):
        layer.backward(np.ones((5, 4)))
    layer.forward(np.ones((5, 4)))
    with pytest.raises(ValueError, match=r"dout has shape \(1, 4\), the last output's is \(5, 4\)"):
        layer.backward(np.ones((1, 4)))
    with pytest.raises(ValueError, match=r"0 ≤ p < 1; given: 1"):
        Dropout(1)
    with pytest.raises(ValueError, match="make two"):
        Sequential(layer, layer)


def test_a_network_shows_itself():
    model = Sequential(Linear(784, 100), ReLU(), Dropout(0.2), Linear(100, 10))
    assert repr(model) == "Sequential(Linear(784, 100), ReLU(), Dropout(0.2), Linear(100, 10))"


def test_a_learners_own_layer_joins_a_network():
    class Square(Layer):
        def _forward(self, x):
            return x**2

        def _backward(self, dout):
            return dout * 2 * self.x

    model = Sequential(Square(), Square())
    assert model.forward(np.array([[3.0]])) == 81
    assert model.backward(np.array([[1.0]])) == 4 * 27

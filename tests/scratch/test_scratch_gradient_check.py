import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dl_course.scratch import (
    CrossEntropyLoss,
    Dropout,
    Linear,
    MSELoss,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
    gradient_check,
)

rng = np.random.default_rng(0)
LAYERS = {
    "linear": lambda: Linear(4, 3, 0),
    "relu": ReLU,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "dropout": lambda: Dropout(0.5, 0),
    "network": lambda: Sequential(
        Linear(4, 6, 0), Dropout(0.5, 0), Sequential(Tanh(), Linear(6, 2, 1)), Sigmoid()
    ),
}


@pytest.mark.parametrize("name", LAYERS)
@settings(max_examples=10)
@given(n=st.integers(0, 5), seed=st.integers(0, 1000), scale=st.sampled_from([0.1, 1.0, 10.0]))
def test_every_layer_passes_in_training_also_in_float32(name, n, seed, scale):
    x = np.random.default_rng(seed).normal(0, scale, (n, 4)).astype(np.float32)
    assert gradient_check(LAYERS[name](), x).passed


@settings(max_examples=20)
@given(n=st.integers(1, 5), seed=st.integers(0, 1000), scale=st.sampled_from([0.1, 1.0, 1e4]))
def test_every_loss_passes(n, seed, scale):
    rng = np.random.default_rng(seed)
    x, numbers = rng.normal(0, scale, (n, 4)), rng.integers(0, 4, n)
    assert gradient_check(CrossEntropyLoss(), x, numbers).passed
    assert gradient_check(CrossEntropyLoss(), x, np.eye(4)[numbers]).passed
    assert gradient_check(MSELoss(), x, rng.normal(0, scale, (n, 4))).passed


class TransposedGradient(Linear):
    def _backward(self, dout):
        dx = super()._backward(dout)
        self.grads["w"] = self.grads["w"].T.reshape(self.grads["w"].shape)
        return dx


class ForgottenBias(Linear):
    def _backward(self, dout):
        dx = super()._backward(dout)
        self.grads["b"] = np.zeros_like(self.grads["b"])
        return dx


class OneWrongNumber(Linear):
    def _backward(self, dout):
        dx = super()._backward(dout)
        self.grads["w"][2, 1] += 0.01
        return dx


class OneWrongInput(Linear):
    def _backward(self, dout):
        dx = super()._backward(dout)
        dx[1, 3] *= 1.01
        return dx


@pytest.mark.parametrize(
    ("wrong", "where"),
    [(TransposedGradient, "w"), (ForgottenBias, "b"), (OneWrongNumber, "w"), (OneWrongInput, "x")],
)
def test_a_wrong_backward_is_caught_in_the_array_that_is_wrong(wrong, where):
    result = gradient_check(Sequential(Tanh(), wrong(4, 3, 0)), rng.normal(size=(3, 4)))
    caught = {name for name, (error, _) in result.items() if error > 1e-6}
    assert not result.passed and caught == {"x" if where == "x" else f"1.{where}"}


def test_the_result_says_which_number_is_wrong_and_by_how_much():
    result = gradient_check(OneWrongNumber(4, 3, 0), rng.normal(size=(3, 4)))
    error, index = result["w"]
    assert index == (2, 1) and 1e-3 < error < 0.1
    assert "FAILED" in repr(result) and f"w: relative error {error:.1e} at (2, 1)" in repr(result)


@pytest.mark.parametrize("factor", [0.5, 2.0, -1.0, np.nan])
def test_a_loss_with_a_wrong_factor_fails(factor):
    class Wrong(MSELoss):
        def backward(self, dout=1.0):
            return factor * super().backward(dout)

    assert not gradient_check(Wrong(), rng.normal(size=(3, 4)), np.zeros((3, 4))).passed


@pytest.mark.parametrize("place", [(0, 0), (1, 2), (2, 3)])
def test_a_single_nan_fails(place):
    class Wrong(Tanh):
        def _backward(self, dout):
            dx = super()._backward(dout)
            dx[place] = np.nan
            return dx

    result = gradient_check(Wrong(), rng.normal(size=(3, 4)))
    assert not result.passed and result["x"][1] == place


def test_a_gradient_of_another_shape_is_refused_by_name():
    class Wrong(Linear):
        def _backward(self, dout):
            dx = super()._backward(dout)
            self.grads["b"] = self.grads["b"][None]
            return dx

    with pytest.raises(ValueError, match=r"gradient of b has shape \(1, 3\), b itself \(3,\)"):
        gradient_check(Wrong(4, 3), rng.normal(size=(2, 4)))


def test_the_layer_and_the_input_are_left_as_they_were():
    layer, x = Sequential(Linear(4, 3, 0), Dropout(0.5, 0)), rng.normal(size=(3, 4)).astype(np.float32)
    twin, before = Sequential(Linear(4, 3, 0), Dropout(0.5, 0)), x.copy()
    gradient_check(layer, x)
    np.testing.assert_array_equal(x, before)
    assert layer.params["0.w"].dtype == np.float32 and not layer.grads["0.w"].any()
    np.testing.assert_array_equal(layer.forward(x), twin.forward(x))  # the same next mask


def test_large_arrays_are_sampled():
    class Counting(Linear):
        forwards = 0

        def _forward(self, x):
            Counting.forwards += 1
            return super()._forward(x)

    assert gradient_check(Counting(300, 5, 0), rng.normal(size=(1, 300)), at_most=20).passed
    assert Counting.forwards == 1 + 2 * (20 + 20 + 5)

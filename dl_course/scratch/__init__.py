"""A neural network in NumPy alone: layers, losses, optimizers, a gradient check and a training loop."""

from dl_course.scratch.fitting import evaluate, fit
from dl_course.scratch.gradients import GradientCheck, gradient_check
from dl_course.scratch.layers import Dropout, Layer, Linear, ReLU, Sequential, Sigmoid, Tanh
from dl_course.scratch.losses import CrossEntropyLoss, MSELoss
from dl_course.scratch.optimizers import SGD, Adam

__all__ = ["SGD", "Adam", "CrossEntropyLoss", "Dropout", "GradientCheck", "Layer", "Linear"]
__all__ += ["MSELoss", "ReLU", "Sequential", "Sigmoid", "Tanh", "evaluate", "fit", "gradient_check"]

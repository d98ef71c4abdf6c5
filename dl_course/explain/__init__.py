"""Explain: which parts of a picture an answer comes from, and whether that can be believed."""
# ruff: noqa: F401  the names are handed on

from dl_course.explain.attack import fgsm
from dl_course.explain.attention import attention_maps, gates, rollout
from dl_course.explain.cam import gradcam, gradcam_classes
from dl_course.explain.contest import compare_methods, edges
from dl_course.explain.features import features
from dl_course.explain.maps import overlay
from dl_course.explain.maximise import maximise
from dl_course.explain.methods import guided_backprop, integrated_gradients, occlusion, saliency
from dl_course.explain.noise import smoothgrad
from dl_course.explain.trust import deletion_insertion, pointing_game, randomization_test, removal_areas

"""Models: PyTorch layers → blocks → whole networks; what they cost; weights to start from."""
# ruff: noqa: F401, I001  the names are handed on

from dl_course.models.blocks import ATTENTION, CBAM, BasicBlock, Bottleneck, MBConv, SEBlock
from dl_course.models.catalog import MODELS
from dl_course.models.efficientnet import EfficientNet, efficientnet_b0, efficientnet_lite0
from dl_course.models.features import features
from dl_course.models.init import model_card, kaiming_init, trained
from dl_course.models.layers import AdaptiveConcatPool2d, Conv2dAuto, CrossModalNorm, GroupNorm1
from dl_course.models.layers import PyramidPooling, SeparableConv2d
from dl_course.models.pretraining import Preparation, fitted, pretrained
from dl_course.models.resnet import ResNet, resnet18, resnet34, resnet50, resnet101
from dl_course.models.simple import DigitNet, SimpleCNN, SimpleNet, TinyResNet
from dl_course.models.summaries import Summary, summary
from dl_course.models.surgery import add_batch_norm, add_dropout, freeze, moving_statistics, new_head
from dl_course.models.surgery import quick_test, rates_by_depth, unfreeze
from dl_course.models.vit import SelfAttention, VisionTransformer, vit_b_16

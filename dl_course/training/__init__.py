"""Training: the Trainer, and the parts it is assembled from, each of use without it."""
# ruff: noqa: F401, I001  the names are handed on

from dl_course.training import optimizers, schedules
from dl_course.training.callbacks import EMA, CSVLog, EarlyStopping, GradientMonitor, LivePlot
from dl_course.training.checkpoints import Checkpoint, load, save
from dl_course.training.gradients import clip_by_global_norm
from dl_course.training.history import History
from dl_course.training.losses import FocalLoss
from dl_course.training.memory import checkpointed, saved_bytes
from dl_course.training.mixing import cutmix, mixup
from dl_course.training.monitor import ActivationMonitor
from dl_course.training.problems import TrainingError
from dl_course.training.sampling import balanced_sampler, class_weights, undersampled
from dl_course.training.trackers import TensorBoard, WandB
from dl_course.training.trainer import Trainer

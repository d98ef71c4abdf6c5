"""The catalog of models: what ``MODELS.build({"name": "resnet18", "num_classes": 10})`` can build."""

from dl_course.registry import Registry

MODELS = Registry("model")

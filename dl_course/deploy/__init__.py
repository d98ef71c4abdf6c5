"""Deployment: a trained network leaves the notebook. Names load when used: the server needs no torch."""
# ruff: noqa: F401  the names are handed on

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dl_course.deploy.export import Export, benchmark, load_onnx, quantize, to_onnx
    from dl_course.deploy.served import Limits, ServedModel
    from dl_course.deploy.service import create_app, serve, serving
    from dl_course.deploy.watch import Drift, PredictionLog, drift, shadow

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime 1.31's wheels report to their maker
_MODULES = {
    "Export": "export",
    "load_onnx": "export",
    "quantize": "export",
    "to_onnx": "export",
    "benchmark": "export",
    "Drift": "watch",
    "PredictionLog": "watch",
    "drift": "watch",
    "shadow": "watch",
    "Limits": "served",
    "ServedModel": "served",
    "create_app": "service",
    "serve": "service",
    "serving": "service",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    try:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        raise ImportError(f'{name} needs {error.name}: pip install "dl-course[deploy]"') from error


def __dir__() -> list[str]:
    return __all__

"""Data: where pictures and labels come from, how they are split, and how they reach a network in batches."""

from dl_course.data.description import Description, describe
from dl_course.data.labels import classes_of, labels_of
from dl_course.data.loading import Loader
from dl_course.data.named import DATASETS, SPLITS, available, load
from dl_course.data.own import CSVImageDataset, folder_per_class
from dl_course.data.photographs import Photographs
from dl_course.data.pictures import Pictures
from dl_course.data.splits import load_splits, save_splits, stratified_split
from dl_course.data.transforms import TRANSFORMS

loader = Loader  # reads as a verb: for pictures, labels in data.loader(dataset, 64)

__all__ = [
    "DATASETS", "SPLITS", "TRANSFORMS", "CSVImageDataset", "Description", "Loader", "Photographs", "Pictures",
    "available", "classes_of", "describe", "folder_per_class", "labels_of", "load", "load_splits", "loader",
    "save_splits", "stratified_split",
]  # fmt: skip

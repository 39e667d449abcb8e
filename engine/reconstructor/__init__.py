"""Four views to triplanes, and from triplanes and views to any point of the object."""

from .field import Field
from .model import FULL, Reconstructor

__all__ = ["FULL", "Field", "Reconstructor"]

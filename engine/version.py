"""The version, in one place: the manifest's and the package's are tested to equal it."""

__version__ = "0.1.0"

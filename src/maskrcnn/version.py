"""The package's version, where everything can read it without importing the package itself."""

__version__ = "0.1.0"

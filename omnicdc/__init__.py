"""omnicdc: a CMP write alone brings every project registry up to date."""

__version__ = "0.1.0"

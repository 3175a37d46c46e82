"""omnicdc: write to CMP, and every registry file follows."""

__version__ = "0.1.0"

"""omnicdc: write to CMP, and every registry file follows."""

from __future__ import annotations


def __getattr__(name: str) -> str:
    """Return `__version__`, as it was installed: the git tag.

    Looked up on use, for that takes longer than to start.
    """
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        return version("omnicdc")
    except PackageNotFoundError:  # a checkout that was not installed
        return "0.0.0"
